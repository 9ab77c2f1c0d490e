//! Where the generator writes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use stream_job::source::recording::{RecordedTopic, RecordingWriter};
use stream_job::source::{Record, TopicPartition};

use crate::kafka::MAX_MESSAGE_BYTES;

const TOPIC: &str = "otlp_spans";
const PARTITIONS: i32 = 6;
const FLUSH_LIMIT: Duration = Duration::from_secs(120);

/// Takes messages.
pub(super) trait Output {
    /// Hands a message over; waits where there is no room.
    fn send(&mut self, key: &[u8], message: &[u8]) -> Result<()>;
    /// Does what is due in between.
    fn poll(&mut self) {}
    /// Waits until all is written; returns how many messages were not.
    fn finish(self: Box<Self>) -> Result<u64>;
}

#[derive(Debug, Default)]
struct Failures(AtomicU64);

#[derive(Clone, Debug, Default)]
struct CountFailures(Arc<Failures>);

impl ClientContext for CountFailures {}

impl ProducerContext for CountFailures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) struct KafkaOutput {
    producer: BaseProducer<CountFailures>,
    failures: Arc<Failures>,
    sent: u64,
}

impl KafkaOutput {
    /// A producer with large batches; `live` sends them after 5 ms at the latest.
    pub(super) fn connect(bootstrap: &str, live: bool) -> Result<Self> {
        let context = CountFailures::default();
        let failures = Arc::clone(&context.0);
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("compression.type", "zstd")
            .set("linger.ms", if live { "5" } else { "100" })
            .set("batch.size", "1000000")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
            .create_with_context(context)
            .context("make a producer")?;
        Ok(Self {
            producer,
            failures,
            sent: 0,
        })
    }
}

impl Output for KafkaOutput {
    fn send(&mut self, key: &[u8], message: &[u8]) -> Result<()> {
        self.sent += 1;
        if self.sent.is_multiple_of(256) {
            self.poll();
        }
        let mut record = BaseRecord::to(TOPIC).key(key).payload(message);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error).context("hand a message to the producer"),
            }
        }
    }

    fn poll(&mut self) {
        self.producer.poll(Duration::ZERO);
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        self.producer
            .flush(FLUSH_LIMIT)
            .context("the broker has not acknowledged all messages in time")?;
        Ok(self.failures.0.load(Ordering::Relaxed))
    }
}

pub(super) struct RecordingOutput {
    writer: RecordingWriter,
    partitions: Vec<(TopicPartition, i64)>,
}

impl RecordingOutput {
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let topic = RecordedTopic {
            name: TOPIC.to_owned(),
            topic_id: "generated".to_owned(),
            partitions: PARTITIONS,
        };
        let partitions = (0..PARTITIONS)
            .map(|partition| {
                let topic = TOPIC.into();
                (TopicPartition { topic, partition }, 0)
            })
            .collect();
        Ok(Self {
            writer: RecordingWriter::create(folder, &[topic])?,
            partitions,
        })
    }
}

impl Output for RecordingOutput {
    fn send(&mut self, key: &[u8], message: &[u8]) -> Result<()> {
        let partition = xxhash_rust::xxh3::xxh3_64(key) % PARTITIONS as u64;
        let (partition, offset) = &mut self.partitions[partition as usize];
        let record = Record {
            offset: *offset,
            timestamp_ms: -1,
            key: Some(key.to_vec()),
            headers: Vec::new(),
            payload: Some(message.to_vec()),
        };
        *offset += 1;
        self.writer.append(partition, &record)?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        self.writer.finish()?;
        Ok(0)
    }
}
