//! `dwd_span`: one clean span a row. The hottest builder of the job.

use std::borrow::Cow;

use super::attributes::{Texts, hash_hex, trace_hash};
use super::links::write_links_json;
use super::{Contents, Origin, SpanOrder, Stamp, Table};
use crate::sink::native::{Fixed, LabelMap, LowCardinality, Micros, Millis, Strings};
use crate::span::clean::CleanSpan;

columns! {
    struct Columns {
        trace_id: Strings = "trace_id",
        span_id: Strings = "span_id",
        parent_span_id: Strings = "parent_span_id",
        trace_ref: Strings = "trace_ref",
        span_ref: Strings = "span_ref",
        parent_span_ref: Strings = "parent_span_ref",
        trace_hash: Fixed<u64> = "trace_hash",
        content_hash: Fixed<u128> = "content_hash",
        start_time: Fixed<Micros> = "start_time",
        end_time: Fixed<Micros> = "end_time",
        duration_us: Fixed<u64> = "duration_us",
        namespace: LowCardinality = "namespace",
        agent: LowCardinality = "agent",
        agent_name: LowCardinality = "agent_name",
        service_name: LowCardinality = "service_name",
        span_name: LowCardinality = "name",
        kind: LowCardinality = "kind",
        scope: LowCardinality = "scope",
        scope_version: LowCardinality = "scope_version",
        session_id: Strings = "session_id",
        conversation_id: Strings = "conversation_id",
        user_id: Strings = "user_id",
        step_type: LowCardinality = "step_type",
        step_no: Fixed<u32> = "step_no",
        late: Fixed<bool> = "late",
        convention: LowCardinality = "convention",
        model: LowCardinality = "model",
        provider: LowCardinality = "provider",
        tool_name: LowCardinality = "tool_name",
        status: LowCardinality = "status",
        status_message: Strings = "status_message",
        error_type: LowCardinality = "error_type",
        error_message: Strings = "error_message",
        error_stack: Strings = "error_stack",
        input_tokens: Fixed<u64> = "input_tokens",
        output_tokens: Fixed<u64> = "output_tokens",
        cache_read_tokens: Fixed<u64> = "cache_read_tokens",
        cost_nanousd: Fixed<u64> = "cost_nanousd",
        args_hash: Fixed<u64> = "args_hash",
        input_preview: Strings = "input_preview",
        output_preview: Strings = "output_preview",
        input_hash: Strings = "input_hash",
        output_hash: Strings = "output_hash",
        attributes: LabelMap = "attributes",
        attribute_hashes: LabelMap = "attribute_hashes",
        resource: LabelMap = "resource",
        trace_state: Strings = "trace_state",
        links: Strings = "links",
        topic: LowCardinality = "topic",
        partition: Fixed<i32> = "partition",
        offset: Fixed<i64> = "offset",
        index: Fixed<u32> = "index",
        epoch: Fixed<u64> = "_epoch",
        shard: Fixed<u16> = "_shard",
        ingest_time: Fixed<Millis> = "ingest_time",
    }
}

/// Builds `dwd_span`.
#[derive(Debug, Default)]
pub struct DwdSpan {
    columns: Columns,
    span_ids: Vec<u64>,
    texts: Texts,
    links_json: String,
}

impl DwdSpan {
    /// Pushes one span; texts over 256 characters go to `contents` by their hash. `fingerprint` is the span's content
    /// hash, by which duplicates are found.
    pub fn push(
        &mut self,
        span: &CleanSpan<'_>,
        origin: &Origin<'_>,
        fingerprint: u128,
        late: bool,
        stamp: &Stamp,
        contents: &mut (impl Contents + ?Sized),
    ) {
        self.texts.start_row();
        self.push_identity(span, fingerprint);
        self.push_labels(span);
        self.push_measures(span, late);
        self.push_texts(span, contents);
        self.push_origin(span.index, origin, stamp);
    }

