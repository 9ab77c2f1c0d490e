//! `LowCardinality(String)` columns.
//!
//! Wire form: `u64 1` (the version of the keys' serialization) once per column and block; then, if there are rows,
//! `u64 index width | 0x600`, `u64 keys`, the keys, `u64 rows`, the indexes. Bits 0x200 and 0x400 say that the keys
//! follow and that they replace any dictionary before.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::{Append, Column, put_varint};

const KEYS_VERSION: u64 = 1;
const KEYS_FOLLOW: u64 = 0x600;
/// Beyond this many bytes of keys a dictionary starts anew at the next [`Dictionary::trim`].
const KEPT_KEY_BYTES: usize = 1 << 20;
const NONE: u32 = u32::MAX;

/// Interned strings. It outlives blocks, so that a steady stream of labels is hashed hardly ever; what is written
/// does not depend on what it held before.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    wire: Vec<u8>,
    /// Start of the wire form, start of the text, end, by id.
    spans: Vec<(u32, u32, u32)>,
    ids: HashTable<u32>,
    /// Which id came after this one the last time: rows repeat, and so do the keys of a row's map.
    successors: Vec<u32>,
    last: u32,
    // Scratch of `write`.
    local: Vec<u32>,
    keys: Vec<u32>,
    indexes: Vec<u32>,
}

impl Dictionary {
    /// The id of `text`, new or known.
    #[inline]
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        let text = text.as_bytes();
        let guess = self.successors.get(self.last as usize).copied();
        let id = match guess {
            Some(guess) if guess != NONE && self.text(guess) == text => guess,
            _ => self.look_up(text),
        };
        self.last = id;
        id
    }

    /// The bytes of an interned string.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        let (_, start, end) = self.spans[id as usize];
        &self.wire[start as usize..end as usize]
    }

    /// Bytes of an interned string in wire form.
    pub(super) fn wire_bytes(&self, id: u32) -> usize {
        let (start, _, end) = self.spans[id as usize];
        (end - start) as usize
    }

    fn look_up(&mut self, text: &[u8]) -> u32 {
        let hash = xxh3_64(text);
        let found = self.ids.find(hash, |&id| self.text(id) == text).copied();
        let id = found.unwrap_or_else(|| self.insert(hash, text));
        if let Some(successor) = self.successors.get_mut(self.last as usize) {
            *successor = id;
        }
        id
    }

    fn insert(&mut self, hash: u64, text: &[u8]) -> u32 {
        let id = u32::try_from(self.spans.len()).expect("fewer than 2^32 labels in a block");
        let at = |len: usize| u32::try_from(len).expect("less than 4 GiB of labels in a block");
        let start = at(self.wire.len());
        put_varint(&mut self.wire, text.len() as u64);
        let text_start = at(self.wire.len());
        self.wire.extend_from_slice(text);
        self.spans.push((start, text_start, at(self.wire.len())));
        self.successors.push(NONE);
        let (wire, spans) = (&self.wire, &self.spans);
        self.ids.insert_unique(hash, id, |&id| {
            let (_, start, end) = spans[id as usize];
            xxh3_64(&wire[start as usize..end as usize])
        });
        id
    }

    /// To be called when no id is in use any more: forgets all strings if they have become many.
    pub(super) fn trim(&mut self) {
        if self.wire.len() > KEPT_KEY_BYTES {
            *self = Dictionary::default();
        }
    }

    /// Ids by the bytewise order of their strings: `ranks()[id]` is the place of `id`.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.spans.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| self.text(a).cmp(self.text(b)));
        let mut ranks = vec![0; order.len()];
        for (rank, &id) in order.iter().enumerate() {
            ranks[id as usize] = rank as u32;
        }
        ranks
    }

    pub(super) fn put_version(out: &mut Vec<u8>) {
        out.extend_from_slice(&KEYS_VERSION.to_le_bytes());
    }

    /// Writes keys and indexes for `ids`; nothing where there are none, as ClickHouse does.
    pub(super) fn write(&mut self, ids: impl Iterator<Item = u32>, out: &mut Vec<u8>) {
        self.number(ids);
        if self.indexes.is_empty() {
            return;
        }
        let width_code: u64 = match self.keys.len() {
            0..=0x100 => 0,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        out.extend_from_slice(&(width_code | KEYS_FOLLOW).to_le_bytes());
        out.extend_from_slice(&(self.keys.len() as u64).to_le_bytes());
        for &id in &self.keys {
            let (start, _, end) = self.spans[id as usize];
            out.extend_from_slice(&self.wire[start as usize..end as usize]);
        }
        out.extend_from_slice(&(self.indexes.len() as u64).to_le_bytes());
        match width_code {
            0 => out.extend(self.indexes.iter().map(|&index| index as u8)),
            1 => put_all(out, &self.indexes, |index| (index as u16).to_le_bytes()),
            _ => put_all(out, &self.indexes, u32::to_le_bytes),
        }
    }

    /// Numbers the ids of one Native block by first appearance.
    fn number(&mut self, ids: impl Iterator<Item = u32>) {
        self.local.clear();
        self.local.resize(self.spans.len(), NONE);
        self.keys.clear();
        self.indexes.clear();
        for id in ids {
            let local = &mut self.local[id as usize];
            if *local == NONE {
                *local = self.keys.len() as u32;
                self.keys.push(id);
            }
            self.indexes.push(*local);
        }
    }
}

fn put_all<const N: usize>(out: &mut Vec<u8>, values: &[u32], bytes: impl Fn(u32) -> [u8; N]) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    for (slot, &value) in out[start..].chunks_exact_mut(N).zip(values) {
        slot.copy_from_slice(&bytes(value));
    }
}

/// A column of few different strings.
#[derive(Debug, Default)]
pub struct LowCardinality {
    dictionary: Dictionary,
    rows: Vec<u32>,
    bytes: usize,
}

/// What a row's index costs at most.
const INDEX_BYTES: usize = 4;

impl LowCardinality {
    /// Pushes one string.
    #[inline]
    pub fn push(&mut self, text: &str) {
        let id = self.dictionary.intern(text);
        self.rows.push(id);
        self.bytes += INDEX_BYTES;
    }

    /// For each row in arrival order the rank of its string among the strings known, bytewise.
    #[must_use]
    pub fn row_ranks(&self) -> Vec<u32> {
        let ranks = self.dictionary.ranks();
        self.rows.iter().map(|&id| ranks[id as usize]).collect()
    }
}

impl Column for LowCardinality {
    const TYPE: &'static str = "LowCardinality(String)";

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
        self.dictionary.trim();
    }

    #[inline]
    fn row_bytes(&self, row: usize) -> usize {
        INDEX_BYTES + self.dictionary.wire_bytes(self.rows[row])
    }

    fn total_bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        Dictionary::put_version(out);
        let ids = rows.iter().map(|&row| self.rows[row as usize]);
        self.dictionary.write(ids, out);
    }
}

impl Append<String> for LowCardinality {
    fn append(&mut self, value: &String) {
        self.push(value);
    }
}
