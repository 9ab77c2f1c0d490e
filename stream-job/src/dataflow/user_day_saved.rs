//! What users' days keep over a restart: an entry a user and day, the traces that may change packed as they are in memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Settled, Traces, Tracked, UserDay, UserDays};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Bytes, Entry, GroupKey, KeyedState, StateError, StateWriter, key_group, read_version,
};
use crate::dataflow::epochs::Epoch;

impl GroupKey for UserDay {
    fn stable_hash(&self) -> u64 {
        let user = xxh3_64_with_seed(self.user_id.as_bytes(), u64::from(self.day));
        user ^ xxh3_64(self.namespace.as_bytes()).rotate_left(1)
    }
}

/// The group of a user's day.
#[must_use]
pub fn group_of_user(key: &UserDay) -> u16 {
    key_group(key.stable_hash())
}

#[derive(Serialize, Deserialize)]
struct Saved {
    segment: Epoch,
    is_shown: bool,
    settled: Settled,
    packed: Bytes,
}

fn saved(tracked: &Tracked) -> Saved {
    let Traces::Packed(packed) = &tracked.traces else {
        unreachable!("a checkpoint is taken where a block ends, and there all is packed")
    };
    Saved {
        segment: tracked.segment,
        is_shown: tracked.is_shown,
        settled: tracked.settled.clone(),
        packed: Bytes(packed.clone()),
    }
}

impl KeyedState for UserDays {
    const UID: &'static str = "user-days";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        let UserDays { days, changes, .. } = self;
        days.save(changes, out, saved);
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (key, saved) = read_version::<Self, UserDay, Saved>(version, entry)?;
        let tracked = Tracked {
            segment: saved.segment,
            settled: saved.settled,
            traces: Traces::Packed(saved.packed.0),
            is_shown: saved.is_shown,
            is_due: false,
        };
        self.days.insert(Arc::new(key), tracked);
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.watermark_us = record.watermark_us;
        self.over_before = self.over_before();
    }
}
