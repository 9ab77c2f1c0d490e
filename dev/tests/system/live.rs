//! Agents of every convention send for a while: what they say they sent is in every layer.

use std::collections::BTreeSet;
use std::time::Duration;

use dev::demo::check::{Counts, Line, others, table};
use dev::simulator::Report;
use serde::Deserialize;
use serde_json::Value;

use crate::dead_letters::assert_topic_is_table;
use crate::landed::{assert_nothing_twice, counts, expected};
use crate::stage::{DRAIN_LIMIT, Stage};
use crate::wire::{Outgoing, Span, producer, request, send_all};

#[test]
fn what_live_agents_say_they_sent_is_in_every_layer() {
    let mut stage = Stage::start(&[]);
    let agents = stage.agents(
        250.0,
        &[
            "--total-sessions",
            "60",
            "--loop-rate",
            "0.15",
            "--bad-rate",
            "0.05",
            "--duplicate-rate",
            "0.05",
            "--orphan-rate",
            "0.03",
        ],
    );
    let report = agents.ended();
    stage.system.wait_until_drained(DRAIN_LIMIT).unwrap();
    assert_the_job_tells_of_it(&mut stage, &report);
    let sql = stage.system.sql();
    assert_eq!(counts(&sql), expected(&report));
    assert_the_demo_leaves_out_what_others_send(&mut stage, &report);
    stage.stop_job();
    assert_nothing_twice(&sql);
    let conventions = stage.number("SELECT uniqExact(convention) FROM dwd_span");
    assert!(conventions >= 5, "only {conventions} conventions were sent");
    let (letters, copies) = assert_topic_is_table(&stage.system.kafka.bootstrap(), &sql);
    assert!(letters.len() > 5, "only {} bad records", letters.len());
    assert_eq!(copies, 0, "nothing was replayed, so nothing is sent twice");
    assert_loops_are_those_planted(&stage, &report);
    stage.reconcile();
}

/// The demo holds what landed against its own agents' report, and a user may have tried an agent of theirs meanwhile.
fn assert_the_demo_leaves_out_what_others_send(stage: &mut Stage, report: &Value) {
    let report: Report = serde_json::from_value(report.clone()).unwrap();
    let sql = stage.system.sql();
    let agree = |others: &[String]| {
        let lines = Counts::ask(&sql, 0, others).unwrap().compare(&report);
        assert!(lines.len() > 10, "{}", table(&lines));
        lines.iter().all(Line::agrees)
    };
    let none: [String; 0] = [];
    assert_eq!(others(&sql, 0, &report).unwrap(), none);
    assert!(agree(&none));

    let name = r"it's \ mine";
    let payload = request(name, &[Span::now().view()]);
    let producer = producer(&stage.system.kafka.bootstrap(), &[]);
    let outgoing = Outgoing {
        topic: "otlp_spans",
        payload: Some(payload),
        ..Outgoing::default()
    };
    send_all(&producer, &[outgoing]);
    stage.system.wait_until_drained(DRAIN_LIMIT).unwrap();
    let others = others(&sql, 0, &report).unwrap();
    assert_eq!(others, [name]);
    assert!(!agree(&none), "one span more than was sent");
    assert!(agree(&others));
    let newest = stage.number("SELECT max(epoch) FROM ops_epoch");
    let nothing = Counts::ask(&sql, newest, &[]).unwrap();
    assert!(nothing.compare(&Report::default()).is_empty());
}

fn assert_loops_are_those_planted(stage: &Stage, report: &Value) {
    #[derive(Deserialize)]
    struct Row {
        session_id: String,
    }
    let flagged: Vec<Row> = stage
        .system
        .sql()
        .rows("SELECT DISTINCT session_id FROM ads_anomaly_latest WHERE detector = 'loop'")
        .unwrap();
    let flagged: BTreeSet<String> = flagged.into_iter().map(|row| row.session_id).collect();
    let planted: BTreeSet<String> = report["loops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|planted| planted["session_id"].as_str().unwrap().to_owned())
        .collect();
    assert!(!planted.is_empty(), "no loop was planted");
    assert_eq!(flagged, planted);
}

/// Metrics, status and health checks say what happened.
fn assert_the_job_tells_of_it(stage: &mut Stage, report: &Value) {
    let job = &stage.system.job;
    let server = job.server();
    let ask = |path: &str| server.get(path, Duration::from_secs(5)).unwrap();
    assert_eq!((ask("/healthz").status, ask("/readyz").status), (200, 200));
    let sent = |path: &[&str]| {
        let value = path.iter().fold(report, |value, name| &value[*name]);
        value.as_f64().unwrap()
    };
    let (landed, duplicate, rejected) = (
        sent(&["expected", "spans_landed"]),
        sent(&["expected", "spans_duplicate"]),
        sent(&["expected", "spans_rejected"]),
    );
    let dead_records = stage.number("SELECT count() FROM ods_dead_letter WHERE unit = 'record'");
    let bytes = stage.number("SELECT sum(length(payload)) FROM ods_record");
    for (metric, wanted) in [
        ("spanflow_spans_in_total", landed + duplicate + rejected),
        ("spanflow_spans_landed_total", landed),
        ("spanflow_spans_duplicate_total", duplicate),
        ("spanflow_spans_rejected_total", rejected),
        (
            "spanflow_dead_letters_total",
            rejected + dead_records as f64,
        ),
        ("spanflow_records_total", sent(&["expected", "records"])),
        ("spanflow_record_bytes_total", bytes as f64),
        ("spanflow_partition_lag_records", 0.0),
        ("spanflow_insert_retries_total", 0.0),
        ("spanflow_ready", 1.0),
    ] {
        assert_eq!(job.metric(metric).unwrap(), Some(wanted), "{metric}");
    }
    let inserts = job.metric("spanflow_insert_seconds_count").unwrap();
    assert!(inserts > Some(0.0), "no insert was timed: {inserts:?}");
    let status: Value = serde_json::from_slice(&ask("/api/v1/status").body).unwrap();
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["spans"]["landed"].as_f64(), Some(landed), "{status}");
}
