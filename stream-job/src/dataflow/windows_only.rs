//! Kafka or a recording to windows, and nowhere else (`layers = windows`): what the benchmarks measure beside other engines.
//! Epochs are logged and checkpoints taken as in a whole run; no run goes on from them, as its windows are in memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;

use super::coordinator::Identity;
use super::fatal::Fatal;
use super::memory::Discard;
use super::output::Output;
use super::own_log::open_log;
use super::plan::{SourcePlan, workers_of};
use super::run::{RunInput, execute};
use crate::checkpoint::epoch_log::EpochLogHandle;
use crate::checkpoint::record::Position;
use crate::checkpoint::service::{CheckpointPlan, CheckpointService};
use crate::checkpoint::store::Store;
use crate::cluster::Links;
use crate::ops::control::JobControl;
use crate::ops::job::{JobError, Outcome, RunOptions, Shutdown};
use crate::ops::metrics::Metrics;
use crate::ops::settings::Settings;

/// Runs from `positions` on until the input ends or a stop is asked for, and writes the windows to `windows_file`.
///
/// # Errors
/// What failed first.
pub(super) fn run(
    settings: Arc<Settings>,
    source: SourcePlan,
    positions: Vec<Position>,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Outcome> {
    let refused = |error: String| JobError::Refused(error);
    let store = Store::open(&settings.state_dir).map_err(|error| refused(error.to_string()))?;
    let options = RunOptions {
        new_timeline: true,
        ..RunOptions::default()
    };
    let (log, replay, folder) = open_log(&settings, &options, None, &positions, &store, None)?;
    let log = EpochLogHandle::start(log)?;
    let plan = CheckpointPlan {
        store,
        folder,
        timeline: replay.timeline.clone(),
        generation: replay.generation,
        settings: settings.shaping(),
        kept: settings.checkpoints_kept as usize,
        known: Vec::new(),
    };
    let checkpoints = CheckpointService::start(plan, log.clone())?;
    metrics.health.set_waiting_for(None);
    metrics.health.set_warehouse_proven(true);
    let file = Some(settings.windows_file.clone()).filter(|path| !path.is_empty());
    let output = Arc::new(Discard::starting_at(replay.first_epoch, file.is_some()));
    let links = Links::alone(workers_of(&settings));
    let run = RunInput {
        source,
        positions: replay.positions,
        gone: BTreeSet::new(),
        new: Vec::new(),
        discovery: None,
        identity: Identity {
            timeline: replay.timeline,
            generation: replay.generation,
            settings_hash: settings.hash(),
        },
        first_epoch: replay.first_epoch,
        replay: Vec::new(),
        ends_with_replay: false,
        log: Some(log),
        restored: None,
        checkpoints: Some(checkpoints),
        tells_all: false,
        control: JobControl::default(),
        output: output.clone(),
        shutdown: shutdown.clone(),
        metrics,
        settings,
        fatal: Fatal::default(),
    };
    execute(links, run)?;
    if let Some(path) = file {
        output
            .write_windows(Path::new(&path))
            .with_context(|| format!("write {path} (setting `windows_file`)"))?;
    }
    Ok(Outcome {
        landed_epoch: output.landed_whole(),
        records: output.records.load(Ordering::Relaxed),
        spans: output.spans.load(Ordering::Relaxed),
        dead_letters: 0,
        end_of_input: !shutdown.requested(),
    })
}
