//! OTLP protobuf, written: by the JSON transcoders, the generator of load and the tests.
//!
//! Fields are written in the order of their numbers and left out at their defaults, as the official encoders do it.

use super::schema::{
    any_value, event, key_value, link, list, request, resource, resource_spans, scope, scope_spans,
    span, status,
};
use super::wire::Key;
use crate::span::view::{Attr, EventView, LinkView, ResourceView, ScopeView, SpanView, Value};

/// Appends protobuf fields to a buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes back what was written after the first `length` bytes. Only within the message that was being written
    /// then.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Appends fields that another writer has written.
    pub(crate) fn append(&mut self, fields: &Writer) {
        self.bytes.extend_from_slice(&fields.bytes);
    }

    /// A `ResourceSpans` of a request; `body` writes its [`Writer::resource`] and [`Writer::scope_spans`].
    pub fn resource_spans<R>(&mut self, body: impl FnOnce(&mut Writer) -> R) -> R {
        self.message(request::RESOURCE_SPANS, body)
    }

    /// The resource of a `ResourceSpans`.
    pub fn resource(&mut self, view: &ResourceView<'_>) {
        self.message(resource_spans::RESOURCE, |w| {
            w.attributes(resource::ATTRIBUTES, &view.attributes);
        });
    }

    /// A `ScopeSpans` of a `ResourceSpans`; `body` writes its [`Writer::scope`] and [`Writer::span`]s.
    pub fn scope_spans<R>(&mut self, body: impl FnOnce(&mut Writer) -> R) -> R {
        self.message(resource_spans::SCOPE_SPANS, body)
    }

    /// The instrumentation scope of a `ScopeSpans`.
    pub fn scope(&mut self, view: &ScopeView<'_>) {
        self.message(scope_spans::SCOPE, |w| {
            w.bytes_unless_empty(scope::NAME, view.name.as_bytes());
            w.bytes_unless_empty(scope::VERSION, view.version.as_bytes());
        });
    }

    /// A span of a `ScopeSpans`, without what is ours alone (`index`, `refs`, `raw`).
    pub fn span(&mut self, view: &SpanView<'_>) {
        self.message(scope_spans::SPANS, |w| w.span_fields(view));
    }

    /// The fields of a span, without the key and length before them.
    fn span_fields(&mut self, view: &SpanView<'_>) {
        self.bytes_unless_empty(span::TRACE_ID, view.trace_id);
        self.bytes_unless_empty(span::SPAN_ID, view.span_id);
        self.bytes_unless_empty(span::TRACE_STATE, view.trace_state.as_bytes());
        self.bytes_unless_empty(span::PARENT_SPAN_ID, view.parent_span_id);
        self.bytes_unless_empty(span::NAME, view.name.as_bytes());
        if view.kind != 0 {
            self.varint(span::KIND, i64::from(view.kind).cast_unsigned());
        }
        self.fixed64_unless_zero(span::START_TIME, view.start_time_unix_nano);
        self.fixed64_unless_zero(span::END_TIME, view.end_time_unix_nano);
        self.attributes(span::ATTRIBUTES, &view.attributes);
        for event in &view.events {
            self.event(event);
        }
        for link in &view.links {
            self.link(link);
        }
        self.status(view.status_code, &view.status_message);
    }

    pub(crate) fn status(&mut self, code: i32, message: &str) {
        if code == 0 && message.is_empty() {
            return;
        }
        self.message(span::STATUS, |w| {
            w.bytes_unless_empty(status::MESSAGE, message.as_bytes());
            if code != 0 {
                w.varint(status::CODE, i64::from(code).cast_unsigned());
            }
        });
    }

    pub(crate) fn event(&mut self, view: &EventView<'_>) {
        self.message(span::EVENTS, |w| {
            w.fixed64_unless_zero(event::TIME, view.time_unix_nano);
            w.bytes_unless_empty(event::NAME, view.name.as_bytes());
            w.attributes(event::ATTRIBUTES, &view.attributes);
        });
    }

    fn link(&mut self, view: &LinkView<'_>) {
        self.message(span::LINKS, |w| {
            w.bytes_unless_empty(link::TRACE_ID, view.trace_id);
            w.bytes_unless_empty(link::SPAN_ID, view.span_id);
            w.bytes_unless_empty(link::TRACE_STATE, view.trace_state.as_bytes());
            w.attributes(link::ATTRIBUTES, &view.attributes);
        });
    }

    fn attributes(&mut self, key: Key, attributes: &[Attr<'_>]) {
        for attr in attributes {
            self.attribute(key, &attr.key, &attr.value);
        }
    }

    pub(crate) fn attribute(&mut self, key: Key, name: &str, value: &Value<'_>) {
        self.message(key, |w| {
            w.bytes_unless_empty(key_value::KEY, name.as_bytes());
            w.message(key_value::VALUE, |w| w.any_value(value));
        });
    }

    /// The fields of an `AnyValue`. It is a `oneof`: its fields are written at their defaults too.
    pub(crate) fn any_value(&mut self, value: &Value<'_>) {
        match value {
            Value::Empty => {}
            Value::Str(text) => self.bytes(any_value::STRING, text.as_bytes()),
            Value::Bool(flag) => self.varint(any_value::BOOL, u64::from(*flag)),
            Value::Int(number) => self.varint(any_value::INT, number.cast_unsigned()),
            Value::Double(number) => self.fixed64(any_value::DOUBLE, number.to_bits()),
            Value::Bytes(bytes) => self.bytes(any_value::BYTES, bytes),
            Value::Array(body) => self.bytes(any_value::ARRAY, body),
            Value::KvList(body) => self.bytes(any_value::KVLIST, body),
        }
    }

    pub(crate) fn varint(&mut self, key: Key, value: u64) {
        self.raw_varint(u64::from(key));
        self.raw_varint(value);
    }

    pub(crate) fn fixed64(&mut self, key: Key, value: u64) {
        self.raw_varint(u64::from(key));
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn fixed64_unless_zero(&mut self, key: Key, value: u64) {
        if value != 0 {
            self.fixed64(key, value);
        }
    }

    pub(crate) fn bytes(&mut self, key: Key, bytes: &[u8]) {
        self.raw_varint(u64::from(key));
        self.raw_varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn bytes_unless_empty(&mut self, key: Key, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes(key, bytes);
        }
    }

    /// A message whose body `body` writes.
    pub(crate) fn message<R>(&mut self, key: Key, body: impl FnOnce(&mut Writer) -> R) -> R {
        self.raw_varint(u64::from(key));
        // One byte is kept for the length; a longer body is moved up by what its length takes more.
        let length_at = self.bytes.len();
        self.bytes.push(0);
        let result = body(self);
        let mut length = self.bytes.len() - length_at - 1;
        let mut encoded = [0; 10];
        let mut size = 0;
        while length >= 0x80 {
            encoded[size] = length as u8 | 0x80;
            length >>= 7;
            size += 1;
        }
        encoded[size] = length as u8;
        self.bytes[length_at] = encoded[0];
        if size > 0 {
            let after = length_at + 1;
            self.bytes
                .splice(after..after, encoded[1..=size].iter().copied());
        }
        result
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// A request of one resource and one scope.
#[must_use]
pub fn request(
    resource: &ResourceView<'_>,
    scope: &ScopeView<'_>,
    spans: &[SpanView<'_>],
) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.resource_spans(|w| {
        w.resource(resource);
        w.scope_spans(|w| {
            w.scope(scope);
            for span in spans {
                w.span(span);
            }
        });
    });
    writer.into_bytes()
}

/// The body of an `ArrayValue`, for [`Value::Array`].
#[must_use]
pub fn array(items: &[Value<'_>]) -> Vec<u8> {
    let mut writer = Writer::new();
    for item in items {
        writer.message(list::VALUES, |w| w.any_value(item));
    }
    writer.into_bytes()
}

/// The body of a `KeyValueList`, for [`Value::KvList`].
#[must_use]
pub fn kv_list(entries: &[Attr<'_>]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.attributes(list::VALUES, entries);
    writer.into_bytes()
}

/// An attribute, shortly.
#[must_use]
pub fn attr<'a>(key: &'a str, value: Value<'a>) -> Attr<'a> {
    Attr {
        key: key.into(),
        value,
    }
}

/// A text attribute, shortly.
#[must_use]
pub fn text_attr<'a>(key: &'a str, value: &'a str) -> Attr<'a> {
    attr(key, Value::Str(value.into()))
}
