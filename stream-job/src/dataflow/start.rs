//! Starts a run: source, epoch log, warehouse, writer; then the dataflow; then waits until all has landed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use warehouse::{ClientOptions, MigrateOptions};

use super::coordinator::Identity;
use super::fatal::Fatal;
use super::landing::{Landing, job_error, listen, open_account};
use super::memory::Discard;
use super::output::Output;
use super::plan::{SourcePlan, workers_of};
use super::run::{RunInput, execute};
use crate::checkpoint::epoch_log::{self, EpochLog, EpochLogHandle, NewLog, Replay};
use crate::checkpoint::record::{Entry, Position};
use crate::ops::job::{JobError, Outcome, RunOptions, Shutdown};
use crate::ops::metrics::Metrics;
use crate::ops::settings::{InsertCompression, Layers, Settings, StartOffsets};
use crate::sink::dead_letter_topic::DeadLetterTopic;
use crate::sink::durability::sync_inserts;
use crate::sink::probe::prove_warehouse;
use crate::sink::target::Target;
use crate::sink::writer::{Writer, WriterSettings};

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
    metrics.health.set_waiting_for(Some(source_name(&settings)));
    let found = SourcePlan::find(&settings, &shutdown);
    let Some((source, found)) = unless_stopped(found, &shutdown)? else {
        return Ok(Outcome::default());
    };
    let foreign = options
        .epoch_log
        .as_deref()
        .map(|path| foreign_log(path, &settings))
        .transpose()?;
    if settings.layers == Layers::Windows {
        return run_windows(settings, source, found, shutdown, metrics);
    }
    let runtime =
        tokio::runtime::Runtime::new().context("start the runtime that asks the warehouse")?;
    metrics
        .health
        .set_waiting_for(Some(warehouse_name(&settings)));
    let prepared = runtime.block_on(prepare_warehouse(&settings, &shutdown, &metrics));
    if unless_stopped(prepared, &shutdown)?.is_none() {
        return Ok(Outcome::default());
    }
    let (log, mut replay) = open_log(&settings, &options, foreign.as_ref(), &found)?;
    if replay.fresh && !options.new_timeline {
        runtime.block_on(refuse_rows_of_others(&settings))?;
    }
    metrics.health.set_waiting_for(None);
    metrics.health.set_timeline(&replay.timeline);
    let replayed = match &foreign {
        Some(foreign) => foreign.epochs.clone(),
        None => std::mem::take(&mut replay.epochs),
    };
    let starts_earliest = source.is_recording() || settings.start_offsets == StartOffsets::Earliest;
    let positions = fit_positions(&replay.positions, &found, replay.fresh, starts_earliest)?;
    tracing::info!(
        "timeline {}, generation {}: {} epochs to replay, {} partitions",
        replay.timeline,
        replay.generation,
        replayed.len(),
        positions.len(),
    );
    let fatal = Fatal::default();
    let identity = Identity {
        timeline: replay.timeline.clone(),
        generation: replay.generation,
        settings_hash: settings.hash(),
    };
    let first_epoch = replay.first_epoch;
    let log = EpochLogHandle::start(log)?;
    if foreign.is_some() {
        // The records that we follow become those of our own log: a restart may go on from there.
        let unknown = replayed
            .iter()
            .skip(replay.epochs.len())
            .cloned()
            .map(Entry::Epoch);
        log.append_durable(unknown.collect())?;
    }
    let told = || {
        let acks = replayed.iter().flat_map(|record| &record.ack_times);
        acks.map(|ack| ack.epoch)
    };
    // An acknowledgement is told only once the epoch's dead letters are on their topic too.
    let told_through = told().max().unwrap_or(first_epoch.saturating_sub(1));
    let account = open_account(first_epoch, told());
    let on_event = listen(account.clone(), metrics.clone());
    let writer_settings = WriterSettings {
        concurrency: usize::from(settings.insert_concurrency),
        ..WriterSettings::new(target_of(&settings))
    };
    let writer = Writer::start(writer_settings, log.clone(), &mut replay, on_event)?;
    let dead_letters = match &source {
        SourcePlan::Kafka { config, .. } => Some(DeadLetterTopic::open(
            config.clone(),
            &settings.dead_letter_topic,
            told_through,
        )?),
        SourcePlan::Recording { .. } => None,
    };
    let landing = Arc::new(Landing::new(
        writer.handle(),
        dead_letters,
        account,
        metrics.clone(),
        fatal.clone(),
        warehouse_name(&settings),
    ));
    let output: Arc<dyn Output> = landing.clone();
    let done = execute(RunInput {
        workers: workers_of(&settings),
        source,
        positions,
        identity,
        first_epoch,
        ends_with_replay: foreign.is_some(),
        log: Some(log),
        replay: replayed,
        output,
        shutdown: shutdown.clone(),
        metrics: metrics.clone(),
        settings,
        fatal,
    });
    metrics.health.set_stopping();
    let finished = writer.finish();
    done?;
    finished.map_err(job_error)?;
    let (landed_epoch, records, spans, dead_letters) = landing.totals();
    Ok(Outcome {
        landed_epoch,
        records,
        spans,
        dead_letters,
        end_of_input: !shutdown.requested(),
    })
}

