//! `dwd_event`: the events of clean spans, exceptions first of all.

use super::attributes::{Texts, trace_hash};
use super::{Contents, Origin, SpanOrder, Stamp, Table};
use crate::sink::native::{Fixed, LabelMap, LowCardinality, Micros, Millis, Strings};
use crate::span::clean::CleanSpan;
use crate::span::view::{Attr, EventView, Value};

columns! {
    struct Columns {
        trace_id: Strings = "trace_id",
        span_id: Strings = "span_id",
        trace_hash: Fixed<u64> = "trace_hash",
        content_hash: Fixed<u128> = "content_hash",
        event_index: Fixed<u32> = "event_index",
        start_time: Fixed<Micros> = "start_time",
        time: Fixed<Micros> = "time",
        agent: LowCardinality = "agent",
        event_name: LowCardinality = "name",
        error_type: LowCardinality = "error_type",
        error_message: Strings = "error_message",
        error_stack: Strings = "error_stack",
        attributes: LabelMap = "attributes",
        attribute_hashes: LabelMap = "attribute_hashes",
        topic: LowCardinality = "topic",
        partition: Fixed<i32> = "partition",
        offset: Fixed<i64> = "offset",
        index: Fixed<u32> = "index",
        epoch: Fixed<u64> = "_epoch",
        shard: Fixed<u16> = "_shard",
        ingest_time: Fixed<Millis> = "ingest_time",
    }
}

/// Builds `dwd_event`.
#[derive(Debug, Default)]
pub struct DwdEvent {
    columns: Columns,
    span_ids: Vec<u64>,
    texts: Texts,
}

impl DwdEvent {
    /// Pushes all events of a span that lands; attributes over 256 characters go to `contents` by their hash.
    pub fn push(
        &mut self,
        span: &CleanSpan<'_>,
        origin: &Origin<'_>,
        fingerprint: u128,
        stamp: &Stamp,
        contents: &mut (impl Contents + ?Sized),
    ) {
        for (event_index, event) in (0..).zip(span.events) {
            self.texts.start_row();
            self.push_identity(span, fingerprint, event_index, origin, stamp);
            self.push_event(event, contents);
        }
    }

    fn push_identity(
        &mut self,
        span: &CleanSpan<'_>,
        fingerprint: u128,
        event_index: u32,
        origin: &Origin<'_>,
        stamp: &Stamp,
    ) {
        let columns = &mut self.columns;
        columns.trace_id.push_hex(&span.trace_id);
        columns.span_id.push_hex(&span.span_id);
        columns.trace_hash.push(trace_hash(&span.trace_id));
        columns.content_hash.push(fingerprint);
        columns.event_index.push(event_index);
        columns.start_time.push(Micros(span.start_us));
        columns.agent.push(&span.agent);
        columns.topic.push(origin.topic);
        columns.partition.push(origin.partition);
        columns.offset.push(origin.offset);
        columns.index.push(span.index);
        columns.epoch.push(stamp.epoch);
        columns.shard.push(stamp.shard);
        columns.ingest_time.push(Millis(stamp.ingest_ms));
        self.span_ids.push(u64::from_be_bytes(span.span_id));
    }

    fn push_event(&mut self, event: &EventView<'_>, contents: &mut (impl Contents + ?Sized)) {
        const NANOS_PER_MICRO: u64 = 1000;
        let columns = &mut self.columns;
        // A u64 of ns is at most 1.8e16 µs.
        let time_us = (event.time_unix_nano / NANOS_PER_MICRO) as i64;
        columns.time.push(Micros(time_us));
        columns.event_name.push(&event.name);
        let exception = |key| {
            let is_exception = event.name == "exception";
            let found = is_exception.then(|| text_of(&event.attributes, key));
            found.flatten().unwrap_or_default()
        };
        columns.error_type.push(exception("exception.type"));
        columns.error_message.push(exception("exception.message"));
        columns.error_stack.push(exception("exception.stacktrace"));
        let (values, hashes) = (&mut columns.attributes, &mut columns.attribute_hashes);
        (self.texts).push_attributes(&event.attributes, values, hashes, contents);
        hashes.end_row();
    }
}

fn text_of<'v>(attributes: &'v [Attr<'_>], key: &str) -> Option<&'v str> {
    attributes
        .iter()
        .find(|attr| attr.key == key)
        .and_then(|attr| match &attr.value {
            Value::Str(text) => Some(text.as_ref()),
            _ => None,
        })
}

impl Table for DwdEvent {
    table_of_columns!(Columns, "dwd_event", trace_hash);

    fn order(&mut self) -> Vec<u32> {
        let columns = &self.columns;
        let order = SpanOrder {
            agent: &columns.agent,
            start_time: columns.start_time.values(),
            trace_hash: columns.trace_hash.values(),
            span_ids: &self.span_ids,
            content_hash: columns.content_hash.values(),
            topic: &columns.topic,
            partition: columns.partition.values(),
            offset: columns.offset.values(),
            index: columns.index.values(),
        };
        order.rows(|row| columns.event_index.values()[row])
    }

    fn clear(&mut self) {
        self.columns.clear();
        self.span_ids.clear();
    }
}
