//! The kill matrix: the job dies at every step that a restart could see, with one worker, with several, and with another
//! number of them each time; with the epoch log whole, and pruned while it is written.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use stream_job::checkpoint::store::Store;
use stream_job::checkpoint::{epoch_log, load, timelines};
use stream_job::ops::failpoint;
use stream_job::ops::job::exit;

use crate::reference::recording::Plan;
use crate::runs::{Ended, Layout, ends_of_layout, follow, job, log_of};
use crate::stage::{Stage, comparison};
use crate::whole_log::WholeLog;

/// Failpoints and the hit that kills, one a run. The warehouse's proof at each start sends three INSERTs of its own.
const DEATHS: [(&str, u64); 17] = [
    ("epoch-durable", 2),
    ("generation-taken", 1),
    ("insert-body", 9),
    ("state-saved", 2),
    // What that one has left.
    ("orphan-deleted", 1),
    ("restored", 1),
    ("manifest-written", 2),
    ("epoch-before-durable", 4),
    ("insert-answered", 30),
    ("checkpoint-logged", 1),
    ("insert-body", 25),
    ("released", 7),
    ("ack-queued", 25),
    ("tidy", 2),
    ("intents-durable", 8),
    ("ops-epoch-landed", 3),
    ("manifest-written", 1),
];

/// The same where checkpoints are deleted and the log is pruned.
const DEATHS_PRUNED: [(&str, u64); 8] = [
    ("object-deleted", 1),
    ("log-pruned", 1),
    ("tidy", 3),
    ("object-deleted", 3),
    ("insert-body", 12),
    ("log-pruned", 2),
    ("restored", 1),
    ("state-saved", 3),
];

/// One database, filled by runs that die one after the other.
struct Chain {
    database: &'static str,
    seed: u64,
    /// Layouts of the runs, by turns.
    layouts: &'static [Layout],
    deaths: &'static [(&'static str, u64)],
    checkpoints_kept: u16,
}

#[test]
fn one_worker_killed_at_every_step_leaves_the_tables_of_an_undisturbed_run() {
    run(&Chain {
        database: "one_worker",
        seed: 61,
        layouts: &[(1, 1)],
        deaths: &DEATHS,
        checkpoints_kept: 100,
    });
}

#[test]
fn four_workers_killed_at_every_step_leave_the_tables_of_an_undisturbed_run() {
    run(&Chain {
        database: "four_workers",
        seed: 62,
        layouts: &[(1, 4)],
        deaths: &DEATHS,
        checkpoints_kept: 100,
    });
}

#[test]
fn two_processes_killed_at_every_step_leave_the_tables_of_an_undisturbed_run() {
    run(&Chain {
        database: "two_processes",
        seed: 64,
        layouts: &[(2, 2)],
        deaths: &DEATHS,
        checkpoints_kept: 100,
    });
}

#[test]
fn killed_while_it_prunes_and_rescaled_at_each_start_it_leaves_the_tables_of_an_undisturbed_run() {
    run(&Chain {
        database: "rescaled",
        seed: 63,
        layouts: &[(1, 1), (1, 4), (1, 2), (1, 3)],
        deaths: &DEATHS_PRUNED,
        checkpoints_kept: 1,
    });
}

#[test]
fn every_failpoint_kills_in_the_matrix() {
    let all = DEATHS.iter().chain(&DEATHS_PRUNED);
    let killing: Vec<&str> = all.map(|(name, _)| *name).collect();
    let missing = failpoint::ALL.iter().find(|name| !killing.contains(name));
    assert_eq!(missing, None);
}

fn run(chain: &Chain) {
    let plan = Plan {
        processes: 1,
        seed: chain.seed,
        traces: 500,
        ..Plan::default()
    };
    let (stage, database) = (Stage::new(chain.database, plan), chain.database);
    let log = WholeLog::of(log_of(&stage, database), stage.path("whole-log")).unwrap();
    let mut layouts = chain.layouts.iter().copied().cycle();
    for &(name, hit) in chain.deaths {
        let layout = layouts.next().unwrap();
        let ends = ends_of_layout(&stage, layout, || {
            let mut command = command(&stage, chain);
            command.env(failpoint::FAILPOINT, format!("{name}:{hit}"));
            command
        });
        assert_killed(&ends, &format!("failpoint {name}, hit {hit}"), layout);
    }
    let last = ends_of_layout(&stage, layouts.next().unwrap(), || command(&stage, chain));
    last.iter().for_each(Ended::succeeded);

    let log = log.end().unwrap();
    let replay = epoch_log::read(&log).unwrap();
    assert!(replay.epochs.last().unwrap().end_of_input);
    assert_eq!(replay.generation, chain.deaths.len() as u64 + 1);
    let undisturbed = format!("{database}_undisturbed");
    follow(&stage, &log, &undisturbed, 2);
    let found = comparison(&stage, database, &undisturbed);
    println!(
        "kill matrix, {database}: {} runs, {} kills, {} epochs, {} rows compared, {} differences",
        chain.deaths.len() + 1,
        chain.deaths.len(),
        replay.epochs.len(),
        found.rows,
        found.differences.len(),
    );
    assert!(found.differences.is_empty(), "{found:#?}");
    assert_eq!(orphans(&stage.path(database)), Vec::<String>::new());
}

/// State files and manifests that no checkpoint of the log has, and that runs before the last one wrote.
fn orphans(state: &Path) -> Vec<String> {
    let (store, replay) = (
        Store::open_dir(state).unwrap(),
        timelines::read(state).unwrap(),
    );
    let mut named: BTreeSet<String> = BTreeSet::new();
    for checkpoint in &replay.checkpoints {
        if let Ok(manifest) = load::manifest(&store, checkpoint) {
            named.extend(manifest.paths().map(str::to_owned));
            named.insert(checkpoint.manifest.clone());
        }
    }
    assert!(!named.is_empty(), "there are checkpoints");
    let folders = ["00000001/state", "00000001/checkpoints"];
    let files = folders
        .iter()
        .flat_map(|folder| store.list(folder).unwrap());
    let by_last = format!("-g{}", replay.generation);
    files
        .map(|file| file.path)
        .filter(|path| !named.contains(path) && !path.contains(&by_last))
        .collect()
}

fn command(stage: &Stage, chain: &Chain) -> Command {
    let mut command = job(stage, chain.database);
    // Small, so that there are many.
    command.args(["--set", "epoch_records=10"]);
    let kept = chain.checkpoints_kept;
    command.args(["--set", &format!("checkpoints_kept={kept}")]);
    command
}

/// The failpoint has killed a process, and no other one has ended but for that.
fn assert_killed(ends: &[Ended], failpoint: &str, layout: Layout) {
    let killed = |ended: &&Ended| {
        ended.status.signal() == Some(libc::SIGKILL) && ended.said.contains(failpoint)
    };
    let others = ends.iter().filter(|ended| !killed(ended));
    let codes: Vec<_> = others.map(|ended| ended.status.code()).collect();
    let lost = codes
        .iter()
        .all(|code| *code == Some(exit::PEER_LOST.into()));
    assert!(
        codes.len() < ends.len() && lost,
        "{failpoint} with {layout:?}: {ends:#?}"
    );
}
