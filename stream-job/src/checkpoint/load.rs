//! Reading a checkpoint back: its manifest, then all its state files, each held against its checksum.

use std::collections::BTreeMap;

use super::manifest::{self, Manifest, StateRef};
use super::record::CheckpointRef;
use super::state::{Restored, StateError, StateFile};
use super::store::{Store, StoreError};

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of it is gone.
    #[error("{path} is not in {store}")]
    Missing {
        /// Its path.
        path: String,
        /// The store.
        store: String,
    },
    /// A file of it is not what was written.
    #[error("{path} in {store} is damaged: {reason}")]
    Damaged {
        /// Its path.
        path: String,
        /// The store.
        store: String,
        /// What does not fit.
        reason: String,
    },
    /// Another version of the program wrote it, and this one can't read it.
    #[error(
        "the checkpoint of epoch {epoch}, written by version {written_by}, cannot be restored by this program: \
         {reason}. Go on with the version that wrote it, or start with --new-timeline; the rows that landed stay"
    )]
    Unreadable {
        /// Its epoch.
        epoch: u64,
        /// Version of the program that wrote it.
        written_by: String,
        /// What this program does not know.
        reason: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a manifest.
///
/// # Errors
/// If it is gone or damaged, or of a newer format.
pub fn manifest(store: &Store, named: &CheckpointRef) -> Result<Manifest, LoadError> {
    let bytes = get(store, &named.manifest)?;
    check(store, &named.manifest, &bytes, named.bytes, named.crc32c)?;
    parse(store, &named.manifest, &bytes)
}

/// Reads a manifest whose checksum is not known.
///
/// # Errors
/// If it is gone or damaged, or of a newer format.
pub fn manifest_at(store: &Store, path: &str) -> Result<Manifest, LoadError> {
    parse(store, path, &get(store, path)?)
}

fn parse(store: &Store, path: &str, bytes: &[u8]) -> Result<Manifest, LoadError> {
    let damaged = |reason: String| LoadError::Damaged {
        path: path.to_owned(),
        store: store.to_string(),
        reason,
    };
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(manifest::VERSION)) {
        return Err(LoadError::Unreadable {
            epoch: value["record"]["epoch"].as_u64().unwrap_or(0),
            written_by: value["code_version"].as_str().unwrap_or("?").to_owned(),
            reason: format!(
                "its manifest has format version {}, and this program reads {}",
                version.map_or("none".to_owned(), |version| version.to_string()),
                manifest::VERSION
            ),
        });
    }
    serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
}

/// Checks that every operator of a checkpoint is one of `known`, in a version that is read, and then reads all its state.
///
/// # Errors
/// If an operator is not known, or a file is gone or damaged.
pub fn state(
    store: &Store,
    manifest: &Manifest,
    known: &BTreeMap<&str, &[u16]>,
) -> Result<Restored, LoadError> {
    for file in manifest.layers.iter().flat_map(|layer| &layer.files) {
        check_operators(manifest, file, known)?;
    }
    let mut restored = Restored::new(manifest.record.clone());
    for layer in &manifest.layers {
        let files = layer.files.iter().map(|named| {
            let bytes = file(store, named)?;
            let file = named;
            StateFile::open(file.path.clone(), bytes).map_err(|error| LoadError::Damaged {
                path: file.path.clone(),
                store: store.to_string(),
                reason: match error {
                    StateError::Damaged { reason, .. } => reason,
                    other => other.to_string(),
                },
            })
        });
        restored.add_older(layer.rewrite, files.collect::<Result<_, _>>()?);
    }
    Ok(restored)
}

/// Reads a state file.
pub(super) fn file(store: &Store, named: &StateRef) -> Result<Vec<u8>, LoadError> {
    let bytes = get(store, &named.path)?;
    check(store, &named.path, &bytes, named.bytes, named.crc32c)?;
    Ok(bytes)
}

fn check_operators(
    manifest: &Manifest,
    file: &StateRef,
    known: &BTreeMap<&str, &[u16]>,
) -> Result<(), LoadError> {
    for (uid, version) in &file.operators {
        let reason = match known.get(uid.as_str()) {
            None => format!("it has no operator `{uid}`"),
            Some(versions) if !versions.contains(version) => format!(
                "the state of operator `{uid}` has format version {version}, and it reads {versions:?}"
            ),
            Some(_) => continue,
        };
        return Err(LoadError::Unreadable {
            epoch: manifest.epoch(),
            written_by: manifest.code_version.clone(),
            reason,
        });
    }
    Ok(())
}

fn get(store: &Store, path: &str) -> Result<Vec<u8>, LoadError> {
    store.get(path)?.ok_or_else(|| LoadError::Missing {
        path: path.to_owned(),
        store: store.to_string(),
    })
}

fn check(
    store: &Store,
    path: &str,
    bytes: &[u8],
    length: u64,
    crc32c: u32,
) -> Result<(), LoadError> {
    let reason = if bytes.len() as u64 != length {
        format!("it has {} bytes, not {length}", bytes.len())
    } else if crc32c::crc32c(bytes) != crc32c {
        "its checksum is another".to_owned()
    } else {
        return Ok(());
    };
    Err(LoadError::Damaged {
        path: path.to_owned(),
        store: store.to_string(),
        reason,
    })
}
