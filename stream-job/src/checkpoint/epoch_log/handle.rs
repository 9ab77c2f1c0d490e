//! Group commit: many threads append, one thread syncs for all of them.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::checkpoint::record::Entry;

use super::{EpochLog, EpochLogError};

/// What the log's thread is asked for.
enum Request {
    Append(Append),
    PruneBelow(u64),
}

/// Entries on their way, and who waits for them.
struct Append {
    entries: Vec<Entry>,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// Appends to the log from any thread. Entries that arrive while a sync runs share the next one. The log closes, and
/// its lock is released, when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct EpochLogHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` only while dropping.
    sender: Option<mpsc::Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    generation: u64,
}

impl EpochLogHandle {
    /// Hands the log to a thread of its own.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(log: EpochLog) -> Result<EpochLogHandle, EpochLogError> {
        let (sender, requests) = mpsc::channel();
        let generation = log.generation();
        let thread = std::thread::Builder::new()
            .name("epoch-log".to_owned())
            .spawn(move || commit_groups(log, &requests))
            .map_err(|error| {
                EpochLogError::Failed(format!("its thread does not start: {error}"))
            })?;
        Ok(EpochLogHandle {
            inner: Arc::new(Inner {
                sender: Some(sender),
                thread: Mutex::new(Some(thread)),
                generation,
            }),
        })
    }

    /// Appends entries, in one frame, and blocks until they are on disk.
    ///
    /// # Errors
    /// If the log failed, now or before.
    pub fn append_durable(&self, entries: Vec<Entry>) -> Result<(), EpochLogError> {
        let answer = self.send_and_wait(entries)?;
        answered(answer.blocking_recv())
    }

    /// [`EpochLogHandle::append_durable`] for async code.
    ///
    /// # Errors
    /// If the log failed, now or before.
    pub async fn append_durable_async(&self, entries: Vec<Entry>) -> Result<(), EpochLogError> {
        let answer = self.send_and_wait(entries)?;
        answered(answer.await)
    }

    /// Appends entries that nobody waits for, such as acks: losing them costs only work.
    ///
    /// # Errors
    /// If the log failed before.
    pub fn append_later(&self, entries: Vec<Entry>) -> Result<(), EpochLogError> {
        self.send(Request::Append(Append {
            entries,
            done: None,
        }))
    }

    /// Deletes from the log's beginning, some time soon, what nobody needs once `epoch` is the oldest checkpoint to
    /// go back to: see [`EpochLog::prune_below`].
    ///
    /// # Errors
    /// If the log failed before.
    pub fn prune_below(&self, epoch: u64) -> Result<(), EpochLogError> {
        self.send(Request::PruneBelow(epoch))
    }

    /// This process's generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    fn send_and_wait(
        &self,
        entries: Vec<Entry>,
    ) -> Result<oneshot::Receiver<Result<(), String>>, EpochLogError> {
        let (done, answer) = oneshot::channel();
        self.send(Request::Append(Append {
            entries,
            done: Some(done),
        }))?;
        Ok(answer)
    }

    fn send(&self, request: Request) -> Result<(), EpochLogError> {
        let sender = self.inner.sender.as_ref();
        sender
            .and_then(|sender| sender.send(request).ok())
            .ok_or_else(stopped)
    }
}

fn stopped() -> EpochLogError {
    EpochLogError::Failed("its thread has stopped; an earlier message says why".to_owned())
}

fn answered(
    answer: Result<Result<(), String>, oneshot::error::RecvError>,
) -> Result<(), EpochLogError> {
    match answer {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(EpochLogError::Failed(reason)),
        Err(_) => Err(stopped()),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closing the channel ends the thread once it has written what was queued.
        self.sender = None;
        let thread = self.thread.lock().map(|mut thread| thread.take());
        if let Ok(Some(thread)) = thread {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Writes whatever is queued as one frame, then prunes, until the channel closes or the log fails.
fn commit_groups(mut log: EpochLog, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let (mut entries, mut waiting, mut prune) = (Vec::new(), Vec::new(), None);
        for request in std::iter::once(first).chain(requests.try_iter()) {
            match request {
                Request::Append(append) => {
                    entries.extend(append.entries);
                    waiting.extend(append.done);
                }
                Request::PruneBelow(epoch) => prune = prune.max(Some(epoch)),
            }
        }
        let result = log.append(&entries);
        let answer = result.as_ref().copied().map_err(ToString::to_string);
        for done in waiting {
            // Who no longer waits needs no answer.
            let _ = done.send(answer.clone());
        }
        let pruned = result.and_then(|()| prune.map_or(Ok(()), |epoch| log.prune_below(epoch)));
        if let Err(error) = pruned {
            tracing::error!(%error, "the epoch log failed; nothing more is written to it");
            return;
        }
    }
}
