//! `stream-job record` against Apache Kafka.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};
use std::time::Duration;

use dev::kafka::{Broker, BrokerOptions};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use stream_job::source::TopicPartition;
use stream_job::source::recording::RecordingReader;

const RECORDS: i32 = 300;

/// Partition 0 gets every record, with a key, headers and here and there a tombstone.
fn produce(bootstrap: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    for i in 0..RECORDS {
        let (key, payload) = (format!("key {i}"), format!("payload {i}"));
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "content-type",
                value: Some("text/plain"),
            })
            .insert(Header::<&str> {
                key: "empty",
                value: None,
            });
        let mut record = BaseRecord::to("otlp_spans")
            .partition(0)
            .key(&key)
            .headers(headers)
            .timestamp(1_000 + i64::from(i));
        if i % 10 != 9 {
            record = record.payload(&payload);
        }
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Runs the copy as the binary does, in this process, and gives what it said.
fn record(
    bootstrap: &str,
    out: &std::path::Path,
    flags: &[&str],
) -> Result<RecordingReader, String> {
    let settings = format!("kafka_bootstrap_servers={bootstrap}");
    let output = out.display().to_string();
    let fixed = ["stream-job", "record", "--out", &output, "--set", &settings];
    let cli = clap::Parser::try_parse_from([&fixed, flags].concat())
        .map_err(|e: clap::Error| e.to_string())?;
    stream_job::ops::cli::main(cli).map_err(|error| format!("{error:#}"))?;
    RecordingReader::open(out).map_err(|error| error.to_string())
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition {
        topic: "otlp_spans".into(),
        partition: number,
    }
}

fn topic_id_by_kafka(broker: &Broker) -> String {
    let Output { stdout, .. } = Command::new("java")
        .args([
            "-cp",
            &format!("{}/*", dev::kafka::fetch_jars().unwrap().display()),
            "org.apache.kafka.tools.TopicCommand",
        ])
        .args([
            "--bootstrap-server",
            &broker.bootstrap(),
            "--describe",
            "--topic",
            "otlp_spans",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(stdout).unwrap();
    text.split("TopicId: ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn what_is_in_kafka_is_what_the_recording_holds() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerOptions::in_folder(
        folder.path().join("kafka"),
        folder.path().join("logs"),
    ))
    .unwrap();
    broker.create_topics().unwrap();
    let bootstrap = broker.bootstrap();
    produce(&bootstrap);

    let recording = record(&bootstrap, &folder.path().join("all"), &[]).unwrap();
    assert_eq!(recording.topic_id("otlp_spans"), topic_id_by_kafka(&broker));
    assert_eq!(
        recording.partitions().len(),
        15,
        "six of spans, six of documents and three of metrics"
    );
    let records: Vec<_> = recording
        .read_partition(&partition(0), 0)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(records.len(), RECORDS as usize);
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.offset, i as i64);
        assert_eq!(record.timestamp_ms, 1_000 + i as i64);
        assert_eq!(record.key.as_deref(), Some(format!("key {i}").as_bytes()));
        let payload = (i % 10 != 9).then(|| format!("payload {i}").into_bytes());
        assert_eq!(record.payload, payload);
        let headers = [
            ("content-type".to_owned(), Some(b"text/plain".to_vec())),
            ("empty".to_owned(), None),
        ];
        assert_eq!(record.headers, headers);
    }

    let flags = [
        "--topics",
        "otlp_spans",
        "--partitions",
        "otlp_spans:0",
        "--from-offsets",
        "otlp_spans:0=100",
        "--until",
        "otlp_spans:0=110",
    ];
    let some = record(&bootstrap, &folder.path().join("some"), &flags).unwrap();
    let offsets: Vec<_> = some
        .read_partition(&partition(0), 0)
        .unwrap()
        .map(|r| r.unwrap().offset)
        .collect();
    assert_eq!(offsets, (100..110).collect::<Vec<_>>());

    let error = record(&bootstrap, &folder.path().join("all"), &[]).unwrap_err();
    assert!(error.contains("already here"), "{error}");
    let error = record(
        "127.0.0.1:1",
        &folder.path().join("none"),
        &["--timeout", "1"],
    )
    .unwrap_err();
    assert!(
        error.contains("127.0.0.1:1") || error.contains("--timeout"),
        "{error}"
    );
}
