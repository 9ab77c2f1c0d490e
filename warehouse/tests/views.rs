//! Views and functions on the real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use gateway_support::Server;
use warehouse::{
    ClientOptions, MigrateOptions, migrate,
    schema::{RelationKind, relations},
};

async fn migrated() -> Server {
    let server = Server::start(&[]);
    let options = ClientOptions {
        url: server.url(),
        database: "spanflow".into(),
        user: "default".into(),
        token: String::new(),
    };
    migrate(&options, &MigrateOptions::default()).await.unwrap();
    server
}

/// Runs SQL in the database of the warehouse.
fn run(server: &Server, sql: &str) -> String {
    let answer = server.post("database=spanflow", sql.as_bytes());
    assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
    answer.text().trim_end().to_owned()
}

#[tokio::test]
async fn every_dws_and_ads_table_has_a_latest_view_of_its_columns_newest_versions_and_living_keys()
{
    let server = migrated().await;
    let tables = relations().iter().filter(|r| r.kind == RelationKind::Table);
    for table in tables.filter(|r| r.name.starts_with("dws_") || r.name.starts_with("ads_")) {
        let name = &table.name;
        let columns = |of: &str| {
            run(
                &server,
                &format!(
                    "SELECT name, replaceRegexpAll(type, 'LowCardinality\\\\((\\\\w+)\\\\)', '\\\\1') FROM system.columns WHERE database = 'spanflow' AND table = '{of}' ORDER BY name FORMAT TSV"
                ),
            )
        };
        assert_eq!(columns(name), columns(&format!("{name}_latest")), "{name}");
        // Times that no TTL cuts away; the first time that a table has.
        let time = ["window_start", "day", "last_time"]
            .into_iter()
            .find(|time| table.columns.iter().any(|column| column.name == *time))
            .unwrap();
        // Old blocks may come last: the revision decides, not the order.
        for (rev, is_deleted) in [(2, 0), (1, 0)] {
            run(
                &server,
                &format!(
                    "INSERT INTO {name} ({time}, rev, is_deleted) SELECT today(), {rev}, {is_deleted}"
                ),
            );
        }
        let latest = format!("SELECT count(), max(rev) FROM {name}_latest FORMAT TSV");
        assert_eq!(run(&server, &latest), "1\t2", "{name}");
        run(
            &server,
            &format!("INSERT INTO {name} ({time}, rev, is_deleted) SELECT today(), 3, 1"),
        );
        assert_eq!(run(&server, &latest), "0\t0", "{name}");
        run(
            &server,
            &format!("INSERT INTO {name} ({time}, rev, is_deleted) SELECT today(), 4, 0"),
        );
        assert_eq!(run(&server, &latest), "1\t4", "{name}");
    }
}

#[tokio::test]
async fn segments_are_combined() {
    let server = migrated().await;
    run(
        &server,
        "INSERT INTO dws_trace (trace_id, segment, session_id, session_source, agent, agents, user_id, first_time, last_time, state,
             traces, turns, errors, max_repeat, flags, root_name, spans, rev)
         SELECT 't', c1, c2, c3, c4, c5, c6, now64(6) + c7, now64(6) + c8, c9, 1, c10, c11, c12, c13, c14, c15, c16 FROM values(
             (10, 'trace:t', 'trace', '', ['b'], '', 0, 5, 'idle', 0, 1, 4, ['loop'], '', 3, 50),
             (20, 's', 'session', 'a', ['a', 'b'], 'u', 90, 100, 'done', 1, 2, 2, [], 'root', 7, 60))",
    );
    // A newer version of the first segment, beside the old one.
    run(&server, "INSERT INTO dws_trace (trace_id, segment, session_id, session_source, agents, first_time, last_time, state, traces, errors, max_repeat, flags, spans, rev)
         SELECT 't', 10, 'trace:t', 'trace', ['b'], min(first_time), min(last_time), 'idle', 1, 1, 4, ['loop'], 4, 55 FROM dws_trace");
    let combined = run(
        &server,
        "SELECT segment, session_id, session_source, agent, agents, user_id, state, traces, turns, errors, max_repeat, flags,
             root_name, round(duration_us / 1e6), spans, rev FROM dws_trace_latest WHERE trace_id = 't' FORMAT TSV",
    );
    assert_eq!(
        combined,
        "20\ts\tsession\ta\t['a','b']\tu\tdone\t1\t1\t3\t4\t['loop']\troot\t100\t11\t60"
    );
}

