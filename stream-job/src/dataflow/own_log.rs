//! The epoch log of a run: its own, new or to be continued, and another one that it is to follow.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use super::fork::{Fork, refuse_unfinished};
use crate::checkpoint::epoch_log::{EpochLog, NewLog, Replay};
use crate::checkpoint::record::Position;
use crate::checkpoint::store::Store;
use crate::checkpoint::timelines::{self, Timeline, TimelineError, Timelines};
use crate::ops::bounds::REMEMBERED;
use crate::ops::failpoint;
use crate::ops::job::{JobError, RunOptions};
use crate::ops::settings::Settings;

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
pub(super) fn foreign_log(path: &Path, settings: &Settings) -> anyhow::Result<Replay> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_log_whose_beginning_was_deleted_is_not_followed() {
        let path = Path::new("state");
        let whole = Replay {
            first_epoch: 7,
            epochs: vec![fixtures::record(7, 0)],
            ..Replay::default()
        };
        refuse_shortened(path, &whole).unwrap();
        let shortened = Replay {
            first_epoch: 6,
            ..whole
        };
        let error = refuse_shortened(path, &shortened).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(JobError::Refused(_))));
        assert!(error.to_string().contains("begins at epoch 7"), "{error}");
    }
}
