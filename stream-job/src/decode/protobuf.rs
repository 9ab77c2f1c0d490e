//! The walk over an OTLP `ExportTraceServiceRequest` in place: no copy, and once its buffers have grown, no allocation.
//!
//! Protobuf lets fields stand in any order, so each `ResourceSpans` and `ScopeSpans` is scanned for its resource or
//! scope before its spans are visited. The same scan finds framing faults of a whole `ResourceSpans` before any of its
//! spans is visited; still, **spans may have been visited before a walk fails**: a caller that rejects records whole
//! keeps nothing until the walk has returned.
//!
//! A payload cut at the border between two `ResourceSpans` is a valid shorter payload, as protobuf has no end mark; cut
//! at any other byte it is an error.
//!
//! What is cleaned on the way, and marked by an attribute on the span (`spanflow.…`, last):
//!
//! | what was sent | what comes out | attribute |
//! |---|---|---|
//! | text that is not UTF-8 | U+FFFD for the bad bytes | |
//! | a name or attribute key over `max_name_bytes` | cut at a character, ending in `…` | |
//! | more attributes than `max_attributes` | the first ones | `spanflow.dropped_attributes`, how many are gone |
//! | more events than `max_events`, links than `max_links` | the first ones | `spanflow.dropped_events`, `spanflow.dropped_links` |
//! | an end before the start, or no start | times of [`clean_times`](crate::span::clean_times) | `spanflow.cleaned` |

mod options;
mod scratch;

use std::borrow::Cow;

pub use options::WalkOptions;
use scratch::Scratch;

use super::RecordError;
use super::schema::{
    event, link, request, resource, resource_spans, scope, scope_spans, span, status,
};
use super::value::{attr, text};
use super::wire::{Cursor, Fault};
use crate::span::validate::cleaned_times_mark;
use crate::span::view::{Attr, EventView, LinkView, ResourceView, ScopeView, SpanView, Value};

/// Attribute that counts the attributes dropped from a span.
pub const DROPPED_ATTRIBUTES: &str = "spanflow.dropped_attributes";
/// Attribute that counts the events dropped from a span.
pub const DROPPED_EVENTS: &str = "spanflow.dropped_events";
/// Attribute that counts the links dropped from a span.
pub const DROPPED_LINKS: &str = "spanflow.dropped_links";
/// Attribute that says what was wrong with a span's times.
pub const CLEANED: &str = "spanflow.cleaned";

/// Walks payloads one after the other and keeps its buffers between them.
///
/// ```
/// use stream_job::decode::{encode, protobuf::{Walker, WalkOptions}};
/// use stream_job::span::view::{ResourceView, ScopeView, SpanView};
///
/// let span = SpanView { name: "think".into(), ..SpanView::default() };
/// let payload = encode::request(&ResourceView::default(), &ScopeView::default(), &[span]);
/// let mut names = Vec::new();
/// let spans = Walker::new(WalkOptions::default())
///     .walk(&payload, false, |_resource, _scope, span| names.push(span.name.to_string()))?;
/// assert_eq!((spans, names), (1, vec!["think".to_owned()]));
/// # Ok::<(), stream_job::decode::RecordError>(())
/// ```
#[derive(Debug, Default)]
pub struct Walker {
    options: WalkOptions,
    scratch: Scratch<'static>,
}

impl Walker {
    /// A walker with the given bounds.
    #[must_use]
    pub fn new(mut options: WalkOptions) -> Self {
        options.max_depth = options.max_depth.min(200);
        Walker {
            options,
            scratch: Scratch::default(),
        }
    }

    /// Calls `visit` for every span of an `ExportTraceServiceRequest` in wire order and gives their number.
    ///
    /// `transcoded` says that our own transcoder made the bytes ([`SpanBytes`](super::SpanBytes)): only then are its
    /// private fields read. The views live no longer than the call, what they borrow lives as long as the payload.
    ///
    /// # Errors
    /// [`RecordError`] with the byte position of the first fault, after spans before it may have been visited.
    pub fn walk<'p>(
        &mut self,
        payload: &'p [u8],
        transcoded: bool,
        visit: impl FnMut(&ResourceView<'p>, &ScopeView<'p>, &SpanView<'p>),
    ) -> Result<u32, RecordError> {
        let mut walk = Walk {
            options: self.options,
            transcoded,
            next_index: 0,
            scratch: std::mem::take(&mut self.scratch).recycle(),
            visit,
        };
        let result = walk.request(Cursor::new(payload));
        let spans = walk.next_index;
        self.scratch = walk.scratch.recycle();
        result?;
        Ok(spans)
    }
}

