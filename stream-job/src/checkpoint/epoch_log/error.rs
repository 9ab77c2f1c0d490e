//! What can be wrong with an epoch log.

use std::io;
use std::path::{Path, PathBuf};

/// Why an epoch log could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum EpochLogError {
    /// Another process writes to it.
    #[error(
        "the epoch log in {dir} is in use by {holder}; stop that job first, or give this one a folder of its own"
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// Who holds it, as it says itself.
        holder: String,
    },
    /// A frame is damaged that was reported durable.
    #[error(
        "the epoch log {file} is damaged at byte {at}: {reason}; later entries follow, so this is no torn write. \
         Restore the file from a backup: going on without these entries could write rows twice"
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Start of the frame in bytes.
        at: u64,
        /// What does not fit.
        reason: String,
    },
    /// The entries contradict each other.
    #[error("the epoch log {file} contradicts itself at byte {at}: {reason}")]
    Contradiction {
        /// The segment.
        file: PathBuf,
        /// Start of the frame in bytes.
        at: u64,
        /// What does not fit.
        reason: String,
    },
    /// A segment between two others is gone.
    #[error("the epoch log in {dir} lacks segment {missing}, though a later one is there")]
    MissingSegment {
        /// The folder.
        dir: PathBuf,
        /// File name of the segment.
        missing: String,
    },
    /// There is nothing to read.
    #[error("there is no epoch log at {0}")]
    Nothing(PathBuf),
    /// A newer version wrote it.
    #[error("the epoch log {file} has format version {found}; this program reads version {known}")]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An entry is larger than a frame can be.
    #[error("an epoch log entry of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The log failed before and takes nothing any more.
    #[error("the epoch log has failed: {0}")]
    Failed(String),
    /// Reading or writing failed.
    #[error("epoch log {path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl EpochLogError {
    /// Names the file or folder of an I/O error.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> EpochLogError {
        let path = path.to_path_buf();
        move |source| EpochLogError::Io { path, source }
    }
}
