//! The job in several processes: the same bytes in any layout, kills and stops of one of them, and changes of the layout
//! on the way.

#![allow(clippy::unwrap_used, missing_docs)]

mod reference;
mod stage;
mod warehouse_process;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use stream_job::checkpoint::epoch_log::{BlockId, Replay};
use stream_job::checkpoint::ledgers::Ledgers;
use stream_job::checkpoint::store::Store;
use stream_job::checkpoint::timelines;
use stream_job::ops::job::exit;

use reference::recording::{Dice, Plan};
use stage::{Stage, assert_succeeded, compare};

const SECRET: &str = "the secret of the tests";
/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(180);
const KILLS: usize = 4;

#[derive(Clone, Copy)]
struct Layout {
    processes: usize,
    workers: usize,
}

const fn layout(processes: usize, workers: usize) -> Layout {
    Layout { processes, workers }
}

/// All processes of one run.
struct Job {
    processes: Vec<Child>,
    /// Standard error, by process.
    said: Vec<std::path::PathBuf>,
}

impl Job {
    fn start(stage: &Stage, name: &str, layout: Layout, follow: Option<&Path>) -> Job {
        let port = free_port();
        let (mut processes, mut said) = (Vec::new(), Vec::new());
        for process in 0..layout.processes {
            let path = stage.path(&format!("{name}-{port}-{process}.log"));
            let mut command = process_command(stage, name, layout, port, process);
            if let (Some(log), 0) = (follow, process) {
                command.arg("--epoch-log").arg(log);
            }
            command.stderr(File::create(&path).unwrap());
            processes.push(command.spawn().unwrap());
            said.push(path);
        }
        Job { processes, said }
    }

    fn run_to_the_end(stage: &Stage, name: &str, layout: Layout, follow: Option<&Path>) {
        Job::start(stage, name, layout, follow).assert_succeeds();
    }

    fn assert_succeeds(mut self) {
        for process in 0..self.processes.len() {
            let status = self.end(process);
            assert!(
                status.success(),
                "process {process}, {status}: {}",
                self.said(process)
            );
        }
    }

