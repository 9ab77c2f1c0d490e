//! A stop that can't drain.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use stream_job::checkpoint::epoch_log;
use stream_job::ops::job::exit;

use crate::reference::recording::Plan;
use crate::runs::{PATIENCE, end_of, follow, job, log_of};
use crate::stage::{Stage, compare};
use crate::warehouse_process::serve;

const DATABASE: &str = "stopped";

#[test]
fn a_stop_while_the_warehouse_is_away_ends_in_time_and_the_next_start_lands_the_rest() {
    let data = tempfile::tempdir().unwrap();
    let warehouse = serve(data.path(), 0);
    let port = warehouse.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let plan = Plan {
        seed: 71,
        traces: 500,
        ..Plan::default()
    };
    let stage = Stage::at(&warehouse.url, DATABASE, plan);
    let log = log_of(&stage, DATABASE);
    let stderr = stage.path("stderr");
    let mut command = job(&stage, DATABASE);
    command.args(["--set", "drain_timeout=1s"]);
    let mut running = command
        .stderr(File::create(&stderr).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&stderr).unwrap();
    until("epochs are cut", || bytes_in(&log) > 15_000);

    drop(warehouse);
    until("the job misses the warehouse", || {
        said().contains("waiting for the warehouse")
    });
    // SAFETY: kill has no memory effects, and the number is our child's.
    unsafe { libc::kill(i32::try_from(running.id()).unwrap(), libc::SIGTERM) };
    let status = status_of(&mut running);
    let said = said();
    assert_eq!(status.code(), Some(exit::NOT_DRAINED.into()), "{said}");
    let last = said.lines().last().unwrap();
    let cut = epoch_log::read(&log).unwrap().epochs.last().unwrap().epoch;
    assert!(
        last.contains(&format!(
            "to {cut} have not all landed within 1 s of the stop"
        )),
        "{last}"
    );
    assert!(last.contains("waiting for the warehouse at"), "{last}");

    let _warehouse = serve(data.path(), port);
    end_of(&stage, job(&stage, DATABASE)).succeeded();
    follow(&stage, &log, "undisturbed", 1);
    compare(&stage, DATABASE, "undisturbed");
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().metadata().map_or(0, |data| data.len()))
        .sum()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(
            since.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn status_of(child: &mut Child) -> ExitStatus {
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if since.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the job has not ended within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
