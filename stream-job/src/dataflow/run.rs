//! Runs the dataflow on its worker threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::build::{self, Shared};
use super::control::{self, Journal};
use super::coordinator::{Coordinator, Identity};
use super::epochs::Epoch;
use super::fatal::Fatal;
use super::output::Output;
use super::plan::{SourcePlan, assigned, idle_timeout_ms};
use super::rules::{Rules, cut_of, time_rules};
use super::source::SourceParts;
use crate::checkpoint::epoch_log::EpochLogHandle;
use crate::checkpoint::record::{AckTime, Entry, EpochRecord, Position};
use crate::ops::job::Shutdown;
use crate::ops::metrics::Metrics;
use crate::ops::settings::Settings;
use crate::source::TopicPartition;
use crate::source::buffer::Batch;

/// A worker looks this often whether the run has failed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Everything that a run of the dataflow needs.
pub(super) struct RunInput {
    pub settings: Arc<Settings>,
    pub source: SourcePlan,
    /// Where reading begins: before the first replayed epoch, or before the first epoch at all.
    pub positions: Vec<Position>,
    pub identity: Identity,
    pub first_epoch: Epoch,
    /// Epochs that the log has already.
    pub replay: Vec<EpochRecord>,
    /// Whether the run ends with the replay.
    pub ends_with_replay: bool,
    /// Where new records become durable; `None` keeps none.
    pub log: Option<EpochLogHandle>,
    pub output: Arc<dyn Output>,
    pub workers: usize,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    pub fatal: Fatal,
}

struct LogJournal {
    log: Option<EpochLogHandle>,
    output: Arc<dyn Output>,
    metrics: Arc<Metrics>,
}

impl Journal for LogJournal {
    fn write(&mut self, record: &EpochRecord) -> anyhow::Result<()> {
        if let Some(log) = &self.log {
            log.append_durable(vec![Entry::Epoch(record.clone())])?;
        }
        Ok(())
    }

    fn follow(&mut self, record: &EpochRecord) {
        let metrics = &self.metrics;
        metrics.epochs.add(1);
        metrics
            .epoch
            .set(i64::try_from(record.epoch).unwrap_or(i64::MAX));
        if record.watermark_us > i64::MIN && record.watermark_us < i64::MAX {
            metrics.watermark_ms.set(record.watermark_us / 1_000);
        }
        for (at, position) in record.positions.iter().enumerate() {
            let labels: [&str; 2] = [&position.topic, &position.partition.to_string()];
            metrics
                .partition_offset
                .with(&labels)
                .set(position.next_offset);
            let is_idle = record.idle.iter().any(|&idle| idle as usize == at);
            metrics.partition_idle.with(&labels).set(i64::from(is_idle));
        }
    }

    fn landed(&self) -> Epoch {
        let landed = self.output.landed();
        self.metrics
            .landed_epoch
            .set(i64::try_from(self.output.landed_whole()).unwrap_or(i64::MAX));
        self.metrics
            .epochs_in_flight
            .set(self.metrics.epoch.get() - self.metrics.landed_epoch.get());
        self.metrics.health.tick();
        landed
    }

    fn take_acks(&mut self, into: &mut Vec<AckTime>) {
        self.output.take_acks(into);
    }
}

/// Runs the dataflow to its end: the input's, a graceful stop's, or the first failure's.
///
/// # Errors
/// What failed first.
pub(super) fn execute(input: RunInput) -> anyhow::Result<()> {
    let fatal = input.fatal.clone();
    let workers = input.workers.max(1);
    let rules = Rules::of(&input.settings);
    let coordinator = Coordinator::new(
        cut_of(&input.settings, input.source.is_recording()),
        time_rules(&input.settings),
        input.identity.clone(),
        u64::from(input.settings.max_epochs_in_flight),
        input.first_epoch,
        input.positions.clone(),
        workers,
    )
    .with_replay(input.replay.clone(), input.ends_with_replay);
    let journal = LogJournal {
        log: input.log.clone(),
        output: input.output.clone(),
        metrics: input.metrics.clone(),
    };
    let lead = Mutex::new(Some((coordinator, journal)));
    let shared = Shared {
        rules,
        output: input.output.clone(),
        metrics: input.metrics.clone(),
    };
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let index = worker.index();
        let lead = if index == 0 {
            lead.lock().unwrap_or_else(PoisonError::into_inner).take()
        } else {
            None
        };
        let lead =
            lead.map(|(coordinator, journal)| (coordinator, Box::new(journal) as Box<dyn Journal>));
        let link = control::build(worker, lead, input.shutdown.clone(), input.fatal.clone());
        build::build(
            worker,
            source_parts(&input, index, workers),
            link,
            &shared,
            input.fatal.clone(),
        );
        input.metrics.health.set_source_assigned(true);
        while worker.has_dataflows() {
            worker.step_or_park(Some(LOOK_EVERY));
            if input.fatal.is_raised() {
                worker
                    .installed_dataflows()
                    .into_iter()
                    .for_each(|dataflow| worker.drop_dataflow(dataflow));
            }
        }
    })
    .map_err(|error| anyhow::anyhow!("the dataflow could not be started: {error}"))?;
    for worker in guards.join() {
        if let Err(error) = worker {
            fatal.raise(anyhow::anyhow!("a worker failed: {error}"));
        }
    }
    fatal.take().map_or(Ok(()), Err)
}

fn source_parts(input: &RunInput, worker: usize, workers: usize) -> SourceParts {
    let (slots, buffers) = assigned(
        &input.positions,
        worker,
        workers,
        input.settings.sink_shards,
    );
    let budget = usize::try_from(input.settings.epoch_max_bytes.0).unwrap_or(usize::MAX);
    let (metrics, read, away) = (
        input.metrics.clone(),
        input.metrics.clone(),
        input.metrics.clone(),
    );
    SourceParts {
        worker,
        first_epoch: input.first_epoch,
        open: input
            .source
            .opener(input.positions.len(), move |what: Option<String>| {
                away.health.set_away(&format!("reader {worker}"), what);
            }),
        slots,
        buffers,
        budget_bytes: budget / workers,
        idle_timeout_ms: idle_timeout_ms(&input.settings),
        event_times: Rc::new(RefCell::new(vec![None; input.positions.len()])),
        on_read: Box::new(move |partition: &TopicPartition, records: &Batch| {
            read.records
                .with(&[&partition.topic])
                .add(records.len() as u64);
            read.record_bytes.add(records.payload_bytes());
        }),
        on_lag: Box::new(move |partition: &TopicPartition, lag: &i64| {
            let labels: [&str; 2] = [&partition.topic, &partition.partition.to_string()];
            metrics.partition_lag.with(&labels).set(*lag);
        }),
    }
}
