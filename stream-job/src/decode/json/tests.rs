#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::decode::protobuf::Walker;
use crate::span::fingerprint;
use crate::span::validate::{Limits, validate};
use crate::span::view::SpanView;

fn walk_json(json: &str, mut check: impl FnMut(&str, &str, &SpanView<'_>)) -> u32 {
    let bytes = transcode(json.as_bytes()).unwrap();
    let walked = Walker::default().walk(&bytes, true, |resource, scope, span| {
        let service = resource
            .attributes
            .first()
            .map(|a| a.value.text())
            .unwrap_or_default();
        check(&service, &scope.name, span);
    });
    walked.unwrap()
}

/// A request around the fields of one span.
fn around(span: &str) -> String {
    format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{{span}}}]}}]}}]}}")
}

fn one_span(span: &str, check: impl Fn(&SpanView<'_>)) {
    assert_eq!(walk_json(&around(span), |_, _, span| check(span)), 1);
}

fn fault(json: &str) -> String {
    let error = transcode(json.as_bytes()).unwrap_err();
    assert_eq!(error.code(), "bad_json");
    error.to_string()
}

const CAMEL: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
    "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173",
    "traceState":"k=v","flags":257,"name":"工具 \"x\"","kind":3,
    "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000001,
    "attributes":[{"key":"s","value":{"stringValue":"v"}},{"key":"b","value":{"boolValue":true}},
        {"key":"i","value":{"intValue":"-9223372036854775808"}},{"key":"d","value":{"doubleValue":1}},
        {"key":"nan","value":{"doubleValue":"NaN"}},{"key":"y","value":{"bytesValue":"-_8="}},
        {"key":"a","value":{"arrayValue":{"values":[{"intValue":1},{},null]}}},
        {"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}},{"key":"e"}],
    "events":[{"timeUnixNano":"7","name":"exception","attributes":[{"key":"exception.type","value":{"stringValue":"E"}}],"droppedAttributesCount":1}],
    "links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b170","traceState":"l"}],
    "status":{"message":"boom","code":2},"later":{"unknown":[1,{}]}}],
    "scope":{"name":"tracer","version":"1"},"schemaUrl":"u"}],
    "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"agent"}}]}}],"partial":null}"#;

#[test]
fn every_field_of_a_span_comes_over() {
    let spans = walk_json(CAMEL, |service, scope, span| {
        assert_eq!((service, scope), ("agent", "tracer"));
        assert_eq!(span.trace_id[..2], [0x5b, 0x8e]);
        assert_eq!(
            (span.trace_id.len(), span.span_id[7], span.parent_span_id[7]),
            (16, 0x74, 0x73)
        );
        assert_eq!((span.name.as_ref(), span.kind), ("工具 \"x\"", 3));
        assert_eq!(span.start_time_unix_nano, 1_544_712_660_000_000_000);
        assert_eq!(
            span.end_time_unix_nano, 1_544_712_661_000_000_001,
            "no detour over f64"
        );
        let attributes: Vec<_> = span
            .attributes
            .iter()
            .map(|a| format!("{}={}", a.key, a.value.text()))
            .collect();
        assert_eq!(
            attributes.join(" "),
            "s=v b=true i=-9223372036854775808 d=1 nan=NaN y=+/8= a=[1,null,null] m={\"k\":\"v\"} e="
        );
        assert_eq!(
            (span.events[0].time_unix_nano, span.events[0].name.as_ref()),
            (7, "exception")
        );
        assert_eq!(span.events[0].attributes[0].value.text(), "E");
        assert_eq!(
            (span.links[0].span_id[7], span.links[0].trace_state.as_ref()),
            (0x70, "l")
        );
        assert_eq!(
            (span.status_code, span.status_message.as_ref()),
            (2, "boom")
        );
        assert_eq!(span.trace_state, "k=v");
        assert_eq!(span.refs, Default::default());
    });
    assert_eq!(spans, 1);
}

#[test]
fn snake_case_and_enum_names_give_the_same_span() {
    let snake = CAMEL
        .replace("resourceSpans", "resource_spans")
        .replace("scopeSpans", "scope_spans")
        .replace("traceId", "trace_id")
        .replace("parentSpanId", "parent_span_id")
        .replace("spanId", "span_id")
        .replace("startTimeUnixNano", "start_time_unix_nano")
        .replace("endTimeUnixNano", "end_time_unix_nano")
        .replace("timeUnixNano", "time_unix_nano")
        .replace("Value\"", "_value\"")
        .replace("\"kind\":3", "\"kind\":\"SPAN_KIND_CLIENT\"")
        .replace("\"code\":2", "\"code\":\"STATUS_CODE_ERROR\"");
    let of = |json: &str| {
        let mut prints = Vec::new();
        walk_json(json, |_, _, span| {
            prints.push((fingerprint(span), format!("{:?}", span.links)))
        });
        prints
    };
    assert_eq!(of(&snake), of(CAMEL));
}

#[test]
fn numbers_come_in_every_form_that_is_whole() {
    for (text, expected) in [
        ("1e3", 1000),
        ("\"-1.0\"", -1),
        ("9007199254740993", 9_007_199_254_740_993),
    ] {
        let span = format!("\"attributes\":[{{\"key\":\"n\",\"value\":{{\"intValue\":{text}}}}}]");
        one_span(&span, |span| {
            assert_eq!(
                span.attributes[0].value,
                crate::span::view::Value::Int(expected)
            )
        });
    }
    one_span("\"endTimeUnixNano\":1.5e18", |s| {
        assert_eq!(s.end_time_unix_nano, 1_500_000_000_000_000_000)
    });
}

