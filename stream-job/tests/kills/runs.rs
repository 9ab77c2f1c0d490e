//! Runs of the job in one or several processes, to the end or until they die.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::stage::Stage;

/// Longest wait for anything here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A checkpoint is taken with every DWS block, and all are kept: the epoch log stays whole for the undisturbed run.
const CHECKPOINTS: [&str; 2] = ["checkpoint_interval=500ms", "checkpoints_kept=100"];

/// Processes × workers.
#[allow(dead_code)]
pub(crate) type Layout = (u16, u16);

/// How a process of the job ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
}

/// The job over a database and a state folder of the same name, with checkpoints.
pub(crate) fn job(stage: &Stage, database: &str) -> Command {
    let mut command = stage.command(database, database);
    for setting in CHECKPOINTS {
        command.args(["--set", setting]);
    }
    command
}

/// Folder of a job's epoch log.
pub(crate) fn log_of(stage: &Stage, database: &str) -> PathBuf {
    stage.path(database).join("00000001/log")
}

/// Fills a database from an epoch log that another run has written.
pub(crate) fn follow(stage: &Stage, log: &Path, database: &str, workers: u16) {
    let mut command = job(stage, database);
    command.arg("--epoch-log").arg(log);
    command.args(["--set", &format!("workers={workers}")]);
    end_of(stage, command).succeeded();
}

/// Runs one process until it has ended.
pub(crate) fn end_of(stage: &Stage, command: Command) -> Ended {
    ends_of(stage, vec![command]).remove(0)
}

/// Runs the processes of a layout until all have ended.
#[allow(dead_code)]
pub(crate) fn ends_of_layout(
    stage: &Stage,
    (processes, workers): Layout,
    command: impl Fn() -> Command,
) -> Vec<Ended> {
    let port = free_port().to_string();
    let commands = (0..processes).map(|process| {
        let mut command = command();
        command.args(["--set", &format!("workers={workers}")]);
        if processes > 1 {
            command.args(["--processes", &processes.to_string()]);
            command.args(["--process", &process.to_string()]);
            command.args(["--set", &format!("cluster_port={port}")]);
            command.env("SPANFLOW_CLUSTER_SECRET", "a secret of the kill matrix");
        }
        command
    });
    ends_of(stage, commands.collect())
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn ends_of(stage: &Stage, commands: Vec<Command>) -> Vec<Ended> {
    let start = |mut command: Command| {
        let file = tempfile::NamedTempFile::new_in(stage.path("")).unwrap();
        command.stderr(File::create(file.path()).unwrap());
        (command.spawn().unwrap(), file)
    };
    let mut started: Vec<_> = commands.into_iter().map(start).collect();
    let ends: Vec<_> = (started.iter_mut())
        .map(|(child, _)| status_within(child, PATIENCE))
        .collect();
    let ended = |((mut child, file), end): ((Child, tempfile::NamedTempFile), _)| {
        let said = fs::read_to_string(file.path()).unwrap();
        let status: Option<ExitStatus> = end;
        let status = status.unwrap_or_else(|| {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("a process of the job has not ended within {PATIENCE:?}: {said}");
        });
        Ended { status, said }
    };
    started.into_iter().zip(ends).map(ended).collect()
}

impl Ended {
    pub(crate) fn succeeded(&self) {
        assert!(self.status.success(), "{}: {}", self.status, self.said);
    }
}

fn status_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if since.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
