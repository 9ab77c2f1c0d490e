//! The source operator: polls its worker's partitions, and releases their records epoch by epoch.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::Activator;
use timely::scheduling::activate::SyncActivator;

use super::align;
use super::control::{ControlLink, Told};
use super::coordinator::{PartitionReport, Report};
use super::epochs::{Epoch, EpochTable};
use super::fatal::Fatal;
use super::missing::Missing;
use crate::checkpoint::manifest::StateRef;
use crate::checkpoint::record::{EpochRecord, Position};
use crate::ops::failpoint;
use crate::ops::metrics::Seconds;
use crate::ops::settings::OnDataLoss;
use crate::source::buffer::{Batch, PartitionBuffer};
use crate::source::{Reader, TopicFilter, TopicPartition, wall_ms};

/// At least this often the source looks at its partitions, so that idleness is noticed without records.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The records of one partition in one epoch.
#[derive(Clone, Debug)]
pub(super) struct PartitionBatch {
    /// The partition's slot: its index in a record's positions.
    pub slot: u32,
    /// The partition.
    pub partition: TopicPartition,
    /// The records, in offset order.
    pub records: Rc<Batch>,
}

/// The largest event time that may move the watermark, by slot; written by the scan, read by the source.
pub(super) type EventTimes = Rc<std::cell::RefCell<Vec<Option<i64>>>>;

/// Opens a worker's reader for its partitions; is given what wakes the operator.
pub(super) type OpenReader =
    Box<dyn FnOnce(&[PartitionBuffer], SyncActivator) -> anyhow::Result<Box<dyn Reader>>>;

/// The slots of a worker, and their buffers, among the positions from a slot on.
pub(super) type Appended = Box<dyn Fn(&[Position], usize) -> (Vec<u32>, Vec<PartitionBuffer>)>;

/// Is told something of a partition.
pub(super) type OnPartition<T> = Box<dyn Fn(&TopicPartition, &T)>;

/// What the source operator works on.
pub(super) struct SourceParts {
    /// Index of this worker.
    pub worker: usize,
    /// The first epoch of the run, new or replayed.
    pub first_epoch: Epoch,
    /// Makes the reader; is given what wakes the operator.
    pub open: OpenReader,
    /// The slot of each buffer's partition.
    pub slots: Vec<u32>,
    /// How many slots the job has; of those that come, the ones that are this worker's.
    pub known_slots: usize,
    /// Makes this worker's buffers for the slots of a record from the given one on.
    pub appended: Appended,
    /// What happens when records are gone before they were read.
    pub on_data_loss: OnDataLoss,
    /// This worker's partitions.
    pub buffers: Vec<PartitionBuffer>,
    /// How many bytes to hold before an epoch is asked for.
    pub budget_bytes: usize,
    /// The topics whose partitions have no say in how far event time has come: always idle.
    pub timeless: TopicFilter,
    /// A partition is idle when it has been silent, and confirmed to be at its end, for this long.
    pub idle_timeout_ms: i64,
    /// How far a partition may be ahead of the slowest, µs; 0 aligns nothing.
    pub max_watermark_drift_us: i64,
    /// Event times seen by the scan.
    pub event_times: EventTimes,
    /// Tells the newest state file that this worker has written.
    pub saved: Box<dyn Fn() -> Option<StateRef>>,
    /// Called with the records of a partition that an epoch releases.
    pub on_read: OnPartition<Batch>,
    /// Called with whether a partition waits for the others, when that changes.
    pub on_paused: OnPartition<bool>,
    /// Called with the lag of a partition in records, at most once a second.
    pub on_lag: OnPartition<i64>,
}

