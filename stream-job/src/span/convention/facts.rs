//! The one pass over a span's attributes: which of the keys that we know are there, and with what value.

use std::borrow::Cow;

use super::keys::Key;
use crate::span::view::{Attr, Value};

/// What a set of attributes says, by key. A key that comes twice counts with its last value, as in a map.
pub(crate) struct Facts<'a> {
    values: [Option<&'a Value<'a>>; Key::COUNT],
    /// All attributes, for what is numbered (`llm.input_messages.0.…`).
    pub(crate) attributes: &'a [Attr<'a>],
    /// There is an attribute that only OpenLLMetry writes.
    pub(crate) openllmetry: bool,
    /// There are keys under one of [`NUMBERED`].
    pub(crate) numbered: bool,
}

/// What starts a numbered key: messages spread over attributes.
pub(crate) const NUMBERED: [&str; 4] = [
    "llm.input_messages.",
    "llm.output_messages.",
    "gen_ai.prompt.",
    "gen_ai.completion.",
];

impl<'a> Facts<'a> {
    /// Reads the attributes once.
    pub(crate) fn read(attributes: &'a [Attr<'a>]) -> Facts<'a> {
        let mut facts = Facts {
            values: [None; Key::COUNT],
            attributes,
            openllmetry: false,
            numbered: false,
        };
        for attribute in attributes {
            let name = attribute.key.as_ref();
            if let Some(key) = Key::of(name) {
                facts.values[key as usize] = Some(&attribute.value);
            } else if let Some(b'l' | b'g') = name.as_bytes().first() {
                facts.numbered |= NUMBERED.iter().any(|prefix| name.starts_with(prefix));
            }
            facts.openllmetry |= name.starts_with("traceloop.");
        }
        facts.openllmetry |= facts.has(Key::TlRequestType) || facts.has(Key::TlTokensTotal);
        facts
    }

    /// The value of a key, where it was sent and is not empty.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&'a Value<'a>> {
        self.values[key as usize].filter(|value| !is_empty(value))
    }

    /// Whether a key was sent with a value.
    #[inline]
    pub(crate) fn has(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// A key's value as text; borrowed where it was sent as text.
    pub(crate) fn text(&self, key: Key) -> Option<Cow<'a, str>> {
        self.get(key).map(Value::text)
    }

    /// A key's value if it was sent as text.
    pub(crate) fn str(&self, key: Key) -> Option<&'a str> {
        match self.get(key) {
            Some(Value::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// The first of these keys that has a value, as text.
    pub(crate) fn first_text(&self, keys: &[Key]) -> Option<Cow<'a, str>> {
        keys.iter().find_map(|&key| self.text(key))
    }
}

/// Whether a value says nothing.
#[inline]
pub(crate) fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Empty => true,
        Value::Str(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Array(body) | Value::KvList(body) => body.is_empty(),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => false,
    }
}
