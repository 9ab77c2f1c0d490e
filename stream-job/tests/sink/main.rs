//! The sink against the real engine.

#![allow(clippy::unwrap_used, missing_docs)]
#![recursion_limit = "256"]

mod rows;
#[path = "../warehouse_process/mod.rs"]
mod warehouse_process;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use stream_job::checkpoint::epoch_log::{EpochLog, EpochLogHandle, NewLog, Replay};
use stream_job::sink::block;
use stream_job::sink::durability::sync_inserts;
use stream_job::sink::probe::{ProbeError, prove_warehouse};
use stream_job::sink::tables::{DwdSpan, dws_user, every_table};
use stream_job::sink::target::Target;
use stream_job::sink::writer::{Writer, WriterEvent, WriterHandle, WriterSettings};

use rows::{
    EPOCH, STAMP, aggregate_blocks, close, contents, many_spans, origin, record_blocks, span,
    span_blocks,
};
use warehouse_process::{migrate, serve, shared_url};

/// A job's writer with its log, and what it told.
struct Job {
    writer: Writer,
    events: Arc<Mutex<Vec<WriterEvent>>>,
}

impl Job {
    fn start(log: &Path, target: &Target) -> Job {
        Job::start_changed(log, target, |_| ())
    }

    fn start_changed(log: &Path, target: &Target, change: impl FnOnce(&mut Replay)) -> Job {
        let new = || {
            Ok(NewLog {
                timeline: "t1".to_owned(),
                first_epoch: EPOCH,
                positions: Vec::new(),
                settings: BTreeMap::new(),
                forked_from: None,
            })
        };
        let (log, mut replay) = EpochLog::open(log, new).unwrap();
        change(&mut replay);
        let events: Arc<Mutex<Vec<WriterEvent>>> = Arc::default();
        let told = Arc::clone(&events);
        let writer = Writer::start(
            WriterSettings::new(target.clone()),
            EpochLogHandle::start(log).unwrap(),
            &mut replay,
            // How long each insert took is for the metrics.
            move |event| match event {
                WriterEvent::Inserted { .. } => {}
                event => told.lock().unwrap().push(event),
            },
        );
        Job {
            writer: writer.unwrap(),
            events,
        }
    }

    fn handle(&self) -> WriterHandle {
        self.writer.handle()
    }

    fn finish(self) -> Result<Vec<WriterEvent>, String> {
        self.writer.finish().map_err(|error| error.to_string())?;
        let mut events = self.events.lock().unwrap().clone();
        events.retain(|event| !matches!(event, WriterEvent::Inserted { .. }));
        Ok(events)
    }
}

async fn select(target: &Target, sql: &str) -> Vec<Json> {
    let client = target
        .client()
        .with_setting("output_format_json_quote_64bit_integers", "0");
    let mut cursor = client.query(sql).fetch_bytes("JSONEachRow").unwrap();
    let bytes = cursor.collect().await.unwrap();
    let rows = serde_json::Deserializer::from_slice(&bytes).into_iter();
    rows.map(Result::unwrap).collect()
}

async fn select_one(target: &Target, sql: &str) -> Json {
    let mut rows = select(target, sql).await;
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0)
}

async fn count(target: &Target, table: &str) -> u64 {
    let row = select_one(target, &format!("SELECT count() AS n FROM {table}")).await;
    row["n"].as_u64().unwrap()
}

