//! What is sent one by one: requests, spans, records, JSON and documents that are not what they should be.

use rdkafka::message::{Header, OwnedHeaders};
use stream_job::decode::encode;
use stream_job::span::view::{Attr, SpanView, Value};

use crate::wire::{Outgoing, Span, now_ns, request};

pub(super) const SPANS: &str = "otlp_spans";
const DOCUMENTS: &str = "agent.conversations";

/// A record, by name, and what must become of it: how many spans or points land, and its dead letters as `unit code`.
pub(super) struct Case {
    pub name: String,
    pub outgoing: Outgoing,
    lands: u64,
    pub letters: Vec<&'static str>,
}

impl Case {
    pub(super) fn new(name: &str, payload: Vec<u8>, lands: u64, letters: &[&'static str]) -> Self {
        let headers = OwnedHeaders::new().insert(Header {
            key: "case",
            value: Some(name),
        });
        Self {
            name: name.to_owned(),
            outgoing: Outgoing {
                topic: SPANS,
                headers,
                payload: Some(payload),
                ..Outgoing::default()
            },
            lands,
            letters: letters.to_vec(),
        }
    }

    fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        let headers = std::mem::take(&mut self.outgoing.headers);
        self.outgoing.headers = headers.insert(Header { key: name, value });
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Outgoing)) -> Self {
        change(&mut self.outgoing);
        self
    }

    fn document(name: &str, json: &str, lands: u64, letters: &[&'static str]) -> Self {
        Self::new(name, json.as_bytes().to_vec(), lands, letters)
            .with(|outgoing| outgoing.topic = DOCUMENTS)
    }

    pub(super) fn wanted(&self) -> (u64, Vec<String>) {
        let letters = self.letters.iter().map(|&letter| letter.to_owned());
        (self.lands, letters.collect())
    }
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let kinds = [requests(), spans(), records(), json(), documents()];
    kinds.into_iter().flatten().collect()
}

/// Whole requests that are not what they should be.
fn requests() -> Vec<Case> {
    let good = request("hostile", &[Span::now().view()]);
    let cut = good[..good.len() * 2 / 3].to_vec();
    let as_protobuf = |case: Case| case.header("content-type", Some(b"application/x-protobuf"));
    let deep = (0..100).fold(encode::array(&[Value::Int(1)]), |inner, _| {
        encode::array(&[Value::Array(&inner)])
    });
    let (span, big_span) = (Span::now(), Span::now());
    let mut nested = span.view();
    nested
        .attributes
        .push(encode::attr("deep", Value::Array(&deep)));
    let text = "x".repeat(7_000_000);
    let mut big = big_span.view();
    big.attributes.push(encode::text_attr("big", &text));
    vec![
        Case::new("good", good, 1, &[]),
        Case::new("truncated", cut, 0, &["record truncated"]),
        as_protobuf(Case::new(
            "wire type",
            vec![0x08, 1],
            0,
            &["record bad_wire_type"],
        )),
        as_protobuf(Case::new(
            "varint",
            vec![0xff; 12],
            0,
            &["record bad_varint"],
        )),
        Case::new(
            "log line",
            b"2026-01-01 ERROR no span".to_vec(),
            0,
            &["record unknown_encoding"],
        ),
        Case::new("no bytes", Vec::new(), 0, &["record empty_payload"]),
        Case::new("tombstone", Vec::new(), 0, &["record empty_payload"]).with(|o| o.payload = None),
        Case::new("no spans", vec![0x0a, 0], 0, &[]),
        Case::new(
            "nested",
            request("hostile", &[nested]),
            0,
            &["record too_deep"],
        ),
        Case::new("7 MB", request("hostile", &[big]), 0, &["record too_large"]),
    ]
}

/// One span of each, beside a good one where it is rejected.
fn spans() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut beside_good = |name: &str, code, change: fn(&mut SpanView<'_>)| {
        let (good, other) = (Span::now(), Span::now());
        let mut bad = other.view();
        change(&mut bad);
        let payload = request("hostile", &[good.view(), bad]);
        cases.push(Case::new(name, payload, 1, &[code]));
    };
    beside_good("zero trace id", "span bad_trace_id", |s| {
        s.trace_id = &[0; 16]
    });
    beside_good("zero span id", "span bad_span_id", |s| s.span_id = &[0; 8]);
    beside_good("short parent", "span bad_parent_span_id", |s| {
        s.parent_span_id = &[1, 2, 3]
    });
    beside_good("1970", "span time_out_of_range", |s| {
        (s.start_time_unix_nano, s.end_time_unix_nano) = (1_000, 2_000);
    });
    beside_good("2200", "span time_out_of_range", |s| {
        s.start_time_unix_nano = 7_258_118_400_000_000_000;
        s.end_time_unix_nano = 7_258_118_400_000_001_000;
    });

    let mut alone = |name: &str, change: &dyn Fn(&mut SpanView<'_>)| {
        let span = Span::now();
        let mut view = span.view();
        change(&mut view);
        cases.push(Case::new(name, request("hostile", &[view]), 1, &[]));
    };
    alone("end before start", &|s| {
        s.start_time_unix_nano = s.end_time_unix_nano + 9_000_000
    });
    alone("10,000 attributes", &|s| {
        s.attributes
            .extend((0..10_000).map(|n| encode::attr("k", Value::Int(n)).named(n)));
    });
    alone("5 MB", &|s| {
        let attribute = encode::attr("dump", Value::Str("x".repeat(5_000_000).into()));
        s.attributes.push(attribute);
    });
    // Replaced in place, as no encoder writes what is not UTF-8.
    alone("not UTF-8", &|s| s.name = "caf@@ search".into());
    let not_utf8 = cases.last_mut().unwrap().outgoing.payload.as_mut().unwrap();
    let at = not_utf8
        .windows(5)
        .position(|bytes| bytes == b"caf@@")
        .unwrap();
    not_utf8[at + 3..at + 5].copy_from_slice(&[0xe9, 0xff]);
    cases
}

