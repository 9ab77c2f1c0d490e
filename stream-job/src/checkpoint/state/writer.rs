//! Writing an operator's entries.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashSet};
use serde::Serialize;

use super::KeyedState;
use super::file::{self, Kind, Section};
use crate::checkpoint::record::Rewrite;

/// Collects the entries of one operator at one checkpoint.
#[derive(Debug)]
pub struct StateWriter {
    epoch: u64,
    rewrite: Rewrite,
    body: Vec<u8>,
    entries: u64,
    rewritten_bytes: u64,
}

impl StateWriter {
    /// A writer for the checkpoint at the end of this epoch, which rewrites these groups.
    #[must_use]
    pub fn new(epoch: u64, rewrite: Rewrite) -> StateWriter {
        StateWriter {
            epoch,
            rewrite,
            body: Vec::new(),
            entries: 0,
            rewritten_bytes: 0,
        }
    }

    /// The epoch of the checkpoint.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether all keys of the group are to be written, and not only those that changed.
    #[must_use]
    pub fn rewrites(&self, group: u16) -> bool {
        self.rewrite.contains(group)
    }

    /// Whether any group is rewritten.
    #[must_use]
    pub fn rewrites_any(&self) -> bool {
        self.rewrite.from < self.rewrite.to
    }

    /// The key has this value now.
    pub fn put<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        group: u16,
        key: &K,
        value: &V,
    ) {
        let before = self.body.len();
        file::write_entry(&mut self.body, group, Kind::Put, key, Some(value));
        self.entries += 1;
        if self.rewrites(group) {
            self.rewritten_bytes += (self.body.len() - before) as u64;
        }
    }

    /// Nothing is known of the key any more. A group that is rewritten needs no such word.
    pub fn delete<K: Serialize + ?Sized>(&mut self, group: u16, key: &K) {
        if self.rewrites(group) {
            return;
        }
        file::write_entry(&mut self.body, group, Kind::Delete, key, None::<&()>);
        self.entries += 1;
    }

    /// What the section of `S` is.
    #[must_use]
    pub fn finish<S: KeyedState>(self) -> Section {
        Section {
            uid: S::UID.to_owned(),
            version: S::VERSION,
            entries: self.entries,
            rewritten_bytes: self.rewritten_bytes,
            body: self.body,
        }
    }
}

/// The keys that have changed, or gone, since the last checkpoint.
#[derive(Clone, Debug)]
pub struct Changes<K, H = DefaultHashBuilder>(HashSet<K, H>);

impl<K, H: Default> Default for Changes<K, H> {
    fn default() -> Self {
        Changes(HashSet::default())
    }
}

impl<K: Eq + Hash, H: BuildHasher + Default> Changes<K, H> {
    /// Notes that a key has changed or gone.
    pub fn note(&mut self, key: K) {
        self.0.insert(key);
    }

    /// Writes the noted keys with their values; then nothing is noted. Keys of groups that are rewritten are left out, as
    /// all that these groups hold is to be written anyway.
    pub fn save_noted<V: Serialize>(
        &mut self,
        out: &mut StateWriter,
        group_of: impl Fn(&K) -> u16,
        get: impl Fn(&K) -> Option<V>,
    ) where
        K: Serialize,
    {
        for key in self.0.drain() {
            let group = group_of(&key);
            if out.rewrites(group) {
                continue;
            }
            match get(&key) {
                Some(value) => out.put(group, &key, &value),
                None => out.delete(group, &key),
            }
        }
        self.0.shrink_to(1024);
    }
}

/// Writes those of `all` keys and values that lie in a group that is rewritten.
pub fn save_rewritten<'a, K, V>(
    out: &mut StateWriter,
    group_of: impl Fn(&K) -> u16,
    all: impl Iterator<Item = (&'a K, V)>,
) where
    K: Serialize + 'a,
    V: Serialize,
{
    if !out.rewrites_any() {
        return;
    }
    for (key, value) in all {
        let group = group_of(key);
        if out.rewrites(group) {
            out.put(group, key, &value);
        }
    }
}
