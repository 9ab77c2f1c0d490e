//! What the traces keep over a restart: an entry a trace, packed as it is in memory.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Kept, Traces};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Bytes, Entry, GroupKey, KeyedState, StateError, StateWriter, key_group, read_version,
};
use crate::dataflow::epochs::Epoch;
use crate::dataflow::trace_summary::TraceId;

/// Ids need not be random, so they are hashed.
impl GroupKey for TraceId {
    fn stable_hash(&self) -> u64 {
        xxh3_64(&self.to_be_bytes())
    }
}

/// The group of a trace.
#[must_use]
pub fn group_of_trace(trace_id: TraceId) -> u16 {
    key_group(trace_id.stable_hash())
}

#[derive(Serialize, Deserialize)]
struct Saved {
    segment: Epoch,
    next_look_us: i64,
    packed: Bytes,
}

fn saved(kept: &Kept) -> Saved {
    Saved {
        segment: kept.segment,
        next_look_us: kept.next_look_us,
        packed: Bytes(kept.packed.clone()),
    }
}

impl KeyedState for Traces {
    const UID: &'static str = "traces";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        debug_assert!(
            self.open.is_empty(),
            "a checkpoint is taken where a block ends"
        );
        let Traces { kept, changes, .. } = self;
        kept.save(changes, out, saved);
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (trace_id, saved) = read_version::<Self, TraceId, Saved>(version, entry)?;
        if saved.next_look_us < i64::MAX {
            self.timers.push(Reverse((saved.next_look_us, trace_id)));
        }
        let kept = Kept {
            segment: saved.segment,
            next_look_us: saved.next_look_us,
            packed: saved.packed.0,
        };
        self.kept.insert(trace_id, kept);
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.watermark_us = record.watermark_us;
    }
}
