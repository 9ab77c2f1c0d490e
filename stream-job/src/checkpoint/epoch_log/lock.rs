//! One writer at a time.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::EpochLogError;

const LOCK_FILE: &str = "LOCK";

/// An exclusive `flock` on `DIR/LOCK`; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(in crate::checkpoint) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(in crate::checkpoint) fn take(dir: &Path) -> Result<DirLock, EpochLogError> {
        let path = dir.join(LOCK_FILE);
        let mut file = (OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false))
        .open(&path)
        .map_err(EpochLogError::at(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What cannot be read is only missing from the message.
                let _ = file.read_to_string(&mut holder);
                return Err(EpochLogError::Locked {
                    dir: dir.to_path_buf(),
                    holder: named(holder.trim()),
                });
            }
            Err(std::fs::TryLockError::Error(source)) => {
                return Err(EpochLogError::Io { path, source });
            }
        }
        say_who(&mut file).map_err(EpochLogError::at(&path))?;
        Ok(DirLock { _file: file })
    }
}

fn named(holder: &str) -> String {
    if holder.is_empty() {
        "another process".to_owned()
    } else {
        holder.to_owned()
    }
}

fn say_who(file: &mut File) -> std::io::Result<()> {
    let program = std::env::args().next().unwrap_or_default();
    let since = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S UTC");
    file.set_len(0)?;
    file.rewind()?;
    writeln!(
        file,
        "process {} ({program}), since {since}",
        std::process::id()
    )
}
