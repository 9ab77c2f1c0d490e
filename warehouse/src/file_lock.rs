//! An exclusive lock on a file: one process at a time, and the one that is refused learns who has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// An exclusive `flock`, held as long as it lives; the system gives it back when the process ends, however it ends.
/// The file then names this process.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another part of this one, has it.
    #[error("held by {0}")]
    Held(
        /// Who it is, as it says itself: `process 1234 (program), since ...`, or `another process`.
        String,
    ),
    /// The file can't be opened, locked or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileLock {
    /// Locks the file at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// When it is held already, or the file can't be used.
    pub fn take(path: &Path) -> Result<FileLock, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let lock = FileLock { file };
        say_who(&lock.file)?;
        Ok(lock)
    }
}

impl Drop for FileLock {
    /// Closing the file would not do: a child that this process is just making has the descriptor too until it has
    /// become another program, and would keep the lock for so long.
    fn drop(&mut self) {
        // A lock that can't be given back now goes with the process.
        let _ = self.file.unlock();
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // What can't be read is only missing from the message.
    let _ = file.read_to_string(&mut text);
    match text.trim() {
        "" => "another process".to_owned(),
        named => named.to_owned(),
    }
}

fn say_who(mut file: &File) -> io::Result<()> {
    let program = std::env::args().next().unwrap_or_default();
    let since = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S UTC");
    file.set_len(0)?;
    file.rewind()?;
    let pid = std::process::id();
    writeln!(file, "process {pid} ({program}), since {since}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_taker_is_told_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::take(&path).unwrap();
        let refused = FileLock::take(&path).unwrap_err().to_string();
        let named = format!("held by process {} (", std::process::id());
        assert!(refused.starts_with(&named), "{refused}");
        drop(held);
        FileLock::take(&path).unwrap();
    }

    #[test]
    fn a_lock_is_given_back_though_a_child_has_the_descriptor_still() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::take(&path).unwrap();
        let of_a_child = held.file.try_clone().unwrap();
        drop(held);
        FileLock::take(&path).unwrap();
        drop(of_a_child);
    }

    #[test]
    fn a_holder_that_names_itself_not_is_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let unnamed = File::create(&path).unwrap();
        unnamed.lock().unwrap();
        let refused = FileLock::take(&path).unwrap_err().to_string();
        assert_eq!(refused, "held by another process");
    }
}
