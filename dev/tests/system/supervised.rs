//! A job under `stream-job submit`: its process is killed, then its supervisor, while data flows.

use std::time::Duration;

use dev::wait;
use serde_json::Value;

use crate::landed::{assert_nothing_twice, counts, expected};
use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn a_supervised_job_outlives_its_process_and_its_supervisor() {
    let mut stage = Stage::start_supervised(&[]);
    let agents = stage.agents(150.0, &["--duplicate-rate", "0.05"]);
    wait_for_more_spans(&stage);
    let before = in_state(&stage, "running");
    assert_eq!(before["restarts"], 0, "{before}");

    kill(stage.system.job.worker_pids().unwrap()[0]);
    let after = wait::until("a restart", SOON, PAUSE, || {
        let status = stage.system.job.status()?;
        let again = status["restarts"] == 1 && status["state"] == "running";
        Ok(again.then_some(status))
    })
    .unwrap();
    let reason = after["last_restarts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("SIGKILL"), "{reason}");
    assert_eq!(after["timeline"], before["timeline"]);
    let generation = |status: &Value| status["generation"].as_u64().unwrap();
    assert_eq!(generation(&after), generation(&before) + 1);
    wait_for_more_spans(&stage);

    let orphans = stage.system.job.worker_pids().unwrap();
    stage.system.job.kill();
    wait::until("its processes end with it", SOON, PAUSE, || {
        Ok((!orphans.iter().any(|&pid| lives(pid))).then_some(()))
    })
    .unwrap();
    stage.system.job.restart().unwrap();
    wait_for_more_spans(&stage);

    let report = agents.stop();
    stage.system.wait_until_drained(SOON).unwrap();
    assert_the_status_tells_of_it(&stage);
    stage.stop_job();
    let sql = stage.system.sql();
    assert_eq!(counts(&sql), expected(&report));
    assert_nothing_twice(&sql);
    let generations = stage.number("SELECT uniqExact(generation) FROM ops_epoch");
    assert_eq!(generations, 3, "each start wrote epochs of its own");
    stage.reconcile();
}

fn in_state(stage: &Stage, state: &str) -> Value {
    wait::until(&format!("the job is {state}"), SOON, PAUSE, || {
        let status = stage.system.job.status()?;
        Ok((status["state"] == state).then_some(status))
    })
    .unwrap()
}

/// All that was read has landed, from every partition, and the operators have worked for it.
fn assert_the_status_tells_of_it(stage: &Stage) {
    let status = in_state(stage, "running");
    let partitions = status["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 15, "{status}");
    let process = &status["processes"][0];
    assert!(process["resident_memory_bytes"].as_u64().unwrap() > 1 << 20);
    let operators = status["operators"].as_array().unwrap();
    for name in [
        "source", "scan", "dedup", "admit", "windows", "sessions", "sink",
    ] {
        let found = operators.iter().find(|one| one["operator"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {status}"));
        for share in ["busy", "backpressure"] {
            let share = found[share].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&share), "{found}");
        }
    }
    let busy = stage
        .system
        .job
        .metric("spanflow_operator_busy_seconds_total");
    assert!(busy.unwrap() > Some(0.0));
}

fn wait_for_more_spans(stage: &Stage) {
    let spans = || stage.system.sql().number("SELECT count() FROM dwd_span");
    let before = spans().unwrap();
    wait::until("spans land", SOON, PAUSE, || {
        Ok((spans()? > before + 100).then_some(()))
    })
    .unwrap();
}

pub(crate) fn kill(pid: u32) {
    // SAFETY: kill has no memory effects; the process is one that this test has started.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
}

fn lives(pid: u32) -> bool {
    // A zombie that nobody reaps has ended too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
