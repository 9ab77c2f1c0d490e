//! Runs the dataflow on its worker threads.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::build::{self, Shared};
use super::control::{self, Follower, Journal, Lead, Role};
use super::coordinator::{CheckpointRule, Coordinator, Identity, Progress};
use super::epochs::Epoch;
use super::fatal::Fatal;
use super::keeper::Keeper;
use super::output::Output;
use super::plan::{SourcePlan, assigned, idle_timeout_ms};
use super::processes::{ProcessReport, Processes};
use super::rules::{Rules, checkpoint_rule, cut_of, time_rules};
use super::source::{Appended, SourceParts};
use crate::checkpoint::epoch_log::EpochLogHandle;
use crate::checkpoint::manifest::StateRef;
use crate::checkpoint::record::{AckTime, Entry, EpochRecord, Position};
use crate::checkpoint::service::{CheckpointService, Kept, Ready};
use crate::checkpoint::state::Restored;
use crate::cluster::{Ended, Links};
use crate::ops::control::{JobControl, SavepointRequest};
use crate::ops::failpoint;
use crate::ops::job::Shutdown;
use crate::ops::metrics::Metrics;
use crate::ops::settings::Settings;
use crate::source::buffer::Batch;
use crate::source::kafka::Discovery;
use crate::source::{TopicFilter, TopicPartition};

/// A worker looks this often whether the run has failed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Everything that a run of the dataflow needs.
pub(super) struct RunInput {
    pub settings: Arc<Settings>,
    pub source: SourcePlan,
    /// Where reading begins: before the first replayed epoch, or before the first epoch at all.
    pub positions: Vec<Position>,
    /// Slots whose partitions the source does not have any more.
    pub gone: BTreeSet<u32>,
    /// Partitions that the log does not know yet.
    pub new: Vec<Position>,
    /// Looks for more of them.
    pub discovery: Option<Discovery>,
    pub identity: Identity,
    pub first_epoch: Epoch,
    /// Epochs that the log has already.
    pub replay: Vec<EpochRecord>,
    /// Whether the run ends with the replay.
    pub ends_with_replay: bool,
    /// Where new records become durable; `None` keeps none.
    pub log: Option<EpochLogHandle>,
    /// The checkpoint that the run starts from.
    pub restored: Option<Arc<Restored>>,
    /// Where checkpoints are made durable; `None` takes none.
    pub checkpoints: Option<CheckpointService>,
    /// Whether the first new epoch tells again of all that is open: a fork from what the warehouse had gone beyond.
    pub tells_all: bool,
    /// What is asked of the run while it runs.
    pub control: JobControl,
    pub output: Arc<dyn Output>,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    pub fatal: Fatal,
}

impl LogJournal {
    /// The epoch of the newest checkpoint.
    fn published(&self) -> Epoch {
        let Some(checkpoints) = &self.checkpoints else {
            return 0;
        };
        if let Some(reason) = checkpoints.failure() {
            self.fatal.raise(anyhow::anyhow!(reason));
        }
        let published = checkpoints.published();
        let metrics = &self.metrics;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.checkpoint_epoch.set(number(published.epoch));
        metrics.checkpoint_bytes.set(number(published.state_bytes));
        metrics.checkpoint_ms.set(published.written_ms);
        published.epoch
    }
}

struct LogJournal {
    log: Option<EpochLogHandle>,
    checkpoints: Option<CheckpointService>,
    control: JobControl,
    fatal: Fatal,
    output: Arc<dyn Output>,
    metrics: Arc<Metrics>,
    others: Option<(Epoch, i64)>,
    new: Vec<Position>,
    discovery: Option<Discovery>,
    began: Instant,
}

impl Journal for LogJournal {
    fn write(&mut self, record: &EpochRecord) -> anyhow::Result<()> {
        failpoint::hit("epoch-before-durable");
        if let Some(log) = &self.log {
            log.append_durable(vec![Entry::Epoch(record.clone())])?;
        }
        failpoint::hit("epoch-durable");
        for gap in &record.gaps {
            let of = &record.positions[gap.slot as usize];
            let labels: [&str; 2] = [&of.topic, &of.partition.to_string()];
            let lost = u64::try_from(gap.to - gap.from).unwrap_or(0);
            self.metrics.records_lost.with(&labels).add(lost);
        }
        Ok(())
    }

