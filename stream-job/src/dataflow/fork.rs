//! Going back: a run from a savepoint or an older checkpoint is a new timeline, a fork.
//!
//! Between any two steps a crash leaves what the next start understands:
//! 1. The new timeline is begun, with the point where it leaves the old one. A start that finds it without a checkpoint
//!    refuses, and asks for `--from` again, which begins another one.
//! 2. Its first checkpoint is the one that was gone back to, with the same state files. From here on every start goes on
//!    with the fork.
//! 3. As long as that is its newest checkpoint, every start deletes the rows that the old timeline wrote after the point.
//!    Rows of the fork have higher epochs and stay.
//! 4. The first epoch of the fork tells again of all that is open, as its rows may have been replaced by deleted ones.

use anyhow::Context;

use super::prepare::target_of;
use crate::checkpoint::epoch_log::{EpochLog, NewLog, Replay};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::record::{CheckpointRef, Entry, EpochRecord, ForkPoint};
use crate::checkpoint::savepoint;
use crate::checkpoint::store::Store;
use crate::checkpoint::timelines::{Timelines, read_newest_epoch};
use crate::ops::job::JobError;
use crate::ops::settings::Settings;
use crate::sink::tables::every_table;

/// What a fork begins with.
pub(super) struct Fork {
    from: Manifest,
    /// The log of the new timeline.
    pub new: NewLog,
}

impl Fork {
    /// Reads what is gone back to, and how far the warehouse and the old log have come.
    pub(super) fn plan(
        settings: &Settings,
        store: &Store,
        place: &str,
        landed: u64,
    ) -> anyhow::Result<Fork> {
        let mut from = savepoint::read(store, place)
            .map_err(|error| JobError::Refused(format!("--from {place}: {error}")))?;
        let logged = read_newest_epoch(store)?.unwrap_or(0);
        let highest = landed.max(logged).max(from.epoch());
        if landed < from.epoch() {
            return Err(JobError::Refused(format!(
                "--from {place}: it is of epoch {}, and database {} holds rows up to epoch {landed} only: restore the \
                 backup of the database that belongs to it",
                from.epoch(),
                settings.clickhouse_database,
            ))
            .into());
        }
        from.tells_all = highest > from.epoch();
        let minted = NewLog::mint(from.record.positions.clone(), settings.shaping())?;
        let new = NewLog {
            first_epoch: minted.first_epoch.max(highest + 1),
            forked_from: Some(ForkPoint {
                timeline: from.timeline.clone(),
                epoch: from.epoch(),
            }),
            ..minted
        };
        Ok(Fork { from, new })
    }

    /// Begins the new timeline.
    pub(super) fn begin(&self, timelines: &mut Timelines) -> anyhow::Result<()> {
        timelines.begin(&self.new)?;
        tracing::info!(
            "a fork: timeline {} goes on from epoch {} of timeline {}, with epoch {}",
            self.new.timeline,
            self.from.epoch(),
            self.from.timeline,
            self.new.first_epoch,
        );
        Ok(())
    }

    /// Makes what was gone back to the first checkpoint of the fork.
    pub(super) fn complete(
        mut self,
        store: &Store,
        folder: &str,
        log: &mut EpochLog,
        replay: &mut Replay,
    ) -> anyhow::Result<()> {
        self.from.settings.clone_from(&replay.settings);
        let bytes = serde_json::to_vec(&self.from)?;
        let path = format!(
            "{folder}/checkpoints/e{:020}-g{}.json",
            self.from.epoch(),
            self.from.generation
        );
        store
            .put_new(&path, &bytes)
            .context("write the first checkpoint of the fork")?;
        let (epoch, crc32c) = (self.from.epoch(), crc32c::crc32c(&bytes));
        let bytes = bytes.len() as u64;
        log.append(&[Entry::Checkpoint {
            epoch,
            manifest: path.clone(),
            crc32c,
            bytes,
        }])?;
        replay.note_checkpoint(CheckpointRef {
            epoch,
            manifest: path,
            crc32c,
            bytes,
        });
        Ok(())
    }
}

/// Refuses a fork that was begun and not completed: it has neither state nor epochs.
pub(super) fn refuse_unfinished(replay: &Replay) -> anyhow::Result<()> {
    match &replay.forked_from {
        Some(point) if replay.checkpoints.is_empty() => Err(JobError::Refused(format!(
            "timeline {} was to go on from epoch {} of timeline {}, and its start was interrupted before it held any state: \
             start again with --from and the same savepoint",
            replay.timeline, point.epoch, point.timeline,
        ))
        .into()),
        _ => Ok(()),
    }
}

/// Deletes the rows that were written between the fork's point and its first epoch.
pub(super) async fn delete_rows_between(
    settings: &Settings,
    point: &EpochRecord,
    first_epoch: u64,
) -> anyhow::Result<()> {
    let client = target_of(settings).client();
    for table in every_table() {
        let name = table.name();
        let epoch = match name {
            // A set of texts by hash: what stays does no harm.
            "dwd_content" => continue,
            "ops_epoch" => "epoch",
            name if name.starts_with("ods_") || name.starts_with("dwd_") => "_epoch",
            _ => "rev",
        };
        let between = format!("{epoch} > {} AND {epoch} < {first_epoch}", point.epoch);
        let count: u64 = client
            .query(&format!("SELECT count() FROM {name} WHERE {between}"))
            .fetch_one()
            .await?;
        if count == 0 {
            continue;
        }
        tracing::info!("{name}: deleting {count} rows that were written after the fork's point");
        client
            .query(&format!(
                "ALTER TABLE {name} DELETE WHERE {between} SETTINGS mutations_sync = 2"
            ))
            .execute()
            .await
            .with_context(|| format!("delete rows of {name}"))?;
    }
    Ok(())
}
