//! Why a record was rejected whole.

use super::wire::{Fault, FaultKind};

/// Why a whole record cannot be decoded. Byte positions count from 0 at the payload's first byte.
///
/// [`RecordError::code`] is `ods_dead_letter.error_code`, the text its `error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A field or message runs past the end of the message that holds it.
    #[error("truncated protobuf: the field at byte {at} runs past the end of its message")]
    Truncated {
        /// Where the field starts.
        at: usize,
    },
    /// A known field has another type than OTLP's, or a group, which OTLP has none of.
    #[error(
        "protobuf field {field} at byte {at} has wire type {wire}, which OTLP does not have there: is this an \
         OTLP export request of the kind that the topic holds?"
    )]
    BadWireType {
        /// Where the field starts.
        at: usize,
        /// Its number.
        field: u32,
        /// The wire type found.
        wire: u8,
    },
    /// A variable-length number of more than 64 bits, or a field number outside 1 to 2^29 − 1.
    #[error(
        "bad protobuf number at byte {at}: over 64 bits, or a field number out of range; is this protobuf?"
    )]
    BadVarint {
        /// Where the number starts.
        at: usize,
    },
    /// Values nested deeper than the walk follows.
    #[error("the value at byte {at} is nested more than {limit} levels deep")]
    TooDeep {
        /// Where the first value beyond the limit starts.
        at: usize,
        /// The limit.
        limit: u32,
    },
    /// The payload is not JSON, or not JSON as OTLP defines it.
    #[error("bad OTLP JSON: {path} at byte {at}: {problem}")]
    BadJson {
        /// Where.
        at: usize,
        /// Which value, as `$.resourceSpans[0]…`.
        path: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// The payload is not a session document.
    #[error("bad session document: {path} at byte {at}: {problem}")]
    BadDocument {
        /// Where.
        at: usize,
        /// Which value, as `$.spans[0]…`.
        path: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A record without a value: a tombstone, or zero bytes.
    #[error("the record has no payload (a tombstone, or zero bytes)")]
    EmptyPayload,
    /// Neither OTLP protobuf, OTLP JSON, nor a session document.
    #[error(
        "unknown encoding: the payload starts with \"{start}\"; expected OTLP protobuf, OTLP JSON or a session document \
         (a content-type header of application/x-protobuf or application/json decides)"
    )]
    UnknownEncoding {
        /// The first bytes, escaped.
        start: String,
    },
    /// More bytes than the job is set to look at.
    #[error("the payload of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl RecordError {
    /// Every code that [`RecordError::code`] can give.
    pub const CODES: [&'static str; 9] = [
        "truncated",
        "bad_wire_type",
        "bad_varint",
        "too_deep",
        "bad_json",
        "bad_document",
        "empty_payload",
        "unknown_encoding",
        "too_large",
    ];

    /// The stable code of the error, for tables and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            RecordError::Truncated { .. } => "truncated",
            RecordError::BadWireType { .. } => "bad_wire_type",
            RecordError::BadVarint { .. } => "bad_varint",
            RecordError::TooDeep { .. } => "too_deep",
            RecordError::BadJson { .. } => "bad_json",
            RecordError::BadDocument { .. } => "bad_document",
            RecordError::EmptyPayload => "empty_payload",
            RecordError::UnknownEncoding { .. } => "unknown_encoding",
            RecordError::TooLarge { .. } => "too_large",
        }
    }
}

impl From<Fault> for RecordError {
    fn from(fault: Fault) -> Self {
        let at = fault.at;
        match fault.kind {
            FaultKind::Truncated => RecordError::Truncated { at },
            FaultKind::WireType { field, wire } => RecordError::BadWireType { at, field, wire },
            FaultKind::Varint => RecordError::BadVarint { at },
            FaultKind::Depth { limit } => RecordError::TooDeep { at, limit },
        }
    }
}
