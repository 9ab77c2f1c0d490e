//! What every test starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dev::paths::Home;
use dev::simulator::{Simulator, SimulatorOptions};
use dev::{System, SystemOptions, wait};
use tempfile::TempDir;

/// How long what was sent may take to land.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(90);
/// How long agents may take that end by themselves.
const AGENTS_LIMIT: Duration = Duration::from_secs(60);

/// A folder for one test. It is removed at the end, and kept, with all logs, when the test fails.
pub(crate) struct Folder(Option<TempDir>);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.0.take()
        {
            eprintln!("kept with all logs: {}", folder.keep().display());
        }
    }
}

/// A running system in a folder of its own.
pub(crate) struct Stage {
    // Ends before its folder goes.
    pub(crate) system: System,
    folder: Folder,
}

impl Stage {
    /// Starts a system whose job has these settings, and short epochs.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let system = System::start(SystemOptions {
            job_settings: with_short_epochs(settings),
            ..SystemOptions::in_folder(Home::at(folder.path().join("home")))
        });
        Self {
            system: system.unwrap(),
            folder,
        }
    }

    /// The same with a job that `submit` supervises, and that is started again soon.
    pub(crate) fn start_supervised(settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let soon = [("restart_backoff_min", "100ms")];
        let settings: Vec<(&str, &str)> = soon.iter().chain(settings).copied().collect();
        let system = System::start(SystemOptions {
            job_settings: with_short_epochs(&settings),
            supervised: true,
            ..SystemOptions::in_folder(Home::at(folder.path().join("home")))
        });
        Self {
            system: system.unwrap(),
            folder,
        }
    }

    /// Simulated agents that send to it.
    pub(crate) fn agents(&self, rate: f64, arguments: &[&str]) -> Agents {
        Agents::start(
            &self.folder,
            &self.system.kafka.bootstrap(),
            rate,
            arguments,
        )
    }

    /// Waits until all that was sent has landed, then ends the job in order.
    pub(crate) fn drain(&mut self) {
        self.system.wait_until_drained(DRAIN_LIMIT).unwrap();
        self.stop_job();
    }

    /// A place for a test's own files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the job with SIGTERM; it must end by itself, with success.
    pub(crate) fn stop_job(&mut self) {
        let job = &mut self.system.job;
        assert!(job.stop(), "the job did not end by itself");
        let status = job.process().exited().unwrap();
        assert!(status.success(), "{status}: {}", job.process().log_tail(20));
    }

    /// Holds the layers against each other, once everything has landed.
    pub(crate) fn reconcile(&self) {
        let said = self.system.warehouse.run(&["reconcile", "--drained"]);
        said.unwrap();
    }

    /// One number.
    pub(crate) fn number(&self, select: &str) -> u64 {
        self.system.sql().number(select).unwrap()
    }

    /// Asks until the number is the wanted one.
    pub(crate) fn wait_for(&self, select: &str, wanted: u64, limit: Duration) {
        let mut last = 0;
        let found = wait::until(select, limit, Duration::from_millis(200), || {
            last = self.system.sql().number(select)?;
            Ok((last == wanted).then_some(()))
        });
        if let Err(error) = found {
            panic!("{last} instead of {wanted}: {error:#}");
        }
    }
}

/// The settings with short epochs, so that things happen soon.
pub(crate) fn with_short_epochs(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    [("epoch_interval", "200ms"), ("dws_block_interval", "1s")]
        .iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Simulated agents, and where their report is.
pub(crate) struct Agents {
    simulator: Simulator,
    report: std::path::PathBuf,
}

impl Agents {
    pub(crate) fn start(folder: &Folder, bootstrap: &str, rate: f64, arguments: &[&str]) -> Self {
        let logs = folder.path().join("agents");
        let simulator = Simulator::start(&SimulatorOptions {
            bootstrap: bootstrap.to_owned(),
            logs: logs.clone(),
            sessions: 20,
            rate,
            seed: 11,
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        });
        Self {
            simulator: simulator.unwrap(),
            report: logs.join("simulator.json"),
        }
    }

    /// Waits until they have ended by themselves, and gives their report.
    pub(crate) fn ended(mut self) -> serde_json::Value {
        self.simulator.process().wait(AGENTS_LIMIT).unwrap();
        self.stop()
    }

    /// Ends them, and gives their report.
    pub(crate) fn stop(mut self) -> serde_json::Value {
        self.simulator.stop().unwrap();
        serde_json::from_str(&std::fs::read_to_string(&self.report).unwrap()).unwrap()
    }
}
