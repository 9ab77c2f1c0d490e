//! `dwd_content`: long texts by hash, each at most once a block.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::attributes::hash_hex;
use super::{Stamp, Table};
use crate::sink::native::{Fixed, Millis, SharedStrings, Strings};

/// Takes the long texts of rows. The builder [`DwdContent`] is one; a router by hash can be another.
pub trait Contents {
    /// Offers a text under its xxh3-128.
    fn offer(&mut self, hash: u128, text: &str);
}

columns! {
    struct Columns {
        hash: Strings = "hash",
        content: SharedStrings = "content",
        epoch: Fixed<u64> = "_epoch",
        shard: Fixed<u16> = "_shard",
        ingest_time: Fixed<Millis> = "ingest_time",
    }
}

/// Builds `dwd_content`: each hash once. As a [`Contents`] it stamps texts with [`DwdContent::start`]'s stamp.
#[derive(Debug, Default)]
pub struct DwdContent {
    columns: Columns,
    hashes: Vec<u128>,
    seen: HashSet<u128, BuildHasherDefault<HashIsTheKey>>,
    stamp: Option<Stamp>,
}

impl DwdContent {
    /// Sets what the rows that follow share.
    pub fn start(&mut self, stamp: Stamp) {
        self.stamp = Some(stamp);
    }

    /// Shares the memory that most texts to come lie in, so that they are copied only once.
    pub fn share(&mut self, memory: Rc<dyn AsRef<[u8]>>) {
        self.columns.content.share(memory);
    }

    /// Pushes a text under its xxh3-128, unless the block has it.
    pub fn push(&mut self, hash: u128, text: &str, stamp: &Stamp) {
        if !self.seen.insert(hash) {
            return;
        }
        self.hashes.push(hash);
        self.columns.hash.push_bytes(&hash_hex(hash));
        self.columns.content.push(text);
        self.columns.epoch.push(stamp.epoch);
        self.columns.shard.push(stamp.shard);
        self.columns.ingest_time.push(Millis(stamp.ingest_ms));
    }
}

impl Contents for DwdContent {
    /// # Panics
    /// If [`DwdContent::start`] was never called.
    fn offer(&mut self, hash: u128, text: &str) {
        let stamp = self.stamp.expect("start() comes before the first text");
        self.push(hash, text, &stamp);
    }
}

impl Table for DwdContent {
    table_of_columns!(Columns, "dwd_content", hash);

    fn order(&mut self) -> Vec<u32> {
        // Hex digits of equal length order as the numbers do.
        let mut order: Vec<u32> = (0..self.hashes.len() as u32).collect();
        order.sort_unstable_by_key(|&row| self.hashes[row as usize]);
        order
    }

    fn clear(&mut self) {
        self.columns.clear();
        self.hashes.clear();
        self.seen.clear();
    }
}

/// The keys are hashes already: half of one is as good a hash as any.
#[derive(Debug, Default)]
struct HashIsTheKey(u64);

impl Hasher for HashIsTheKey {
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u128 keys are hashed");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
