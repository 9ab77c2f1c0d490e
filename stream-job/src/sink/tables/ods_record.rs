//! `ods_record`: every Kafka record as it came.

use std::rc::Rc;

use super::{Origin, Stamp, Table};
use crate::sink::native::{Fixed, LowCardinality, Millis, SharedStrings, StringPairs, Strings};
use crate::source::RecordView;

columns! {
    struct Columns {
        topic: LowCardinality = "topic",
        partition: Fixed<i32> = "partition",
        offset: Fixed<i64> = "offset",
        timestamp: Fixed<Millis> = "timestamp",
        key: Strings = "key",
        headers: StringPairs = "headers",
        encoding: LowCardinality = "encoding",
        payload: SharedStrings = "payload",
        spans: Fixed<u32> = "spans",
        spans_landed: Fixed<u32> = "spans_landed",
        spans_duplicate: Fixed<u32> = "spans_duplicate",
        spans_rejected: Fixed<u32> = "spans_rejected",
        epoch: Fixed<u64> = "_epoch",
        shard: Fixed<u16> = "_shard",
        ingest_time: Fixed<Millis> = "ingest_time",
        points: Fixed<u32> = "points",
        points_landed: Fixed<u32> = "points_landed",
        points_duplicate: Fixed<u32> = "points_duplicate",
        points_rejected: Fixed<u32> = "points_rejected",
    }
}

/// What became of the spans or the metric points of a record. `landed + duplicate + rejected` is their number; all are 0
/// where the record was rejected whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that landed in `dwd_span` or `dwd_metric_point`.
    pub landed: u32,
    /// Those that were there already.
    pub duplicate: u32,
    /// Those that became dead letters.
    pub rejected: u32,
}

impl Outcome {
    /// How many there are in all.
    #[must_use]
    pub fn all(self) -> u32 {
        self.landed + self.duplicate + self.rejected
    }
}

/// What became of a record: it has spans or metric points, or neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordOutcome {
    /// Of its spans.
    pub spans: Outcome,
    /// Of its metric points.
    pub points: Outcome,
}

/// Builds `ods_record`.
#[derive(Debug, Default)]
pub struct OdsRecord {
    columns: Columns,
}

impl OdsRecord {
    /// Shares the memory that the payloads of the rows to come lie in, so that they are copied only once.
    pub fn share(&mut self, memory: Rc<dyn AsRef<[u8]>>) {
        self.columns.payload.share(memory);
    }

    /// Pushes one record. A missing key, payload or header value is written as an empty string.
    pub fn push<'r>(
        &mut self,
        record: impl Into<RecordView<'r>>,
        origin: &Origin<'_>,
        encoding: &str,
        outcome: RecordOutcome,
        stamp: &Stamp,
    ) {
        let record: RecordView<'r> = record.into();
        let columns = &mut self.columns;
        columns.topic.push(origin.topic);
        columns.partition.push(origin.partition);
        columns.offset.push(origin.offset);
        columns.timestamp.push(Millis(record.timestamp_ms.max(0)));
        columns.key.push_bytes(record.key.unwrap_or_default());
        columns.headers.push(headers_of(record.headers));
        columns.encoding.push(encoding);
        columns
            .payload
            .push_bytes(record.payload.unwrap_or_default());
        let RecordOutcome { spans, points } = outcome;
        columns.spans.push(spans.all());
        columns.spans_landed.push(spans.landed);
        columns.spans_duplicate.push(spans.duplicate);
        columns.spans_rejected.push(spans.rejected);
        columns.points.push(points.all());
        columns.points_landed.push(points.landed);
        columns.points_duplicate.push(points.duplicate);
        columns.points_rejected.push(points.rejected);
        columns.epoch.push(stamp.epoch);
        columns.shard.push(stamp.shard);
        columns.ingest_time.push(Millis(stamp.ingest_ms));
    }
}

/// A record's headers as pairs, values that are null as empty.
pub(super) fn headers_of(
    headers: &[(String, Option<Vec<u8>>)],
) -> impl Iterator<Item = (&str, &[u8])> {
    (headers.iter()).map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()))
}

impl Table for OdsRecord {
    table_of_columns!(Columns, "ods_record", partition);

    fn order(&mut self) -> Vec<u32> {
        let topics = self.columns.topic.row_ranks();
        let (partitions, offsets) = (
            self.columns.partition.values(),
            self.columns.offset.values(),
        );
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(|&row| {
            let row = row as usize;
            (topics[row], partitions[row], offsets[row], row)
        });
        order
    }

    fn clear(&mut self) {
        self.columns.clear();
    }
}
