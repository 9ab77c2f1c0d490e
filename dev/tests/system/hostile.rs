//! Whatever a producer sends, the job lives, what is good lands, and docs/operations.md says what becomes of the rest.

use std::collections::{BTreeMap, BTreeSet};

use dev::{kafka, paths, wait};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, Producer};
use serde::Deserialize;
use stream_job::decode::encode;
use stream_job::span::view::{SpanView, Value};

use crate::dead_letters::assert_topic_is_table;
use crate::landed::assert_nothing_twice;
use crate::stage::{DRAIN_LIMIT, Stage};
use crate::wire::{
    LIMIT, Outgoing, Span, now_ns, producer, request, send, send_all, send_with_header_name,
};

const SPANS: &str = "otlp_spans";
const DOCUMENTS: &str = "agent.conversations";
/// Only the transactional producer sends here, so that the partition ends in a marker that no record shows.
const TRANSACTIONS: i32 = 5;

/// A record, by name, and what must become of it: how many spans land, and its dead letters as `unit code`.
struct Case {
    name: String,
    outgoing: Outgoing,
    lands: u64,
    letters: Vec<&'static str>,
}

impl Case {
    fn new(name: &str, payload: Vec<u8>, lands: u64, letters: &[&'static str]) -> Self {
        let headers = OwnedHeaders::new().insert(Header {
            key: "case",
            value: Some(name),
        });
        Self {
            name: name.to_owned(),
            outgoing: Outgoing {
                topic: SPANS,
                headers,
                payload: Some(payload),
                ..Outgoing::default()
            },
            lands,
            letters: letters.to_vec(),
        }
    }

    fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        let headers = std::mem::take(&mut self.outgoing.headers);
        self.outgoing.headers = headers.insert(Header { key: name, value });
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Outgoing)) -> Self {
        change(&mut self.outgoing);
        self
    }

    fn document(name: &str, json: &str, lands: u64, letters: &[&'static str]) -> Self {
        Self::new(name, json.as_bytes().to_vec(), lands, letters)
            .with(|outgoing| outgoing.topic = DOCUMENTS)
    }

    fn wanted(&self) -> (u64, Vec<String>) {
        let letters = self.letters.iter().map(|&letter| letter.to_owned());
        (self.lands, letters.collect())
    }
}

#[test]
fn whatever_is_sent_lands_or_is_a_dead_letter_as_documented_and_the_job_lives() {
    // A record that is larger than this but that the broker takes.
    let mut stage = Stage::start(&[("max_record_bytes", "6MiB")]);
    let bootstrap = stage.system.kafka.bootstrap();
    keep_compression_of_producers(&bootstrap);
    let mut cases = Vec::new();
    cases.extend(requests());
    cases.extend(spans());
    cases.extend(records());
    cases.extend(json());
    cases.extend(documents());
    let plain = producer(&bootstrap, &[]);
    let all: Vec<Outgoing> = cases.iter().map(|case| case.outgoing.clone()).collect();
    send_all(&plain, &all);
    cases.push(send_header_name(&plain));
    cases.extend(send_compressed(&bootstrap));
    cases.extend(send_transactions(&bootstrap));

    wait_until_landed(&mut stage, cases.len() as u64);
    let sql = stage.system.sql();
    let wanted: BTreeMap<String, _> = cases
        .iter()
        .map(|case| (case.name.clone(), case.wanted()))
        .collect();
    let landed = outcomes(&sql);
    for (name, outcome) in &landed {
        assert_eq!(Some(outcome), wanted.get(name), "{name}");
    }
    assert_eq!(landed.len(), wanted.len(), "{:?}", landed.keys());
    assert_spans_are_cleaned(&stage);
    assert_codes_are_those_documented(&cases);
    assert_nothing_twice(&sql);
    wait_for_lag_0(&mut stage);
    stage.stop_job();
    assert_topic_is_table(&bootstrap, &sql);
    stage.reconcile();
}

