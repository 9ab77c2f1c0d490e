//! Spanflow's topics, as contracts.md names them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use crate::wait;

/// Largest message on every topic, bytes.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// One topic.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// Its partitions.
    pub partitions: i32,
    /// Days that messages are kept; `None` for a compacted topic.
    pub retention_days: Option<u32>,
}

/// All of them.
pub const TOPICS: &[Topic] = &[
    topic("otlp_spans", 6, Some(7)),
    topic("otlp_metrics", 3, Some(7)),
    topic("agent.conversations", 6, Some(7)),
    topic("agent.rules", 1, None),
    topic("agent.alerts", 3, Some(30)),
    topic("agent.deadletter", 3, Some(30)),
];

/// Those that the job reads.
pub const INPUT_TOPICS: &[&str] = &["otlp_spans", "agent.conversations", "otlp_metrics"];

const fn topic(name: &'static str, partitions: i32, retention_days: Option<u32>) -> Topic {
    Topic {
        name,
        partitions,
        retention_days,
    }
}

/// Makes the topics that are not there yet, and waits until each partition has a leader.
///
/// # Errors
/// When the broker does not answer or refuses one.
pub fn create_topics(bootstrap: &str, topics: &[Topic]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create()?;
    let max_bytes = MAX_MESSAGE_BYTES.to_string();
    let retention: Vec<Option<String>> = topics
        .iter()
        .map(|t| {
            t.retention_days
                .map(|days| (u64::from(days) * 86_400_000).to_string())
        })
        .collect();
    let wanted: Vec<NewTopic> = topics
        .iter()
        .zip(&retention)
        .map(|(topic, retention)| {
            let new = NewTopic::new(topic.name, topic.partitions, TopicReplication::Fixed(1))
                .set("max.message.bytes", &max_bytes)
                .set("compression.type", "zstd");
            match retention {
                Some(ms) => new.set("retention.ms", ms),
                None => new.set("cleanup.policy", "compact"),
            }
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let results = block_on(admin.create_topics(&wanted, &options))?
        .with_context(|| format!("make the topics on {bootstrap}"))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("Kafka refused to make the topic {name}: {code}"),
        }
    }
    // Made is not yet led: who sends or reads now would be refused for some milliseconds.
    let names: Vec<&str> = topics.iter().map(|topic| topic.name).collect();
    end_offsets(bootstrap, &names).map(drop)
}

/// The end offset (one past the last message) of every partition of `topics`, by topic and partition, left out where
/// nothing is kept.
///
/// # Errors
/// When the broker does not answer.
pub fn end_offsets(bootstrap: &str, topics: &[&str]) -> Result<BTreeMap<(String, i32), i64>> {
    let consumer: BaseConsumer = client(bootstrap).create()?;
    let mut ends = BTreeMap::new();
    for &topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), ANSWER_LIMIT)
            .with_context(|| format!("ask {bootstrap} for the topic {topic}"))?;
        for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
            let (low, high) = watermarks(&consumer, topic, partition.id())
                .with_context(|| format!("on {bootstrap}"))?;
            if high > low {
                ends.insert((topic.to_owned(), partition.id()), high);
            }
        }
    }
    Ok(ends)
}

/// First and next offset of a partition. Asked again for a while: a topic that was just made, or a broker that has just
/// come back, has no leader yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let mut refusal = String::new();
    let what = format!("the end of {topic}/{partition} is not known");
    let answer = wait::until(
        &what,
        ANSWER_LIMIT,
        Duration::from_millis(100),
        || match consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)) {
            Ok(watermarks) => Ok(Some(watermarks)),
            Err(error) => {
                refusal = error.to_string();
                Ok(None)
            }
        },
    );
    answer.with_context(|| format!("Kafka said last: {refusal}"))
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// Waits for a future on a thread of its own, so that callers may be inside an async runtime or not.
fn block_on<F: Future + Send>(future: F) -> Result<F::Output>
where
    F::Output: Send,
{
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                Ok(runtime.block_on(future))
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
