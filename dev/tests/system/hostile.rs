//! Whatever a producer sends, the job lives, what is good lands, and docs/operations.md says what becomes of the rest.

use std::collections::{BTreeMap, BTreeSet};

use dev::{kafka, paths, wait};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, Producer};
use serde::Deserialize;

use crate::dead_letters::assert_topic_is_table;
use crate::landed::assert_nothing_twice;
use crate::stage::{DRAIN_LIMIT, Stage};
use crate::wire::{
    LIMIT, Outgoing, Span, producer, request, send, send_all, send_with_header_name,
};

mod cases;
mod points;

use cases::{Case, SPANS};

/// What is rejected by itself.
const UNITS: [&str; 3] = ["record", "span", "point"];
/// Only the transactional producer sends here, so that the partition ends in a marker that no record shows.
const TRANSACTIONS: i32 = 5;

#[test]
fn whatever_is_sent_lands_or_is_a_dead_letter_as_documented_and_the_job_lives() {
    // A record that is larger than this but that the broker takes.
    let mut stage = Stage::start(&[("max_record_bytes", "6MiB")]);
    let bootstrap = stage.system.kafka.bootstrap();
    keep_compression_of_producers(&bootstrap);
    let mut cases = cases::all();
    cases.extend(points::all());
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
             SELECT case_name AS case, toUInt64(spans_landed + points_landed) AS landed, '' AS letter FROM ods_record
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
            let (code, units) = (cells.next()?.strip_suffix('`')?, cells.next()?);
            let units = units.split(", ").filter(|unit| UNITS.contains(unit));
            Some(units.map(move |unit| format!("{unit} {code}")))
        })
        .flatten()
        .collect();
    let seen: BTreeSet<String> = cases
        .iter()
        .flat_map(|case| &case.letters)
        .map(|&letter| letter.to_owned())
        .collect();
    assert_eq!(seen, documented);
}