trait Named {
    fn named(self, number: i64) -> Self;
}

impl Named for Attr<'_> {
    /// With a key of its own.
    fn named(mut self, number: i64) -> Self {
        self.key = format!("key.{number}").into();
        self
    }
}

/// Records with keys, headers and times of every kind.
fn records() -> Vec<Case> {
    let good = |name: &str| Case::new(name, request("hostile", &[Span::now().view()]), 1, &[]);
    vec![
        good("header value not UTF-8").header("x", Some(&[0xff, 0, 0xfe])),
        good("header without value").header("x", None),
        good("content type of no sense").header("content-type", Some(&[0xff, 0xfe])),
        good("key not UTF-8").with(|o| o.key = Some(vec![0xff, 0xfe, 0])),
        good("empty key").with(|o| o.key = Some(Vec::new())),
        good("no timestamp").with(|o| o.timestamp_ms = Some(-1)),
        good("timestamp of 1970").with(|o| o.timestamp_ms = Some(1)),
    ]
}

fn json() -> Vec<Case> {
    let span = |fields: &str| {
        let span = Span::now();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        format!(
            r#"{{"traceId":"{}","spanId":"{}","name":"act","startTimeUnixNano":"{}","endTimeUnixNano":"{}"{fields}}}"#,
            hex(&span.trace_id),
            hex(&span.span_id),
            span.end_ns - 5_000_000,
            span.end_ns,
        )
    };
    let request = |spans: &str| {
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#).into_bytes()
    };
    let good = span("");
    let two = format!("{},{}", span(""), span("").replace("\"act\"", "17"));
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = span(&format!(r#","extra":{nested}"#));
    vec![
        Case::new("JSON", request(&good), 1, &[]),
        Case::new(
            "JSON, cut",
            request(&good)[..80].to_vec(),
            0,
            &["record bad_json"],
        ),
        Case::new("JSON, no spans", b"{}".to_vec(), 0, &[]),
        Case::new("JSON, a bad span", request(&two), 1, &["span bad_field"]),
        Case::new(
            "JSON, 10,000 levels",
            request(&deep),
            0,
            &["record bad_json"],
        ),
    ]
}

fn documents() -> Vec<Case> {
    let now = chrono::DateTime::from_timestamp_nanos(i64::try_from(now_ns()).unwrap()).to_rfc3339();
    let span = |id: &str, more: &str| {
        format!(
            r#"{{"span_id":"{id}","parent_span_id":null,"name":"search","start_time":"{now}","end_time":"{now}","duration_ms":0,
                "attributes":{{"step_type":"act","content":"q","tool_name":"search","status":"success"}}{more}}}"#
        )
    };
    let document = |id: &str, spans: &str, more: &str| {
        format!(
            r#"{{"session_id":"{id}","conversation_id":"c","user_id":"u","timestamp":"{now}","spans":[{spans}]{more}}}"#
        )
    };
    let bad = span("2", "").replace(&now, "yesterday");
    let two = format!("{},{bad}", span("1", ""));
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        Case::document("document", &document("a", &span("1", ""), ""), 1, &[]),
        Case::document(
            "document, cut",
            &document("b", &span("1", ""), "")[..90],
            0,
            &["record bad_document"],
        ),
        Case::document(
            "document, a bad span",
            &document("c", &two, ""),
            1,
            &["span bad_field"],
        ),
        Case::document(
            "document, unknown fields",
            &document(
                "d",
                &span("1", r#","mood":{"is":["good"]}"#),
                r#","version":[1,{"a":null}]"#,
            ),
            1,
            &[],
        ),
        Case::document(
            "document, 10,000 levels",
            &document("e", &nested, ""),
            0,
            &["record bad_document"],
        ),
        Case::document("document, no object", "[1, 2]", 0, &["record bad_document"]),
    ]
}
