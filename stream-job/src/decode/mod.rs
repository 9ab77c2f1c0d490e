//! From a record's bytes to borrowed [`SpanView`](crate::span::view::SpanView)s.
//!
//! There is one hot path: OTLP protobuf is walked in place by [`protobuf::Walker`]. OTLP JSON ([`json`]) and session
//! documents ([`document`]) are transcoded to the same protobuf bytes first, so that whatever follows (validation,
//! fingerprints, the mapping of conventions) has one input.
//!
//! A record that cannot be decoded is rejected whole with a [`RecordError`]; what is wrong with one span only is found
//! later, by [`validate`](crate::span::validate()).

mod base64;
mod detect;
pub mod document;
pub mod encode;
mod error;
pub mod json;
pub mod metrics;
pub mod protobuf;
mod reader;
pub(crate) mod schema;
mod value;
mod wire;

use crate::source::TopicFilter;
use std::borrow::Cow;

pub use detect::{Encoding, detect, detect_metrics};
pub use error::RecordError;
pub(crate) use value::READ_LEVELS;
pub use value::{Entries, Items};

pub(crate) use detect::header;

/// A record's headers, in order; a name may repeat.
pub type Headers = [(String, Option<Vec<u8>>)];

/// What decoding depends on besides the record.
#[derive(Clone, Debug)]
pub struct DecodeOptions {
    /// The topics whose records are metrics.
    pub metrics_topic: TopicFilter,
    /// The topics whose records are session documents.
    pub documents_topic: TopicFilter,
    /// How documents are read.
    pub document: document::DocumentOptions,
    /// A payload above this many bytes is not looked at.
    pub max_record_bytes: usize,
    /// Bounds of the walk.
    pub walk: protobuf::WalkOptions,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            metrics_topic: TopicFilter::Name("otlp_metrics".to_owned()),
            documents_topic: TopicFilter::Name("agent.conversations".to_owned()),
            document: document::DocumentOptions::default(),
            // Twice the topics' `max.message.bytes`: a broker may have been told otherwise.
            max_record_bytes: 16 << 20,
            walk: protobuf::WalkOptions::default(),
        }
    }
}

/// A record's spans or metrics as OTLP protobuf bytes: its own, or what they were transcoded to.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanBytes<'a> {
    /// The bytes of an `ExportTraceServiceRequest`, or of an `ExportMetricsServiceRequest`.
    pub bytes: Cow<'a, [u8]>,
    /// Whether our own transcoder made them: only then does the walk read its private fields.
    pub transcoded: bool,
}

/// The encoding of a record, and its spans as OTLP protobuf bytes.
///
/// Call it again in a later pass rather than keep its result: for protobuf it costs nothing.
///
/// # Errors
/// [`RecordError`] for what is not decodable as its encoding; a fault inside protobuf is found by the walk.
pub fn span_bytes<'a>(
    topic: &str,
    headers: &Headers,
    payload: &'a [u8],
    options: &DecodeOptions,
) -> (Encoding, Result<SpanBytes<'a>, RecordError>) {
    let encoding = if options.metrics_topic.matches(topic) {
        detect_metrics(headers, payload)
    } else {
        detect(options.documents_topic.matches(topic), headers, payload)
    };
    (encoding, to_protobuf(encoding, headers, payload, options))
}

fn to_protobuf<'a>(
    encoding: Encoding,
    headers: &Headers,
    payload: &'a [u8],
    options: &DecodeOptions,
) -> Result<SpanBytes<'a>, RecordError> {
    if payload.is_empty() {
        return Err(RecordError::EmptyPayload);
    }
    if payload.len() > options.max_record_bytes {
        return Err(RecordError::TooLarge {
            bytes: payload.len(),
            limit: options.max_record_bytes,
        });
    }
    let transcoded = |bytes| SpanBytes {
        bytes: Cow::Owned(bytes),
        transcoded: true,
    };
    match encoding {
        Encoding::OtlpProtobuf | Encoding::OtlpMetrics => Ok(SpanBytes {
            bytes: Cow::Borrowed(payload),
            transcoded: false,
        }),
        Encoding::OtlpJson => json::transcode(payload).map(transcoded),
        Encoding::Document => {
            let service = detect::header(headers, "service.name");
            document::transcode(payload, service, &options.document).map(transcoded)
        }
        Encoding::MetricsJson => json::transcode_metrics(payload).map(transcoded),
        Encoding::Unknown => Err(RecordError::UnknownEncoding {
            start: payload[..payload.len().min(16)].escape_ascii().to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