/// Builds the source.
pub(super) fn build<'scope>(
    scope: Scope<'scope, Epoch>,
    parts: SourceParts,
    link: ControlLink,
    epochs: EpochTable,
    fatal: Fatal,
) -> StreamVec<'scope, Epoch, PartitionBatch> {
    source::<_, CapacityContainerBuilder<Vec<PartitionBatch>>, _, _>(
        scope,
        "source",
        move |cap, info| {
            let activator = scope.activator_for(Rc::clone(&info.address));
            link.listen(scope.activator_for(Rc::clone(&info.address)));
            let wake = scope.worker().sync_activator_for(info.address.to_vec());
            let (busy, blocked) = (epochs.busy("source"), epochs.blocked("source"));
            let mut blocked_since = None;
            let mut polling = match Polling::open(parts, wake, link, epochs, activator) {
                Ok(polling) => Some(polling),
                Err(error) => {
                    fatal.raise(error);
                    None
                }
            };
            let mut cap = Some(cap);
            move |output| {
                let (Some(worker), Some(at)) = (&mut polling, &mut cap) else {
                    return;
                };
                let _busy = busy.time();
                note_blocked(&mut blocked_since, worker.is_blocked(), &blocked);
                if let Err(error) = worker.poll() {
                    fatal.raise(error);
                    (polling, cap) = (None, None);
                    return;
                }
                while let Some((record, mut batches)) = worker.release() {
                    at.downgrade(&record.epoch);
                    output.session(&*at).give_container(&mut batches);
                    at.downgrade(&(record.epoch + 1));
                }
                note_blocked(&mut blocked_since, worker.is_blocked(), &blocked);
                worker.report();
                if worker.is_done() {
                    worker.link.close();
                    (polling, cap) = (None, None);
                } else {
                    worker.activator.activate_after(LOOK_EVERY);
                }
            }
        },
    )
}

/// Adds the time since it was blocked at the last look.
fn note_blocked(since: &mut Option<Instant>, is_blocked: bool, sum: &Seconds) {
    let now = Instant::now();
    if let Some(since) = since.take() {
        sum.add(now - since);
    }
    *since = is_blocked.then_some(now);
}

/// Up to where a record reads a slot; one that it does not have yet is not read.
fn target(record: &EpochRecord, slot: u32) -> i64 {
    let position = record.positions.get(slot as usize);
    position.map_or(0, |position| position.next_offset)
}

struct Polling {
    reader: Box<dyn Reader>,
    parts: SourceParts,
    link: ControlLink,
    epochs: EpochTable,
    activator: Activator,
    pending: VecDeque<Arc<EpochRecord>>,
    /// What is read now is in no record of the log yet.
    live: bool,
    stop: bool,
    full: bool,
    released: Epoch,
    /// When each partition last moved its event time, or started.
    spoke_ms: Vec<(Option<i64>, i64)>,
    /// Which of the job's partitions are too far ahead of the others, as of the newest record.
    ahead: Vec<bool>,
    /// Offsets that were gone, by partition, and that no released epoch has gone beyond.
    gaps: Vec<Vec<(i64, i64)>>,
    reported: Option<Report>,
    lag_told_ms: i64,
}

impl Polling {
    fn open(
        mut parts: SourceParts,
        wake: SyncActivator,
        link: ControlLink,
        epochs: EpochTable,
        activator: Activator,
    ) -> anyhow::Result<Self> {
        let open = std::mem::replace(
            &mut parts.open,
            Box::new(|_, _| anyhow::bail!("opened once")),
        );
        let reader = open(&parts.buffers, wake)?;
        let released = parts.first_epoch.saturating_sub(1);
        let spoke_ms = vec![(None, wall_ms()); parts.buffers.len()];
        let gaps = vec![Vec::new(); parts.buffers.len()];
        activator.activate();
        Ok(Self {
            reader,
            parts,
            link,
            epochs,
            activator,
            pending: VecDeque::new(),
            live: false,
            stop: false,
            full: false,
            released,
            spoke_ms,
            ahead: Vec::new(),
            gaps,
            reported: None,
            lag_told_ms: 0,
        })
    }

