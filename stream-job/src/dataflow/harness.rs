//! Runs the dataflow on a recording with an output of the caller's: what the tests against the reference use.

use std::path::Path;
use std::sync::Arc;

use super::coordinator::Identity;
use super::epochs::Epoch;
use super::fatal::Fatal;
use super::output::Output;
use super::plan::{SourcePlan, workers_of};
use super::run::{RunInput, execute};
use crate::checkpoint::epoch_log::{self, EpochLog, EpochLogHandle, NewLog, Replay};
use crate::ops::job::Shutdown;
use crate::ops::metrics::Metrics;
use crate::ops::settings::Settings;

/// Runs the recording that the settings name to its end, and returns the epoch log that it has written to `log_dir`.
/// With `follow`, the epochs of another run's log are released again instead of new ones. `output` is made for the
/// first epoch.
///
/// # Errors
/// What failed first.
pub fn run_recording(
    settings: Arc<Settings>,
    log_dir: &Path,
    follow: Option<&Replay>,
    output: impl FnOnce(Epoch) -> Arc<dyn Output>,
) -> anyhow::Result<Replay> {
    let shutdown = Shutdown::default();
    let (source, found) = SourcePlan::find(&settings, &shutdown)?;
    let new = || match follow {
        Some(other) => Ok(NewLog {
            timeline: other.timeline.clone(),
            first_epoch: other.first_epoch,
            positions: other.positions.clone(),
            settings: settings.shaping(),
        }),
        None => NewLog::mint(found, settings.shaping()),
    };
    let (log, replay) = EpochLog::open(log_dir, new)?;
    let log = EpochLogHandle::start(log)?;
    execute(RunInput {
        workers: workers_of(&settings),
        source,
        positions: replay.positions.clone(),
        identity: Identity {
            timeline: replay.timeline.clone(),
            generation: replay.generation,
            settings_hash: settings.hash(),
        },
        first_epoch: replay.first_epoch,
        replay: follow.map_or(replay.epochs, |other| other.epochs.clone()),
        ends_with_replay: follow.is_some(),
        log: Some(log),
        output: output(replay.first_epoch),
        shutdown,
        metrics: Arc::new(Metrics::default()),
        settings,
        fatal: Fatal::default(),
    })?;
    Ok(epoch_log::read(log_dir)?)
}

#[cfg(test)]
#[path = "harness_tests.rs"]
mod tests;
