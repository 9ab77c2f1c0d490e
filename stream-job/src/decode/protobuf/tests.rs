#![allow(clippy::unwrap_used)]

use super::*;
use crate::decode::encode::{Writer, array, attr, kv_list, request, text_attr};
use crate::decode::wire::{self, LENGTH};

/// A span with every field set, with times that need no cleaning.
pub(super) fn full_span() -> SpanView<'static> {
    SpanView {
        trace_id: &[1; 16],
        span_id: &[2; 8],
        parent_span_id: &[3; 8],
        trace_state: "k=v".into(),
        name: "调用工具".into(),
        kind: 3,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_001_000_000_000,
        attributes: vec![
            text_attr("gen_ai.tool.name", "search"),
            attr("n", Value::Int(-5)),
            attr("f", Value::Double(0.5)),
            attr("b", Value::Bool(false)),
            attr("bytes", Value::Bytes(&[0, 255])),
            attr("empty", Value::Empty),
        ],
        events: vec![EventView {
            time_unix_nano: 1_700_000_000_500_000_000,
            name: "exception".into(),
            attributes: vec![text_attr("exception.type", "ValueError")],
        }],
        links: vec![LinkView {
            trace_id: &[4; 16],
            span_id: &[5; 8],
            trace_state: "l=1".into(),
            attributes: vec![attr("weight", Value::Int(1))],
        }],
        status_code: 2,
        status_message: "boom".into(),
        ..SpanView::default()
    }
}

pub(super) type Owned = (Vec<String>, String, String);

/// What a walk gives: per span its resource's attribute keys, its scope's name, and its debug text without `raw`.
fn walk_with(options: WalkOptions, payload: &[u8]) -> Result<Vec<Owned>, RecordError> {
    let mut seen = Vec::new();
    let spans = Walker::new(options).walk(payload, false, |resource, scope, span| {
        let keys = resource
            .attributes
            .iter()
            .map(|a| a.key.to_string())
            .collect();
        let span = SpanView {
            raw: &[],
            ..span.clone()
        };
        seen.push((keys, scope.name.to_string(), format!("{span:?}")));
    })?;
    assert_eq!(spans as usize, seen.len());
    Ok(seen)
}

pub(super) fn walk(payload: &[u8]) -> Result<Vec<Owned>, RecordError> {
    walk_with(WalkOptions::default(), payload)
}

fn one_span(payload: &[u8], check: impl Fn(&SpanView<'_>)) {
    let mut walker = Walker::default();
    let spans = walker
        .walk(payload, false, |_, _, span| check(span))
        .unwrap();
    assert_eq!(spans, 1);
}

pub(super) fn resource() -> ResourceView<'static> {
    ResourceView {
        attributes: vec![text_attr("service.name", "agent-1")],
    }
}

pub(super) fn scope() -> ScopeView<'static> {
    ScopeView {
        name: "tracer".into(),
        version: "1.2".into(),
    }
}

#[test]
fn every_field_of_a_span_is_read() {
    let payload = request(&resource(), &scope(), &[full_span()]);
    let mut walker = Walker::default();
    let spans = walker.walk(&payload, false, |resource, scope, span| {
        assert_eq!(*resource, self::resource());
        assert_eq!(*scope, self::scope());
        assert!(payload.ends_with(span.raw) && !span.raw.is_empty());
        assert_eq!(
            SpanView {
                raw: &[],
                ..span.clone()
            },
            full_span()
        );
    });
    assert_eq!(spans, Ok(1));
}

#[test]
fn indexes_count_over_resources_and_a_walker_forgets_the_record_before() {
    let mut writer = Writer::new();
    for service in ["a", "b"] {
        writer.resource_spans(|w| {
            w.resource(&ResourceView {
                attributes: vec![text_attr("service.name", service)],
            });
            w.scope_spans(|w| {
                w.span(&full_span());
                w.span(&SpanView::default());
            });
        });
    }
    let payload = writer.into_bytes();
    let mut walker = Walker::default();
    for _ in 0..2 {
        let mut seen = Vec::new();
        let spans = walker.walk(&payload, false, |resource, scope, span| {
            assert_eq!(*scope, ScopeView::default());
            let service = resource.attributes[0].value.text().into_owned();
            seen.push((service, span.index, span.events.len(), span.name.is_empty()));
        });
        assert_eq!(spans, Ok(4));
        let expected = [
            ("a", 0, 1, false),
            ("a", 1, 0, true),
            ("b", 2, 1, false),
            ("b", 3, 0, true),
        ];
        assert_eq!(seen, expected.map(|(s, i, e, n)| (s.to_owned(), i, e, n)));
    }
}

