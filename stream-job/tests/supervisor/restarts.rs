//! When processes are started again, when not, and how they end.

use crate::stage::{Stage, WORKS, kill, lives, until};

#[tokio::test]
async fn a_job_that_keeps_failing_is_started_again_with_longer_waits_until_it_gives_up() {
    let stage = Stage::new().await;
    let limits = [
        "restart_backoff_min=20ms",
        "restart_backoff_max=50ms",
        "restart_limit=4",
    ];
    let mut job = stage
        .submit("echo out of cheese >&2; exit 1", &limits)
        .await;
    assert_eq!(job.ended().await.code(), Some(1));
    assert_eq!(stage.lines("args").len(), 4);
    let stderr = stage.stderr();
    for wait in ["in 20 ms", "in 40 ms", "in 50 ms"] {
        assert_eq!(stderr.matches(wait).count(), 1, "{wait}: {stderr}");
    }
    let last = stderr.lines().last().unwrap();
    assert!(
        last.contains("exit code 1: out of cheese") && last.contains("4 failures in a row"),
        "{last}"
    );
    let kept = stage.lines("state/logs/process-0.log");
    assert_eq!(kept, ["out of cheese"; 4]);
}

#[tokio::test]
async fn what_starting_again_can_not_heal_ends_the_supervisor_with_the_same_code() {
    for code in [2, 3, 4] {
        let stage = Stage::new().await;
        let mut job = stage.submit(&format!("exit {code}"), &[]).await;
        assert_eq!(job.ended().await.code(), Some(code));
        assert_eq!(stage.lines("args").len(), 1);
    }
}

#[tokio::test]
async fn a_job_that_ends_as_asked_is_not_started_again() {
    let stage = Stage::new().await;
    let mut job = stage.submit("exit 0", &[]).await;
    assert!(job.ended().await.success());
    assert_eq!(stage.lines("args").len(), 1);
}

#[tokio::test]
async fn a_program_that_can_not_be_started_is_a_failure_like_any_other() {
    let stage = Stage::new().await;
    let mut job = stage
        .submit("exit 0", &["restart_limit=2", "restart_backoff_min=20ms"])
        .await;
    assert!(job.ended().await.success());
    std::fs::write(stage.path("program"), "#!/nowhere/sh\n").unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_stream-job"))
        .args(["submit", "--binary"])
        .arg(stage.path("program"))
        .args([
            "--set",
            "layers=windows",
            "--set",
            "http_listen=127.0.0.1:0",
        ])
        .args([
            "--set",
            "restart_limit=2",
            "--set",
            "restart_backoff_min=20ms",
        ])
        .arg("--set")
        .arg(format!("recording={}", stage.path("recording").display()))
        .arg("--set")
        .arg(format!("state_dir={}", stage.path("state").display()))
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("could not be started"), "{stderr}");
}

#[tokio::test]
async fn a_signal_drains_the_processes_and_a_second_ends_them() {
    let stage = Stage::new().await;
    let mut job = stage.submit(WORKS, &[]).await;
    stage.started(1).await;
    job.in_state("running").await;
    job.signal(libc::SIGTERM);
    assert!(job.ended().await.success());
    assert!(stage.stderr().contains("0| drained"), "{}", stage.stderr());

    let stubborn = Stage::new().await;
    let mut job = stubborn
        .submit("trap '' TERM; while :; do sleep 0.02; done", &[])
        .await;
    let pid = stubborn.started(1).await;
    job.in_state("running").await;
    job.signal(libc::SIGINT);
    job.in_state("draining").await;
    job.signal(libc::SIGINT);
    assert_eq!(job.ended().await.code(), Some(130));
    assert!(!lives(pid));
}