/// The definition of the log buckets, computed plainly.
fn bounds() -> Vec<u64> {
    let mut bound = 1.0_f64;
    let mut bounds = Vec::new();
    while bound < 1e12 {
        bounds.push(bound as u64);
        bound *= 1.02;
    }
    bounds
}

#[tokio::test]
async fn quantiles_are_those_of_the_definition_and_within_one_percent() {
    let server = migrated().await;
    let bounds = bounds();
    let bucket = |x: u64| {
        if x == 0 {
            -1
        } else {
            bounds.partition_point(|bound| *bound < x) as i64
        }
    };
    let value = |bucket: i64| {
        if bucket < 0 {
            0
        } else {
            (2.0 * 1.02_f64.powi(bucket as i32) / 2.02).round() as u64
        }
    };
    // Several shapes, from a small generator of our own.
    let mut state = 7_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    for (n, spread) in [
        (1_usize, 10_u64),
        (2, 1_000),
        (10, 50_000_000),
        (999, 3_000_000),
        (5_000, 900_000_000),
    ] {
        let mut values: Vec<u64> = (0..n)
            .map(|i| if i % 97 == 5 { 0 } else { random() % spread })
            .collect();
        values.sort_unstable();
        let mut buckets = std::collections::BTreeMap::<i64, u64>::new();
        for value in &values {
            *buckets.entry(bucket(*value)).or_default() += 1;
        }
        // Keys in falling order: the function must not rely on their order.
        let map: Vec<_> = buckets
            .iter()
            .rev()
            .map(|(b, count)| format!("{b}::Int16, {count}::UInt64"))
            .collect();
        for q in [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0] {
            let sql = format!("SELECT spanflow_quantile({q:?}, map({}))", map.join(", "));
            let got: u64 = run(&server, &sql).parse().unwrap();
            let rank = ((q * n as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            assert_eq!(got, value(bucket(exact)), "q {q} of {n}");
            assert!(
                got.abs_diff(exact) as f64 <= exact as f64 * 0.01 + 1.0,
                "q {q} of {n}: {got}, not {exact}"
            );
        }
    }
    assert_eq!(
        run(
            &server,
            "SELECT spanflow_quantile(0.5, CAST(map(), 'Map(Int16, UInt64)'))"
        ),
        "0"
    );
    assert_eq!(
        run(
            &server,
            "SELECT spanflow_quantile(0.5, sumMap(b)) FROM (SELECT arrayJoin([map(0::Int16, 1::UInt64), map(500::Int16, 2::UInt64)]) AS b)"
        ),
        value(500).to_string()
    );
}

#[tokio::test]
async fn conditions_on_keys_reach_the_tables_behind_the_views() {
    let server = migrated().await;
    run(
        &server,
        "INSERT INTO dws_step_1m (agent, step_type, window_start, rev) SELECT 'a' || toString(intDiv(number, 1000)), 'act', toStartOfMinute(now()) - 60 * (number % 1000), 1 FROM numbers(100000)",
    );
    run(
        &server,
        "INSERT INTO dws_trace (trace_id, session_id, session_source, last_time, rev) SELECT lower(hex(MD5(toString(number)))), 's', 'session', now64(6), 1 FROM numbers(100000)",
    );
    run(
        &server,
        "INSERT INTO dwd_span (trace_id, trace_hash, span_id, start_time, end_time, ingest_time) SELECT lower(hex(MD5(toString(number)))) AS t, xxh3(t), 's', now64(6) - number, now64(6), now64(3) FROM numbers(100000)",
    );
    let id = "lower(hex(MD5('77')))";
    let queries = [
        "SELECT sum(count) FROM dws_step_1m_latest WHERE agent = 'a5'".to_owned(),
        "SELECT sum(count) FROM dws_step_1m_latest WHERE agent = 'a5' AND window_start > now() - 600".to_owned(),
        format!("SELECT * FROM dws_trace_latest WHERE trace_id = {id}"),
        format!("SELECT * FROM otel_traces_trace_id_ts WHERE TraceId = {id}"),
        format!("SELECT * FROM otel_traces WHERE TraceId = {id}"),
        "SELECT TraceId FROM otel_traces WHERE Timestamp > now64(9) - 60".to_owned(),
        format!("SELECT * FROM dwd_step WHERE trace_id = {id}"),
    ];
    for query in queries {
        let plan = run(&server, &format!("EXPLAIN indexes = 1 {query}"));
        // Of every table that is read, the last count of granules, after all indexes, is a small part of the whole.
        for table in plan.split("ReadFromMergeTree").skip(1) {
            if table.lines().next().unwrap().contains("ops_setting") {
                continue;
            }
            let read = table
                .lines()
                .filter_map(|line| line.split_once("Granules: ")?.1.split_once('/'))
                .next_back();
            let Some((read, of)) = read else { continue };
            let (read, of): (u64, u64) = (read.trim().parse().unwrap(), of.trim().parse().unwrap());
            assert!(
                of == 0 || read <= of / 3 + 1,
                "{query} reads {read} of {of} granules:\n{plan}"
            );
        }
    }
}

fn plant_trace(server: &Server) {
    run(
        server,
        "INSERT INTO dwd_span (trace_id, span_id, parent_span_id, content_hash, start_time, end_time, duration_us, agent, name, step_type,
             step_no, tool_name, model, status, output_preview, input_tokens, ingest_time, kind, service_name, links, attributes)
         SELECT c1, c2, c3, rowNumberInAllBlocks(), now64(6) + toIntervalMillisecond(c4), now64(6) + toIntervalMillisecond(c5), (c5 - c4) * 1000, 'a', c6, c6,
             c7, if(c6 = 'act', 'search', ''), if(c6 = 'think', 'm', ''), c8, c9, 5, now64(3) - c10, 'client', 'svc',
             if(c2 = 'r', '[{\"trace_id\":\"lt\",\"span_id\":\"ls\",\"trace_state\":\"w\",\"attributes\":{\"k\":\"v\"}}]', ''), map('x', 'y')
         FROM values(
             ('t', 'r', '', 0, 900, 'session', 0, 'ok', 'all', 120), ('t', 'k1', 'r', 10, 100, 'think', 0, 'ok', 'plan', 120),
             ('t', 'a1', 'r', 110, 300, 'act', 0, 'error', 'found', 120), ('t', 'k2', 'r', 350, 800, 'think', 0, 'ok', 'answer', 120),
             ('t', 'old', 'gone', 20, 30, 'chain', 0, 'ok', '', 120), ('t', 'new', 'gone', 21, 30, 'chain', 0, 'ok', '', 0),
             ('own', 'r', '', 0, 900, 'session', 0, 'ok', '', 120), ('own', 'k', 'r', 1, 2, 'think', 7, 'ok', 'x', 120),
             ('own', 'a', 'r', 3, 4, 'act', 8, 'ok', 'x', 120), ('own', 'o', 'a', 4, 5, 'observe', 9, 'ok', 'x', 120),
             ('own', 'k2', 'r', 6, 7, 'think', 10, 'ok', 'x', 120), ('own', 'p', 'r', 8, 9, 'response', 11, 'ok', 'x', 120),
             ('open', 'k', 'r', 1, 2, 'think', 0, 'ok', 'x', 120), ('open', 'a', 'r', 3, 4, 'act', 0, 'ok', 'x', 120))",
    );
    run(
        server,
        "INSERT INTO dws_trace (trace_id, session_id, session_source, user_id, last_time, rev) SELECT arrayJoin(['t', 'own']), 's1', 'session', 'u1', now64(6), 1",
    );
}

#[tokio::test]
async fn dwd_step_resolves_sessions_counts_steps_marks_orphans_and_derives_what_no_span_said() {
    let server = migrated().await;
    plant_trace(&server);
    let steps = |condition: &str| {
        run(
            &server,
            &format!(
                "SELECT span_id, step_type, step_no, orphan, derived, round(duration_us / 1000), session_id, user_id, input_tokens FROM dwd_step WHERE {condition} ORDER BY start_time, step_no, span_id FORMAT TSV"
            ),
        )
    };
    let expected = [
        "r\tsession\t0\tfalse\tfalse\t900\ts1\tu1\t5",
        "k1\tthink\t1\tfalse\tfalse\t90\ts1\tu1\t5",
        "old\tchain\t0\ttrue\tfalse\t10\ts1\tu1\t5",
        "new\tchain\t0\tfalse\tfalse\t9\ts1\tu1\t5",
        "a1\tact\t2\tfalse\tfalse\t190\ts1\tu1\t5",
        "a1\tobserve\t3\tfalse\ttrue\t50\ts1\tu1\t0",
        "k2\tthink\t4\tfalse\tfalse\t450\ts1\tu1\t5",
        "k2\tresponse\t5\tfalse\ttrue\t0\ts1\tu1\t0",
    ];
    assert_eq!(steps("trace_id = 't'"), expected.join("\n"));
    // A trace that says its own observe and response, and its own numbers, keeps them.
    let own: Vec<_> = steps("trace_id = 'own'")
        .lines()
        .map(|l| l.split('\t').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        own,
        [
            "r session 0",
            "k think 7",
            "a act 8",
            "o observe 9",
            "k2 think 10",
            "p response 11"
        ]
    );
    // Without a root there is no response yet; without a later think nothing has been observed; the rollup is not there.
    let open: Vec<_> = steps("trace_id = 'open'")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        open,
        [
            "k\tthink\t1\ttrue\tfalse\t1\t\t\t5",
            "a\tact\t2\ttrue\tfalse\t1\t\t\t5"
        ]
    );
    assert_eq!(steps("session_id = 's1'").lines().count(), 8 + 6);
}

