//! When a checkpoint is begun, what it rewrites, and when it is complete.

use super::Progress;
use crate::checkpoint::manifest::{Layer, Rotation, StateRef};
use crate::checkpoint::record::{EpochRecord, Rewrite};
use crate::checkpoint::state::KEY_GROUPS;
use crate::dataflow::epochs::Epoch;

/// When checkpoints are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointRule {
    /// Never: the run keeps nothing.
    Never,
    /// When this long has passed since the last one, ms.
    Interval(i64),
    /// After so many epochs.
    Epochs(u64),
}

/// A checkpoint that was begun and is not complete.
struct Pending {
    record: EpochRecord,
    rewrite: Rewrite,
    /// The workers' files.
    files: Vec<Option<StateRef>>,
    /// Whether it was said that it can be completed.
    is_told: bool,
}

/// The checkpoints of a run: the newest that was begun, and what the next one goes by.
pub(super) struct Checkpoints {
    rule: CheckpointRule,
    pending: Option<Pending>,
    /// Which groups the next one rewrites; all, before the first.
    rotation: Option<Rotation>,
    /// The epoch of the newest, and when that was cut, ms since 1970.
    last: Epoch,
    last_ms: i64,
}

impl Checkpoints {
    /// Of a run that takes none until it is told a rule.
    pub(super) fn new(first_epoch: Epoch) -> Self {
        Self {
            rule: CheckpointRule::Never,
            pending: None,
            rotation: None,
            last: first_epoch,
            last_ms: 0,
        }
    }

    /// Takes them by this rule.
    pub(super) fn follow_rule(&mut self, rule: CheckpointRule) {
        self.rule = rule;
    }

    /// Goes on from the one that was taken at the end of this record's epoch.
    pub(super) fn resume_from(&mut self, record: &EpochRecord) {
        self.last = record.epoch;
        self.last_ms = record.wall_ms;
        self.rotation = record.checkpoint.map(Rotation::after);
    }

    /// Whether one was begun and is not complete: no other may begin.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether none is missing if the run ends before `next_epoch`: it takes none, or the newest holds everything.
    pub(super) fn none_missing_before(&self, next_epoch: Epoch) -> bool {
        self.rule == CheckpointRule::Never || self.last + 1 == next_epoch
    }

    /// A worker has written its file.
    pub(super) fn saved(&mut self, worker: usize, file: &StateRef) {
        if let Some(pending) = &mut self.pending
            && file.epoch == pending.record.epoch
        {
            pending.files[worker] = Some(file.clone());
        }
    }

    /// The pending one, once its files are there and its epoch has landed whole.
    pub(super) fn complete(&mut self, progress: Progress) -> Option<(EpochRecord, Layer)> {
        let pending = self.pending.as_mut()?;
        if progress.published >= pending.record.epoch {
            self.pending = None;
            return None;
        }
        if pending.is_told || progress.landed_whole < pending.record.epoch {
            return None;
        }
        let files: Option<Vec<StateRef>> = pending.files.iter().cloned().collect();
        let layer = Layer {
            epoch: pending.record.epoch,
            rewrite: pending.rewrite,
            files: files?,
        };
        pending.is_told = true;
        let rotation = self.rotation.unwrap_or(Rotation::after(layer.rewrite));
        self.rotation = Some(rotation.learn(&layer));
        Some((pending.record.clone(), layer))
    }

    /// The groups to rewrite if one is due with `epoch`, at which all blocks end.
    pub(super) fn due(&self, epoch: Epoch, wall_ms: i64, is_last: bool) -> Option<Rewrite> {
        let is_due = match self.rule {
            CheckpointRule::Never => return None,
            CheckpointRule::Interval(ms) => wall_ms - self.last_ms >= ms,
            CheckpointRule::Epochs(epochs) => epoch - self.last >= epochs,
        };
        if self.pending.is_some() || !(is_due || is_last) {
            return None;
        }
        let all = Rewrite {
            from: 0,
            to: KEY_GROUPS,
        };
        // The last one is what the next start restores: one layer is read faster than many.
        Some(
            self.rotation
                .filter(|_| !is_last)
                .map_or(all, Rotation::next),
        )
    }

    /// Begins the one that a record, new or replayed, has at its end.
    pub(super) fn follow(&mut self, record: &EpochRecord, workers: usize) {
        let Some(rewrite) = record.checkpoint else {
            return;
        };
        if self.rule == CheckpointRule::Never {
            return;
        }
        self.last = record.epoch;
        self.last_ms = record.wall_ms;
        self.rotation = Some(Rotation::after(rewrite));
        self.pending = Some(Pending {
            record: record.clone(),
            rewrite,
            files: vec![None; workers],
            is_told: false,
        });
    }
}
