//! The checks of `warehouse reconcile`: quiet where all agrees, and each loud where its own count is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use gateway_support::Server;
use warehouse::{ClientOptions, MigrateOptions, ReconcileOptions, migrate, reconcile};

const DRAINED: ReconcileOptions = ReconcileOptions {
    drained: true,
    topic_counts: Vec::new(),
};
const RUNNING: ReconcileOptions = ReconcileOptions {
    drained: false,
    topic_counts: Vec::new(),
};

/// The tables that hold what is planted.
const PLANTED: [&str; 11] = [
    "ops_epoch",
    "ods_record",
    "ods_dead_letter",
    "dwd_span",
    "dws_step_1m",
    "dws_step_5m",
    "dws_step_1h",
    "dwd_metric_point",
    "dws_resource_1m",
    "dws_trace",
    "dws_user_1d",
];

fn at(server: &Server, database: &str) -> ClientOptions {
    ClientOptions {
        url: server.url(),
        database: database.into(),
        user: "default".into(),
        token: String::new(),
    }
}

fn run(server: &Server, database: &str, sql: &str) {
    let answer = server.post(&format!("database={database}"), sql.as_bytes());
    assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
}

/// A database in which everything agrees: 20 records of 4 spans (3 land, 1 is rejected), one undecodable record, one of 5
/// metric points (4 land), two epochs, one late span and point, windows of the last minutes.
async fn agreeing(server: &Server, database: &str) {
    migrate(&at(server, database), &MigrateOptions::default())
        .await
        .unwrap();
    plant(server, database);
}

