//! A running job is handed over to another program by `submit --to`, and back, with real programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use dev::{paths, wait};
use serde_json::Value;

use crate::landed::{assert_nothing_twice, counts, expected};
use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn a_job_is_handed_over_to_another_program_and_back_from_one_that_fails() {
    hand_over_and_back(&[("handover_timeout", "20s")], 1);
}

#[test]
fn two_processes_of_two_workers_are_handed_over_to_others_and_back() {
    let layout = [
        ("handover_timeout", "30s"),
        ("processes", "2"),
        ("workers", "2"),
        ("sink_shards", "4"),
    ];
    hand_over_and_back(&layout, 2);
}

fn hand_over_and_back(settings: &[(&str, &str)], processes: usize) {
    let cluster_port = dev::ports::free::<1>().unwrap()[0].to_string();
    let mut all = vec![("cluster_port", cluster_port.as_str())];
    all.extend_from_slice(settings);
    let mut stage = Stage::start_supervised(&all);
    put_programs(&stage);
    let agents = stage.agents(150.0, &["--duplicate-rate", "0.05"]);
    wait_for_more_spans(&stage);
    let before = running(&stage, processes);

    let output = hand_over(&stage, "stream-job-2");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(said.starts_with("stream-job-2 took over from savepoints/"));
    wait_for_more_spans(&stage);
    let after = running(&stage, processes);
    let program = after["program"].as_str().unwrap();
    assert!(program.ends_with("jobs/stream-job-2"), "{program}");
    assert_eq!(after["restarts"], 0, "{after}");
    assert_ne!(after["timeline"], before["timeline"], "it is a fork");

    let output = hand_over(&stage, "broken");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("the old program runs again"), "{said}");
    assert!(said.contains("exit code 7"), "{said}");
    wait_for_more_spans(&stage);
    let back = running(&stage, processes);
    assert_eq!(back["program"].as_str().unwrap(), program);
    assert_ne!(
        back["timeline"], after["timeline"],
        "it is a fork of its own"
    );

    let report = agents.stop();
    stage.drain();
    let sql = stage.system.sql();
    assert_eq!(counts(&sql), expected(&report));
    assert_nothing_twice(&sql);
    assert_eq!(stage.number("SELECT uniqExact(timeline) FROM ops_epoch"), 3);
    stage.reconcile();
}

fn jobs(stage: &Stage) -> PathBuf {
    stage.system.home().job().with_file_name("jobs")
}

/// The job's program under another name, and one that ends at once.
fn put_programs(stage: &Stage) {
    let jobs = jobs(stage);
    fs::create_dir_all(&jobs).unwrap();
    fs::copy(
        paths::binary("stream-job").unwrap(),
        jobs.join("stream-job-2"),
    )
    .unwrap();
    let broken = jobs.join("broken");
    fs::write(&broken, "#!/bin/sh\necho not today >&2\nexit 7\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
}

fn hand_over(stage: &Stage, binary: &str) -> Output {
    let url = stage.system.job.url();
    Command::new(paths::binary("stream-job").unwrap())
        .args(["submit", "--binary", binary, "--to", &url])
        .output()
        .unwrap()
}

/// The status of the job once all its processes run.
fn running(stage: &Stage, processes: usize) -> Value {
    wait::until("the job runs", SOON, PAUSE, || {
        let status = stage.system.job.status()?;
        let all = status["processes"].as_array().map(Vec::len) == Some(processes);
        Ok((status["state"] == "running" && all).then_some(status))
    })
    .unwrap()
}

fn wait_for_more_spans(stage: &Stage) {
    let spans = || stage.system.sql().number("SELECT count() FROM dwd_span");
    let before = spans().unwrap();
    wait::until("spans land", SOON, PAUSE, || {
        Ok((spans()? > before + 100).then_some(()))
    })
    .unwrap();
}
