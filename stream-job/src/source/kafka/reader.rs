//! One worker's share of the partitions, read by a client of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::LoggedContext;
use super::queue::{PartitionQueue, Taken};
use crate::source::buffer::PartitionBuffer;
use crate::source::{Polled, Reader, wall_ms};

const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// While the broker does not answer it is asked again after this long.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How often the log says that the broker does not answer.
const REMIND_EVERY: Duration = Duration::from_secs(5);

/// Where the broker said a partition ends, and when it said so.
#[derive(Default)]
struct End {
    high: AtomicI64,
    confirmed_ms: AtomicI64,
}

/// Reads the partitions that it was given.
pub struct KafkaReader {
    queues: Vec<PartitionQueue<LoggedContext>>,
    /// Whether the end of the partition was reached since its last record.
    at_end: Vec<bool>,
    ends: Arc<[End]>,
    stop: Arc<AtomicBool>,
    asker: Option<JoinHandle<()>>,
    consumer: Arc<BaseConsumer<LoggedContext>>,
}

impl KafkaReader {
    /// Assigns the buffers' partitions at the buffers' positions. `wake` is called from other threads when records
    /// arrive; `on_away`, from another thread too, with what the broker that does not answer is, and with `None` once
    /// it does again.
    ///
    /// # Errors
    /// When the client cannot be made or a partition cannot be assigned.
    pub fn assign(
        mut config: ClientConfig,
        buffers: &[PartitionBuffer],
        ask_every: Duration,
        wake: impl Fn() + Send + Sync + Clone + 'static,
        on_away: impl Fn(Option<String>) + Send + 'static,
    ) -> anyhow::Result<Self> {
        for (name, value) in [
            ("group.id", "spanflow"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("fetch.queue.backoff.ms", "1"),
            ("queued.max.messages.kbytes", "8192"),
            ("fetch.max.bytes", "16777216"),
        ] {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let brokers = config
            .get("bootstrap.servers")
            .unwrap_or_default()
            .to_owned();
        let consumer: Arc<BaseConsumer<LoggedContext>> =
            Arc::new(config.create_with_context(LoggedContext)?);
        let mut assignment = TopicPartitionList::new();
        for buffer in buffers {
            let tp = &buffer.partition;
            let offset = Offset::Offset(buffer.position);
            assignment.add_partition_offset(&tp.topic, tp.partition, offset)?;
        }
        consumer.assign(&assignment)?;
        let queues = buffers
            .iter()
            .map(|buffer| {
                let tp = &buffer.partition;
                PartitionQueue::split(&consumer, &tp.topic, tp.partition, Box::new(wake.clone()))
                    .ok_or_else(|| anyhow::anyhow!("no queue for {}/{}", tp.topic, tp.partition))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let ends: Arc<[End]> = buffers.iter().map(|_| End::default()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let asker = ask_for_ends(
            consumer.clone(),
            ends_of(buffers)?,
            ends.clone(),
            stop.clone(),
            ask_every,
            brokers,
            on_away,
        )?;
        let at_end = vec![false; buffers.len()];
        Ok(Self {
            queues,
            at_end,
            ends,
            stop,
            asker: Some(asker),
            consumer,
        })
    }
}

/// What asks for the partitions' ends, in the order of the buffers: the latest offset is that of no time.
fn ends_of(buffers: &[PartitionBuffer]) -> Result<TopicPartitionList, KafkaError> {
    let mut wanted = TopicPartitionList::new();
    for buffer in buffers {
        let tp = &buffer.partition;
        wanted.add_partition_offset(&tp.topic, tp.partition, Offset::End)?;
    }
    Ok(wanted)
}

/// Asks the broker for the partitions' ends again and again: an answer is what tells a silent partition from a lost one.
/// One question asks for all of them, as each may wait for as long as the broker holds back an empty fetch.
fn ask_for_ends(
    consumer: Arc<BaseConsumer<LoggedContext>>,
    wanted: TopicPartitionList,
    ends: Arc<[End]>,
    stop: Arc<AtomicBool>,
    every: Duration,
    brokers: String,
    tell: impl Fn(Option<String>) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kafka-ends".into())
        .spawn(move || {
            // Since when the broker does not answer, and when that was last logged.
            let mut away: Option<(Instant, Instant)> = None;
            while !stop.load(Ordering::Relaxed) {
                let answer = ask_once(&consumer, &wanted, &ends);
                if let Err(error) = &answer {
                    let now = Instant::now();
                    let (since, said) = away.unwrap_or((now, now));
                    let is_due = away.is_none() || now - said >= REMIND_EVERY;
                    away = Some((since, if is_due { now } else { said }));
                    if is_due {
                        let seconds = (now - since).as_secs();
                        tracing::warn!(
                            "waiting for Kafka at {brokers}, for {seconds} s so far: {error}"
                        );
                    }
                    tell(Some(format!("Kafka at {brokers} ({error})")));
                    refresh_leaders(&consumer, &wanted);
                } else if let Some((since, _)) = away.take() {
                    let seconds = since.elapsed().as_secs();
                    tracing::info!("Kafka at {brokers} answers again after {seconds} s");
                    tell(None);
                }
                std::thread::park_timeout(match away {
                    Some(_) => ASK_AGAIN_AFTER,
                    None => every,
                });
            }
        })
}

/// Asks who leads the partitions. A broker that goes down says last that nobody does, and librdkafka keeps that answer
/// for its questions long after the partitions are read again.
fn refresh_leaders(consumer: &BaseConsumer<LoggedContext>, wanted: &TopicPartitionList) {
    let elements = wanted.elements();
    let topics: BTreeSet<&str> = elements.iter().map(|element| element.topic()).collect();
    for topic in topics {
        if let Err(error) = consumer.fetch_metadata(Some(topic), ASK_TIMEOUT) {
            tracing::debug!(target: "kafka", "the leaders of {topic} are not known: {error}");
            return;
        }
    }
}

/// Notes the end of every partition that has a leader which answers.
///
/// # Errors
/// The first failure; what was answered is noted all the same.
fn ask_once(
    consumer: &BaseConsumer<LoggedContext>,
    wanted: &TopicPartitionList,
    ends: &[End],
) -> Result<(), KafkaError> {
    let answers = consumer.offsets_for_times(wanted.clone(), ASK_TIMEOUT)?;
    let now_ms = wall_ms();
    let mut failure = Ok(());
    for (asked, end) in wanted.elements().iter().zip(ends) {
        let Some(answer) = answers.find_partition(asked.topic(), asked.partition()) else {
            continue;
        };
        match (answer.error(), answer.offset()) {
            (Ok(()), Offset::Offset(high)) => {
                end.high.store(high, Ordering::Relaxed);
                end.confirmed_ms.store(now_ms, Ordering::Release);
            }
            (Err(error), _) if failure.is_ok() => failure = Err(error),
            _ => {}
        }
    }
    failure
}

impl Reader for KafkaReader {
    fn poll(
        &mut self,
        buffers: &mut [PartitionBuffer],
        budget_bytes: usize,
    ) -> anyhow::Result<Polled> {
        // Events that belong to no partition (errors, statistics) come by the main queue, which nothing else serves.
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            // The context has logged it, with its reason.
            tracing::debug!(target: "kafka", "{error}");
        }
        let mut held: usize = buffers.iter().map(PartitionBuffer::bytes).sum();
        let mut polled = Polled::default();
        loop {
            let mut taken = 0;
            for (at, (queue, buffer)) in self.queues.iter_mut().zip(buffers.iter_mut()).enumerate()
            {
                if held >= budget_bytes {
                    polled.full = true;
                    polled.changed |= taken > 0;
                    return Ok(polled);
                }
                let before = buffer.bytes();
                let mut failure = None;
                let at_end = &mut self.at_end[at];
                taken += queue.drain(|message| match message {
                    Taken::Record(record) => {
                        *at_end = false;
                        let (offset, timestamp_ms) = (record.offset(), record.timestamp_ms());
                        buffer.held().push(
                            offset,
                            timestamp_ms,
                            record.key(),
                            record.headers(),
                            record.payload(),
                        );
                        buffer.position = offset + 1;
                    }
                    Taken::EndOfPartition(end) => {
                        *at_end = true;
                        buffer.position = buffer.position.max(end);
                    }
                    Taken::Error(error) => failure = Some(error),
                });
                held += buffer.bytes() - before;
                if let Some(error) = failure {
                    return Err(unreadable(buffer, &error));
                }
            }
            if taken == 0 {
                return Ok(polled);
            }
            polled.changed = true;
        }
    }

    fn confirmed_at_end_ms(&self, at: usize, buffer: &PartitionBuffer) -> Option<i64> {
        let end = &self.ends[at];
        let confirmed_ms = end.confirmed_ms.load(Ordering::Acquire);
        let caught_up = self.at_end[at] || buffer.position >= end.high.load(Ordering::Relaxed);
        (confirmed_ms > 0 && caught_up).then_some(confirmed_ms)
    }

    fn end_offset(&self, at: usize) -> Option<i64> {
        let end = &self.ends[at];
        (end.confirmed_ms.load(Ordering::Acquire) > 0).then(|| end.high.load(Ordering::Relaxed))
    }
}

fn unreadable(buffer: &PartitionBuffer, error: &str) -> anyhow::Error {
    let tp = &buffer.partition;
    anyhow::anyhow!(
        "{}/{} cannot be read at offset {}: {error}. If the broker has deleted records that were not read yet, \
         start with --new-timeline on a database of its own, or restore the topic",
        tp.topic,
        tp.partition,
        buffer.position,
    )
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queues.clear();
        if let Some(asker) = self.asker.take() {
            asker.thread().unpark();
            // The thread ends within one timeout of a request; a panic of it has been reported by the hook.
            let _ = asker.join();
        }
    }
}