#[test]
fn a_resource_and_a_scope_after_their_spans_still_count() {
    let mut writer = Writer::new();
    writer.resource_spans(|w| {
        w.scope_spans(|w| {
            w.span(&full_span());
            w.scope(&scope());
        });
        w.resource(&resource());
    });
    let reordered = walk(&writer.into_bytes()).unwrap();
    assert_eq!(
        reordered,
        walk(&request(&resource(), &scope(), &[full_span()])).unwrap()
    );
}

#[test]
fn unknown_fields_are_skipped_at_every_level() {
    fn noise(w: &mut Writer) {
        w.varint(wire::key(900, wire::VARINT), u64::MAX);
        w.fixed64(wire::key(901, wire::FIXED64), 7);
        w.bytes(
            wire::key(1000, LENGTH),
            b"instrumentation_library_spans once",
        );
    }
    let mut writer = Writer::new();
    noise(&mut writer);
    writer.resource_spans(|w| {
        noise(w);
        w.resource(&resource());
        w.scope_spans(|w| {
            noise(w);
            w.scope(&scope());
            w.message(scope_spans::SPANS, |w| {
                noise(w);
                w.bytes(span::NAME, b"n");
                w.message(span::ATTRIBUTES, noise);
                w.message(span::EVENTS, noise);
                w.message(span::LINKS, noise);
                w.message(span::STATUS, noise);
            });
        });
    });
    one_span(&writer.into_bytes(), |span| {
        assert_eq!(span.name, "n");
        assert_eq!(
            (span.attributes.len(), span.events.len(), span.links.len()),
            (1, 1, 1)
        );
    });
}

#[test]
fn private_fields_are_read_only_from_our_own_transcoder() {
    let mut writer = Writer::new();
    writer.resource_spans(|w| {
        w.scope_spans(|w| {
            w.message(scope_spans::SPANS, |w| w.bytes(span::SPAN_REF, b"step-1"));
        });
    });
    let payload = writer.into_bytes();
    for (transcoded, expected) in [(false, ""), (true, "step-1")] {
        let mut walker = Walker::default();
        let spans = walker.walk(&payload, transcoded, |_, _, span| {
            assert_eq!(span.refs.span_ref, expected);
        });
        assert_eq!(spans, Ok(1));
    }
}

#[test]
fn a_known_field_of_another_wire_type_is_an_error_with_its_position() {
    let mut writer = Writer::new();
    writer.resource_spans(|w| {
        w.scope_spans(|w| {
            w.message(scope_spans::SPANS, |w| {
                w.varint(wire::key(5, wire::VARINT), 1)
            })
        });
    });
    let error = walk(&writer.into_bytes()).unwrap_err();
    assert_eq!(
        error,
        RecordError::BadWireType {
            at: 6,
            field: 5,
            wire: 0
        }
    );
    assert_eq!(error.code(), "bad_wire_type");
    assert!(error.to_string().contains("field 5 at byte 6"), "{error}");
}

#[test]
fn bad_utf8_is_replaced_and_the_span_lands() {
    let mut writer = Writer::new();
    writer.resource_spans(|w| {
        w.scope_spans(|w| {
            w.message(scope_spans::SPANS, |w| {
                w.bytes(span::NAME, b"a\xffb");
                w.message(span::ATTRIBUTES, |w| {
                    w.bytes(wire::key(1, LENGTH), b"\xe6\xb1")
                });
            });
        });
    });
    one_span(&writer.into_bytes(), |span| {
        assert_eq!(span.name, "a\u{fffd}b");
        assert_eq!(span.attributes[0].key, "\u{fffd}");
    });
}

