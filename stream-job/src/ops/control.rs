//! What a running job can be asked for from outside the dataflow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A savepoint that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointInfo {
    /// Its name.
    pub name: String,
    /// Where it is in the job's store, such as `savepoints/before-upgrade`; what `run --from` takes.
    pub path: String,
    /// The epoch whose state it holds.
    pub epoch: u64,
    /// Size of its files.
    pub bytes: u64,
}

/// Why a savepoint was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavepointError {
    /// This job can't make any.
    #[error("this job does not make savepoints: {0}")]
    NotSupported(String),
    /// It was tried and failed.
    #[error("the savepoint was not made: {0}")]
    Failed(String),
}

/// One request, as the coordinator takes it. Dropping it unanswered tells the asker that the run has ended.
#[derive(Debug)]
pub struct SavepointRequest {
    /// The savepoint's name.
    pub name: String,
    /// Whether the job ends with it.
    pub stop: bool,
    answer: oneshot::Sender<Result<SavepointInfo, SavepointError>>,
}

impl SavepointRequest {
    /// Tells the asker how it went. One who has gone away needs no answer.
    pub fn answer(self, result: Result<SavepointInfo, SavepointError>) {
        let _ = self.answer.send(result);
    }
}

#[derive(Debug, Default)]
struct State {
    serves_savepoints: bool,
    savepoints: VecDeque<SavepointRequest>,
}

/// The way from the HTTP server to the coordinator. Clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct JobControl(Arc<Mutex<State>>);

impl JobControl {
    /// Says that the run will take savepoint requests from now on. **Until this is called, every request is answered
    /// with [`SavepointError::NotSupported`]**: a request that nobody takes would wait for ever.
    pub fn serve_savepoints(&self) {
        self.lock().serves_savepoints = true;
    }

    /// The oldest request that nobody has taken yet. The coordinator asks at every turn.
    #[must_use]
    pub fn take_savepoint_request(&self) -> Option<SavepointRequest> {
        self.lock().savepoints.pop_front()
    }

    /// Asks for a savepoint, and with `stop` for the end of the job right after it. The receiver gets an error when the
    /// run ends before it has answered.
    #[must_use]
    pub fn request_savepoint(
        &self,
        name: String,
        stop: bool,
    ) -> oneshot::Receiver<Result<SavepointInfo, SavepointError>> {
        let (answer, answered) = oneshot::channel();
        let request = SavepointRequest { name, stop, answer };
        let mut state = self.lock();
        if state.serves_savepoints {
            state.savepoints.push_back(request);
        } else {
            let reason = "its run keeps no checkpoints".to_owned();
            request.answer(Err(SavepointError::NotSupported(reason)));
        }
        answered
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a savepoint or job may be called this: it becomes a folder, a file and a part of URLs.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let first_is_plain = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    first_is_plain && name.len() <= 100 && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_job_without_checkpoints_refuses_at_once() {
        let control = JobControl::default();
        let answer = control.request_savepoint("s".to_owned(), false);
        let refused = answer.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(refused, SavepointError::NotSupported(_)));
        assert!(control.take_savepoint_request().is_none());
    }

    #[test]
    fn a_request_is_taken_once_and_its_answer_comes_back() {
        let control = JobControl::default();
        control.clone().serve_savepoints();
        let answer = control.request_savepoint("before-upgrade".to_owned(), true);
        let request = control.take_savepoint_request().unwrap();
        assert!(request.stop && control.take_savepoint_request().is_none());
        let made = SavepointInfo {
            path: format!("savepoints/{}", request.name),
            name: request.name.clone(),
            epoch: 7,
            bytes: 10,
        };
        request.answer(Ok(made.clone()));
        assert_eq!(answer.blocking_recv().unwrap(), Ok(made));
    }

    #[test]
    fn a_run_that_ends_without_an_answer_is_noticed() {
        let control = JobControl::default();
        control.serve_savepoints();
        let answer = control.request_savepoint("s".to_owned(), false);
        drop(control.take_savepoint_request());
        assert!(answer.blocking_recv().is_err());
    }

    #[test]
    fn names_are_safe_as_folders_and_in_urls() {
        for name in ["a", "before-upgrade_2.1", "2026-11-23"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(101);
        for name in ["", ".", "..", "-rf", "a/b", "a b", "ä", &long] {
            assert!(!is_name(name), "{name}");
        }
    }
}
