//! Writing an operator's entries.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashSet};
use serde::Serialize;

use super::KeyedState;
use super::file::{self, Kind};
use crate::checkpoint::record::Rewrite;

/// Writes what an operator has handed over.
type Later = Box<dyn FnOnce(&mut StateWriter) + Send>;

/// Collects the entries of one operator at one checkpoint.
pub struct StateWriter {
    epoch: u64,
    rewrite: Rewrite,
    body: Vec<u8>,
    entries: u64,
    rewritten_bytes: u64,
    later: Vec<Later>,
}

/// What an operator has written or handed over: a section of the state file, which another thread can finish.
pub struct Section {
    /// The operator.
    pub uid: &'static str,
    /// Version of its format.
    pub version: u16,
    writer: StateWriter,
}

impl Section {
    /// Appends all entries to a file; returns how many there are, and the bytes of those that lie in rewritten groups.
    pub(crate) fn finish(self, file: &mut Vec<u8>) -> (u64, u64) {
        let mut writer = self.writer;
        file.append(&mut writer.body);
        std::mem::swap(&mut writer.body, file);
        for write in std::mem::take(&mut writer.later) {
            write(&mut writer);
        }
        std::mem::swap(&mut writer.body, file);
        (writer.entries, writer.rewritten_bytes)
    }
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
            later: Vec::new(),
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

    /// The groups that are rewritten.
    pub fn rewritten_groups(&self) -> std::ops::Range<u16> {
        self.rewrite.from..self.rewrite.to
    }

    /// Leaves writing to the thread of the checkpoints, so that the dataflow need not wait for it. What it writes of must not
    /// change any more.
    pub fn later(&mut self, write: impl FnOnce(&mut StateWriter) + Send + 'static) {
        self.later.push(Box::new(write));
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

    /// Ends the part of the operator `S`.
    #[must_use]
    pub fn close<S: KeyedState>(self) -> Section {
        Section {
            uid: S::UID,
            version: S::VERSION,
            writer: self,
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
        for key in self.drain() {
            let group = group_of(&key);
            if out.rewrites(group) {
                continue;
            }
            match get(&key) {
                Some(value) => out.put(group, &key, &value),
                None => out.delete(group, &key),
            }
        }
    }

    /// The noted keys; then nothing is noted.
    pub fn drain(&mut self) -> impl Iterator<Item = K> {
        std::mem::take(&mut self.0).into_iter()
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
    if out.rewritten_groups().is_empty() {
        return;
    }
    for (key, value) in all {
        let group = group_of(key);
        if out.rewrites(group) {
            out.put(group, key, &value);
        }
    }
}
