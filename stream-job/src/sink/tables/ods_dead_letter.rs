//! `ods_dead_letter`: rejected records, spans and metric points.

use super::ods_record::headers_of;
use super::{Origin, Stamp, Table};
use crate::sink::native::{Fixed, LowCardinality, Millis, StringPairs, Strings};
use crate::source::Record;

columns! {
    struct Columns {
        topic: LowCardinality = "topic",
        partition: Fixed<i32> = "partition",
        offset: Fixed<i64> = "offset",
        index: Fixed<u32> = "index",
        unit: LowCardinality = "unit",
        error_code: LowCardinality = "error_code",
        error: Strings = "error",
        timestamp: Fixed<Millis> = "timestamp",
        key: Strings = "key",
        headers: StringPairs = "headers",
        encoding: LowCardinality = "encoding",
        spans: Fixed<u32> = "spans",
        trace_id: Strings = "trace_id",
        span_id: Strings = "span_id",
        payload: Strings = "payload",
        epoch: Fixed<u64> = "_epoch",
        shard: Fixed<u16> = "_shard",
        ingest_time: Fixed<Millis> = "ingest_time",
    }
}

/// What was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected<'a> {
    /// A whole record: it could not be decoded, and its payload is the record's.
    Record,
    /// Records that were deleted before they were read.
    Gap,
    /// One span of a record.
    Span {
        /// Position in the record.
        index: u32,
        /// Trace id as sent, lowercase hex.
        trace_id: &'a str,
        /// Span id as sent, lowercase hex.
        span_id: &'a str,
        /// The span's own bytes.
        raw: &'a [u8],
    },
    /// One metric point of a record.
    Point {
        /// Position in the record.
        index: u32,
        /// The point's own bytes.
        raw: &'a [u8],
    },
}

/// Why it was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// Stable code, such as `time_out_of_range`.
    pub code: &'a str,
    /// A sentence for people.
    pub message: &'a str,
}

/// Builds `ods_dead_letter`.
#[derive(Debug, Default)]
pub struct OdsDeadLetter {
    columns: Columns,
}

impl OdsDeadLetter {
    /// Pushes one dead letter of `record`. A rejected span counts one span, anything else none.
    pub fn push(
        &mut self,
        record: &Record,
        origin: &Origin<'_>,
        encoding: &str,
        rejected: Rejected<'_>,
        reason: Reason<'_>,
        stamp: &Stamp,
    ) {
        let whole = record.payload.as_deref().unwrap_or_default();
        let (unit, spans, index, trace_id, span_id, payload) = match rejected {
            Rejected::Record => ("record", 0, 0, "", "", whole),
            Rejected::Gap => ("gap", 0, 0, "", "", whole),
            Rejected::Span {
                index,
                trace_id,
                span_id,
                raw,
            } => ("span", 1, index, trace_id, span_id, raw),
            Rejected::Point { index, raw } => ("point", 0, index, "", "", raw),
        };
        let columns = &mut self.columns;
        columns.topic.push(origin.topic);
        columns.partition.push(origin.partition);
        columns.offset.push(origin.offset);
        columns.index.push(index);
        columns.unit.push(unit);
        columns.error_code.push(reason.code);
        columns.error.push(reason.message);
        columns.timestamp.push(Millis(record.timestamp_ms.max(0)));
        columns
            .key
            .push_bytes(record.key.as_deref().unwrap_or_default());
        columns.headers.push(headers_of(&record.headers));
        columns.encoding.push(encoding);
        columns.spans.push(spans);
        columns.trace_id.push(trace_id);
        columns.span_id.push(span_id);
        columns.payload.push_bytes(payload);
        columns.epoch.push(stamp.epoch);
        columns.shard.push(stamp.shard);
        columns.ingest_time.push(Millis(stamp.ingest_ms));
    }
}

impl Table for OdsDeadLetter {
    table_of_columns!(Columns, "ods_dead_letter", partition);

    fn order(&mut self) -> Vec<u32> {
        let Columns {
            topic,
            partition,
            offset,
            index,
            ..
        } = &self.columns;
        let topics = topic.row_ranks();
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(|&row| {
            let at = row as usize;
            let place = (
                partition.values()[at],
                offset.values()[at],
                index.values()[at],
            );
            (topics[at], place, row)
        });
        order
    }

    fn clear(&mut self) {
        self.columns.clear();
    }
}
