//! `AnyValue`: decoding in place, checking of nested values, and their text.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::base64;
use super::schema::{any_value, key_value, list};
use super::wire::{Cursor, Fault};
use crate::span::view::{Attr, Value};

/// A string as sent; where it is not UTF-8 the bad bytes become U+FFFD.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    // Most texts are short and plain ASCII, which is checked a word at a time wherever the text starts; the check of
    // UTF-8 goes byte by byte up to the first aligned word, and that is most of a short text.
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Cow::Borrowed(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    other_text(bytes)
}

#[inline(never)]
fn other_text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Decodes an `AnyValue`. A list is left encoded, after [`check_list`] has walked it: whoever reads it later need not
/// expect faults.
///
/// `levels` is how many levels of lists are still allowed, of `limit`.
#[inline]
pub(crate) fn any_value<'a>(
    mut cursor: Cursor<'a>,
    levels: u32,
    limit: u32,
) -> Result<Value<'a>, Fault> {
    let mut value = Value::Empty;
    while !cursor.is_done() {
        let start = cursor.at();
        value = match cursor.key()? {
            any_value::STRING => Value::Str(text(cursor.bytes()?)),
            any_value::BOOL => Value::Bool(cursor.varint()? != 0),
            any_value::INT => Value::Int(cursor.varint()?.cast_signed()),
            any_value::DOUBLE => Value::Double(f64::from_bits(cursor.fixed64()?)),
            any_value::BYTES => Value::Bytes(cursor.bytes()?),
            any_value::ARRAY => {
                let body = cursor.message()?;
                check_list(body, false, levels, limit)?;
                Value::Array(body.rest())
            }
            any_value::KVLIST => {
                let body = cursor.message()?;
                check_list(body, true, levels, limit)?;
                Value::KvList(body.rest())
            }
            key => {
                cursor.skip(start, key, any_value::KNOWN)?;
                continue;
            }
        };
    }
    Ok(value)
}

/// Walks the body of an `ArrayValue` or, with `keyed`, of a `KeyValueList` to its leaves.
fn check_list(mut body: Cursor<'_>, keyed: bool, levels: u32, limit: u32) -> Result<(), Fault> {
    if levels == 0 {
        return Err(Fault::depth(body.at(), limit));
    }
    while !body.is_done() {
        let start = body.at();
        match body.key()? {
            list::VALUES if keyed => {
                attr(body.message()?, levels - 1, limit)?;
            }
            list::VALUES => {
                any_value(body.message()?, levels - 1, limit)?;
            }
            key => body.skip(start, key, list::KNOWN)?,
        }
    }
    Ok(())
}

/// Decodes a `KeyValue`.
#[inline]
pub(crate) fn attr<'a>(mut cursor: Cursor<'a>, levels: u32, limit: u32) -> Result<Attr<'a>, Fault> {
    let mut key = Cow::Borrowed("");
    let mut value = Value::Empty;
    while !cursor.is_done() {
        let start = cursor.at();
        match cursor.key()? {
            key_value::KEY => key = text(cursor.bytes()?),
            key_value::VALUE => value = any_value(cursor.message()?, levels, limit)?,
            other => cursor.skip(start, other, key_value::KNOWN)?,
        }
    }
    Ok(Attr { key, value })
}

/// Levels of nesting that the reading of an already checked list follows; beyond them it sees [`Value::Empty`].
/// Above every limit that the walk can be set to, so that only hand-made values meet it.
pub(crate) const READ_LEVELS: u32 = 256;

/// The items of an encoded `ArrayValue` body, up to the first fault.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    body: Cursor<'a>,
}

/// The entries of an encoded `KeyValueList` body, up to the first fault.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    body: Cursor<'a>,
}

/// The next element of a list's body.
fn next_element<'a>(body: &mut Cursor<'a>) -> Option<Cursor<'a>> {
    while !body.is_done() {
        let start = body.at();
        match body.key().ok()? {
            list::VALUES => return body.message().ok(),
            key => body.skip(start, key, list::KNOWN).ok()?,
        }
    }
    None
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        shallow_value(next_element(&mut self.body)?)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let mut cursor = next_element(&mut self.body)?;
        let mut attr = Attr {
            key: Cow::Borrowed(""),
            value: Value::Empty,
        };
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key().ok()? {
                key_value::KEY => attr.key = text(cursor.bytes().ok()?),
                key_value::VALUE => attr.value = shallow_value(cursor.message().ok()?)?,
                key => cursor.skip(start, key, key_value::KNOWN).ok()?,
            }
        }
        Some(attr)
    }
}

