//! The border between the process and the dataflow: what goes in, how it is stopped, what comes out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::bounds::Bounds;
use super::control::JobControl;
use super::settings::SettingsError;

/// What a run is told besides its settings.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// An epoch log to follow instead of cutting epochs: the run ends with its last record.
    pub epoch_log: Option<PathBuf>,
    /// A savepoint (`savepoints/NAME`) or a checkpoint's manifest in the store to go on from, in a fork.
    pub from: Option<String>,
    /// Begin a new timeline on a database that already holds this job's rows.
    pub new_timeline: bool,
    /// Which of the job's processes it is; 0 leads.
    pub process: usize,
    /// What is asked of the run while it runs.
    pub control: JobControl,
    /// What a bounded run reads; `None` reads on for ever.
    pub bounds: Option<Bounds>,
}

/// Asks a run to drain and end. Clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<AtomicBool>);

impl Shutdown {
    /// Asks. Asking twice is asking once.
    pub fn request(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether it was asked. The source looks between epochs: it cuts the last one, and the run ends when that has landed.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What a run did, for its last line of log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Newest epoch that has landed; 0 when none has.
    pub landed_epoch: u64,
    /// Records read by this run.
    pub records: u64,
    /// Spans in them.
    pub spans: u64,
    /// Records and spans rejected.
    pub dead_letters: u64,
    /// True when a bounded source came to its end, false when the run was asked to stop.
    pub end_of_input: bool,
}

/// Failures that an operator or a script has to tell apart.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Starting would harm what is there: a fresh start over this job's rows, other settings than the epoch log's, a
    /// state folder in use, a warehouse that does not drop a block that comes twice.
    #[error("refused to start: {0}")]
    Refused(String),
    /// A replay would write other bytes than were written.
    #[error("{0}")]
    Diverged(String),
    /// Another process of the job is gone or did not come: all of them start again.
    #[error("{0}")]
    PeerLost(String),
    /// The supervisor of a job ends without the job having ended as asked.
    #[error("{reason}")]
    Supervised {
        /// Exit code of the process that decided it, or [`exit::FAILED`].
        code: u8,
        /// What happened.
        reason: String,
    },
}

/// Exit codes of `stream-job`, as docs/operations.md lists them.
pub mod exit {
    /// The run ended as asked: end of the input, or a stop that drained.
    pub const DONE: u8 = 0;
    /// It failed while running.
    pub const FAILED: u8 = 1;
    /// The command line or the settings are wrong.
    pub const USAGE: u8 = 2;
    /// It refused to start, see [`super::JobError::Refused`].
    pub const REFUSED: u8 = 3;
    /// A replay diverged, see [`super::JobError::Diverged`].
    pub const DIVERGED: u8 = 4;
    /// Another process of the job is gone, see [`super::JobError::PeerLost`].
    pub const PEER_LOST: u8 = 5;
    /// A stop took longer than `drain_timeout`: not all that was read has landed, and the next start lands it.
    pub const NOT_DRAINED: u8 = 6;
    /// A second signal ended it before it had drained.
    pub const INTERRUPTED: u8 = 130;
}

/// The exit code of a failure: that of the first cause that has one of its own.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let code = error.chain().find_map(|cause| {
        if cause.is::<SettingsError>() {
            return Some(exit::USAGE);
        }
        cause.downcast_ref::<JobError>().map(|error| match error {
            JobError::Refused(_) => exit::REFUSED,
            JobError::Diverged(_) => exit::DIVERGED,
            JobError::PeerLost(_) => exit::PEER_LOST,
            JobError::Supervised { code, .. } => *code,
        })
    });
    code.unwrap_or(exit::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_found_under_any_context() {
        let diverged = anyhow::Error::from(JobError::Diverged("x".to_owned()))
            .context("worker 1")
            .context("run");
        assert_eq!(exit_code(&diverged), exit::DIVERGED);
        let refused = anyhow::Error::from(JobError::Refused("x".to_owned()));
        assert_eq!(exit_code(&refused), exit::REFUSED);
        let lost = anyhow::Error::from(JobError::PeerLost("x".to_owned()));
        assert_eq!(exit_code(&lost), exit::PEER_LOST);
        let settings = anyhow::Error::from(SettingsError::Flag("x".to_owned())).context("run");
        assert_eq!(exit_code(&settings), exit::USAGE);
        assert_eq!(exit_code(&anyhow::anyhow!("disk full")), exit::FAILED);
    }

    #[test]
    fn clones_of_a_shutdown_share_the_request() {
        let shutdown = Shutdown::default();
        let other = shutdown.clone();
        assert!(!other.requested());
        shutdown.request();
        assert!(other.requested());
    }
}
