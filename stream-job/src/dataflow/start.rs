//! Starts a run: source, epoch log, warehouse, writer; then the dataflow; then waits until all has landed.

use std::sync::Arc;

use anyhow::Context;

use super::coordinator::Identity;
use super::fit::{Fitted, fit_positions, logged};
use super::fork::{Fork, delete_rows_between};
use super::launch::{Epochs, Launch, launch};
use super::membership::{Begin, Membership};
use super::own_log::{foreign_log, open_log};
use super::plan::{SourcePlan, earliest, topics_read, workers_of};
use super::prepare::{
    landed_epoch, prepare_warehouse, refuse_older_warehouse, refuse_rows_of_others, warehouse_name,
};
use super::progress::ProgressLog;
use super::resume::{Resumed, newest_checkpoint};
use crate::checkpoint::epoch_log::{EpochLogHandle, Replay};
use crate::checkpoint::ledgers::Ledgers;
use crate::checkpoint::record::{Entry, Position};
use crate::checkpoint::store::Store;
use crate::checkpoint::sweep::sweep;
use crate::cluster::Links;
use crate::ops::job::{JobError, Outcome, RunOptions, Shutdown};
use crate::ops::metrics::Metrics;
use crate::ops::settings::{Layers, Settings, StartOffsets};
use crate::source::kafka::{Discovery, Found};

