//! A running job is handed over to another program, and back.

use serde_json::{Value, json};

use crate::stage::{Stage, Supervised, WORKS};

async fn hand_over(job: &Supervised, binary: &str) -> (u16, Value) {
    let body = json!({ "binary": binary });
    job.post("/api/v1/jobs/spanflow/handover", &body).await
}

/// The flag `--from` of every start, in order.
fn savepoints(stage: &Stage) -> Vec<Option<String>> {
    let from = |line: &String| {
        let mut words = line.split(' ').skip_while(|word| *word != "--from");
        words.nth(1).map(str::to_owned)
    };
    stage.lines("args").iter().map(from).collect()
}

#[tokio::test]
async fn the_new_program_starts_from_the_savepoint_that_stopped_the_old_one() {
    let stage = Stage::new().await;
    let job = stage.submit(WORKS, &[]).await;
    job.in_state("running").await;
    stage.program(
        "jobs/stream-job-2",
        &format!("touch \"$STAGE/new\"\n{WORKS}"),
    );
    let (status, done) = hand_over(&job, "stream-job-2").await;
    assert_eq!(
        (status, &done["handed_over"]),
        (200, &json!(true)),
        "{done}"
    );
    assert!(stage.path("new").exists());
    let savepoint = done["savepoint"].as_str().unwrap().to_owned();
    assert_eq!(savepoints(&stage), [None, Some(savepoint)]);
    let status = job.in_state("running").await;
    assert!(
        status["program"]
            .as_str()
            .unwrap()
            .ends_with("jobs/stream-job-2")
    );
    assert_eq!(status["restarts"], 0);

    // After a failure the new program is started again, and goes on from its own checkpoints.
    crate::stage::kill(stage.started(2).await);
    stage.started(3).await;
    assert_eq!(savepoints(&stage)[2], None);
    let status = job.in_state("running").await;
    assert!(
        status["program"]
            .as_str()
            .unwrap()
            .ends_with("jobs/stream-job-2")
    );
}

#[tokio::test]
async fn a_new_program_that_fails_or_is_not_ready_in_time_gives_way_to_the_old_one() {
    for (does, reason) in [
        ("exit 3", "exit code 3"),
        ("while :; do sleep 0.02; done", "not ready within 1 s"),
    ] {
        let stage = Stage::new().await;
        let job = stage.submit(WORKS, &["handover_timeout=1s"]).await;
        job.in_state("running").await;
        stage.silent_program("jobs/new", does);
        let (status, done) = hand_over(&job, "new").await;
        assert_eq!(
            (status, &done["handed_over"]),
            (200, &json!(false)),
            "{done}"
        );
        assert!(done["reason"].as_str().unwrap().contains(reason), "{done}");
        let savepoint = Some(done["savepoint"].as_str().unwrap().to_owned());
        stage.started(3).await;
        assert_eq!(savepoints(&stage), [None, savepoint.clone(), savepoint]);
        let status = job.in_state("running").await;
        assert!(
            status["program"].as_str().unwrap().ends_with("/program"),
            "{status}"
        );
    }
}

#[tokio::test]
async fn without_a_savepoint_the_job_goes_on_as_it_was() {
    let stage = Stage::new().await;
    let job = stage.submit(WORKS, &[]).await;
    job.in_state("running").await;
    stage.program("jobs/new", WORKS);
    *stage.fake.savepoint.lock().unwrap() = (501, json!({ "error": "no savepoints here" }));
    let (status, body) = hand_over(&job, "new").await;
    assert_eq!(status, 409);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("no savepoints here"),
        "{body}"
    );
    job.in_state("running").await;
    assert_eq!(stage.lines("args").len(), 1);
}

#[tokio::test]
async fn a_stop_that_comes_after_its_hand_over_was_given_up_does_not_end_the_job() {
    let stage = Stage::new().await;
    let mut job = stage.submit(WORKS, &[]).await;
    job.in_state("running").await;
    stage.program("jobs/new", WORKS);
    *stage.fake.savepoint.lock().unwrap() = (500, json!({ "error": "it took too long" }));
    assert_eq!(hand_over(&job, "new").await.0, 409);
    let stop = || std::fs::write(stage.path("stop"), "").unwrap();
    stop();
    stage.started(2).await;
    let status = job.in_state("running").await;
    assert_eq!(status["restarts"], 1, "{status}");
    let reason = status["last_restarts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("was given up"), "{reason}");
    // It ends by itself after that, and stays so.
    stop();
    assert!(job.ended().await.success());
    assert_eq!(savepoints(&stage), [None, None]);
}

#[tokio::test]
async fn programs_outside_the_folder_are_refused() {
    let stage = Stage::new().await;
    let job = stage.submit(WORKS, &[]).await;
    job.in_state("running").await;
    for binary in ["../program", "/bin/sh", "..", "absent"] {
        let (status, body) = hand_over(&job, binary).await;
        assert_eq!(status, 400, "{binary}: {body}");
    }
    assert_eq!(stage.lines("args").len(), 1);
}

#[tokio::test]
async fn the_command_hands_over_and_says_how_it_went() {
    let stage = Stage::new().await;
    let job = stage.submit(WORKS, &[]).await;
    job.in_state("running").await;
    stage.program("jobs/good", WORKS);
    stage.silent_program("jobs/bad", "exit 4");
    let run = async |binary: &str| {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_stream-job"))
            .args(["submit", "--binary", binary, "--to", &job.client().url()])
            .output()
            .await
            .unwrap()
    };
    let output = run("good").await;
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("good took over from savepoints/"));
    let output = run("bad").await;
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("the old program runs again"), "{words}");
}
