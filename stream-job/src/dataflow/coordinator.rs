//! Decides when an epoch is cut and what its record says. No I/O and no clock of its own, so that it can be tested alone.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::epochs::Epoch;
use crate::checkpoint::record::{AckTime, EpochRecord, Position};

/// What a worker says of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Index of the partition in the job's sorted list.
    pub slot: u32,
    /// Offset up to which everything has been read.
    pub position: i64,
    /// Largest event time that may move the watermark, µs since 1970; over released data only.
    pub max_event_us: Option<i64>,
    /// Silent, and confirmed to be at its end.
    pub idle: bool,
    /// Ended for good: a bounded source.
    pub ended: bool,
}

/// What a worker says of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The worker.
    pub worker: usize,
    /// The last epoch that the worker has released: a report about older ones is out of date.
    pub released: Epoch,
    /// The worker reads no further until an epoch is cut.
    pub full: bool,
    /// Its partitions.
    pub partitions: Vec<PartitionReport>,
}

/// When epochs are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// By the clock, and sooner when a worker is full.
    Interval {
        /// Length of an epoch, ms.
        epoch_ms: i64,
        /// Length of a DWS block, ms.
        block_ms: i64,
    },
    /// When every worker is full or at its end: a bounded source, cut by record counts.
    Count {
        /// Epochs in a DWS block.
        epochs_per_block: u64,
    },
}

/// The time rules of the job, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// `max_out_of_orderness`.
    pub max_out_of_orderness_us: i64,
    /// `idle_timeout`.
    pub idle_timeout_us: i64,
}

/// What stays the same in all records that one process writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Timeline id.
    pub timeline: String,
    /// Generation of this process.
    pub generation: u64,
    /// Hash of the settings that shape rows.
    pub settings_hash: u64,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Release this epoch again: its record is in the log already.
    Replay(EpochRecord),
    /// Release this epoch, once its record is durable.
    Cut(EpochRecord),
    /// Nothing comes any more.
    Stop,
}

#[derive(Clone, Debug)]
struct Slot {
    position: Position,
    reported: i64,
    max_event_us: Option<i64>,
    idle: bool,
    ended: bool,
    worker: Option<usize>,
}

/// The state behind the decisions.
pub struct Coordinator {
    cut: Cut,
    rules: TimeRules,
    identity: Identity,
    max_in_flight: u64,
    slots: Vec<Slot>,
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
        let slots = partitions
            .into_iter()
            .map(|position| Slot {
                reported: position.next_offset,
                position,
                max_event_us: None,
                idle: false,
                ended: false,
                worker: None,
            })
            .collect();
        Self {
            cut,
            rules,
            identity,
            max_in_flight: max_in_flight.max(1),
            slots,
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
        }
    }

    /// Gives the epochs to release again before any new one.
    #[must_use]
    pub fn with_replay(mut self, records: Vec<EpochRecord>, ends_with_replay: bool) -> Self {
        self.replay = records.into();
        self.ends_with_replay = ends_with_replay;
        self
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
            slot.worker = Some(report.worker);
        }
    }

    /// Decides. `landed` is the last epoch whose raw and clean rows are all in the warehouse; `acks` is emptied into a new
    /// record. Call again until it returns `None`.
    pub fn decide(
        &mut self,
        now_ms: i64,
        landed: Epoch,
        acks: &mut Vec<AckTime>,
        stopping: bool,
    ) -> Option<Decision> {
        if self.stopped {
            return None;
        }
        if self.next_epoch.saturating_sub(landed) > self.max_in_flight {
            return None;
        }
        if let Some(record) = self.replay.pop_front() {
            self.follow(&record);
            return Some(Decision::Replay(record));
        }
        let ended_before = self.watermark_us == i64::MAX;
        let nothing_open = self.epochs_in_block == 0 && self.nothing_to_release();
        if self.ends_with_replay || ended_before || self.closing || (stopping && nothing_open) {
            self.stopped = true;
            return Some(Decision::Stop);
        }
        let end_of_input = self.all_released_and_ended();
        if !(stopping || end_of_input || self.is_due(now_ms)) {
            return None;
        }
        let record = self.record(now_ms, std::mem::take(acks), stopping, end_of_input);
        self.follow(&record);
        self.closing = stopping;
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
            wall_ms,
            dws_block_ends: block_is_full || stopping || end_of_input,
            ack_times,
            settings_hash: self.identity.settings_hash,
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            end_of_input,
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
        for (slot, position) in self.slots.iter_mut().zip(&record.positions) {
            debug_assert_eq!(
                slot.position.partition, position.partition,
                "the list of partitions is fixed for a run"
            );
            slot.position.next_offset = position.next_offset;
            slot.reported = slot.reported.max(position.next_offset);
        }
    }
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
