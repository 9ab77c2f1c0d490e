//! What a worker has read of a partition and not yet released into an epoch.
//!
//! All bytes of a batch's records lie in one arena: one allocation a batch instead of three a record.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Record, RecordView, TopicPartition};

/// A record's headers in order; a name may repeat. Most records have none, so they live outside the arena.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// One record of a [`Batch`]; the ranges point into the batch's arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSlot {
    /// Offset within the partition.
    pub offset: i64,
    /// The record's own time in ms since 1970, -1 where it has none.
    pub timestamp_ms: i64,
    /// Where its bytes begin in the arena.
    start: usize,
    key: Option<Range<usize>>,
    headers: Headers,
    payload: Option<Range<usize>>,
}

/// Records of one partition in offset order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    arena: Vec<u8>,
    slots: VecDeque<RecordSlot>,
    /// Bytes at the arena's beginning that belong to no record any more.
    dead: usize,
    /// Bytes of the records' headers, which live outside the arena.
    header_bytes: usize,
}

/// The bytes that keys and payloads lie in.
impl AsRef<[u8]> for Batch {
    fn as_ref(&self) -> &[u8] {
        &self.arena
    }
}

/// A record borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    batch: &'a Batch,
    slot: &'a RecordSlot,
}

impl<'a> RecordRef<'a> {
    /// Offset within the partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.slot.offset
    }

    /// The record's own time in ms since 1970, -1 where it has none.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.slot.timestamp_ms
    }

    /// Key bytes.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.slot.key.clone().map(|r| &self.batch.arena[r])
    }

    /// Value bytes; `None` is a tombstone.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.slot.payload.clone().map(|r| &self.batch.arena[r])
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_record(&self) -> Record {
        Record {
            offset: self.offset(),
            timestamp_ms: self.timestamp_ms(),
            key: self.key().map(<[u8]>::to_vec),
            headers: self.slot.headers.clone(),
            payload: self.payload().map(<[u8]>::to_vec),
        }
    }

    /// Headers in order.
    #[must_use]
    pub fn headers(&self) -> &'a Headers {
        &self.slot.headers
    }
}

impl<'a> From<RecordRef<'a>> for RecordView<'a> {
    fn from(record: RecordRef<'a>) -> Self {
        RecordView {
            offset: record.offset(),
            timestamp_ms: record.timestamp_ms(),
            key: record.key(),
            headers: record.headers(),
            payload: record.payload(),
        }
    }
}

impl Batch {
    /// Adds a record; offsets must ascend.
    pub fn push(
        &mut self,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        headers: Headers,
        payload: Option<&[u8]>,
    ) {
        debug_assert!(
            self.slots.back().is_none_or(|last| last.offset < offset),
            "offsets ascend within a partition"
        );
        let start = self.arena.len();
        let key = key.map(|bytes| self.store(bytes));
        let payload = payload.map(|bytes| self.store(bytes));
        self.header_bytes += header_bytes(&headers);
        self.slots.push_back(RecordSlot {
            offset,
            timestamp_ms,
            start,
            key,
            headers,
            payload,
        });
    }

    /// Adds an owned record.
    pub fn push_record(&mut self, record: Record) {
        let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
        self.push(
            record.offset,
            record.timestamp_ms,
            key,
            record.headers,
            payload,
        );
    }

    fn store(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }

    /// The records in offset order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        self.slots
            .iter()
            .map(|slot| RecordRef { batch: self, slot })
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of keys, headers and payloads held, and of the records themselves: those without any must count, too.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len() - self.dead
            + self.header_bytes
            + self.slots.len() * size_of::<RecordSlot>()
    }

    /// Bytes of the payloads alone.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        let lengths = self
            .slots
            .iter()
            .filter_map(|slot| slot.payload.as_ref().map(Range::len));
        lengths.sum::<usize>() as u64
    }

    /// Takes the records below `offset` out. The shorter part is copied: many short epochs out of a long backlog, as a
    /// replay has them, cost no more than their own bytes.
    fn take_below(&mut self, offset: i64) -> Batch {
        let at = self.slots.partition_point(|slot| slot.offset < offset);
        if at == self.slots.len() {
            return std::mem::take(self);
        }
        let boundary = self.slots[at].start;
        if boundary - self.dead > self.arena.len() - boundary {
            let rest = self.copied(self.slots.range(at..));
            self.slots.truncate(at);
            self.arena.truncate(boundary);
            self.header_bytes -= rest.header_bytes;
            return std::mem::replace(self, rest);
        }
        let below = self.copied(self.slots.range(..at));
        self.slots.drain(..at);
        self.dead = boundary;
        self.header_bytes -= below.header_bytes;
        if self.dead > self.arena.len() / 2 {
            *self = self.copied(self.slots.iter());
        }
        below
    }

    fn copied<'a>(&'a self, slots: impl Iterator<Item = &'a RecordSlot>) -> Batch {
        let mut copy = Batch::default();
        for slot in slots {
            let record = RecordRef { batch: self, slot };
            copy.push(
                slot.offset,
                slot.timestamp_ms,
                record.key(),
                slot.headers.clone(),
                record.payload(),
            );
        }
        copy
    }
}

fn header_bytes(headers: &Headers) -> usize {
    let bytes = |(name, value): &(String, Option<Vec<u8>>)| {
        size_of_val(name) + name.len() + size_of_val(value) + value.as_ref().map_or(0, Vec::len)
    };
    headers.iter().map(bytes).sum()
}

/// One partition's unreleased records.
#[derive(Debug)]
pub struct PartitionBuffer {
    /// The partition.
    pub partition: TopicPartition,
    /// Offset of the next record to read: all records below it have been read.
    pub position: i64,
    /// Nothing more is read for now: the partition is too far ahead of the others.
    pub paused: bool,
    /// The source does not have the record at [`Self::position`], and nothing is read until somebody decides what then.
    pub missing: bool,
    held: Batch,
}