#[tokio::test]
async fn every_table_lands_with_the_values_pushed() {
    let target = migrate(shared_url(), "values_pushed");
    prove_warehouse(&target).await.unwrap();
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    let blocks = [span_blocks(), record_blocks(), aggregate_blocks()].concat();
    let sent = blocks.len();
    assert_eq!(sent, every_table().len() - 1, "every table but ops_epoch");
    for block in blocks {
        job.handle().send(block).unwrap();
    }
    job.handle().close_epoch(close(EPOCH, sent as u64)).unwrap();
    let metrics = job.handle().metrics();
    let events = job.finish().unwrap();
    assert_eq!(events.len(), sent + 1);
    assert!(matches!(
        events.last(),
        Some(&WriterEvent::Complete { epoch: EPOCH, .. })
    ));
    assert_eq!(metrics.in_flight_bytes.get(), 0);
    assert!(
        metrics
            .tables()
            .all(|(_, table)| table.inserts.get() == 1 && table.rows.get() == 1)
    );

    check_span(&target).await;
    let event = select_one(&target, "SELECT * FROM dwd_event").await;
    assert_eq!(event["time"], "2096-10-02 07:06:40.000001");
    assert_eq!(event["error_type"], "KeyError");
    assert_eq!(event["attributes"], json!({"exception.type": "KeyError"}));

    let sql = "SELECT * EXCEPT (key, payload), hex(key) AS k, hex(payload) AS p FROM ods_record";
    let row = select_one(&target, sql).await;
    assert_eq!((&row["k"], &row["p"]), (&json!("FF00"), &json!("010200FF")));
    let headers = json!([{"name": "content-type", "value": "application/json"}, {"name": "empty", "value": ""}]);
    assert_eq!(row["headers"], headers);
    assert_eq!(
        (&row["spans"], &row["spans_landed"]),
        (&json!(6), &json!(3))
    );
    assert_eq!(row["ingest_time"], "2096-10-02 07:06:40.123");
    let row = select_one(
        &target,
        "SELECT * EXCEPT (key, payload), hex(payload) AS p FROM ods_dead_letter",
    )
    .await;
    assert_eq!(
        (&row["p"], &row["index"], &row["unit"]),
        (&json!("0909"), &json!(4), &json!("span"))
    );

    for table in ["dws_step_1m", "dws_step_5m", "dws_step_1h"] {
        let row = select_one(&target, &format!("SELECT * FROM {table}")).await;
        assert_eq!(row["window_start"], "2096-10-02 07:08:00");
        assert_eq!(
            (&row["final"], &row["is_deleted"]),
            (&json!(true), &json!(0))
        );
        assert_eq!(row["duration_buckets"].as_object().unwrap().len(), 3);
        assert_eq!(row["duration_buckets"]["-1"], 1);
    }
    let row = select_one(&target, "SELECT * FROM dws_trace").await;
    assert_eq!(
        (&row["agents"], &row["max_repeat"]),
        (&json!(["a", "b"]), &json!(4))
    );
    let row = select_one(&target, "SELECT * FROM dws_session").await;
    assert_eq!(
        (&row["flags"], &row["segment"]),
        (&json!(["loop"]), &json!(EPOCH))
    );
    let row = select_one(&target, "SELECT * FROM ads_anomaly").await;
    assert_eq!(
        (&row["value"], &row["evidence"]),
        (&json!(0.25), &json!(["one"]))
    );
    let row = select_one(&target, "SELECT * FROM dws_edge_1m_latest").await;
    assert_eq!(
        (&row["from"], &row["to"], &row["gap_sum_us"], &row["final"]),
        (
            &json!("think"),
            &json!("act:search"),
            &json!(u64::MAX),
            &json!(true)
        )
    );
    let row = select_one(&target, "SELECT * FROM dws_resource_1m_latest").await;
    assert_eq!(
        (&row["instance"], &row["cpu_time_us"], &row["threads_max"]),
        (&json!("i-1"), &json!(u64::MAX), &json!(u32::MAX))
    );
    let row = select_one(&target, "SELECT * FROM dwd_metric_point").await;
    assert_eq!(
        (
            &row["time"],
            &row["value"],
            &row["bounds"],
            &row["bucket_counts"]
        ),
        (
            &json!("2096-10-02 07:07:40.000001"),
            &json!(9.5),
            &json!([0.5, f64::MAX]),
            &json!([1, 2, u64::MAX])
        )
    );
    assert_eq!(
        (
            &row["attributes"]["op"],
            &row["quantile_values"],
            &row["late"]
        ),
        (&json!("chat"), &json!([0.25]), &json!(true))
    );
    let row = select_one(&target, "SELECT * FROM dws_user_1d_latest").await;
    assert_eq!(
        (&row["day"], &row["user_id"], &row["sessions"]),
        (&json!("2096-10-02"), &json!("用户"), &json!(2))
    );
    assert_eq!(
        (&row["cost_nanousd"], &row["last_time"]),
        (&json!(u64::MAX), &json!("2096-10-02 07:06:41.000001"))
    );
    let row = select_one(&target, "SELECT * FROM ads_top_error").await;
    assert_eq!((&row["rank"], &row["count"]), (&json!(300), &json!(7)));
    let row = select_one(&target, "SELECT * FROM ops_epoch").await;
    assert_eq!((&row["epoch"], &row["spans"]), (&json!(EPOCH), &json!(6)));
    assert_eq!(row["watermark"], "2299-12-31 23:59:59.999999");
    assert_eq!(row["timeline"], "t1");
}

