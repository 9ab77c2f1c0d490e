//! Deletes objects in order, on a thread of its own, so that appends never wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use crate::checkpoint::store::Store;

#[derive(Debug)]
pub(super) struct Pruner {
    /// `None` only while dropping.
    sender: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Pruner {
    pub(super) fn start(store: Store) -> std::io::Result<Pruner> {
        let (sender, paths) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("epoch-log-prune".to_owned())
            .spawn(move || prune(&store, &paths, &stopped))?;
        Ok(Pruner {
            sender: Some(sender),
            thread: Some(thread),
            stop,
        })
    }

    pub(super) fn delete(&self, path: String) {
        // Without the thread it stays until the next start.
        let _ = self.sender.as_ref().map(|sender| sender.send(path));
    }
}

fn prune(store: &Store, paths: &Receiver<String>, stop: &AtomicBool) {
    while let Ok(path) = paths.recv() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = store.delete(&path) {
            // Nothing after it may go before it: that would be a gap.
            tracing::warn!("the epoch log is not pruned any further until the next start: {error}");
            return;
        }
    }
}

impl Drop for Pruner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}