/// Whole requests that are not what they should be.
fn requests() -> Vec<Case> {
    let good = request("hostile", &[Span::now().view()]);
    let cut = good[..good.len() * 2 / 3].to_vec();
    let as_protobuf = |case: Case| case.header("content-type", Some(b"application/x-protobuf"));
    let deep = (0..100).fold(encode::array(&[Value::Int(1)]), |inner, _| {
        encode::array(&[Value::Array(&inner)])
    });
    let (span, big_span) = (Span::now(), Span::now());
    let mut nested = span.view();
    nested
        .attributes
        .push(encode::attr("deep", Value::Array(&deep)));
    let text = "x".repeat(7_000_000);
    let mut big = big_span.view();
    big.attributes.push(encode::text_attr("big", &text));
    vec![
        Case::new("good", good, 1, &[]),
        Case::new("truncated", cut, 0, &["record truncated"]),
        as_protobuf(Case::new(
            "wire type",
            vec![0x08, 1],
            0,
            &["record bad_wire_type"],
        )),
        as_protobuf(Case::new(
            "varint",
            vec![0xff; 12],
            0,
            &["record bad_varint"],
        )),
        Case::new(
            "log line",
            b"2026-01-01 ERROR no span".to_vec(),
            0,
            &["record unknown_encoding"],
        ),
        Case::new("no bytes", Vec::new(), 0, &["record empty_payload"]),
        Case::new("tombstone", Vec::new(), 0, &["record empty_payload"]).with(|o| o.payload = None),
        Case::new("no spans", vec![0x0a, 0], 0, &[]),
        Case::new(
            "nested",
            request("hostile", &[nested]),
            0,
            &["record too_deep"],
        ),
        Case::new("7 MB", request("hostile", &[big]), 0, &["record too_large"]),
    ]
}

/// One span of each, beside a good one where it is rejected.
fn spans() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut beside_good = |name: &str, code, change: fn(&mut SpanView<'_>)| {
        let (good, other) = (Span::now(), Span::now());
        let mut bad = other.view();
        change(&mut bad);
        let payload = request("hostile", &[good.view(), bad]);
        cases.push(Case::new(name, payload, 1, &[code]));
    };
    beside_good("zero trace id", "span bad_trace_id", |s| {
        s.trace_id = &[0; 16]
    });
    beside_good("zero span id", "span bad_span_id", |s| s.span_id = &[0; 8]);
    beside_good("short parent", "span bad_parent_span_id", |s| {
        s.parent_span_id = &[1, 2, 3]
    });
    beside_good("1970", "span time_out_of_range", |s| {
        (s.start_time_unix_nano, s.end_time_unix_nano) = (1_000, 2_000);
    });
    beside_good("2200", "span time_out_of_range", |s| {
        s.start_time_unix_nano = 7_258_118_400_000_000_000;
        s.end_time_unix_nano = 7_258_118_400_000_001_000;
    });

    let mut alone = |name: &str, change: &dyn Fn(&mut SpanView<'_>)| {
        let span = Span::now();
        let mut view = span.view();
        change(&mut view);
        cases.push(Case::new(name, request("hostile", &[view]), 1, &[]));
    };
    alone("end before start", &|s| {
        s.start_time_unix_nano = s.end_time_unix_nano + 9_000_000
    });
    alone("10,000 attributes", &|s| {
        s.attributes
            .extend((0..10_000).map(|n| encode::attr("k", Value::Int(n)).named(n)));
    });
    alone("5 MB", &|s| {
        let attribute = encode::attr("dump", Value::Str("x".repeat(5_000_000).into()));
        s.attributes.push(attribute);
    });
    // Replaced in place, as no encoder writes what is not UTF-8.
    alone("not UTF-8", &|s| s.name = "caf@@ search".into());
    let not_utf8 = cases.last_mut().unwrap().outgoing.payload.as_mut().unwrap();
    let at = not_utf8
        .windows(5)
        .position(|bytes| bytes == b"caf@@")
        .unwrap();
    not_utf8[at + 3..at + 5].copy_from_slice(&[0xe9, 0xff]);
    cases
}

trait Named {
    fn named(self, number: i64) -> Self;
}

impl Named for stream_job::span::view::Attr<'_> {
    /// With a key of its own.
    fn named(mut self, number: i64) -> Self {
        self.key = format!("key.{number}").into();
        self
    }
}

/// Records with keys, headers and times of every kind.
fn records() -> Vec<Case> {
    let good = |name: &str| Case::new(name, request("hostile", &[Span::now().view()]), 1, &[]);
    vec![
        good("header value not UTF-8").header("x", Some(&[0xff, 0, 0xfe])),
        good("header without value").header("x", None),
        good("content type of no sense").header("content-type", Some(&[0xff, 0xfe])),
        good("key not UTF-8").with(|o| o.key = Some(vec![0xff, 0xfe, 0])),
        good("empty key").with(|o| o.key = Some(Vec::new())),
        good("no timestamp").with(|o| o.timestamp_ms = Some(-1)),
        good("timestamp of 1970").with(|o| o.timestamp_ms = Some(1)),
    ]
}

