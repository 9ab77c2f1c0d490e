//! What the supervisor's loop and its HTTP server share.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::crew::Endpoint;
use super::logs::LogBook;
use super::merge::merge;
use super::rates::Rates;
use super::status::{JobState, JobStatus, OperatorLoad, ProcessStatus, Restart, state_of};
use super::usage;
use crate::ops::client::{Answer, Client};
use crate::ops::control::SavepointInfo;
use crate::ops::metrics::resident_bytes;
use crate::ops::process_api::SavepointBody;
use crate::ops::status::Status;
use crate::source::wall_ms;

/// How long a process may take to answer the supervisor.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// How long a savepoint may take: everything that was read lands first.
pub(super) const SAVEPOINT_LIMIT: Duration = Duration::from_secs(120);
/// Restarts that are kept to be shown.
const RESTARTS_SHOWN: usize = 20;

/// What the HTTP server asks of the loop.
#[derive(Debug)]
pub(crate) enum Command {
    /// End the job; with `drain`, let what was read land first.
    Cancel {
        /// Whether to drain.
        drain: bool,
        /// Told once it is under way.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// Hand the job over to another program.
    HandOver {
        /// The program, already looked at.
        program: PathBuf,
        /// Told how it went.
        answer: oneshot::Sender<Result<HandedOver, String>>,
    },
}

/// How a hand-over went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandedOver {
    /// The savepoint that both programs can start from.
    pub(crate) savepoint: SavepointInfo,
    /// Why the old program runs again; `None` when the new one runs.
    pub(crate) went_back: Option<String>,
}

/// Where the supervisor stands, whatever the processes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Processes run.
    Up,
    /// They were asked to end.
    Draining,
    /// None runs; all will be started again.
    Restarting,
    /// None runs, and none will.
    Failed,
    /// As above, as asked.
    Finished,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    reason: Option<String>,
    program: PathBuf,
    endpoints: Vec<Endpoint>,
    /// What each process said last, by index.
    said: Vec<Option<Status>>,
    landed: i64,
    rates: Rates,
    restarts: u64,
    last_restarts: VecDeque<Restart>,
}

/// One job under supervision.
#[derive(Debug)]
pub(crate) struct Board {
    /// The job's name.
    pub(crate) name: String,
    /// What its processes write.
    pub(crate) logs: Arc<LogBook>,
    /// Folder of the programs that may be handed over to.
    pub(crate) jobs_dir: PathBuf,
    /// What the processes ask their supervisor for.
    pub(crate) token: String,
    pub(crate) commands: mpsc::Sender<Command>,
    workers: f64,
    started_ms: i64,
    inner: Mutex<Inner>,
}

impl Board {
    pub(crate) fn new(
        name: String,
        token: String,
        workers: usize,
        jobs_dir: PathBuf,
        logs: Arc<LogBook>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let workers = workers.max(1) as f64;
        Self {
            name,
            logs,
            jobs_dir,
            token,
            commands,
            workers,
            started_ms: wall_ms(),
            inner: Mutex::new(Inner {
                phase: Phase::Up,
                reason: None,
                program: PathBuf::new(),
                endpoints: Vec::new(),
                said: Vec::new(),
                landed: 0,
                rates: Rates::default(),
                restarts: 0,
                last_restarts: VecDeque::new(),
            }),
        }
    }

    /// New processes run.
    pub(crate) fn up(&self, program: PathBuf, endpoints: Vec<Endpoint>) {
        let mut inner = self.lock();
        inner.phase = Phase::Up;
        inner.reason = None;
        inner.program = program;
        inner.said = vec![None; endpoints.len()];
        inner.endpoints = endpoints;
        inner.rates = Rates::default();
    }

    pub(crate) fn set_phase(&self, phase: Phase, reason: Option<String>) {
        let mut inner = self.lock();
        inner.phase = phase;
        inner.reason = reason;
        if !matches!(phase, Phase::Up | Phase::Draining) {
            inner.endpoints.clear();
            inner.said.clear();
        }
    }

