//! Starts a run: source, epoch log, warehouse, writer; then the dataflow; then waits until all has landed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use warehouse::{ClientOptions, MigrateOptions};

use super::coordinator::Identity;
use super::fork::{Fork, delete_rows_between, refuse_unfinished};
use super::launch::{Epochs, Launch, launch};
use super::membership::{Begin, Membership};
use super::plan::{SourcePlan, earliest, topics_read, workers_of};
use super::progress::ProgressLog;
use super::resume::{Resumed, newest_checkpoint};
use crate::checkpoint::epoch_log::{EpochLog, EpochLogHandle, NewLog, Replay};
use crate::checkpoint::ledgers::Ledgers;
use crate::checkpoint::record::{Entry, EpochRecord, Position};
use crate::checkpoint::store::Store;
use crate::checkpoint::sweep::sweep;
use crate::checkpoint::timelines::{self, Timeline, TimelineError, Timelines};
use crate::cluster::Links;
use crate::ops::bounds::REMEMBERED;
use crate::ops::failpoint;
use crate::ops::job::{JobError, Outcome, RunOptions, Shutdown};
use crate::ops::metrics::Metrics;
use crate::ops::settings::{InsertCompression, Layers, OnDataLoss, Settings, StartOffsets};
use crate::sink::durability::sync_inserts;
use crate::sink::probe::prove_warehouse;
use crate::sink::target::Target;
use crate::source::kafka::{Discovery, Found};

const RETRY_AFTER: Duration = Duration::from_millis(500);
const REMIND_EVERY: Duration = Duration::from_secs(5);

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

pub(super) fn warehouse_name(settings: &Settings) -> String {
    format!("the warehouse at {}", settings.clickhouse_url)
}

/// The warehouse that the settings name.
pub(crate) fn target_of(settings: &Settings) -> Target {
    Target {
        url: settings.clickhouse_url.clone(),
        database: settings.clickhouse_database.clone(),
        user: settings.clickhouse_user.clone(),
        token: settings.clickhouse_token.clone(),
        lz4: settings.insert_compression == InsertCompression::Lz4,
    }
}