fn json() -> Vec<Case> {
    let span = |fields: &str| {
        let span = Span::now();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        format!(
            r#"{{"traceId":"{}","spanId":"{}","name":"act","startTimeUnixNano":"{}","endTimeUnixNano":"{}"{fields}}}"#,
            hex(&span.trace_id),
            hex(&span.span_id),
            span.end_ns - 5_000_000,
            span.end_ns,
        )
    };
    let request = |spans: &str| {
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#).into_bytes()
    };
    let good = span("");
    let two = format!("{},{}", span(""), span("").replace("\"act\"", "17"));
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = span(&format!(r#","extra":{nested}"#));
    vec![
        Case::new("JSON", request(&good), 1, &[]),
        Case::new(
            "JSON, cut",
            request(&good)[..80].to_vec(),
            0,
            &["record bad_json"],
        ),
        Case::new("JSON, no spans", b"{}".to_vec(), 0, &[]),
        Case::new("JSON, a bad span", request(&two), 1, &["span bad_field"]),
        Case::new(
            "JSON, 10,000 levels",
            request(&deep),
            0,
            &["record bad_json"],
        ),
    ]
}

fn documents() -> Vec<Case> {
    let now = chrono::DateTime::from_timestamp_nanos(i64::try_from(now_ns()).unwrap()).to_rfc3339();
    let span = |id: &str, more: &str| {
        format!(
            r#"{{"span_id":"{id}","parent_span_id":null,"name":"search","start_time":"{now}","end_time":"{now}","duration_ms":0,
                "attributes":{{"step_type":"act","content":"q","tool_name":"search","status":"success"}}{more}}}"#
        )
    };
    let document = |id: &str, spans: &str, more: &str| {
        format!(
            r#"{{"session_id":"{id}","conversation_id":"c","user_id":"u","timestamp":"{now}","spans":[{spans}]{more}}}"#
        )
    };
    let bad = span("2", "").replace(&now, "yesterday");
    let two = format!("{},{bad}", span("1", ""));
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        Case::document("document", &document("a", &span("1", ""), ""), 1, &[]),
        Case::document(
            "document, cut",
            &document("b", &span("1", ""), "")[..90],
            0,
            &["record bad_document"],
        ),
        Case::document(
            "document, a bad span",
            &document("c", &two, ""),
            1,
            &["span bad_field"],
        ),
        Case::document(
            "document, unknown fields",
            &document(
                "d",
                &span("1", r#","mood":{"is":["good"]}"#),
                r#","version":[1,{"a":null}]"#,
            ),
            1,
            &[],
        ),
        Case::document(
            "document, 10,000 levels",
            &document("e", &nested, ""),
            0,
            &["record bad_document"],
        ),
        Case::document("document, no object", "[1, 2]", 0, &["record bad_document"]),
    ]
}

fn send_header_name(producer: &BaseProducer) -> Case {
    let case = Case::new(
        "header name",
        request("hostile", &[Span::now().view()]),
        1,
        &[],
    );
    send_with_header_name(producer, &case.outgoing, c"header name", c"na\xff\xfeme");
    producer.flush(LIMIT).unwrap();
    case
}

/// Batches of every codec that Kafka knows.
fn send_compressed(bootstrap: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let batch: Vec<Case> = (0..20)
            .map(|n| {
                let payload = request("hostile", &[Span::now().view()]);
                Case::new(&format!("{codec} {n}"), payload, 1, &[]).with(|o| o.partition = 1)
            })
            .collect();
        let properties = [("compression.type", codec), ("linger.ms", "100")];
        let producer = producer(bootstrap, &properties);
        send_all(
            &producer,
            &batch.iter().map(|c| c.outgoing.clone()).collect::<Vec<_>>(),
        );
        cases.extend(batch);
    }
    cases
}

/// An aborted and a committed transaction. What was aborted must not be seen.
fn send_transactions(bootstrap: &str) -> Vec<Case> {
    let producer = producer(bootstrap, &[("transactional.id", "hostile")]);
    producer.init_transactions(LIMIT).unwrap();
    let case = |name: &str| {
        Case::new(name, request("hostile", &[Span::now().view()]), 1, &[])
            .with(|o| o.partition = TRANSACTIONS)
    };
    let aborted = case("aborted");
    producer.begin_transaction().unwrap();
    for _ in 0..3 {
        send(&producer, &aborted.outgoing);
    }
    producer.flush(LIMIT).unwrap();
    producer.abort_transaction(LIMIT).unwrap();
    let committed = vec![case("committed 1"), case("committed 2")];
    producer.begin_transaction().unwrap();
    for case in &committed {
        send(&producer, &case.outgoing);
    }
    producer.commit_transaction(LIMIT).unwrap();
    committed
}

/// Otherwise the broker compresses everything anew.
fn keep_compression_of_producers(bootstrap: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    let max_bytes = kafka::MAX_MESSAGE_BYTES.to_string();
    let config = AlterConfig::new(ResourceSpecifier::Topic(SPANS))
        .set("compression.type", "producer")
        .set("max.message.bytes", &max_bytes);
    let altered = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(admin.alter_configs([&config], &AdminOptions::new()));
    altered.unwrap().remove(0).unwrap();
}