    pub(crate) fn restarting(&self, reason: String, after: Duration) {
        self.set_phase(Phase::Restarting, Some(reason.clone()));
        let mut inner = self.lock();
        inner.restarts += 1;
        inner.last_restarts.push_back(Restart {
            at_ms: wall_ms(),
            reason,
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        });
        if inner.last_restarts.len() > RESTARTS_SHOWN {
            inner.last_restarts.pop_front();
        }
    }

    /// The furthest epoch that any process has said to have landed.
    pub(crate) fn landed(&self) -> i64 {
        self.lock().landed
    }

    /// The processes that have said where they listen.
    fn clients(&self) -> Vec<(Endpoint, Client)> {
        let endpoints = self.lock().endpoints.clone();
        endpoints
            .into_iter()
            .filter_map(|endpoint| {
                let address = *endpoint.address.get()?;
                Some((endpoint, Client::of(address, &self.token).within(ASK_LIMIT)))
            })
            .collect()
    }

    /// Asks every process the same; who does not answer is left out.
    async fn ask_all(&self, path: &str) -> Vec<(Endpoint, Answer)> {
        let clients = self.clients();
        let asked = clients.into_iter().map(async |(endpoint, client)| {
            let answer = client.get(path).await.ok()?;
            Some((endpoint, answer))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Asks every process how it is, and remembers the answers.
    pub(crate) async fn look(&self) {
        let answers = self.ask_all("/api/v1/process/status").await;
        let mut inner = self.lock();
        for (endpoint, answer) in answers {
            let said: Option<Status> = serde_json::from_slice(&answer.body).ok();
            // It may have been started anew meanwhile.
            let is_the_same = |known: &Endpoint| known.pid == endpoint.pid;
            let place = inner.endpoints.iter().position(is_the_same);
            if let (Some(said), Some(place)) = (said, place) {
                inner.landed = inner.landed.max(said.progress.landed_epoch);
                inner.said[place] = Some(said);
            }
        }
    }

    /// Takes one more sample of how the time is spent; see [`Rates`].
    pub(crate) fn sample(&self) {
        let mut inner = self.lock();
        let mut sums = BTreeMap::new();
        for endpoint in &inner.endpoints {
            if let Some(seconds) = usage::cpu_seconds(endpoint.pid) {
                sums.insert(format!("cpu {}", endpoint.process), seconds);
            }
        }
        for times in inner.said.iter().flatten().flat_map(|said| &said.operators) {
            let operator = &times.operator;
            *sums.entry(format!("busy {operator}")).or_default() += times.busy_seconds;
            *sums.entry(format!("blocked {operator}")).or_default() += times.blocked_seconds;
        }
        inner.rates.push(Instant::now(), sums);
    }

    /// The state alone, as of the last look.
    pub(crate) fn state(&self) -> JobState {
        state(&self.lock())
    }

    /// As [`Board::state`], and why.
    pub(crate) fn state_and_reason(&self) -> (JobState, Option<String>) {
        let inner = self.lock();
        (state(&inner), inner.reason.clone())
    }

    /// Everything, asked just now.
    pub(crate) async fn status(&self) -> JobStatus {
        self.look().await;
        let inner = self.lock();
        let mut job = JobStatus {
            name: self.name.clone(),
            state: state(&inner),
            reason: inner.reason.clone(),
            program: inner.program.display().to_string(),
            supervisor_pid: std::process::id(),
            uptime_ms: wall_ms() - self.started_ms,
            restarts: inner.restarts,
            last_restarts: inner.last_restarts.iter().cloned().collect(),
            ..JobStatus::default()
        };
        let shares = inner.rates.shares();
        for (endpoint, said) in inner.endpoints.iter().zip(&inner.said) {
            job.processes.push(ProcessStatus {
                process: endpoint.process,
                pid: endpoint.pid,
                state: said.as_ref().map(|said| said.state),
                uptime_ms: said.as_ref().map(|said| said.uptime_ms),
                cpu: shares.get(&format!("cpu {}", endpoint.process)).copied(),
                resident_memory_bytes: resident_bytes(&endpoint.pid.to_string()),
            });
        }
        let said = || inner.said.iter().flatten();
        said().for_each(|said| job.add(said));
        job.operators = self.loads(said(), &shares);
        let answered = said().count();
        job.ready = answered > 0 && answered == inner.said.len() && said().all(|said| said.ready);
        job
    }

    fn loads<'a>(
        &self,
        said: impl Iterator<Item = &'a Status>,
        shares: &BTreeMap<String, f64>,
    ) -> Vec<OperatorLoad> {
        let names: std::collections::BTreeSet<&str> = said
            .flat_map(|said| said.operators.iter().map(|times| times.operator.as_str()))
            .collect();
        let share = |what: &str, name: &str| {
            let share = shares.get(&format!("{what} {name}")).copied();
            (share.unwrap_or(0.0) / self.workers).clamp(0.0, 1.0)
        };
        names
            .into_iter()
            .map(|name| OperatorLoad {
                operator: name.to_owned(),
                busy: share("busy", name),
                backpressure: share("blocked", name),
            })
            .collect()
    }

    /// Why the job is not ready; `None` when every process is.
    pub(crate) async fn not_ready(&self) -> Option<String> {
        let (phase, processes) = {
            let inner = self.lock();
            (inner.phase, inner.endpoints.len())
        };
        if phase != Phase::Up {
            let state = self.state().word();
            return Some(format!("the job is {state}"));
        }
        let answers = self.ask_all("/readyz").await;
        let refusal = answers.iter().find(|(_, answer)| answer.status != 200);
        match refusal {
            Some((_, answer)) => Some(answer.text().trim().to_owned()),
            None if answers.len() < processes => Some("a process does not answer yet".to_owned()),
            None => None,
        }
    }

    /// What a process says is stuck, if one does.
    pub(crate) async fn stuck(&self) -> Option<String> {
        let answers = self.ask_all("/healthz").await;
        let stuck = answers.iter().find(|(_, answer)| answer.status != 200);
        stuck.map(|(endpoint, answer)| {
            format!("process {}: {}", endpoint.process, answer.text().trim())
        })
    }

    /// The metrics of all processes, and the supervisor's own.
    pub(crate) async fn metrics(&self) -> String {
        let answers = self.ask_all("/metrics").await;
        let parts: Vec<(String, String)> = answers
            .iter()
            .filter(|(_, answer)| answer.status == 200)
            .map(|(endpoint, answer)| (endpoint.process.to_string(), answer.text()))
            .collect();
        let inner = self.lock();
        let mut text = merge(&parts);
        super::metrics::render(
            state(&inner),
            inner.endpoints.len(),
            inner.restarts,
            &mut text,
        );
        text
    }

    /// Asks the leading process for a savepoint; gives its answer as it is.
    pub(crate) async fn savepoint(&self, body: &SavepointBody) -> Result<(Client, Answer), String> {
        let Some((_, client)) = self.clients().into_iter().find(|(e, _)| e.process == 0) else {
            let state = self.state().word();
            return Err(format!("the job is {state}: try again when it is running"));
        };
        let client = client.within(SAVEPOINT_LIMIT);
        match client.post("/api/v1/process/savepoints", body).await {
            Ok(answer) => Ok((client, answer)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks the leading process for its graph.
    pub(crate) async fn graph(&self, format: &str) -> Option<Answer> {
        let (_, client) = self.clients().into_iter().find(|(e, _)| e.process == 0)?;
        let path = format!("/api/v1/process/graph?format={format}");
        client.get(&path).await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(inner: &Inner) -> JobState {
    match inner.phase {
        Phase::Up => state_of(&inner.said),
        Phase::Draining => JobState::Draining,
        Phase::Restarting => JobState::Restarting,
        Phase::Failed => JobState::Failed,
        Phase::Finished => JobState::Finished,
    }
}
