//! An output that keeps nothing but counts, for the benchmark of the windows alone (`layers = windows`).

use std::sync::atomic::{AtomicU64, Ordering};

use super::epochs::Epoch;
use super::output::Output;
use crate::checkpoint::record::AckTime;
use crate::sink::block::Block;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::EpochRow;

/// Takes everything for landed at once.
#[derive(Default)]
pub(super) struct Discard {
    landed: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) spans: AtomicU64,
}

impl Discard {
    pub(super) fn starting_at(first_epoch: Epoch) -> Self {
        Self {
            landed: AtomicU64::new(first_epoch.saturating_sub(1)),
            ..Self::default()
        }
    }
}

impl Output for Discard {
    fn block(&self, _block: Block) {}

    fn dead_letter(&self, _epoch: Epoch, _letter: DeadLetter) {}

    fn counted(&self, row: EpochRow) {
        self.records.fetch_add(row.records, Ordering::Relaxed);
        self.spans.fetch_add(
            row.spans_landed + row.spans_duplicate + row.spans_rejected,
            Ordering::Relaxed,
        );
    }

    fn raw_closed(&self, _epoch: Epoch) {}

    fn closed(&self, epoch: Epoch, _ends_run: bool) {
        self.landed.store(epoch, Ordering::Relaxed);
    }

    fn landed(&self) -> Epoch {
        self.landed.load(Ordering::Relaxed)
    }

    fn landed_whole(&self) -> Epoch {
        self.landed()
    }

    fn take_acks(&self, _into: &mut Vec<AckTime>) {}
}
