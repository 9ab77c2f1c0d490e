//! The thread that makes checkpoints durable, beside the dataflow.
//!
//! It writes the workers' state files as they come, and, when the coordinator says that all of a checkpoint is there and
//! that everything up to its epoch has landed, the manifest; then the epoch log's entry, with which the checkpoint counts;
//! then it deletes what no kept checkpoint needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::epoch_log::EpochLogHandle;
use super::manifest::{self, Layer, Manifest, StateRef, live_layers};
use super::record::{AckTime, CheckpointRef, Entry, EpochRecord, Rewrite};
use super::savepoint;
use super::state::{self, Section};
use super::store::{Store, StoreError};
use crate::ops::control::{SavepointError, SavepointRequest};
use crate::ops::failpoint;

/// Pause before what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all checkpoints of a run have in common.
#[derive(Clone, Debug)]
pub struct CheckpointPlan {
    /// Where they are kept.
    pub store: Store,
    /// Folder of the timeline in the store.
    pub folder: String,
    /// Timeline id.
    pub timeline: String,
    /// Generation of this process.
    pub generation: u64,
    /// Settings that shape rows, by name.
    pub settings: BTreeMap<String, String>,
    /// How many checkpoints are kept.
    pub kept: usize,
    /// The checkpoints of the log that are still there, oldest first; the last is the one that the run starts from.
    pub known: Vec<Manifest>,
}

/// A checkpoint all of whose state files are there, and whose epoch has landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Record of its epoch.
    pub record: EpochRecord,
    /// Its state files.
    pub layer: Layer,
    /// Acknowledgements of its epoch and earlier ones that no record up to it tells of.
    pub acks: Vec<AckTime>,
}

/// What is known of the newest checkpoint, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Its epoch; 0 before the first.
    pub epoch: u64,
    /// Bytes of the state files that it needs.
    pub state_bytes: u64,
    /// When it was written, ms since 1970.
    pub written_ms: i64,
}

/// The checkpoints that can be gone back to: what the ledgers of the other processes are shortened by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The newest one.
    pub newest: CheckpointRef,
    /// Epoch of the oldest.
    pub oldest: u64,
}

enum Work {
    Save {
        epoch: u64,
        worker: usize,
        rewrite: Rewrite,
        sections: Vec<Section>,
    },
    Publish(Box<Ready>, Option<SavepointRequest>),
    Follow(Kept),
}

#[derive(Debug, Default)]
struct Shared {
    /// The newest state file of each worker.
    saved: Mutex<BTreeMap<usize, StateRef>>,
    published: Mutex<Published>,
    kept: Mutex<Option<Kept>>,
    failed: Mutex<Option<String>>,
}

