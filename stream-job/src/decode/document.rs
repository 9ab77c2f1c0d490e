//! Session documents to OTLP protobuf: the format is in the contracts, its mapping here.
//!
//! | document | span |
//! |---|---|
//! | `session_id`, `conversation_id` | trace id: the first 16 bytes of SHA-256(session_id ‖ 0 ‖ conversation_id), the second empty where it is left out; attributes `session.id`, `gen_ai.conversation.id`; `trace_ref` is both, joined by `/` |
//! | `user_id` | attribute `user.id` |
//! | header `service.name`, else the setting `document_agent` | resource attribute `service.name` |
//! | `span_id`, `parent_span_id` | the first 8 bytes of SHA-256(trace id's 16 bytes ‖ 0 ‖ span_id); as given in `span_ref`, `parent_span_ref` |
//! | `start_time`, `end_time`, `duration_ms` | start and end; where one of the times is left out, it follows from the duration |
//! | `step_type` | attribute `agent.step.type` |
//! | `content` | attribute `input.value` of an `act`, `output.value` of all others |
//! | `tool_name` | attribute `gen_ai.tool.name` |
//! | `status` | `success`: OK, `error`: ERROR; anything else stays the attribute `status` |
//! | `error_message` | status message and an `exception` event at the end time, and ERROR; where the status is `success`, it stays an attribute |
//! | all else in `attributes` or beside it | attributes under their own names, objects and arrays as such; `null` is left out |
//!
//! An attribute of the document that has one of the names on the right stays as it is, and ours is left out. The
//! instrumentation scope of all these spans is [`SCOPE`]. A span that cannot be read is rejected alone, as in
//! [`json`](super::json).

mod step;
mod time;

use std::borrow::Cow;

use chrono::FixedOffset;
use sha2::{Digest as _, Sha256};

use step::Step;
pub use time::{TimeError, parse_time, parse_time_zone};

use super::RecordError;
use super::encode::{Writer, text_attr};
use super::json::or_problem;
use super::reader::{JsonFault, Kind, Reader};
use super::schema::scope_spans;
use crate::span::view::{ResourceView, ScopeView};

/// Name of the instrumentation scope of spans that come from documents.
pub const SCOPE: &str = "spanflow.document";

type Result<T> = std::result::Result<T, JsonFault>;

/// How documents are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentOptions {
    /// The agent where no header `service.name` says it.
    pub agent: String,
    /// The zone of times without an offset.
    pub time_zone: FixedOffset,
}

impl Default for DocumentOptions {
    fn default() -> Self {
        DocumentOptions {
            agent: "document".to_owned(),
            time_zone: time::UTC,
        }
    }
}

/// Transcodes a session document. `service` is the record's header `service.name`.
///
/// # Errors
/// [`RecordError::BadDocument`] for what is not JSON, has no `session_id` or no `spans`.
pub fn transcode(
    payload: &[u8],
    service: Option<&str>,
    options: &DocumentOptions,
) -> std::result::Result<Vec<u8>, RecordError> {
    let mut writer = Writer::new();
    match write_document(payload, service, options, &mut writer) {
        Ok(()) => Ok(writer.into_bytes()),
        Err(JsonFault { at, path, problem }) => Err(RecordError::BadDocument { at, path, problem }),
    }
}

fn write_document(
    payload: &[u8],
    service: Option<&str>,
    options: &DocumentOptions,
    writer: &mut Writer,
) -> Result<()> {
    let (head, spans) = Head::read(payload)?;
    let service = service.unwrap_or(&options.agent);
    writer.resource_spans(|w| {
        w.resource(&ResourceView {
            attributes: vec![text_attr("service.name", service)],
        });
        let scope = ScopeView {
            name: SCOPE.into(),
            version: "".into(),
        };
        w.scope_spans(|w| {
            w.scope(&scope);
            let Some(mut reader) = spans else {
                return Ok(());
            };
            reader.array(|r| {
                or_problem(r, w, scope_spans::SPANS, |r, w| {
                    Step::read(r, options.time_zone)?.write(w, &head);
                    Ok(())
                })
            })
        })
    })
}

/// What all spans of a document share.
struct Head<'a> {
    session_id: Cow<'a, str>,
    conversation_id: Cow<'a, str>,
    user_id: Cow<'a, str>,
    trace_id: [u8; 16],
}

impl<'a> Head<'a> {
    /// The head of a document, and a reader at its spans, unless they are `null`.
    fn read(payload: &'a [u8]) -> Result<(Self, Option<Reader<'a>>)> {
        let mut reader = Reader::new(payload)?;
        let mut ids: [Cow<'a, str>; 3] = Default::default();
        let mut spans = None;
        reader.object(|r, name| {
            let id = match name {
                "session_id" => &mut ids[0],
                "conversation_id" => &mut ids[1],
                "user_id" => &mut ids[2],
                "spans" => {
                    let kind = r.peek()?;
                    if !matches!(kind, Kind::Array | Kind::Null) {
                        return Err(r.fault(r.at(), "expected an array of spans"));
                    }
                    spans = Some((kind == Kind::Array).then(|| r.clone()));
                    return r.skip();
                }
                _ => return r.skip(),
            };
            *id = id_text(r)?;
            Ok(())
        })?;
        reader.end()?;
        let [session_id, conversation_id, user_id] = ids;
        if session_id.is_empty() {
            return Err(reader.fault(0, "the document has no session_id"));
        }
        let Some(spans) = spans else {
            return Err(reader.fault(0, "the document has no spans"));
        };
        let trace_id = digest(&[session_id.as_bytes(), &[0], conversation_id.as_bytes()]);
        let head = Head {
            session_id,
            conversation_id,
            user_id,
            trace_id,
        };
        Ok((head, spans))
    }

    fn span_id(&self, span_ref: &str) -> [u8; 8] {
        digest(&[&self.trace_id, &[0], span_ref.as_bytes()])
    }
}

/// The first bytes of the SHA-256 of all the parts.
fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let mut start = [0; N];
    start.copy_from_slice(&hasher.finalize()[..N]);
    start
}

/// An id: a string, or a number as it stands; empty where it is `null`.
fn id_text<'a>(r: &mut Reader<'a>) -> Result<Cow<'a, str>> {
    match r.peek()? {
        Kind::Null => r.skip().map(|()| Cow::Borrowed("")),
        Kind::Number => r.number().map(Cow::Borrowed),
        _ => r.string(),
    }
}

#[cfg(test)]
mod tests;
