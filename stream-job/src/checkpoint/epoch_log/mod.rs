//! The epoch log: what makes a replay equal to the first run.
//!
//! In a local folder it is a row of segments, and one process holds a lock; in an object store it is a row of objects,
//! and who starts last fences the others (see `objects.rs`).
//!
//! ```text
//! DIR/epochs-00000001.log   segments, each starting with the header and a generation
//! DIR/epochs-00000002.log
//! ```
//!
//! A segment is a sequence of frames: `u32 LE body length, u32 LE CRC-32C of the body, body`. A body is one or more
//! [`Entry`]s as JSON, one a line. A frame is written and synced before the next one is begun, so only the very last
//! frame can be torn; it was never reported durable, and is cut off. Damage anywhere else is refused.
//!
//! What a checkpoint stands for may be pruned from the log's beginning. A log without its beginning is read only if
//! it tells of such a checkpoint; a gap anywhere else is damage.

mod error;
mod folder;
mod frame;
mod handle;
mod identity;
mod lock;
mod objects;
mod pins;
mod place;
mod print;
mod pruner;
mod reader;
mod replay;
mod segment;

pub use error::EpochLogError;
pub use handle::EpochLogHandle;
pub use print::print;
pub use replay::{BlockId, RecordedBlock, Replay};

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use warehouse::FileLock;

use super::record::{Entry, ForkPoint, Position};
use super::store::Store;
use super::store::local::make_folders;
use folder::Folder;
pub(in crate::checkpoint) use lock::lock_dir;
use objects::Objects;

/// Version of the format. Version 1, which had no checkpoints, is read too.
pub const VERSION: u32 = 2;
/// A segment is followed by a new one when it has reached this many bytes.
const SEGMENT_BYTES: u64 = 64 << 20;

/// What the first entry of a new log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLog {
    /// Id of the timeline, part of every insert token.
    pub timeline: String,
    /// First epoch.
    pub first_epoch: u64,
    /// Where reading begins: the positions before the first epoch.
    pub positions: Vec<Position>,
    /// Settings that shape rows, by name.
    pub settings: BTreeMap<String, String>,
    /// Where this timeline left another one.
    pub forked_from: Option<ForkPoint>,
}

impl NewLog {
    /// A new timeline with a random id, whose first epoch is the unix time in ms, so that epochs never fall below
    /// those of earlier logs.
    ///
    /// # Errors
    /// If the system has no random numbers to give.
    pub fn mint(
        positions: Vec<Position>,
        settings: BTreeMap<String, String>,
    ) -> std::io::Result<NewLog> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(NewLog {
            timeline: identity::random_id()?,
            first_epoch: since_1970.map_or(0, |elapsed| elapsed.as_millis() as u64),
            positions,
            settings,
            forked_from: None,
        })
    }

    fn header(&self) -> Entry {
        Entry::Header {
            version: VERSION,
            timeline: self.timeline.clone(),
            first_epoch: self.first_epoch,
            positions: self.positions.clone(),
            settings: self.settings.clone(),
            forked_from: self.forked_from.clone(),
        }
    }
}

/// The log, open for writing by this process alone.
#[derive(Debug)]
pub struct EpochLog {
    medium: Medium,
    generation: u64,
    /// Epoch of the newest checkpoint that it tells of.
    checkpointed: Option<u64>,
}

#[derive(Debug)]
enum Medium {
    Folder(Folder),
    Objects(Objects),
}

impl EpochLog {
    /// Opens the log of `dir`, making folder and log if need be, and reads all of it. A torn last frame is cut off
    /// (see [`Replay::torn_bytes`]). Then the generation is raised by one, durably. `DIR/LOCK` is held until the log is
    /// dropped.
    ///
    /// # Errors
    /// If another process holds the log, if it is damaged elsewhere than at its end, if it contradicts itself, or if
    /// the folder cannot be read or written.
    pub fn open(
        dir: &Path,
        new: impl FnOnce() -> std::io::Result<NewLog>,
    ) -> Result<(EpochLog, Replay), EpochLogError> {
        Self::open_with_segments_of(dir, new, SEGMENT_BYTES)
    }

    fn open_with_segments_of(
        dir: &Path,
        new: impl FnOnce() -> std::io::Result<NewLog>,
        segment_bytes: u64,
    ) -> Result<(EpochLog, Replay), EpochLogError> {
        make_folders(dir)?;
        let lock = lock_dir(dir)?;
        Self::open_folder(dir, lock, new, segment_bytes)
    }

