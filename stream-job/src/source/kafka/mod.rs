//! Kafka as a source: every partition assigned (not subscribed), read through its own queue.

mod queue;
mod reader;
mod topic_ids;
mod topics;

pub use reader::KafkaReader;
pub use topic_ids::topic_ids;
pub use topics::{TopicSpec, ensure_topics, find_partitions};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::ops::settings::Settings;

/// Turns what librdkafka says into our log lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggedContext;

impl ClientContext for LoggedContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(target: "kafka", "{facility}: {message}");
            }
            _ => tracing::warn!(target: "kafka", "{facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "kafka", "{error}: {reason}; the client goes on trying");
    }
}

impl ConsumerContext for LoggedContext {}

/// The configuration that every client of the job shares; `kafka_properties` override it.
#[must_use]
pub fn client_config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.kafka_bootstrap_servers)
        .set("client.id", "spanflow-stream-job")
        .set("log.connection.close", "false")
        .set("reconnect.backoff.max.ms", "2000")
        .set("topic.metadata.refresh.interval.ms", "30000");
    for (name, value) in &settings.kafka_properties {
        config.set(name, value);
    }
    config
}
