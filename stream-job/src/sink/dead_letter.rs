//! A rejected record or span on its way to the dead-letter table and topic.

use std::fmt::Write;

use super::tables::Origin;
use super::tables::ods_dead_letter::{Reason, Rejected};
use crate::decode::RecordError;
use crate::source::Record;
use crate::source::buffer::RecordRef;
use crate::span::SpanReject;
use crate::span::view::SpanView;

/// What was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unit {
    Record,
    Span {
        index: u32,
        trace_id: String,
        span_id: String,
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
            Unit::Record => record,
            Unit::Span { index, .. } => format!("{record}/{index}"),
        }
    }

    /// The value as it came: of a span, its own bytes.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match &self.unit {
            Unit::Record => self.record.payload.as_deref(),
            Unit::Span { raw, .. } => Some(raw),
        }
    }

    /// `record` or `span`.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match &self.unit {
            Unit::Record => "record",
            Unit::Span { .. } => "span",
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
