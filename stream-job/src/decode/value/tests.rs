#![allow(clippy::unwrap_used)]

use super::*;
use crate::decode::encode::{array, attr, kv_list, text_attr};

#[test]
fn scalars_read_as_the_collector_writes_them() {
    for (value, text) in [
        (Value::Empty, ""),
        (Value::Str("as is \"\n".into()), "as is \"\n"),
        (Value::Bool(true), "true"),
        (Value::Int(i64::MIN), "-9223372036854775808"),
        (Value::Double(1.0), "1"),
        (Value::Double(-0.5), "-0.5"),
        (Value::Double(1e-7), "1e-7"),
        (Value::Double(0.000_001), "0.000001"),
        (Value::Double(1.5e21), "1.5e+21"),
        (Value::Double(1e20), "100000000000000000000"),
        (Value::Double(f64::NAN), "NaN"),
        (Value::Double(f64::NEG_INFINITY), "-Infinity"),
        (Value::Bytes(&[0xfb, 0xff]), "+/8="),
        (Value::Array(&[]), "[]"),
        (Value::KvList(&[]), "{}"),
    ] {
        assert_eq!(value.text(), text, "{value:?}");
    }
}

#[test]
fn nested_values_render_as_json_that_a_parser_reads() {
    let inner = kv_list(&[
        text_attr("路径", "a\"b\\c\u{1}\n\t😀"),
        attr("n", Value::Int(-1)),
        attr("nan", Value::Double(f64::NAN)),
        attr("none", Value::Empty),
        attr("bytes", Value::Bytes(b"foo")),
    ]);
    let outer = array(&[
        Value::KvList(&inner),
        Value::Bool(false),
        Value::Double(0.25),
    ]);
    let text = Value::Array(&outer).text().into_owned();
    assert_eq!(
        text,
        "[{\"路径\":\"a\\\"b\\\\c\\u0001\\n\\t😀\",\"n\":-1,\"nan\":\"NaN\",\"none\":null,\"bytes\":\"Zm9v\"},false,0.25]"
    );
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed[0]["路径"], "a\"b\\c\u{1}\n\t😀");
}

#[test]
fn items_and_entries_give_what_was_encoded() {
    let items = [Value::Int(1), Value::Str("two".into()), Value::Empty];
    let body = array(&items);
    assert_eq!(Value::Array(&body).items().collect::<Vec<_>>(), items);
    let entries = [text_attr("a", "1"), text_attr("", "2"), text_attr("a", "3")];
    let body = kv_list(&entries);
    assert_eq!(Value::KvList(&body).entries().collect::<Vec<_>>(), entries);
    assert_eq!(
        Value::Int(1).items().count() + Value::Int(1).entries().count(),
        0
    );
}

#[test]
fn a_hand_made_value_nested_without_end_still_renders() {
    let mut body = Vec::new();
    for _ in 0..2000 {
        body = array(&[Value::Array(&body)]);
    }
    assert!(Value::Array(&body).text().contains("null"));
}
