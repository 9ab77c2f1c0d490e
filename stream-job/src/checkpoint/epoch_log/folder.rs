//! The log in a local folder: segments, of which the newest is written to.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use warehouse::FileLock;

use crate::checkpoint::record::Entry;
use crate::checkpoint::store::local::sync_folder;
use crate::ops::failpoint;

use super::pins::Pins;
use super::reader::Reader;
use super::segment::{self, Segment};
use super::{EpochLogError, Replay, VERSION};

/// At a checkpoint a segment of more bytes is followed by a new one, so that it can go when its epochs may.
const ROTATE_BYTES: u64 = 64 << 10;

/// What the folder held when it was opened.
pub(super) struct Found {
    pub(super) replay: Option<Replay>,
    parts: Vec<(u64, Pins)>,
    tail: Option<Tail>,
}

/// Where writing goes on.
struct Tail {
    valid_bytes: u64,
    version: Option<u32>,
}

/// Reads all segments of a folder; no replay if there are none, or none with a whole frame.
pub(super) fn read(dir: &Path) -> Result<Found, EpochLogError> {
    let numbers = segment::list(dir)?;
    let mut reader = Reader::new(numbers.first().is_some_and(|first| *first > 1));
    let (mut parts, mut tail) = (Vec::new(), None);
    for &number in &numbers {
        let path = dir.join(segment::file_name(number));
        let bytes = std::fs::read(&path).map_err(EpochLogError::at(&path))?;
        let last = Some(&number) == numbers.last();
        let part = reader.read(&path, &bytes, last)?;
        parts.push((number, part.pins));
        tail = Some(Tail {
            valid_bytes: part.valid_bytes,
            version: part.version,
        });
    }
    let first = segment::file_name(numbers.first().copied().unwrap_or(1));
    Ok(Found {
        replay: reader.finish(&dir.join(first))?,
        parts,
        tail,
    })
}

/// [`read`] while another process may prune, or begin a segment: what goes while it is read makes it begin again.
pub(super) fn read_beside_writer(dir: &Path) -> Result<Option<Replay>, EpochLogError> {
    const ATTEMPTS: u32 = 5;
    let mut attempt = 1;
    loop {
        let result = read(dir);
        let changed = match &result {
            Err(EpochLogError::Io { source, .. }) => source.kind() == ErrorKind::NotFound,
            Err(EpochLogError::MissingSegment { .. }) => true,
            _ => false,
        };
        if !changed || attempt == ATTEMPTS {
            return result.map(|found| found.replay);
        }
        attempt += 1;
    }
}

/// Reads one segment by itself.
pub(super) fn read_segment(path: &Path) -> Result<Option<Replay>, EpochLogError> {
    let bytes = std::fs::read(path).map_err(EpochLogError::at(path))?;
    let mut reader = Reader::new(segment::number_of(path).is_some_and(|number| number > 1));
    reader.read(path, &bytes, true)?;
    reader.finish(path)
}

/// The segments, open for writing.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Held until the log is dropped.
    _lock: FileLock,
    segment: Segment,
    pins: Pins,
    /// Segments before that one, oldest first.
    sealed: VecDeque<(u64, Pins)>,
    segment_bytes: u64,
    /// What a new segment starts with.
    start: Vec<Entry>,
}

impl Folder {
    /// Goes on where what was found ends.
    pub(super) fn open(
        dir: &Path,
        lock: FileLock,
        found: Found,
        segment_bytes: u64,
        start: Vec<Entry>,
    ) -> Result<Folder, EpochLogError> {
        let mut sealed: VecDeque<_> = found.parts.into();
        let (segment, pins) = match (sealed.pop_back(), found.tail) {
            (Some((number, pins)), Some(tail)) => (
                Segment::reopen(dir, number, tail.valid_bytes)?,
                (pins, tail.version),
            ),
            _ => (Segment::create(dir, 1)?, (Pins::default(), None)),
        };
        let (pins, version) = pins;
        let mut folder = Folder {
            dir: dir.to_path_buf(),
            _lock: lock,
            segment,
            pins,
            sealed,
            segment_bytes,
            start,
        };
        if folder.segment.bytes() == 0 {
            folder.start_segment()?;
        } else if version.is_some_and(|version| version < VERSION) {
            // An older program must not meet our entries in a segment that says it can read them.
            folder.rotate()?;
        } else {
            // The header is there; what is new is the generation.
            let generation: Vec<Entry> = folder.start[1..].to_vec();
            folder.segment.append(&generation)?;
        }
        Ok(folder)
    }

    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), EpochLogError> {
        if self.segment.bytes() >= self.segment_bytes {
            self.rotate()?;
        }
        self.segment.append(entries)?;
        self.pins.add_all(entries);
        Ok(())
    }

    /// Deletes segments of which nothing is needed where everything up to `epoch` may go. What cannot be deleted is
    /// kept until the next time.
    pub(super) fn prune_below(&mut self, epoch: u64) -> Result<(), EpochLogError> {
        if self.segment.bytes() >= ROTATE_BYTES.min(self.segment_bytes) {
            self.rotate()?;
        }
        if let Err(error) = self.delete_below(epoch) {
            tracing::warn!("the epoch log cannot be pruned: {error}");
        }
        Ok(())
    }

    /// Oldest first, each durably before the next, and never the newest: a crash leaves a log without a gap.
    fn delete_below(&mut self, epoch: u64) -> Result<(), EpochLogError> {
        while let Some((number, pins)) = self.sealed.front()
            && pins.allow_pruning_below(epoch)
        {
            let path = self.dir.join(segment::file_name(*number));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(EpochLogError::at(&path)(error));
                }
                _ => sync_folder(&self.dir)?,
            }
            failpoint::hit("log-pruned");
            self.sealed.pop_front();
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), EpochLogError> {
        let next = Segment::create(&self.dir, self.segment.number() + 1)?;
        let before = std::mem::replace(&mut self.segment, next);
        let pins = std::mem::take(&mut self.pins);
        self.sealed.push_back((before.number(), pins));
        self.start_segment()
    }

    fn start_segment(&mut self) -> Result<(), EpochLogError> {
        self.segment.append(&self.start)
    }

    #[cfg(test)]
    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }
}
