//! A store in a local folder.
//!
//! An object is written under a temporary name, synced, linked to its own name and the folder synced: it is there
//! whole or not at all, whenever the power goes. Linking fails where the name is taken, whoever took it, and so is
//! the conditional put.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, StoreError, path};

/// A temporary name starts with a dot, which no path in a store may.
const TEMPORARY: &str = ".tmp";

#[derive(Debug)]
pub(super) struct Local {
    pub(super) root: PathBuf,
}

impl Local {
    pub(super) fn open(root: &Path) -> Result<Local, StoreError> {
        make_folders(root)?;
        let root = root.canonicalize().map_err(StoreError::io("find", root))?;
        Ok(Local { root })
    }

    pub(super) fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let file = self.root.join(path);
        let folder = file.parent().unwrap_or(&self.root);
        make_folders(folder)?;
        let temporary = Temporary::write(folder, bytes)?;
        match fs::hard_link(&temporary.path, &file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::Exists {
                    store: self.root.display().to_string(),
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(StoreError::io("link", &file)(error)),
        }
        drop(temporary);
        sync_folder(folder)
    }

    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let file = self.root.join(path);
        match fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::IsADirectory => {
                Ok(None)
            }
            Err(error) => Err(StoreError::io("read", &file)(error)),
        }
    }

    pub(super) fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        self.list_into(folder, &mut found)?;
        Ok(found)
    }

    fn list_into(&self, folder: &str, found: &mut Vec<Entry>) -> Result<(), StoreError> {
        let dir = self.root.join(folder);
        let files = match fs::read_dir(&dir) {
            Ok(files) => files,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(StoreError::io("list", &dir)(error)),
        };
        for file in files {
            let file = file.map_err(StoreError::io("list", &dir))?;
            let Ok(name) = file.file_name().into_string() else {
                continue;
            };
            if !path::is_name(&name) {
                continue;
            }
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            match file.metadata() {
                Ok(meta) if meta.is_dir() => self.list_into(&path, found)?,
                Ok(meta) => found.push(Entry {
                    path,
                    bytes: meta.len(),
                }),
                // Deleted since the folder was read.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(StoreError::io("look at", &file.path())(error)),
            }
        }
        Ok(())
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), StoreError> {
        let file = self.root.join(path);
        match fs::remove_file(&file) {
            // Synced, so that of two deletions no later one can be durable without the earlier one.
            Ok(()) => sync_folder(file.parent().unwrap_or(&self.root)),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(StoreError::io("delete", &file)(error)),
        }
    }

    /// Deletes what writers left behind that died before they gave an object its name.
    pub(super) fn sweep(&self) -> Result<usize, StoreError> {
        sweep(&self.root)
    }
}

/// Makes a folder and those above it, durably.
pub(in crate::checkpoint) fn make_folders(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder
        .parent()
        .filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        make_folders(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(above.unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(StoreError::io("make the folder", folder)(error)),
    }
}

/// Makes the names in a folder durable.
pub(in crate::checkpoint) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::io("sync the folder", folder))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn sweep(folder: &Path) -> Result<usize, StoreError> {
    let mut swept = 0;
    for file in fs::read_dir(folder).map_err(StoreError::io("list", folder))? {
        let file = file.map_err(StoreError::io("list", folder))?;
        let (path, name) = (file.path(), file.file_name());
        let kind = (file.file_type()).map_err(StoreError::io("look at", &path))?;
        let name = name.to_string_lossy();
        if kind.is_dir() {
            swept += sweep(&path)?;
        } else if name.starts_with('.') && name.ends_with(TEMPORARY) {
            fs::remove_file(&path).map_err(StoreError::io("delete", &path))?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// A synced file without a name of its own yet; removed when dropped.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn write(folder: &Path, bytes: &[u8]) -> Result<Temporary, StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut taken = 0;
        let (mut file, temporary) = loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".{}-{n}{TEMPORARY}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (file, Temporary { path }),
                // Left behind by a process that had the same id, in another container perhaps.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && taken < 1000 => {
                    taken += 1;
                }
                Err(error) => return Err(StoreError::io("make", &path)(error)),
            }
        };
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(StoreError::io("write", &temporary.path))?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What stays is swept at the next start.
        let _ = fs::remove_file(&self.path);
    }
}
