//! What holds for all spans, and for all bytes.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::tests::{full_span, resource, scope, walk};
use crate::decode::encode::{array, attr, kv_list, request};
use crate::span::view::{SpanView, Value};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.]{0,12}", ".{0,40}"]
}

/// A value with its lists encoded; owned, as views borrow.
#[derive(Clone, Debug)]
enum OwnedValue {
    Empty,
    Str(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Array(Vec<u8>),
    KvList(Vec<u8>),
}

impl OwnedValue {
    fn view(&self) -> Value<'_> {
        match self {
            OwnedValue::Empty => Value::Empty,
            OwnedValue::Str(text) => Value::Str(text.as_str().into()),
            OwnedValue::Bool(flag) => Value::Bool(*flag),
            OwnedValue::Int(number) => Value::Int(*number),
            OwnedValue::Double(number) => Value::Double(*number),
            OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
            OwnedValue::Array(body) => Value::Array(body),
            OwnedValue::KvList(body) => Value::KvList(body),
        }
    }
}

fn any_value() -> impl Strategy<Value = OwnedValue> {
    let leaf = prop_oneof![
        Just(OwnedValue::Empty),
        any_text().prop_map(OwnedValue::Str),
        any::<bool>().prop_map(OwnedValue::Bool),
        any::<i64>().prop_map(OwnedValue::Int),
        any::<f64>().prop_map(OwnedValue::Double),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(OwnedValue::Bytes),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| {
                let items: Vec<_> = items.iter().map(OwnedValue::view).collect();
                OwnedValue::Array(array(&items))
            }),
            prop::collection::vec((any_text(), inner), 0..4).prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(k, v)| attr(k, v.view())).collect();
                OwnedValue::KvList(kv_list(&entries))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_walked(
        name in any_text(),
        ids in any::<([u8; 16], [u8; 8], bool)>(),
        kind in any::<i32>(),
        start in 1u64..u64::MAX,
        length in 0u64..1_000_000,
        attributes in prop::collection::vec((any_text(), any_value()), 0..12),
        status_code in any::<i32>(),
    ) {
        let span = SpanView {
            trace_id: &ids.0,
            span_id: &ids.1,
            parent_span_id: if ids.2 { &ids.1 } else { &[] },
            name: name.as_str().into(),
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(length),
            attributes: attributes.iter().map(|(k, v)| attr(k, v.view())).collect(),
            status_code,
            status_message: name.as_str().into(),
            ..SpanView::default()
        };
        let payload = request(&resource(), &scope(), std::slice::from_ref(&span));
        let walked = walk(&payload).unwrap();
        prop_assert_eq!(&walked[0].2, &format!("{span:?}"));
        for attr in &span.attributes {
            if matches!(attr.value, Value::Array(_) | Value::KvList(_)) {
                let text = attr.value.text();
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_walk_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = walk(&payload);
    }

    #[test]
    fn no_mutation_makes_the_walk_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let nested = kv_list(&[attr("k", Value::Array(&array(&[Value::Bool(true)])))]);
        let mut span = full_span();
        span.attributes.push(attr("nested", Value::KvList(&nested)));
        let mut payload = request(&resource(), &scope(), &[span]);
        for (index, byte) in edits {
            let at = index.index(payload.len());
            payload[at] = byte;
        }
        if let Ok(spans) = walk(&payload) {
            prop_assert!(spans.len() < payload.len());
        }
        let _ = walk(&payload[..cut.index(payload.len())]);
    }
}
