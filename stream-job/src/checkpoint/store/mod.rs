//! Where checkpoints and the epoch log are kept: a local folder, or an object store by URL.
//!
//! One small interface over both, in which nothing is ever overwritten: [`Store::put_new`] is a conditional put, and
//! of any number of processes that put the same path, exactly one succeeds. What it has put is durable and whole.
//! Calls block, and may come from any thread.

mod address;
mod error;
pub(super) mod local;
mod path;
mod remote;

pub use error::StoreError;
pub use remote::Limits;

use std::path::Path;
use std::sync::Arc;

use local::Local;
use remote::Remote;

/// A store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    backend: Arc<Backend>,
}

#[derive(Debug)]
enum Backend {
    Local(Local),
    Remote(Remote),
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its path in the store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

impl Store {
    /// Opens a store: a folder or `file:///FOLDER`, which is made if need be; `s3://BUCKET/PREFIX` in programs built
    /// with the feature `s3`, with credentials and endpoint from the environment (`AWS_…`); `memory:NAME` for tests,
    /// where equal names of one process are one store.
    ///
    /// # Errors
    /// If it is no address, or the folder cannot be made. Object stores are first asked when something is read or
    /// written.
    pub fn open(url_or_dir: &str) -> Result<Store, StoreError> {
        address::open(url_or_dir, Limits::default())
    }

    /// [`Store::open`] on a folder, which need not be UTF-8.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open_dir(dir: &Path) -> Result<Store, StoreError> {
        Local::open(dir).map(|local| Store::of(Backend::Local(local)))
    }

    /// Puts an object under a path that is free, durably.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the path is taken; what is there stays as it is.
    pub fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        path::check(path)?;
        match &*self.backend {
            Backend::Local(local) => local.put_new(path, bytes),
            Backend::Remote(remote) => remote.put_new(path, bytes),
        }
    }

    /// Reads an object, if there is one.
    ///
    /// # Errors
    /// If it cannot be told or read.
    pub fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        path::check(path)?;
        match &*self.backend {
            Backend::Local(local) => local.get(path),
            Backend::Remote(remote) => remote.get(path),
        }
    }

    /// All objects in a folder and those below it, by path; the empty folder is the whole store. A folder that is
    /// not there is empty.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        path::check_folder(folder)?;
        let mut found = match &*self.backend {
            Backend::Local(local) => local.list(folder),
            Backend::Remote(remote) => remote.list(folder),
        }?;
        found.sort_unstable();
        Ok(found)
    }

    /// Deletes an object; that there is none is no error.
    ///
    /// # Errors
    /// If it cannot be deleted.
    pub fn delete(&self, path: &str) -> Result<(), StoreError> {
        path::check(path)?;
        match &*self.backend {
            Backend::Local(local) => local.delete(path),
            Backend::Remote(remote) => remote.delete(path),
        }
    }

    /// Deletes what writers left behind that died in the middle of a put, and returns how many that were. Only for
    /// the one process that leads, before others write.
    ///
    /// # Errors
    /// If a folder cannot be listed or a file not deleted.
    pub fn sweep(&self) -> Result<usize, StoreError> {
        match &*self.backend {
            Backend::Local(local) => local.sweep(),
            // An object store shows nothing of a put that was not finished.
            Backend::Remote(_) => Ok(0),
        }
    }

    /// The folder, where this is one.
    #[must_use]
    pub fn local_dir(&self) -> Option<&Path> {
        match &*self.backend {
            Backend::Local(local) => Some(&local.root),
            Backend::Remote(_) => None,
        }
    }

    fn of(backend: Backend) -> Store {
        Store {
            backend: Arc::new(backend),
        }
    }
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.backend {
            Backend::Local(local) => local.root.display().fmt(f),
            Backend::Remote(remote) => f.write_str(&remote.url),
        }
    }
}

#[cfg(test)]
mod tests;
