//! The commands that ask a running job: `list`, `status`, `savepoint`, `cancel`, `logs`, and the hand-over.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use axum::http::Method;
use clap::Args;

use super::cli::SettingsSource;
use super::client::{Client, ClientError};
use super::control::SavepointInfo;
use super::process_api::SavepointBody;
use super::settings::Settings;
use super::supervise::{
    CancelBody, HandOverAnswer, HandOverBody, JobEntry, JobList, JobState, JobStatus, LogPage,
    Note, hand_over_limit, read_note,
};
use crate::checkpoint::epoch_log;
use crate::source::wall_ms;

/// How long a savepoint may take.
const SAVEPOINT_LIMIT: Duration = Duration::from_secs(130);
/// How often `logs --follow` asks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// Lines that one answer may hold while following.
const FOLLOW_LINES: usize = 1_000;

/// Which job is asked, and where.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// Where the job's supervisor listens.
    #[arg(
        long,
        env = "JOB_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8090"
    )]
    url: String,
    /// The token that it asks for (setting `http_token`).
    #[arg(
        long,
        env = "SPANFLOW_HTTP_TOKEN",
        value_name = "TOKEN",
        default_value = "",
        hide_env_values = true
    )]
    token: String,
    /// The job's name [default: the one that runs there]
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
}

/// What `status` is told.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    target: Target,
    /// Print everything, as JSON.
    #[arg(long)]
    json: bool,
}

/// What `savepoint` is told.
#[derive(Debug, Args)]
pub struct SavepointArgs {
    /// The savepoint's name.
    name: String,
    /// End the job with it.
    #[arg(long)]
    stop: bool,
    #[command(flatten)]
    target: Target,
}

/// What `cancel` is told.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// End at once; what has not landed is read again by the next start.
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    target: Target,
}

/// What `logs` is told.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// How many lines to begin with.
    #[arg(long, default_value_t = 100)]
    lines: usize,
    /// Go on until Ctrl-C or the job's end.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

/// What `list` is told.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    source: SettingsSource,
}

/// A hand-over as the command line asks for it.
#[derive(Debug)]
pub struct HandOver {
    /// The supervisor.
    pub url: String,
    /// The program: a name in the supervisor's folder.
    pub binary: PathBuf,
}

/// What a command has to say.
#[derive(Debug, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// Writes it to standard output.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self) -> std::io::Result<()> {
        std::io::stdout().lock().write_all(self.0.as_bytes())
    }
}

/// Runs one exchange on this thread.
fn ask<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the HTTP client")?
        .block_on(work)
}

/// A job, found.
struct Remote {
    client: Client,
    /// `/api/v1/jobs/NAME`.
    path: String,
    name: String,
}

impl Remote {
    async fn find(target: &Target) -> anyhow::Result<Self> {
        let client = Client::at(&target.url, &target.token)?;
        let name = match &target.job {
            Some(name) => name.clone(),
            None => {
                let list: JobList = client.read(&client.get("/api/v1/jobs").await?)?;
                let first = list.jobs.into_iter().next();
                first
                    .with_context(|| format!("{} has no job", target.url))?
                    .name
            }
        };
        let path = format!("/api/v1/jobs/{name}");
        Ok(Self { client, path, name })
    }
}

/// `status`.
///
/// # Errors
/// Nothing answers, or it refuses.
pub fn status(args: &StatusArgs) -> anyhow::Result<Said> {
    ask(async {
        let remote = Remote::find(&args.target).await?;
        let answer = remote.client.get(&remote.path).await?;
        let status: JobStatus = remote.client.read(&answer)?;
        Ok(Said(if args.json {
            format!("{}\n", serde_json::to_string_pretty(&status)?)
        } else {
            describe(&status)
        }))
    })
}

/// `savepoint`.
///
/// # Errors
/// As [`status`], or it was not made.
pub fn savepoint(args: &SavepointArgs) -> anyhow::Result<Said> {
    ask(async {
        let remote = Remote::find(&args.target).await?;
        let body = SavepointBody {
            name: args.name.clone(),
            stop: args.stop,
        };
        let path = format!("{}/savepoints", remote.path);
        let client = remote.client.within(SAVEPOINT_LIMIT);
        let made: SavepointInfo = client.read(&client.post(&path, &body).await?)?;
        Ok(Said(format!(
            "{}: epoch {}, {} bytes\n",
            made.path, made.epoch, made.bytes
        )))
    })
}

/// `cancel`.
///
/// # Errors
/// As [`status`].
pub fn cancel(args: &CancelArgs) -> anyhow::Result<Said> {
    ask(async {
        let remote = Remote::find(&args.target).await?;
        let answer = if args.now {
            let path = format!("{}/cancel", remote.path);
            remote
                .client
                .post(&path, &CancelBody { drain: false })
                .await?
        } else {
            remote
                .client
                .request(Method::DELETE, &remote.path, None)
                .await?
        };
        let entry: JobEntry = remote.client.read(&answer)?;
        Ok(Said(match entry.state {
            JobState::Draining => format!("{} ends when what it has read has landed\n", entry.name),
            _ => format!("{} ends\n", entry.name),
        }))
    })
}

