//! The epoch log in a local folder: what makes a replay equal to the first run.
//!
//! ```text
//! DIR/LOCK                  held by the one process that may write; says who
//! DIR/epochs-00000001.log   segments, each starting with the header and a generation
//! DIR/epochs-00000002.log
//! ```
//!
//! A segment is a sequence of frames: `u32 LE body length, u32 LE CRC-32C of the body, body`. A body is one or more
//! [`Entry`]s as JSON, one a line. A frame is written and synced before the next one is begun, so only the very last
//! frame can be torn; it was never reported durable, and is cut off. Damage anywhere else is refused.

mod error;
mod frame;
mod handle;
mod lock;
mod print;
mod replay;
mod segment;

pub use error::EpochLogError;
pub use handle::EpochLogHandle;
pub use print::print;
pub use replay::{BlockId, RecordedBlock, Replay, read};

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::record::{Entry, Position};
use lock::DirLock;
use segment::Segment;

/// Version of the format.
pub const VERSION: u32 = 1;
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
        let mut id = [0; 8];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(NewLog {
            timeline: format!("{:016x}", u64::from_be_bytes(id)),
            first_epoch: since_1970.map_or(0, |elapsed| elapsed.as_millis() as u64),
            positions,
            settings,
        })
    }

    fn header(&self) -> Entry {
        Entry::Header {
            version: VERSION,
            timeline: self.timeline.clone(),
            first_epoch: self.first_epoch,
            positions: self.positions.clone(),
            settings: self.settings.clone(),
        }
    }
}

/// The log, open for writing by this process alone.
#[derive(Debug)]
pub struct EpochLog {
    dir: PathBuf,
    /// Held until the log is dropped.
    _lock: DirLock,
    segment: Segment,
    segment_bytes: u64,
    header: Entry,
    generation: u64,
}

impl EpochLog {
    /// Opens the log of `dir`, making folder and log if need be, and reads all of it. A torn last frame is cut off
    /// (see [`Replay::torn_bytes`]). Then the generation is raised by one, durably.
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
        std::fs::create_dir_all(dir).map_err(EpochLogError::at(dir))?;
        let lock = DirLock::take(dir)?;
        let (found, tail) = replay::read_segments(dir)?;
        let fresh = found.is_none();
        let mut replay = match found {
            Some(replay) => replay,
            None => Replay::of_new(new().map_err(EpochLogError::at(dir))?),
        };
        replay.fresh = fresh;
        replay.generation += 1;
        let segment = match tail {
            Some(tail) => Segment::reopen(dir, tail.number, tail.valid_bytes)?,
            None => Segment::create(dir, 1)?,
        };
        let mut log = EpochLog {
            dir: dir.to_path_buf(),
            _lock: lock,
            segment,
            segment_bytes,
            header: replay.new_log().header(),
            generation: replay.generation,
        };
        if log.segment.bytes() == 0 {
            log.start_segment()?;
        } else {
            let generation = log.generation;
            log.append(&[Entry::Generation { generation }])?;
        }
        Ok((log, replay))
    }

    /// Appends entries as one frame and returns when they are on disk.
    ///
    /// # Errors
    /// If they could not be written or synced. The log must not be used any further then: what is on disk is
    /// unknown until it is opened again.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), EpochLogError> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.segment.bytes() >= self.segment_bytes {
            self.segment = Segment::create(&self.dir, self.segment.number() + 1)?;
            self.start_segment()?;
        }
        self.segment.append(entries)
    }

    /// This process's generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn start_segment(&mut self) -> Result<(), EpochLogError> {
        let generation = Entry::Generation {
            generation: self.generation,
        };
        self.segment.append(&[self.header.clone(), generation])
    }
}

#[cfg(test)]
mod tests;
