//! Topics beside the warehouse: copies of dead letters, and the flags as alerts. At least once, each message with an id
//! to drop copies by.
//!
//! An epoch counts as delivered once the broker has all of its messages. What the epoch log tells of as landed, and what
//! a checkpoint stands for, was delivered before; so a restart leaves out the messages of those epochs, and sends the
//! others again.

mod alert;
mod message;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use self::message::{Kind, Message};
use super::dead_letter::DeadLetter;
use super::tables::ads_anomaly::AnomalyRow;
use crate::source::kafka::log_error;

/// How long the last messages may take to be delivered at the end of a run.
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
/// Pause before a message is offered again to a full queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(20);

/// How many messages of each epoch are on their way.
#[derive(Clone, Default)]
struct Pending(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, epoch: u64) {
        *self.lock().entry(epoch).or_default() += 1;
    }

    fn remove(&self, epoch: u64) {
        let mut pending = self.lock();
        if let Some(count) = pending.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&epoch);
            }
        }
    }

    fn delivered_through(&self, given: u64) -> u64 {
        match self.lock().first_key_value() {
            Some((first, _)) => given.min(first.saturating_sub(1)),
            None => given,
        }
    }
}

/// What is known of a message when the broker has answered.
struct Sent {
    epoch: u64,
    kind: Kind,
}

impl ClientContext for Pending {
    fn error(&self, error: KafkaError, reason: &str) {
        log_error("dead letters and alerts: ", &error, reason);
    }
}

impl ProducerContext for Pending {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        if let Err((error, _)) = result {
            // Its row lands all the same; the topic is for those who listen.
            let Kind { name, table } = sent.kind;
            tracing::error!("one {name} did not reach its topic: {error}; it is in {table}");
        }
        self.remove(sent.epoch);
    }
}

/// Names of the topics.
pub struct TopicNames {
    /// Gets dead letters.
    pub dead_letters: String,
    /// Gets the flags.
    pub alerts: String,
}

/// Sends dead letters and alerts.
pub struct SideTopics {
    producer: ThreadedProducer<Pending>,
    pending: Pending,
    names: TopicNames,
    /// What belongs to epochs up to this one was delivered by an earlier run.
    sent_through: u64,
}

impl SideTopics {
    /// A sender to these topics. What belongs to epochs up to `sent_through` is left out: an earlier run has sent it.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn open(
        mut config: ClientConfig,
        names: TopicNames,
        sent_through: u64,
    ) -> anyhow::Result<Self> {
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
            names,
            sent_through,
        })
    }

    /// Sends a letter of an epoch. Waits while the client's queue is full.
    pub fn dead_letter(&self, epoch: u64, letter: &DeadLetter) {
        if epoch > self.sent_through {
            let message = Message::of_letter(letter);
            self.send(&self.names.dead_letters, epoch, message);
        }
    }

    /// Sends a flag of an epoch, and says whether it was not left out. Waits while the client's queue is full.
    pub fn alert(&self, epoch: u64, flag: &AnomalyRow) -> bool {
        let is_new = epoch > self.sent_through;
        if is_new {
            self.send(&self.names.alerts, epoch, Message::of_flag(flag));
        }
        is_new
    }

    fn send(&self, topic: &str, epoch: u64, message: Message<'_>) {
        self.pending.add(epoch);
        let kind = message.kind;
        let mut record: BaseRecord<'_, [u8], [u8], Box<Sent>> =
            BaseRecord::with_opaque_to(topic, Box::new(Sent { epoch, kind }))
                .headers(message.headers);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        if let Some(value) = &message.value {
            record = record.payload(value);
        }
        while let Err((error, back)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                let (Kind { name, table }, id) = (kind, &message.id);
                tracing::error!("{name} {id} cannot be sent to {topic}: {error}; it is in {table}");
                self.pending.remove(epoch);
                return;
            }
            std::thread::sleep(QUEUE_FULL_PAUSE);
            record = back;
        }
    }

    /// The last epoch, at most `given`, of which everything was delivered. Right if all messages up to `given` were sent
    /// before.
    #[must_use]
    pub fn delivered_through(&self, given: u64) -> u64 {
        self.pending.delivered_through(given)
    }
}

impl Drop for SideTopics {
    fn drop(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH_WITHIN) {
            tracing::error!(
                "messages are still on their way to {} or {}: {error}; they are in {} and {}",
                self.names.dead_letters,
                self.names.alerts,
                Kind::DEAD_LETTER.table,
                Kind::ALERT.table,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_delivered_once_all_messages_up_to_it_are() {
        let pending = Pending::default();
        assert_eq!(pending.delivered_through(9), 9, "none were sent");
        pending.add(7);
        pending.add(7);
        pending.add(8);
        assert_eq!(pending.delivered_through(9), 6);
        pending.remove(7);
        assert_eq!(pending.delivered_through(9), 6, "one of two");
        pending.remove(8);
        assert_eq!(pending.delivered_through(9), 6, "a later one does not help");
        pending.remove(7);
        assert_eq!(pending.delivered_through(9), 9);
        assert_eq!(pending.delivered_through(3), 3);
    }
}
