//! What can be wrong with an epoch log.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::store::StoreError;

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
    /// A newer process has taken it.
    #[error(
        "the epoch log belongs to {who}, of generation {theirs}; this process, of generation {ours}, found that at {at} \
         and writes no more. Stop one of the two"
    )]
    Fenced {
        /// The object that tells.
        at: PathBuf,
        /// Our generation, or the one that we meant to take.
        ours: u64,
        /// The other one's.
        theirs: u64,
        /// Who the other one is, as it says itself.
        who: String,
    },
    /// The store does not keep its side.
    #[error(
        "{at} was taken by a process of generation {theirs}, though generation {ours} has the log: the store does not \
         keep to conditional puts (If-None-Match), or its objects were changed by hand. It can't hold an epoch log"
    )]
    NotKept {
        /// The object.
        at: PathBuf,
        /// The generation that it tells.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// A frame is damaged that was reported durable.
    #[error(
        "the epoch log {file} is damaged at byte {at}: {reason}. It is not the last entry, torn by a crash. Restore \
         the file from a backup: going on without these entries could write rows twice"
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
    /// The beginning is gone, and no checkpoint stands for it.
    #[error(
        "the epoch log begins with {0}: what was before it is gone, and no checkpoint in the log stands for it. \
         Restore the log from a backup"
    )]
    NoBeginning(PathBuf),
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
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
