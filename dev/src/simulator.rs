//! Simulated agents: the Python simulator of `agent-probe/`, in an environment of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::paths;
use crate::process::Process;

/// How long it may take to send what is queued and to write its report.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// How the simulator is started.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Brokers.
    pub bootstrap: String,
    /// Folder of the log file `simulator.log` and of the report `simulator.json`.
    pub logs: PathBuf,
    /// Sessions at a time.
    pub sessions: u32,
    /// Spans per second of all sessions together.
    pub rate: f64,
    /// Equal seeds give equal sessions.
    pub seed: u64,
    /// Further arguments.
    pub arguments: Vec<String>,
}

/// Running agents. Dropping them stops them.
#[derive(Debug)]
pub struct Simulator {
    process: Process,
    report: PathBuf,
}

/// What the simulator says that it has sent, and what must therefore have landed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Report {
    /// By kind.
    pub spans: SentSpans,
    /// What the warehouse must hold of it.
    pub expected: Expected,
}

/// Spans that must land, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SentSpans {
    /// By step type.
    pub by_step_type: BTreeMap<String, u64>,
    /// By `service.name`.
    pub by_agent: BTreeMap<String, u64>,
    /// Those in error.
    pub errors: u64,
}

/// What the warehouse must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Expected {
    /// Kafka records.
    pub records: u64,
    /// Rows of `dwd_span`.
    pub spans_landed: u64,
    /// Copies that are dropped.
    pub spans_duplicate: u64,
    /// Rows of `dwd_metric_point`.
    pub points_landed: u64,
    /// Dead letters by unit (`record`, `span`) and error code.
    pub dead_letters: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Simulator {
    /// The interpreter of its environment; makes the environment first when it is not there.
    ///
    /// # Errors
    /// When it can't be made; `dev/fetch.sh` has then said why on standard error.
    pub fn fetch() -> Result<PathBuf> {
        let script = paths::checkout().join("dev/fetch.sh");
        let fetch = |item: &str| {
            let mut command = Command::new(&script);
            command.arg(item);
            command
        };
        let status = fetch("python")
            .status()
            .with_context(|| format!("run {}", script.display()))?;
        if !status.success() {
            bail!("the Python environment could not be made: see the lines above");
        }
        let output = fetch("venv-path").output()?;
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Ok(folder.join("bin/python"))
    }

    /// Starts the agents.
    ///
    /// # Errors
    /// When its environment can't be made or it can't be started.
    pub fn start(options: &SimulatorOptions) -> Result<Self> {
        let python = Self::fetch()?;
        let report = options.logs.join("simulator.json");
        // A report of an earlier run must not be taken for this one's.
        if report.exists() {
            fs::remove_file(&report).with_context(|| format!("remove {}", report.display()))?;
        }
        let mut command = Command::new(python);
        command
            .args(["-m", "agent_probe.simulator"])
            .args(["--kafka", &options.bootstrap])
            .args(["--sessions", &options.sessions.to_string()])
            .args(["--rate", &options.rate.to_string()])
            .args(["--seed", &options.seed.to_string()])
            .arg("--report")
            .arg(&report)
            .args(&options.arguments)
            .env("PYTHONPATH", paths::checkout().join("agent-probe/src"))
            .env("PYTHONUNBUFFERED", "1");
        let log = options.logs.join("simulator.log");
        Ok(Self {
            process: Process::start("the agents", command, &log)?,
            report,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process, to look at.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks the agents to end, waits until all that they sent is acknowledged, and reads their report.
    ///
    /// # Errors
    /// When they don't end in time, fail, or leave no report that can be read.
    pub fn stop(&mut self) -> Result<Report> {
        self.process.signal(libc::SIGTERM);
        let status = self.process.wait(STOP_LIMIT)?;
        if !status.success() {
            bail!(
                "the agents ended with {status}; the end of their log {}:\n{}",
                self.process.log().display(),
                self.process.log_tail(15)
            );
        }
        let text = fs::read_to_string(&self.report)
            .with_context(|| format!("read the agents' report {}", self.report.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("read the agents' report {}", self.report.display()))
    }
}
