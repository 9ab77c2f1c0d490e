//! What the account of the pipeline's delay keeps over a restart: one entry, as it is small and of worker 0 alone.

use std::collections::BTreeMap;

use super::{EpochCounts, Freshness, FreshnessRow};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{Entry, KeyedState, StateError, StateWriter, read_version};
use crate::dataflow::epochs::Epoch;

/// Worker 0 owns the first group.
const GROUP: u16 = 0;

type Saved = (
    BTreeMap<Epoch, EpochCounts>,
    BTreeMap<i64, FreshnessRow>,
    Option<i64>,
);

impl KeyedState for Freshness {
    const UID: &'static str = "freshness";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        debug_assert!(
            self.changed.is_empty(),
            "a checkpoint is taken where a block ends"
        );
        let saved = (&self.waiting, &self.minutes, self.final_through);
        out.put(GROUP, &(), &saved);
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let ((), saved) = read_version::<Self, (), Saved>(version, entry)?;
        (self.waiting, self.minutes, self.final_through) = saved;
        Ok(())
    }

    fn restored(&mut self, _record: &EpochRecord) {}
}
