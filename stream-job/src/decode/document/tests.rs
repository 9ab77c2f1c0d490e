#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::decode::protobuf::Walker;
use crate::span::validate::{Limits, clean_times, validate};
use crate::span::view::{SpanView, Value};

/// 2025-08-17T10:00:00Z
const TEN_NS: u64 = 1_755_424_800_000_000_000;
const NOW_MS: i64 = 1_755_424_900_000;

fn walk(json: &str, mut check: impl FnMut(&str, &str, &SpanView<'_>)) -> u32 {
    let bytes = transcode(json.as_bytes(), None, &DocumentOptions::default()).unwrap();
    let walked = Walker::default().walk(&bytes, true, |resource, scope, span| {
        check(&resource.attributes[0].value.text(), &scope.name, span);
    });
    walked.unwrap()
}

/// The one span of a document around the given fields, checked and, if good, validated.
fn one_span(fields: &str, check: impl Fn(&SpanView<'_>)) {
    let json = format!("{{\"session_id\":\"s\",\"spans\":[{{\"span_id\":\"1\",{fields}}}]}}");
    assert_eq!(walk(&json, |_, _, span| check(span)), 1);
}

fn attributes(span: &SpanView<'_>) -> String {
    let list: Vec<_> = span
        .attributes
        .iter()
        .map(|a| format!("{}={}", a.key, a.value.text()))
        .collect();
    list.join(" ")
}

const TIMES: &str = "\"start_time\":\"2025-08-17T10:00:00Z\",\"end_time\":\"2025-08-17T10:00:01Z\"";

#[test]
fn a_document_becomes_spans_with_the_ids_of_the_contract() {
    let json = format!(
        "{{\"session_id\":\"sess-1\",\"conversation_id\":\"conv-1\",\"user_id\":\"u\",\"timestamp\":\"2025-08-17T10:00:00Z\",\
         \"spans\":[{{\"span_id\":\"a\",\"parent_span_id\":null,\"name\":\"think\",{TIMES},\"duration_ms\":1000.0,\
         \"attributes\":{{\"step_type\":\"think\",\"content\":\"想\",\"tool_name\":null,\"status\":\"success\"}}}},\
         {{\"span_id\":\"b\",\"parent_span_id\":\"a\",\"name\":\"search\",{TIMES},\
         \"attributes\":{{\"step_type\":\"act\",\"content\":\"q\",\"tool_name\":\"search\",\"status\":\"error\",\
         \"error_message\":\"timeout\",\"k\":{{\"n\":[1,2.5,null]}}}}}}]}}"
    );
    // Python: sha256(b"sess-1\0conv-1").digest()[:16], sha256(trace_id + b"\0" + b"a").digest()[:8]
    let trace_id = digest::<16>(&[b"sess-1\0conv-1"]);
    let span_a = digest::<8>(&[&trace_id, b"\0a"]);
    let spans = walk(&json, |service, scope, span| {
        assert_eq!((service, scope), ("document", SCOPE));
        assert_eq!(span.trace_id, trace_id);
        assert_eq!(span.refs.trace_ref, "sess-1/conv-1");
        assert_eq!(validate(span, &Limits::default(), NOW_MS), Ok(()));
        assert_eq!(
            (span.start_time_unix_nano, span.end_time_unix_nano),
            (TEN_NS, TEN_NS + 1_000_000_000)
        );
        let shared = "session.id=sess-1 gen_ai.conversation.id=conv-1 user.id=u";
        if span.index == 0 {
            assert_eq!((span.span_id, span.parent_span_id), (&span_a[..], &[][..]));
            assert_eq!(
                (
                    span.refs.span_ref.as_ref(),
                    span.refs.parent_span_ref.as_ref()
                ),
                ("a", "")
            );
            assert_eq!(
                attributes(span),
                format!("{shared} agent.step.type=think output.value=想")
            );
            assert_eq!((span.status_code, span.events.len()), (1, 0));
        } else {
            assert_eq!(span.parent_span_id, span_a);
            assert_eq!(
                (
                    span.refs.span_ref.as_ref(),
                    span.refs.parent_span_ref.as_ref()
                ),
                ("b", "a")
            );
            let own = "agent.step.type=act gen_ai.tool.name=search input.value=q";
            assert_eq!(
                attributes(span),
                format!("k={{\"n\":[1,2.5,null]}} {shared} {own}")
            );
            assert_eq!(
                (span.status_code, span.status_message.as_ref()),
                (2, "timeout")
            );
            assert_eq!(span.events[0].name, "exception");
            assert_eq!(span.events[0].time_unix_nano, span.end_time_unix_nano);
            assert_eq!(span.events[0].attributes[0].value.text(), "timeout");
        }
    });
    assert_eq!(spans, 2);
}

#[test]
fn the_ids_are_those_that_any_sha256_gives() {
    let trace_id: [u8; 16] = digest(&[b"sess-1", &[0], b"conv-1"]);
    assert_eq!(hex(&trace_id), "fc83cfc6c917f6024b2d34dd17117e85");
    assert_eq!(
        hex(&digest::<8>(&[&trace_id, &[0], b"a"])),
        "8a1f2e84943a5cba"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_service_header_names_the_agent() {
    let json = format!("{{\"spans\":[{{{TIMES}}}],\"session_id\":7}}");
    let bytes = transcode(json.as_bytes(), Some("shop"), &DocumentOptions::default()).unwrap();
    let walked = Walker::default().walk(&bytes, true, |resource, _, span| {
        assert_eq!(resource.attributes, [text_attr("service.name", "shop")]);
        assert_eq!(span.refs.trace_ref, "7");
        assert_eq!(
            validate(span, &Limits::default(), NOW_MS).unwrap_err().code,
            "bad_span_id"
        );
    });
    assert_eq!(walked, Ok(1));
}

#[test]
fn a_missing_time_follows_from_the_duration() {
    let (ten, later) = ("\"2025-08-17T10:00:00Z\"", TEN_NS + 12_500_000);
    for (fields, start, end) in [
        (
            format!("\"start_time\":{ten},\"duration_ms\":12.5"),
            TEN_NS,
            later,
        ),
        (
            format!("\"end_time\":{ten},\"duration_ms\":\"12.5\""),
            TEN_NS - 12_500_000,
            TEN_NS,
        ),
        (format!("\"end_time\":{ten}"), 0, TEN_NS),
        (format!("\"start_time\":{ten},\"end_time\":null"), TEN_NS, 0),
        ("\"duration_ms\":5".to_owned(), 0, 0),
    ] {
        one_span(&fields, |span| {
            assert_eq!(
                (span.start_time_unix_nano, span.end_time_unix_nano),
                (start, end),
                "{fields}"
            );
            let valid = validate(span, &Limits::default(), NOW_MS).is_ok();
            assert_eq!(valid, end != 0, "{fields}");
            assert_eq!(clean_times(span).cleaned, start == 0 && end != 0);
        });
    }
}

#[test]
fn times_without_an_offset_are_in_the_zone_that_is_set() {
    let options = DocumentOptions {
        agent: "a".to_owned(),
        time_zone: parse_time_zone("+08:00").unwrap(),
    };
    let json = r#"{"session_id":"s","spans":[{"span_id":"1","start_time":"2025-08-17 18:00:00","duration_ms":0}]}"#;
    let bytes = transcode(json.as_bytes(), None, &options).unwrap();
    let walked = Walker::default().walk(&bytes, true, |_, _, span| {
        assert_eq!(
            (span.start_time_unix_nano, span.end_time_unix_nano),
            (TEN_NS, TEN_NS)
        );
    });
    assert_eq!(walked, Ok(1));
}

#[test]
fn the_status_says_what_was_said() {
    for (fields, code, message, events, rest) in [
        ("", 0, "", 0, ""),
        ("\"status\":\"success\"", 1, "", 0, ""),
        (
            "\"status\":\"success\",\"error_message\":\"\"",
            1,
            "",
            0,
            "",
        ),
        (
            "\"status\":\"success\",\"error_message\":\"retried\"",
            1,
            "",
            0,
            "error_message=retried",
        ),
        ("\"status\":\"error\"", 2, "", 0, ""),
        ("\"error_message\":\"boom\"", 2, "boom", 1, ""),
        ("\"status\":\"cancelled\"", 0, "", 0, "status=cancelled"),
        ("\"status\":500", 0, "", 0, "status=500 session.id=s"),
    ] {
        let all = format!("{TIMES},\"attributes\":{{{fields}}}");
        one_span(&all, |span| {
            assert_eq!(
                (span.status_code, span.status_message.as_ref()),
                (code, message),
                "{fields}"
            );
            assert_eq!(span.events.len(), events, "{fields}");
            assert!(
                attributes(span).contains(rest),
                "{fields}: {}",
                attributes(span)
            );
        });
    }
}

#[test]
fn attributes_keep_their_kind_and_what_the_document_says_wins() {
    let fields = r#""extra":true,"attributes":{"content":{"a":[1]},"big":18446744073709551615,"f":1e2,"huge":1e999,
        "user.id":"own","output.value":"own","o":{},"n":null,"step_type":5}"#;
    one_span(fields, |span| {
        assert_eq!(
            attributes(span),
            "extra=true big=18446744073709551615 f=100 huge=1e999 user.id=own output.value=own o={} step_type=5 \
             session.id=s"
        );
        assert_eq!(span.attributes[2].value, Value::Double(100.0));
        assert_eq!(
            span.attributes[1].value,
            Value::Str("18446744073709551615".into())
        );
    });
    one_span("\"attributes\":{\"content\":{\"a\":[1]}}", |span| {
        assert_eq!(attributes(span), "session.id=s output.value={\"a\":[1]}");
    });
}

#[test]
fn one_bad_span_is_rejected_alone_with_its_place() {
    for (bad, problem) in [
        (
            "\"start_time\":\"yesterday\"",
            "start_time at byte 41: expected an ISO 8601 time",
        ),
        (
            "\"end_time\":1755424800",
            "end_time at byte 39: expected an ISO 8601 time as text",
        ),
        (
            "\"end_time\":\"1969-01-01T00:00:00Z\"",
            "end_time at byte 39: there is no time",
        ),
        (
            "\"duration_ms\":-1",
            "duration_ms at byte 42: expected milliseconds",
        ),
        (
            "\"duration_ms\":\"NaN\"",
            "duration_ms at byte 42: expected milliseconds",
        ),
        ("\"name\":[]", "name at byte 35: expected a string"),
        (
            "\"attributes\":\"x\"",
            "attributes at byte 41: expected an object",
        ),
    ] {
        let good = format!("{{\"span_id\":\"2\",{TIMES}}}");
        let json = format!("{{\"session_id\":\"s\",\"spans\":[{{{bad}}},{good}]}}");
        let mut codes = Vec::new();
        walk(&json, |_, _, span| {
            codes.push(validate(span, &Limits::default(), NOW_MS).map_err(|reject| reject.message));
        });
        assert_eq!(codes.len(), 2);
        let expected = format!("$.spans[0].{problem}");
        assert!(
            codes[0].as_ref().unwrap_err().starts_with(&expected),
            "{:?}",
            codes[0]
        );
        assert_eq!(codes[1], Ok(()));
    }
}

#[test]
fn a_document_without_its_frame_is_rejected_whole() {
    for (json, problem) in [
        (
            "{\"spans\":[]}",
            "$ at byte 0: the document has no session_id",
        ),
        (
            "{\"session_id\":\"\",\"spans\":[]}",
            "$ at byte 0: the document has no session_id",
        ),
        (
            "{\"session_id\":\"s\"}",
            "$ at byte 0: the document has no spans",
        ),
        (
            "{\"session_id\":\"s\",\"spans\":{}}",
            "$.spans at byte 26: expected an array of spans",
        ),
        (
            "{\"session_id\":[],\"spans\":[]}",
            "$.session_id at byte 14: expected a string",
        ),
        ("[]", "$ at byte 0: expected an object"),
        ("hello", "$ at byte 0: expected an object"),
        (
            "{\"session_id\":\"s\",\"spans\":[{]}",
            "$.spans[0] at byte 28: expected a string",
        ),
        (
            "{\"session_id\":\"s\",\"spans\":[]}x",
            "$ at byte 29: expected the end",
        ),
    ] {
        let error = transcode(json.as_bytes(), None, &DocumentOptions::default()).unwrap_err();
        assert_eq!(error.code(), "bad_document");
        assert!(error.to_string().contains(problem), "{json}: {error}");
    }
    assert_eq!(
        walk("{\"session_id\":\"s\",\"spans\":null}", |_, _, _| {}),
        0
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_makes_the_transcoder_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut json = format!(
            "{{\"session_id\":\"s\",\"spans\":[{{\"span_id\":1,{TIMES},\"duration_ms\":1e2,\"attributes\":\
             {{\"step_type\":\"act\",\"content\":[1,{{\"a\":null}}],\"error_message\":\"\\ud83d\"}}}}]}}"
        ).into_bytes();
        for (index, byte) in edits {
            let at = index.index(json.len());
            json[at] = byte;
        }
        if let Ok(bytes) = transcode(&json, None, &DocumentOptions::default()) {
            let walked = Walker::default().walk(&bytes, true, |_, _, _| {});
            prop_assert!(walked.is_ok());
        }
    }
}
