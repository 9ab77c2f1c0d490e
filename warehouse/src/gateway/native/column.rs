//! Where a column of a Native block ends.

use super::super::format::read_varint;
use super::types::Type;

/// Index widths of LowCardinality are in the low byte of its flags: 0 to 3 for 1, 2, 4 and 8 bytes.
const MAX_INDEX_WIDTH: u64 = 3;

/// The length of a column of `rows` (more than 0) at the start of `bytes`; `None` when it goes beyond their end.
pub(super) fn length(kind: &Type, bytes: &[u8], rows: usize) -> Option<usize> {
    let mut walk = Walk { bytes, at: 0 };
    walk.prefix(kind)?;
    walk.data(kind, rows)?;
    Some(walk.at)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn skip(&mut self, count: usize, size: usize) -> Option<()> {
        let end = self.at.checked_add(count.checked_mul(size)?)?;
        self.at = (end <= self.bytes.len()).then_some(end)?;
        Some(())
    }

    fn u64(&mut self) -> Option<u64> {
        let start = self.at;
        self.skip(1, 8)?;
        Some(u64::from_le_bytes(
            self.bytes[start..self.at].try_into().ok()?,
        ))
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok()
    }

    /// What comes once in front of a column, all nested parts included.
    fn prefix(&mut self, kind: &Type) -> Option<()> {
        match kind {
            Type::Fixed(_) | Type::String => Some(()),
            Type::Nullable(inner) | Type::Array(inner) => self.prefix(inner),
            Type::Tuple(parts) => parts.iter().try_for_each(|part| self.prefix(part)),
            // The version of the dictionary's serialization.
            Type::LowCardinality(_) => self.u64().map(drop),
            Type::Variant(parts) => {
                // The mode of the discriminators; 0 is the only one that is walked over.
                (self.u64()? == 0).then_some(())?;
                parts.iter().try_for_each(|part| self.prefix(part))
            }
            Type::Opaque => None,
        }
    }

    fn data(&mut self, kind: &Type, rows: usize) -> Option<()> {
        match kind {
            Type::Fixed(size) => self.skip(rows, *size),
            Type::String => self.strings(rows),
            Type::Nullable(inner) => {
                self.skip(rows, 1)?;
                self.data(inner, rows)
            }
            Type::Array(inner) => {
                let total = self.array_total(rows)?;
                self.data(inner, total)
            }
            // A tuple without elements is a byte a row.
            Type::Tuple(parts) if parts.is_empty() => self.skip(rows, 1),
            Type::Tuple(parts) => parts.iter().try_for_each(|part| self.data(part, rows)),
            Type::LowCardinality(inner) => self.low_cardinality(inner, rows),
            Type::Variant(parts) => self.variant(parts, rows),
            Type::Opaque => None,
        }
    }

    fn strings(&mut self, rows: usize) -> Option<()> {
        for _ in 0..rows {
            let length = usize::try_from(read_varint(self.bytes, &mut self.at)?).ok()?;
            self.skip(1, length)?;
        }
        Some(())
    }

    /// Skips the end offsets; the last is the number of elements.
    fn array_total(&mut self, rows: usize) -> Option<usize> {
        if rows == 0 {
            return Some(0);
        }
        self.skip(rows - 1, 8)?;
        self.count()
    }

    fn low_cardinality(&mut self, inner: &Type, rows: usize) -> Option<()> {
        if rows == 0 {
            return Some(());
        }
        let width = self.u64()? & 0xff;
        (width <= MAX_INDEX_WIDTH).then_some(())?;
        let keys = self.count()?;
        // The dictionary of a nullable type has plain values; NULL is its first key.
        let plain = if let Type::Nullable(plain) = inner {
            plain
        } else {
            inner
        };
        self.data(plain, keys)?;
        let indices = self.count()?;
        self.skip(indices, 1 << width)
    }

    fn variant(&mut self, parts: &[Type], rows: usize) -> Option<()> {
        let start = self.at;
        self.skip(rows, 1)?;
        let mut counts = vec![0_usize; parts.len()];
        for &discriminator in &self.bytes[start..self.at] {
            // 255 stands for NULL.
            if discriminator != u8::MAX {
                *counts.get_mut(usize::from(discriminator))? += 1;
            }
        }
        parts
            .iter()
            .zip(counts)
            .try_for_each(|(part, count)| self.data(part, count))
    }
}