    fn poll(&mut self) -> anyhow::Result<()> {
        while let Some(told) = self.link.receive() {
            match told {
                Told::Epoch(record) => {
                    self.ahead = align::paused(&record, self.parts.max_watermark_drift_us);
                    self.append(&record)?;
                    self.pending.push_back(record);
                }
                Told::Live => self.live = true,
                Told::Checkpointed(_) => {}
                Told::Stop => self.stop = true,
            }
        }
        self.pause();
        let polled = self
            .reader
            .poll(&mut self.parts.buffers, self.parts.budget_bytes)?;
        self.full = polled.full;
        for at in 0..self.parts.buffers.len() {
            if self.parts.buffers[at].missing {
                self.pass_gap(at)?;
            }
        }
        Ok(())
    }

    /// Takes on the partitions that a record has and those before it had not.
    fn append(&mut self, record: &EpochRecord) -> anyhow::Result<()> {
        let from = self.parts.known_slots;
        if record.positions.len() <= from {
            return Ok(());
        }
        self.parts.known_slots = record.positions.len();
        let mut event_times = self.parts.event_times.borrow_mut();
        event_times.resize(record.positions.len(), None);
        drop(event_times);
        let (slots, buffers) = (self.parts.appended)(&record.positions, from);
        for buffer in &buffers {
            let tp = &buffer.partition;
            tracing::info!(
                "{}/{} is new: it is read from offset {} on",
                tp.topic,
                tp.partition,
                buffer.position
            );
            self.spoke_ms.push((None, wall_ms()));
            self.gaps.push(Vec::new());
        }
        self.reader.add(&buffers)?;
        self.parts.slots.extend(slots);
        self.parts.buffers.extend(buffers);
        Ok(())
    }

    /// Decides what becomes of a partition whose next record is gone.
    fn pass_gap(&mut self, at: usize) -> anyhow::Result<()> {
        let slot = self.parts.slots[at];
        let buffer = &mut self.parts.buffers[at];
        let wanted = self.pending.back().map_or(0, |record| target(record, slot));
        let mut logged = self.pending.iter().flat_map(|record| &record.gaps);
        if let Some(gap) = logged.find(|gap| gap.slot == slot && gap.from == buffer.position) {
            return self.reader.skip_to(at, buffer, gap.to);
        }
        let (first, end) = match self.reader.available(buffer) {
            Ok(offsets) => offsets,
            Err(error) => {
                tracing::warn!("{error:#}; asked again");
                return Ok(());
            }
        };
        let missing = Missing {
            partition: &buffer.partition,
            wanted: buffer.position,
            first,
            end,
        };
        if buffer.position < wanted {
            return Err(missing.needed_by_replay());
        }
        if !self.live {
            // A record of the log that says what happened here may still be on its way.
            return Ok(());
        }
        if first <= buffer.position {
            return Err(missing.cut_at_the_end());
        }
        if self.parts.on_data_loss == OnDataLoss::Stop {
            return Err(missing.not_read());
        }
        tracing::error!("{}", missing.skipped());
        self.gaps[at].push((buffer.position, first));
        self.reader.skip_to(at, buffer, first)
    }

    /// Pauses the partitions that are too far ahead. What a record of the log wants is read all the same.
    fn pause(&mut self) {
        let newest = self.pending.back();
        for (&slot, buffer) in self.parts.slots.iter().zip(&mut self.parts.buffers) {
            let wanted = newest.map_or(0, |record| target(record, slot));
            let is_ahead = self.ahead.get(slot as usize) == Some(&true);
            let paused = is_ahead && buffer.position >= wanted;
            if buffer.paused != paused {
                buffer.paused = paused;
                (self.parts.on_paused)(&buffer.partition, &paused);
            }
        }
    }

