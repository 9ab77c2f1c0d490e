//! Segment files.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::checkpoint::record::Entry;
use crate::checkpoint::store::local::sync_folder;

use super::{EpochLogError, frame};

const PREFIX: &str = "epochs-";
const SUFFIX: &str = ".log";

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    number: u64,
    bytes: u64,
}

impl Segment {
    /// Makes a segment, and its name durable.
    pub(super) fn create(dir: &Path, number: u64) -> Result<Segment, EpochLogError> {
        let path = dir.join(file_name(number));
        let file = (OpenOptions::new().append(true).create_new(true))
            .open(&path)
            .map_err(EpochLogError::at(&path))?;
        sync_folder(dir)?;
        Ok(Segment {
            file,
            path,
            number,
            bytes: 0,
        })
    }

    /// Opens the last segment, cut to what is whole.
    pub(super) fn reopen(
        dir: &Path,
        number: u64,
        valid_bytes: u64,
    ) -> Result<Segment, EpochLogError> {
        let path = dir.join(file_name(number));
        let open = || {
            let file = OpenOptions::new().append(true).open(&path)?;
            if file.metadata()?.len() != valid_bytes {
                file.set_len(valid_bytes)?;
                file.sync_all()?;
            }
            Ok(file)
        };
        let file = open().map_err(EpochLogError::at(&path))?;
        sync_folder(dir)?;
        Ok(Segment {
            file,
            path,
            number,
            bytes: valid_bytes,
        })
    }

    /// Writes one frame and syncs it.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), EpochLogError> {
        let frame = frame::encode(entries)?;
        let written = (self.file.write_all(&frame)).and_then(|()| self.file.sync_data());
        written.map_err(EpochLogError::at(&self.path))?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

pub(super) fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:08}{SUFFIX}")
}

/// The number of a segment, if the file is named as one.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .parse()
        .ok()
}

/// Numbers of the segments in a folder, ascending, without a gap.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, EpochLogError> {
    let mut numbers = Vec::new();
    for file in std::fs::read_dir(dir).map_err(EpochLogError::at(dir))? {
        numbers.extend(number_of(&file.map_err(EpochLogError::at(dir))?.path()));
    }
    numbers.sort_unstable();
    match numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        None => Ok(numbers),
        Some(gap) => Err(EpochLogError::MissingSegment {
            dir: dir.to_path_buf(),
            missing: file_name(gap[0] + 1),
        }),
    }
}
