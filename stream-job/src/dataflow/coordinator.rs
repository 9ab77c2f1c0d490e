//! Decides when an epoch is cut and what its record says. No I/O and no clock of its own, so that it can be tested alone.

use std::collections::{BTreeSet, VecDeque};

use super::align;
use super::epochs::Epoch;
use crate::checkpoint::record::{AckTime, EpochRecord, Gap, Position};

#[path = "coordinator_checkpoints.rs"]
mod checkpoints;
#[path = "coordinator_messages.rs"]
mod messages;

pub use checkpoints::CheckpointRule;
use checkpoints::Checkpoints;
pub use messages::{Cut, Decision, Identity, PartitionReport, Progress, Report, TimeRules};

#[derive(Clone, Debug)]
struct Slot {
    position: Position,
    reported: i64,
    max_event_us: Option<i64>,
    idle: bool,
    ended: bool,
    /// Too far ahead of the others to be read further, as of the newest record.
    paused: bool,
    gaps: Vec<(i64, i64)>,
    worker: Option<usize>,
}

impl Slot {
    fn at(position: Position) -> Self {
        Self {
            reported: position.next_offset,
            position,
            max_event_us: None,
            idle: false,
            ended: false,
            paused: false,
            gaps: Vec::new(),
            worker: None,
        }
    }
}

/// The state behind the decisions.
pub struct Coordinator {
    cut: Cut,
    rules: TimeRules,
    identity: Identity,
    max_in_flight: u64,
    slots: Vec<Slot>,
    /// Partitions that the source does not have any more: nobody reports them, and they hold nobody back.
    gone: BTreeSet<u32>,
    /// Partitions found while running, to be taken in by the next new record.
    found: Vec<Position>,
    /// Last epoch released and fullness, by worker.
    workers: Vec<Option<(Epoch, bool)>>,
    replay: VecDeque<EpochRecord>,
    /// Whether the run ends with the replay (a foreign epoch log).
    ends_with_replay: bool,
    next_epoch: Epoch,
    last_cut_ms: i64,
    last_block_ms: i64,
    epochs_in_block: u64,
    watermark_us: i64,
    /// The last epoch of a graceful stop was cut.
    closing: bool,
    stopped: bool,
    checkpoints: Checkpoints,
    /// A savepoint was asked for; whether the job ends with it.
    savepoint: Option<bool>,
    /// The next record has all that is open told of again.
    tells_all: bool,
}

impl Coordinator {
    /// `replay` holds the epochs that the log has already; `partitions` the positions before the first of them, or where
    /// to start. All workers but those that own no partition must report before the first new epoch.
    #[must_use]
    pub fn new(
        cut: Cut,
        rules: TimeRules,
        identity: Identity,
        max_in_flight: u64,
        first_epoch: Epoch,
        partitions: Vec<Position>,
        workers: usize,
    ) -> Self {
        let slots = partitions.into_iter().map(Slot::at).collect();
        Self {
            cut,
            rules,
            identity,
            max_in_flight: max_in_flight.max(1),
            slots,
            gone: BTreeSet::new(),
            found: Vec::new(),
            workers: vec![None; workers],
            replay: VecDeque::new(),
            ends_with_replay: false,
            next_epoch: first_epoch,
            last_cut_ms: 0,
            last_block_ms: 0,
            epochs_in_block: 0,
            watermark_us: i64::MIN,
            closing: false,
            stopped: false,
            checkpoints: Checkpoints::new(first_epoch),
            savepoint: None,
            tells_all: false,
        }
    }

    /// Cuts an epoch for a savepoint as soon as may be, and with `stop` ends the run with it. The epoch's checkpoint is the
    /// one that rewrites everything.
    pub fn make_savepoint(&mut self, stop: bool) {
        self.savepoint = Some(stop);
    }

    /// Has all that is open told of again, in the first epoch that is cut anew.
    #[must_use]
    pub fn telling_all(mut self, tells_all: bool) -> Self {
        self.tells_all = tells_all && self.replay.is_empty();
        self
    }

    /// Takes checkpoints.
    #[must_use]
    pub fn with_checkpoints(mut self, rule: CheckpointRule) -> Self {
        self.checkpoints.follow_rule(rule);
        self
    }

    /// Goes on from a checkpoint, taken at the end of this record's epoch.
    #[must_use]
    pub fn resumed_from(mut self, record: &EpochRecord) -> Self {
        let max_out_of_orderness_us = self.rules.max_out_of_orderness_us;
        for (slot, &watermark_us) in self.slots.iter_mut().zip(&record.partition_watermarks_us) {
            slot.max_event_us = (watermark_us > i64::MIN)
                .then(|| watermark_us.saturating_add(max_out_of_orderness_us));
        }
        self.watermark_us = record.watermark_us;
        self.last_cut_ms = record.wall_ms;
        self.last_block_ms = record.wall_ms;
        self.checkpoints.resume_from(record);
        self
    }

