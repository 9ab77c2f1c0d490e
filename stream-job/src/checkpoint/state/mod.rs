//! What operators keep over a restart: their state by key group, saved in full now and then, and in between by what has
//! changed.
//!
//! An operator implements [`KeyedState`]. At a checkpoint it writes the keys that changed since the last one, and all keys
//! of the groups that the checkpoint rewrites; the ranges rewritten go round, so that no file is needed for ever and no
//! checkpoint has to write everything. A restore reads the files from the newest to the oldest.

mod file;
mod grouped;
mod restore;
mod writer;

pub use file::{StateFile, encode};
pub use grouped::{GroupKey, Grouped};
pub use restore::Restored;
pub use writer::{Changes, Section, StateWriter, save_rewritten};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::EpochRecord;

/// Key groups of a job. Fixed for ever: it is part of what a state file means.
pub const KEY_GROUPS: u16 = 1024;

/// The group of a key by a stable hash of it.
#[must_use]
pub fn key_group(hash: u64) -> u16 {
    (hash % u64::from(KEY_GROUPS)) as u16
}

/// The worker, of so many, that owns a group. Each worker owns a range of them.
#[must_use]
pub fn owner(group: u16, workers: usize) -> usize {
    usize::from(group) * workers / usize::from(KEY_GROUPS)
}

/// The state of an operator.
pub trait KeyedState {
    /// Name of the operator in state files. It never changes, whatever becomes of the code.
    const UID: &'static str;
    /// Version of the format of the entries that it writes.
    const VERSION: u16;
    /// The versions that it reads.
    const READS: &'static [u16];

    /// Writes what has changed since the last call, and everything that lies in a group that is rewritten.
    fn save(&mut self, out: &mut StateWriter);

    /// Takes in an entry. Each key comes once, in no particular order, from an operator that is otherwise empty.
    ///
    /// # Errors
    /// If the entry can't be read as one of `version`.
    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError>;

    /// All entries are in; `record` is that of the checkpoint's epoch.
    fn restored(&mut self, record: &EpochRecord);
}

/// One entry of a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its key group.
    pub group: u16,
    /// The key as the operator wrote it.
    pub key: &'a [u8],
    /// The value as the operator wrote it.
    pub value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads key and value.
    ///
    /// # Errors
    /// If they are not what the operator writes.
    pub fn read<K: Deserialize<'a>, V: Deserialize<'a>>(&self) -> Result<(K, V), StateError> {
        let read = || {
            let key = postcard::from_bytes(self.key)?;
            Ok((key, postcard::from_bytes(self.value)?))
        };
        read().map_err(StateError::Entry)
    }
}

/// A value that is bytes already: written and read as one piece, not byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Arc<[u8]>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Bytes(bytes.into()))
    }
}

/// Why state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is no state file, or a part of one.
    #[error("the state file {file} is damaged: {reason}")]
    Damaged {
        /// Its path in the store.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// An entry does not have the form that its version has.
    #[error("an entry cannot be read: {0}")]
    Entry(#[source] postcard::Error),
    /// Another version of the program wrote it.
    #[error("the state of operator `{uid}` has format version {found}; this program reads {known}")]
    Version {
        /// The operator.
        uid: String,
        /// The version in the file.
        found: u16,
        /// What this program reads.
        known: String,
    },
    /// An operator's state could not be restored.
    #[error("operator `{uid}` cannot be restored from {file}: {source}")]
    Operator {
        /// The operator.
        uid: &'static str,
        /// The state file.
        file: String,
        /// Why.
        #[source]
        source: Box<StateError>,
    },
}

/// Reads the entries of `version`, for operators that have had one version only.
///
/// # Errors
/// If the entry is of another version, or damaged.
pub fn read_version<'a, S: KeyedState, K: Deserialize<'a>, V: Deserialize<'a>>(
    version: u16,
    entry: &Entry<'a>,
) -> Result<(K, V), StateError> {
    if version != S::VERSION {
        return Err(StateError::Version {
            uid: S::UID.to_owned(),
            found: version,
            known: S::VERSION.to_string(),
        });
    }
    entry.read()
}

#[cfg(test)]
mod tests;
