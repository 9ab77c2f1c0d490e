//! `stream-job submit`: the supervisor of one job.
//!
//! It starts the job's processes, restarts all of them when one fails (`policy`), keeps what they write (`logs`), and
//! serves the job's HTTP API (`api`). It holds no data: killed, it takes its processes with it, and the next one goes
//! on from what they left in the job's store.

mod api;
mod board;
mod crew;
mod hand_over;
mod lock;
mod logs;
mod merge;
mod metrics;
mod policy;
mod programs;
mod rates;
mod reach;
mod status;
mod usage;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use xxhash_rust::xxh3::xxh3_64;

pub use api::{
    CancelBody, HandOverAnswer, HandOverBody, JobEntry, JobList, OPENAPI, hand_over_limit, routes,
};
pub use lock::{Note, read_note};
pub use logs::{LogLine, LogPage};
pub use metrics::METRICS;
pub use status::{JobState, JobStatus, OperatorLoad, ProcessStatus, Restart};

use super::http;
use super::job::{JobError, exit};
use super::settings::Settings;
use board::{Board, Command, Phase};
use crew::{Crew, Launch};
use lock::SupervisorLock;
use logs::LogBook;
use policy::{Restarts, Verdict};

/// How often the processes are asked how they are.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the last answers of the HTTP server may take.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// What `submit` is told besides settings.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The settings file, which every process reads.
    pub settings_file: Option<PathBuf>,
    /// Flags of `run` that every start is told.
    pub flags: Vec<OsString>,
    /// Flags of `run` that only the first start is told: they change what is stored.
    pub first_flags: Vec<OsString>,
    /// The program to run; `None` runs this one.
    pub program: Option<PathBuf>,
}

/// Supervises the job until it ends.
///
/// # Errors
/// Why it ended other than asked, with the exit code in [`JobError`].
pub fn submit(settings: &Settings, submission: &Submission) -> anyhow::Result<()> {
    let log_folder = settings.log_folder();
    let lock = SupervisorLock::take(settings.local_state_dir().unwrap_or(&log_folder))?;
    let listener =
        http::bind(settings.http_listen).map_err(|error| JobError::Refused(error.to_string()))?;
    reach::check(settings)?;
    let logs = LogBook::open(
        &log_folder,
        settings.log_file_bytes.0,
        usize::from(settings.log_files),
    );
    let logs = Arc::new(logs.map_err(|error| refused("log_dir", &log_folder, &error))?);
    let (sender, commands) = mpsc::channel(8);
    let workers = crate::dataflow::workers_of(settings) * usize::from(settings.processes);
    let board = Arc::new(Board::new(
        settings.job.clone(),
        random_token().context("make a token for the job's processes")?,
        workers,
        PathBuf::from(&settings.jobs_dir),
        Arc::clone(&logs),
        sender,
    ));
    let program = match &submission.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("find this program's own file")?,
    };
    let url = format!("http://{}", listener.local_addr()?);
    let supervisor = Supervisor {
        launch: Launch {
            program,
            settings: copy_settings(submission.settings_file.as_deref(), &log_folder)?,
            flags: submission.flags.clone(),
            environment: cluster_secret(settings)?.into_iter().collect(),
            processes: usize::from(settings.processes),
        },
        original: submission.settings_file.clone(),
        log_folder,
        once: submission.first_flags.clone(),
        restarts: Restarts::new(
            settings.restart_backoff_min,
            settings.restart_backoff_max,
            settings.restart_limit,
        ),
        handover_timeout: settings.handover_timeout,
        stop_given_up: false,
        board: Arc::clone(&board),
        commands,
    };
    let router = api::router(Arc::clone(&board), &settings.http_token);
    println!("listening on {url}");
    tracing::info!("job `{}`: HTTP on {url}", settings.job);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("supervisor")
        .enable_all()
        .build()
        .context("start the thread for HTTP")?;
    runtime.spawn(async move {
        if let Err(error) = http::serve(listener, router).await {
            tracing::error!("the HTTP server ended: {error}");
        }
    });
    runtime.spawn(watch_over(Arc::clone(&board), lock, url));
    // On this thread, the main one: see `Crew::start`.
    let result = runtime.block_on(async move {
        let signals = Signals::listen().context("listen for signals")?;
        let result = supervisor.run(signals).await;
        // Whoever asked for the end learns how it went.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(result?)
    });
    runtime.shutdown_timeout(GOODBYE_LIMIT);
    result
}