/// Waits for the warehouse, brings its tables up to date, and has it prove that it drops a block that comes twice.
async fn prepare_warehouse(
    settings: &Settings,
    shutdown: &Shutdown,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let options = ClientOptions {
        url: settings.clickhouse_url.clone(),
        database: settings.clickhouse_database.clone(),
        user: settings.clickhouse_user.clone(),
        token: settings.clickhouse_token.clone(),
    };
    let since = Instant::now();
    let mut reminded: Option<Instant> = None;
    loop {
        match warehouse::Client::new(&options).version().await {
            Ok(version) => {
                tracing::info!("warehouse {} at {}", version, settings.clickhouse_url);
                break;
            }
            Err(
                error @ (warehouse::client::Error::Unreachable { .. }
                | warehouse::client::Error::Timeout { .. }),
            ) => {
                anyhow::ensure!(
                    !shutdown.requested(),
                    "stopped while waiting for the warehouse: {error}"
                );
                if reminded.is_none_or(|at| at.elapsed() >= REMIND_EVERY) {
                    reminded = Some(Instant::now());
                    tracing::warn!(
                        "waiting for the warehouse at {}, for {} s so far: {error}",
                        settings.clickhouse_url,
                        since.elapsed().as_secs(),
                    );
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let report = warehouse::migrate(&options, &MigrateOptions::default()).await?;
    if !report.applied.is_empty() {
        tracing::info!(
            "applied {} migrations to database {}",
            report.applied.len(),
            report.database
        );
    }
    prove_warehouse(&target_of(settings))
        .await
        .map_err(|error| JobError::Refused(error.to_string()))?;
    sync_inserts(&target_of(settings), settings.warehouse_fsync)
        .await
        .context("set whether the warehouse syncs every insert (setting `warehouse_fsync`)")?;
    metrics.health.set_warehouse_proven(true);
    Ok(())
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

/// The newest epoch that has landed whole, of any timeline; 0 where none has.
async fn landed_epoch(settings: &Settings) -> anyhow::Result<u64> {
    let query = "SELECT max(epoch) FROM ops_epoch";
    Ok(target_of(settings)
        .client()
        .query(query)
        .fetch_one()
        .await?)
}

/// A fresh start beside rows that an earlier timeline wrote would count them twice.
async fn refuse_rows_of_others(settings: &Settings) -> anyhow::Result<()> {
    let query = "SELECT toUInt64(count()) FROM (SELECT 1 FROM ods_record LIMIT 1 UNION ALL SELECT 1 FROM ops_epoch LIMIT 1)";
    let rows: u64 = target_of(settings)
        .client()
        .query(query)
        .fetch_one()
        .await?;
    if rows > 0 {
        return Err(JobError::Refused(format!(
            "database {} holds rows of an earlier timeline, and {} has no epoch log of it: a fresh start would count \
             its records again. Point state_dir at the log that belongs to the database, choose another database, or \
             pass --new-timeline to accept both side by side",
            settings.clickhouse_database, settings.state_dir,
        ))
        .into());
    }
    Ok(())
}

/// A warehouse that was put back to an older state lacks rows that a checkpoint takes for landed.
async fn refuse_older_warehouse(settings: &Settings, record: &EpochRecord) -> anyhow::Result<()> {
    let query = "SELECT max(epoch) FROM ops_epoch WHERE timeline = ?";
    let newest: u64 = target_of(settings)
        .client()
        .query(query)
        .bind(&record.timeline)
        .fetch_one()
        .await?;
    if newest >= record.epoch {
        return Ok(());
    }
    Err(JobError::Refused(format!(
        "database {} holds timeline {} up to epoch {newest} only, and the newest checkpoint is of epoch {}: rows between \
         them are gone, and this job would not write them again. Restore a newer backup of the database, or go back to a \
         checkpoint or savepoint that is not above it",
        settings.clickhouse_database, record.timeline, record.epoch,
    ))
    .into())
}

/// A log without its beginning says nothing of the rows that its checkpoints stand for.
fn refuse_shortened(path: &Path, replay: &Replay) -> anyhow::Result<()> {
    match replay.epochs.first() {
        Some(first) if first.epoch > replay.first_epoch => Err(JobError::Refused(format!(
            "epoch log {} begins at epoch {}, and its timeline at {}: what is before was deleted, as a checkpoint \
             stands for it, and can't be followed",
            path.display(),
            first.epoch,
            replay.first_epoch,
        ))
        .into()),
        _ => Ok(()),
    }
}

/// Reads the epoch log that this run is to follow.
fn foreign_log(path: &Path, settings: &Settings) -> anyhow::Result<Replay> {
    let replay = timelines::read(path).with_context(|| format!("epoch log {}", path.display()))?;
    check_settings(&replay, &settings.shaping())?;
    refuse_shortened(path, &replay)?;
    Ok(replay)
}

/// Opens this run's own log, new or to be continued.
pub(super) fn open_log(
    settings: &Settings,
    options: &RunOptions,
    foreign: Option<&Replay>,
    found: &[Position],
    store: &Store,
    fork: Option<Fork>,
) -> anyhow::Result<(EpochLog, Replay, String)> {
    let refused = |error: TimelineError| JobError::Refused(error.to_string());
    let mut timelines = Timelines::open(store.clone()).map_err(refused)?;
    let ours = remembered(settings, options);
    let new = || match foreign {
        Some(foreign) => Ok(NewLog {
            timeline: foreign.timeline.clone(),
            first_epoch: foreign.first_epoch,
            positions: foreign.positions.clone(),
            settings: ours.clone(),
            forked_from: foreign.forked_from.clone(),
        }),
        None => match &fork {
            Some(fork) => Ok(fork.new.clone()),
            None => NewLog::mint(found.to_vec(), ours.clone()),
        },
    };
    if let Some(fork) = &fork {
        fork.begin(&mut timelines)?;
    } else if options.new_timeline
        && let Some(old) = timelines.newest().map(Timeline::folder)
    {
        timelines.begin(&new()?).map_err(refused)?;
        tracing::info!("new timeline: the old one is kept in {old}");
    }
    let (mut log, mut replay, timeline) = timelines.open_log(new).map_err(refused)?;
    failpoint::hit("generation-taken");
    match fork {
        Some(fork) => fork.complete(store, &timeline.folder(), &mut log, &mut replay)?,
        None => refuse_unfinished(&replay)?,
    }
    if replay.torn_bytes > 0 {
        tracing::warn!(
            "the epoch log ended in a torn entry of {} bytes; it was cut off",
            replay.torn_bytes
        );
    }
    check_settings(&replay, &ours)?;
    if let Some(foreign) = foreign
        && foreign.timeline != replay.timeline
    {
        return Err(JobError::Refused(format!(
            "{} holds the log of timeline {}, not of {}: give this run a state_dir of its own",
            settings.state_dir, replay.timeline, foreign.timeline,
        ))
        .into());
    }
    Ok((log, replay, timeline.folder()))
}

/// What the log of a run remembers of its settings and bounds.
fn remembered(settings: &Settings, options: &RunOptions) -> BTreeMap<String, String> {
    let mut remembered = settings.shaping();
    if let Some(bounds) = &options.bounds {
        remembered.extend(bounds.remembered(&settings.clickhouse_database));
    }
    remembered
}

/// Rows are a function of these settings: a replay under others would write other bytes.
fn check_settings(replay: &Replay, ours: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let differing: Vec<String> = replay
        .settings
        .iter()
        .filter(|(name, value)| ours.get(*name) != Some(value))
        .map(|(name, value)| {
            format!(
                "{name} (log: {value}, now: {})",
                ours.get(name).map_or("none", String::as_str)
            )
        })
        .collect();
    // A log from before there was a setting knows nothing of it; one without bounds is another run's.
    let is_unbounded =
        |name: &&String| name.starts_with(REMEMBERED) && !replay.settings.contains_key(*name);
    if !replay.fresh
        && let Some(name) = ours.keys().find(is_unbounded)
    {
        return Err(JobError::Refused(format!(
            "the epoch log is not of a backfill, and {name} is set: give the backfill a state_dir of its own",
        ))
        .into());
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(JobError::Refused(format!(
        "the epoch log was written under other settings, and a replay would write other rows: {}. Set them back, or \
         start with --new-timeline",
        differing.join(", "),
    ))
    .into())
}

/// Where a run begins.
#[derive(Debug, PartialEq, Eq)]
struct Fitted {
    /// The positions before the first epoch, new or replayed.
    positions: Vec<Position>,
    /// Partitions that the log does not know: they come behind those it has, from their first offset on.
    new: Vec<Position>,
    /// Slots whose partitions the source does not have any more.
    gone: BTreeSet<u32>,
}

/// What a partition's log entries say.
struct Logged<'a> {
    /// Its newest position.
    last: &'a Position,
    /// Where reading begins, before the first epoch to be replayed.
    from: i64,
    /// The offset that is read first: behind a gap that the log knows.
    first_read: i64,
}

/// Holds the partitions of the log against those that the source has. What an epoch of the log has read must be there
/// to be read again; for what was not read yet the policy decides.
fn fit_positions(replay: &Replay, found: &[Found], policy: OnDataLoss) -> anyhow::Result<Fitted> {
    let key = |position: &Position| (position.topic.clone(), position.partition);
    let now: BTreeMap<_, _> = found
        .iter()
        .map(|found| (key(&found.earliest), found))
        .collect();
    let mut gone = BTreeSet::new();
    let slots = (0u32..).zip(logged(replay));
    for (slot, logged) in slots {
        match now.get(&key(logged.last)) {
            Some(now) => check_offsets(&logged, now, policy)?,
            None if policy == OnDataLoss::Continue
                && logged.last.next_offset <= logged.first_read =>
            {
                tracing::error!(
                    "{}/{} is gone: what it held from offset {} on was not read. on_data_loss = \"continue\": going on \
                     without it",
                    logged.last.topic,
                    logged.last.partition,
                    logged.last.next_offset,
                );
                gone.insert(slot);
            }
            None => {
                return Err(JobError::Refused(format!(
                    "the epoch log reads {}/{} from offset {}, which the source does not have. Bring the topic back, or \
                     set on_data_loss = \"continue\" to go on without it where nothing of it is to be replayed, or \
                     start with --new-timeline; the rows that landed stay",
                    logged.last.topic, logged.last.partition, logged.from,
                ))
                .into());
            }
        }
    }
    let known: BTreeSet<_> = logged(replay).map(|logged| key(logged.last)).collect();
    let new = found.iter().map(|found| found.earliest.clone());
    Ok(Fitted {
        positions: replay.positions.clone(),
        new: new
            .filter(|position| !known.contains(&key(position)))
            .collect(),
        gone,
    })
}

/// The partitions of the log, in the order of their slots.
fn logged(replay: &Replay) -> impl Iterator<Item = Logged<'_>> {
    let newest = replay
        .epochs
        .last()
        .map_or(&replay.positions, |record| &record.positions);
    (0u32..).zip(newest).map(|(slot, last)| {
        let at = slot as usize;
        let first = replay
            .epochs
            .iter()
            .find_map(|record| record.positions.get(at));
        let from = replay
            .positions
            .get(at)
            .or(first)
            .unwrap_or(last)
            .next_offset;
        let mut gaps = replay.epochs.iter().flat_map(|record| &record.gaps);
        let gap = gaps.find(|gap| gap.slot == slot && gap.from == from);
        Logged {
            last,
            from,
            first_read: gap.map_or(from, |gap| gap.to),
        }
    })
}

fn check_offsets(logged: &Logged<'_>, found: &Found, policy: OnDataLoss) -> anyhow::Result<()> {
    let (last, now) = (logged.last, &found.earliest);
    let refused = |reason: String| Err(JobError::Refused(reason).into());
    let known = !now.topic_id.is_empty() && !last.topic_id.is_empty();
    if known && now.topic_id != last.topic_id {
        return refused(format!(
            "topic {} was deleted and made again since the epoch log was written (its id is {}, not {}). Start with \
             --new-timeline; the rows that landed stay",
            last.topic, now.topic_id, last.topic_id,
        ));
    }
    if last.next_offset > found.end_offset {
        return refused(format!(
            "the epoch log has read {}/{} up to offset {}, and the source ends at {}: it is not the one that was read, or \
             it was truncated. Start with --new-timeline; the rows that landed stay",
            last.topic, last.partition, last.next_offset, found.end_offset,
        ));
    }
    if now.next_offset <= logged.first_read {
        return Ok(());
    }
    if last.next_offset > logged.first_read {
        return refused(format!(
            "the epoch log reads {}/{} from offset {}, and the source begins at {}: retention has deleted what a \
             restart reads again. Start with --new-timeline; the rows that landed stay",
            last.topic, last.partition, logged.first_read, now.next_offset,
        ));
    }
    if policy == OnDataLoss::Stop {
        return refused(format!(
            "{}/{} is to be read from offset {}, and the source begins at {}: up to {} records were deleted before they \
             were read. Set on_data_loss = \"continue\" to go on with the loss counted and recorded",
            last.topic,
            last.partition,
            last.next_offset,
            now.next_offset,
            now.next_offset - last.next_offset,
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