fn plant(server: &Server, database: &str) {
    let step = |table: &str, windows: &str, width: u32| {
        format!(
            "INSERT INTO {table} (agent, step_type, tool_name, window_start, window_end, count, errors, duration_sum_us,
                 duration_max_us, input_tokens, output_tokens, cost_nanousd, final, rev)
             SELECT agent, step_type, tool_name, {windows} AS w, w + {width}, count(), countIf(status = 'error'), sum(duration_us),
                 max(duration_us), sumIf(input_tokens, step_type = 'think'), 0, sumIf(cost_nanousd, step_type = 'think'), true, 101
             FROM dwd_span WHERE NOT late GROUP BY agent, step_type, tool_name, w"
        )
    };
    let plants = [
        "INSERT INTO ods_record (topic, partition, offset, encoding, spans, spans_landed, spans_rejected, _epoch, ingest_time)
         SELECT 'otlp_spans', 0, number, 'otlp_protobuf', 4, 3, 1, 100 + intDiv(number, 10), now64(3) FROM numbers(20)".to_owned(),
        "INSERT INTO ods_record (topic, partition, offset, encoding, _epoch, ingest_time)
         SELECT 'otlp_spans', 1, 0, 'undecodable', 101, now64(3)".to_owned(),
        "INSERT INTO ods_dead_letter (topic, partition, offset, index, unit, spans, _epoch, ingest_time)
         SELECT 'otlp_spans', 0, number, 3, 'span', 1, 100 + intDiv(number, 10), now64(3) FROM numbers(20)".to_owned(),
        "INSERT INTO ods_dead_letter (topic, partition, offset, unit, _epoch, ingest_time)
         SELECT 'otlp_spans', 1, 0, 'record', 101, now64(3)".to_owned(),
        "INSERT INTO dwd_span (trace_id, span_id, content_hash, start_time, end_time, duration_us, agent, step_type, tool_name, status,
             input_tokens, cost_nanousd, topic, partition, offset, index, _epoch, ingest_time, late)
         SELECT 't' || toString(number), 's', number, now64(6) - number * 10, now64(6) - number * 10, number, 'a' || toString(number % 2),
             ['think', 'act', 'session'][number % 3 + 1], if(number % 3 = 1, 'tool' || toString(number % 4), ''),
             if(number % 7 = 0, 'error', 'ok'), 5, 1000, 'otlp_spans', 0, intDiv(number, 3), number % 3,
             100 + intDiv(number, 30), now64(3), number = 59 FROM numbers(60)".to_owned(),
        "INSERT INTO ops_epoch (epoch, wall_time, records, spans, spans_landed, spans_rejected, spans_late)
         SELECT c1, now64(3), c2, 40, 30, 10, c3 FROM values((100, 10, 0), (101, 12, 1))".to_owned(),
        "INSERT INTO ods_record (topic, partition, offset, encoding, points, points_landed, points_rejected, _epoch, ingest_time)
         SELECT 'otlp_metrics', 2, 0, 'otlp_metrics', 5, 4, 1, 101, now64(3)".to_owned(),
        "INSERT INTO ods_dead_letter (topic, partition, offset, index, unit, _epoch, ingest_time)
         SELECT 'otlp_metrics', 2, 0, 4, 'point', 101, now64(3)".to_owned(),
        "INSERT INTO dwd_metric_point (agent, instance, metric, kind, time, value, content_hash, late, topic, partition, offset, index,
             _epoch, ingest_time)
         SELECT 'a0', 'i', 'process.memory.usage', 'gauge', now64(6) - number, 1000 + number, number, number = 3, 'otlp_metrics', 2, 0,
             number, 101, now64(3) FROM numbers(4)".to_owned(),
        "INSERT INTO dws_resource_1m (agent, instance, window_start, window_end, samples, memory_sum_bytes, final, rev)
         SELECT agent, instance, toStartOfMinute(time) AS w, w + 60, count(), sum(toUInt64(value)), true, 101
         FROM dwd_metric_point WHERE NOT late GROUP BY agent, instance, w".to_owned(),
        step("dws_step_1m", "toStartOfMinute(end_time)", 60),
        step("dws_step_5m", "toStartOfMinute(end_time) - 60 * arrayJoin(range(5))", 300),
        step("dws_step_1h", "toStartOfHour(end_time)", 3600),
        // Some have no user, one has two segments, and one was told of twice.
        "INSERT INTO dws_trace (trace_id, segment, namespace, user_id, last_time, turns, errors, input_tokens, cost_nanousd, rev)
         SELECT 't' || toString(number), if(number = 8, 2, 1), 'shop', if(number % 4 = 0, '', 'u' || toString(number % 3)),
             now64(6) - number * 10000, 1, number % 2, 5, 1000, 100 + number % 2
         FROM (SELECT number FROM numbers(20) UNION ALL SELECT 7 UNION ALL SELECT 8)".to_owned(),
        "INSERT INTO dws_user_1d (day, namespace, user_id, segment, traces, turns, errors, input_tokens, cost_nanousd, rev)
         SELECT toDate(last_time, 'UTC') AS d, namespace, user_id, segment, count(), sum(turns), sum(errors), sum(input_tokens),
             sum(cost_nanousd), 101
         FROM dws_trace FINAL WHERE user_id != '' GROUP BY d, namespace, user_id, segment".to_owned(),
    ];
    for plant in plants {
        run(server, database, &plant);
    }
}

async fn wrong(server: &Server, database: &str, options: &ReconcileOptions) -> Vec<String> {
    let result = reconcile(&at(server, database), options).await.unwrap();
    let wrong = result.checks.iter().filter(|check| check.difference > 0);
    wrong
        .map(|check| format!("{} ({})", check.name, check.difference))
        .collect()
}