#[tokio::test]
async fn one_killed_process_of_several_has_all_of_them_started_again() {
    let stage = Stage::new().await;
    let set = ["processes=2", "restart_backoff_min=20ms"];
    let mut job = stage.submit(WORKS, &set).await;
    let first = stage.started(2).await;
    job.in_state("running").await;
    kill(first);
    stage.started(4).await;
    let status = until("both answer again", async || {
        let (_, status) = job.get("/api/v1/status").await;
        let both = status["processes"]
            .as_array()
            .is_some_and(|all| all.len() == 2);
        (both && status["state"] == "running").then_some(status)
    })
    .await;
    assert_eq!(status["restarts"], 1, "{status}");
    let reason = status["last_restarts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("was killed (SIGKILL)"), "{reason}");
    let mut told: Vec<String> = stage
        .lines("args")
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect();
    told.sort();
    assert_eq!(told, ["0", "0", "1", "1"], "each is told which one it is");
    let mut secrets = stage.lines("secrets");
    secrets.dedup();
    assert!(secrets.len() == 1 && secrets[0].len() == 32, "{secrets:?}");
    job.signal(libc::SIGTERM);
    assert!(job.ended().await.success());
}

#[tokio::test]
async fn epochs_that_land_between_failures_keep_the_job_going() {
    let stage = Stage::new().await;
    let limits = ["restart_limit=2", "restart_backoff_min=20ms"];
    let mut job = stage.submit(WORKS, &limits).await;
    for start in 1..=4 {
        let pid = stage.started(start).await;
        let epoch = 10 * i64::try_from(start).unwrap();
        stage.fake.status.lock().unwrap().progress.landed_epoch = epoch;
        until("the epoch is seen to land", async || {
            let (_, status) = job.get("/api/v1/status").await;
            (status["landed_epoch"] == epoch).then_some(())
        })
        .await;
        kill(pid);
    }
    // Nothing lands any more: the second failure in a row is one too many.
    let pid = stage.started(5).await;
    job.in_state("running").await;
    kill(pid);
    assert_eq!(job.ended().await.code(), Some(1));
    assert_eq!(stage.lines("args").len(), 5);
}

#[tokio::test]
async fn a_supervisor_that_is_killed_takes_its_processes_with_it() {
    let stage = Stage::new().await;
    let mut job = stage.submit(WORKS, &[]).await;
    let pid = stage.started(1).await;
    assert!(lives(pid));
    job.signal(libc::SIGKILL);
    job.ended().await;
    until("the process ends too", async || (!lives(pid)).then_some(())).await;
}

#[tokio::test]
async fn only_the_first_start_is_told_what_changes_the_store() {
    let stage = Stage::new().await;
    let program = stage.program("program", "exit 1");
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_stream-job"))
        .args(["submit", "--new-timeline", "--binary"])
        .arg(program)
        .args([
            "--set",
            "layers=windows",
            "--set",
            "http_listen=127.0.0.1:0",
        ])
        .args([
            "--set",
            "restart_limit=3",
            "--set",
            "restart_backoff_min=20ms",
        ])
        .arg("--set")
        .arg(format!("recording={}", stage.path("recording").display()))
        .arg("--set")
        .arg(format!("state_dir={}", stage.path("state").display()))
        .args(["--", "--from", "savepoints/s"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told: Vec<bool> = stage
        .lines("args")
        .iter()
        .map(|line| line.contains("--new-timeline --from savepoints/s"))
        .collect();
    assert_eq!(told, [true, false, false]);
}

#[tokio::test]
async fn a_second_supervisor_of_the_same_job_is_refused() {
    let stage = Stage::new().await;
    let mut job = stage.submit(WORKS, &[]).await;
    stage.started(1).await;
    let mut second = stage.submit(WORKS, &[]).await;
    assert_eq!(second.ended().await.code(), Some(3));
    assert!(stage.stderr().contains("supervises this job already"));
    job.signal(libc::SIGTERM);
    assert!(job.ended().await.success());
}

#[tokio::test]
async fn a_source_that_is_not_there_is_told_before_anything_is_started() {
    let stage = Stage::new().await;
    std::fs::remove_dir_all(stage.path("recording")).unwrap();
    let mut job = stage.submit(WORKS, &[]).await;
    assert_eq!(job.ended().await.code(), Some(1));
    assert!(stage.stderr().contains("recording"), "{}", stage.stderr());
    assert!(stage.lines("args").is_empty());
}