#[tokio::test]
async fn otel_traces_gives_spans_events_and_links_as_the_exporter_would() {
    let server = migrated().await;
    plant_trace(&server);
    run(&server, "INSERT INTO dwd_event (trace_id, span_id, content_hash, event_index, time, name, attributes, ingest_time)
         SELECT trace_id, span_id, content_hash, 1 - number, now64(6), ['exception', 'log'][2 - number], map('n', toString(number)), now64(3)
         FROM dwd_span, numbers(2) AS n WHERE trace_id = 't' AND span_id = 'a1'");
    let row = |span: &str| {
        run(
            &server,
            &format!(
                "SELECT SpanName, SpanKind, ServiceName, SpanAttributes, Duration, StatusCode, Events.Name, Events.Attributes, Links.TraceId, Links.Attributes, ParentSpanId FROM otel_traces WHERE TraceId = 't' AND SpanId = '{span}' FORMAT TSV"
            ),
        )
    };
    assert_eq!(
        row("a1"),
        "act\tClient\tsvc\t{'x':'y'}\t190000000\tError\t['exception','log']\t[{'n':'1'},{'n':'0'}]\t[]\t[]\tr"
    );
    assert_eq!(
        row("r"),
        "session\tClient\tsvc\t{'x':'y'}\t900000000\tOk\t[]\t[]\t['lt']\t[{'k':'v'}]"
    );
    assert_eq!(
        run(&server, "SELECT count() FROM otel_traces"),
        run(&server, "SELECT count() FROM dwd_span")
    );
    assert_eq!(
        run(
            &server,
            "SELECT count(), min(End >= Start) FROM otel_traces_trace_id_ts WHERE TraceId IN ('t', 'own') FORMAT TSV"
        ),
        "2\t1"
    );
}

#[tokio::test]
async fn agent_health_and_session_features_are_computed_from_the_windows_and_sessions() {
    let server = migrated().await;
    run(&server, "INSERT INTO dws_step_1m (agent, step_type, tool_name, window_start, window_end, count, errors, duration_buckets, input_tokens, final, rev)
         SELECT 'a', c1, c2, toStartOfMinute(now()), toStartOfMinute(now()) + 60, c3, c4, map(c5::Int16, c3::UInt64), 7, c6, 1
         FROM values(('act', 'x', 90, 3, 100, true), ('think', '', 30, 3, 500, false), ('session', '', 2, 1, 700, true))");
    run(&server, "INSERT INTO dws_session (session_id, agent, agents, first_time, last_time, traces, turns, steps, spans, errors, cost_nanousd, flags, rev)
         SELECT 's' || toString(number), 'a', ['a'], now64(6) - 300, now64(6) + 300, 1, 2, 8, 10, 5, 2500000000, ['loop'], 1 FROM numbers(3)");
    assert_eq!(
        run(
            &server,
            "SELECT steps, turns, steps_per_second, errors, error_rate, round(slo_burn, 6), duration_p50_us, duration_p99_us, turn_p95_us, input_tokens, open_sessions, final FROM ads_agent_health WHERE agent = 'a' FORMAT TSV"
        ),
        "120\t2\t2\t6\t0.05\t5\t7\t19759\t1037048\t7\t3\tfalse"
    );
    assert_eq!(
        run(
            &server,
            "SELECT agent, round(duration_s), turns, steps_per_turn, error_rate, cost_usd, looped, flags FROM ads_session_feature WHERE session_id = 's1' FORMAT TSV"
        ),
        "a\t600\t2\t4\t0.5\t2.5\ttrue\t1"
    );
}
