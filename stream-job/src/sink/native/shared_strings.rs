//! `String` columns of long texts that lie in memory that somebody else holds anyway.

use std::fmt;
use std::rc::Rc;

use super::{Column, put_string};

/// A column of strings that are copied only when they are written, where they lie in memory that was shared with it.
#[derive(Default)]
pub struct SharedStrings {
    /// What was shared, the newest last.
    owners: Vec<Rc<dyn AsRef<[u8]>>>,
    /// Copies of what lay elsewhere.
    own: Vec<u8>,
    rows: Vec<Row>,
    bytes: usize,
}

/// Where a row's bytes lie.
#[derive(Clone, Copy)]
struct Row {
    /// Index in `owners`, or [`OWN`].
    owner: u32,
    start: usize,
    len: usize,
}

const OWN: u32 = u32::MAX;

impl SharedStrings {
    /// Shares memory: rows pushed from now on that lie in it are not copied, and it is held until the column is cleared.
    pub fn share(&mut self, owner: Rc<dyn AsRef<[u8]>>) {
        self.owners.push(owner);
    }

    /// Pushes any bytes: a ClickHouse `String` need not be UTF-8.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let row = self.place_within_shared(bytes).unwrap_or_else(|| {
            let start = self.own.len();
            self.own.extend_from_slice(bytes);
            Row {
                owner: OWN,
                start,
                len: bytes.len(),
            }
        });
        self.rows.push(row);
        self.bytes += wire_len(bytes.len());
    }

    /// Pushes one string.
    pub fn push(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    /// Where `bytes` lie in what was shared last. Only numbers are compared; the row is read through its owner.
    fn place_within_shared(&self, bytes: &[u8]) -> Option<Row> {
        let shared = (**self.owners.last()?).as_ref();
        let start = (bytes.as_ptr() as usize).checked_sub(shared.as_ptr() as usize)?;
        let is_within = start.checked_add(bytes.len())? <= shared.len();
        is_within.then_some(Row {
            owner: self.owners.len() as u32 - 1,
            start,
            len: bytes.len(),
        })
    }

    fn bytes_of(&self, row: Row) -> &[u8] {
        let held = match self.owners.get(row.owner as usize) {
            Some(owner) => (**owner).as_ref(),
            None => &self.own,
        };
        &held[row.start..row.start + row.len]
    }
}

/// Bytes of a string of this length in wire form.
fn wire_len(len: usize) -> usize {
    let mut varint = 1;
    let mut rest = len >> 7;
    while rest > 0 {
        varint += 1;
        rest >>= 7;
    }
    varint + len
}

impl fmt::Debug for SharedStrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStrings")
            .field("rows", &self.rows.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Column for SharedStrings {
    const TYPE: &'static str = "String";

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn clear(&mut self) {
        self.owners.clear();
        self.own.clear();
        self.rows.clear();
        self.bytes = 0;
    }

    fn row_bytes(&self, row: usize) -> usize {
        wire_len(self.rows[row].len)
    }

    fn total_bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        for &row in rows {
            put_string(out, self.bytes_of(self.rows[row as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::put_varint;
    use super::*;

    #[test]
    fn the_length_in_wire_form_is_what_is_written() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut varint = Vec::new();
            put_varint(&mut varint, len as u64);
            assert_eq!(wire_len(len), varint.len() + len);
        }
    }

    #[test]
    fn shared_and_copied_rows_are_written_alike() {
        let memory: Rc<Vec<u8>> = Rc::new(b"a shared text".to_vec());
        let mut column = SharedStrings::default();
        column.push("before");
        column.share(memory.clone());
        column.push_bytes(&memory[2..8]);
        column.push("elsewhere");
        column.push_bytes(&memory[..0]);
        let next: Rc<Vec<u8>> = Rc::new(b"the next".to_vec());
        column.share(next.clone());
        column.push_bytes(&next[..]);
        // Of memory that was shared before: copied.
        column.push_bytes(&memory[9..]);
        assert_eq!(
            column.own.len(),
            "before".len() + "elsewhere".len() + "text".len()
        );
        let mut out = Vec::new();
        column.write(&[5, 4, 3, 2, 1, 0], &mut out);
        assert_eq!(
            out,
            b"\x04text\x08the next\x00\x09elsewhere\x06shared\x06before"
        );
        assert_eq!(column.total_bytes(), out.len());
        assert_eq!(
            (0..6).map(|row| column.row_bytes(row)).sum::<usize>(),
            out.len()
        );
        assert_eq!(Rc::strong_count(&memory), 2);
        column.clear();
        assert_eq!(Rc::strong_count(&memory), 1, "what was shared is let go");
    }
}
