//! What is pushed is what lands.

use std::time::Duration;

use serde_json::json;
use stream_job::sink::block;
use stream_job::sink::probe::prove_warehouse;
use stream_job::sink::tables::{dws_user, every_table};
use stream_job::sink::target::Target;
use stream_job::sink::writer::WriterEvent;

use crate::job::{Job, count, select_one};
use crate::rows::{EPOCH, aggregate_blocks, close, many_spans, record_blocks, span_blocks};
use crate::warehouse_process::{migrate, shared_url};

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
