//! When the processes of a job are started again. No clock and no process: decisions alone.

use std::fmt;
use std::time::Duration;

use crate::ops::job::exit;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// With an exit code.
    Code(u8),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Code(code) => write!(f, "ended with exit code {code}"),
            How::Signal(libc::SIGKILL) => f.write_str("was killed (SIGKILL)"),
            How::Signal(libc::SIGABRT) => f.write_str("aborted (SIGABRT)"),
            How::Signal(libc::SIGSEGV) => f.write_str("crashed (SIGSEGV)"),
            How::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// One process that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Its index in the job.
    pub(crate) process: usize,
    /// How it ended.
    pub(crate) how: How,
    /// The last line of its log.
    pub(crate) last_line: Option<String>,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} {}", self.process, self.how)?;
        match &self.last_line {
            Some(line) => write!(f, ": {line}"),
            None => Ok(()),
        }
    }
}

/// What follows once all processes of the job have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All ended as asked.
    Finished,
    /// Start all of them again, after a wait.
    Restart {
        /// How long to wait.
        after: Duration,
        /// Why.
        reason: String,
    },
    /// Starting again would not help.
    GiveUp {
        /// The supervisor's exit code.
        code: u8,
        /// Why.
        reason: String,
    },
}

/// Counts failures without progress.
#[derive(Clone, Debug)]
pub(crate) struct Restarts {
    min: Duration,
    max: Duration,
    limit: u32,
    failures: u32,
    landed: i64,
}

/// Exit codes that starting again can't heal, the gravest first.
const FINAL: [u8; 3] = [exit::DIVERGED, exit::REFUSED, exit::USAGE];

impl Restarts {
    pub(crate) fn new(min: Duration, max: Duration, limit: u32) -> Self {
        Self {
            min,
            max,
            limit,
            failures: 0,
            landed: 0,
        }
    }

    /// Everything up to this epoch has landed. Landing further than ever before is progress; going again through what
    /// had landed is none.
    pub(crate) fn landed(&mut self, epoch: i64) {
        if epoch > self.landed {
            self.landed = epoch;
            self.failures = 0;
        }
    }

    /// Judges the end of all processes. `ends` holds them in the order in which they ended.
    pub(crate) fn after(&mut self, ends: &[End]) -> Verdict {
        let is = |end: &&End, code: u8| end.how == How::Code(code);
        let decisive = |code: &u8| {
            ends.iter()
                .find(|end| is(end, *code))
                .map(|end| (*code, end))
        };
        if let Some((code, end)) = FINAL.iter().find_map(decisive) {
            return Verdict::GiveUp {
                code,
                reason: format!("{end}; starting it again would not help"),
            };
        }
        // It was stopped, by whomever; the others may have lost it, or come no further either.
        if let Some((code, end)) = decisive(&exit::NOT_DRAINED) {
            return Verdict::GiveUp {
                code,
                reason: end.to_string(),
            };
        }
        let failed = |end: &&End| !is(end, exit::DONE);
        // The others end because the first one did.
        let Some(first) = ends.iter().find(failed) else {
            return Verdict::Finished;
        };
        self.failures += 1;
        if self.failures >= self.limit {
            return Verdict::GiveUp {
                code: exit::FAILED,
                reason: format!(
                    "{first}; gave up after {} failures in a row without an epoch landing",
                    self.failures
                ),
            };
        }
        Verdict::Restart {
            after: self.pause(),
            reason: first.to_string(),
        }
    }

    fn pause(&self) -> Duration {
        let doubled = 1u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        self.min.saturating_mul(doubled).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(process: usize, how: How) -> End {
        End {
            process,
            how,
            last_line: None,
        }
    }

    fn restarts() -> Restarts {
        Restarts::new(Duration::from_millis(500), Duration::from_secs(3), 6)
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_then_it_gives_up() {
        let mut restarts = restarts();
        let killed = [end(0, How::Signal(libc::SIGKILL))];
        let mut waits = Vec::new();
        let reason = loop {
            match restarts.after(&killed) {
                Verdict::Restart { after, .. } => waits.push(after.as_millis()),
                Verdict::GiveUp { code, reason } => {
                    assert_eq!(code, exit::FAILED);
                    break reason;
                }
                Verdict::Finished => unreachable!("it was killed"),
            }
        };
        assert_eq!(waits, [500, 1_000, 2_000, 3_000, 3_000]);
        assert!(
            reason.contains("6 failures") && reason.contains("SIGKILL"),
            "{reason}"
        );
    }

    #[test]
    fn landing_further_than_ever_forgives_and_landing_again_does_not() {
        let mut restarts = restarts();
        let failed = [end(0, How::Code(exit::FAILED))];
        let mut wait = |landed| {
            restarts.landed(landed);
            match restarts.after(&failed) {
                Verdict::Restart { after, .. } => after.as_millis(),
                other => unreachable!("{other:?}"),
            }
        };
        assert_eq!(wait(10), 500);
        assert_eq!(wait(10), 1_000);
        assert_eq!(wait(9), 2_000);
        assert_eq!(wait(11), 500);
    }

    #[test]
    fn what_restarting_cannot_heal_is_final_whichever_process_says_it() {
        for code in [exit::USAGE, exit::REFUSED, exit::DIVERGED] {
            let ends = [end(1, How::Code(5)), end(0, How::Code(code))];
            let verdict = restarts().after(&ends);
            assert!(
                matches!(&verdict, Verdict::GiveUp { code: c, reason } if *c == code && reason.contains("process 0")),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn a_stop_that_took_too_long_ends_the_job_with_its_own_code_and_words() {
        let stopped = End {
            last_line: Some("epochs 7 to 9 have not all landed".to_owned()),
            ..end(0, How::Code(exit::NOT_DRAINED))
        };
        for ends in [
            vec![stopped.clone()],
            vec![end(1, How::Code(exit::PEER_LOST)), stopped],
        ] {
            let verdict = restarts().after(&ends);
            assert!(
                matches!(&verdict, Verdict::GiveUp { code, reason }
                    if *code == exit::NOT_DRAINED && reason.ends_with("epochs 7 to 9 have not all landed")),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn the_job_is_finished_only_when_every_process_ended_as_asked() {
        let done = |process| end(process, How::Code(exit::DONE));
        assert_eq!(restarts().after(&[done(0), done(1)]), Verdict::Finished);
        let verdict = restarts().after(&[done(0), end(1, How::Code(exit::FAILED))]);
        assert!(matches!(verdict, Verdict::Restart { .. }), "{verdict:?}");
    }

    #[test]
    fn a_very_long_row_of_failures_waits_no_longer_than_the_limit() {
        let mut restarts = Restarts::new(Duration::from_secs(1), Duration::from_secs(5), u32::MAX);
        restarts.failures = 100;
        let verdict = restarts.after(&[end(0, How::Code(1))]);
        assert!(matches!(verdict, Verdict::Restart { after, .. } if after.as_secs() == 5));
    }
}