    /// Gives the epochs to release again before any new one.
    #[must_use]
    pub fn with_replay(mut self, records: Vec<EpochRecord>, ends_with_replay: bool) -> Self {
        self.replay = records.into();
        self.ends_with_replay = ends_with_replay;
        self
    }

    /// Names the slots whose partitions the source does not have any more.
    #[must_use]
    pub fn without(mut self, gone: BTreeSet<u32>) -> Self {
        self.gone = gone;
        self.idle_where_gone();
        self
    }

    /// Partitions that were found: the next new record takes them in, behind those that there are.
    pub fn add(&mut self, found: Vec<Position>) {
        self.found.extend(found);
    }

    /// Whether what comes next is in the log already.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        !self.replay.is_empty() || self.ends_with_replay
    }

    /// Takes in what a worker says.
    pub fn report(&mut self, report: &Report) {
        self.workers[report.worker] = Some((report.released, report.full));
        for said in &report.partitions {
            let slot = &mut self.slots[said.slot as usize];
            slot.reported = slot.reported.max(said.position);
            slot.max_event_us = slot.max_event_us.max(said.max_event_us);
            slot.idle = said.idle;
            slot.ended = said.ended;
            let from = slot.position.next_offset;
            let open = said.gaps.iter().filter(|gap| gap.0 >= from);
            slot.gaps = open.copied().collect();
            slot.worker = Some(report.worker);
        }
        if let Some(file) = &report.saved {
            self.checkpoints.saved(report.worker, file);
        }
    }

    /// Decides; `acks` is emptied into a new record. Call again until it returns `None`.
    pub fn decide(
        &mut self,
        now_ms: i64,
        progress: Progress,
        acks: &mut Vec<AckTime>,
        stopping: bool,
    ) -> Option<Decision> {
        if self.stopped {
            return None;
        }
        if let Some((record, layer)) = self.checkpoints.complete(progress) {
            return Some(Decision::Checkpoint(record, layer));
        }
        if self.next_epoch.saturating_sub(progress.landed) > self.max_in_flight || progress.is_full
        {
            return None;
        }
        if let Some(record) = self.replay.front() {
            if record.checkpoint.is_some() && self.checkpoints.is_pending() {
                return None;
            }
            let record = self.replay.pop_front()?;
            self.follow(&record);
            return Some(Decision::Replay(record));
        }
        let ended_before = self.watermark_us == i64::MAX;
        let nothing_open = self.epochs_in_block == 0
            && self.nothing_to_release()
            && self.checkpoints.none_missing_before(self.next_epoch);
        let is_over =
            self.ends_with_replay || ended_before || self.closing || (stopping && nothing_open);
        let end_of_input = self.all_released_and_ended();
        let saves = self.savepoint.is_some();
        if self.checkpoints.is_pending() && (is_over || stopping || end_of_input || saves) {
            // The last checkpoint holds all, and nothing is left to be replayed.
            return None;
        }
        if is_over {
            self.stopped = true;
            return Some(Decision::Stop);
        }
        if !(stopping || end_of_input || saves || self.is_due(now_ms)) {
            return None;
        }
        let stopping = stopping || self.savepoint == Some(true);
        self.take_in_found();
        let record = self.record(now_ms, std::mem::take(acks), stopping, end_of_input);
        self.follow(&record);
        self.closing = stopping;
        (self.savepoint, self.tells_all) = (None, false);
        Some(Decision::Cut(record))
    }

    /// How long nothing will change by time alone, in ms.
    #[must_use]
    pub fn idle_for_ms(&self, now_ms: i64) -> i64 {
        match self.cut {
            Cut::Interval { epoch_ms, .. } => {
                (self.last_cut_ms + epoch_ms - now_ms).clamp(0, epoch_ms)
            }
            Cut::Count { .. } => 50,
        }
    }

    fn take_in_found(&mut self) {
        for position in std::mem::take(&mut self.found) {
            let is_it = |slot: &Slot| {
                (&slot.position.topic, slot.position.partition)
                    == (&position.topic, position.partition)
            };
            if !self.slots.iter().any(is_it) {
                self.slots.push(Slot::at(position));
            }
        }
    }

    fn idle_where_gone(&mut self) {
        for (_, slot) in (0u32..)
            .zip(&mut self.slots)
            .filter(|(at, _)| self.gone.contains(at))
        {
            slot.idle = true;
        }
    }

    fn nothing_to_release(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| slot.reported == slot.position.next_offset)
    }

    fn released_everything(&self, worker: usize) -> bool {
        matches!(self.workers[worker], Some((released, _)) if released + 1 == self.next_epoch)
    }

    fn all_released_and_ended(&self) -> bool {
        !self.slots.is_empty()
            && self.nothing_to_release()
            && self
                .slots
                .iter()
                .all(|slot| slot.ended && slot.worker.is_some_and(|w| self.released_everything(w)))
    }

    fn is_due(&self, now_ms: i64) -> bool {
        match self.cut {
            Cut::Interval { epoch_ms, .. } => {
                let full = |at: usize| matches!(self.workers[at], Some((released, true)) if released + 1 == self.next_epoch);
                now_ms - self.last_cut_ms >= epoch_ms || (0..self.workers.len()).any(full)
            }
            Cut::Count { .. } => {
                let ready = |slot: &Slot| {
                    slot.worker.is_some_and(|at| {
                        slot.ended
                            || slot.paused
                            || matches!(self.workers[at], Some((released, true)) if released + 1 == self.next_epoch)
                    })
                };
                !self.nothing_to_release() && self.slots.iter().all(ready)
            }
        }
    }

    fn record(
        &self,
        now_ms: i64,
        ack_times: Vec<AckTime>,
        stopping: bool,
        end_of_input: bool,
    ) -> EpochRecord {
        let wall_ms = now_ms.max(self.last_cut_ms);
        let partition_watermarks_us: Vec<i64> = self
            .slots
            .iter()
            .map(|slot| self.partition_watermark(slot))
            .collect();
        let watermark_us = if end_of_input {
            i64::MAX
        } else {
            self.watermark(wall_ms, &partition_watermarks_us)
        };
        let block_is_full = match self.cut {
            Cut::Interval { block_ms, .. } => wall_ms - self.last_block_ms >= block_ms,
            Cut::Count { epochs_per_block } => self.epochs_in_block + 1 >= epochs_per_block,
        };
        let is_last = stopping || end_of_input || self.savepoint.is_some();
        let dws_block_ends = block_is_full || is_last || self.tells_all;
        let checkpoint = if dws_block_ends {
            self.checkpoints.due(self.next_epoch, wall_ms, is_last)
        } else {
            None
        };
        let positions = self.slots.iter().map(|slot| Position {
            next_offset: slot.reported.max(slot.position.next_offset),
            ..slot.position.clone()
        });
        EpochRecord {
            epoch: self.next_epoch,
            timeline: self.identity.timeline.clone(),
            generation: self.identity.generation,
            positions: positions.collect(),
            watermark_us,
            partition_watermarks_us,
            idle: (0u32..)
                .zip(&self.slots)
                .filter(|(_, slot)| slot.idle || slot.ended)
                .map(|(at, _)| at)
                .collect(),
            gaps: (0u32..)
                .zip(&self.slots)
                .flat_map(|(slot, of)| {
                    of.gaps
                        .iter()
                        .map(move |&(from, to)| Gap { slot, from, to })
                })
                .collect(),
            wall_ms,
            dws_block_ends,
            ack_times,
            settings_hash: self.identity.settings_hash,
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            end_of_input,
            checkpoint,
            tells_all: self.tells_all,
        }
    }

    fn partition_watermark(&self, slot: &Slot) -> i64 {
        slot.max_event_us.map_or(i64::MIN, |event| {
            event.saturating_sub(self.rules.max_out_of_orderness_us)
        })
    }

    fn watermark(&self, wall_ms: i64, partitions: &[i64]) -> i64 {
        let speaking = self
            .slots
            .iter()
            .zip(partitions)
            .filter(|(slot, _)| !slot.idle && !slot.ended);
        let least = speaking.map(|(_, &watermark)| watermark).min();
        let all_idle = !self.slots.is_empty() && self.slots.iter().all(|slot| slot.idle);
        let reached = match least {
            Some(watermark) => watermark,
            None if all_idle => {
                wall_ms * 1_000 - self.rules.idle_timeout_us - self.rules.max_out_of_orderness_us
            }
            None => self.watermark_us,
        };
        reached.max(self.watermark_us)
    }

    /// Moves along with a record, new or replayed.
    fn follow(&mut self, record: &EpochRecord) {
        debug_assert_eq!(record.epoch, self.next_epoch, "epochs follow each other");
        self.next_epoch = record.epoch + 1;
        self.last_cut_ms = record.wall_ms;
        self.watermark_us = record.watermark_us;
        self.epochs_in_block = if record.dws_block_ends {
            0
        } else {
            self.epochs_in_block + 1
        };
        if record.dws_block_ends {
            self.last_block_ms = record.wall_ms;
        }
        self.checkpoints.follow(record, self.workers.len());
        let known = self.slots.len().min(record.positions.len());
        let appended = record.positions[known..].iter().cloned();
        self.slots.extend(appended.map(Slot::at));
        self.idle_where_gone();
        for (slot, position) in self.slots.iter_mut().zip(&record.positions) {
            debug_assert_eq!(
                (&slot.position.topic, slot.position.partition),
                (&position.topic, position.partition),
                "a partition keeps its slot"
            );
            slot.gaps.retain(|gap| gap.0 >= position.next_offset);
            slot.position.next_offset = position.next_offset;
            slot.reported = slot.reported.max(position.next_offset);
        }
        let paused = align::paused(record, self.rules.max_watermark_drift_us);
        for (slot, paused) in self.slots.iter_mut().zip(paused) {
            slot.paused = paused;
        }
    }
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