/// `logs`. Writes as it goes.
///
/// # Errors
/// As [`status`]. A job that ends while it is followed is no error.
pub fn logs(args: &LogsArgs) -> anyhow::Result<()> {
    ask(async {
        let remote = Remote::find(&args.target).await?;
        let path = format!("{}/logs", remote.path);
        let first = format!("{path}?lines={}", args.lines);
        let mut page: LogPage = remote.client.read(&remote.client.get(&first).await?)?;
        loop {
            let mut out = std::io::stdout().lock();
            for line in &page.lines {
                let who = line
                    .process
                    .map_or_else(|| "-".to_owned(), |n| n.to_string());
                if writeln!(out, "{who}| {}", line.text).is_err() {
                    // The reader has seen enough.
                    return Ok(());
                }
            }
            drop(out);
            if !args.follow {
                return Ok(());
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
            let next = format!("{path}?from={}&lines={FOLLOW_LINES}", page.next);
            page = match remote.client.get(&next).await {
                Ok(answer) => remote.client.read(&answer)?,
                Err(ClientError::Unreachable { .. }) => {
                    eprintln!("{} has ended", remote.name);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
        }
    })
}

/// Asks a supervisor to hand its job over.
///
/// # Errors
/// It was not begun, or the old program runs again; the message says which.
pub fn hand_over(wanted: &HandOver, settings: &Settings) -> anyhow::Result<Said> {
    let binary = wanted
        .binary
        .to_str()
        .context("the program's name is not UTF-8")?;
    ask(async {
        let client = Client::at(&wanted.url, &settings.http_token)?
            .within(hand_over_limit(settings.handover_timeout));
        let body = HandOverBody {
            binary: binary.to_owned(),
        };
        let path = format!("/api/v1/jobs/{}/handover", settings.job);
        let done: HandOverAnswer = client.read(&client.post(&path, &body).await?)?;
        let reason = done.reason.as_deref().unwrap_or("it gave no reason");
        anyhow::ensure!(
            done.handed_over,
            "{binary} did not take over, and the old program runs again from {}: {reason}",
            done.savepoint
        );
        Ok(Said(format!(
            "{binary} took over from {}\n",
            done.savepoint
        )))
    })
}

/// One job in a store.
#[derive(Debug)]
struct Found {
    folder: PathBuf,
    note: Option<Note>,
    /// Timeline and newest epoch.
    log: Option<(String, Option<u64>)>,
}

/// `list`: the jobs in the state folder and beside it.
///
/// # Errors
/// The settings are wrong, or the folder can't be read.
pub fn list(args: &ListArgs) -> anyhow::Result<Said> {
    let settings = args.source.read(Vec::new())?.settings;
    let state = settings.local_state_dir().with_context(|| {
        format!(
            "`state_dir` is {}: jobs in an object store are listed by their supervisors' URLs, with `status`",
            settings.state_dir
        )
    })?;
    let parent = match state.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut folders: Vec<PathBuf> = match std::fs::read_dir(parent) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", parent.display())),
    };
    folders.sort();
    let jobs: Vec<Found> = folders.into_iter().filter_map(look_into).collect();
    if jobs.is_empty() {
        return Ok(Said(format!("no job in {}\n", parent.display())));
    }
    ask(async {
        let mut rows =
            vec![["JOB", "STATE", "TIMELINE", "EPOCH", "URL", "FOLDER"].map(str::to_owned)];
        for job in &jobs {
            rows.push(row(job, &settings.http_token).await);
        }
        Ok(Said(table(&rows)))
    })
}

fn look_into(folder: PathBuf) -> Option<Found> {
    let note = read_note(&folder);
    let log = epoch_log::read(&folder).ok().map(|replay| {
        let newest = replay.epochs.last().map(|record| record.epoch);
        (replay.timeline, newest)
    });
    (note.is_some() || log.is_some()).then_some(Found { folder, note, log })
}

async fn row(job: &Found, token: &str) -> [String; 6] {
    const NONE: &str = "-";
    let word = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let answers = match &job.note {
        Some(note) => match Client::at(&note.url, token) {
            Ok(client) => client
                .within(Duration::from_secs(2))
                .get("/healthz")
                .await
                .is_ok(),
            Err(_) => false,
        },
        None => false,
    };
    let state = job.note.as_ref().map(|note| match note.state {
        state if answers => state.word().to_owned(),
        state @ (JobState::Finished | JobState::Failed) => state.word().to_owned(),
        _ => "gone".to_owned(),
    });
    let (timeline, epoch) = match &job.log {
        Some((timeline, newest)) => (
            Some(timeline.clone()),
            newest.map(|epoch| epoch.to_string()),
        ),
        None => (None, None),
    };
    [
        word(job.note.as_ref().map(|note| note.name.clone())),
        word(state),
        word(timeline),
        word(epoch),
        word(
            job.note
                .as_ref()
                .filter(|_| answers)
                .map(|note| note.url.clone()),
        ),
        job.folder.display().to_string(),
    ]
}

/// Columns side by side.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn describe(job: &JobStatus) -> String {
    let mut text = String::new();
    let seconds = |ms: i64| format!("{:.1} s", ms as f64 / 1e3);
    let _ = write!(text, "{}: {}", job.name, job.state.word());
    if let Some(reason) = &job.reason {
        let _ = write!(text, ", {reason}");
    }
    let _ = writeln!(text, ", up {}", seconds(job.uptime_ms));
    if let Some(waits_for) = &job.waiting_for {
        let _ = writeln!(text, "waiting for    {waits_for}");
    }
    let _ = writeln!(
        text,
        "timeline       {}, generation {}",
        job.timeline.as_deref().unwrap_or("none yet"),
        job.generation
            .map_or_else(|| "none yet".to_owned(), |n| n.to_string())
    );
    let _ = writeln!(
        text,
        "epoch          {}, landed {}, {} in flight",
        job.epoch, job.landed_epoch, job.epochs_in_flight
    );
    let _ = writeln!(
        text,
        "watermark      {}",
        job.watermark_delay_ms.map_or_else(
            || "none yet".to_owned(),
            |delay| format!("{} behind the clock", seconds(delay))
        )
    );
    let _ = writeln!(
        text,
        "checkpoint     {}",
        job.checkpoint.map_or_else(
            || "none".to_owned(),
            |c| format!(
                "epoch {}, {} ago, {} bytes",
                c.epoch,
                seconds(c.age_ms),
                c.bytes
            )
        )
    );
    let _ = writeln!(
        text,
        "spans          {} in, {} landed, {} duplicate, {} rejected, {} late",
        job.spans.found, job.spans.landed, job.spans.duplicate, job.spans.rejected, job.spans.late
    );
    for partition in &job.partitions {
        let lag = partition
            .lag
            .map_or_else(|| "unknown".to_owned(), |lag| lag.to_string());
        let idle = if partition.idle { ", idle" } else { "" };
        let _ = writeln!(
            text,
            "partition      {}/{} at {}, lag {lag}{idle}",
            partition.topic, partition.partition, partition.next_offset
        );
    }
    for one in &job.operators {
        let _ = writeln!(
            text,
            "operator       {:12} busy {:3.0} %  back-pressure {:3.0} %",
            one.operator,
            one.busy * 100.0,
            one.backpressure * 100.0
        );
    }
    for one in &job.processes {
        let mib = one.resident_memory_bytes.unwrap_or(0) >> 20;
        let _ = writeln!(
            text,
            "process        {}, pid {}, {:.2} cores, {mib} MiB",
            one.process,
            one.pid,
            one.cpu.unwrap_or(0.0)
        );
    }
    let _ = writeln!(text, "restarts       {}", job.restarts);
    for restart in &job.last_restarts {
        let ago = seconds(wall_ms() - restart.at_ms);
        let _ = writeln!(text, "restart        {ago} ago: {}", restart.reason);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops::supervise::{OperatorLoad, Restart};

    #[test]
    fn a_status_is_told_in_words() {
        let job = JobStatus {
            name: "agents".to_owned(),
            state: JobState::Restarting,
            reason: Some("process 0 was killed (SIGKILL)".to_owned()),
            restarts: 1,
            last_restarts: vec![Restart {
                at_ms: wall_ms(),
                reason: "process 0 was killed (SIGKILL)".to_owned(),
                after_ms: 500,
            }],
            operators: vec![OperatorLoad {
                operator: "source".to_owned(),
                busy: 0.25,
                backpressure: 0.5,
            }],
            ..JobStatus::default()
        };
        let text = describe(&job);
        assert!(
            text.starts_with("agents: restarting, process 0 was killed (SIGKILL), up"),
            "{text}"
        );
        assert!(
            text.contains("source       busy  25 %  back-pressure  50 %"),
            "{text}"
        );
        assert!(
            text.contains("watermark      none yet") && text.contains("ago: process 0"),
            "{text}"
        );
    }

    #[test]
    fn a_store_without_jobs_is_said_so_and_a_note_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("agents");
        let args = |state: &Path| ListArgs {
            source: SettingsSource::of([format!("state_dir={}", state.display())]),
        };
        assert!(list(&args(&state)).unwrap().0.starts_with("no job in "));
        std::fs::create_dir_all(&state).unwrap();
        let note = Note {
            name: "agents".to_owned(),
            url: "http://127.0.0.1:1".to_owned(),
            pid: 1,
            state: JobState::Running,
            reason: None,
        };
        std::fs::write(
            state.join("supervisor.json"),
            serde_json::to_vec(&note).unwrap(),
        )
        .unwrap();
        let said = list(&args(&state)).unwrap().0;
        let line = said.lines().nth(1).unwrap();
        assert!(line.starts_with("agents  gone   -"), "{said}");
    }
}
