//! Attributes as text: previews, hashes of long texts, and JSON for nested values.

use std::borrow::Cow;
use std::fmt::Write;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Contents;
use crate::sink::native::{HEX, LabelMap};
use crate::span::view::{Attr, Value};

/// Characters of a text that stay in its row.
const PREVIEW_CHARS: usize = 256;

/// The trace hash that `dwd_span` is ordered by: xxh3-64 of the lowercase hex trace id.
#[must_use]
pub fn trace_hash(trace_id: &[u8; 16]) -> u64 {
    let mut hex = [0; 32];
    for (pair, &byte) in hex.chunks_exact_mut(2).zip(trace_id) {
        pair.copy_from_slice(&HEX[byte as usize]);
    }
    xxh3_64(&hex)
}

/// The first 256 characters, if the text has more than that.
pub(super) fn preview_of_long(text: &str) -> Option<&str> {
    if text.len() <= PREVIEW_CHARS {
        return None;
    }
    if text.as_bytes()[..=PREVIEW_CHARS].is_ascii() {
        return Some(&text[..PREVIEW_CHARS]);
    }
    let (end, _) = text.char_indices().nth(PREVIEW_CHARS)?;
    Some(&text[..end])
}

/// The key of a text in `dwd_content`: xxh3-128 as 32 lowercase hex digits, big-endian.
pub(super) fn hash_hex(hash: u128) -> [u8; 32] {
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(hash.to_be_bytes()) {
        pair.copy_from_slice(&HEX[byte as usize]);
    }
    hex
}

/// Writes the texts of a row: short ones whole, long ones as a preview with their hash, the text itself to
/// `dwd_content`. A text that the row holds in several places (an input is also an attribute) is hashed once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Address, length and hash of this row's long texts.
    hashed: Vec<(usize, usize, u128)>,
    /// Scratch for numbers.
    rendered: String,
}

impl Texts {
    /// Forgets the row before: its texts may be gone, and others in their place.
    pub(super) fn start_row(&mut self) {
        self.hashed.clear();
    }

    /// The preview to keep, and the hash if the text is long. All texts passed between two calls of
    /// [`Texts::start_row`] must stay where they are until the second.
    #[inline]
    pub(super) fn shorten<'t>(
        &mut self,
        text: &'t str,
        contents: &mut (impl Contents + ?Sized),
    ) -> (&'t str, Option<u128>) {
        match preview_of_long(text) {
            None => (text, None),
            Some(preview) => (preview, Some(self.hash(text, contents))),
        }
    }

    fn hash(&mut self, text: &str, contents: &mut (impl Contents + ?Sized)) -> u128 {
        let (at, len) = (text.as_ptr() as usize, text.len());
        let known = self
            .hashed
            .iter()
            .find(|known| (known.0, known.1) == (at, len));
        if let Some(&(_, _, hash)) = known {
            return hash;
        }
        let hash = xxh3_128(text.as_bytes());
        contents.offer(hash, text);
        self.hashed.push((at, len, hash));
        hash
    }

    /// Writes one row of attributes, in the order sent. The hashes of the long ones become entries of `hashes`,
    /// whose row the caller ends.
    pub(super) fn push_attributes(
        &mut self,
        attributes: &[Attr<'_>],
        values: &mut LabelMap,
        hashes: &mut LabelMap,
        contents: &mut (impl Contents + ?Sized),
    ) {
        for Attr { key, value } in attributes {
            let hash = match value {
                Value::Str(text) => {
                    let (kept, hash) = self.shorten(text, contents);
                    values.entry(key, kept);
                    hash
                }
                other => self.push_rendered(key, other, values, contents),
            };
            if let Some(hash) = hash {
                hashes.entry(key, hex_text(&hash_hex(hash)));
            }
        }
        values.end_row();
    }

    fn push_rendered(
        &mut self,
        key: &str,
        value: &Value<'_>,
        values: &mut LabelMap,
        contents: &mut (impl Contents + ?Sized),
    ) -> Option<u128> {
        let text = match value {
            Value::Int(number) => {
                // Token counts are on every other span: no allocation. Writing to a String cannot fail.
                self.rendered.clear();
                let _ = write!(self.rendered, "{number}");
                Cow::Borrowed(self.rendered.as_str())
            }
            other => other.text(),
        };
        let Some(preview) = preview_of_long(&text) else {
            values.entry(key, &text);
            return None;
        };
        values.entry(key, preview);
        // Not remembered by address: the next rendered text may stand in the same place.
        let hash = xxh3_128(text.as_bytes());
        contents.offer(hash, &text);
        Some(hash)
    }
}

/// Hex digits as text.
pub(super) fn hex_text(hex: &[u8; 32]) -> &str {
    std::str::from_utf8(hex).expect("hex digits are ASCII")
}
