//! Saves and restores the operators of one worker.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::epochs::Epoch;
use super::fatal::Fatal;
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{KeyedState, Restored, Section, StateWriter};

/// What the operators of one worker save their state to, and restore it from.
#[derive(Clone)]
pub(super) struct Keeper {
    worker: usize,
    workers: usize,
    /// Until all operators have taken in their part of it.
    restored: Rc<RefCell<Option<Arc<Restored>>>>,
    /// Entries taken in so far, and how long that took.
    taken_in: Rc<Cell<(u64, Duration)>>,
    fatal: Fatal,
    /// What has been saved, by the epoch of the checkpoint.
    saved: Rc<RefCell<BTreeMap<Epoch, Saved>>>,
}

/// What the operators of one worker have saved at the end of an epoch.
#[derive(Default)]
pub(super) struct Saved {
    /// A section an operator.
    pub sections: Vec<Section>,
    /// How long that took.
    pub took: Duration,
}

impl Keeper {
    /// A keeper for one of so many workers, which starts from a checkpoint or from nothing.
    pub(super) fn new(
        worker: usize,
        workers: usize,
        restored: Option<Arc<Restored>>,
        fatal: Fatal,
    ) -> Self {
        Self {
            worker,
            workers,
            restored: Rc::new(RefCell::new(restored)),
            taken_in: Rc::default(),
            fatal,
            saved: Rc::default(),
        }
    }

    /// The epoch of the checkpoint that the run starts from.
    pub(super) fn restored_epoch(&self) -> Option<Epoch> {
        let restored = self.restored.borrow();
        restored.as_ref().map(|state| state.record().epoch)
    }

    /// All operators are built: the files of the checkpoint need no longer be held.
    pub(super) fn forget_restored(&self) {
        if let Some(restored) = self.restored.borrow_mut().take() {
            let (entries, took) = self.taken_in.get();
            tracing::info!(
                "worker {}: {entries} entries of the checkpoint of epoch {} restored in {:.3} s",
                self.worker,
                restored.record().epoch,
                took.as_secs_f64(),
            );
        }
    }

    /// Gives an operator what it held at the checkpoint that the run starts from. Called once, before its first epoch.
    pub(super) fn restore<S: KeyedState>(&self, state: &mut S) {
        let Some(restored) = self.restored.borrow().clone() else {
            return;
        };
        let began = Instant::now();
        match restored.feed(state, self.worker, self.workers) {
            Ok(fed) => {
                let (entries, took) = self.taken_in.get();
                self.taken_in.set((entries + fed, took + began.elapsed()));
            }
            Err(error) => self.fatal.raise(error.into()),
        }
    }

    /// Saves an operator that has applied this epoch, if a checkpoint is taken at its end.
    pub(super) fn save<S: KeyedState>(&self, record: &EpochRecord, state: &mut S) {
        let Some(rewrite) = record.checkpoint else {
            return;
        };
        let began = Instant::now();
        let mut writer = StateWriter::new(record.epoch, rewrite);
        state.save(&mut writer);
        let section = writer.close::<S>();
        let mut all = self.saved.borrow_mut();
        let saved = all.entry(record.epoch).or_default();
        saved.sections.push(section);
        saved.took += began.elapsed();
    }

    /// Takes what all operators of this worker have saved at the end of an epoch.
    pub(super) fn take(&self, epoch: Epoch) -> Saved {
        self.saved.borrow_mut().remove(&epoch).unwrap_or_default()
    }
}
