#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Reads any value as serde_json has it, through the reader alone.
fn read(reader: &mut Reader<'_>) -> Result<serde_json::Value> {
    Ok(match reader.peek()? {
        Kind::Null => {
            assert!(reader.null()?);
            serde_json::Value::Null
        }
        Kind::Bool => reader.boolean()?.into(),
        Kind::Number => {
            // serde_json's own reading of floats is not exact.
            let text = reader.number()?;
            match serde_json::from_str(text).unwrap_or(serde_json::Value::Null) {
                serde_json::Value::Number(n) if n.is_f64() => text.parse::<f64>().unwrap().into(),
                other => other,
            }
        }
        Kind::String => reader.string()?.into_owned().into(),
        Kind::Array => {
            let mut items = Vec::new();
            reader.array(|r| {
                items.push(read(r)?);
                Ok(())
            })?;
            items.into()
        }
        Kind::Object => {
            let mut fields = serde_json::Map::new();
            reader.object(|r, name| {
                fields.insert(name.to_owned(), read(r)?);
                Ok(())
            })?;
            fields.into()
        }
    })
}

fn parse(payload: &[u8]) -> Result<serde_json::Value> {
    let mut reader = Reader::new(payload)?;
    let value = read(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn skip(payload: &[u8]) -> Result<()> {
    let mut reader = Reader::new(payload)?;
    reader.skip()?;
    reader.end()
}

fn fault(payload: &str) -> (usize, String, String) {
    let fault = parse(payload.as_bytes()).unwrap_err();
    assert_eq!(
        skip(payload.as_bytes()),
        Err(fault.clone()),
        "skipping finds what reading finds"
    );
    (fault.at, fault.path, fault.problem)
}

#[test]
fn errors_say_which_value_at_which_byte() {
    let (at, path, problem) = fault("{\"spans\": [{}, {\"名\": tru}]}");
    assert_eq!((at, path.as_str()), (23, "$.spans[1].名"));
    assert_eq!(problem, "expected true, found 't'");
    assert_eq!(
        fault("[1, 2").2,
        "expected a comma or the end of the array, found the end"
    );
    assert_eq!(fault("[1,]").2, "expected a value, found ']'");
    assert_eq!(
        fault("{} x").2,
        "expected the end of the payload, found 'x'"
    );
    assert_eq!(fault("\"a\nb\"").0, 2);
    assert_eq!(fault("\"\\x\"").2, "unknown escape sequence in a string");
    assert_eq!(fault("\"\\u12").0, 1);
    assert_eq!(fault("\"\\").0, 1);
    assert_eq!(fault("{1:2}").2, "expected a string, found '1'");
    assert_eq!(fault("[NaN]").2, "expected a value, found 'N'");
}

#[test]
fn a_name_that_stands_twice_is_refused_in_small_and_large_objects() {
    let (at, path, problem) = fault("{\"a\":1,\"b\":{\"c\":1,\"\\u0063\":2}}");
    assert_eq!((at, path.as_str()), (18, "$.b"));
    assert_eq!(problem, "the name \"c\" stands twice in this object");
    let large: Vec<String> = (0..100)
        .chain([77])
        .map(|i| format!("\"k{i}\":0"))
        .collect();
    let (_, _, problem) = fault(&format!("{{{}}}", large.join(",")));
    assert_eq!(problem, "the name \"k77\" stands twice in this object");
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_their_position() {
    let fault = parse(b"{\"a\":\"\xff\"}").unwrap_err();
    assert_eq!((fault.at, fault.path.as_str()), (6, "$"));
}

#[test]
fn a_byte_order_mark_and_white_space_are_skipped() {
    assert_eq!(
        parse("\u{feff} [ ] \n".as_bytes()).unwrap(),
        serde_json::json!([])
    );
}

#[test]
fn surrogates_are_joined_and_halves_replaced() {
    let text =
        r#"["\ud83d\ude00", "\ud83d", "\ude00x", "\ud83d\ud83d\ude00", "\ud83d\n", "\u4e2d"]"#;
    let expected = serde_json::json!([
        "😀",
        "\u{fffd}",
        "\u{fffd}x",
        "\u{fffd}😀",
        "\u{fffd}\n",
        "中"
    ]);
    assert_eq!(parse(text.as_bytes()).unwrap(), expected);
}

#[test]
fn nesting_without_end_is_an_error_not_a_crash() {
    for open in ["[", "{\"a\":"] {
        let (at, path, problem) = fault(&open.repeat(1_000_000));
        assert_eq!(problem, "nested more than 256 levels deep");
        assert_eq!(at, 256 * open.len());
        assert!(path.len() < 200);
    }
    assert!(skip(format!("{}{}", "[".repeat(256), "]".repeat(256)).as_bytes()).is_ok());
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (-1e300..1e300f64).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[\\x00-\\x7f]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|fields| { serde_json::Value::Object(fields.into_iter().collect()) }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_serde_json_writes_is_read(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let text = text.unwrap();
        prop_assert_eq!(parse(&text).unwrap(), value);
        prop_assert!(skip(&text).is_ok());
    }

    #[test]
    fn it_accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9eE.+\\-\\\\utrfalsn ]{0,12}") {
        let ours = parse(text.as_bytes());
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(theirs) => match ours {
                Ok(ours) => prop_assert_eq!(ours.is_object(), theirs.is_object()),
                Err(fault) => prop_assert!(fault.problem.contains("stands twice"), "{:?}", fault),
            },
            // serde_json refuses halves of surrogate pairs and numbers beyond f64.
            Err(error) if error.to_string().contains("surrogate") || error.to_string().contains("range") => {}
            Err(_) => prop_assert!(ours.is_err(), "{}", text),
        }
    }
}
