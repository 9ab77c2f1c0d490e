//! Kafka as a source: every partition assigned (not subscribed), read through its own queue.

mod bounds;
mod discovery;
mod ends;
mod queue;
mod reader;
mod topic_ids;
mod topics;

pub use bounds::{Range, find_ranges};
pub use discovery::Discovery;
pub use reader::KafkaReader;
pub use topic_ids::topic_ids;
pub use topics::{Found, TopicSpec, ensure_topics, find_partitions};

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::wall_ms;
use crate::ops::settings::Settings;

/// While a broker is away, each connection of each client says so several times a second. One such line in this long is
/// enough; who waits says so on its own.
const SAY_EVERY_MS: i64 = 5_000;

/// Whether a line about connections may be logged now; the others go to the level `debug`.
fn is_due() -> bool {
    static LAST_MS: AtomicI64 = AtomicI64::new(i64::MIN);
    let (now_ms, last_ms) = (wall_ms(), LAST_MS.load(Relaxed));
    now_ms.saturating_sub(last_ms) >= SAY_EVERY_MS
        && LAST_MS
            .compare_exchange(last_ms, now_ms, Relaxed, Relaxed)
            .is_ok()
}

/// Logs what a client reports besides its answers. `who` names the client.
pub(crate) fn log_error(who: &str, error: &KafkaError, reason: &str) {
    let is_connection = matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown)
    );
    if is_connection && !is_due() {
        tracing::debug!(target: "kafka", "{who}{error}: {reason}");
    } else {
        tracing::warn!(target: "kafka", "{who}{error}: {reason}; the client goes on trying");
    }
}

/// Turns what librdkafka says into our log lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggedContext;

impl ClientContext for LoggedContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(target: "kafka", "{facility}: {message}");
            }
            _ if is_due() => tracing::warn!(target: "kafka", "{facility}: {message}"),
            _ => tracing::debug!(target: "kafka", "{facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error("", &error, reason);
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
