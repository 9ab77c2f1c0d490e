//! The fast generator against a real broker.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use dev::generate::{self, GenerateOptions, Target};
use dev::kafka::{self, Broker, BrokerOptions};

/// Bytes of all segment files of the topic with spans.
fn stored_bytes(data: &Path) -> u64 {
    let partitions = std::fs::read_dir(data).unwrap().map(Result::unwrap);
    partitions
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("otlp_spans-")
        })
        .flat_map(|entry| std::fs::read_dir(entry.path()).unwrap().map(Result::unwrap))
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "log"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum()
}

#[test]
fn the_broker_has_every_message_and_a_span_takes_what_an_agents_span_takes() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerOptions::in_folder(
        folder.path().join("kafka"),
        folder.path().join("logs"),
    ))
    .unwrap();
    broker.create_topics().unwrap();
    let report = generate::run(&GenerateOptions {
        target: Target::Kafka(broker.bootstrap()),
        spans: 80_000,
        sessions: 100,
        per_message: 4,
        roots_only: false,
        seed: 3,
        start_unix_nano: 1_780_000_000_000_000_000,
        rate: 5_000,
        live: false,
        threads: 2,
    })
    .unwrap();
    let ends = kafka::end_offsets(&broker.bootstrap(), kafka::INPUT_TOPICS).unwrap();
    assert_eq!(ends.values().sum::<i64>() as u64, report.messages);
    assert_eq!((report.spans, report.messages), (80_000, 20_000));
    // Measured on agents' spans: 1.09 kB, and 250 B as zstd.
    let each = stored_bytes(&folder.path().join("kafka/data")) / report.spans;
    assert!(
        (200..320).contains(&each),
        "{each} bytes a span in the broker"
    );
}
