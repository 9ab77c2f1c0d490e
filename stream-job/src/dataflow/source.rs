//! The source operator: polls its worker's partitions, and releases their records epoch by epoch.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::Activator;
use timely::scheduling::activate::SyncActivator;

use super::control::{ControlLink, Told};
use super::coordinator::{PartitionReport, Report};
use super::epochs::{Epoch, EpochTable};
use super::fatal::Fatal;
use crate::checkpoint::record::EpochRecord;
use crate::source::buffer::{Batch, PartitionBuffer};
use crate::source::{Reader, TopicPartition, wall_ms};

/// At least this often the source looks at its partitions, so that idleness is noticed without records.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The records of one partition in one epoch.
#[derive(Clone, Debug)]
pub(super) struct PartitionBatch {
    /// Index of the partition in the job's sorted list.
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
    /// Index of each buffer's partition in the job's list.
    pub slots: Vec<u32>,
    /// This worker's partitions.
    pub buffers: Vec<PartitionBuffer>,
    /// How many bytes to hold before an epoch is asked for.
    pub budget_bytes: usize,
    /// A partition is idle when it has been silent, and confirmed to be at its end, for this long.
    pub idle_timeout_ms: i64,
    /// Event times seen by the scan.
    pub event_times: EventTimes,
    /// Called with the records of a partition that an epoch releases.
    pub on_read: OnPartition<Batch>,
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

struct Polling {
    reader: Box<dyn Reader>,
    parts: SourceParts,
    link: ControlLink,
    epochs: EpochTable,
    activator: Activator,
    pending: VecDeque<Arc<EpochRecord>>,
    stop: bool,
    full: bool,
    released: Epoch,
    /// When each partition last moved its event time, or started.
    spoke_ms: Vec<(Option<i64>, i64)>,
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
        activator.activate();
        Ok(Self {
            reader,
            parts,
            link,
            epochs,
            activator,
            pending: VecDeque::new(),
            stop: false,
            full: false,
            released,
            spoke_ms,
            reported: None,
            lag_told_ms: 0,
        })
    }

    fn poll(&mut self) -> anyhow::Result<()> {
        while let Some(told) = self.link.receive() {
            match told {
                Told::Epoch(record) => self.pending.push_back(record),
                Told::Stop => self.stop = true,
            }
        }
        let polled = self
            .reader
            .poll(&mut self.parts.buffers, self.parts.budget_bytes)?;
        self.full = polled.full;
        Ok(())
    }

    /// The next epoch whose records of this worker's partitions have all been read.
    fn release(&mut self) -> Option<(Arc<EpochRecord>, Vec<PartitionBatch>)> {
        let record = self.pending.front()?.clone();
        let target = |slot: u32| record.positions[slot as usize].next_offset;
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
        PartitionReport {
            slot,
            position: buffer.position,
            max_event_us,
            idle: confirmed && buffer.records() == 0 && !recently(*spoke_ms),
            ended: self.reader.has_ended(at, buffer),
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

    fn is_done(&self) -> bool {
        self.stop && self.pending.is_empty()
    }
}