    fn follow(&mut self, record: &EpochRecord) {
        let metrics = &self.metrics;
        if record.epoch == metrics.health.restores_up_to() {
            tracing::info!(
                "read again up to epoch {}, the newest of the log, {:.3} s after the dataflow's start",
                record.epoch,
                self.began.elapsed().as_secs_f64(),
            );
        }
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

    fn progress(&self) -> Progress {
        // In this order: raw rows have landed when all have.
        let landed_whole = self.output.landed_whole();
        let progress = Progress {
            landed: self.output.landed(),
            landed_whole,
            published: self.published(),
            is_full: !self.output.has_room(),
        };
        let metrics = &self.metrics;
        let landed_whole = i64::try_from(progress.landed_whole).unwrap_or(i64::MAX);
        metrics.landed_epoch.set(landed_whole);
        metrics
            .epochs_in_flight
            .set(metrics.epoch.get() - landed_whole);
        metrics.health.tick();
        progress
    }

    fn checkpoint(&mut self, ready: Ready, savepoint: Option<SavepointRequest>) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.publish(ready, savepoint);
        }
    }

    fn take_savepoint_request(&mut self) -> Option<SavepointRequest> {
        self.control.take_savepoint_request()
    }

    fn kept(&self) -> Option<Kept> {
        self.checkpoints.as_ref()?.kept()
    }

    fn take_found(&mut self) -> anyhow::Result<Vec<Position>> {
        let mut found = std::mem::take(&mut self.new);
        if let Some(discovery) = &self.discovery {
            found.extend(discovery.take()?);
        }
        Ok(found)
    }

    fn take_acks(&mut self, into: &mut Vec<AckTime>) {
        self.output.take_acks(into);
    }

    fn others_landed(&mut self, through: Epoch, acked_ms: i64) {
        if self.others.replace((through, acked_ms)) != Some((through, acked_ms)) {
            self.output.others_landed(through, acked_ms);
        }
    }
}

/// Runs this process's part of the dataflow to its end: the input's, a graceful stop's, or the first failure's.
///
/// # Errors
/// What failed first. With several processes, this one has left the others then, and must end.
pub(super) fn execute(links: Links, mut input: RunInput) -> anyhow::Result<()> {
    let restores_up_to = input.replay.last().map(|record| record.epoch);
    input.metrics.health.set_restores_up_to(restores_up_to);
    let fatal = input.fatal.clone();
    let (shape, process) = (links.shape(), links.process());
    let workers = shape.total();
    let rules = Rules::of(&input.settings);
    let rule = match &input.checkpoints {
        Some(_) => checkpoint_rule(&input.settings, input.source.is_recording()),
        None => CheckpointRule::Never,
    };
    let mut coordinator = Coordinator::new(
        cut_of(&input.settings, input.source.is_recording()),
        time_rules(&input.settings),
        input.identity.clone(),
        u64::from(input.settings.max_epochs_in_flight),
        input.first_epoch,
        input.positions.clone(),
        workers,
    )
    .with_replay(input.replay.clone(), input.ends_with_replay)
    .without(input.gone.clone())
    .with_checkpoints(rule)
    .telling_all(input.tells_all);
    if input.checkpoints.is_some() && input.log.is_some() {
        input.control.serve_savepoints();
    }
    if let Some(restored) = &input.restored {
        coordinator = coordinator.resumed_from(restored.record());
    }
    let journal = LogJournal {
        log: input.log.clone(),
        checkpoints: input.checkpoints.clone(),
        control: input.control.clone(),
        fatal: fatal.clone(),
        output: input.output.clone(),
        metrics: input.metrics.clone(),
        others: None,
        new: std::mem::take(&mut input.new),
        discovery: input.discovery.take(),
        began: Instant::now(),
    };
    let processes = Processes::new(shape.processes, input.first_epoch);
    let lead = Mutex::new(Some((coordinator, journal, processes)));
    let shared = Shared {
        rules,
        output: input.output.clone(),
        metrics: input.metrics.clone(),
        checkpoints: input.checkpoints.clone(),
        shape,
    };
    // One a worker, which lets go of it once its operators have taken in what is theirs.
    let restored = Mutex::new(match input.restored.take() {
        Some(restored) => vec![restored; shape.workers],
        None => Vec::new(),
    });
    let ended = links.execute(move |worker| {
        let index = worker.index();
        let role = match index {
            0 => lead
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .map_or(Role::Works, |(coordinator, journal, processes)| {
                    Role::Leads(Box::new(Lead::new(
                        coordinator,
                        Box::new(journal),
                        processes,
                    )))
                }),
            first if first == shape.first_worker(process) => {
                Role::Follows(Box::new(FollowingProcess::new(process, &input)))
            }
            _ => Role::Works,
        };
        let link = control::build(worker, role, input.shutdown.clone(), input.fatal.clone());
        let mine = restored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let keeper = Keeper::new(index, workers, mine, input.fatal.clone());
        build::build(
            worker,
            source_parts(&input, index, workers),
            link,
            &shared,
            &keeper,
            input.fatal.clone(),
        );
        keeper.forget_restored();
        failpoint::hit("restored");
        input.metrics.health.set_source_assigned(true);
        while worker.has_dataflows() {
            worker.step_or_park(Some(LOOK_EVERY));
            if input.fatal.is_raised() {
                if shape.processes > 1 {
                    return Ended::GaveUp;
                }
                worker
                    .installed_dataflows()
                    .into_iter()
                    .for_each(|dataflow| worker.drop_dataflow(dataflow));
            }
        }
        Ended::Done
    });
    if let Err(error) = ended {
        fatal.raise(anyhow::anyhow!("a worker failed: {error}"));
    }
    fatal.take().map_or(Ok(()), Err)
}

