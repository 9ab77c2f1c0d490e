//! Runs the dataflow on a recording with an output of the caller's: what the tests against the reference use.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::coordinator::Identity;
use super::epochs::Epoch;
use super::fatal::Fatal;
use super::output::Output;
use super::plan::{SourcePlan, earliest, workers_of};
use super::resume::newest_checkpoint;
use super::run::{RunInput, execute};
use crate::checkpoint::epoch_log::{self, EpochLog, EpochLogHandle, NewLog, Replay};
use crate::checkpoint::record::CheckpointRef;
use crate::checkpoint::service::{CheckpointPlan, CheckpointService};
use crate::checkpoint::store::Store;
use crate::cluster::Links;
use crate::ops::control::JobControl;
use crate::ops::job::Shutdown;
use crate::ops::metrics::Metrics;
use crate::ops::settings::Settings;

/// How a recording is run.
#[derive(Clone, Copy, Default)]
pub struct HarnessOptions<'a> {
    /// Epochs of another run's log, released again instead of new ones.
    pub follow: Option<&'a Replay>,
    /// Where checkpoints are kept; without it none are taken.
    pub store: Option<&'a Store>,
    /// The checkpoint in the store that the run starts from, of the log that is followed.
    pub from: Option<&'a CheckpointRef>,
    /// What the run counts into.
    pub metrics: Option<&'a Arc<Metrics>>,
}

/// Runs the recording that the settings name to its end, and returns the epoch log that it has written to `log_dir`.
/// `output` is made for the first epoch.
///
/// # Errors
/// What failed first.
pub fn run_recording(
    settings: Arc<Settings>,
    log_dir: &Path,
    options: HarnessOptions<'_>,
    output: impl FnOnce(Epoch) -> Arc<dyn Output>,
) -> anyhow::Result<Replay> {
    let shutdown = Shutdown::default();
    let (source, found) = SourcePlan::find(&settings, &shutdown)?;
    let new = || match options.follow {
        Some(other) => Ok(NewLog {
            timeline: other.timeline.clone(),
            first_epoch: other.first_epoch,
            positions: other.positions.clone(),
            settings: settings.shaping(),
            forked_from: other.forked_from.clone(),
        }),
        None => NewLog::mint(earliest(&found), settings.shaping()),
    };
    let (log, replay) = EpochLog::open(log_dir, new)?;
    let log = EpochLogHandle::start(log)?;
    let identity = Identity {
        timeline: replay.timeline.clone(),
        generation: replay.generation,
        settings_hash: settings.hash(),
    };
    let mut followed = options.follow.cloned().unwrap_or_else(|| replay.clone());
    let resumed = match (options.store, options.from) {
        (Some(store), Some(from)) => {
            followed.checkpoints = vec![from.clone()];
            newest_checkpoint(store, &mut followed)?
        }
        _ => None,
    };
    let restored = resumed.map(|resumed| resumed.restored);
    let (first_epoch, positions) = match &restored {
        Some(restored) => (
            restored.record().epoch + 1,
            restored.record().positions.clone(),
        ),
        None => (replay.first_epoch, replay.positions.clone()),
    };
    let checkpoints = options.store.filter(|_| options.from.is_none());
    let checkpoints = checkpoints.map(|store| {
        let plan = CheckpointPlan {
            store: store.clone(),
            folder: "00000001".to_owned(),
            timeline: identity.timeline.clone(),
            generation: identity.generation,
            settings: settings.shaping(),
            kept: settings.checkpoints_kept as usize,
            known: Vec::new(),
        };
        CheckpointService::start(plan, log.clone())
    });
    let links = Links::alone(workers_of(&settings));
    let run = RunInput {
        source,
        positions,
        gone: BTreeSet::new(),
        new: Vec::new(),
        discovery: None,
        identity,
        first_epoch,
        replay: followed.epochs,
        ends_with_replay: options.follow.is_some(),
        log: Some(log),
        restored,
        checkpoints: checkpoints.transpose()?,
        tells_all: false,
        control: JobControl::default(),
        output: output(first_epoch),
        shutdown,
        metrics: options.metrics.cloned().unwrap_or_default(),
        settings,
        fatal: Fatal::default(),
    };
    execute(links, run)?;
    Ok(epoch_log::read(log_dir)?)
}

#[cfg(test)]
#[path = "harness_tests.rs"]
mod tests;