    /// [`EpochLog::open`] in a folder of a store. In a local one the lock is the caller's, and held until the log is
    /// dropped; in an object store the log is taken from whoever has it.
    ///
    /// # Errors
    /// As [`EpochLog::open`]; [`EpochLogError::Fenced`] if another process takes it at the same time.
    pub(in crate::checkpoint) fn open_in(
        store: &Store,
        folder: &str,
        lock: Option<FileLock>,
        new: impl FnOnce() -> std::io::Result<NewLog>,
    ) -> Result<(EpochLog, Replay), EpochLogError> {
        match (store.local_dir(), lock) {
            (Some(dir), Some(lock)) => {
                let dir = dir.join(folder);
                make_folders(&dir)?;
                Self::open_folder(&dir, lock, new, SEGMENT_BYTES)
            }
            _ => {
                let (objects, replay) = Objects::open(store, folder, new)?;
                Ok((Self::of(Medium::Objects(objects), &replay), replay))
            }
        }
    }

    fn open_folder(
        dir: &Path,
        lock: FileLock,
        new: impl FnOnce() -> std::io::Result<NewLog>,
        segment_bytes: u64,
    ) -> Result<(EpochLog, Replay), EpochLogError> {
        let mut found = folder::read(dir)?;
        let mut replay = match found.replay.take() {
            Some(replay) => replay,
            None => Replay {
                fresh: true,
                ..Replay::of_new(new().map_err(EpochLogError::at(dir))?)
            },
        };
        replay.generation += 1;
        let by = identity::this_process().map_err(EpochLogError::at(dir))?;
        let generation = Entry::Generation {
            generation: replay.generation,
            by: Some(by),
        };
        let start = vec![replay.new_log().header(), generation];
        let folder = Folder::open(dir, lock, found, segment_bytes, start)?;
        Ok((Self::of(Medium::Folder(folder), &replay), replay))
    }

    fn of(medium: Medium, replay: &Replay) -> EpochLog {
        EpochLog {
            medium,
            generation: replay.generation,
            checkpointed: replay.newest_checkpoint(),
        }
    }

    /// Appends entries as one frame and returns when they are durable.
    ///
    /// # Errors
    /// If they could not be written or synced, or another process has taken the log ([`EpochLogError::Fenced`]). The
    /// log must not be used any further then: what is durable is unknown until it is opened again.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), EpochLogError> {
        if entries.is_empty() {
            return Ok(());
        }
        match &mut self.medium {
            Medium::Folder(folder) => folder.append(entries)?,
            Medium::Objects(objects) => objects.append(entries)?,
        }
        let checkpoints = entries.iter().filter_map(|entry| match entry {
            Entry::Checkpoint { epoch, .. } => Some(*epoch),
            _ => None,
        });
        self.checkpointed = checkpoints.chain(self.checkpointed).max();
        Ok(())
    }

    /// Deletes from the log's beginning what nobody needs once `epoch` is the oldest checkpoint to go back to. All of
    /// later epochs is kept, and so is everything after the newest checkpoint that the log tells of.
    ///
    /// # Errors
    /// If a new segment cannot be begun; the log must not be used any further then. What cannot be deleted is only
    /// warned of.
    pub fn prune_below(&mut self, epoch: u64) -> Result<(), EpochLogError> {
        let Some(checkpointed) = self.checkpointed else {
            return Ok(());
        };
        let epoch = epoch.min(checkpointed);
        match &mut self.medium {
            Medium::Folder(folder) => folder.prune_below(epoch),
            Medium::Objects(objects) => {
                objects.prune_below(epoch);
                Ok(())
            }
        }
    }

    /// This process's generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    #[cfg(test)]
    fn segment(&self) -> &segment::Segment {
        match &self.medium {
            Medium::Folder(folder) => folder.segment(),
            Medium::Objects(_) => panic!("objects have no segments"),
        }
    }
}

/// Reads a log's epochs without taking it: all segments of a folder, or one segment file. A torn last frame is left
/// out.
///
/// # Errors
/// If there is no log, or it is damaged.
pub fn read(path: &Path) -> Result<Replay, EpochLogError> {
    let replay = if path.is_dir() {
        folder::read_beside_writer(path)?
    } else {
        folder::read_segment(path)?
    };
    replay.ok_or_else(|| EpochLogError::Nothing(path.to_path_buf()))
}

/// [`read`] of a log in a folder of a store.
///
/// # Errors
/// If there is no log, or it is damaged.
pub(in crate::checkpoint) fn read_in(store: &Store, folder: &str) -> Result<Replay, EpochLogError> {
    match store.local_dir() {
        Some(dir) => read(&dir.join(folder)),
        None => objects::read(store, folder)?
            .ok_or_else(|| EpochLogError::Nothing(format!("{store}/{folder}").into())),
    }
}

/// Makes whoever still writes to a log that nobody will go on with stop. In a local folder the lock has seen to that.
///
/// # Errors
/// If the store fails, or the log is written to so fast that it cannot be taken.
pub(in crate::checkpoint) fn seal(store: &Store, folder: &str) -> Result<(), EpochLogError> {
    match store.local_dir() {
        Some(_) => Ok(()),
        None => objects::seal(store, folder),
    }
}

#[cfg(test)]
mod prune_tests;
#[cfg(test)]
mod tests;
