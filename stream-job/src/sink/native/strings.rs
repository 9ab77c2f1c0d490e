//! `String` columns.

use super::{Append, Column, put_string};

/// A column of strings, kept in wire form (length, bytes), so that writing a row is one copy.
#[derive(Debug, Default)]
pub struct Strings {
    wire: Vec<u8>,
    ends: Vec<usize>,
}

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
        self.ends.push(self.wire.len());
    }

    /// Pushes bytes as lowercase hex.
    #[inline]
    pub fn push_hex<const N: usize>(&mut self, bytes: &[u8; N]) {
        const { assert!(N < 64, "the length must fit one varint byte") };
        self.wire.push(2 * N as u8);
        for &byte in bytes {
            self.wire.extend_from_slice(&HEX[byte as usize]);
        }
        self.ends.push(self.wire.len());
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
    }

    #[inline]
    fn row_bytes(&self, row: usize) -> usize {
        self.range(row).len()
    }

    fn total_bytes(&self) -> usize {
        self.wire.len()
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        for &row in rows {
            out.extend_from_slice(&self.wire[self.range(row as usize)]);
        }
    }
}

impl Append<String> for Strings {
    fn append(&mut self, value: &String) {
        self.push(value);
    }
}
