//! One supervisor a job, and what it leaves for `list` to read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use warehouse::{FileLock, LockError};

use super::status::JobState;
use crate::ops::job::JobError;

const FILE: &str = "supervisor.json";

/// What a supervisor says about itself in its job's state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The job's name.
    pub name: String,
    /// Where the supervisor's HTTP server is.
    pub url: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// The job's last known state.
    pub state: JobState,
    /// Why it is in that state.
    pub reason: Option<String>,
}

/// A lock that the system releases when this process ends, however it ends.
#[derive(Debug)]
pub(super) struct SupervisorLock {
    _lock: FileLock,
    note: PathBuf,
}

impl SupervisorLock {
    /// Takes the job for this supervisor.
    pub(super) fn take(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("supervisor.lock");
        let at = |error: io::Error| JobError::Refused(format!("{}: {error}", path.display()));
        fs::create_dir_all(folder).map_err(at)?;
        let lock = FileLock::take(&path).map_err(|error| match error {
            LockError::Held(holder) => JobError::Refused(format!(
                "{holder} supervises this job already: stop it first, hand over to it with --to, or give this job a \
                 `state_dir` of its own"
            )),
            LockError::Io(error) => at(error),
        })?;
        Ok(Self {
            _lock: lock,
            note: folder.join(FILE),
        })
    }

    /// Leaves a note. A failure is worth no more than a line: the job does not need it.
    pub(super) fn leave(&self, note: &Note) {
        let write = || -> io::Result<()> {
            let part = self.note.with_extension("part");
            fs::write(&part, serde_json::to_vec_pretty(note)?)?;
            fs::rename(&part, &self.note)
        };
        if let Err(error) = write() {
            tracing::warn!("{}: {error}", self.note.display());
        }
    }
}

/// The note in a job's state folder, if there is one.
#[must_use]
pub fn read_note(state_folder: &Path) -> Option<Note> {
    let bytes = fs::read(state_folder.join(FILE)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_supervisor_is_refused_and_the_first_named() {
        let folder = tempfile::tempdir().unwrap();
        let first = SupervisorLock::take(folder.path()).unwrap();
        let refused = SupervisorLock::take(folder.path()).unwrap_err().to_string();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        let note = Note {
            name: "agents".to_owned(),
            url: "http://127.0.0.1:8090".to_owned(),
            pid: 7,
            state: JobState::Running,
            reason: None,
        };
        first.leave(&note);
        assert_eq!(read_note(folder.path()), Some(note));
        drop(first);
        SupervisorLock::take(folder.path()).unwrap();
    }
}
