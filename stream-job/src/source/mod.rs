//! Where records come from: Kafka or a recording. Both fill the same [`buffer::PartitionBuffer`]s.

pub mod buffer;
pub mod kafka;
pub mod recording;
mod topic_filter;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use buffer::PartitionBuffer;
pub use topic_filter::{TopicFilter, TopicFilters};

/// One partition of one topic. Ordered by topic name, then number.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
}

/// One record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset within its partition.
    pub offset: i64,
    /// The record's own time in ms since 1970, -1 where it has none.
    pub timestamp_ms: i64,
    /// Key bytes, if any.
    pub key: Option<Vec<u8>>,
    /// Headers in order; a name may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Value bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// A record, borrowed from wherever it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Offset within its partition.
    pub offset: i64,
    /// The record's own time in ms since 1970, -1 where it has none.
    pub timestamp_ms: i64,
    /// Key bytes, if any.
    pub key: Option<&'a [u8]>,
    /// Headers in order; a name may repeat.
    pub headers: &'a [(String, Option<Vec<u8>>)],
    /// Value bytes; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
}

impl<'a> From<&'a Record> for RecordView<'a> {
    fn from(record: &'a Record) -> Self {
        RecordView {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            headers: &record.headers,
            payload: record.payload.as_deref(),
        }
    }
}

/// What a poll brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Something was read.
    pub changed: bool,
    /// The budget is used up: nothing more is read until an epoch releases records.
    pub full: bool,
}

/// A worker's reader of its partitions. All indexes are positions in the worker's list of buffers.
pub trait Reader {
    /// Moves what is there into the buffers that are not paused until all hold about `budget_bytes`. Never blocks.
    ///
    /// # Errors
    /// When a partition cannot be read any more.
    fn poll(
        &mut self,
        buffers: &mut [PartitionBuffer],
        budget_bytes: usize,
    ) -> anyhow::Result<Polled>;

    /// Takes on further partitions, whose buffers come after those that it has.
    ///
    /// # Errors
    /// When they can't be read, or the source is one that does not grow.
    fn add(&mut self, buffers: &[PartitionBuffer]) -> anyhow::Result<()> {
        anyhow::ensure!(buffers.is_empty(), "a recording does not grow");
        Ok(())
    }

    /// The partition's first offset, and the one after its last. May wait for an answer.
    ///
    /// # Errors
    /// When nobody answers.
    fn available(&mut self, buffer: &PartitionBuffer) -> anyhow::Result<(i64, i64)> {
        anyhow::bail!("{} is not asked for its offsets", buffer.partition.topic)
    }

    /// Goes on at `offset` in a partition whose position is missing.
    ///
    /// # Errors
    /// When the source can't.
    fn skip_to(
        &mut self,
        _at: usize,
        buffer: &mut PartitionBuffer,
        _offset: i64,
    ) -> anyhow::Result<()> {
        anyhow::bail!("nothing is skipped in {}", buffer.partition.topic)
    }

    /// Reads beyond what it holds an epoch to by itself: one of the log reaches further.
    fn read_further(&mut self) {}

    /// When it was last confirmed, in ms since 1970, that the buffer stands at its partition's end; `None` if it does not.
    fn confirmed_at_end_ms(&self, at: usize, buffer: &PartitionBuffer) -> Option<i64>;

    /// The offset after the partition's last record, where it is known.
    fn end_offset(&self, at: usize) -> Option<i64>;

    /// Whether the partition has ended for good: a bounded source.
    fn has_ended(&self, _at: usize, _buffer: &PartitionBuffer) -> bool {
        false
    }
}

/// Wall clock, ms since 1970.
#[must_use]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
