//! The topic of dead letters, held against the table.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use dev::sql::Sql;
use dev::wait;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::stage::Stage;
use crate::topic;
use crate::wire::{Outgoing, Span, now_ns, producer, request, send_all};

const TOPIC: &str = "agent.deadletter";
const LIMIT: Duration = Duration::from_secs(30);

/// What must be equal in the topic and in the table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Letter {
    pub(crate) unit: String,
    pub(crate) error_code: String,
    pub(crate) error: String,
    topic: String,
    partition: String,
    offset: String,
    payload_hash: u64,
}

/// Letters by id, from the table.
fn in_table(sql: &Sql) -> BTreeMap<String, Letter> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        #[serde(flatten)]
        letter: Letter,
    }
    let rows: Vec<Row> = sql
        .rows(
            "SELECT concat(topic, '/', toString(partition), '/', toString(offset),
                        if(unit IN ('span', 'point'), concat('/', toString(index)), '')) AS id,
                    unit, error_code, error, topic, toString(partition) AS partition, toString(offset) AS offset,
                    xxh3(payload) AS payload_hash
             FROM ods_dead_letter",
        )
        .unwrap();
    rows.into_iter().map(|row| (row.id, row.letter)).collect()
}

/// Letters by id, from the topic, and how many copies came besides: a letter may come more than once.
fn in_topic(bootstrap: &str) -> (BTreeMap<String, Letter>, usize) {
    let received = topic::all_of(bootstrap, TOPIC);
    topic::by_id(received.iter().map(|received| {
        let letter = Letter {
            unit: received.header("spanflow-unit"),
            error_code: received.header("spanflow-error-code"),
            error: received.header("spanflow-error"),
            topic: received.header("spanflow-topic"),
            partition: received.header("spanflow-partition"),
            offset: received.header("spanflow-offset"),
            payload_hash: xxh3_64(received.value.as_deref().unwrap_or_default()),
        };
        (received.header("spanflow-dead-letter-id"), letter)
    }))
}

/// The topic holds what the table holds. Gives the letters by id, and how many copies the topic has.
pub(crate) fn assert_topic_is_table(
    bootstrap: &str,
    sql: &Sql,
) -> (BTreeMap<String, Letter>, usize) {
    let table = in_table(sql);
    let (topic, copies) = in_topic(bootstrap);
    assert_eq!(topic, table);
    (table, copies)
}

#[test]
fn dead_letters_that_are_sent_again_land_once_and_are_shown_as_replayed() {
    let mut stage = Stage::start(&[("max_future_skew", "5s")]);
    let bootstrap = stage.system.kafka.bootstrap();
    // A span from more than a day ahead is rejected; it can land when that is no longer so.
    let ahead_ns = 24 * 3_600 * 1_000_000_000 + 6_000_000_000;
    let (early, good) = (Span::ending_at(now_ns() + ahead_ns), Span::now());
    let bad = Outgoing {
        topic: "otlp_spans",
        key: Some(b"a key".to_vec()),
        payload: Some(request("late-lander", &[good.view(), early.view()])),
        ..Outgoing::default()
    };
    let broken = Outgoing {
        topic: "otlp_spans",
        payload: Some(b"{\"resourceSpans\": 7}".to_vec()),
        ..Outgoing::default()
    };
    send_all(&producer(&bootstrap, &[]), &[bad, broken]);
    let status = |status: &str| {
        format!("SELECT count() FROM ods_dead_letter_status WHERE status = '{status}'")
    };
    stage.wait_for(&status("open"), 2, LIMIT);
    let planned = replay(&stage, &["--where", "1", "--dry-run"]);
    assert!(
        planned.contains("2 dead letters") && planned.contains("nothing was sent"),
        "{planned}"
    );

    wait::until("the span's time has come", LIMIT, LIMIT / 100, || {
        let is_there = early.end_ns < now_ns() + 24 * 3_600 * 1_000_000_000;
        Ok(is_there.then_some(()))
    })
    .unwrap();
    let sent = replay(&stage, &["--where", "topic = 'otlp_spans'"]);
    assert!(sent.contains("2 sent"), "{sent}");
    stage.wait_for(
        "SELECT count() FROM dwd_span WHERE agent = 'late-lander'",
        2,
        LIMIT,
    );
    stage.wait_for(&status("replayed"), 1, LIMIT);
    // The broken record was rejected again, as a letter that stands for the same one.
    stage.wait_for(&status("rejected"), 2, LIMIT);

    let again = replay(&stage, &["--where", "unit = 'span'", "--again"]);
    assert!(again.contains("1 sent"), "{again}");
    stage.wait_for("SELECT sum(spans_duplicate) FROM ods_record", 1, LIMIT);
    let nothing = replay(&stage, &["--where", "unit = 'span'"]);
    assert!(nothing.contains("0 dead letters"), "{nothing}");
    stage.stop_job();
    assert_eq!(
        stage.number("SELECT count() FROM dwd_span WHERE agent = 'late-lander'"),
        2
    );
    stage.reconcile();
}

/// Runs `stream-job replay-dead-letters` and gives what it prints.
fn replay(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = Command::new(dev::paths::binary("stream-job").unwrap());
    command.arg("replay-dead-letters").args(arguments);
    for setting in [
        format!("kafka_bootstrap_servers={}", stage.system.kafka.bootstrap()),
        format!("clickhouse_url={}", stage.system.warehouse.url()),
        format!("clickhouse_database={}", dev::warehouse::DATABASE),
    ] {
        command.arg("--set").arg(setting);
    }
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    String::from_utf8(done.stdout).unwrap()
}