fn refused(setting: &str, folder: &Path, error: &io::Error) -> JobError {
    let folder = folder.display();
    JobError::Refused(format!("the folder {folder}, setting `{setting}`: {error}"))
}

/// What several processes on this machine know each other by, where nobody has set it.
fn cluster_secret(settings: &Settings) -> anyhow::Result<Option<(&'static str, String)>> {
    if settings.processes == 1 || !settings.cluster_secret.is_empty() {
        return Ok(None);
    }
    let secret = random_token().context("make a secret for the job's processes")?;
    Ok(Some(("SPANFLOW_CLUSTER_SECRET", secret)))
}

/// 128 random bits in hexadecimal.
fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// A copy of the settings file, named for what is in it. Processes read the copy: a file that is changed while the job
/// runs changes nothing until a hand-over, and the way back from that finds the old one.
fn copy_settings(original: Option<&Path>, log_folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(original) = original else {
        return Ok(None);
    };
    let bytes =
        fs::read(original).with_context(|| format!("settings file {}", original.display()))?;
    let copy = log_folder.join(format!("settings-{:016x}.toml", xxh3_64(&bytes)));
    fs::write(&copy, bytes).with_context(|| format!("write {}", copy.display()))?;
    Ok(Some(copy))
}

/// Looks at the processes again and again, and leaves a note of the job's state when it has changed.
async fn watch_over(board: Arc<Board>, lock: SupervisorLock, url: String) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left: Option<Note> = None;
    loop {
        ticks.tick().await;
        board.look().await;
        board.sample();
        let (state, reason) = board.state_and_reason();
        let note = Note {
            name: board.name.clone(),
            url: url.clone(),
            pid: std::process::id(),
            state,
            reason,
        };
        if left.as_ref() != Some(&note) {
            lock.leave(&note);
            left = Some(note);
        }
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// The loop over the starts of the job.
struct Supervisor {
    launch: Launch,
    /// The settings file as the person named it.
    original: Option<PathBuf>,
    log_folder: PathBuf,
    /// Flags of the next start alone.
    once: Vec<OsString>,
    restarts: Restarts,
    handover_timeout: Duration,
    /// The processes were asked to end with a savepoint, and the hand-over was given up before they answered: they may
    /// end yet, as asked, and nobody wants that any more.
    stop_given_up: bool,
    board: Arc<Board>,
    commands: mpsc::Receiver<Command>,
}

/// What has been asked of the processes that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Drain,
    End,
}

impl Supervisor {
    async fn run(mut self, mut signals: Signals) -> Result<(), JobError> {
        let mut crew = self.start(None).ok();
        loop {
            let verdict = match &mut crew {
                Some(crew) => self.watch(crew, &mut signals).await,
                None => self.restarts.after(&[self.not_started()]),
            };
            drop(crew.take());
            match verdict {
                Verdict::Finished => return Ok(()),
                Verdict::GiveUp { code, reason } => {
                    self.board.set_phase(Phase::Failed, Some(reason.clone()));
                    self.note(&format!("gave up: {reason}"));
                    return Err(JobError::Supervised { code, reason });
                }
                Verdict::Restart { after, reason } => {
                    self.note(&format!(
                        "{reason}; starting all processes again in {} ms",
                        after.as_millis()
                    ));
                    self.board.restarting(reason, after);
                    self.pause(after, &mut signals).await?;
                    crew = self.start(None).ok();
                }
            }
        }
    }

    /// Starts every process of `other`, or of the job as it is.
    fn start(&mut self, other: Option<&Launch>) -> io::Result<Crew> {
        let launch = other.unwrap_or(&self.launch);
        let once = std::mem::take(&mut self.once);
        let crew = Crew::start(launch, &once, &self.board.token, &self.board.logs);
        match &crew {
            Ok(crew) => {
                let endpoints = crew.endpoints();
                let pids: Vec<String> = endpoints.iter().map(|e| e.pid.to_string()).collect();
                self.note(&format!(
                    "started {} as process {}",
                    launch.program.display(),
                    pids.join(", ")
                ));
                self.board.up(launch.program.clone(), endpoints);
            }
            Err(error) => self.note(&format!(
                "can't start {}: {error}",
                launch.program.display()
            )),
        }
        crew
    }

    /// A program that can't be started counts as one that failed at once.
    fn not_started(&self) -> policy::End {
        policy::End {
            process: 0,
            how: policy::How::Code(exit::FAILED),
            last_line: Some(format!(
                "{} could not be started",
                self.launch.program.display()
            )),
        }
    }