/// A process that follows.
struct FollowingProcess {
    process: usize,
    output: Arc<dyn Output>,
    checkpoints: Option<CheckpointService>,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    fatal: Fatal,
}

impl FollowingProcess {
    fn new(process: usize, input: &RunInput) -> Self {
        Self {
            process,
            output: input.output.clone(),
            checkpoints: input.checkpoints.clone(),
            shutdown: input.shutdown.clone(),
            metrics: input.metrics.clone(),
            fatal: input.fatal.clone(),
        }
    }
}

impl Follower for FollowingProcess {
    fn report(&mut self) -> ProcessReport {
        let failure = self
            .checkpoints
            .as_ref()
            .and_then(CheckpointService::failure);
        if let Some(reason) = failure {
            self.fatal.raise(anyhow::anyhow!(reason));
        }
        // In this order: raw rows have landed when all have, and their acknowledgements are there when they have.
        let whole = self.output.landed_whole();
        let raw = self.output.landed();
        let mut acks = Vec::new();
        self.output.take_acks(&mut acks);
        let landed = i64::try_from(whole).unwrap_or(i64::MAX);
        self.metrics.landed_epoch.set(landed);
        self.metrics.health.tick();
        ProcessReport {
            process: self.process,
            raw,
            whole,
            whole_ms: self.output.landed_whole_ms(),
            acks,
            stopping: self.shutdown.requested(),
        }
    }

    fn checkpointed(&mut self, kept: Kept) {
        let epoch = i64::try_from(kept.newest.epoch).unwrap_or(i64::MAX);
        self.metrics.checkpoint_epoch.set(epoch);
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.follow(kept);
        }
    }
}

/// Tells the newest state file that a worker has written.
fn saved_by(
    checkpoints: Option<CheckpointService>,
    worker: usize,
) -> Box<dyn Fn() -> Option<StateRef>> {
    Box::new(move || checkpoints.as_ref()?.saved(worker))
}

fn source_parts(input: &RunInput, worker: usize, workers: usize) -> SourceParts {
    let (gone, shards) = (input.gone.clone(), input.settings.sink_shards);
    let appended: Appended = Box::new(move |positions, from| {
        assigned(positions, from, (worker, workers), shards, &gone)
    });
    let (slots, buffers) = appended(&input.positions, 0);
    let budget = usize::try_from(input.settings.epoch_max_bytes.0).unwrap_or(usize::MAX);
    let (metrics, read, paused, away) = (
        input.metrics.clone(),
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
        known_slots: input.positions.len(),
        appended,
        on_data_loss: input.settings.on_data_loss,
        buffers,
        budget_bytes: budget / workers,
        timeless: TopicFilter::of(&input.settings.metrics_topic),
        idle_timeout_ms: idle_timeout_ms(&input.settings),
        saved: saved_by(input.checkpoints.clone(), worker),
        max_watermark_drift_us: time_rules(&input.settings).max_watermark_drift_us,
        event_times: Rc::new(RefCell::new(vec![None; input.positions.len()])),
        on_read: Box::new(move |partition: &TopicPartition, records: &Batch| {
            read.records
                .with(&[&partition.topic])
                .add(records.len() as u64);
            read.record_bytes.add(records.payload_bytes());
        }),
        on_paused: Box::new(move |partition: &TopicPartition, is_paused: &bool| {
            let labels: [&str; 2] = [&partition.topic, &partition.partition.to_string()];
            let gauge = paused.partition_paused.with(&labels);
            gauge.set(i64::from(*is_paused));
        }),
        on_lag: Box::new(move |partition: &TopicPartition, lag: &i64| {
            let labels: [&str; 2] = [&partition.topic, &partition.partition.to_string()];
            metrics.partition_lag.with(&labels).set(*lag);
        }),
    }
}