#[test]
fn null_is_a_field_left_out() {
    let span = "\"traceId\":null,\"parentSpanId\":null,\"name\":null,\"kind\":null,\"startTimeUnixNano\":null,\
        \"attributes\":null,\"events\":[null],\"links\":null,\"status\":null";
    one_span(span, |span| {
        assert_eq!(
            SpanView {
                raw: &[],
                ..span.clone()
            },
            SpanView::default()
        );
    });
    assert_eq!(walk_json("{\"resourceSpans\":null}", |_, _, _| {}), 0);
    assert_eq!(walk_json("{}", |_, _, _| {}), 0);
}

#[test]
fn one_bad_span_is_rejected_alone_with_its_place() {
    for (bad, problem) in [
        (
            "\"traceId\":\"xyz\"",
            "traceId at byte 12: expected an id in hex digits",
        ),
        (
            "\"spanId\":\"abc\"",
            "spanId at byte 11: expected an id in hex digits",
        ),
        ("\"name\":5", "name at byte 9: expected a string, found '5'"),
        (
            "\"kind\":\"CLIENT\"",
            "kind at byte 9: expected a number or one of SPAN_KIND_UNSPECIFIED",
        ),
        (
            "\"startTimeUnixNano\":-1",
            "startTimeUnixNano at byte 22: expected nanoseconds",
        ),
        (
            "\"endTimeUnixNano\":18446744073709551616",
            "endTimeUnixNano at byte 20: expected nanoseconds",
        ),
        (
            "\"attributes\":{}",
            "attributes at byte 15: expected an array",
        ),
        (
            r#""attributes":[{"value":{"intValue":1.5}}]"#,
            "attributes[0].value.intValue at byte 37: expected a whole",
        ),
        (
            r#""attributes":[{"value":{"doubleValue":"inf"}}]"#,
            "attributes[0].value.doubleValue at byte 40: expected",
        ),
        (
            r#""attributes":[{"value":{"bytesValue":"é"}}]"#,
            "attributes[0].value.bytesValue at byte 39: expected base64",
        ),
        (
            "\"status\":{\"code\":[]}",
            "status.code at byte 19: expected a number",
        ),
    ] {
        let good = "{\"name\":\"good\"}";
        let json = format!(
            "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{good},\n{{{bad}}},{good}]}}]}}]}}"
        );
        let shift = json.find('\n').unwrap();
        let mut names = Vec::new();
        let mut problems = Vec::new();
        let spans = walk_json(&json, |_, _, span| {
            names.push(span.name.to_string());
            if !span.refs.problem.is_empty() {
                let reject = validate(span, &Limits::default(), 0).unwrap_err();
                assert_eq!(reject.code, "bad_field");
                problems.push((span.index, reject.message));
            }
        });
        assert_eq!((spans, names.join(",").as_str()), (3, "good,,good"));
        let (index, message) = &problems[0];
        let at: usize = problem
            .split("byte ")
            .nth(1)
            .unwrap()
            .split(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let problem = problem.replacen(&format!("byte {at}"), &format!("byte {}", at + shift), 1);
        let expected = format!("$.resourceSpans[0].scopeSpans[0].spans[1].{problem}");
        assert!(
            *index == 1 && problems.len() == 1 && message.starts_with(&expected),
            "{message}\n{expected}"
        );
    }
}

#[test]
fn what_is_no_json_or_no_request_rejects_the_record() {
    assert_eq!(
        fault("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"a"),
        "bad OTLP JSON: $.resourceSpans[0].scopeSpans[0].spans[0].name at byte 53: expected the quote that ends the \
         string, found the end"
    );
    assert!(
        fault("{\"resourceSpans\":{}}").contains("$.resourceSpans at byte 17: expected an array")
    );
    assert!(fault("{\"resourceSpans\":[]} {}").contains("expected the end of the payload"));
    assert!(fault("{\"resourceSpans\":[],\"resourceSpans\":[]}").contains("stands twice"));
    let deep = format!(
        "{}{}",
        "{\"arrayValue\":{\"values\":[".repeat(50_000),
        "]}}".repeat(50_000)
    );
    let span = format!("\"attributes\":[{{\"value\":{deep}}}]");
    assert!(fault(&around(&span)).contains("nested more than 256 levels"));
    let bad_utf8 = transcode(b"{\"resourceSpans\":\"\xc3\x28\"}").unwrap_err();
    assert!(
        matches!(bad_utf8, RecordError::BadJson { at: 18, .. }),
        "{bad_utf8}"
    );
}

#[test]
fn values_may_nest_as_deep_as_the_walk_follows() {
    let nested = |levels: usize| {
        let value = format!(
            "{}{{}}{}",
            "{\"arrayValue\":{\"values\":[".repeat(levels),
            "]}}".repeat(levels)
        );
        let bytes =
            transcode(around(&format!("\"attributes\":[{{\"value\":{value}}}]")).as_bytes())
                .unwrap();
        Walker::default()
            .walk(&bytes, true, |_, _, _| {})
            .map_err(|e| e.code())
    };
    assert_eq!(nested(64), Ok(1));
    assert_eq!(nested(65), Err("too_deep"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_makes_the_transcoder_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut json = CAMEL.as_bytes().to_vec();
        for (index, byte) in edits {
            let at = index.index(json.len());
            json[at] = byte;
        }
        if let Ok(bytes) = transcode(&json) {
            let walked = Walker::default().walk(&bytes, true, |_, _, _| {});
            prop_assert!(walked.is_ok());
        }
        prop_assert!(transcode(&json[..cut.index(json.len())]).is_err());
    }
}