    /// Watches over running processes until all have ended, and judges that.
    async fn watch(&mut self, crew: &mut Crew, signals: &mut Signals) -> Verdict {
        let mut asked = Asked::Nothing;
        loop {
            tokio::select! {
                end = crew.next_end() => match end {
                    Some(end) if end.how == policy::How::Code(exit::DONE) => {}
                    Some(end) => {
                        let said = end.to_string();
                        self.note(&said);
                        crew.end_after_failure().await;
                        return self.judge(crew, asked);
                    }
                    None => return self.judge(crew, asked),
                },
                name = signals.next() => {
                    let wish = match asked {
                        Asked::Nothing => Asked::Drain,
                        Asked::Drain | Asked::End => Asked::End,
                    };
                    asked = self.ask_to_end(crew, asked, wish, name);
                    if asked == Asked::End {
                        crew.kill().await;
                        let reason = format!("{name} again: ended at once");
                        return Verdict::GiveUp { code: exit::INTERRUPTED, reason };
                    }
                }
                Some(command) = self.commands.recv() => match command {
                    Command::Cancel { drain, answer } => {
                        let wish = if drain { Asked::Drain } else { Asked::End };
                        asked = self.ask_to_end(crew, asked, wish, "cancelled");
                        let _ = answer.send(Ok(()));
                        if asked == Asked::End {
                            crew.kill().await;
                            return self.judge(crew, asked);
                        }
                    }
                    Command::HandOver { answer, .. } if asked != Asked::Nothing => {
                        let _ = answer.send(Err("the job is ending".to_owned()));
                    }
                    Command::HandOver { program, answer } => {
                        let done = self.hand_over(crew, program).await;
                        let _ = answer.send(done);
                    }
                },
            }
        }
    }

    /// Does what is wished, unless more than that was asked before. For [`Asked::End`] the caller kills them.
    fn ask_to_end(&self, crew: &Crew, asked: Asked, wish: Asked, why: &str) -> Asked {
        if wish == Asked::End {
            self.note(&format!("{why}: ending at once"));
        } else if asked == Asked::Nothing {
            self.note(&format!("{why}: draining, then ending"));
            self.board.set_phase(Phase::Draining, Some(why.to_owned()));
            crew.signal(libc::SIGTERM);
        }
        wish
    }

    fn judge(&mut self, crew: &Crew, asked: Asked) -> Verdict {
        self.restarts.landed(self.board.landed());
        let stop_given_up = std::mem::take(&mut self.stop_given_up);
        let verdict = match (self.restarts.after(crew.ends()), asked) {
            (_, Asked::End) => Verdict::Finished,
            (Verdict::Finished, Asked::Nothing) if stop_given_up => Verdict::Restart {
                after: Duration::ZERO,
                reason: "ended with the savepoint of a hand-over that was given up".to_owned(),
            },
            // Whoever wanted the end gets it; the next start lands what this one did not.
            (Verdict::Restart { reason, .. }, Asked::Drain) => Verdict::GiveUp {
                code: exit::FAILED,
                reason: format!("{reason}, while draining; the next start goes on from there"),
            },
            (verdict, _) => verdict,
        };
        if verdict == Verdict::Finished {
            self.board.set_phase(Phase::Finished, None);
            self.note("the job has ended as asked");
        }
        verdict
    }

    /// Waits before the next start. An end that is asked for meanwhile ends the supervisor.
    async fn pause(&mut self, after: Duration, signals: &mut Signals) -> Result<(), JobError> {
        let over = tokio::time::sleep(after);
        tokio::pin!(over);
        let ended = |why: &str| JobError::Supervised {
            code: exit::FAILED,
            reason: format!(
                "{why} while the job was to be started again; what was read and has not landed is read by the next start"
            ),
        };
        loop {
            tokio::select! {
                () = &mut over => return Ok(()),
                name = signals.next() => return Err(ended(name)),
                Some(command) = self.commands.recv() => match command {
                    Command::Cancel { answer, .. } => {
                        self.board.set_phase(Phase::Finished, Some("cancelled".to_owned()));
                        let _ = answer.send(Ok(()));
                        return Err(ended("cancelled"));
                    }
                    Command::HandOver { answer, .. } => {
                        let _ = answer.send(Err("the job is restarting".to_owned()));
                    }
                },
            }
        }
    }

    fn note(&self, text: &str) {
        self.board.logs.add(None, text);
    }
}
