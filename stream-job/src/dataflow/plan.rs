//! What is read, from where on, and by which worker.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;

use super::admit::shard_of;
use super::rules::millis;
use super::source::OpenReader;
use crate::checkpoint::record::Position;
use crate::ops::job::Shutdown;
use crate::ops::settings::{Settings, StartOffsets};
use crate::source::TopicPartition;
use crate::source::buffer::PartitionBuffer;
use crate::source::kafka::{self, KafkaReader, TopicSpec};
use crate::source::recording::{RecordingReader, RecordingSource};

/// How long a topic may take to appear after it was made, or to be made by somebody else.
const TOPIC_APPEARS_WITHIN: Duration = Duration::from_secs(60);

/// The source of a run.
#[derive(Clone)]
pub(super) enum SourcePlan {
    Kafka {
        config: ClientConfig,
        ask_every: Duration,
    },
    Recording {
        recording: Arc<RecordingReader>,
        records_per_epoch: usize,
    },
}

impl SourcePlan {
    /// Finds the source and its partitions, with the offsets at which a fresh start begins; waits for the broker.
    pub(super) fn find(
        settings: &Settings,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(SourcePlan, Vec<Position>)> {
        if settings.recording.is_empty() {
            Self::find_kafka(settings, shutdown)
        } else {
            Self::find_recording(
                Path::new(&settings.recording),
                settings.epoch_records as usize,
            )
        }
    }

    fn find_kafka(
        settings: &Settings,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(SourcePlan, Vec<Position>)> {
        tracing::info!(
            "reading {} and {} from Kafka at {}",
            settings.spans_topic,
            settings.documents_topic,
            settings.kafka_bootstrap_servers
        );
        let mut config = kafka::client_config(settings);
        let ask_every =
            (settings.idle_timeout / 3).clamp(Duration::from_millis(50), Duration::from_secs(2));
        if config.get("fetch.wait.max.ms").is_none() {
            // The broker answers no other question of a client while it holds back an empty fetch.
            let wait_ms = ask_every.as_millis().min(500);
            config.set("fetch.wait.max.ms", wait_ms.to_string());
        }
        if settings.create_topics {
            let bytes = usize::try_from(settings.max_record_bytes.0).unwrap_or(usize::MAX);
            kafka::ensure_topics(&config, &topics(settings), bytes, shutdown)?;
        }
        let read = [
            settings.spans_topic.as_str(),
            settings.documents_topic.as_str(),
        ];
        let from_latest = settings.start_offsets == StartOffsets::Latest;
        let positions =
            kafka::find_partitions(&config, &read, from_latest, TOPIC_APPEARS_WITHIN, shutdown)?;
        Ok((SourcePlan::Kafka { config, ask_every }, positions))
    }

    fn find_recording(
        folder: &Path,
        records_per_epoch: usize,
    ) -> anyhow::Result<(SourcePlan, Vec<Position>)> {
        let recording = RecordingReader::open(folder)
            .with_context(|| format!("recording {}", folder.display()))?;
        let mut positions = Vec::new();
        for partition in recording.partitions() {
            positions.push(Position {
                topic: partition.topic.to_string(),
                topic_id: recording.topic_id(&partition.topic).to_owned(),
                partition: partition.partition,
                next_offset: recording.first_offset(partition)?,
            });
        }
        positions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok((
            SourcePlan::Recording {
                recording: Arc::new(recording),
                records_per_epoch,
            },
            positions,
        ))
    }

    pub(super) fn is_recording(&self) -> bool {
        matches!(self, SourcePlan::Recording { .. })
    }

    /// What opens the reader of one worker, given how many partitions there are in all, and what to call when the
    /// source goes away and comes back.
    pub(super) fn opener(
        &self,
        partitions: usize,
        on_away: impl Fn(Option<String>) + Send + 'static,
    ) -> OpenReader {
        match self.clone() {
            SourcePlan::Kafka { config, ask_every } => Box::new(move |buffers, activator| {
                // Activation fails only when the worker is gone, and then nobody needs waking.
                let wake = move || {
                    let _ = activator.activate();
                };
                Ok(Box::new(KafkaReader::assign(
                    config, buffers, ask_every, wake, on_away,
                )?))
            }),
            SourcePlan::Recording {
                recording,
                records_per_epoch,
            } => Box::new(move |buffers, _| {
                let quota = records_per_epoch.div_ceil(partitions.max(1));
                Ok(Box::new(RecordingSource::open(&recording, buffers, quota)?))
            }),
        }
    }
}

/// The topics that the job reads and writes, as it makes them.
fn topics(settings: &Settings) -> Vec<TopicSpec> {
    let topic = |name: &str, partitions, retention_days| TopicSpec {
        name: name.to_owned(),
        partitions,
        retention_days,
    };
    vec![
        topic(&settings.spans_topic, 6, Some(7)),
        topic("otlp_metrics", 3, Some(7)),
        topic(&settings.documents_topic, 6, Some(7)),
        topic("agent.rules", 1, None),
        topic(&settings.alerts_topic, 3, Some(30)),
        topic(&settings.dead_letter_topic, 3, Some(30)),
    ]
}

/// The partitions of one worker: those of its sink shards, so that a shard's rows are built in one place.
pub(super) fn assigned(
    positions: &[Position],
    worker: usize,
    workers: usize,
    shards: u16,
) -> (Vec<u32>, Vec<PartitionBuffer>) {
    let owner = |partition: i32| {
        usize::from(shard_of(partition, shards)) * workers / usize::from(shards.max(1))
    };
    (0u32..)
        .zip(positions)
        .filter(|(_, position)| owner(position.partition) == worker)
        .map(|(slot, position)| {
            let partition = TopicPartition {
                topic: position.topic.as_str().into(),
                partition: position.partition,
            };
            (slot, PartitionBuffer::new(partition, position.next_offset))
        })
        .unzip()
}

/// How many workers the settings ask for.
pub(super) fn workers_of(settings: &Settings) -> usize {
    match settings.workers {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(usize::from(settings.sink_shards)),
        workers => usize::from(workers),
    }
}

/// The idle timeout in ms.
pub(super) fn idle_timeout_ms(settings: &Settings) -> i64 {
    millis(settings.idle_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_worker_and_a_shard_is_never_split() {
        let positions: Vec<Position> = (0..12)
            .map(|i| Position {
                topic: format!("t{}", i / 6),
                topic_id: String::new(),
                partition: i % 6,
                next_offset: 0,
            })
            .collect();
        for workers in 1..=5 {
            let mut owner_of_shard = std::collections::BTreeMap::new();
            let mut seen = 0;
            for worker in 0..workers {
                let (slots, buffers) = assigned(&positions, worker, workers, 4);
                seen += slots.len();
                for buffer in buffers {
                    let shard = shard_of(buffer.partition.partition, 4);
                    assert_eq!(*owner_of_shard.entry(shard).or_insert(worker), worker);
                }
            }
            assert_eq!(seen, positions.len());
        }
    }
}
