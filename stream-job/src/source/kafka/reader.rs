//! One worker's share of the partitions, read by a client of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::LoggedContext;
use super::ends::Ends;
use super::queue::{PartitionQueue, Taken};
use crate::source::buffer::PartitionBuffer;
use crate::source::{Polled, Reader, TopicPartition};

/// How long the broker may take to say which offsets it has of a partition.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a partition's queue calls when there is something to read.
type MakeWake = Box<dyn Fn() -> Box<dyn Fn() + Send + Sync>>;

/// Reads the partitions that it was given.
pub struct KafkaReader {
    queues: Vec<PartitionQueue<LoggedContext>>,
    /// Whether the end of the partition was reached since its last record.
    at_end: Vec<bool>,
    /// The offsets before which a bounded run ends, where it is one.
    until: Vec<i64>,
    /// Whose turn it is to be read first: the one before which the budget was used up.
    first: usize,
    ends: Ends,
    make_wake: MakeWake,
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
        let brokers = config.get("bootstrap.servers").unwrap_or_default();
        let brokers = brokers.to_owned();
        let consumer: Arc<BaseConsumer<LoggedContext>> =
            Arc::new(config.create_with_context(LoggedContext)?);
        let ends = Ends::ask(consumer.clone(), ask_every, brokers, on_away)?;
        consumer.assign(&TopicPartitionList::new())?;
        let mut reader = Self {
            queues: Vec::new(),
            at_end: Vec::new(),
            until: Vec::new(),
            first: 0,
            ends,
            make_wake: Box::new(move || Box::new(wake.clone())),
            consumer,
        };
        reader.add(buffers)?;
        Ok(reader)
    }

    /// Ends each of the buffers that were assigned before its offset.
    #[must_use]
    pub fn until(mut self, ends: Vec<i64>) -> Self {
        self.until = ends;
        self
    }

    fn until_of(&self, at: usize) -> i64 {
        self.until.get(at).copied().unwrap_or(i64::MAX)
    }

    /// Has the partition fetched from `offset` on. Its queue stays: what was fetched before is dropped by the client.
    fn fetch_from(&self, tp: &TopicPartition, offset: i64) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(offset))?;
        // A partition whose offset was refused has stopped, and what has stopped can't be sought in.
        self.consumer.incremental_unassign(&list)?;
        self.consumer.incremental_assign(&list)?;
        Ok(())
    }
}

impl Reader for KafkaReader {
    fn poll(
        &mut self,
        buffers: &mut [PartitionBuffer],
        budget_bytes: usize,
    ) -> anyhow::Result<Polled> {
        // Events that belong to no partition (errors, statistics) come by the main queue, which nothing else serves.
        match self.consumer.poll(Duration::ZERO) {
            // The context has logged it, with its reason.
            Some(Err(error)) => tracing::debug!(target: "kafka", "{error}"),
            Some(Ok(_)) => {
                anyhow::bail!("a record came by the client's main queue: it would be lost")
            }
            None => {}
        }
        let mut held: usize = buffers.iter().map(PartitionBuffer::bytes).sum();
        let mut polled = Polled::default();
        loop {
            let mut taken = 0;
            let first = self.first;
            for at in (first..buffers.len()).chain(0..first) {
                let until = self.until_of(at);
                let buffer = &mut buffers[at];
                if buffer.paused || buffer.missing || buffer.position >= until {
                    continue;
                }
                if held >= budget_bytes {
                    self.first = at;
                    polled.full = true;
                    polled.changed |= taken > 0;
                    return Ok(polled);
                }
                let before = buffer.bytes();
                taken += drain(&mut self.queues[at], buffer, &mut self.at_end[at], until)?;
                held += buffer.bytes() - before;
            }
            if taken == 0 {
                return Ok(polled);
            }
            polled.changed = true;
        }
    }

    fn add(&mut self, buffers: &[PartitionBuffer]) -> anyhow::Result<()> {
        if buffers.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for buffer in buffers {
            let tp = &buffer.partition;
            list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(buffer.position))?;
            // Before the fetch starts: a queue that the application has split off is not joined to the main one then.
            let wake = (self.make_wake)();
            let queue = PartitionQueue::split(&self.consumer, &tp.topic, tp.partition, wake);
            let queue = queue
                .ok_or_else(|| anyhow::anyhow!("no queue for {}/{}", tp.topic, tp.partition))?;
            self.queues.push(queue);
            self.at_end.push(false);
            self.ends.add(tp);
        }
        self.consumer.incremental_assign(&list)?;
        Ok(())
    }

    fn available(&mut self, buffer: &PartitionBuffer) -> anyhow::Result<(i64, i64)> {
        let tp = &buffer.partition;
        let asked = self
            .consumer
            .fetch_watermarks(&tp.topic, tp.partition, ASK_TIMEOUT);
        asked.with_context(|| format!("ask which offsets {}/{} has", tp.topic, tp.partition))
    }

    fn skip_to(
        &mut self,
        at: usize,
        buffer: &mut PartitionBuffer,
        offset: i64,
    ) -> anyhow::Result<()> {
        self.fetch_from(&buffer.partition, offset)?;
        buffer.position = offset;
        buffer.missing = false;
        self.at_end[at] = false;
        Ok(())
    }

    fn confirmed_at_end_ms(&self, at: usize, buffer: &PartitionBuffer) -> Option<i64> {
        let (confirmed_ms, high) = self.ends.of(at)?;
        (self.at_end[at] || buffer.position >= high).then_some(confirmed_ms)
    }

    fn end_offset(&self, at: usize) -> Option<i64> {
        let until = self.until_of(at);
        self.ends.of(at).map(|(_, high)| high.min(until))
    }

    fn has_ended(&self, at: usize, buffer: &PartitionBuffer) -> bool {
        buffer.position >= self.until_of(at)
    }
}

/// Takes what a partition's queue holds, up to the offset before which a bounded run ends. Gives the number of messages.
fn drain(
    queue: &mut PartitionQueue<LoggedContext>,
    buffer: &mut PartitionBuffer,
    at_end: &mut bool,
    until: i64,
) -> anyhow::Result<usize> {
    let mut failure = None;
    let taken = queue.drain(|message| match message {
        Taken::Record(record) => {
            *at_end = false;
            let (offset, timestamp_ms) = (record.offset(), record.timestamp_ms());
            if offset >= until {
                buffer.position = until;
                return;
            }
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
            buffer.position = buffer.position.max(end.min(until));
        }
        Taken::OutOfRange => {
            *at_end = false;
            buffer.missing = true;
        }
        Taken::Error(error) => failure = Some(error),
    });
    match failure {
        Some(error) => Err(unreadable(buffer, &error)),
        None => Ok(taken),
    }
}

fn unreadable(buffer: &PartitionBuffer, error: &str) -> anyhow::Error {
    let tp = &buffer.partition;
    anyhow::anyhow!(
        "{}/{} cannot be read at offset {}: {error}. If the topic was deleted, its records that were not read yet are \
         gone: make sure that it was meant, and see docs/operations.md, Data that is gone",
        tp.topic,
        tp.partition,
        buffer.position,
    )
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.queues.clear();
    }
}