    /// The next epoch whose records of this worker's partitions have all been read.
    fn release(&mut self) -> Option<(Arc<EpochRecord>, Vec<PartitionBatch>)> {
        let record = self.pending.front()?.clone();
        let target = |slot: u32| target(&record, slot);
        let mine = || self.parts.slots.iter().copied().zip(&self.parts.buffers);
        if mine().any(|(slot, buffer)| buffer.position < target(slot)) {
            if self.full {
                // The budget must not keep an epoch of a longer past from being read to its end.
                self.parts.budget_bytes = self.parts.budget_bytes.saturating_mul(2);
                self.reader.read_further();
                self.activator.activate();
            }
            return None;
        }
        self.pending.pop_front();
        let targets: Vec<i64> = self.parts.slots.iter().map(|&slot| target(slot)).collect();
        let mut batches = Vec::new();
        for (gaps, &target) in self.gaps.iter_mut().zip(&targets) {
            gaps.retain(|gap| gap.0 >= target);
        }
        for ((&slot, buffer), target) in self
            .parts
            .slots
            .iter()
            .zip(&mut self.parts.buffers)
            .zip(targets)
        {
            let records = buffer.release(target);
            if !records.is_empty() {
                (self.parts.on_read)(&buffer.partition, &records);
                batches.push(PartitionBatch {
                    slot,
                    partition: buffer.partition.clone(),
                    records: Rc::new(records),
                });
            }
        }
        self.epochs.push(record.clone());
        self.released = record.epoch;
        failpoint::hit("released");
        if self.full {
            self.full = false;
            self.activator.activate();
        }
        Some((record, batches))
    }

    fn report(&mut self) {
        let now_ms = wall_ms();
        let partitions = (0..self.parts.buffers.len())
            .map(|at| self.partition_report(at, now_ms))
            .collect();
        let report = Report {
            worker: self.parts.worker,
            released: self.released,
            full: self.full,
            partitions,
            saved: (self.parts.saved)(),
        };
        self.tell_lag(now_ms);
        if self.reported.as_ref() != Some(&report) {
            self.reported = Some(report.clone());
            self.link.report(report);
        }
    }

    fn partition_report(&mut self, at: usize, now_ms: i64) -> PartitionReport {
        let slot = self.parts.slots[at];
        let buffer = &self.parts.buffers[at];
        let max_event_us = self.parts.event_times.borrow()[slot as usize];
        let (spoke, spoke_ms) = &mut self.spoke_ms[at];
        if *spoke != max_event_us {
            (*spoke, *spoke_ms) = (max_event_us, now_ms);
        }
        let recently = |ms: i64| now_ms - ms <= self.parts.idle_timeout_ms;
        let confirmed = self
            .reader
            .confirmed_at_end_ms(at, buffer)
            .is_some_and(recently);
        let is_silent =
            confirmed && !buffer.paused && buffer.records() == 0 && !recently(*spoke_ms);
        PartitionReport {
            slot,
            position: buffer.position,
            max_event_us,
            idle: is_silent || self.parts.timeless.matches(&buffer.partition.topic),
            ended: self.reader.has_ended(at, buffer),
            gaps: self.gaps[at].clone(),
        }
    }

    fn tell_lag(&mut self, now_ms: i64) {
        if now_ms - self.lag_told_ms < 1_000 {
            return;
        }
        self.lag_told_ms = now_ms;
        for (at, buffer) in self.parts.buffers.iter().enumerate() {
            if let Some(end) = self.reader.end_offset(at) {
                let unread = (end - buffer.position).max(0);
                let held = i64::try_from(buffer.records()).unwrap_or(i64::MAX);
                (self.parts.on_lag)(&buffer.partition, &unread.saturating_add(held));
            }
        }
    }

    /// Whether it holds all that it may, and no epoch has come to release it with.
    fn is_blocked(&self) -> bool {
        self.full && self.pending.is_empty()
    }

    fn is_done(&self) -> bool {
        self.stop && self.pending.is_empty()
    }
}
