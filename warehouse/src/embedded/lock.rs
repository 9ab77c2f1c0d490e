//! The lock on a data folder: one process a folder, and the one that is refused learns who has it.

use std::path::Path;

use super::EngineError;
use crate::file_lock::{FileLock, LockError};

/// Creates `folder` where it is missing, and locks `folder/warehouse.pid`.
pub(super) fn lock_folder(folder: &Path) -> Result<FileLock, EngineError> {
    let failed = |source| EngineError::DataFolder {
        path: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    FileLock::take(&folder.join("warehouse.pid")).map_err(|error| match error {
        LockError::Held(holder) => EngineError::InUse {
            path: folder.to_owned(),
            holder,
        },
        LockError::Io(source) => failed(source),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_taker_is_told_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock_folder(folder.path()).unwrap();
        let refused = lock_folder(folder.path()).err().unwrap().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(held);
        lock_folder(folder.path()).unwrap();
    }
}
