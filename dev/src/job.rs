//! The stream job: `stream-job submit`, a supervisor with its processes, or `stream-job run`, one process alone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http::Server;
use crate::process::Process;
use crate::{paths, ports, wait};

/// How long a start may take, the replay of an epoch log included.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a graceful stop may take: what is in flight lands first.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long its HTTP server may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPTS: u32 = 5;

/// How the job is started.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// Folder of its epoch log.
    pub state: PathBuf,
    /// Folder of the log file `stream-job.log`.
    pub logs: PathBuf,
    /// Port of its HTTP server to take where it is free; `None` takes any.
    pub port: Option<u16>,
    /// Brokers.
    pub bootstrap: String,
    /// The warehouse.
    pub warehouse_url: String,
    /// Further settings by name.
    pub settings: BTreeMap<String, String>,
    /// Further variables of its environment, such as those that set failpoints.
    pub environment: BTreeMap<String, String>,
    /// Started by `submit`, which starts again what ends; else by `run`, one process that a test or a benchmark has to
    /// itself. Broker and warehouse must answer before a supervised one is started.
    pub supervised: bool,
}

/// A running job. Dropping it stops it; its state stays.
#[derive(Debug)]
pub struct Job {
    options: JobOptions,
    port: u16,
    process: Process,
}

impl Job {
    /// Starts it and waits until it says that it is ready: its source assigned, its warehouse proven.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the message holds the end of its log.
    pub fn start(options: JobOptions) -> Result<Self> {
        let mut job = Self::start_unready(options)?;
        job.wait_until_ready(START_LIMIT)?;
        Ok(job)
    }

    /// Starts it and waits only until its HTTP server answers, as it does while the broker or the warehouse is away.
    ///
    /// # Errors
    /// When it ends or does not answer in time; the message holds the end of its log.
    pub fn start_unready(options: JobOptions) -> Result<Self> {
        let mut port = match options.port {
            Some(port) => ports::free_or(port)?,
            None => ports::free::<1>()?[0],
        };
        for attempt in 1..=ATTEMPTS {
            match launch(&options, port) {
                Ok(process) => {
                    return Ok(Self {
                        options,
                        port,
                        process,
                    });
                }
                Err(_) if attempt < ATTEMPTS && !ports::is_free(port) => {
                    port = ports::free::<1>()?[0];
                }
                Err(error) => return Err(error),
            }
        }
        bail!("the stream job did not start in {ATTEMPTS} attempts")
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends, or after `limit` with what it waits for in its own words.
    pub fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        let server = self.server();
        let mut waits_for = String::new();
        let ready = wait::until("the stream job was not ready", limit, PAUSE, || {
            self.process.check_alive()?;
            let Ok(response) = server.get("/readyz", Duration::from_secs(2)) else {
                return Ok(None);
            };
            waits_for = response.text().trim().to_owned();
            Ok((response.status == 200).then_some(()))
        });
        ready.with_context(|| {
            let log = self.process.log().display();
            format!("the stream job said last: {waits_for:?}; its log is {log}")
        })
    }

    /// URL of its HTTP server.
    #[must_use]
    pub fn url(&self) -> String {
        self.server().url()
    }

    /// Its HTTP server.
    #[must_use]
    pub fn server(&self) -> Server {
        server(self.port)
    }

