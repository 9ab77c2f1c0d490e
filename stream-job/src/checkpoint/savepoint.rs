//! Savepoints: a checkpoint with files of its own, under a name, kept until somebody deletes it.

use super::load::{self, LoadError};
use super::manifest::{Layer, Manifest, StateRef};
use super::store::{Store, StoreError};
use crate::ops::control::SavepointInfo;

const FOLDER: &str = "savepoints";
const MANIFEST: &str = "manifest.json";

/// Why a savepoint was not made, or can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SavepointFailure {
    /// There is one of this name.
    #[error("there is a savepoint {0} already; choose another name")]
    Taken(String),
    /// It does not hold all groups: a savepoint is taken where a checkpoint rewrites everything.
    #[error("its checkpoint has {0} layers, and a savepoint is made of one")]
    Layers(usize),
    /// A file of the checkpoint can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies a checkpoint that rewrote every group to `savepoints/NAME`. The manifest is written last: without it there is
/// no savepoint.
pub(super) fn make(
    store: &Store,
    checkpoint: &Manifest,
    name: &str,
) -> Result<SavepointInfo, SavepointFailure> {
    let folder = format!("{FOLDER}/{name}");
    let [layer] = checkpoint.layers.as_slice() else {
        return Err(SavepointFailure::Layers(checkpoint.layers.len()));
    };
    let manifest_path = format!("{folder}/{MANIFEST}");
    if store.get(&manifest_path)?.is_some() {
        return Err(SavepointFailure::Taken(name.to_owned()));
    }
    let copy = |file: &StateRef| {
        let bytes = load::file(store, file)?;
        let path = format!(
            "{folder}/e{:020}-g{}-w{}.state",
            file.epoch, checkpoint.generation, file.worker
        );
        match store.put_new(&path, &bytes) {
            // An attempt that died before its manifest.
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(StateRef {
            path,
            ..file.clone()
        })
    };
    let files = layer.files.iter().map(copy);
    let files = files.collect::<Result<Vec<_>, SavepointFailure>>()?;
    let manifest = Manifest {
        layers: vec![Layer {
            files,
            ..layer.clone()
        }],
        ..checkpoint.clone()
    };
    let bytes = serde_json::to_vec(&manifest).expect("a manifest has only text keys");
    match store.put_new(&manifest_path, &bytes) {
        Err(StoreError::Exists { .. }) => return Err(SavepointFailure::Taken(name.to_owned())),
        put => put?,
    }
    Ok(SavepointInfo {
        name: name.to_owned(),
        path: folder,
        epoch: manifest.epoch(),
        bytes: manifest.state_bytes() + bytes.len() as u64,
    })
}

/// Reads the manifest of a savepoint (`savepoints/NAME`) or of a checkpoint (the path of its manifest).
///
/// # Errors
/// If there is none, or it is damaged.
pub fn read(store: &Store, place: &str) -> Result<Manifest, LoadError> {
    let place = place.trim_end_matches('/');
    if place.ends_with(".json") {
        return load::manifest_at(store, place);
    }
    load::manifest_at(store, &format!("{place}/{MANIFEST}"))
}
