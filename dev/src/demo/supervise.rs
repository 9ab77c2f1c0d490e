//! Starts again what ended unasked: the broker, the warehouse and the job, on the same ports and data.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::Process;
use crate::system::System;

use super::screen::Screen;

/// More ends than this within [`PERIOD`] are no accident: the demo gives up.
const MOST_RESTARTS: usize = 5;
const PERIOD: Duration = Duration::from_secs(120);

/// Exit codes by which the job says that starting it again would not help: wrong settings, a state that it must not touch,
/// a replay that diverges (docs/operations.md).
const REFUSALS: std::ops::RangeInclusive<i32> = 2..=4;

/// Remembers when each part was started again.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    kafka: Restarts,
    warehouse: Restarts,
    job: Restarts,
}

#[derive(Debug, Default)]
struct Restarts(Vec<Instant>);

impl Supervisor {
    /// Starts again what has ended. True when something had.
    pub(super) fn check(&mut self, system: &mut System, screen: &mut Screen) -> Result<bool> {
        let mut any = false;
        if self.kafka.due(system.kafka.process(), screen)? {
            system.kafka.restart()?;
            any = true;
        }
        if self.warehouse.due(system.warehouse.process(), screen)? {
            system.warehouse.restart()?;
            any = true;
        }
        // Last: it waits for the other two.
        if self.job.due(system.job.process(), screen)? {
            system.job.restart()?;
            any = true;
        }
        if any {
            screen.say("It is back.");
        }
        Ok(any)
    }
}

impl Restarts {
    /// Whether the process has ended and is to be started again, after a pause that grows with every time.
    fn due(&mut self, process: &mut Process, screen: &mut Screen) -> Result<bool> {
        let Some(status) = process.exited() else {
            return Ok(false);
        };
        let name = process.name();
        if let Some(code) = status.code().filter(|code| REFUSALS.contains(code)) {
            bail!(
                "{name} refused to run (exit code {code}); the end of its log {}:\n{}",
                process.log().display(),
                process.log_tail(15)
            );
        }
        self.0.retain(|at| at.elapsed() < PERIOD);
        if self.0.len() >= MOST_RESTARTS {
            bail!(
                "{name} ended ({status}) {} times within {} s; the end of its log {}:\n{}",
                self.0.len() + 1,
                PERIOD.as_secs(),
                process.log().display(),
                process.log_tail(15)
            );
        }
        let pause = Duration::from_millis(250) * (1 << self.0.len());
        screen.say(&format!(
            "{name} ended unasked ({status}); starting it again on the same port and data. Its log: {}",
            process.log().display()
        ));
        std::thread::sleep(pause);
        self.0.push(Instant::now());
        Ok(true)
    }
}
