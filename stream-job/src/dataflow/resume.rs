//! Where a run goes on: the newest checkpoint of its epoch log that can be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use super::anomaly::Anomalies;
use super::dedup::Dedup;
use super::edge::Edges;
use super::freshness::Freshness;
use super::replays::Replays;
use super::resource::Resources;
use super::session::Sessions;
use super::top_n::LocalTop;
use super::trace::Traces;
use super::user_day::UserDays;
use super::window::Windows;
use crate::checkpoint::epoch_log::Replay;
use crate::checkpoint::load::{self, LoadError};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::record::AckTime;
use crate::checkpoint::state::{KeyedState, Restored};
use crate::checkpoint::store::Store;
use crate::ops::job::JobError;

/// A checkpoint that has been read.
pub(super) struct Resumed {
    /// The operators' state.
    pub restored: Arc<Restored>,
    /// Acknowledgements that no record of the log tells of.
    pub acks: Vec<AckTime>,
    /// The checkpoints that are there, up to this one, oldest first.
    pub known: Vec<Manifest>,
    /// Whether the first new epoch tells again of all that is open.
    pub tells_all: bool,
}

impl Resumed {
    /// The epoch of the checkpoint.
    pub(super) fn epoch(&self) -> u64 {
        self.restored.record().epoch
    }
}

/// The operators that keep state, with the versions of their formats that this program reads.
fn known_operators() -> BTreeMap<&'static str, &'static [u16]> {
    fn known<S: KeyedState>() -> (&'static str, &'static [u16]) {
        (S::UID, S::READS)
    }
    [
        known::<Dedup>(),
        known::<Replays>(),
        known::<Windows>(),
        known::<Anomalies>(),
        known::<Traces>(),
        known::<Sessions>(),
        known::<Edges>(),
        known::<Resources>(),
        known::<UserDays>(),
        known::<LocalTop>(),
        known::<Freshness>(),
    ]
    .into()
}

/// Reads the newest checkpoint of the log, or, if that one is damaged, an older one: the log reaches back to it. What lies
/// at or below it is taken out of `replay`, as it has landed.
pub(super) fn newest_checkpoint(
    store: &Store,
    replay: &mut Replay,
) -> anyhow::Result<Option<Resumed>> {
    let operators = known_operators();
    let mut known = Vec::new();
    for named in &replay.checkpoints {
        match load::manifest(store, named) {
            Ok(manifest) => known.push(manifest),
            // Those that are no longer kept are named in the log for as long as it reaches back.
            Err(LoadError::Missing { .. }) => {}
            Err(error) => refuse_or_warn(error)?,
        }
    }
    while let Some(newest) = known.last() {
        let began = Instant::now();
        match load::state(store, newest, &operators) {
            Ok(restored) => {
                tracing::info!(
                    "checkpoint of epoch {}: {} bytes of state read in {:.3} s",
                    newest.epoch(),
                    newest.state_bytes(),
                    began.elapsed().as_secs_f64(),
                );
                let (restored, untold) = (Arc::new(restored), newest.acks.clone());
                return Ok(Some(Resumed {
                    acks: take_out(replay, restored.record().epoch, untold),
                    tells_all: newest.tells_all,
                    restored,
                    known,
                }));
            }
            Err(error) => {
                refuse_or_warn(error)?;
                known.pop();
            }
        }
    }
    match replay.epochs.first() {
        Some(first) if first.epoch > replay.first_epoch => Err(JobError::Refused(format!(
            "none of the checkpoints that the epoch log names can be read from {store}, and the log begins at epoch {}: \
             restore the files from a backup, or start with --new-timeline; the rows that landed stay",
            first.epoch
        ))
        .into()),
        _ => Ok(None),
    }
}

/// What is damaged or gone may be replaced by an older checkpoint; what this program can't read may not.
fn refuse_or_warn(error: LoadError) -> anyhow::Result<()> {
    match error {
        LoadError::Unreadable { .. } => Err(JobError::Refused(error.to_string()).into()),
        LoadError::Store(error) => Err(error).context("read the checkpoints"),
        error => {
            tracing::warn!("{error}; going back to the checkpoint before it");
            Ok(())
        }
    }
}

/// Takes out of the log what lies at or below a checkpoint; returns those of `untold` that no later record tells of.
fn take_out(replay: &mut Replay, epoch: u64, untold: Vec<AckTime>) -> Vec<AckTime> {
    replay.epochs.retain(|record| record.epoch > epoch);
    replay.blocks.retain(|id, _| id.epoch > epoch);
    let told: std::collections::BTreeSet<u64> = replay
        .epochs
        .iter()
        .flat_map(|record| &record.ack_times)
        .map(|ack| ack.epoch)
        .collect();
    let is_untold = |ack: &AckTime| !told.contains(&ack.epoch);
    untold.into_iter().filter(is_untold).collect()
}
