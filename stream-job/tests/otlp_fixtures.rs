//! What the OpenTelemetry Python SDK sends is what the walk reads, as protobuf and as JSON alike. The fixtures and the
//! script that made them are in `fixtures/otlp`.

#![allow(clippy::unwrap_used)]

use serde_json::{Value as Json, json};
use stream_job::decode::protobuf::{WalkOptions, Walker};
use stream_job::decode::{json, metrics};
use stream_job::metric::{self, CleanPoint};
use stream_job::span::validate::Limits;
use stream_job::span::view::{Attr, ResourceView, ScopeView, SpanView};
use stream_job::span::{fingerprint, validate};

/// 2025-08-17T10:10:00Z
const NOW_MS: i64 = 1_755_425_400_000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(attributes: &[Attr<'_>]) -> Json {
    let texts = attributes
        .iter()
        .map(|attr| (attr.key.to_string(), attr.value.text().into()));
    Json::Object(texts.collect())
}

/// A span in the form of the expected files.
fn seen(resource: &ResourceView<'_>, scope: &ScopeView<'_>, span: &SpanView<'_>) -> Json {
    let event = |event: &stream_job::span::view::EventView<'_>| {
        json!([
            event.time_unix_nano,
            event.name,
            attributes(&event.attributes)
        ])
    };
    let link = |link: &stream_job::span::view::LinkView<'_>| {
        json!([
            hex(link.trace_id),
            hex(link.span_id),
            attributes(&link.attributes)
        ])
    };
    json!({
        "resource": attributes(&resource.attributes),
        "scope": [scope.name, scope.version],
        "trace_id": hex(span.trace_id),
        "span_id": hex(span.span_id),
        "parent_span_id": hex(span.parent_span_id),
        "trace_state": span.trace_state,
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes(&span.attributes),
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "status": [span.status_code, span.status_message],
    })
}

/// All spans of a payload by span id, with their fingerprints; each has to be valid.
fn walk(payload: &[u8]) -> Vec<(Json, u128)> {
    let mut spans = Vec::new();
    let walked = Walker::default().walk(payload, false, |resource, scope, span| {
        assert_eq!(validate(span, &Limits::default(), NOW_MS), Ok(()));
        spans.push((seen(resource, scope, span), fingerprint(span)));
    });
    assert_eq!(walked.unwrap() as usize, spans.len());
    spans.sort_by_key(|(span, _)| span["span_id"].to_string());
    spans
}

fn check(protobuf: &[u8], otlp_json: &str, expected: &str) {
    let mut expected: Vec<Json> = serde_json::from_str(expected).unwrap();
    expected.sort_by_key(|span| span["span_id"].to_string());
    let from_protobuf = walk(protobuf);
    let spans: Vec<_> = from_protobuf.iter().map(|(span, _)| span.clone()).collect();
    assert_eq!(json!(spans), json!(expected));
    let transcoded = json::transcode(otlp_json.as_bytes()).unwrap();
    assert_eq!(
        walk(&transcoded),
        from_protobuf,
        "JSON and protobuf give the same spans and fingerprints"
    );
}

#[test]
fn a_turn_of_an_agent_is_read_as_the_sdk_has_it() {
    check(
        include_bytes!("fixtures/otlp/agent_turn.bin"),
        include_str!("fixtures/otlp/agent_turn.otlp.json"),
        include_str!("fixtures/otlp/agent_turn.expected.json"),
    );
}

#[test]
fn values_of_every_kind_are_read_as_the_sdk_has_them() {
    check(
        include_bytes!("fixtures/otlp/values.bin"),
        include_str!("fixtures/otlp/values.otlp.json"),
        include_str!("fixtures/otlp/values.expected.json"),
    );
}

/// All points of a payload, with their fingerprints; each has to be valid.
fn walk_points(payload: &[u8], transcoded: bool) -> Vec<(Json, u128)> {
    let mut points = Vec::new();
    let walked = metrics::walk(
        payload,
        transcoded,
        &WalkOptions::default(),
        |resource, scope, metric, point| {
            assert_eq!(
                metric::validate(metric, point, &Limits::default(), NOW_MS),
                Ok(())
            );
            assert_eq!(scope.name, "agent_probe");
            let clean = CleanPoint::of(resource, metric, point);
            assert_eq!((&*clean.agent, &*clean.instance), ("天气", "i-1"));
            let of = clean.distribution().cloned().unwrap_or_default();
            let seen = json!({
                "metric": metric.name, "unit": metric.unit, "kind": metric.kind.as_str(),
                "temporality": metric.temporality.as_str(), "monotonic": metric.monotonic,
                "start": point.start_time_unix_nano, "time": point.time_unix_nano,
                "attributes": attributes(&point.attributes), "value": clean.value(),
                "count": of.count, "bounds": of.bounds, "bucket_counts": of.bucket_counts,
                "quantile_values": of.quantile_values,
            });
            points.push((seen, metric::fingerprint(resource, scope, metric, point)));
        },
    );
    assert_eq!(walked.unwrap() as usize, points.len());
    points
}

#[test]
fn metric_points_of_every_kind_are_read_as_the_sdk_has_them() {
    let from_protobuf = walk_points(include_bytes!("fixtures/otlp/metrics.bin"), false);
    let points = from_protobuf.iter().map(|(point, _)| point.clone());
    let expected: Json =
        serde_json::from_str(include_str!("fixtures/otlp/metrics.expected.json")).unwrap();
    assert_eq!(Json::Array(points.collect()), expected);
    let otlp_json = include_bytes!("fixtures/otlp/metrics.otlp.json");
    let transcoded = json::transcode_metrics(otlp_json).unwrap();
    assert_eq!(
        walk_points(&transcoded, true),
        from_protobuf,
        "JSON and protobuf give the same points and fingerprints"
    );
}