#[tokio::test]
async fn a_block_of_users_days_in_more_months_than_an_insert_may_touch_by_default_lands() {
    let target = migrate(shared_url(), "many_months");
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    let mut users = dws_user::users();
    for month in 0..150 {
        users.push(dws_user::UserRow {
            day: 46_296 + 31 * month,
            user_id: "ann".into(),
            rev: EPOCH,
            ..Default::default()
        });
    }
    let blocks = block::cut(&mut users, 0, EPOCH);
    let sent = blocks.len() as u64;
    for block in blocks {
        job.handle().send(block).unwrap();
    }
    job.handle().close_epoch(close(EPOCH, sent)).unwrap();
    // What the warehouse refuses for its number of partitions is tried again for ever.
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(job.finish()));
    let ended = done.recv_timeout(Duration::from_secs(60));
    ended.expect("the block lands within a minute").unwrap();
    assert_eq!(count(&target, "dws_user_1d").await, 150);
}

async fn check_span(target: &Target) {
    let sql =
        "SELECT *, toString(content_hash) AS content, xxh3(trace_id) AS by_engine FROM dwd_span";
    let row = select_one(target, sql).await;
    let long = "数".repeat(300);
    let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(long.as_bytes()));
    let preview = "数".repeat(256);
    let expected = json!({
        "trace_id": "00000000000000000000000000000001", "span_id": "0000000000000002", "parent_span_id": "",
        "trace_ref": "conversation 1", "span_ref": "s1", "parent_span_ref": "s0",
        "trace_hash": row["by_engine"], "content": (u128::MAX - 1).to_string(),
        "start_time": "2096-10-02 07:06:39.000001", "end_time": "2096-10-02 07:06:40.000002",
        "duration_us": 1_000_001, "namespace": "shop", "agent": "shop/agent", "agent_name": "planner",
        "service_name": "agent", "name": "chat gpt", "kind": "client", "scope": "openinference",
        "scope_version": "1.0", "session_id": "session-1", "conversation_id": "conversation-1", "user_id": "用户",
        "step_type": "think", "step_no": 2, "late": true, "convention": "openinference", "model": "gpt-x",
        "provider": "openai", "tool_name": "search", "status": "error", "status_message": "boom",
        "error_type": "Timeout", "error_message": "too slow", "error_stack": "at main",
        "input_tokens": 100, "output_tokens": 20, "cache_read_tokens": 5, "cost_nanousd": 1_250_000,
        "args_hash": u64::MAX, "input_preview": preview, "output_preview": "out", "input_hash": hash,
        "output_hash": "",
        "attributes": {"text": "v", "long": preview, "int": "-7", "double": "0.5", "bool": "true", "list": "[\"x\"]"},
        "attribute_hashes": {"long": hash}, "resource": {"service.name": "agent"}, "trace_state": "a=b",
        "topic": "otlp_spans", "partition": 3, "offset": 8, "index": 5, "_epoch": EPOCH, "_shard": 1,
        "ingest_time": "2096-10-02 07:06:40.123",
    });
    for (column, value) in expected.as_object().unwrap() {
        assert_eq!(&row[column], value, "{column}");
    }
    let links = format!(
        r#"[{{"trace_id":"{}","span_id":"{}"}}]"#,
        "ab".repeat(16),
        "01".repeat(8)
    );
    assert_eq!(row["links"], links);
    let content = select_one(target, "SELECT * FROM dwd_content").await;
    assert_eq!(
        (&content["hash"], &content["content"]),
        (&json!(hash), &json!(long))
    );
}

