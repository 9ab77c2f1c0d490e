//! What is read, from where on, and by which worker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;

use super::admit::shard_of;
use super::owners::worker_of_shard;
use super::rules::millis;
use super::source::OpenReader;
use crate::checkpoint::record::Position;
use crate::ops::bounds::Bounds;
use crate::ops::job::{JobError, Shutdown};
use crate::ops::settings::{Layers, Settings};
use crate::source::buffer::PartitionBuffer;
use crate::source::kafka::{self, Found, KafkaReader, Range, TopicSpec};
use crate::source::recording::{RecordingReader, RecordingSource};
use crate::source::{TopicFilter, TopicFilters, TopicPartition};

/// How long a topic may take to appear after it was made, or to be made by somebody else.
const TOPIC_APPEARS_WITHIN: Duration = Duration::from_secs(60);

/// The source of a run.
#[derive(Clone)]
pub(super) enum SourcePlan {
    Kafka {
        config: ClientConfig,
        ask_every: Duration,
        /// The offsets before which a bounded run ends, by topic and partition.
        ends: Option<Arc<BTreeMap<(String, i32), i64>>>,
    },
    Recording {
        recording: Arc<RecordingReader>,
        records_per_epoch: usize,
    },
}

impl SourcePlan {
    /// Finds the source and its partitions, with the offsets that there are; waits for the broker.
    pub(super) fn find(
        settings: &Settings,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(SourcePlan, Vec<Found>)> {
        if settings.recording.is_empty() {
            Self::find_kafka(settings, shutdown)
        } else {
            Self::find_recording(settings)
        }
    }

    fn find_kafka(
        settings: &Settings,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(SourcePlan, Vec<Found>)> {
        let read = topics_read(settings);
        tracing::info!(
            "reading {read} from Kafka at {}",
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
        let found = kafka::find_partitions(&config, &read, TOPIC_APPEARS_WITHIN, shutdown)?;
        if found.is_empty() {
            tracing::warn!("no topic matches yet; they are looked for every discovery_interval");
        }
        let plan = SourcePlan::Kafka {
            config,
            ask_every,
            ends: None,
        };
        Ok((plan, found))
    }

    fn find_recording(settings: &Settings) -> anyhow::Result<(SourcePlan, Vec<Found>)> {
        let folder = Path::new(&settings.recording);
        let recording = RecordingReader::open(folder)
            .with_context(|| format!("recording {}", folder.display()))?;
        let mut found = Vec::new();
        let metrics = TopicFilter::of(&settings.metrics_topic);
        let is_read = |topic: &str| reads_metrics(settings) || !metrics.matches(topic);
        let partitions = recording.partitions().iter();
        for partition in partitions.filter(|of| is_read(&of.topic)) {
            found.push(Found {
                earliest: Position {
                    topic: partition.topic.to_string(),
                    topic_id: recording.topic_id(&partition.topic).to_owned(),
                    partition: partition.partition,
                    next_offset: recording.first_offset(partition)?,
                },
                end_offset: recording.end_offset(partition)?,
            });
        }
        found.sort_by(|a, b| {
            let key = |found: &Found| (found.earliest.topic.clone(), found.earliest.partition);
            key(a).cmp(&key(b))
        });
        Ok((
            SourcePlan::Recording {
                recording: Arc::new(recording),
                records_per_epoch: settings.epoch_records as usize,
            },
            found,
        ))
    }

    /// Makes it bounded: the ranges that it reads.
    pub(super) fn bound(
        &mut self,
        found: &[Found],
        bounds: &Bounds,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Vec<Range>> {
        let SourcePlan::Kafka { config, ends, .. } = self else {
            let reason = "--from-… and --until are for Kafka: a recording has its own end";
            return Err(JobError::Refused(reason.to_owned()).into());
        };
        let ranges = kafka::find_ranges(config, found, bounds, shutdown)?;
        let key = |range: &Range| (range.begin.topic.clone(), range.begin.partition);
        let of = ranges.iter().map(|range| (key(range), range.end_offset));
        *ends = Some(Arc::new(of.collect()));
        Ok(ranges)
    }

    /// Whether it ends at offsets that are known.
    pub(super) fn is_bounded(&self) -> bool {
        match self {
            SourcePlan::Kafka { ends, .. } => ends.is_some(),
            SourcePlan::Recording { .. } => true,
        }
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
            SourcePlan::Kafka {
                config,
                ask_every,
                ends,
            } => Box::new(move |buffers, activator| {
                // Activation fails only when the worker is gone, and then nobody needs waking.
                let wake = move || {
                    let _ = activator.activate();
                };
                let reader = KafkaReader::assign(config, buffers, ask_every, wake, on_away)?;
                let Some(ends) = ends else {
                    return Ok(Box::new(reader));
                };
                let until = buffers.iter().map(|buffer| {
                    let tp = &buffer.partition;
                    let end = ends.get(&(tp.topic.to_string(), tp.partition));
                    end.copied().unwrap_or(buffer.position)
                });
                Ok(Box::new(reader.until(until.collect())))
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
    let read = topics_read(settings);
    let partitions = |name: &str| if name == settings.metrics_topic { 3 } else { 6 };
    let mut topics: Vec<TopicSpec> = (read.names())
        .map(|name| topic(name, partitions(name), Some(7)))
        .collect();
    topics.extend([
        topic("agent.rules", 1, None),
        topic(&settings.alerts_topic, 3, Some(30)),
        topic(&settings.dead_letter_topic, 3, Some(30)),
    ]);
    topics
}

/// The topics that the job reads.
pub(super) fn topics_read(settings: &Settings) -> TopicFilters {
    let read = [&settings.spans_topic, &settings.documents_topic];
    let written = [&settings.alerts_topic, &settings.dead_letter_topic];
    TopicFilters::new(
        read.map(|topic| TopicFilter::of(topic)).into(),
        written.map(Clone::clone).into(),
    )
    .with_metrics(reads_metrics(settings).then(|| TopicFilter::of(&settings.metrics_topic)))
}

/// Nothing is made of metrics where there are only windows of steps.
fn reads_metrics(settings: &Settings) -> bool {
    !settings.metrics_topic.is_empty() && settings.layers == Layers::All
}

/// The worker that reads a partition: that of its sink shard, so that a shard's rows are built in one place.
pub(super) fn owner_of(partition: i32, workers: usize, shards: u16) -> usize {
    worker_of_shard(shard_of(partition, shards), shards, workers)
}

/// The partitions of one worker, from a slot on, but for those that are gone.
pub(super) fn assigned(
    positions: &[Position],
    from: usize,
    (worker, workers): (usize, usize),
    shards: u16,
    gone: &BTreeSet<u32>,
) -> (Vec<u32>, Vec<PartitionBuffer>) {
    (0u32..)
        .zip(positions)
        .skip(from)
        .filter(|(_, position)| owner_of(position.partition, workers, shards) == worker)
        .filter(|(slot, _)| !gone.contains(slot))
        .map(|(slot, position)| {
            let partition = TopicPartition {
                topic: position.topic.as_str().into(),
                partition: position.partition,
            };
            (slot, PartitionBuffer::new(partition, position.next_offset))
        })
        .unzip()
}

/// The partitions, each at its first offset.
pub(super) fn earliest(found: &[Found]) -> Vec<Position> {
    found.iter().map(|found| found.earliest.clone()).collect()
}

/// How many workers of each process the settings ask for.
#[must_use]
pub fn workers_of(settings: &Settings) -> usize {
    match settings.workers {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(usize::from(settings.sink_shards))
            .div_ceil(usize::from(settings.processes)),
        workers => usize::from(workers),
    }
}

/// The idle timeout in ms.
pub(super) fn idle_timeout_ms(settings: &Settings) -> i64 {
    millis(settings.idle_timeout)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::recording::{RecordedTopic, RecordingWriter};

    #[test]
    fn metrics_of_a_recording_are_read_but_where_there_are_only_windows_of_steps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let topics = ["otlp_metrics", "otlp_spans"].map(|name| RecordedTopic {
            name: name.to_owned(),
            topic_id: String::new(),
            partitions: 1,
        });
        let writer = RecordingWriter::create(&path, &topics).unwrap();
        writer.finish().unwrap();
        let found = |layers| {
            let settings = Settings {
                recording: path.to_str().unwrap().to_owned(),
                layers,
                ..Settings::default()
            };
            let (_, found) = SourcePlan::find_recording(&settings).unwrap();
            let topics = found.into_iter().map(|found| found.earliest.topic);
            topics.collect::<Vec<_>>()
        };
        assert_eq!(found(Layers::All), ["otlp_metrics", "otlp_spans"]);
        assert_eq!(found(Layers::Windows), ["otlp_spans"]);
    }

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
                let place = (worker, workers);
                let (slots, buffers) = assigned(&positions, 0, place, 4, &BTreeSet::new());
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