/// `None` where a wait was ended by a stop: nothing was read yet, so the job ends as asked.
fn unless_stopped<T>(result: anyhow::Result<T>, shutdown: &Shutdown) -> anyhow::Result<Option<T>> {
    match result {
        Err(error) if shutdown.requested() => {
            tracing::info!("{error:#}");
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Kafka or a recording to windows, and nowhere else: what the benchmark measures.
fn run_windows(
    settings: Arc<Settings>,
    source: SourcePlan,
    positions: Vec<Position>,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Outcome> {
    let new = NewLog::mint(positions, BTreeMap::new())?;
    metrics.health.set_waiting_for(None);
    metrics.health.set_warehouse_proven(true);
    let output = Arc::new(Discard::starting_at(new.first_epoch));
    execute(RunInput {
        workers: workers_of(&settings),
        source,
        positions: new.positions,
        identity: Identity {
            timeline: new.timeline,
            generation: 1,
            settings_hash: settings.hash(),
        },
        first_epoch: new.first_epoch,
        replay: Vec::new(),
        ends_with_replay: false,
        log: None,
        output: output.clone(),
        shutdown: shutdown.clone(),
        metrics,
        settings,
        fatal: Fatal::default(),
    })?;
    Ok(Outcome {
        landed_epoch: output.landed_whole(),
        records: output.records.load(Ordering::Relaxed),
        spans: output.spans.load(Ordering::Relaxed),
        dead_letters: 0,
        end_of_input: !shutdown.requested(),
    })
}

/// The source as people know it, for what the job says that it waits for.
fn source_name(settings: &Settings) -> String {
    if settings.recording.is_empty() {
        format!("Kafka at {}", settings.kafka_bootstrap_servers)
    } else {
        format!("the recording {}", settings.recording)
    }
}

fn warehouse_name(settings: &Settings) -> String {
    format!("the warehouse at {}", settings.clickhouse_url)
}

fn target_of(settings: &Settings) -> Target {
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

/// Reads the epoch log that this run is to follow.
fn foreign_log(path: &Path, settings: &Settings) -> anyhow::Result<Replay> {
    let replay = epoch_log::read(path).with_context(|| format!("epoch log {}", path.display()))?;
    check_settings(&replay, settings)?;
    Ok(replay)
}

/// Opens this run's own log, new or to be continued.
fn open_log(
    settings: &Settings,
    options: &RunOptions,
    foreign: Option<&Replay>,
    found: &[Position],
) -> anyhow::Result<(EpochLog, Replay)> {
    let dir = Path::new(&settings.state_dir);
    if options.new_timeline && dir.exists() {
        let kept = dir.with_extension(format!("before-{}", crate::source::wall_ms()));
        std::fs::rename(dir, &kept).with_context(|| format!("put {} aside", dir.display()))?;
        tracing::info!(
            "new timeline: the old epoch log is kept as {}",
            kept.display()
        );
    }
    let new = || match foreign {
        Some(foreign) => Ok(NewLog {
            timeline: foreign.timeline.clone(),
            first_epoch: foreign.first_epoch,
            positions: foreign.positions.clone(),
            settings: settings.shaping(),
        }),
        None => NewLog::mint(found.to_vec(), settings.shaping()),
    };
    let (log, replay) =
        EpochLog::open(dir, new).map_err(|error| JobError::Refused(error.to_string()))?;
    if replay.torn_bytes > 0 {
        tracing::warn!(
            "the epoch log ended in a torn entry of {} bytes; it was cut off",
            replay.torn_bytes
        );
    }
    check_settings(&replay, settings)?;
    if let Some(foreign) = foreign
        && foreign.timeline != replay.timeline
    {
        return Err(JobError::Refused(format!(
            "{} holds the log of timeline {}, not of {}: give this run a state_dir of its own",
            dir.display(),
            replay.timeline,
            foreign.timeline,
        ))
        .into());
    }
    Ok((log, replay))
}

/// Rows are a function of these settings: a replay under others would write other bytes.
fn check_settings(replay: &Replay, settings: &Settings) -> anyhow::Result<()> {
    let ours = settings.shaping();
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

/// The positions that a run begins at: those of its log; partitions that the log does not know are refused, as are
/// partitions that have gone.
fn fit_positions(
    logged: &[Position],
    found: &[Position],
    fresh: bool,
    starts_earliest: bool,
) -> anyhow::Result<Vec<Position>> {
    if fresh && logged.is_empty() {
        return Ok(found.to_vec());
    }
    let key = |position: &Position| (position.topic.clone(), position.partition);
    let known: BTreeMap<_, _> = found
        .iter()
        .map(|position| (key(position), position))
        .collect();
    for position in logged {
        let Some(now) = known.get(&key(position)) else {
            return Err(JobError::Refused(format!(
                "the epoch log reads {}/{}, which the source does not have",
                position.topic, position.partition,
            ))
            .into());
        };
        let known = !now.topic_id.is_empty() && !position.topic_id.is_empty();
        if known && now.topic_id != position.topic_id {
            return Err(JobError::Refused(format!(
                "topic {} was deleted and made again since the epoch log was written (its id is {}, not {}). Start \
                 with --new-timeline; the rows that landed stay",
                position.topic, now.topic_id, position.topic_id,
            ))
            .into());
        }
        if starts_earliest && now.next_offset > position.next_offset {
            return Err(JobError::Refused(format!(
                "the epoch log reads {}/{} from offset {}, and the source begins at {}: retention has deleted what a \
                 restart reads again. Start with --new-timeline; the rows that landed stay",
                position.topic, position.partition, position.next_offset, now.next_offset,
            ))
            .into());
        }
    }
    let logged_keys: std::collections::BTreeSet<_> = logged.iter().map(key).collect();
    for position in found
        .iter()
        .filter(|position| !logged_keys.contains(&key(position)))
    {
        tracing::warn!(
            "{}/{} is new since this timeline began, and is not read by it; start with --new-timeline to read it",
            position.topic,
            position.partition,
        );
    }
    Ok(logged.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn position(partition: i32, topic_id: &str, next_offset: i64) -> Position {
        Position {
            topic: "otlp_spans".to_owned(),
            topic_id: topic_id.to_owned(),
            partition,
            next_offset,
        }
    }

    fn refusal(logged: &[Position], found: &[Position], starts_earliest: bool) -> String {
        let error = fit_positions(logged, found, false, starts_earliest).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(JobError::Refused(_))));
        error.to_string()
    }

    #[test]
    fn a_restart_reads_where_its_log_began_and_leaves_new_partitions_out() {
        let logged = [position(0, "a", 7)];
        let found = [position(0, "a", 3), position(1, "a", 0)];
        assert_eq!(fit_positions(&logged, &found, false, true).unwrap(), logged);
        // A broker that tells no ids refuses nothing.
        let found = [position(0, "", 3)];
        assert_eq!(fit_positions(&logged, &found, false, true).unwrap(), logged);
    }

    #[test]
    fn a_topic_made_again_lost_or_cut_by_retention_is_refused() {
        let logged = [position(0, "a", 7)];
        let again = refusal(&logged, &[position(0, "b", 0)], true);
        assert!(again.contains("made again"), "{again}");
        let cut = refusal(&logged, &[position(0, "a", 8)], true);
        assert!(cut.contains("retention"), "{cut}");
        let lost = refusal(&logged, &[position(1, "a", 0)], true);
        assert!(lost.contains("otlp_spans/0"), "{lost}");
        // With start_offsets = "latest" the offsets found are the ends.
        assert!(fit_positions(&logged, &[position(0, "a", 8)], false, false).is_ok());
    }
}