    /// The value of one of its metrics, summed over all label sets; `None` where there is no such metric.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let response = self.server().get("/metrics", Duration::from_secs(5))?;
        if response.status != 200 {
            bail!("{}/metrics answered {}", self.url(), response.status);
        }
        Ok(sum_metric(&response.text(), name))
    }

    /// Its process id; the supervisor's where there is one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Process ids of the processes that do the work, in their order; empty while they are started again.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn worker_pids(&self) -> Result<Vec<u32>> {
        if !self.options.supervised {
            return Ok(vec![self.pid()]);
        }
        let status = self.status()?;
        let processes = status["processes"].as_array();
        let pids = processes.into_iter().flatten().filter_map(|process| {
            let pid = process["pid"].as_u64()?;
            u32::try_from(pid).ok()
        });
        Ok(pids.collect())
    }

    /// What it says about itself.
    ///
    /// # Errors
    /// When it does not answer, or with no JSON.
    pub fn status(&self) -> Result<serde_json::Value> {
        let answer = self
            .server()
            .get("/api/v1/status", Duration::from_secs(5))?;
        if answer.status != 200 {
            bail!("{}/api/v1/status answered {}", self.url(), answer.status);
        }
        serde_json::from_slice(&answer.body).context("the job's status is no JSON")
    }

    /// The process, to look at.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// How it is started again.
    pub fn options(&mut self) -> &mut JobOptions {
        &mut self.options
    }

    /// Kills it as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it in order, or kills it when that takes too long. True when it stopped by itself.
    pub fn stop(&mut self) -> bool {
        self.process.stop(STOP_LIMIT)
    }

    /// Starts it again on the same port and state.
    ///
    /// # Errors
    /// As [`Job::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.restart_unready()?;
        self.wait_until_ready(START_LIMIT)
    }

    /// Starts it again on the same port and state, and waits only until its HTTP server answers.
    ///
    /// # Errors
    /// As [`Job::start_unready`].
    pub fn restart_unready(&mut self) -> Result<()> {
        self.stop();
        self.process = launch(&self.options, self.port)?;
        Ok(())
    }
}

fn server(port: u16) -> Server {
    Server::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn launch(options: &JobOptions, port: u16) -> Result<Process> {
    let mut command = Command::new(paths::binary("stream-job")?);
    command.arg(if options.supervised { "submit" } else { "run" });
    let state = options.state.display().to_string();
    let own = [
        ("kafka_bootstrap_servers", options.bootstrap.clone()),
        ("clickhouse_url", options.warehouse_url.clone()),
        ("clickhouse_database", crate::warehouse::DATABASE.to_owned()),
        ("state_dir", state),
        ("http_listen", format!("127.0.0.1:{port}")),
    ];
    // By flag, which goes before the environment: a caller's SPANFLOW_… may say otherwise.
    for (name, value) in own {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    if options.supervised {
        // All logs of a system are in one folder, and its programs in its own.
        let jobs = options.state.with_file_name("jobs");
        let folders = [("log_dir", &options.logs), ("jobs_dir", &jobs)];
        for (name, folder) in folders {
            command.arg("--set");
            command.arg(format!("{name}={}", folder.display()));
        }
    }
    for (name, value) in &options.settings {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    // Names of this crate that the job would refuse as unknown settings.
    for name in ["SPANFLOW_HOME", "SPANFLOW_CACHE", "SPANFLOW_BIN_DIR"] {
        command.env_remove(name);
    }
    command.envs(&options.environment);
    let log = options.logs.join("stream-job.log");
    let mut process = Process::start("the stream job", command, &log)?;
    let server = server(port);
    wait::until(
        &format!(
            "the stream job did not answer; its log is {}",
            log.display()
        ),
        ANSWER_LIMIT,
        PAUSE,
        || {
            process.check_alive()?;
            let answers = server.get("/healthz", Duration::from_secs(2)).is_ok();
            Ok(answers.then_some(()))
        },
    )?;
    Ok(process)
}

/// Sums the samples of one metric in Prometheus text.
fn sum_metric(text: &str, name: &str) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.chars().next()? {
            ' ' => rest,
            '{' => rest.rsplit_once('}')?.1,
            _ => return None,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    samples.reduce(|sum, sample| sum + sample)
}

#[cfg(test)]
mod tests {
    use super::sum_metric;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_told_from_its_namesakes() {
        let text = "# TYPE spans counter\nspans{topic=\"a b\"} 2\nspans{topic=\"c\"} 3 1700000000\nspans_late 9\n";
        assert_eq!(sum_metric(text, "spans"), Some(5.0));
        assert_eq!(sum_metric(text, "spans_late"), Some(9.0));
        assert_eq!(sum_metric(text, "span"), None);
    }
}
