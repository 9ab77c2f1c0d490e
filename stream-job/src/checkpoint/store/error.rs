//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The conditional put lost: there is something under this name, and it was left as it is.
    #[error("{path} is already there in {store}; nothing is ever overwritten")]
    Exists {
        /// The store.
        store: String,
        /// The path.
        path: String,
    },
    /// Not a path in a store.
    #[error(
        "{path:?} is no path in a store: {reason}. Paths are relative, of names of letters, digits, '.', '_' and '-', \
         divided by '/'"
    )]
    Path {
        /// What was given.
        path: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// Not the address of a store.
    #[error(
        "{url:?} is no address of a store: {reason}. Give a folder, file:///FOLDER, or s3://BUCKET/PREFIX"
    )]
    Address {
        /// What was given, without what may be a secret.
        url: String,
        /// What does not fit.
        reason: String,
    },
    /// The program was built without what this store needs.
    #[error(
        "{url} needs a program built with the cargo feature `{feature}`: cargo build --release --features {feature}"
    )]
    Feature {
        /// The store.
        url: String,
        /// The feature.
        feature: &'static str,
    },
    /// The system refused.
    #[error(
        "cannot {doing} {path}: {source}. Look at the folder's owner, its mode and the room on its disk"
    )]
    Io {
        /// What was done, as a verb.
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The object store refused, or could not be reached.
    #[error(
        "cannot {doing} {path} in {store}, after {attempts} attempts: {source}. Look at the address, the credentials \
         (environment AWS_…), the bucket's policy and the network"
    )]
    Remote {
        /// What was done, as a verb.
        doing: &'static str,
        /// The store.
        store: String,
        /// The path.
        path: String,
        /// How often it was tried.
        attempts: u32,
        /// The last error.
        source: Box<object_store::Error>,
    },
    /// The object store did not answer.
    #[error(
        "cannot {doing} {path} in {store}: no answer in {attempts} attempts, the last one of {millis} ms. Look at the \
         network and at the store's own state"
    )]
    TimedOut {
        /// What was done, as a verb.
        doing: &'static str,
        /// The store.
        store: String,
        /// The path.
        path: String,
        /// How often it was tried.
        attempts: u32,
        /// How long the last attempt was waited for.
        millis: u128,
    },
    /// The threads that talk to object stores could not be started, or have died.
    #[error("the threads that talk to object stores: {0}")]
    Threads(String),
}

impl StoreError {
    /// Whether the conditional put lost.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        matches!(self, StoreError::Exists { .. })
    }

    /// Names what was done to which file or folder.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::Io {
            doing,
            path,
            source,
        }
    }
}
