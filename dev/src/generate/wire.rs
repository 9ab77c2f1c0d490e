//! As much of protobuf as encodes OTLP spans, remembering where the bytes are that differ from trace to trace.

/// What goes into a place that was left open; `usize` is the span's number in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// 16 bytes.
    TraceId,
    /// 8 bytes.
    SpanId(usize),
    /// Start time, fixed64.
    Start(usize),
    /// End time, fixed64.
    End(usize),
    /// 16 hex digits.
    SessionDigits,
    /// 4 decimal digits.
    UserDigits,
    /// So many bytes of text.
    Text(usize),
}

impl Slot {
    fn length(self) -> usize {
        match self {
            Slot::TraceId | Slot::SessionDigits => 16,
            Slot::SpanId(_) | Slot::Start(_) | Slot::End(_) => 8,
            Slot::UserDigits => 4,
            Slot::Text(length) => length,
        }
    }
}

/// A message under construction, with its open places.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoded {
    /// The bytes, zero in the open places.
    pub(super) bytes: Vec<u8>,
    /// The open places: position and what goes there.
    pub(super) slots: Vec<(usize, Slot)>,
}

/// A piece of a string value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// As it is.
    Fixed(&'a str),
    /// An open place.
    Open(Slot),
}

impl Encoded {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn open(&mut self, slot: Slot) {
        self.slots.push((self.bytes.len(), slot));
        self.bytes.resize(self.bytes.len() + slot.length(), 0);
    }

    /// A varint field.
    pub(super) fn number(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        self.varint(value);
        self
    }

    /// A fixed64 field, open.
    pub(super) fn open_fixed64(mut self, field: u32, slot: Slot) -> Self {
        self.tag(field, 1);
        self.open(slot);
        self
    }

    /// A bytes field, open.
    pub(super) fn open_bytes(mut self, field: u32, slot: Slot) -> Self {
        self.tag(field, 2);
        self.varint(slot.length() as u64);
        self.open(slot);
        self
    }

    /// A string field.
    pub(super) fn string(self, field: u32, value: &str) -> Self {
        self.pieces(field, &[Piece::Fixed(value)])
    }

    /// A string field made of pieces.
    pub(super) fn pieces(mut self, field: u32, pieces: &[Piece<'_>]) -> Self {
        let length: usize = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Fixed(text) => text.len(),
                Piece::Open(slot) => slot.length(),
            })
            .sum();
        self.tag(field, 2);
        self.varint(length as u64);
        for piece in pieces {
            match piece {
                Piece::Fixed(text) => self.bytes.extend_from_slice(text.as_bytes()),
                Piece::Open(slot) => self.open(*slot),
            }
        }
        self
    }

    /// An embedded message.
    pub(super) fn message(mut self, field: u32, inner: Encoded) -> Self {
        self.tag(field, 2);
        self.varint(inner.bytes.len() as u64);
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&inner.bytes);
        let shifted = inner.slots.into_iter().map(|(at, slot)| (base + at, slot));
        self.slots.extend(shifted);
        self
    }

    /// An OTLP attribute (`KeyValue`) with a string value made of pieces.
    pub(super) fn text_attribute(self, field: u32, key: &str, value: &[Piece<'_>]) -> Self {
        let value = Encoded::default().pieces(1, value);
        let pair = Encoded::default().string(1, key).message(2, value);
        self.message(field, pair)
    }

    /// An OTLP attribute with a whole number.
    pub(super) fn number_attribute(self, field: u32, key: &str, value: u64) -> Self {
        let value = Encoded::default().number(3, value);
        let pair = Encoded::default().string(1, key).message(2, value);
        self.message(field, pair)
    }
}