/// Hands work to the thread; clones share it. The thread ends with the last of them, when all work is done.
#[derive(Clone, Debug)]
pub struct CheckpointService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` only while dropping.
    sender: Option<Sender<Work>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

impl CheckpointService {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(plan: CheckpointPlan, log: EpochLogHandle) -> std::io::Result<CheckpointService> {
        let (sender, work) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        if let Some(newest) = plan.known.last() {
            shared.publish(newest);
        }
        let taker = Taker {
            plan,
            log,
            shared: shared.clone(),
            last_file_bytes: 0,
        };
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || taker.run(&work))?;
        let inner = Inner {
            sender: Some(sender),
            thread: Mutex::new(Some(thread)),
            shared,
        };
        Ok(CheckpointService {
            inner: Arc::new(inner),
        })
    }

    /// Takes what a worker's operators have saved at the end of an epoch.
    pub fn save(&self, epoch: u64, worker: usize, rewrite: Rewrite, sections: Vec<Section>) {
        self.send(Work::Save {
            epoch,
            worker,
            rewrite,
            sections,
        });
    }

    /// The newest state file of a worker that is in the store.
    #[must_use]
    pub fn saved(&self, worker: usize) -> Option<StateRef> {
        let saved = &self.inner.shared.saved;
        let saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.get(&worker).cloned()
    }

    /// Completes a checkpoint, and makes it a savepoint too where one was asked for.
    pub fn publish(&self, ready: Ready, savepoint: Option<SavepointRequest>) {
        self.send(Work::Publish(Box::new(ready), savepoint));
    }

    /// Takes note of a checkpoint that another process has completed: the log of this one needs nothing of before.
    pub fn follow(&self, kept: Kept) {
        self.send(Work::Follow(kept));
    }

    /// The checkpoints that are kept, once this run has completed one.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        let kept = &self.inner.shared.kept;
        kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest complete checkpoint.
    #[must_use]
    pub fn published(&self) -> Published {
        let published = &self.inner.shared.published;
        *published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no further checkpoint will be taken, if that is so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let failed = &self.inner.shared.failed;
        failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn send(&self, work: Work) {
        // A thread that has ended has said why.
        let _ = self
            .inner
            .sender
            .as_ref()
            .map(|sender| sender.send(work).ok());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sender = None;
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn publish(&self, manifest: &Manifest) {
        let published = Published {
            epoch: manifest.epoch(),
            state_bytes: manifest.state_bytes(),
            written_ms: manifest.written_ms,
        };
        let mut held = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = published;
    }
}

/// Why a checkpoint could not be completed.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] super::epoch_log::EpochLogError),
    #[error("the checkpoint of epoch {0} lacks key groups: no earlier one has rewritten them")]
    Incomplete(u64),
}

struct Taker {
    plan: CheckpointPlan,
    log: EpochLogHandle,
    shared: Arc<Shared>,
    /// Length of the newest state file: the next one is much as long.
    last_file_bytes: usize,
}

impl Taker {
    fn run(mut self, work: &Receiver<Work>) {
        while let Ok(work) = work.recv() {
            let done = match work {
                Work::Save {
                    epoch,
                    worker,
                    rewrite,
                    sections,
                } => self.save(epoch, worker, rewrite, sections),
                Work::Publish(ready, savepoint) => self.publish(*ready, savepoint),
                Work::Follow(kept) => self.follow(kept),
            };
            if let Err(error) = done {
                let text = format!("checkpoints have failed: {error}");
                tracing::error!("{text}");
                let mut failed = self
                    .shared
                    .failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *failed = Some(text);
                return;
            }
        }
    }

    fn save(
        &mut self,
        epoch: u64,
        worker: usize,
        rewrite: Rewrite,
        sections: Vec<Section>,
    ) -> Result<(), TakeError> {
        let path = state_path(&self.plan, epoch, worker);
        let operators = sections
            .iter()
            .map(|section| (section.uid.to_owned(), section.version))
            .collect();
        let mut file = Vec::with_capacity(self.last_file_bytes);
        let rewritten_bytes = state::encode(sections, &mut file);
        let saved = StateRef {
            epoch,
            worker: u32::try_from(worker).unwrap_or(u32::MAX),
            bytes: file.len() as u64,
            crc32c: crc32c::crc32c(&file),
            rewritten_bytes,
            operators,
            path,
        };
        tracing::debug!(
            "state of worker {worker} at epoch {epoch}: {} bytes, groups {}..{} rewritten",
            saved.bytes,
            rewrite.from,
            rewrite.to,
        );
        self.put(&saved.path, &file)?;
        self.last_file_bytes = file.len();
        failpoint::hit("state-saved");
        let mut all = self
            .shared
            .saved
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(worker, saved);
        Ok(())
    }

    fn publish(
        &mut self,
        ready: Ready,
        savepoint: Option<SavepointRequest>,
    ) -> Result<(), TakeError> {
        let epoch = ready.record.epoch;
        let older = self.plan.known.last().map(|known| known.layers.as_slice());
        let layers = live_layers(ready.layer, older.unwrap_or_default())
            .ok_or(TakeError::Incomplete(epoch))?;
        let manifest = Manifest {
            version: manifest::VERSION,
            timeline: self.plan.timeline.clone(),
            generation: self.plan.generation,
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: self.plan.settings.clone(),
            record: ready.record,
            acks: ready.acks,
            layers,
            written_ms: crate::source::wall_ms(),
            tells_all: false,
        };
        if let Some(request) = savepoint {
            let made = savepoint::make(&self.plan.store, &manifest, &request.name);
            if let Err(error) = &made {
                tracing::error!("savepoint {}: {error}", request.name);
            }
            request.answer(made.map_err(|error| SavepointError::Failed(error.to_string())));
        }
        let path = manifest_path(&self.plan, epoch);
        let bytes = serde_json::to_vec(&manifest).expect("a manifest has only text keys");
        self.put(&path, &bytes)?;
        failpoint::hit("manifest-written");
        let newest = CheckpointRef {
            epoch,
            manifest: path,
            crc32c: crc32c::crc32c(&bytes),
            bytes: bytes.len() as u64,
        };
        let entry = checkpoint_entry(newest.clone());
        self.log.append_durable(vec![entry])?;
        failpoint::hit("checkpoint-logged");
        self.shared.publish(&manifest);
        self.plan.known.push(manifest);
        self.tidy();
        let oldest = self.plan.known.first().map_or(epoch, Manifest::epoch);
        let kept = Some(Kept { newest, oldest });
        *self
            .shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(())
    }

    /// A ledger is pruned as the epoch log is, which needs to be told of a checkpoint for it.
    fn follow(&self, kept: Kept) -> Result<(), TakeError> {
        self.log
            .append_durable(vec![checkpoint_entry(kept.newest)])?;
        Ok(self.log.prune_below(kept.oldest)?)
    }

    /// Writes an object; a store that is away is waited for.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        loop {
            match self.plan.store.put_new(path, bytes) {
                // The name holds the generation: what is there is what an attempt of ours has put.
                Ok(()) | Err(StoreError::Exists { .. }) => return Ok(()),
                Err(
                    error @ (StoreError::Io { .. }
                    | StoreError::Remote { .. }
                    | StoreError::TimedOut { .. }),
                ) => {
                    tracing::warn!("waiting to write {path} to {}: {error}", self.plan.store);
                    std::thread::sleep(RETRY_AFTER);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes what no kept checkpoint needs. What could not be deleted is left to the next start.
    fn tidy(&mut self) {
        let kept = self.plan.kept.max(1);
        let gone: Vec<Manifest> = {
            let known = &mut self.plan.known;
            let excess = known.len().saturating_sub(kept);
            known.drain(..excess).collect()
        };
        if let Some(oldest) = self.plan.known.first()
            && let Err(error) = self.log.prune_below(oldest.epoch())
        {
            tracing::warn!("the epoch log could not be shortened: {error}");
        }
        failpoint::hit("tidy");
        let needed: BTreeSet<&str> = self.plan.known.iter().flat_map(Manifest::paths).collect();
        let manifests = gone
            .iter()
            .map(|old| manifest_path_of(&self.plan.folder, old.epoch(), old.generation));
        let files = gone.iter().flat_map(Manifest::paths);
        // A fork's first checkpoint names files of what it was forked from: they are not this timeline's to delete.
        let own = format!("{}/", self.plan.folder);
        let files = files
            .filter(|path| path.starts_with(&own) && !needed.contains(path))
            .map(str::to_owned);
        let unneeded: BTreeSet<String> = manifests.chain(files).collect();
        for path in unneeded {
            match self.plan.store.delete(&path) {
                Ok(()) => failpoint::hit("object-deleted"),
                Err(error) => {
                    tracing::warn!("{path} is no longer needed and could not be deleted: {error}");
                }
            }
        }
    }
}

fn checkpoint_entry(checkpoint: CheckpointRef) -> Entry {
    let CheckpointRef {
        epoch,
        manifest,
        crc32c,
        bytes,
    } = checkpoint;
    Entry::Checkpoint {
        epoch,
        manifest,
        crc32c,
        bytes,
    }
}

fn state_path(plan: &CheckpointPlan, epoch: u64, worker: usize) -> String {
    let CheckpointPlan {
        folder, generation, ..
    } = plan;
    format!("{folder}/state/e{epoch:020}-g{generation}-w{worker}.state")
}

fn manifest_path(plan: &CheckpointPlan, epoch: u64) -> String {
    manifest_path_of(&plan.folder, epoch, plan.generation)
}

fn manifest_path_of(folder: &str, epoch: u64, generation: u64) -> String {
    format!("{folder}/checkpoints/e{epoch:020}-g{generation}.json")
}