#[tokio::test]
async fn several_native_blocks_of_one_insert_land_as_one_part() {
    const ROWS: u64 = 150_000;
    let target = migrate(shared_url(), "one_part");
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    let blocks = many_spans(ROWS);
    assert_eq!(blocks.len(), 1);
    assert!(blocks[0].bytes() > 20 << 20);
    job.handle().send(blocks[0].clone()).unwrap();
    job.finish().unwrap();
    let right = "SELECT count() AS n, countIf(name = concat('name-', toString(intDiv(offset, 10))) AND \
                 tool_name = concat('tool-', toString(offset % 7)) AND \
                 span_id = leftPad(lower(hex(toUInt64(offset + 1))), 16, '0') AND \
                 if(offset % 3 = 0, length(attributes) = 0, \
                 attributes[concat('key-', toString(intDiv(offset, 1000)))] = toString(offset) AND \
                 attributes['n'] = toString(offset))) AS good FROM dwd_span";
    assert_eq!(
        select_one(&target, right).await,
        json!({"n": ROWS, "good": ROWS})
    );
    let parts = "SELECT min_block_number AS low, max_block_number AS high, level, rows FROM system.parts \
                 WHERE database = 'one_part' AND table = 'dwd_span' AND active";
    let part = select_one(&target, parts).await;
    assert_eq!(
        (&part["rows"], &part["level"]),
        (&json!(ROWS), &json!(0)),
        "{part}"
    );
    assert_eq!(part["low"], part["high"]);
}

#[tokio::test]
async fn a_replay_sends_what_is_not_acknowledged_and_nothing_lands_twice() {
    let target = migrate(shared_url(), "replay");
    let log = tempfile::tempdir().unwrap();
    let run = |change: fn(&mut Replay)| {
        let job = Job::start_changed(log.path(), &target, change);
        for block in span_blocks() {
            job.handle().send(block).unwrap();
        }
        job.handle().close_epoch(close(EPOCH, 3)).unwrap();
        let metrics = job.handle().metrics();
        let events = job.finish().unwrap();
        assert!(matches!(
            events.last(),
            Some(&WriterEvent::Complete { epoch: EPOCH, .. })
        ));
        metrics.skipped.get()
    };
    assert_eq!(run(|_| ()), 0);
    // Acknowledged: nothing is sent.
    assert_eq!(run(|_| ()), 4);
    // The acks were lost: all is sent, and dropped by token.
    let forget = |replay: &mut Replay| {
        replay
            .blocks
            .values_mut()
            .for_each(|block| block.acked_ms = None)
    };
    assert_eq!(run(forget), 0);
    // The same long ago: the warehouse is asked.
    let long_ago = |replay: &mut Replay| {
        replay
            .blocks
            .values_mut()
            .for_each(|block| block.acked_ms = None);
        replay
            .intents
            .values_mut()
            .for_each(|count| *count += 20_000);
    };
    assert_eq!(run(long_ago), 0);
    for table in ["dwd_span", "dwd_event", "dwd_content", "ops_epoch"] {
        assert_eq!(count(&target, table).await, 1, "{table}");
    }

    // Other rows than promised.
    let job = Job::start(log.path(), &target);
    let mut spans = DwdSpan::default();
    spans.push(
        &span(77, &[]),
        &origin(1),
        1,
        false,
        &STAMP,
        &mut contents(),
    );
    job.handle()
        .send(block::cut(&mut spans, 1, EPOCH).remove(0))
        .unwrap();
    let error = job.finish().unwrap_err();
    assert!(
        error.contains("the replay diverges at block 0 of dwd_span, shard 1"),
        "{error}"
    );
    assert_eq!(count(&target, "dwd_span").await, 1);
}

