//! A span as it was sent, borrowed from the record's payload. Nothing here is interpreted yet.

use std::borrow::Cow;

/// One attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Attr<'a> {
    /// The key; invalid UTF-8 is replaced by U+FFFD.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: Value<'a>,
}

/// An OTLP `AnyValue`, borrowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// No value was set.
    #[default]
    Empty,
    /// Text; invalid UTF-8 is replaced by U+FFFD.
    Str(Cow<'a, str>),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// The encoded body of an `ArrayValue`, rendered only where a row needs it.
    Array(&'a [u8]),
    /// The encoded body of a `KeyValueList`, rendered only where a row needs it.
    KvList(&'a [u8]),
}

/// An event of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventView<'a> {
    /// Time in ns since 1970.
    pub time_unix_nano: u64,
    /// Name, `exception` for exceptions.
    pub name: Cow<'a, str>,
    /// Attributes in the order sent.
    pub attributes: Vec<Attr<'a>>,
}

/// A link of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkView<'a> {
    /// Trace id as sent.
    pub trace_id: &'a [u8],
    /// Span id as sent.
    pub span_id: &'a [u8],
    /// W3C trace state.
    pub trace_state: Cow<'a, str>,
    /// Attributes in the order sent.
    pub attributes: Vec<Attr<'a>>,
}

/// What the spans of one `ResourceSpans` share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceView<'a> {
    /// Attributes in the order sent.
    pub attributes: Vec<Attr<'a>>,
}

/// What the spans of one `ScopeSpans` share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeView<'a> {
    /// The instrumentation scope's name.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: Cow<'a, str>,
}

/// What the JSON transcoders say besides the span; empty for OTLP protobuf.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentRefs<'a> {
    /// `session_id` of the document, followed by `/` and its `conversation_id` where it has one.
    pub trace_ref: Cow<'a, str>,
    /// `span_id` as given.
    pub span_ref: Cow<'a, str>,
    /// `parent_span_id` as given.
    pub parent_span_ref: Cow<'a, str>,
    /// What is wrong with this one span's JSON (path, byte and reason); empty where nothing is. Validation rejects
    /// the span with it, so that the rest of its record still lands.
    pub problem: Cow<'a, str>,
}

/// One span as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanView<'a> {
    /// Position of the span in its record, from 0, over all its resources and scopes.
    pub index: u32,
    /// Trace id as sent: 16 bytes if valid.
    pub trace_id: &'a [u8],
    /// Span id as sent: 8 bytes if valid.
    pub span_id: &'a [u8],
    /// Parent's span id as sent: empty at a root.
    pub parent_span_id: &'a [u8],
    /// W3C trace state.
    pub trace_state: Cow<'a, str>,
    /// Name.
    pub name: Cow<'a, str>,
    /// OTLP span kind (0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer).
    pub kind: i32,
    /// Start in ns since 1970.
    pub start_time_unix_nano: u64,
    /// End in ns since 1970.
    pub end_time_unix_nano: u64,
    /// Attributes in the order sent.
    pub attributes: Vec<Attr<'a>>,
    /// Events in the order sent.
    pub events: Vec<EventView<'a>>,
    /// Links in the order sent.
    pub links: Vec<LinkView<'a>>,
    /// OTLP status code (0 unset, 1 ok, 2 error).
    pub status_code: i32,
    /// Status message.
    pub status_message: Cow<'a, str>,
    /// References of a session document.
    pub refs: DocumentRefs<'a>,
    /// The span's own bytes, for a dead letter.
    pub raw: &'a [u8],
}
