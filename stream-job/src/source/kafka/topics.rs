//! The job's topics: made where they are missing, and their partitions with where reading starts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::{LoggedContext, topic_ids};
use crate::checkpoint::record::Position;
use crate::ops::job::Shutdown;
use crate::source::TopicFilters;

pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(500);
const REMIND_EVERY: Duration = Duration::from_secs(5);

/// A topic as docs/tables.md and contracts name it.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Partitions, where it has to be made.
    pub partitions: i32,
    /// Retention in days; `None` for a compacted topic.
    pub retention_days: Option<u32>,
}

/// Makes the topics that are missing. Waits for the broker as long as it takes, saying so; gives up only on `shutdown`.
///
/// # Errors
/// When the broker refuses to make a topic for a reason that waiting does not heal, or on shutdown.
pub fn ensure_topics(
    config: &ClientConfig,
    topics: &[TopicSpec],
    max_message_bytes: usize,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let admin: AdminClient<LoggedContext> = config.create_with_context(LoggedContext)?;
    let max_bytes = max_message_bytes.to_string();
    let kept: Vec<(String, &'static str)> = topics
        .iter()
        .map(|t| match t.retention_days {
            Some(days) => ((u64::from(days) * 86_400_000).to_string(), "delete"),
            None => ("-1".to_owned(), "compact"),
        })
        .collect();
    let wanted: Vec<NewTopic<'_>> = topics
        .iter()
        .zip(&kept)
        .map(|(topic, (retention_ms, cleanup))| {
            NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(-1))
                .set("max.message.bytes", &max_bytes)
                .set("compression.type", "zstd")
                .set("retention.ms", retention_ms)
                .set("cleanup.policy", cleanup)
        })
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(ASK_TIMEOUT))
        .request_timeout(Some(ASK_TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let results = wait_for(config, "create its topics", shutdown, || {
        runtime.block_on(admin.create_topics(&wanted, &options))
    })?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => anyhow::bail!(
                "the broker at {} refuses to make topic `{name}`: {code}. Make the topic by hand, or set create_topics = false",
                config.get("bootstrap.servers").unwrap_or_default(),
            ),
        }
    }
    Ok(())
}

/// A partition, and the offsets that the broker has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The partition, at its first offset.
    pub earliest: Position,
    /// The offset after its last record.
    pub end_offset: i64,
}

impl Found {
    /// The partition, after its last record.
    #[must_use]
    pub fn latest(&self) -> Position {
        Position {
            next_offset: self.end_offset,
            ..self.earliest.clone()
        }
    }
}

/// All partitions of the topics that are read, sorted by topic and partition.
///
/// # Errors
/// On shutdown, or when a topic that is named does not exist within `appear_within`.
pub fn find_partitions(
    config: &ClientConfig,
    topics: &TopicFilters,
    appear_within: Duration,
    shutdown: &Shutdown,
) -> anyhow::Result<Vec<Found>> {
    let client: BaseConsumer<LoggedContext> = config.create_with_context(LoggedContext)?;
    let since = Instant::now();
    let listed = loop {
        let listed = wait_for(config, "list its topics", shutdown, || {
            list_partitions(&client, topics)
        })?;
        let is_there = |name: &&str| listed.iter().any(|(topic, _)| topic == name);
        let Some(missing) = topics.names().find(|name| !is_there(name)) else {
            break listed;
        };
        anyhow::ensure!(
            since.elapsed() < appear_within,
            "topic `{missing}` has no partitions after {appear_within:?}: make it, or set create_topics = true",
        );
        std::thread::sleep(RETRY_AFTER);
    };
    let mut found: Vec<Found> = Vec::new();
    for (topic, partition) in listed {
        let (low, high) = wait_for(
            config,
            &format!("tell the offsets of {topic}/{partition}"),
            shutdown,
            || client.fetch_watermarks(&topic, partition, ASK_TIMEOUT),
        )?;
        found.push(Found {
            earliest: Position {
                topic,
                topic_id: String::new(),
                partition,
                next_offset: low,
            },
            end_offset: high,
        });
    }
    let names: BTreeSet<&str> = found.iter().map(|f| f.earliest.topic.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    match ids_of(&client, &names) {
        Ok(ids) => {
            for Found { earliest, .. } in &mut found {
                earliest.topic_id = ids.get(&earliest.topic).cloned().unwrap_or_default();
            }
        }
        // A broker that is too old, or that does not let us describe topics: an empty id means that it is not known.
        Err(reason) => tracing::warn!("the topics' ids are not known: {reason}"),
    }
    found.sort_by(|a, b| {
        let key = |found: &Found| (found.earliest.topic.clone(), found.earliest.partition);
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// The partitions of all topics that are read, as the broker tells them now.
///
/// # Errors
/// The broker did not answer.
pub(super) fn list_partitions(
    client: &BaseConsumer<LoggedContext>,
    topics: &TopicFilters,
) -> Result<Vec<(String, i32)>, KafkaError> {
    let questions: Vec<Option<&str>> = if topics.has_patterns() {
        vec![None]
    } else {
        topics.names().map(Some).collect()
    };
    let mut listed = Vec::new();
    for question in questions {
        let metadata = client.fetch_metadata(question, ASK_TIMEOUT)?;
        for topic in metadata.topics() {
            if topics.matches(topic.name()) {
                let partitions = topic.partitions().iter();
                listed.extend(partitions.map(|p| (topic.name().to_owned(), p.id())));
            }
        }
    }
    Ok(listed)
}

/// The ids of topics by name.
pub(super) fn ids_of(
    client: &BaseConsumer<LoggedContext>,
    names: &[&str],
) -> Result<BTreeMap<String, String>, String> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    topic_ids(client.client(), names, ASK_TIMEOUT)
}

/// Asks again until the broker answers, with a line in the log every few seconds.
pub(super) fn wait_for<T>(
    config: &ClientConfig,
    what: &str,
    shutdown: &Shutdown,
    mut ask: impl FnMut() -> Result<T, KafkaError>,
) -> anyhow::Result<T> {
    let since = Instant::now();
    let mut reminded: Option<Instant> = None;
    loop {
        let error = match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        anyhow::ensure!(
            !shutdown.requested(),
            "stopped while waiting for Kafka to {what}: {error}"
        );
        if reminded.is_none_or(|at| at.elapsed() >= REMIND_EVERY) {
            reminded = Some(Instant::now());
            tracing::warn!(
                "waiting for Kafka at {} to {what}, for {} s so far: {error}",
                config.get("bootstrap.servers").unwrap_or_default(),
                since.elapsed().as_secs(),
            );
        }
        std::thread::sleep(RETRY_AFTER);
    }
}
