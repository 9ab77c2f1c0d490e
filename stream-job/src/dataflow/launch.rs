//! What all processes do once they know where to begin: writer, topics of dead letters and alerts, dataflow; then wait until all has landed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::coordinator::Identity;
use super::epochs::Epoch;
use super::fatal::Fatal;
use super::landing::{Landing, job_error, listen, open_account};
use super::output::Output;
use super::plan::SourcePlan;
use super::prepare::{target_of, warehouse_name};
use super::resume::Resumed;
use super::run::{RunInput, execute};
use crate::checkpoint::epoch_log::{EpochLogHandle, Replay};
use crate::checkpoint::record::{EpochRecord, Position};
use crate::checkpoint::service::{CheckpointPlan, CheckpointService};
use crate::checkpoint::store::Store;
use crate::cluster::Links;
use crate::ops::control::JobControl;
use crate::ops::job::{Outcome, Shutdown};
use crate::ops::metrics::Metrics;
use crate::ops::settings::Settings;
use crate::sink::side_topics::{SideTopics, TopicNames};
use crate::sink::writer::{Writer, WriterRole, WriterSettings};
use crate::source::kafka::Discovery;

/// The epoch log, which the process that leads alone has.
pub(super) struct Epochs {
    pub log: EpochLogHandle,
    /// Epochs that it has already.
    pub replay: Vec<EpochRecord>,
    /// Whether the run ends with them.
    pub ends_with_replay: bool,
    /// Partitions that it does not know yet.
    pub new: Vec<Position>,
    /// Looks for more of them.
    pub discovery: Option<Discovery>,
}

/// A run that is about to begin.
pub(super) struct Launch {
    pub settings: Arc<Settings>,
    pub source: SourcePlan,
    /// Where reading begins.
    pub positions: Vec<Position>,
    /// Slots whose partitions the source does not have any more.
    pub gone: BTreeSet<u32>,
    pub identity: Identity,
    pub first_epoch: Epoch,
    /// Where checkpoints are kept.
    pub store: Store,
    /// Folder of the timeline in the store.
    pub folder: String,
    /// The checkpoint that the run starts from.
    pub resumed: Option<Resumed>,
    /// `None` in a process that follows.
    pub epochs: Option<Epochs>,
    /// Where intents become durable.
    pub promises: EpochLogHandle,
    /// What is recorded of the blocks that this process builds.
    pub known: Replay,
    /// Epochs whose acknowledgement a record tells of.
    pub told: Vec<Epoch>,
    pub links: Links,
    /// What is asked of the run while it runs.
    pub control: JobControl,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
}

/// Runs it to its end, and returns when all of it has landed.
///
/// # Errors
/// What failed first.
pub(super) fn launch(mut launch: Launch) -> anyhow::Result<Outcome> {
    let Launch {
        settings, metrics, ..
    } = &launch;
    let (settings, metrics) = (settings.clone(), metrics.clone());
    let (shutdown, first_epoch) = (launch.shutdown.clone(), launch.first_epoch);
    // An acknowledgement is told only once the epoch's dead letters and alerts are on their topics too.
    let before = first_epoch.saturating_sub(1);
    let told_through = launch.told.iter().copied().max();
    let told_through = told_through.unwrap_or(before).max(before);
    let tells_all = launch.resumed.as_ref().is_some_and(|it| it.tells_all);
    let (restored, untold, known) = match launch.resumed {
        Some(resumed) => (Some(resumed.restored), resumed.acks, resumed.known),
        None => (None, Vec::new(), Vec::new()),
    };
    let account = open_account(first_epoch, launch.told.iter().copied(), untold);
    let on_event = listen(account.clone(), metrics.clone());
    let writer_settings = WriterSettings {
        concurrency: usize::from(settings.insert_concurrency),
        full_bytes: usize::try_from(settings.max_bytes_in_flight.0).unwrap_or(usize::MAX),
        role: writer_role(&launch.links),
        ..WriterSettings::new(target_of(&settings))
    };
    let promises = launch.promises;
    let plan = CheckpointPlan {
        store: launch.store,
        folder: launch.folder,
        timeline: launch.identity.timeline.clone(),
        generation: launch.identity.generation,
        settings: settings.shaping(),
        kept: settings.checkpoints_kept as usize,
        known,
    };
    let checkpoints = CheckpointService::start(plan, promises.clone())?;
    let writer = Writer::start(writer_settings, promises, &mut launch.known, on_event)?;
    let topics = side_topics(&launch.source, &settings, told_through)?;
    let fatal = Fatal::default();
    let landing = Arc::new(Landing::new(
        writer.handle(),
        topics,
        account,
        metrics.clone(),
        fatal.clone(),
        warehouse_name(&settings),
    ));
    let output: Arc<dyn Output> = landing.clone();
    let (log, replay, ends_with_replay, new, discovery) = match launch.epochs {
        Some(Epochs {
            log,
            replay,
            ends_with_replay,
            new,
            discovery,
        }) => (Some(log), replay, ends_with_replay, new, discovery),
        None => (None, Vec::new(), false, Vec::new(), None),
    };
    let is_alone = launch.links.is_alone();
    let run = RunInput {
        source: launch.source,
        positions: launch.positions,
        gone: launch.gone,
        new,
        discovery,
        identity: launch.identity,
        first_epoch,
        ends_with_replay,
        log,
        replay,
        restored,
        checkpoints: Some(checkpoints),
        tells_all,
        control: launch.control,
        output,
        shutdown: shutdown.clone(),
        metrics: metrics.clone(),
        settings,
        fatal,
    };
    let done = execute(launch.links, run);
    metrics.health.set_stopping();
    if !is_alone {
        // The workers of a process that has left the others stand still, and may hold what the writer waits for.
        done?;
        writer.finish().map_err(job_error)?;
    } else {
        let finished = writer.finish();
        done?;
        finished.map_err(job_error)?;
    }
    let (landed_epoch, records, spans, dead_letters) = landing.totals();
    Ok(Outcome {
        landed_epoch,
        records,
        spans,
        dead_letters,
        end_of_input: !shutdown.requested(),
    })
}

/// Where dead letters and alerts go besides the warehouse. A recording and a backfill send none: what they reject and flag
/// is in their own database, the topics have had it from the running job, and old alerts would wake people.
fn side_topics(
    source: &SourcePlan,
    settings: &Settings,
    sent_through: Epoch,
) -> anyhow::Result<Option<SideTopics>> {
    match source {
        SourcePlan::Kafka { ends: Some(_), .. } | SourcePlan::Recording { .. } => Ok(None),
        SourcePlan::Kafka { config, .. } => {
            let names = TopicNames {
                dead_letters: settings.dead_letter_topic.clone(),
                alerts: settings.alerts_topic.clone(),
            };
            SideTopics::open(config.clone(), names, sent_through).map(Some)
        }
    }
}

fn writer_role(links: &Links) -> WriterRole {
    match links.process() {
        _ if links.is_alone() => WriterRole::Alone,
        0 => WriterRole::Leads,
        _ => WriterRole::Follows,
    }
}
