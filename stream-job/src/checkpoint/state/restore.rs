//! Reading state back, from the newest file to the oldest.

use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128;

use super::file::{Kind, StateFile};
use super::{KEY_GROUPS, KeyedState, StateError, owner};
use crate::checkpoint::record::{EpochRecord, Rewrite};

/// The files of one checkpoint, and what it rewrote.
#[derive(Clone, Debug)]
struct Layer {
    rewrite: Rewrite,
    files: Vec<StateFile>,
}

/// The state of a checkpoint, in memory, to be taken in by the operators of all workers.
#[derive(Clone, Debug)]
pub struct Restored {
    record: EpochRecord,
    /// Newest first.
    layers: Vec<Layer>,
}

impl Restored {
    /// Nothing yet; `record` is that of the checkpoint's epoch.
    #[must_use]
    pub fn new(record: EpochRecord) -> Restored {
        Restored {
            record,
            layers: Vec::new(),
        }
    }

    /// Adds the files that one checkpoint wrote. The newest comes first.
    pub fn add_older(&mut self, rewrite: Rewrite, files: Vec<StateFile>) {
        self.layers.push(Layer { rewrite, files });
    }

    /// The record of the checkpoint's epoch.
    #[must_use]
    pub fn record(&self) -> &EpochRecord {
        &self.record
    }

    /// Feeds an operator of one of `workers` workers the keys that it owns; returns how many.
    ///
    /// # Errors
    /// If an entry can't be read.
    pub fn feed<S: KeyedState>(
        &self,
        state: &mut S,
        worker: usize,
        workers: usize,
    ) -> Result<u64, StateError> {
        // A group is open until the files of the checkpoint that rewrote it have been read.
        let mut is_open: Vec<bool> = (0..KEY_GROUPS)
            .map(|group| owner(group, workers) == worker)
            .collect();
        let mut seen: HashSet<u128> = HashSet::new();
        let mut restored = 0;
        let count = self.layers.len();
        for (at, layer) in self.layers.iter().enumerate() {
            let is_last = at + 1 == count;
            for file in &layer.files {
                let named = |source| StateError::Operator {
                    uid: S::UID,
                    file: file.path.clone(),
                    source: Box::new(source),
                };
                for entry in file.entries(S::UID) {
                    let (version, kind, entry) = entry?;
                    if !is_open
                        .get(usize::from(entry.group))
                        .is_some_and(|open| *open)
                    {
                        continue;
                    }
                    let id = (count > 1).then(|| xxh3_128(entry.key));
                    if id.is_some_and(|id| seen.contains(&id)) {
                        continue;
                    }
                    if kind == Kind::Put {
                        state.restore(version, &entry).map_err(named)?;
                        restored += 1;
                    }
                    if !is_last && !layer.rewrite.contains(entry.group) {
                        seen.extend(id);
                    }
                }
            }
            for group in layer.rewrite.from..layer.rewrite.to {
                if let Some(open) = is_open.get_mut(usize::from(group)) {
                    *open = false;
                }
            }
        }
        state.restored(&self.record);
        Ok(restored)
    }
}
