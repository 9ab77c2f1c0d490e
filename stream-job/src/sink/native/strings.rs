//! `String` columns.

use super::{Append, Column, put_string};

/// A column of strings, kept in wire form (length, bytes), so that writing a row is one copy.
#[derive(Debug, Default)]
pub struct Strings {
    wire: Vec<u8>,
    ends: Vec<usize>,
    width: Width,
}

/// Whether all rows have one length: ids do, and so do the many columns that are empty in every row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Width {
    #[default]
    Unknown,
    Same(usize),
    Mixed,
}

/// The wire form of an empty string.
const EMPTY: u8 = 0;

impl Strings {
    /// Pushes one string.
    #[inline]
    pub fn push(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    /// Pushes any bytes: a ClickHouse `String` need not be UTF-8.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        put_string(&mut self.wire, bytes);
        self.end_row();
    }

    /// Pushes bytes as lowercase hex.
    #[inline]
    pub fn push_hex<const N: usize>(&mut self, bytes: &[u8; N]) {
        const { assert!(N < 64, "the length must fit one varint byte") };
        self.wire.push(2 * N as u8);
        for &byte in bytes {
            self.wire.extend_from_slice(&HEX[byte as usize]);
        }
        self.end_row();
    }

    #[inline]
    fn end_row(&mut self) {
        let start = self.ends.last().copied().unwrap_or(0);
        let width = Width::Same(self.wire.len() - start);
        self.ends.push(self.wire.len());
        if self.width != width {
            self.width = if self.ends.len() == 1 {
                width
            } else {
                Width::Mixed
            };
        }
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        start..self.ends[row]
    }
}

/// The two lowercase hex digits of every byte.
pub(crate) const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

impl Column for Strings {
    const TYPE: &'static str = "String";

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.wire.clear();
        self.ends.clear();
        self.width = Width::Unknown;
    }

    #[inline]
    fn row_bytes(&self, row: usize) -> usize {
        self.range(row).len()
    }

    fn total_bytes(&self) -> usize {
        self.wire.len()
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        match self.width {
            Width::Unknown => debug_assert!(rows.is_empty(), "no row was pushed"),
            Width::Same(1) => out.resize(out.len() + rows.len(), EMPTY),
            Width::Same(width) => {
                out.reserve(width * rows.len());
                for &row in rows {
                    let start = row as usize * width;
                    out.extend_from_slice(&self.wire[start..start + width]);
                }
            }
            Width::Mixed => {
                for &row in rows {
                    match self.range(row as usize) {
                        range if range.len() == 1 => out.push(EMPTY),
                        range => out.extend_from_slice(&self.wire[range]),
                    }
                }
            }
        }
    }
}

impl Append<String> for Strings {
    fn append(&mut self, value: &String) {
        self.push(value);
    }
}
