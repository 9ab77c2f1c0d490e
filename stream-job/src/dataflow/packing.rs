//! The small form of state that nobody looks at for now: numbers of variable length, each text once, places next to equal
//! places for one byte. A tenth of the size of the structures it is made from, and of what their allocations cost besides.
//!
//! It is kept in checkpoints as it is, so a change of what is written is a change of the state's format.

use std::sync::Arc;

use super::trace_summary::Place;

/// So many texts can be referred back to; those after them are written out each time.
const TEXTS: usize = 32;

/// Bytes that most packed keys fit into: one allocation that grows hardly ever, and is gone once its copy is kept.
const ROOM: usize = 512;

/// Writes values one after the other.
pub(super) struct Packer<'a> {
    bytes: Vec<u8>,
    texts: Vec<&'a str>,
    place: Place,
}

impl<'a> Packer<'a> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(ROOM),
            texts: Vec::with_capacity(TEXTS / 2),
            place: Place::default(),
        }
    }

    /// A number of 1 to 10 bytes.
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A number that is small on either side of 0.
    pub(super) fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A flag.
    pub(super) fn flag(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    /// Bytes that no shorter form is known of: ids and hashes.
    pub(super) fn raw<const N: usize>(&mut self, value: [u8; N]) {
        self.bytes.extend_from_slice(&value);
    }

    /// A text.
    pub(super) fn text(&mut self, text: &'a str) {
        if let Some(at) = self.texts.iter().position(|known| *known == text) {
            self.number(at as u64);
            return;
        }
        if self.texts.len() < TEXTS {
            self.texts.push(text);
        }
        self.number(TEXTS as u64);
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A place.
    pub(super) fn place(&mut self, place: Place) {
        self.flag(place != self.place);
        if place != self.place {
            self.signed(place.0.wrapping_sub(self.place.0));
            self.raw(place.1.to_le_bytes());
            self.place = place;
        }
    }

    /// What was written: shared with the thread of the checkpoints, which writes it down as it is.
    pub(super) fn finish(self) -> Arc<[u8]> {
        Arc::from(self.bytes.as_slice())
    }
}

/// Reads values in the order in which they were written.
///
/// # Panics
/// When there is not what is asked for: packed bytes are our own, and a checkpoint's are checked before they get here.
pub(super) struct Unpacker<'a> {
    rest: &'a [u8],
    texts: Vec<&'a str>,
    place: Place,
}

impl<'a> Unpacker<'a> {
    /// At the beginning of what [`Packer::finish`] gave.
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self {
            rest: packed,
            texts: Vec::with_capacity(TEXTS / 2),
            place: Place::default(),
        }
    }

    /// Whether all was read.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = (self.rest)
            .split_at_checked(length)
            .expect("packed state is whole");
        self.rest = rest;
        taken
    }

    pub(super) fn number(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    /// A number of things that are held in memory.
    pub(super) fn count(&mut self) -> usize {
        self.number() as usize
    }

    /// Room for so many things of at least a byte each: never more than there is to read.
    pub(super) fn room_for<T>(&self, count: usize) -> Vec<T> {
        Vec::with_capacity(count.min(self.rest.len()))
    }

    pub(super) fn signed(&mut self) -> i64 {
        let folded = self.number();
        (folded >> 1) as i64 ^ -((folded & 1) as i64)
    }

    pub(super) fn flag(&mut self) -> bool {
        self.take(1)[0] != 0
    }

    pub(super) fn raw<const N: usize>(&mut self) -> [u8; N] {
        let (raw, rest) = (self.rest)
            .split_first_chunk()
            .expect("packed state is whole");
        self.rest = rest;
        *raw
    }

    pub(super) fn text(&mut self) -> &'a str {
        let at = self.count();
        if at < TEXTS {
            return self.texts[at];
        }
        let length = self.count();
        let text = std::str::from_utf8(self.take(length)).expect("packed texts are texts");
        if self.texts.len() < TEXTS {
            self.texts.push(text);
        }
        text
    }

    pub(super) fn place(&mut self) -> Place {
        if self.flag() {
            let start_us = self.place.0.wrapping_add(self.signed());
            self.place = (start_us, u64::from_le_bytes(self.raw()));
        }
        self.place
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_come_back_in_their_order(
            values in proptest::collection::vec(
                (any::<u64>(), any::<i64>(), any::<bool>(), "[a-z]{0,2}", (any::<i64>(), 0_u64..3)),
                0..200,
            ),
        ) {
            let mut packer = Packer::new();
            for (number, signed, flag, text, place) in &values {
                packer.number(*number);
                packer.signed(*signed);
                packer.flag(*flag);
                packer.text(text);
                packer.place(*place);
                packer.raw(number.to_le_bytes());
            }
            let packed = packer.finish();
            let mut unpacker = Unpacker::new(&packed);
            for (number, signed, flag, text, place) in &values {
                prop_assert_eq!(unpacker.number(), *number);
                prop_assert_eq!(unpacker.signed(), *signed);
                prop_assert_eq!(unpacker.flag(), *flag);
                prop_assert_eq!(unpacker.text(), text);
                prop_assert_eq!(unpacker.place(), *place);
                prop_assert_eq!(unpacker.raw(), number.to_le_bytes());
            }
            prop_assert!(unpacker.is_done());
        }
    }

    #[test]
    fn a_text_costs_its_bytes_once() {
        let mut packer = Packer::new();
        (0..10).for_each(|_| packer.text("support-desk"));
        assert_eq!(packer.finish().len(), 2 + 12 + 9);
    }
}