#[tokio::test]
async fn what_agrees_is_said_to_agree_and_an_empty_warehouse_is_not() {
    let server = Server::start(&[]);
    migrate(&at(&server, "empty"), &MigrateOptions::default())
        .await
        .unwrap();
    let nothing = reconcile(&at(&server, "empty"), &DRAINED)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        nothing.contains("no epoch has landed") && nothing.contains("`empty`"),
        "{nothing}"
    );

    agreeing(&server, "good").await;
    let counted = |records| ReconcileOptions {
        topic_counts: vec![("otlp_spans".into(), records)],
        ..DRAINED
    };
    let result = reconcile(&at(&server, "good"), &counted(21)).await.unwrap();
    assert!(result.agrees() && result.left_out.is_empty(), "{result:#?}");
    assert_eq!(
        (result.last_epoch, result.checks.len()),
        (101, 15 + 1 + 3 * 7 + 2 + 5)
    );
    // No check compares nothing with nothing, but for tokens out, which were not planted.
    let empty: Vec<_> = result
        .checks
        .iter()
        .filter(|c| c.left + c.right == 0)
        .map(|c| &*c.name)
        .collect();
    assert!(
        empty.iter().all(|name| name.starts_with("output tokens")),
        "{empty:?}"
    );
    assert!(wrong(&server, "good", &RUNNING).await.is_empty());
    assert_eq!(
        wrong(&server, "good", &counted(20)).await,
        ["records of otlp_spans as counted = ods_record rows (1)"]
    );
    // What has landed beyond the last epoch is not looked at.
    run(
        &server,
        "good",
        "INSERT INTO ods_record (topic, offset, spans, _epoch, ingest_time) SELECT 'otlp_spans', 99, 7, 102, now64(3)",
    );
    run(
        &server,
        "good",
        "INSERT INTO dwd_span (trace_id, agent, end_time, _epoch, ingest_time) SELECT 'later', 'a0', now64(6), 102, now64(3)",
    );
    assert!(wrong(&server, "good", &DRAINED).await.is_empty());
}

