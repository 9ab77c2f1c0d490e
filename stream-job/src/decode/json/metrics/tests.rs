#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use crate::decode::json::transcode_metrics;
use crate::decode::metrics::walk;
use crate::decode::protobuf::WalkOptions;
use crate::decode::{RecordError, metrics};
use crate::metric::{MetricKind, PointValue, Temporality};

/// What the OpenTelemetry SDK sends, with a point of every kind.
const SENT: &str = include_str!("../../../../tests/fixtures/otlp/metrics.otlp.json");

/// A request with one metric, given by its fields.
fn with(metric: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{metric}}}]}}]}}]}}"#)
}

/// Kind, temporality, value and problem of every point.
fn points(json: &str) -> Vec<(MetricKind, Temporality, PointValue, String)> {
    let bytes = transcode_metrics(json.as_bytes()).unwrap();
    let mut seen = Vec::new();
    let walked = walk(
        &bytes,
        true,
        &WalkOptions::default(),
        |_, _, metric, point| {
            let problem = point.problem.to_string();
            seen.push((
                metric.kind,
                metric.temporality,
                point.value.clone(),
                problem,
            ));
        },
    );
    assert_eq!(walked.unwrap() as usize, seen.len());
    seen
}

fn fault(json: &str) -> String {
    transcode_metrics(json.as_bytes()).unwrap_err().to_string()
}

#[test]
fn snake_case_and_enum_names_give_the_same_points() {
    let snake = with(
        r#""name":"h","histogram":{"aggregation_temporality":"AGGREGATION_TEMPORALITY_DELTA","data_points":[
            {"time_unix_nano":7,"count":3,"sum":1.5,"bucket_counts":[1,2],"explicit_bounds":["0.5"],"flags":0}]}"#,
    );
    let camel = with(
        r#""name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[
            {"timeUnixNano":"7","count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}"#,
    );
    let [(kind, temporality, PointValue::Distribution(of), problem)] = &points(&snake)[..] else {
        panic!("expected one histogram")
    };
    assert_eq!(
        (*kind, *temporality),
        (MetricKind::Histogram, Temporality::Delta)
    );
    assert_eq!(
        (of.count, of.sum, &of.bucket_counts[..]),
        (3, 1.5, &[1, 2][..])
    );
    assert_eq!((&of.bounds[..], problem.as_str()), (&[0.5][..], ""));
    assert_eq!(points(&snake), points(&camel));
}

#[test]
fn exponential_buckets_have_signed_scales_and_offsets() {
    let json = with(
        r#""name":"e","exponentialHistogram":{"dataPoints":[{"timeUnixNano":"7","count":4,"sum":10,"scale":-1,
            "zeroCount":"1","zeroThreshold":0.25,"positive":{"offset":-1,"bucketCounts":["1","2"]},"negative":null}]}"#,
    );
    let [(_, _, PointValue::Distribution(of), _)] = &points(&json)[..] else {
        panic!("expected one distribution")
    };
    // The base is 4: the first bucket is (1/4, 1], the second (1, 4].
    assert_eq!(of.bounds, [0.25, 0.25, 1.0, 4.0]);
    assert_eq!(of.bucket_counts, [1, 0, 1, 2, 0]);
}

#[test]
fn null_is_a_field_left_out() {
    let json = with(
        r#""name":null,"unit":null,"sum":{"isMonotonic":null,"aggregationTemporality":null,"dataPoints":[
            {"asInt":null,"asDouble":2.5,"flags":null,"timeUnixNano":null,"attributes":null},null]}"#,
    );
    let seen = points(&json);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].2, PointValue::Double(2.5));
    assert!(points(r#"{"resourceMetrics":null,"later":[1]}"#).is_empty());
}

#[test]
fn one_bad_point_is_rejected_alone_with_its_place() {
    let cases = [
        (r#""asInt":"1.5""#, "asInt", "whole number of 64 bits"),
        (r#""asDouble":"fast""#, "asDouble", "expected a number"),
        (r#""timeUnixNano":-1"#, "timeUnixNano", "nanoseconds"),
        (r#""flags":true"#, "flags", "number"),
        (r#""attributes":[{"key":7}]"#, "key", "string"),
    ];
    for (field, place, expected) in cases {
        let json = with(&format!(
            r#""name":"m","gauge":{{"dataPoints":[{{"asInt":"1"}},{{{field}}},{{"asInt":"3"}}]}}"#
        ));
        let seen = points(&json);
        let values: Vec<_> = seen.iter().map(|point| point.2.clone()).collect();
        let [first, bad, last] = &values[..] else {
            panic!("expected three points, got {values:?}")
        };
        assert_eq!((first, last), (&PointValue::Int(1), &PointValue::Int(3)));
        assert_eq!(bad, &PointValue::Missing, "{field}");
        let problem = &seen[1].3;
        assert!(
            problem.contains("dataPoints[1]")
                && problem.contains(place)
                && problem.contains(expected),
            "{field}: {problem}"
        );
    }
    let scale = with(r#""name":"e","exponentialHistogram":{"dataPoints":[{"scale":4294967296}]}"#);
    assert!(points(&scale)[0].3.contains("32 bits"));
}

#[test]
fn what_is_no_json_or_no_request_rejects_the_record() {
    for (json, expected) in [
        (r#"{"resourceMetrics""#.to_owned(), "byte"),
        (r#"{"resourceMetrics":{}}"#.to_owned(), "$.resourceMetrics"),
        (with(r#""name":7"#), "metrics[0].name"),
        (with(r#""sum":{"dataPoints":{}}"#), "dataPoints"),
        (
            with(r#""sum":{"aggregationTemporality":"OFTEN"}"#),
            "AGGREGATION_TEMPORALITY_DELTA",
        ),
    ] {
        let said = fault(&json);
        assert!(said.contains(expected), "{json}: {said}");
    }
}

#[test]
fn a_problem_that_a_sender_made_up_is_an_unknown_field() {
    let json = with(r#""name":"m","gauge":{"dataPoints":[{"asInt":"1.5"}]}"#);
    let bytes = transcode_metrics(json.as_bytes()).unwrap();
    let mut problems = Vec::new();
    for transcoded in [true, false] {
        metrics::walk(
            &bytes,
            transcoded,
            &WalkOptions::default(),
            |_, _, _, point| {
                problems.push(point.problem.is_empty());
            },
        )
        .unwrap();
    }
    assert_eq!(problems, [false, true]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_makes_the_transcoder_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut json = SENT.trim_end().as_bytes().to_vec();
        for (index, byte) in edits {
            let at = index.index(json.len());
            json[at] = byte;
        }
        match transcode_metrics(&json) {
            Ok(bytes) => {
                let walked = walk(&bytes, true, &WalkOptions::default(), |_, _, _, _| {});
                prop_assert!(walked.is_ok());
            }
            Err(error) => {
                let is_bad_json = matches!(error, RecordError::BadJson { .. });
                prop_assert!(is_bad_json, "{:?}", error);
            }
        }
        prop_assert!(transcode_metrics(&json[..cut.index(json.len())]).is_err());
    }
}
