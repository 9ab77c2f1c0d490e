//! Copies of dead letters on their topic: at least once, each with an id to drop copies by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::dead_letter::DeadLetter;
use crate::source::kafka::log_error;

/// How long the last letters may take to be delivered at the end of a run.
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
/// Pause before a letter is offered again to a full queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(20);

/// Letters on their way, by epoch.
#[derive(Clone, Default)]
struct Pending(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Pending {
    fn add(&self, epoch: u64) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pending.entry(epoch).or_default() += 1;
    }

    fn remove(&self, epoch: u64) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pending.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&epoch);
            }
        }
    }

    fn first(&self) -> Option<u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .next()
            .copied()
    }
}

impl ClientContext for Pending {
    fn error(&self, error: KafkaError, reason: &str) {
        log_error("dead letters: ", &error, reason);
    }
}

impl ProducerContext for Pending {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, epoch: Box<u64>) {
        if let Err((error, _)) = result {
            // The letter is in ods_dead_letter all the same; the topic is a copy for those who listen.
            tracing::error!(
                "a dead letter did not reach its topic: {error}; it is in ods_dead_letter"
            );
        }
        self.remove(*epoch);
    }
}

/// Sends dead letters.
pub struct DeadLetterTopic {
    producer: ThreadedProducer<Pending>,
    pending: Pending,
    topic: String,
    /// Letters up to this epoch were delivered by an earlier run.
    sent_through: u64,
}

impl DeadLetterTopic {
    /// A sender to `topic`. Letters of epochs up to `sent_through` are left out: an earlier run has sent them.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn open(mut config: ClientConfig, topic: &str, sent_through: u64) -> anyhow::Result<Self> {
        config
            .set("enable.idempotence", "true")
            .set("compression.type", "zstd")
            .set("linger.ms", "20")
            .set("message.max.bytes", "16777216")
            .set("message.timeout.ms", "0");
        let pending = Pending::default();
        let producer = config.create_with_context(pending.clone())?;
        Ok(Self {
            producer,
            pending,
            topic: topic.to_owned(),
            sent_through,
        })
    }

    /// Sends a letter of an epoch. Waits while the client's queue is full.
    pub fn send(&self, epoch: u64, letter: &DeadLetter) {
        if epoch <= self.sent_through {
            return;
        }
        self.pending.add(epoch);
        let (id, partition, offset) = (
            letter.id(),
            letter.partition.to_string(),
            letter.record.offset.to_string(),
        );
        let own = [
            ("spanflow-dead-letter-id", id.as_str()),
            ("spanflow-unit", letter.unit()),
            ("spanflow-error-code", letter.error_code),
            ("spanflow-error", letter.error.as_str()),
            ("spanflow-topic", letter.topic.as_str()),
            ("spanflow-partition", partition.as_str()),
            ("spanflow-offset", offset.as_str()),
        ];
        let mut headers = OwnedHeaders::new();
        for (key, value) in &letter.record.headers {
            // A name with a NUL cannot be sent on; no client makes one.
            if !key.contains('\0') {
                headers = headers.insert(Header {
                    key,
                    value: value.as_deref(),
                });
            }
        }
        for (key, value) in own {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let mut record: BaseRecord<'_, [u8], [u8], Box<u64>> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(epoch)).headers(headers);
        record = match letter.value() {
            Some(value) => record.payload(value),
            None => record,
        };
        record = match letter.record.key.as_deref() {
            Some(key) => record.key(key),
            None => record,
        };
        while let Err((error, back)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                tracing::error!(
                    "dead letter {id} cannot be sent to its topic: {error}; it is in ods_dead_letter"
                );
                self.pending.remove(epoch);
                return;
            }
            std::thread::sleep(QUEUE_FULL_PAUSE);
            record = back;
        }
    }

    /// The last epoch, at most `landed`, whose letters have all been delivered.
    #[must_use]
    pub fn delivered_through(&self, landed: u64) -> u64 {
        self.pending
            .first()
            .map_or(landed, |first| landed.min(first.saturating_sub(1)))
    }
}

impl Drop for DeadLetterTopic {
    fn drop(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH_WITHIN) {
            tracing::error!(
                "dead letters are still on their way to {}: {error}; they are in ods_dead_letter",
                self.topic
            );
        }
    }
}
