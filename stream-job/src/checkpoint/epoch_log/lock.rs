//! One writer at a time.

use std::path::Path;

use warehouse::{FileLock, LockError};

use super::EpochLogError;

/// Takes `DIR/LOCK`.
pub(in crate::checkpoint) fn lock_dir(dir: &Path) -> Result<FileLock, EpochLogError> {
    let path = dir.join("LOCK");
    FileLock::take(&path).map_err(|error| match error {
        LockError::Held(holder) => EpochLogError::Locked {
            dir: dir.to_path_buf(),
            holder,
        },
        LockError::Io(source) => EpochLogError::Io { path, source },
    })
}
