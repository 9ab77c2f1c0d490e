//! The commands that ask a running job: `list`, `status`, `savepoint`, `cancel`, `logs`, and the hand-over.

mod describe;
mod list;

pub use list::{ListArgs, list};

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::Method;
use clap::Args;

use super::client::{Client, ClientError};
use super::control::SavepointInfo;
use super::process_api::SavepointBody;
use super::settings::Settings;
use super::supervise::{
    CancelBody, HandOverAnswer, HandOverBody, JobEntry, JobList, JobState, JobStatus, LogPage,
    hand_over_limit,
};
use describe::describe;

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