#[tokio::test]
async fn a_warehouse_that_is_away_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path(), 0);
    let target = migrate(&served.url, "away");
    let port = port_of(&served.url);
    drop(served);
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    for block in span_blocks() {
        job.handle().send(block).unwrap();
    }
    let metrics = job.handle().metrics();
    while metrics.retries.get() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(metrics.waiting_since_ms().is_some());
    assert!(metrics.in_flight_bytes.get() > 0);
    let _served = serve(folder.path(), port);
    let events = tokio::task::spawn_blocking(move || job.finish())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(metrics.waiting_since_ms(), None);
    assert_eq!(count(&target, "dwd_span").await, 1);
}

/// Port of `http://127.0.0.1:PORT`.
fn port_of(url: &str) -> u16 {
    let (_, port) = url.trim_end_matches('/').rsplit_once(':').unwrap();
    port.parse().unwrap()
}

#[tokio::test]
async fn a_warehouse_killed_again_and_again_ends_with_every_row_once() {
    const BLOCKS: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let mut served = serve(folder.path(), 0);
    let target = migrate(&served.url, "killed");
    let port = port_of(&served.url);
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    let block = many_spans(2_000).remove(0);
    for number in 0..BLOCKS {
        let block = block::Block {
            epoch: EPOCH + number,
            shard: (number % 3) as u16,
            ..block.clone()
        };
        job.handle().send(block).unwrap();
    }
    let metrics = job.handle().metrics();
    for landed in [5, 20, 40] {
        while BLOCKS - metrics.in_flight_blocks.get() < landed {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(served);
        served = serve(folder.path(), port);
    }
    tokio::task::spawn_blocking(move || job.finish())
        .await
        .unwrap()
        .unwrap();
    assert!(metrics.retries.get() > 0);
    assert_eq!(count(&target, "dwd_span").await, BLOCKS * 2_000);
}

#[tokio::test]
async fn a_compressed_body_lands_too() {
    let target = Target {
        lz4: true,
        ..migrate(shared_url(), "compressed")
    };
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    job.handle().send(many_spans(20_000).remove(0)).unwrap();
    job.finish().unwrap();
    let sums = select_one(&target, "SELECT sum(offset) AS n FROM dwd_span").await;
    assert_eq!(sums["n"], 19_999 * 10_000);
}

#[tokio::test]
async fn tables_sync_every_insert_if_asked_and_no_longer_if_not() {
    let target = migrate(shared_url(), "synced");
    let synced = "SELECT count() AS n FROM system.tables WHERE database = 'synced' AND \
                  engine_full LIKE '%fsync_after_insert = 1, fsync_part_directory = 1%'";
    let all = every_table().len();
    for (wanted, tables) in [(true, all), (true, all), (false, 0), (false, 0)] {
        sync_inserts(&target, wanted).await.unwrap();
        assert_eq!(select_one(&target, synced).await, json!({"n": tables}));
        prove_warehouse(&target).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_stops_the_writer_and_names_the_block() {
    let target = migrate(shared_url(), "refusal");
    target
        .client()
        .query("DROP TABLE dwd_event")
        .execute()
        .await
        .unwrap();
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    for block in span_blocks() {
        // It may stop before all are sent.
        let _ = job.handle().send(block);
    }
    let error = job.finish().unwrap_err();
    assert!(
        error.contains(&format!("refuses block t1/dwd_event/1/{EPOCH}/0")),
        "{error}"
    );
    assert!(error.contains("Code: 60"), "{error}");
    let error = prove_warehouse(&target).await.unwrap_err().to_string();
    assert!(
        error.contains("table refusal.dwd_event is missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_warehouse_that_does_not_deduplicate_is_refused() {
    let target = migrate(shared_url(), "no_window");
    prove_warehouse(&target).await.unwrap();
    let sql = "ALTER TABLE ops_probe MODIFY SETTING non_replicated_deduplication_window = 0";
    target.client().query(sql).execute().await.unwrap();
    let error = prove_warehouse(&target).await.unwrap_err();
    assert!(
        matches!(&error, ProbeError::NoDeduplication { found, .. } if found == &[1, 1, 2]),
        "{error}"
    );
}