/// Waits for the records by number: the markers of transactions are offsets that never become a row.
fn wait_until_landed(stage: &mut Stage, records: u64) {
    let sql = stage.system.sql();
    let job = &mut stage.system.job;
    let mut last = 0;
    let landed = wait::until("everything lands", DRAIN_LIMIT, LIMIT / 100, || {
        job.process().check_alive()?;
        last = sql.number(
            "SELECT count() FROM ods_record WHERE _epoch <= (SELECT max(epoch) FROM ops_epoch)",
        )?;
        Ok((last >= records).then_some(()))
    });
    assert!(landed.is_ok(), "{last} of {records} records: {landed:?}");
}

fn wait_for_lag_0(stage: &mut Stage) {
    let job = &stage.system.job;
    let lag = || job.metric("spanflow_partition_lag_records");
    let gone = wait::until("the lag is 0", LIMIT, LIMIT / 100, || {
        Ok((lag()? == Some(0.0)).then_some(()))
    });
    assert!(gone.is_ok(), "{gone:?}: {:?}", lag());
}

/// What became of each case: spans landed, and dead letters.
fn outcomes(sql: &dev::sql::Sql) -> BTreeMap<String, (u64, Vec<String>)> {
    #[derive(Deserialize)]
    struct Row {
        case: String,
        landed: u64,
        letter: String,
    }
    let rows: Vec<Row> = sql
        .rows(
            "WITH arrayFirst(h -> h.1 = 'case', headers).2 AS case_name
             SELECT case_name AS case, toUInt64(spans_landed) AS landed, '' AS letter FROM ods_record
             UNION ALL
             SELECT case_name AS case, 0 AS landed, concat(unit, ' ', error_code) AS letter FROM ods_dead_letter",
        )
        .unwrap();
    let mut outcomes: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for row in rows {
        let outcome = outcomes.entry(row.case).or_default();
        outcome.0 += row.landed;
        if !row.letter.is_empty() {
            outcome.1.push(row.letter);
        }
    }
    outcomes
}

/// What lands although something was wrong with it says so.
fn assert_spans_are_cleaned(stage: &Stage) {
    let with_case = |case: &str, condition: &str| {
        stage.number(&format!(
            "SELECT count() FROM dwd_span
             WHERE ({condition}) AND (topic, partition, offset) IN (
                 SELECT topic, partition, offset FROM ods_record
                 WHERE arrayExists(h -> h.1 = 'case' AND h.2 = '{case}', headers))"
        ))
    };
    for (case, condition) in [
        (
            "end before start",
            "duration_us = 0 AND start_time = end_time AND attributes['spanflow.cleaned'] = 'end_before_start'",
        ),
        (
            "10,000 attributes",
            "attributes['spanflow.dropped_attributes'] = '8978' AND length(attributes) <= 1025",
        ),
        ("5 MB", "length(attribute_hashes['dump']) = 32"),
        ("not UTF-8", "name = 'caf\u{fffd}\u{fffd} search'"),
    ] {
        assert_eq!(with_case(case, condition), 1, "{case}: {condition}");
    }
    let texts = stage.number("SELECT max(length(content)) FROM dwd_content");
    assert_eq!(texts, 5_000_000, "the whole text is kept");
    for (case, condition) in [
        ("key not UTF-8", "hex(key) = 'FFFE00'"),
        ("tombstone", "length(payload) = 0"),
        (
            "header name",
            "arrayExists(h -> h.1 = 'na\u{fffd}\u{fffd}me' AND h.2 = '1', headers)",
        ),
        (
            "header value not UTF-8",
            "arrayExists(h -> hex(h.2) = 'FF00FE', headers)",
        ),
    ] {
        let found = stage.number(&format!(
            "SELECT count() FROM ods_record
             WHERE arrayExists(h -> h.1 = 'case' AND h.2 = '{case}', headers) AND {condition}"
        ));
        assert_eq!(found, 1, "{case}: {condition}");
    }
}

/// Every code of the table in docs/operations.md was seen here, and no other.
fn assert_codes_are_those_documented(cases: &[Case]) {
    let page = std::fs::read_to_string(paths::checkout().join("docs/operations.md")).unwrap();
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let (code, unit) = (cells.next()?.strip_suffix('`')?, cells.next()?);
            matches!(unit, "record" | "span").then(|| format!("{unit} {code}"))
        })
        .collect();
    let seen: BTreeSet<String> = cases
        .iter()
        .flat_map(|case| &case.letters)
        .map(|&letter| letter.to_owned())
        .collect();
    assert_eq!(seen, documented);
}
