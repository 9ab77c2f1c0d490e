//! Kills at any instant.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use stream_job::checkpoint::epoch_log;
use stream_job::ops::settings::Settings;

use crate::against_reference::compare_with_reference;
use crate::reference::recording::{Dice, Plan};
use crate::runs::{PATIENCE, end_of, follow, job, log_of};
use crate::stage::{Stage, compare};

const KILLS: usize = 7;

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.map(|entry| entry.unwrap().metadata().map_or(0, |data| data.len()));
    sizes.sum()
}

/// Waits until the log has grown to `bytes`; `false` if the job ends before.
fn wait_for_log(job: &mut Child, log: &Path, bytes: u64) -> bool {
    let since = Instant::now();
    while bytes_in(log) < bytes {
        assert!(since.elapsed() < PATIENCE, "the job does not come on");
        if job.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn a_job_killed_again_and_again_leaves_the_tables_of_an_undisturbed_one() {
    let plan = Plan {
        processes: 1,
        seed: 41,
        traces: 500,
        ..Plan::default()
    };
    let stage = Stage::new("killed", plan);
    let log = log_of(&stage, "killed");
    let mut dice = Dice::new(u64::from(std::process::id()));
    for kill in 0..KILLS {
        let mut running = job(&stage, "killed").spawn().unwrap();
        let before = bytes_in(&log);
        // By turns soon after the start, while the log is replayed, and later, while it grows.
        let (growth, pause_ms) = if kill % 2 == 1 {
            (1, dice.below(400))
        } else {
            (15_000 + dice.below(25_000), dice.below(20))
        };
        let went_on = wait_for_log(&mut running, &log, before + growth);
        std::thread::sleep(Duration::from_millis(pause_ms));
        assert!(
            went_on && running.try_wait().unwrap().is_none(),
            "the job ended before it was killed {KILLS} times"
        );
        running.kill().unwrap();
        running.wait().unwrap();
    }
    end_of(&stage, job(&stage, "killed")).succeeded();
    let replay = epoch_log::read(&log).unwrap();
    assert!(replay.epochs.last().unwrap().end_of_input);
    assert_eq!(replay.generation, KILLS as u64 + 1);

    follow(&stage, &log, "undisturbed", 2);
    compare(&stage, "killed", "undisturbed");
    compare_with_reference(&stage, &settings(), &replay);
}

/// The settings of a stage, as the reference reads them.
fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        allowed_lateness: seconds(45),
        dedup_horizon: seconds(120),
        orphan_grace: seconds(15),
        trace_ttl: seconds(150),
        session_idle: seconds(40),
        session_ttl: seconds(300),
        loop_min_repeats: 3,
        max_spans_per_trace: 8,
        max_traces_per_session: 1,
        top_n: 3,
        sink_shards: 4,
        ..Settings::default()
    }
}