/// Runs the job until its input ends or `shutdown` is requested, and returns when all of it has landed.
///
/// # Errors
/// [`JobError`] where an exit code of its own is due, else what failed.
pub fn run(
    settings: Arc<Settings>,
    options: RunOptions,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Outcome> {
    let cluster = match Membership::of(&settings, &options, &shutdown)? {
        Membership::Alone => None,
        Membership::Leads(leader) => Some(leader),
        Membership::Follows(follower) => return follower.run(settings, shutdown, metrics),
    };
    let waits_for = |what: String| {
        if let Some(cluster) = &cluster {
            cluster.waits_for(&what);
        }
        metrics.health.set_waiting_for(Some(what));
    };
    waits_for(source_name(&settings));
    let found = SourcePlan::find(&settings, &shutdown);
    let Some((mut source, found)) = unless_stopped(found, &shutdown)? else {
        return Ok(Outcome::default());
    };
    let ranges = match &options.bounds {
        Some(bounds) => {
            let ranges = source.bound(&found, bounds, &shutdown);
            let Some(ranges) = unless_stopped(ranges, &shutdown)? else {
                return Ok(Outcome::default());
            };
            ranges
        }
        None => Vec::new(),
    };
    let foreign = options
        .epoch_log
        .as_deref()
        .map(|path| foreign_log(path, &settings))
        .transpose()?;
    if settings.layers == Layers::Windows {
        let begin = starts(&settings, &source, &found);
        return super::windows_only::run(settings, source, begin, shutdown, metrics);
    }
    let runtime =
        tokio::runtime::Runtime::new().context("start the runtime that asks the warehouse")?;
    waits_for(warehouse_name(&settings));
    let prepared = runtime.block_on(prepare_warehouse(&settings, &shutdown, &metrics));
    if unless_stopped(prepared, &shutdown)?.is_none() {
        return Ok(Outcome::default());
    }
    let begin = match &options.bounds {
        Some(_) => ranges.iter().map(|range| range.begin.clone()).collect(),
        None => starts(&settings, &source, &found),
    };
    let store =
        Store::open(&settings.state_dir).map_err(|error| JobError::Refused(error.to_string()))?;
    let fork = match &options.from {
        Some(place) => {
            let landed = runtime.block_on(landed_epoch(&settings))?;
            Some(Fork::plan(&settings, &store, place, landed)?)
        }
        None => None,
    };
    let is_fork = fork.is_some();
    let (log, mut replay, folder) =
        open_log(&settings, &options, foreign.as_ref(), &begin, &store, fork)?;
    let ledgers = Ledgers::new(store.clone(), &folder);
    ledgers.add_all(&mut replay)?;
    if replay.fresh && !options.new_timeline && !is_fork {
        runtime.block_on(refuse_rows_of_others(&settings))?;
    }
    metrics.health.set_waiting_for(None);
    metrics.health.set_timeline(&replay.timeline);
    metrics.health.set_generation(replay.generation);
    let last_known = replay.epochs.last().map(|record| record.epoch);
    let resumed = newest_checkpoint(&store, &mut replay)?;
    sweep_orphans(&store, &folder, &replay);
    if let Some(oldest) = resumed.as_ref().and_then(|resumed| resumed.known.first()) {
        ledgers.forget(oldest.epoch());
    }
    if let Some(resumed) = &resumed {
        replay
            .positions
            .clone_from(&resumed.restored.record().positions);
        let record = resumed.restored.record();
        runtime.block_on(refuse_older_warehouse(&settings, record))?;
        if record.epoch < replay.first_epoch {
            let deleted = delete_rows_between(&settings, record, replay.first_epoch);
            runtime.block_on(deleted)?;
        }
    }
    let known = foreign.as_ref().unwrap_or(&replay);
    let fitted = fit_positions(known, &found, settings.on_data_loss)?;
    let discovery = match &foreign {
        None if !source.is_bounded() => discovery(&settings, &source, &replay, &fitted)?,
        _ => None,
    };
    let replayed = match &foreign {
        Some(foreign) => {
            let from = resumed.as_ref().map(Resumed::epoch);
            let mut epochs = foreign.epochs.clone();
            epochs.retain(|record| Some(record.epoch) > from);
            epochs
        }
        None => std::mem::take(&mut replay.epochs),
    };
    tracing::info!(
        "timeline {}, generation {}: {}, {} epochs to replay, {} partitions",
        replay.timeline,
        replay.generation,
        match &resumed {
            Some(resumed) => format!("checkpoint of epoch {}", resumed.epoch()),
            None => "no checkpoint".to_owned(),
        },
        replayed.len(),
        fitted.positions.len() + fitted.new.len(),
    );
    let first_epoch = match &resumed {
        // A fork goes on with an epoch higher than any before.
        Some(resumed) => (resumed.epoch() + 1).max(replay.first_epoch),
        None => replay.first_epoch,
    };
    let log = EpochLogHandle::start(log)?;
    if foreign.is_some() {
        // The records that we follow become those of our own log: a restart may go on from there.
        let unknown = replayed
            .iter()
            .filter(|record| Some(record.epoch) > last_known);
        log.append_durable(unknown.cloned().map(Entry::Epoch).collect())?;
    }
    let acks = replayed.iter().flat_map(|record| &record.ack_times);
    let told: Vec<_> = acks.map(|ack| ack.epoch).collect();
    let links = match cluster {
        None => Links::alone(workers_of(&settings)),
        Some(cluster) => {
            metrics
                .health
                .set_waiting_for(Some("the other processes".to_owned()));
            let begin = Begin {
                first_epoch,
                positions: &fitted.positions,
                gone: &fitted.gone,
                told: &told,
                folder: &folder,
                ledgers: &ledgers,
                checkpoint: resumed.as_ref().map(Resumed::epoch),
            };
            let links = cluster.begin(&settings, &mut replay, begin);
            let Some(links) = unless_stopped(links, &shutdown)? else {
                return Ok(Outcome::default());
            };
            metrics.health.set_waiting_for(None);
            links
        }
    };
    let progress = match &options.bounds {
        Some(_) => Some(ProgressLog::start(ranges, metrics.clone())?),
        None => None,
    };
    let done = launch(Launch {
        identity: Identity {
            timeline: replay.timeline.clone(),
            generation: replay.generation,
            settings_hash: settings.hash(),
        },
        first_epoch,
        store,
        folder,
        resumed,
        source,
        positions: fitted.positions,
        gone: fitted.gone,
        epochs: Some(Epochs {
            log: log.clone(),
            replay: replayed,
            ends_with_replay: foreign.is_some(),
            new: fitted.new,
            discovery,
        }),
        promises: log,
        known: replay,
        told,
        links,
        control: options.control,
        shutdown,
        metrics,
        settings,
    });
    drop(progress);
    done
}

/// `None` where a wait was ended by a stop: nothing was read yet, so the job ends as asked.
pub(super) fn unless_stopped<T>(
    result: anyhow::Result<T>,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<T>> {
    match result {
        Err(error) if shutdown.requested() => {
            tracing::info!("{error:#}");
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Where a fresh start begins.
fn starts(settings: &Settings, source: &SourcePlan, found: &[Found]) -> Vec<Position> {
    if source.is_recording() || settings.start_offsets == StartOffsets::Earliest {
        earliest(found)
    } else {
        found.iter().map(Found::latest).collect()
    }
}

/// Looks for partitions that come while the job runs. A run that follows a log, or reads a recording, has what it has.
fn discovery(
    settings: &Settings,
    source: &SourcePlan,
    replay: &Replay,
    fitted: &Fitted,
) -> anyhow::Result<Option<Discovery>> {
    let SourcePlan::Kafka { config, .. } = source else {
        return Ok(None);
    };
    let logged: Vec<Position> = logged(replay).map(|logged| logged.last.clone()).collect();
    let is_gone = |(slot, position): (u32, &Position)| {
        fitted.gone.contains(&slot).then(|| position.topic.clone())
    };
    let gone = (0u32..).zip(&logged).filter_map(is_gone).collect();
    let known: Vec<Position> = logged.iter().chain(&fitted.new).cloned().collect();
    let every = settings.discovery_interval;
    Discovery::start(config, topics_read(settings), &known, gone, every).map(Some)
}

/// The source as people know it, for what the job says that it waits for.
pub(super) fn source_name(settings: &Settings) -> String {
    if settings.recording.is_empty() {
        format!("Kafka at {}", settings.kafka_bootstrap_servers)
    } else {
        format!("the recording {}", settings.recording)
    }
}

/// Deletes what crashes have left beside the checkpoints. A run goes on without that too.
fn sweep_orphans(store: &Store, folder: &str, replay: &Replay) {
    match sweep(store, folder, replay.generation, &replay.checkpoints) {
        Ok(swept) if swept.files > 0 => tracing::info!(
            "deleted {} state files and manifests, {} bytes, that belong to no checkpoint of the log",
            swept.files,
            swept.bytes
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(
                "files that belong to no checkpoint are left to the next start: {error}"
            );
        }
    }
}
