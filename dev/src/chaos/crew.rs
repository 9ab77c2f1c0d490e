//! The job's processes, started without waiting for anything: some are to die before they answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::layout::Layout;
use crate::http::Server;
use crate::process::Process;
use crate::{paths, ports, wait};

const PAUSE: Duration = Duration::from_millis(20);
/// How the job ends when another of its processes has.
const PEER_LOST: i32 = stream_job::ops::job::exit::PEER_LOST as i32;

/// What all runs have in common.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) bootstrap: String,
    pub(super) warehouse_url: String,
    pub(super) database: String,
    pub(super) state: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) settings: BTreeMap<String, String>,
}

/// The processes of one run of the job.
#[derive(Debug)]
pub(super) struct Crew {
    processes: Vec<Process>,
    http: Server,
}

impl Crew {
    /// Starts the processes of a layout, with further flags and variables of their environment.
    pub(super) fn start(
        plan: &Plan,
        layout: Layout,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Crew> {
        let free_ports = || -> Result<Vec<u16>> {
            let ports = (0..layout.processes).map(|_| Ok(ports::free::<1>()?[0]));
            ports.collect()
        };
        let (http, hosts) = (free_ports()?, free_ports()?);
        let hosts: Vec<String> = hosts
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let start = |process: u16| {
            let mut command = Command::new(paths::binary("stream-job")?);
            command.arg("run").args(flags);
            // A process listens on the port of the setting plus its number.
            let port = http[usize::from(process)] - process;
            set_all(&mut command, plan, layout, port);
            if layout.processes > 1 {
                command.args(["--process", &process.to_string()]);
                command.args(["--hosts", &hosts.join(",")]);
                command.env("SPANFLOW_CLUSTER_SECRET", "chaos on one machine");
            }
            for name in ["SPANFLOW_HOME", "SPANFLOW_CACHE", "SPANFLOW_BIN_DIR"] {
                command.env_remove(name);
            }
            command.envs(environment.iter().copied());
            let log = plan.logs.join(format!("stream-job-{process}.log"));
            Process::start("the stream job", command, &log)
        };
        Ok(Crew {
            processes: (0..layout.processes).map(start).collect::<Result<_>>()?,
            http: Server::at(([127, 0, 0, 1], http[0]).into()),
        })
    }

    /// Kills one of them; the others end by themselves, or are ended.
    pub(super) fn kill(&mut self, which: usize) {
        let which = which % self.processes.len();
        self.processes[which].kill();
        self.end_the_rest();
    }

    fn end_the_rest(&mut self) {
        for process in &mut self.processes {
            if process.wait(Duration::from_secs(10)).is_err() {
                process.kill();
            }
        }
    }

    /// Whether one has been killed by a signal, and not by us; then all are ended.
    ///
    /// # Errors
    /// When one has ended in another way: nothing that happens to it may make it give up.
    pub(super) fn has_died(&mut self) -> Result<bool> {
        let ends: Vec<Option<ExitStatus>> =
            self.processes.iter_mut().map(Process::exited).collect();
        if let Some(at) = ends.iter().position(|end| gave_up(*end)) {
            self.processes[at].check_alive()?;
        }
        let died = ends.iter().flatten().any(|end| end.code().is_none());
        if !died && ends.iter().all(Option::is_some) {
            self.processes[0].check_alive()?;
        }
        if died {
            self.end_the_rest();
        }
        Ok(died)
    }

    /// Waits until it is ready; `false` if a failpoint has killed it before.
    pub(super) fn wait_until_ready(&mut self, limit: Duration) -> Result<bool> {
        let server = self.http.clone();
        wait::until("the job is ready", limit, PAUSE, || {
            if self.has_died()? {
                return Ok(Some(false));
            }
            let answer = server.get("/readyz", Duration::from_secs(2));
            Ok(answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(true))
        })
    }

    /// Watches it for a while; `true` as soon as a failpoint has killed it.
    pub(super) fn dies_within(&mut self, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if self.has_died()? {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        self.has_died()
    }

    /// Asks it to drain and end.
    pub(super) fn stop(&mut self, limit: Duration) -> Result<()> {
        self.processes[0].signal(libc::SIGTERM);
        self.wait(limit)
    }

    /// Waits until all have ended with success.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<()> {
        for process in &mut self.processes {
            let status = process.wait(limit)?;
            if !status.success() {
                bail!("the job ended with {status}: {}", process.log_tail(20));
            }
        }
        Ok(())
    }
}

/// Whether a process ended by itself, and not because another one did.
fn gave_up(end: Option<ExitStatus>) -> bool {
    let code = end.and_then(|end| end.code());
    code.is_some_and(|code| code != PEER_LOST)
}

fn set_all(command: &mut Command, plan: &Plan, layout: Layout, http: u16) {
    let own = [
        ("kafka_bootstrap_servers", plan.bootstrap.clone()),
        ("clickhouse_url", plan.warehouse_url.clone()),
        ("clickhouse_database", plan.database.clone()),
        ("state_dir", plan.state.display().to_string()),
        ("http_listen", format!("127.0.0.1:{http}")),
        ("workers", layout.workers.to_string()),
        ("processes", layout.processes.to_string()),
    ];
    let further = plan.settings.iter();
    let further = further.map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in own.into_iter().chain(further) {
        command.arg("--set").arg(format!("{name}={value}"));
    }
}
