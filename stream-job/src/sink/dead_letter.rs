//! A rejected record, span or metric point on its way to the dead-letter table and topic.

use std::fmt::Write;

use super::tables::Origin;
use super::tables::ods_dead_letter::{Reason, Rejected};
use crate::decode::RecordError;
use crate::metric::{PointReject, PointView};
use crate::source::Record;
use crate::source::buffer::RecordRef;
use crate::span::SpanReject;
use crate::span::view::SpanView;

/// Code of records that were deleted before they were read.
pub const OUT_OF_RANGE: &str = "offset_out_of_range";

/// What was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unit {
    Record,
    Gap,
    Span {
        index: u32,
        trace_id: String,
        span_id: String,
        raw: Vec<u8>,
    },
    Point {
        index: u32,
        raw: Vec<u8>,
    },
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record that it came in.
    pub record: Record,
    /// The record's topic.
    pub topic: String,
    /// The record's partition.
    pub partition: i32,
    /// The record's encoding.
    pub encoding: &'static str,
    /// Stable code of the reason.
    pub error_code: &'static str,
    /// The reason as a sentence.
    pub error: String,
    unit: Unit,
}

impl DeadLetter {
    /// A record that cannot be decoded.
    #[must_use]
    pub fn of_record(
        record: &RecordRef<'_>,
        origin: &Origin<'_>,
        encoding: &'static str,
        error: &RecordError,
    ) -> Self {
        Self::new(
            record,
            origin,
            encoding,
            error.code(),
            error.to_string(),
            Unit::Record,
        )
    }

    /// A span that is refused while the rest of its record lands.
    #[must_use]
    pub fn of_span(
        record: &RecordRef<'_>,
        origin: &Origin<'_>,
        encoding: &'static str,
        span: &SpanView<'_>,
        reject: &SpanReject,
    ) -> Self {
        let unit = Unit::Span {
            index: span.index,
            trace_id: hex(span.trace_id),
            span_id: hex(span.span_id),
            raw: span.raw.to_vec(),
        };
        Self::new(
            record,
            origin,
            encoding,
            reject.code,
            reject.message.clone(),
            unit,
        )
    }

    /// A metric point that is refused while the rest of its record lands.
    #[must_use]
    pub fn of_point(
        record: &RecordRef<'_>,
        origin: &Origin<'_>,
        encoding: &'static str,
        point: &PointView<'_>,
        reject: &PointReject,
    ) -> Self {
        let unit = Unit::Point {
            index: point.index,
            raw: point.raw.to_vec(),
        };
        let (code, message) = (reject.code, reject.message.clone());
        Self::new(record, origin, encoding, code, message, unit)
    }

    /// Records that were deleted before they were read: offsets `from..to` of a partition.
    #[must_use]
    pub fn of_gap(topic: &str, partition: i32, from: i64, to: i64) -> Self {
        Self {
            record: Record {
                offset: from,
                timestamp_ms: -1,
                key: None,
                headers: Vec::new(),
                payload: None,
            },
            topic: topic.to_owned(),
            partition,
            encoding: "",
            error_code: OUT_OF_RANGE,
            error: format!(
                "offsets {from} to {} were deleted before they were read: up to {} records",
                to - 1,
                to - from
            ),
            unit: Unit::Gap,
        }
    }

    fn new(
        record: &RecordRef<'_>,
        origin: &Origin<'_>,
        encoding: &'static str,
        error_code: &'static str,
        error: String,
        unit: Unit,
    ) -> Self {
        Self {
            record: record.to_record(),
            topic: origin.topic.to_owned(),
            partition: origin.partition,
            encoding,
            error_code,
            error,
            unit,
        }
    }

