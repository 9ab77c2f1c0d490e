//! A tool's arguments: where they stand, and a hash under which equal arguments are equal.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use super::facts::Facts;
use super::json::Json;
use super::keys::Key;

/// The arguments of a tool call, as text.
///
/// `tool.parameters` comes after `input.value`, and not at all where it is the tool's schema, which some packages
/// write there.
pub(crate) fn read<'a>(facts: &Facts<'a>) -> Option<Cow<'a, str>> {
    facts
        .first_text(&[Key::AgentToolArguments, Key::AgentInput, Key::OiInput])
        .or_else(|| {
            facts
                .text(Key::OiToolParameters)
                .filter(|text| !is_schema(text))
        })
        .or_else(|| {
            facts.first_text(&[
                Key::OiCallArguments,
                Key::GenAiToolArguments,
                Key::TlEntityInput,
                Key::PydanticToolArguments,
            ])
        })
}

/// The xxh3-64 of the arguments: of their canonical JSON (members sorted by name, no space), where they are JSON, else
/// of their trimmed text; 0 where there are none.
pub(crate) fn hash(arguments: &str) -> u64 {
    let arguments = arguments.trim();
    if arguments.is_empty() {
        return 0;
    }
    match Json::parse(arguments) {
        Some(mut json) => {
            json.sort();
            let mut canonical = String::with_capacity(arguments.len());
            json.write(&mut canonical);
            xxh3_64(canonical.as_bytes())
        }
        None => xxh3_64(arguments.as_bytes()),
    }
}

/// The model among an OpenInference call's parameters, where a call that failed has no model otherwise.
pub(crate) fn model(facts: &Facts<'_>) -> Option<String> {
    let json = Json::parse_container(facts.str(Key::OiInvocation)?)?;
    let name = ["model", "model_name"]
        .iter()
        .find_map(|name| json.member(name)?.as_text());
    name.map(str::to_owned)
}

/// Whether a text is a JSON schema: of an object, or a map from parameter to the schema of each.
fn is_schema(text: &str) -> bool {
    let Some(json) = Json::parse_container(text) else {
        return false;
    };
    let Json::Object(members) = &json else {
        return false;
    };
    json.member("$schema").is_some()
        || matches!(json.member("properties"), Some(Json::Object(_)))
        || json.member("type").and_then(Json::as_text) == Some("object")
        || !members.is_empty()
            && members
                .iter()
                .all(|(_, value)| describes_a_parameter(value))
}

fn describes_a_parameter(value: &Json<'_>) -> bool {
    const TYPES: [&str; 7] = [
        "string", "integer", "number", "boolean", "array", "object", "null",
    ];
    value
        .member("type")
        .and_then(Json::as_text)
        .is_some_and(|name| TYPES.contains(&name))
        || ["$ref", "anyOf", "oneOf", "allOf", "enum"]
            .iter()
            .any(|name| value.member(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_arguments_hash_alike_however_they_are_written() {
        let hashed = hash(r#"{"city":"Paris","days":3}"#);
        assert_eq!(
            hashed,
            hash("{ \"days\" : 3,\n \"city\": \"P\\u0061ris\" }")
        );
        assert_eq!(hashed, xxh3_64(br#"{"city":"Paris","days":3}"#));
        assert_ne!(hashed, hash(r#"{"city":"Paris","days":4}"#));
    }

    #[test]
    fn arguments_that_are_no_json_are_hashed_as_trimmed_text() {
        assert_eq!(hash("  Paris, please "), xxh3_64(b"Paris, please"));
        assert_eq!(hash("{'city': 'Paris'}"), xxh3_64(b"{'city': 'Paris'}"));
    }

    #[test]
    fn no_arguments_hash_to_zero_but_an_empty_object_does_not() {
        assert_eq!(hash(""), 0);
        assert_eq!(hash(" \n"), 0);
        assert_ne!(hash("{}"), 0);
    }

    #[test]
    fn a_schema_is_told_from_arguments() {
        assert!(is_schema(
            r#"{"type":"object","properties":{"city":{"type":"string"}}}"#
        ));
        assert!(is_schema(r#"{"city":{"title":"City","type":"string"}}"#));
        assert!(is_schema(r#"{"$schema":"x"}"#));
        assert!(!is_schema(r#"{"city":"Paris"}"#));
        assert!(!is_schema(r#"{"type":"museum","city":"Paris"}"#));
        assert!(!is_schema("{}"));
        assert!(!is_schema("city"));
    }
}
