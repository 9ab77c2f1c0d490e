//! Deletes what a crash kept from becoming part of a checkpoint, or from being deleted with one.
//!
//! The epoch log alone says which checkpoints there are, and once a process has its generation, no older one can add to
//! it: whatever such a process still writes, or finds gone, will never be named. So of the files that older generations
//! wrote to this timeline's folder those may go that no checkpoint of the log names. Files of this generation and newer
//! ones, of other timelines (a fork's parent is one), of savepoints, and those whose names say nothing are not looked at.

use std::collections::BTreeSet;

use super::load::{self, LoadError};
use super::record::CheckpointRef;
use super::store::{Store, StoreError};
use crate::ops::failpoint;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// State files and manifests.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
}

/// Sweeps a timeline's folder, in which `generation` is about to write and whose log names the checkpoints in `logged`.
///
/// # Errors
/// If a manifest is there and can't be read, so that it is not known what it names, or the store fails. What was not
/// deleted is left to the next start.
pub fn sweep(
    store: &Store,
    folder: &str,
    generation: u64,
    logged: &[CheckpointRef],
) -> Result<Swept, LoadError> {
    let needed = named(store, logged)?;
    let mut swept = Swept::default();
    for kind in ["checkpoints", "state"] {
        for entry in store.list(&format!("{folder}/{kind}"))? {
            let is_older = generation_of(&entry.path).is_some_and(|wrote| wrote < generation);
            if is_older && !needed.contains(&entry.path) {
                delete(store, &entry.path)?;
                swept.files += 1;
                swept.bytes += entry.bytes;
            }
        }
    }
    Ok(swept)
}

/// The manifests that a log names, and the state files that those name.
fn named(store: &Store, logged: &[CheckpointRef]) -> Result<BTreeSet<String>, LoadError> {
    let mut named = BTreeSet::new();
    for checkpoint in logged {
        match load::manifest(store, checkpoint) {
            Ok(manifest) => named.extend(manifest.paths().map(str::to_owned)),
            // It is no longer kept, and its files only as far as others name them.
            Err(LoadError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        named.insert(checkpoint.manifest.clone());
    }
    Ok(named)
}

fn delete(store: &Store, path: &str) -> Result<(), StoreError> {
    tracing::debug!("{path} belongs to no checkpoint: deleting it");
    store.delete(path)?;
    failpoint::hit("orphan-deleted");
    Ok(())
}

/// The generation in the name of a state file (`eEPOCH-gGENERATION-wWORKER.state`) or manifest (`eEPOCH-gGENERATION.json`).
fn generation_of(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?;
    let stem = name
        .strip_suffix(".state")
        .or_else(|| name.strip_suffix(".json"))?;
    let generation = stem
        .strip_prefix('e')?
        .split('-')
        .nth(1)?
        .strip_prefix('g')?;
    generation.parse().ok()
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