impl PartitionBuffer {
    /// An empty buffer at a position.
    #[must_use]
    pub fn new(partition: TopicPartition, position: i64) -> Self {
        Self {
            partition,
            position,
            paused: false,
            missing: false,
            held: Batch::default(),
        }
    }

    /// The batch that takes the next records; the caller moves [`Self::position`] along.
    pub fn held(&mut self) -> &mut Batch {
        &mut self.held
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Records held.
    #[must_use]
    pub fn records(&self) -> usize {
        self.held.len()
    }

    /// Takes the records below `next_offset`, which must have been reached.
    pub fn release(&mut self, next_offset: i64) -> Batch {
        debug_assert!(self.position >= next_offset, "released only what was read");
        self.held.take_below(next_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer_with(offsets: &[i64]) -> PartitionBuffer {
        let tp = TopicPartition {
            topic: "t".into(),
            partition: 0,
        };
        let mut buffer = PartitionBuffer::new(tp, 0);
        for &offset in offsets {
            let payload = offset.to_string();
            let headers = vec![("h".to_owned(), Some(b"v".to_vec()))];
            buffer
                .held()
                .push(offset, 7, None, headers, Some(payload.as_bytes()));
            buffer.position = offset + 1;
        }
        buffer
    }

    fn contents(batch: &Batch) -> Vec<(i64, Vec<u8>)> {
        batch
            .records()
            .map(|r| (r.offset(), r.payload().unwrap_or_default().to_vec()))
            .collect()
    }

    #[test]
    fn release_takes_what_lies_below_the_cut_and_keeps_the_rest() {
        let mut buffer = buffer_with(&[3, 4, 9]);
        let first = buffer.release(9);
        assert_eq!(
            contents(&first),
            vec![(3, b"3".to_vec()), (4, b"4".to_vec())]
        );
        let second = buffer.release(10);
        assert_eq!(contents(&second), vec![(9, b"9".to_vec())]);
        assert_eq!(second.records().next().map(|r| r.headers().len()), Some(1));
        assert_eq!(buffer.bytes(), 0);
    }

    #[test]
    fn keys_payloads_times_and_tombstones_come_out_as_they_went_in() {
        let records = [
            (Some(&b"key"[..]), Some(&b"value"[..])),
            (None, None),
            (Some(b""), Some(b"")),
        ];
        let records: Vec<Record> = (0..)
            .zip(records)
            .map(|(offset, (key, payload))| Record {
                offset,
                timestamp_ms: offset - 1,
                key: key.map(<[u8]>::to_vec),
                headers: vec![("h".to_owned(), None), ("h".to_owned(), Some(vec![1]))],
                payload: payload.map(<[u8]>::to_vec),
            })
            .collect();
        let mut buffer = buffer_with(&[]);
        records
            .iter()
            .cloned()
            .for_each(|record| buffer.held().push_record(record));
        buffer.position = 3;
        // The split must not mix up what belongs to whom.
        let released = [buffer.release(1), buffer.release(3)];
        let found: Vec<Record> = released
            .iter()
            .flat_map(Batch::records)
            .map(|record| record.to_record())
            .collect();
        assert_eq!(found, records);
    }

    #[test]
    fn headers_and_empty_records_count_as_bytes_and_are_given_back() {
        let mut buffer = buffer_with(&[]);
        for offset in 0..1_000 {
            buffer.held().push(offset, -1, None, Vec::new(), None);
        }
        buffer.position = 1_000;
        assert!(buffer.bytes() >= 50_000, "{}", buffer.bytes());
        let headers = vec![("h".to_owned(), Some(vec![0; 70_000]))];
        let before = buffer.bytes();
        buffer.held().push(1_000, -1, None, headers, None);
        buffer.position = 1_001;
        assert!(buffer.bytes() >= before + 70_000);
        buffer.release(1_000);
        assert!(
            (70_000..71_000).contains(&buffer.bytes()),
            "{}",
            buffer.bytes()
        );
        buffer.release(1_001);
        assert_eq!(buffer.bytes(), 0);
    }

    #[test]
    fn nothing_is_released_below_the_first_record() {
        let mut buffer = buffer_with(&[3, 9]);
        assert!(buffer.release(3).is_empty());
        assert_eq!(buffer.records(), 2);
    }

    #[test]
    fn a_cut_inside_an_offset_gap_is_fine() {
        let mut buffer = buffer_with(&[3, 9]);
        assert_eq!(buffer.release(5).len(), 1);
        assert_eq!(buffer.records(), 1);
    }

    #[test]
    fn short_epochs_out_of_a_long_backlog_leave_every_record_as_it_was() {
        let mut buffer = buffer_with(&(0..500).collect::<Vec<_>>());
        let mut released = Vec::new();
        for epoch in 1..=200 {
            // More arrives while the backlog is released.
            if epoch % 4 == 0 {
                let (offset, payload) = (buffer.position, buffer.position.to_string());
                let held = buffer.held();
                held.push(offset, 7, Some(b"k"), Vec::new(), Some(payload.as_bytes()));
                buffer.position += 1;
            }
            let batch = buffer.release(epoch * 2);
            assert!(batch.bytes() < 2_000, "an epoch holds its own bytes alone");
            released.extend(contents(&batch));
        }
        let rest = buffer.release(buffer.position);
        released.extend(contents(&rest));
        let wanted: Vec<_> = (0..550).map(|n| (n, n.to_string().into_bytes())).collect();
        assert_eq!(released, wanted);
        assert_eq!(buffer.bytes(), 0);
    }
}
