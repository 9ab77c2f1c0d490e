//! One worker's share of the partitions, read by a client of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::LoggedContext;
use super::queue::{PartitionQueue, Taken};
use crate::source::buffer::PartitionBuffer;
use crate::source::{Polled, Reader, wall_ms};

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Assigns the buffers' partitions at the buffers' positions. `wake` is called from other threads when records arrive.
    ///
    /// # Errors
    /// When the client cannot be made or a partition cannot be assigned.
    pub fn assign(
        mut config: ClientConfig,
        buffers: &[PartitionBuffer],
        ask_every: Duration,
        wake: impl Fn() + Send + Sync + Clone + 'static,
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
        let consumer: Arc<BaseConsumer<LoggedContext>> =
            Arc::new(config.create_with_context(LoggedContext)?);
        let mut assignment = TopicPartitionList::new();
        for buffer in buffers {
            let tp = &buffer.partition;
            let offset = rdkafka::Offset::Offset(buffer.position);
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
            buffers,
            ends.clone(),
            stop.clone(),
            ask_every,
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

/// Asks the broker for the partitions' ends again and again: an answer is what tells a silent partition from a lost one.
fn ask_for_ends(
    consumer: Arc<BaseConsumer<LoggedContext>>,
    buffers: &[PartitionBuffer],
    ends: Arc<[End]>,
    stop: Arc<AtomicBool>,
    every: Duration,
) -> std::io::Result<JoinHandle<()>> {
    let partitions: Vec<_> = buffers.iter().map(|b| b.partition.clone()).collect();
    std::thread::Builder::new()
        .name("kafka-ends".into())
        .spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for (tp, end) in partitions.iter().zip(ends.iter()) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Ok((_, high)) =
                        consumer.fetch_watermarks(&tp.topic, tp.partition, ASK_TIMEOUT)
                    {
                        end.high.store(high, Ordering::Relaxed);
                        end.confirmed_ms.store(wall_ms(), Ordering::Release);
                    }
                }
                std::thread::park_timeout(every);
            }
        })
}

impl Reader for KafkaReader {
    fn poll(
        &mut self,
        buffers: &mut [PartitionBuffer],
        budget_bytes: usize,
    ) -> anyhow::Result<Polled> {
        // Events that belong to no partition (errors, statistics) come by the main queue, which nothing else serves.
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            tracing::warn!(target: "kafka", "{error}");
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
                    Taken::EndOfPartition => *at_end = true,
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
