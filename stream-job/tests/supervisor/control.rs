//! Control over HTTP and by the commands.

use std::process::Output;

use serde_json::json;

use crate::stage::{Stage, WORKS};

/// Runs a command against the supervisor at a URL.
async fn ask(url: &str, words: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_stream-job"))
        .args(words)
        .args(["--url", url])
        .output()
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_ask_the_supervisor() {
    let stage = Stage::new().await;
    let does = format!("echo at work >&2\n{WORKS}");
    let mut job = stage.submit(&does, &["job=agents"]).await;
    let status = job.in_state("running").await;
    let url = job.client().url();

    let text = said(&ask(&url, &["status"]).await);
    assert!(text.starts_with("agents: running"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&said(&ask(&url, &["status", "--json"]).await)).unwrap();
    assert_eq!(json["timeline"], status["timeline"]);
    let made = said(&ask(&url, &["savepoint", "before"]).await);
    assert_eq!(made, "savepoints/before: epoch 7, 9 bytes\n");
    let lines = said(&ask(&url, &["logs"]).await);
    assert!(lines.contains("0| at work\n"), "{lines}");
    let listed = tokio::process::Command::new(env!("CARGO_BIN_EXE_stream-job"))
        .args(["list", "--set"])
        .arg(format!("state_dir={}", stage.path("state").display()))
        .output()
        .await
        .unwrap();
    let listed = said(&listed);
    assert!(
        listed
            .lines()
            .any(|l| l.starts_with("agents") && l.contains(&url)),
        "{listed}"
    );
    let text = said(&ask(&url, &["cancel"]).await);
    assert!(text.contains("has landed"), "{text}");
    assert!(job.ended().await.success());
    let absent = ask(&url, &["status"]).await;
    assert!(!absent.status.success());
    let words = String::from_utf8_lossy(&absent.stderr);
    assert!(words.contains("no job answers at"), "{words}");
}

#[tokio::test]
async fn a_job_is_cancelled_with_and_without_draining() {
    for (drain, drained) in [(true, 1), (false, 0)] {
        let stage = Stage::new().await;
        let mut job = stage.submit(WORKS, &[]).await;
        job.in_state("running").await;
        let path = "/api/v1/jobs/spanflow/cancel";
        let (status, body) = job.post(path, &json!({ "drain": drain })).await;
        assert_eq!((status, &body["name"]), (202, &json!("spanflow")));
        assert!(job.ended().await.success());
        assert_eq!(stage.stderr().matches("0| drained").count(), drained);
    }
}

#[tokio::test]
async fn callers_need_the_token_and_processes_get_another() {
    let stage = Stage::new().await;
    let job = stage.submit_with(WORKS, &[], "s3cret").await;
    job.in_state("running").await;
    let stranger = stream_job::ops::client::Client::at(&job.client().url(), "").unwrap();
    for path in ["/metrics", "/api/v1/jobs", "/api/v1/jobs/spanflow"] {
        assert_eq!(stranger.get(path).await.unwrap().status, 401, "{path}");
    }
    let drain = json!({ "drain": true });
    let cancel = stranger.post("/api/v1/jobs/spanflow/cancel", &drain);
    assert_eq!(cancel.await.unwrap().status, 401);
    assert_eq!(stranger.get("/healthz").await.unwrap().status, 200);
    assert_ne!(stage.lines("token"), ["s3cret"]);
}

#[tokio::test]
async fn metrics_come_with_their_process_and_the_supervisors_own() {
    let stage = Stage::new().await;
    let job = stage.submit(WORKS, &["processes=2"]).await;
    job.in_state("running").await;
    let (_, text) = job.get("/metrics").await;
    let text = text.as_str().unwrap();
    for line in [
        "spanflow_epoch{process=\"0\"} 7",
        "spanflow_epoch{process=\"1\"} 7",
        "spanflow_job_state{state=\"running\"} 1",
        "spanflow_job_processes 2",
        "spanflow_job_restarts_total 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn a_log_is_read_on_from_where_the_last_page_ended() {
    let stage = Stage::new().await;
    let job = stage.submit(&format!("seq 1 50 >&2\n{WORKS}"), &[]).await;
    job.in_state("running").await;
    let page = crate::stage::until("all lines", async || {
        let (_, page) = job.get("/api/v1/jobs/spanflow/logs?lines=5").await;
        let last = page["lines"].as_array()?.last()?["text"].clone();
        (last == "50").then_some(page)
    })
    .await;
    assert_eq!(page["lines"].as_array().unwrap().len(), 5);
    let next = page["next"].as_u64().unwrap();
    let (_, none) = job
        .get(&format!("/api/v1/jobs/spanflow/logs?from={next}"))
        .await;
    assert_eq!(none, json!({ "lines": [], "next": next }));
    let (_, one) = job
        .get(&format!(
            "/api/v1/jobs/spanflow/logs?from={}&lines=1",
            next - 2
        ))
        .await;
    assert_eq!(one["lines"][0]["text"], "49");
    assert_eq!(one["next"], next - 1);
}

#[tokio::test]
async fn health_and_readiness_are_those_of_the_processes() {
    let stage = Stage::new().await;
    let job = stage.submit(WORKS, &[]).await;
    job.in_state("running").await;
    assert_eq!(job.get("/readyz").await.0, 200);
    *stage.fake.healthy.lock().unwrap() = false;
    let (status, said) = job.get("/healthz").await;
    assert_eq!(
        (status, said),
        (503, json!("process 0: the dataflow has not moved\n"))
    );
}
