//! The topic of alerts, held against the table.

use std::collections::BTreeMap;
use std::time::Duration;

use dev::sql::Sql;
use dev::wait;
use serde::Deserialize;
use stream_job::decode::encode;

use crate::backfill;
use crate::stage::Stage;
use crate::supervised;
use crate::topic;
use crate::wire::{LIMIT, Outgoing, Span, now_ns, producer, request, send_all};

const TOPIC: &str = "agent.alerts";
const SOON: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// An alert, and a row of the table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    anomaly_id: String,
    detector: String,
    severity: String,
    agent: String,
    step_type: String,
    tool_name: String,
    model: String,
    session_id: String,
    trace_id: String,
    window_start: String,
    window_end: String,
    value: f64,
    expected: f64,
    score: f64,
    evidence: Vec<String>,
    message: String,
    state: String,
    rev: u64,
}

/// Alerts by id, from the table.
fn in_table(sql: &Sql) -> BTreeMap<String, Alert> {
    let rows: Vec<Alert> = sql
        .rows(
            "SELECT * EXCEPT is_deleted
                 REPLACE (formatDateTime(window_start, '%Y-%m-%dT%H:%i:%SZ') AS window_start,
                          formatDateTime(window_end, '%Y-%m-%dT%H:%i:%SZ') AS window_end)
             FROM ads_anomaly",
        )
        .unwrap();
    rows.into_iter()
        .map(|row| (format!("{}/{}", row.anomaly_id, row.rev), row))
        .collect()
}

/// Alerts by id, from the topic, and how many copies came besides.
fn in_topic(bootstrap: &str) -> (BTreeMap<String, Alert>, usize) {
    let received = topic::all_of(bootstrap, TOPIC);
    topic::by_id(received.iter().map(|received| {
        let alert: Alert = serde_json::from_slice(received.value.as_deref().unwrap()).unwrap();
        let key = match alert.session_id.as_str() {
            "" => alert.agent.clone(),
            session_id => format!("{}/{session_id}", alert.agent),
        };
        assert_eq!(received.key.as_deref(), Some(key.as_bytes()));
        assert_eq!(received.header("content-type"), "application/json");
        (received.header("spanflow-alert-id"), alert)
    }))
}

/// Keeps every revision of a flag in the table: a merge would leave the newest alone.
fn keep_every_revision(stage: &Stage) {
    let sql = stage.system.sql();
    sql.text("SYSTEM STOP MERGES ads_anomaly").unwrap();
}

fn wait_for_alerts(stage: &Stage, wanted: u64) {
    let sql = stage.system.sql();
    wait::until("flags land", SOON, PAUSE, || {
        let landed = sql.number("SELECT count() FROM ads_anomaly")?;
        Ok((landed >= wanted).then_some(()))
    })
    .unwrap();
}

/// Lets agents run into loops, kills the job three times meanwhile, and holds the topic against the table.
fn assert_no_alert_is_lost(mut stage: Stage, kill: impl Fn(&mut Stage)) {
    keep_every_revision(&stage);
    let agents = stage.agents(250.0, &["--loop-rate", "0.7"]);
    for _ in 0..3 {
        let landed = stage.number("SELECT count() FROM ads_anomaly");
        wait_for_alerts(&stage, landed + 8);
        kill(&mut stage);
    }
    let landed = stage.number("SELECT count() FROM ads_anomaly");
    wait_for_alerts(&stage, landed + 4);
    drop(agents.stop());
    stage.drain();

    let table = in_table(&stage.system.sql());
    let (topic, copies) = in_topic(&stage.system.kafka.bootstrap());
    let ids = |alerts: &BTreeMap<String, Alert>| alerts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&topic), ids(&table));
    assert_eq!(topic, table);
    assert!(
        copies < table.len(),
        "{copies} copies of {} alerts: a restart sends all of them again",
        table.len()
    );
}

#[test]
fn no_alert_is_lost_by_a_job_that_is_killed() {
    let stage = Stage::start(&[]);
    assert_no_alert_is_lost(stage, |stage| {
        stage.system.job.kill();
        stage.system.job.restart().unwrap();
    });
}

#[test]
fn no_alert_is_lost_when_the_process_that_owns_the_table_is_killed() {
    let cluster_port = dev::ports::free::<1>().unwrap()[0].to_string();
    // Of two workers the second owns `ads_anomaly`.
    let stage = Stage::start_supervised(&[
        ("cluster_port", &cluster_port),
        ("processes", "2"),
        ("workers", "1"),
    ]);
    assert_no_alert_is_lost(stage, |stage| {
        let owner = stage.system.job.worker_pids().unwrap()[1];
        supervised::kill(owner);
        wait::until("other processes", SOON, PAUSE, || {
            let job = &stage.system.job;
            let (status, pids) = (job.status()?, job.worker_pids()?);
            let is_new = pids.len() == 2 && !pids.contains(&owner);
            Ok((is_new && status["state"] == "running").then_some(()))
        })
        .unwrap();
    });
}

/// Six equal calls in a session.
fn a_loop(session: &str) -> Outgoing {
    let spans: Vec<Span> = (0..6)
        .map(|n| Span::ending_at(now_ns() - (6 - n) * 10_000_000))
        .collect();
    let calls: Vec<_> = spans
        .iter()
        .map(|span| {
            let mut view = span.view();
            view.attributes.extend([
                encode::text_attr("session.id", session),
                encode::text_attr("gen_ai.tool.call.arguments", r#"{"q":"the same"}"#),
            ]);
            view
        })
        .collect();
    Outgoing {
        topic: "otlp_spans",
        payload: Some(request("looper", &calls)),
        ..Outgoing::default()
    }
}

#[test]
fn a_loop_is_an_alert_once_and_a_backfill_sends_none() {
    let mut stage = Stage::start(&[]);
    let bootstrap = stage.system.kafka.bootstrap();
    send_all(&producer(&bootstrap, &[]), &[a_loop("s-1")]);
    let flags = "SELECT count() FROM ads_anomaly_latest WHERE session_id = 's-1'";
    stage.wait_for(flags, 1, LIMIT);
    let sent = stage.system.job.metric("spanflow_alerts_total").unwrap();
    assert_eq!(sent, Some(1.0));

    let output = backfill::run(&stage, &["--until", "latest", "--database", "again"]);
    assert!(output.status.success(), "{}", backfill::said(&output));
    let again = stage.system.warehouse.sql_of("again");
    assert_eq!(again.number(flags).unwrap(), 1, "the backfill flags it too");
    stage.stop_job();
    let (alerts, copies) = in_topic(&bootstrap);
    assert_eq!((alerts.len(), copies), (1, 0));
    let alert = alerts.values().next().unwrap();
    assert_eq!((alert.detector.as_str(), alert.value), ("loop", 6.0));
    assert_eq!(
        (alert.state.as_str(), alert.session_id.as_str()),
        ("open", "s-1")
    );
    assert_eq!(alerts, in_table(&stage.system.sql()));
}
