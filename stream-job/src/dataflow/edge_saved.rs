//! What the windows of transitions keep over a restart: an entry a window.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Counted, Counts, EdgeWindow, Edges, End};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Entry, GroupKey, KeyedState, StateError, StateWriter, key_group, read_version,
};

fn hash_of_window(agent: &str, minute_s: i64) -> u64 {
    xxh3_64_with_seed(&minute_s.to_le_bytes(), xxh3_64(agent.as_bytes()))
}

/// The group of an agent's minute.
#[must_use]
pub fn group_of_window(agent: &str, minute_s: i64) -> u16 {
    key_group(hash_of_window(agent, minute_s))
}

impl GroupKey for EdgeWindow {
    fn stable_hash(&self) -> u64 {
        hash_of_window(&self.agent, self.minute_s)
    }
}

#[derive(Serialize, Deserialize)]
struct Saved(Vec<((End, End), Counted)>);

fn saved(counts: &Counts) -> Saved {
    let all = counts.iter();
    Saved(
        all.map(|(ends, counted)| (ends.clone(), *counted))
            .collect(),
    )
}

impl KeyedState for Edges {
    const UID: &'static str = "step-edges";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        debug_assert!(
            self.changed.is_empty(),
            "a checkpoint is taken where a block ends"
        );
        let Edges {
            windows, changes, ..
        } = self;
        windows.save(changes, out, saved);
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (window, saved) = read_version::<Self, EdgeWindow, Saved>(version, entry)?;
        self.minutes.insert(window.clone());
        self.windows.insert(window, saved.0.into_iter().collect());
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.now.advance(record.watermark_us);
        self.told = self.now;
    }
}
