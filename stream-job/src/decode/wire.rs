//! Protobuf's wire format, read in place.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Groups are refused, as OTLP has none.

/// A field's key as it stands on the wire: `number << 3 | wire type`.
pub(crate) type Key = u32;

/// Wire type of variable-length numbers.
pub(crate) const VARINT: u8 = 0;
/// Wire type of 8-byte numbers.
pub(crate) const FIXED64: u8 = 1;
/// Wire type of strings, bytes and messages.
pub(crate) const LENGTH: u8 = 2;
/// Wire type of 4-byte numbers.
pub(crate) const FIXED32: u8 = 5;

/// The key of a field.
pub(crate) const fn key(field: u32, wire: u8) -> Key {
    field << 3 | wire as u32
}

/// What is wrong with the bytes, small enough to be returned from the hot path in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Byte position in the payload.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) kind: FaultKind,
}

/// Kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Truncated,
    WireType { field: u32, wire: u8 },
    Varint,
    Depth { limit: u32 },
}

impl Fault {
    #[cold]
    fn truncated(at: usize) -> Self {
        Fault {
            at,
            kind: FaultKind::Truncated,
        }
    }

    #[cold]
    fn varint(at: usize) -> Self {
        Fault {
            at,
            kind: FaultKind::Varint,
        }
    }

    #[cold]
    pub(crate) fn depth(at: usize, limit: u32) -> Self {
        Fault {
            at,
            kind: FaultKind::Depth { limit },
        }
    }
}

/// A position within one message. The slice starts with the payload, so that positions are those of the payload, and
/// ends with the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Cursor {
            bytes: payload,
            at: 0,
        }
    }

    /// Whether the message has ended.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Position in the payload.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What is left of the message.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        // Nearly every key and most lengths fit one byte, the other lengths two.
        match *self.bytes.get(self.at..).unwrap_or_default() {
            [first, ..] if first < 0x80 => {
                self.at += 1;
                Ok(u64::from(first))
            }
            [first, second, ..] if second < 0x80 => {
                self.at += 2;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let start = self.at;
        let mut value = 0;
        for (i, &byte) in self.bytes[start..].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                // The tenth byte has room for the 64th bit only.
                if i == 9 && byte > 1 {
                    return Err(Fault::varint(start));
                }
                self.at = start + i + 1;
                return Ok(value);
            }
        }
        if self.bytes.len() - start >= 10 {
            return Err(Fault::varint(start));
        }
        Err(Fault::truncated(start))
    }

    /// The next field's key.
    #[inline(always)]
    pub(crate) fn key(&mut self) -> Result<Key, Fault> {
        let start = self.at;
        let key = self.varint()?;
        match u32::try_from(key) {
            Ok(key) if key >= 8 => Ok(key),
            _ => Err(Fault::varint(start)),
        }
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let taken = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end));
        match taken {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(Fault::truncated(self.at)),
        }
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Fault> {
        let start = self.at;
        match self.bytes.get(start..).and_then(<[u8]>::first_chunk) {
            Some(&chunk) => {
                self.at = start + 8;
                Ok(u64::from_le_bytes(chunk))
            }
            None => Err(Fault::truncated(start)),
        }
    }

    /// A string's or message's bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.at;
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.bytes.len() - self.at => {
                let taken = &self.bytes[self.at..self.at + length];
                self.at += length;
                Ok(taken)
            }
            _ => Err(Fault::truncated(start)),
        }
    }

    /// A cursor over a message within this one, which is then behind us.
    #[inline]
    pub(crate) fn message(&mut self) -> Result<Cursor<'a>, Fault> {
        let length = self.bytes()?.len();
        Ok(Cursor {
            bytes: &self.bytes[..self.at],
            at: self.at - length,
        })
    }

    /// Skips a field that is not known. `known` has a bit for each field number that is: such a field has got here
    /// only because its wire type is another than the schema's.
    ///
    /// `start` is the position of the key.
    #[inline(never)]
    pub(crate) fn skip(&mut self, start: usize, key: Key, known: u64) -> Result<(), Fault> {
        let (field, wire) = (key >> 3, (key & 7) as u8);
        let is_known = field < 64 && known >> field & 1 == 1;
        let skipped = match wire {
            _ if is_known => None,
            VARINT => Some(self.varint().map(|_| ())),
            FIXED64 => Some(self.take(8).map(|_| ())),
            LENGTH => Some(self.bytes().map(|_| ())),
            FIXED32 => Some(self.take(4).map(|_| ())),
            _ => None,
        };
        skipped.unwrap_or(Err(Fault {
            at: start,
            kind: FaultKind::WireType { field, wire },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                let mut rest = value;
                while rest >= 0x80 {
                    bytes.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
                let mut cursor = Cursor::new(&bytes);
                assert_eq!(cursor.varint(), Ok(value));
                assert!(cursor.is_done());
                for cut in 0..bytes.len() {
                    assert_eq!(
                        Cursor::new(&bytes[..cut]).varint(),
                        Err(Fault::truncated(0)),
                        "{value} cut to {cut} bytes"
                    );
                }
            }
        }
    }

    #[test]
    fn a_varint_over_64_bits_is_refused() {
        let mut eleven = [0xff; 11];
        eleven[10] = 0;
        assert_eq!(Cursor::new(&eleven).varint(), Err(Fault::varint(0)));
        let mut ten = [0xff; 10];
        ten[9] = 2;
        assert_eq!(Cursor::new(&ten).varint(), Err(Fault::varint(0)));
        ten[9] = 1;
        assert_eq!(Cursor::new(&ten).varint(), Ok(u64::MAX));
    }

    #[test]
    fn field_number_zero_is_refused() {
        assert_eq!(Cursor::new(&[0x02, 0x00]).key(), Err(Fault::varint(0)));
    }

    #[test]
    fn a_group_is_refused_and_an_unknown_field_is_skipped() {
        let bytes = [0x7b, 0x01];
        let mut cursor = Cursor::new(&bytes);
        let key = cursor.key().expect("a key");
        let group = FaultKind::WireType { field: 15, wire: 3 };
        assert_eq!(cursor.skip(0, key, 0), Err(Fault { at: 0, kind: group }));

        let bytes = [0x7a, 0x02, 0xaa, 0xbb, 0x08];
        let mut cursor = Cursor::new(&bytes);
        let key = cursor.key().expect("a key");
        assert_eq!(cursor.skip(0, key, 0), Ok(()));
        assert_eq!(cursor.at(), 4);
    }

    #[test]
    fn a_length_beyond_the_address_space_is_truncation_not_a_panic() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Cursor::new(&bytes).bytes(), Err(Fault::truncated(0)));
    }
}