    fn push_identity(&mut self, span: &CleanSpan<'_>, fingerprint: u128) {
        let columns = &mut self.columns;
        columns.trace_id.push_hex(&span.trace_id);
        columns.span_id.push_hex(&span.span_id);
        if span.parent_span_id == [0; 8] {
            columns.parent_span_id.push("");
        } else {
            columns.parent_span_id.push_hex(&span.parent_span_id);
        }
        columns.trace_ref.push(&span.trace_ref);
        columns.span_ref.push(&span.span_ref);
        columns.parent_span_ref.push(&span.parent_span_ref);
        columns.trace_hash.push(trace_hash(&span.trace_id));
        columns.content_hash.push(fingerprint);
        columns.session_id.push(&span.session_id);
        columns.conversation_id.push(&span.conversation_id);
        columns.user_id.push(&span.user_id);
        self.span_ids.push(u64::from_be_bytes(span.span_id));
    }

    fn push_labels(&mut self, span: &CleanSpan<'_>) {
        let columns = &mut self.columns;
        columns.namespace.push(&span.namespace);
        columns.agent.push(&span.agent);
        columns.agent_name.push(&span.agent_name);
        columns.service_name.push(&span.service_name);
        columns.span_name.push(&span.name);
        columns.kind.push(span.kind);
        columns.scope.push(&span.scope);
        columns.scope_version.push(&span.scope_version);
        columns.step_type.push(span.step_type.as_str());
        columns.convention.push(span.convention.as_str());
        columns.model.push(&span.model);
        columns.provider.push(&span.provider);
        columns.tool_name.push(&span.tool_name);
        columns.status.push(span.status.as_str());
        columns.error_type.push(&span.error_type);
    }

    fn push_measures(&mut self, span: &CleanSpan<'_>, late: bool) {
        let columns = &mut self.columns;
        columns.start_time.push(Micros(span.start_us));
        columns.end_time.push(Micros(span.end_us));
        columns.duration_us.push(span.duration_us);
        columns.step_no.push(span.step_no);
        columns.late.push(late);
        columns.input_tokens.push(span.input_tokens);
        columns.output_tokens.push(span.output_tokens);
        columns.cache_read_tokens.push(span.cache_read_tokens);
        columns.cost_nanousd.push(span.cost_nanousd);
        columns.args_hash.push(span.args_hash);
    }

    fn push_texts(&mut self, span: &CleanSpan<'_>, contents: &mut (impl Contents + ?Sized)) {
        let (columns, texts) = (&mut self.columns, &mut self.texts);
        columns.status_message.push(&span.status_message);
        columns.error_message.push(&span.error_message);
        columns.error_stack.push(&span.error_stack);
        columns.trace_state.push(&span.trace_state);
        self.links_json.clear();
        write_links_json(span.links, &mut self.links_json);
        columns.links.push(&self.links_json);
        let mut push_long = |text: &Cow<'_, str>, preview: &mut Strings, key: &mut Strings| {
            let (kept, hash) = texts.shorten(text, contents);
            preview.push(kept);
            match hash {
                Some(hash) => key.push_bytes(&hash_hex(hash)),
                None => key.push(""),
            }
        };
        push_long(
            &span.input,
            &mut columns.input_preview,
            &mut columns.input_hash,
        );
        push_long(
            &span.output,
            &mut columns.output_preview,
            &mut columns.output_hash,
        );
        let hashes = &mut columns.attribute_hashes;
        texts.push_attributes(span.attributes, &mut columns.attributes, hashes, contents);
        // Resources share the row's `attribute_hashes`.
        texts.push_attributes(span.resource, &mut columns.resource, hashes, contents);
        hashes.end_row();
    }

    fn push_origin(&mut self, index: u32, origin: &Origin<'_>, stamp: &Stamp) {
        let columns = &mut self.columns;
        columns.topic.push(origin.topic);
        columns.partition.push(origin.partition);
        columns.offset.push(origin.offset);
        columns.index.push(index);
        columns.epoch.push(stamp.epoch);
        columns.shard.push(stamp.shard);
        columns.ingest_time.push(Millis(stamp.ingest_ms));
    }
}

impl Table for DwdSpan {
    table_of_columns!(Columns, "dwd_span", trace_hash);

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
        order.rows(|_| 0)
    }

    fn clear(&mut self) {
        self.columns.clear();
        self.span_ids.clear();
    }
}