/// One walk over one payload.
struct Walk<'p, F> {
    options: WalkOptions,
    transcoded: bool,
    next_index: u32,
    scratch: Scratch<'p>,
    visit: F,
}

impl<'p, F> Walk<'p, F>
where
    F: FnMut(&ResourceView<'p>, &ScopeView<'p>, &SpanView<'p>),
{
    fn request(&mut self, mut cursor: Cursor<'p>) -> Result<(), Fault> {
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                request::RESOURCE_SPANS => self.resource_spans(cursor.message()?)?,
                key => cursor.skip(start, key, request::KNOWN)?,
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, message: Cursor<'p>) -> Result<(), Fault> {
        self.scratch.resource.attributes.clear();
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                resource_spans::RESOURCE => self.resource(cursor.message()?)?,
                resource_spans::SCOPE_SPANS => {
                    cursor.bytes()?;
                }
                key => cursor.skip(start, key, resource_spans::KNOWN)?,
            }
        }
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                resource_spans::SCOPE_SPANS => self.scope_spans(cursor.message()?)?,
                key => cursor.skip(start, key, 0)?,
            }
        }
        Ok(())
    }

    fn resource(&mut self, mut cursor: Cursor<'p>) -> Result<(), Fault> {
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                resource::ATTRIBUTES => {
                    let attr = attribute(cursor.message()?, &self.options)?;
                    let attributes = &mut self.scratch.resource.attributes;
                    if attributes.len() < self.options.max_attributes {
                        attributes.push(attr);
                    }
                }
                key => cursor.skip(start, key, resource::KNOWN)?,
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, message: Cursor<'p>) -> Result<(), Fault> {
        self.scratch.scope = ScopeView::default();
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                scope_spans::SCOPE => self.scope(cursor.message()?)?,
                scope_spans::SPANS => {
                    cursor.bytes()?;
                }
                key => cursor.skip(start, key, scope_spans::KNOWN)?,
            }
        }
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                scope_spans::SPANS => {
                    self.span(cursor.message()?)?;
                    let Scratch {
                        resource,
                        scope,
                        span,
                        ..
                    } = &self.scratch;
                    (self.visit)(resource, scope, span);
                }
                key => cursor.skip(start, key, 0)?,
            }
        }
        Ok(())
    }

    fn scope(&mut self, mut cursor: Cursor<'p>) -> Result<(), Fault> {
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                scope::NAME => self.scratch.scope.name = text(cursor.bytes()?),
                scope::VERSION => self.scratch.scope.version = text(cursor.bytes()?),
                key => cursor.skip(start, key, scope::KNOWN)?,
            }
        }
        Ok(())
    }

    fn span(&mut self, mut cursor: Cursor<'p>) -> Result<(), Fault> {
        self.scratch.clear_span();
        self.scratch.span.raw = cursor.rest();
        self.scratch.span.index = self.next_index;
        self.next_index += 1;
        let (mut attributes, mut events, mut links) = (0, 0, 0);
        while !cursor.is_done() {
            let start = cursor.at();
            let span = &mut self.scratch.span;
            match cursor.key()? {
                span::ATTRIBUTES => {
                    let attr = attribute(cursor.message()?, &self.options)?;
                    attributes += 1;
                    if span.attributes.len() < self.options.max_attributes {
                        span.attributes.push(attr);
                    }
                }
                span::TRACE_ID => span.trace_id = cursor.bytes()?,
                span::SPAN_ID => span.span_id = cursor.bytes()?,
                span::PARENT_SPAN_ID => span.parent_span_id = cursor.bytes()?,
                span::TRACE_STATE => span.trace_state = text(cursor.bytes()?),
                span::NAME => span.name = name(cursor.bytes()?, &self.options),
                // Protobuf's enums are 32-bit: the upper half is cut off, as every decoder does.
                span::KIND => span.kind = cursor.varint()? as i32,
                span::START_TIME => span.start_time_unix_nano = cursor.fixed64()?,
                span::END_TIME => span.end_time_unix_nano = cursor.fixed64()?,
                span::STATUS => self.status(cursor.message()?)?,
                span::EVENTS => {
                    events += 1;
                    self.event(cursor.message()?, events)?;
                }
                span::LINKS => {
                    links += 1;
                    self.link(cursor.message()?, links)?;
                }
                key => self.other_field(&mut cursor, start, key)?,
            }
        }
        self.mark(attributes, events, links);
        Ok(())
    }

    fn status(&mut self, mut cursor: Cursor<'p>) -> Result<(), Fault> {
        let span = &mut self.scratch.span;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                status::MESSAGE => span.status_message = text(cursor.bytes()?),
                status::CODE => span.status_code = cursor.varint()? as i32,
                key => cursor.skip(start, key, status::KNOWN)?,
            }
        }
        Ok(())
    }

    fn event(&mut self, mut cursor: Cursor<'p>, count: usize) -> Result<(), Fault> {
        let mut view = EventView {
            attributes: self.scratch.empty_list(),
            ..EventView::default()
        };
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                event::TIME => view.time_unix_nano = cursor.fixed64()?,
                event::NAME => view.name = name(cursor.bytes()?, &self.options),
                event::ATTRIBUTES => {
                    let attr = attribute(cursor.message()?, &self.options)?;
                    if view.attributes.len() < self.options.max_event_attributes {
                        view.attributes.push(attr);
                    }
                }
                key => cursor.skip(start, key, event::KNOWN)?,
            }
        }
        if count <= self.options.max_events {
            self.scratch.span.events.push(view);
        }
        Ok(())
    }

    fn link(&mut self, mut cursor: Cursor<'p>, count: usize) -> Result<(), Fault> {
        let mut view = LinkView {
            attributes: self.scratch.empty_list(),
            ..LinkView::default()
        };
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                link::TRACE_ID => view.trace_id = cursor.bytes()?,
                link::SPAN_ID => view.span_id = cursor.bytes()?,
                link::TRACE_STATE => view.trace_state = text(cursor.bytes()?),
                link::ATTRIBUTES => {
                    let attr = attribute(cursor.message()?, &self.options)?;
                    if view.attributes.len() < self.options.max_event_attributes {
                        view.attributes.push(attr);
                    }
                }
                key => cursor.skip(start, key, link::KNOWN)?,
            }
        }
        if count <= self.options.max_links {
            self.scratch.span.links.push(view);
        }
        Ok(())
    }

    /// A private field of our transcoders where they made the bytes, else a field that is not known.
    #[cold]
    fn other_field(
        &mut self,
        cursor: &mut Cursor<'p>,
        start: usize,
        key: u32,
    ) -> Result<(), Fault> {
        let refs = &mut self.scratch.span.refs;
        match key {
            span::TRACE_REF if self.transcoded => refs.trace_ref = text(cursor.bytes()?),
            span::SPAN_REF if self.transcoded => refs.span_ref = text(cursor.bytes()?),
            span::PARENT_SPAN_REF if self.transcoded => {
                refs.parent_span_ref = text(cursor.bytes()?);
            }
            span::PROBLEM if self.transcoded => refs.problem = text(cursor.bytes()?),
            _ => cursor.skip(start, key, span::KNOWN)?,
        }
        Ok(())
    }

    /// Adds the attributes that say what was cleaned.
    #[inline]
    fn mark(&mut self, attributes: usize, events: usize, links: usize) {
        let options = &self.options;
        let span = &mut self.scratch.span;
        for (key, seen, max) in [
            (DROPPED_ATTRIBUTES, attributes, options.max_attributes),
            (DROPPED_EVENTS, events, options.max_events),
            (DROPPED_LINKS, links, options.max_links),
        ] {
            if seen > max {
                span.attributes.push(Attr {
                    key: Cow::Borrowed(key),
                    // A payload has far fewer bytes than an i64 can count.
                    value: Value::Int((seen - max) as i64),
                });
            }
        }
        if let Some(what) = cleaned_times_mark(span) {
            span.attributes.push(Attr {
                key: Cow::Borrowed(CLEANED),
                value: Value::Str(Cow::Borrowed(what)),
            });
        }
    }
}

#[inline]
pub(super) fn attribute<'p>(cursor: Cursor<'p>, options: &WalkOptions) -> Result<Attr<'p>, Fault> {
    let mut attr = attr(cursor, options.max_depth, options.max_depth)?;
    if attr.key.len() > options.max_name_bytes {
        attr.key = cut(&attr.key, options.max_name_bytes);
    }
    Ok(attr)
}

#[inline]
pub(super) fn name<'p>(bytes: &'p [u8], options: &WalkOptions) -> Cow<'p, str> {
    let name = text(bytes);
    if name.len() > options.max_name_bytes {
        return cut(&name, options.max_name_bytes);
    }
    name
}

/// The longest start of `text` of at most `max` bytes that ends at a character, and `…`.
#[cold]
fn cut<'p>(text: &str, max: usize) -> Cow<'p, str> {
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(max)]))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