#[tokio::test]
async fn every_check_finds_what_it_is_there_for() {
    let server = Server::start(&[]);
    let cases: [(&str, &[&str]); 15] = [
        (
            "ALTER TABLE ods_record DELETE WHERE partition = 1 SETTINGS mutations_sync = 2",
            &[
                "records consumed = ods_record rows (1)",
                "undecodable ods_record rows = record dead letters (1)",
            ],
        ),
        (
            "ALTER TABLE ods_dead_letter DELETE WHERE unit = 'span' AND offset = 4 SETTINGS mutations_sync = 2",
            &["spans_rejected of ods_record = span dead letters (1)"],
        ),
        // One lost and one too many: the sums agree, the records do not.
        (
            "ALTER TABLE ods_dead_letter UPDATE unit = 'span', spans = 1 WHERE unit = 'record' SETTINGS mutations_sync = 2",
            &[
                "spans_rejected of ods_record = span dead letters (1)",
                "undecodable ods_record rows = record dead letters (1)",
            ],
        ),
        (
            "ALTER TABLE ods_record UPDATE spans_duplicate = 1 WHERE partition = 0 AND offset = 3 SETTINGS mutations_sync = 2",
            &["spans of ods_record = landed + duplicate + rejected (1)"],
        ),
        (
            "INSERT INTO ods_record SELECT * FROM ods_record WHERE partition = 1",
            &[
                "records consumed = ods_record rows (1)",
                "undecodable ods_record rows = record dead letters (1)",
                "ods_record rows = distinct records (1)",
            ],
        ),
        (
            "ALTER TABLE dwd_span UPDATE late = true WHERE trace_id = 't0' SETTINGS mutations_sync = 2",
            &["spans_late by epoch = late dwd_span rows (1)"],
        ),
        (
            "INSERT INTO ops_epoch SELECT * FROM ops_epoch WHERE epoch = 100",
            &[
                "records consumed = ods_record rows (10)",
                "spans by epoch = spans of ods_record (40)",
                "spans_landed by epoch = dwd_span rows (30)",
                "ops_epoch rows = distinct epochs (1)",
            ],
        ),
        (
            "INSERT INTO dwd_span SELECT * FROM dwd_span WHERE trace_id = 't0'",
            &[
                "spans_landed of ods_record = dwd_span rows (1)",
                "spans_landed by epoch = dwd_span rows (1)",
                "dwd_span rows = distinct spans (1)",
            ],
        ),
        (
            "ALTER TABLE ods_record UPDATE points = 6 WHERE partition = 2 SETTINGS mutations_sync = 2",
            &["points of ods_record = landed + duplicate + rejected (1)"],
        ),
        (
            "INSERT INTO dwd_metric_point SELECT * FROM dwd_metric_point WHERE late",
            &[
                "points_landed of ods_record = dwd_metric_point rows (1)",
                "dwd_metric_point rows = distinct points (1)",
            ],
        ),
        (
            "ALTER TABLE dwd_metric_point UPDATE late = false WHERE index = 3 SETTINGS mutations_sync = 2",
            &[
                "points of memory of dwd_metric_point = dws_resource_1m_latest (1)",
                "memory of dwd_metric_point = dws_resource_1m_latest (1003)",
            ],
        ),
        (
            "INSERT INTO dws_step_1m (agent, step_type, window_start, count, final, rev) SELECT 'a0', 'act', toStartOfMinute(now()) + 600, 1, true, 101",
            &["spans of dwd_span = dws_step_1m_latest (1)"],
        ),
        (
            "INSERT INTO dws_step_5m SELECT * REPLACE (input_tokens + 1 AS input_tokens, 101 + 1 AS rev) FROM dws_step_5m WHERE step_type = 'think' AND agent = 'a1' ORDER BY window_start LIMIT 1",
            &["input tokens of dwd_span = dws_step_5m_latest (1)"],
        ),
        // A trace that is its user's no more, and was not taken back.
        (
            "INSERT INTO dws_trace SELECT * REPLACE ('' AS user_id, 102 AS rev) FROM dws_trace FINAL WHERE trace_id = 't6'",
            &[
                "traces of dws_trace by user and day = dws_user_1d (1)",
                "turns of dws_trace by user and day = dws_user_1d (1)",
                "tokens of dws_trace by user and day = dws_user_1d (5)",
                "cost of dws_trace by user and day = dws_user_1d (1000)",
            ],
        ),
        // One on the wrong day: the sums agree, the days do not.
        (
            "INSERT INTO dws_trace SELECT * REPLACE (last_time - toIntervalDay(9) AS last_time, 102 AS rev) FROM dws_trace FINAL WHERE trace_id = 't6'",
            &[
                "traces of dws_trace by user and day = dws_user_1d (2)",
                "turns of dws_trace by user and day = dws_user_1d (2)",
                "tokens of dws_trace by user and day = dws_user_1d (10)",
                "cost of dws_trace by user and day = dws_user_1d (2000)",
            ],
        ),
    ];
    migrate(&at(&server, "case"), &MigrateOptions::default())
        .await
        .unwrap();
    for (damage, expected) in &cases {
        for table in PLANTED {
            run(&server, "case", &format!("TRUNCATE TABLE {table}"));
        }
        plant(&server, "case");
        run(&server, "case", damage);
        let layers: Vec<_> = wrong(&server, "case", &DRAINED).await;
        // A span more or less in DWD shows in the windows too.
        let windows = damage.contains("dwd_span");
        let found: Vec<_> = layers
            .iter()
            .filter(|name| !windows || !name.contains(" = dws_step"))
            .collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{damage}");
        assert_eq!(
            windows,
            layers
                .iter()
                .any(|name| windows && name.contains("spans of dwd_span = dws_step_1h")),
            "{damage}"
        );
    }
}

#[tokio::test]
async fn only_final_windows_are_compared_while_the_job_runs() {
    let server = Server::start(&[]);
    agreeing(&server, "running").await;
    // The newest window is still open, and its row is behind.
    run(
        &server,
        "running",
        "INSERT INTO dws_step_1m SELECT * REPLACE (count + 1 AS count, false AS final, 102 AS rev) FROM dws_step_1m WHERE window_start = (SELECT max(window_start) FROM dws_step_1m)",
    );
    assert!(wrong(&server, "running", &RUNNING).await.is_empty());
    assert!(!wrong(&server, "running", &DRAINED).await.is_empty());
    // A final window that lost a key is found all the same.
    run(
        &server,
        "running",
        "INSERT INTO dws_step_1m SELECT * REPLACE (102 AS rev, 1 AS is_deleted) FROM dws_step_1m WHERE step_type = 'session' AND window_start = (SELECT min(window_start) FROM dws_step_1m WHERE step_type = 'session')",
    );
    assert!(!wrong(&server, "running", &RUNNING).await.is_empty());
}