    /// Where it came from, as the table wants it.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            topic: &self.topic,
            partition: self.partition,
            offset: self.record.offset,
        }
    }

    /// What was rejected, as the table wants it.
    #[must_use]
    pub fn rejected(&self) -> Rejected<'_> {
        match &self.unit {
            Unit::Record => Rejected::Record,
            Unit::Gap => Rejected::Gap,
            Unit::Span {
                index,
                trace_id,
                span_id,
                raw,
            } => Rejected::Span {
                index: *index,
                trace_id,
                span_id,
                raw,
            },
            Unit::Point { index, raw } => Rejected::Point { index: *index, raw },
        }
    }

    /// Why, as the table wants it.
    #[must_use]
    pub fn reason(&self) -> Reason<'_> {
        Reason {
            code: self.error_code,
            message: &self.error,
        }
    }

    /// Identifies the dead letter on its topic, where it may come more than once: `topic/partition/offset[/index]`.
    #[must_use]
    pub fn id(&self) -> String {
        let record = format!("{}/{}/{}", self.topic, self.partition, self.record.offset);
        match &self.unit {
            Unit::Record | Unit::Gap => record,
            Unit::Span { index, .. } | Unit::Point { index, .. } => format!("{record}/{index}"),
        }
    }

    /// The value as it came: of a span or a point, its own bytes.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match &self.unit {
            Unit::Record | Unit::Gap => self.record.payload.as_deref(),
            Unit::Span { raw, .. } | Unit::Point { raw, .. } => Some(raw),
        }
    }

    /// `record`, `span`, `point` or `gap`.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match &self.unit {
            Unit::Record => "record",
            Unit::Gap => "gap",
            Unit::Span { .. } => "span",
            Unit::Point { .. } => "point",
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
            // Writing to a String does not fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::buffer::Batch;

    const ORIGIN: Origin<'static> = Origin {
        topic: "otlp_spans",
        partition: 3,
        offset: 42,
    };

    fn batch(payload: Option<&[u8]>) -> Batch {
        let mut batch = Batch::default();
        let headers = vec![("content-type".to_owned(), Some(b"text/plain".to_vec()))];
        batch.push(42, 1_700, Some(b"key"), headers, payload);
        batch
    }

    fn of_record(payload: Option<&[u8]>) -> DeadLetter {
        let batch = batch(payload);
        let record = batch.records().next().expect("there is one");
        DeadLetter::of_record(&record, &ORIGIN, "unknown", &RecordError::EmptyPayload)
    }

    #[test]
    fn a_rejected_record_is_named_by_its_offset_and_keeps_all_that_came() {
        let letter = of_record(Some(b"what came"));
        assert_eq!(
            (letter.id().as_str(), letter.unit()),
            ("otlp_spans/3/42", "record")
        );
        assert_eq!(letter.value(), Some(&b"what came"[..]));
        assert_eq!(letter.record.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(letter.record.headers[0].0, "content-type");
        assert_eq!(letter.error_code, "empty_payload");
        assert_eq!(
            letter.reason().message,
            RecordError::EmptyPayload.to_string()
        );
        assert!(matches!(letter.rejected(), Rejected::Record));
        assert_eq!(of_record(None).value(), None, "a tombstone stays one");
    }

    #[test]
    fn a_rejected_span_is_named_by_its_index_and_keeps_its_own_bytes() {
        let batch = batch(Some(b"a whole record"));
        let record = batch.records().next().expect("there is one");
        let span = SpanView {
            index: 7,
            trace_id: &[0xab; 16],
            span_id: &[1, 2],
            raw: b"one span",
            ..SpanView::default()
        };
        let reject = SpanReject {
            code: "bad_span_id",
            message: "the span id has 2 bytes".to_owned(),
        };
        let letter = DeadLetter::of_span(&record, &ORIGIN, "otlp_protobuf", &span, &reject);
        assert_eq!(
            (letter.id().as_str(), letter.unit()),
            ("otlp_spans/3/42/7", "span")
        );
        assert_eq!(letter.value(), Some(&b"one span"[..]));
        assert_eq!(
            letter.record.payload.as_deref(),
            Some(&b"a whole record"[..])
        );
        let Rejected::Span {
            index,
            trace_id,
            span_id,
            raw,
        } = letter.rejected()
        else {
            panic!("a span was rejected, not its record")
        };
        assert_eq!((index, raw), (7, &b"one span"[..]));
        assert_eq!((trace_id, span_id), ("ab".repeat(16).as_str(), "0102"));
        assert_eq!(letter.reason().code, "bad_span_id");
        assert_eq!(letter.origin().offset, 42);
    }
}