    fn end(&mut self, process: usize) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.processes[process].try_wait().unwrap() {
                return status;
            }
            let said = || self.said(process);
            assert!(
                since.elapsed() < PATIENCE,
                "process {process} does not end: {}",
                said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn has_ended(&mut self) -> bool {
        let mut ended = self
            .processes
            .iter_mut()
            .map(|process| process.try_wait().unwrap());
        ended.any(|status| status.is_some())
    }

    fn said(&self, process: usize) -> String {
        fs::read_to_string(&self.said[process]).unwrap()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // They have ended, or a failed test leaves them behind.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn process_command(
    stage: &Stage,
    name: &str,
    layout: Layout,
    port: u16,
    process: usize,
) -> Command {
    let mut command = stage.command(name, name);
    command
        .args(["--workers", &layout.workers.to_string()])
        .args(["--processes", &layout.processes.to_string()])
        .args(["--process", &process.to_string()])
        .args(["--set", &format!("cluster_port={port}")])
        .env("SPANFLOW_CLUSTER_SECRET", SECRET);
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Everything that the processes of a job have written down.
fn recorded(stage: &Stage, name: &str) -> Replay {
    let mut replay = own(stage, name);
    let store = Store::open_dir(&stage.path(name)).unwrap();
    Ledgers::new(store, "00000001")
        .add_all(&mut replay)
        .unwrap();
    replay
}

/// What its leader has written down.
fn own(stage: &Stage, name: &str) -> Replay {
    timelines::read(&stage.path(name)).unwrap()
}

/// Rows and hash of every block.
fn bytes(replay: &Replay) -> BTreeMap<BlockId, (u64, String)> {
    let blocks = replay.blocks.iter();
    blocks
        .map(|(id, block)| (id.clone(), (block.rows, block.hash.clone())))
        .collect()
}

fn plan(seed: u64, traces: u64) -> Plan {
    Plan {
        seed,
        traces,
        ..Plan::default()
    }
}

#[test]
fn one_epoch_log_leads_to_the_same_bytes_in_any_layout() {
    let stage = Stage::new("bytes_1x1", plan(61, 120));
    Job::run_to_the_end(&stage, "bytes_1x1", layout(1, 1), None);
    let log = stage.path("bytes_1x1");
    let expected = bytes(&recorded(&stage, "bytes_1x1"));
    assert!(expected.len() > 50, "{} blocks", expected.len());
    for at in [
        layout(1, 2),
        layout(1, 4),
        layout(2, 2),
        layout(3, 1),
        layout(2, 1),
    ] {
        let name = format!("bytes_{}x{}", at.processes, at.workers);
        Job::run_to_the_end(&stage, &name, at, Some(&log));
        let replay = recorded(&stage, &name);
        assert_eq!(bytes(&replay), expected, "{name}");
        assert!(
            replay.blocks.values().all(|block| block.acked_ms.is_some()),
            "{name}"
        );
        if at.processes > 1 {
            let own = bytes(&own(&stage, &name)).len();
            assert!(
                0 < own && own < expected.len(),
                "{name}: the leader built {own} blocks"
            );
        }
        compare(&stage, "bytes_1x1", &name);
    }
}

/// Waits until the folder has grown to `bytes`; `false` if a process ends before.
fn wait_for_state(job: &mut Job, state: &Path, bytes: u64) -> bool {
    let since = Instant::now();
    while bytes_in(state) < bytes {
        assert!(
            since.elapsed() < PATIENCE,
            "the job does not come on: {}",
            job.said(0)
        );
        if job.has_ended() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => bytes_in(&path),
            false => fs::metadata(&path).map_or(0, |data| data.len()),
        }
    });
    sizes.sum()
}

#[test]
fn kills_of_one_process_and_other_layouts_on_the_way_leave_the_tables_of_an_undisturbed_run() {
    let stage = Stage::new("moved", plan(62, 300));
    let state = stage.path("moved");
    let mut dice = Dice::new(u64::from(std::process::id()));
    let layouts = [layout(2, 2), layout(1, 4), layout(2, 1), layout(3, 1)];
    for kill in 0..KILLS {
        let at = layouts[kill % layouts.len()];
        let before = bytes_in(&state);
        let mut job = Job::start(&stage, "moved", at, None);
        let went_on = wait_for_state(&mut job, &state, before + 8_000 + dice.below(15_000));
        let victim = kill % at.processes;
        assert!(
            went_on,
            "it ended before it was killed {KILLS} times: {}",
            job.said(0)
        );
        job.processes[victim].kill().unwrap();
        for process in (0..at.processes).filter(|process| *process != victim) {
            let status = job.end(process);
            let said = job.said(process);
            assert_eq!(status.code(), Some(exit::PEER_LOST.into()), "{said}");
            assert!(
                said.contains("is lost") || said.contains("cluster"),
                "{said}"
            );
        }
    }
    Job::run_to_the_end(&stage, "moved", layout(2, 2), None);
    let replay = recorded(&stage, "moved");
    assert!(replay.epochs.last().unwrap().end_of_input);
    assert_eq!(replay.generation, KILLS as u64 + 1);
    assert!(replay.blocks.values().all(|block| block.acked_ms.is_some()));
    let output = stage
        .command("unmoved", "unmoved")
        .arg("--epoch-log")
        .arg(&state)
        .output();
    assert_succeeded(&output.unwrap());
    compare(&stage, "moved", "unmoved");
    assert_eq!(bytes(&recorded(&stage, "unmoved")), bytes(&replay));
}

#[test]
fn a_stop_of_any_process_drains_and_ends_all_of_them() {
    let stage = Stage::new("stopped", plan(63, 300));
    let state = stage.path("stopped");
    for process in [1, 0] {
        let before = bytes_in(&state);
        let mut job = Job::start(&stage, "stopped", layout(2, 2), None);
        assert!(
            wait_for_state(&mut job, &state, before + 10_000),
            "{}",
            job.said(0)
        );
        let pid = i32::try_from(job.processes[process].id()).unwrap();
        // SAFETY: a signal to a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        job.assert_succeeds();
        let replay = recorded(&stage, "stopped");
        assert!(replay.blocks.values().all(|block| block.acked_ms.is_some()));
        let last = replay.epochs.last().unwrap();
        assert!(last.dws_block_ends && !last.end_of_input);
        let told = stage.number("SELECT max(epoch) FROM ops_epoch");
        assert_eq!(told, last.epoch, "ops_epoch tells of all that was cut");
    }
}

#[test]
fn a_process_of_other_settings_or_another_store_is_refused_with_its_reason() {
    let stage = Stage::new("foreign", plan(64, 60));
    let two = layout(2, 1);
    let port = free_port();
    let mut leader = process_command(&stage, "foreign", two, port, 0);
    let mut leader = leader
        .stderr(File::create(stage.path("leader")).unwrap())
        .spawn()
        .unwrap();
    let refused = |change: &dyn Fn(&mut Command)| {
        let mut command = process_command(&stage, "foreign", two, port, 1);
        change(&mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit::REFUSED.into()), "{said}");
        said
    };
    let said = refused(&|command| {
        command.args(["--set", "top_n=9"]);
    });
    assert!(said.contains("settings that shape rows differ"), "{said}");
    let said = refused(&|command| {
        command.env("SPANFLOW_CLUSTER_SECRET", "another secret of some");
    });
    assert!(said.contains("has another secret"), "{said}");
    // This one is let in, and then does not find what the leader has made.
    let elsewhere = format!("state_dir={}", stage.path("elsewhere").display());
    let said = refused(&|command| {
        command.args(["--set", &elsewhere]);
    });
    assert!(said.contains("must see one state_dir"), "{said}");
    assert_eq!(leader.wait().unwrap().code(), Some(exit::PEER_LOST.into()));
    let said = fs::read_to_string(stage.path("leader")).unwrap();
    assert!(said.contains("refused process 1"), "{said}");
    Job::run_to_the_end(&stage, "foreign", two, None);
}