/// Decodes an `AnyValue` without a look into its lists, so that a nested list is walked once a level, not once a
/// level of each of its ancestors.
fn shallow_value(mut cursor: Cursor<'_>) -> Option<Value<'_>> {
    let mut value = Value::Empty;
    while !cursor.is_done() {
        let start = cursor.at();
        value = match cursor.key().ok()? {
            any_value::STRING => Value::Str(text(cursor.bytes().ok()?)),
            any_value::BOOL => Value::Bool(cursor.varint().ok()? != 0),
            any_value::INT => Value::Int(cursor.varint().ok()?.cast_signed()),
            any_value::DOUBLE => Value::Double(f64::from_bits(cursor.fixed64().ok()?)),
            any_value::BYTES => Value::Bytes(cursor.bytes().ok()?),
            any_value::ARRAY => Value::Array(cursor.bytes().ok()?),
            any_value::KVLIST => Value::KvList(cursor.bytes().ok()?),
            key => {
                cursor.skip(start, key, any_value::KNOWN).ok()?;
                continue;
            }
        };
    }
    Some(value)
}

impl<'a> Value<'a> {
    /// The items of an array; none of any other value.
    #[must_use]
    pub fn items(&self) -> Items<'a> {
        let body = match self {
            Value::Array(body) => body,
            _ => &[][..],
        };
        Items {
            body: Cursor::new(body),
        }
    }

    /// The entries of a key-value list; none of any other value.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        let body = match self {
            Value::KvList(body) => body,
            _ => &[][..],
        };
        Entries {
            body: Cursor::new(body),
        }
    }

    /// The value as a row has it: a string as it is, nothing as the empty string, numbers as OpenTelemetry's
    /// Collector writes them (`1`, `0.5`, `1e+21`), bytes as base64, arrays and key-value lists as compact JSON in the
    /// order sent.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Value::Empty => Cow::Borrowed(""),
            Value::Str(text) => Cow::Borrowed(text),
            Value::Bool(true) => Cow::Borrowed("true"),
            Value::Bool(false) => Cow::Borrowed("false"),
            Value::Int(number) => Cow::Owned(number.to_string()),
            Value::Double(number) => {
                let mut out = String::new();
                write_double(&mut out, *number);
                Cow::Owned(out)
            }
            Value::Bytes(bytes) => Cow::Owned(base64::encode(bytes)),
            Value::Array(_) | Value::KvList(_) => {
                let mut out = String::new();
                self.write_json(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Appends the value as compact JSON: bytes as base64 text, NaN and infinities as text, no value as `null`.
    pub fn write_json(&self, out: &mut String) {
        write_json(self, READ_LEVELS, out);
    }
}

fn write_json(value: &Value<'_>, levels: u32, out: &mut String) {
    match value {
        _ if levels == 0 => out.push_str("null"),
        Value::Empty => out.push_str("null"),
        Value::Str(text) => write_json_string(out, text),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{number}");
        }
        Value::Double(number) if number.is_finite() => write_double(out, *number),
        Value::Double(number) => {
            out.push('"');
            write_double(out, *number);
            out.push('"');
        }
        Value::Bytes(bytes) => write_json_string(out, &base64::encode(bytes)),
        Value::Array(_) => {
            out.push('[');
            for (i, item) in value.items().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(&item, levels - 1, out);
            }
            out.push(']');
        }
        Value::KvList(_) => {
            out.push('{');
            for (i, entry) in value.entries().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json_string(out, &entry.key);
                out.push(':');
                write_json(&entry.value, levels - 1, out);
            }
            out.push('}');
        }
    }
}

/// The shortest decimal that reads back as the same number; an exponent below 1e-6 and from 1e21 on.
fn write_double(out: &mut String, number: f64) {
    let size = number.abs();
    // Writing to a String cannot fail.
    let _ = if number.is_nan() {
        write!(out, "NaN")
    } else if number.is_infinite() {
        write!(out, "{}Infinity", if number < 0.0 { "-" } else { "" })
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                write!(out, "{digits}e+{exponent}")
            }
            _ => write!(out, "{text}"),
        }
    } else {
        write!(out, "{number}")
    };
}

fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain_from..i]);
        plain_from = i + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

#[cfg(test)]
mod tests;