#[tokio::test]
async fn keys_beyond_the_cap_are_compared_as_a_whole() {
    let server = Server::start(&[]);
    agreeing(&server, "capped").await;
    for table in ["dws_step_1m", "dws_step_5m", "dws_step_1h"] {
        let overflow = format!(
            "INSERT INTO {table} (agent, step_type, tool_name, model, window_start, window_end, count, errors, duration_sum_us, duration_max_us, final, rev)
             SELECT agent, 'act', '__overflow__', '__overflow__', window_start, any(window_end), sum(count), sum(errors), sum(duration_sum_us), max(duration_max_us), true, 101
             FROM {table} WHERE step_type = 'act' AND tool_name != '' AND agent = 'a1' GROUP BY agent, window_start"
        );
        run(&server, "capped", &overflow);
        run(
            &server,
            "capped",
            &format!(
                "INSERT INTO {table} SELECT * REPLACE (102 AS rev, 1 AS is_deleted) FROM {table} WHERE step_type = 'act' AND tool_name LIKE 'tool%' AND agent = 'a1'"
            ),
        );
    }
    assert_eq!(
        wrong(&server, "capped", &DRAINED).await,
        Vec::<String>::new()
    );
    run(
        &server,
        "capped",
        "INSERT INTO dws_step_1h SELECT * REPLACE (count + 2 AS count, 103 AS rev) FROM dws_step_1h_latest WHERE tool_name = '__overflow__' ORDER BY window_start LIMIT 1",
    );
    assert_eq!(
        wrong(&server, "capped", &DRAINED).await,
        ["spans of dwd_span = dws_step_1h_latest (2)"]
    );
}

#[tokio::test]
async fn what_a_time_to_live_has_cut_is_named_and_left_out() {
    let server = Server::start(&[]);
    agreeing(&server, "cut").await;
    // Ten days ago ODS had these; its 7 days are over. DWD still has the spans, whose windows are there too.
    run(
        &server,
        "cut",
        "INSERT INTO ops_epoch (epoch, wall_time, records, spans, spans_landed) SELECT 50, now64(3) - toIntervalDay(10), 5, 5, 2",
    );
    run(
        &server,
        "cut",
        "INSERT INTO dwd_span (trace_id, content_hash, agent, step_type, end_time, topic, _epoch, ingest_time) SELECT 'old', number, 'old', 'act', now64(6) - toIntervalDay(10), 'otlp_spans', 50, now64(3) - toIntervalDay(10) FROM numbers(2)",
    );
    for (table, windows) in [
        ("dws_step_1m", "toStartOfMinute(end_time)"),
        (
            "dws_step_5m",
            "toStartOfMinute(end_time) - 60 * arrayJoin(range(5))",
        ),
        ("dws_step_1h", "toStartOfHour(end_time)"),
    ] {
        run(
            &server,
            "cut",
            &format!(
                "INSERT INTO {table} (agent, step_type, window_start, count, final, rev) SELECT agent, step_type, {windows} AS w, count(), true, 50 FROM dwd_span WHERE trace_id = 'old' GROUP BY agent, step_type, w"
            ),
        );
    }
    let result = reconcile(&at(&server, "cut"), &DRAINED).await.unwrap();
    assert!(result.agrees(), "{result:#?}");
    assert!(
        matches!(&*result.left_out, [one] if one.contains("ods_record: 1 epochs") && one.contains("kept 7 days")),
        "{:?}",
        result.left_out
    );
    // With DWD cut as well, the windows that DWD can no longer explain are left out too.
    run(
        &server,
        "cut",
        "ALTER TABLE dwd_span MODIFY TTL toDateTime(ingest_time) + toIntervalDay(5)",
    );
    run(
        &server,
        "cut",
        "ALTER TABLE dwd_span DELETE WHERE trace_id = 'old' SETTINGS mutations_sync = 2",
    );
    let result = reconcile(&at(&server, "cut"), &DRAINED).await.unwrap();
    assert!(result.agrees(), "{result:#?}");
    assert!(
        result
            .left_out
            .iter()
            .any(|note| note.contains("dwd_span: 1 epochs")),
        "{:?}",
        result.left_out
    );
}