#[test]
fn ten_thousand_attributes_are_cut_and_counted() {
    let keys: Vec<String> = (0..10_000).map(|i| format!("k{i}")).collect();
    let span = SpanView {
        attributes: keys.iter().map(|key| attr(key, Value::Int(1))).collect(),
        ..SpanView::default()
    };
    let payload = request(&resource(), &scope(), &[span, full_span()]);
    let mut counts = Vec::new();
    let walked = Walker::default().walk(&payload, false, |_, _, span| {
        counts.push((span.attributes.len(), span.attributes.last().cloned()));
    });
    assert_eq!(walked, Ok(2));
    assert_eq!(
        counts[0],
        (
            1025,
            Some(attr(DROPPED_ATTRIBUTES, Value::Int(10_000 - 1024)))
        )
    );
    assert_eq!(counts[1].0, 6);
}

#[test]
fn events_links_and_long_names_are_cut_as_set() {
    let options = WalkOptions {
        max_events: 1,
        max_links: 1,
        max_event_attributes: 1,
        max_name_bytes: 4,
        ..WalkOptions::default()
    };
    let event = EventView {
        attributes: vec![text_attr("a", "1"), text_attr("b", "2")],
        ..EventView::default()
    };
    let span = SpanView {
        name: "步骤一".into(),
        attributes: vec![text_attr("a.long.key", "1"), text_attr("four", "1")],
        events: vec![event; 3],
        links: vec![LinkView::default(); 2],
        ..SpanView::default()
    };
    let payload = request(&resource(), &scope(), &[span]);
    let walked = Walker::new(options).walk(&payload, false, |_, _, span| {
        assert_eq!(span.name, "步…");
        let keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_ref()).collect();
        assert_eq!(keys, ["a.lo…", "four", DROPPED_EVENTS, DROPPED_LINKS]);
        assert_eq!(span.attributes[2].value, Value::Int(2));
        assert_eq!((span.events.len(), span.links.len()), (1, 1));
        assert_eq!(span.events[0].attributes.len(), 1);
    });
    assert_eq!(walked, Ok(1));
}

#[test]
fn swapped_and_missing_starts_are_marked() {
    for (start, end, mark) in [
        (5, 5, None),
        (6, 5, Some("end_before_start")),
        (0, 5, Some("no_start")),
        (5, 0, None),
    ] {
        let span = SpanView {
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..SpanView::default()
        };
        one_span(&request(&resource(), &scope(), &[span]), |span| {
            let marks: Vec<_> = span
                .attributes
                .iter()
                .map(|a| (a.key.as_ref(), a.value.text()))
                .collect();
            let expected: Vec<_> = mark.iter().map(|m| (CLEANED, (*m).into())).collect();
            assert_eq!(marks, expected);
        });
    }
}

#[test]
fn nesting_is_followed_to_its_limit_and_refused_beyond() {
    let nested = |levels: usize| {
        let mut body = array(&[Value::Int(1)]);
        for level in 1..levels {
            body = match level % 2 {
                0 => array(&[Value::KvList(&body)]),
                _ => kv_list(&[attr("k", Value::Array(&body))]),
            };
        }
        let value = if levels % 2 == 1 {
            Value::Array(&body)
        } else {
            Value::KvList(&body)
        };
        let span = SpanView {
            attributes: vec![attr("deep", value)],
            ..SpanView::default()
        };
        walk(&request(&resource(), &scope(), &[span]))
    };
    assert!(nested(64).is_ok());
    assert!(matches!(
        nested(65),
        Err(RecordError::TooDeep { limit: 64, .. })
    ));
    assert!(matches!(nested(20_000), Err(RecordError::TooDeep { .. })));
}

#[test]
fn a_fault_deep_in_a_nested_value_rejects_the_record() {
    let body = [0x0a, 0x02, 0x0a, 0x09];
    let span = SpanView {
        attributes: vec![attr("broken", Value::Array(&body))],
        ..SpanView::default()
    };
    let error = walk(&request(&resource(), &scope(), &[span])).unwrap_err();
    assert_eq!(error.code(), "truncated");
}

#[test]
fn a_payload_cut_anywhere_but_between_resources_is_an_error() {
    let first = request(&resource(), &scope(), &[full_span(), full_span()]);
    let second = request(&resource(), &scope(), &[full_span()]);
    let payload = [first.clone(), second].concat();
    for cut in 0..payload.len() {
        let result = walk(&payload[..cut]).map(|spans| spans.len());
        match cut {
            0 => assert_eq!(result, Ok(0)),
            _ if cut == first.len() => assert_eq!(result, Ok(2)),
            _ => assert_eq!(
                result.map_err(|e| e.code()),
                Err("truncated"),
                "cut at {cut}"
            ),
        }
    }
}
