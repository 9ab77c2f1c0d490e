//! `dws_trace`: a trace so far.

use super::RowTable;
use crate::sink::native::{Fixed, LowCardinality, Micros, StringArray, Strings};

row_table! {
    /// A trace so far.
    pub struct TraceRow => Columns, key (trace_id, segment) {
        /// Trace id, 32 lowercase hex digits.
        trace_id: String => Strings = "trace_id",
        /// Epoch at which this segment was opened.
        segment: u64 => Fixed<u64> = "segment",
        /// `service.namespace` of the first root.
        namespace: String => LowCardinality = "namespace",
        /// Resolved session id.
        session_id: String => Strings = "session_id",
        /// Where the session id is from: session, conversation or trace.
        session_source: String => LowCardinality = "session_source",
        /// Agent of the first root.
        agent: String => LowCardinality = "agent",
        /// All agents that took part, sorted.
        agents: Vec<String> => StringArray = "agents",
        /// User, empty where none is known.
        user_id: String => Strings = "user_id",
        /// Earliest start of a span, µs since 1970.
        first_time: i64 => Fixed<Micros> = "first_time",
        /// Latest end of a span, µs since 1970.
        last_time: i64 => Fixed<Micros> = "last_time",
        /// State: open, idle, done or failed.
        state: String => LowCardinality = "state",
        /// Traces.
        traces: u64 => Fixed<u64> = "traces",
        /// Turns.
        turns: u64 => Fixed<u64> = "turns",
        /// Steps.
        steps: u64 => Fixed<u64> = "steps",
        /// Think spans.
        llm_calls: u64 => Fixed<u64> = "llm_calls",
        /// Act spans.
        tool_calls: u64 => Fixed<u64> = "tool_calls",
        /// Spans with status error.
        errors: u64 => Fixed<u64> = "errors",
        /// Tokens in, of think spans.
        input_tokens: u64 => Fixed<u64> = "input_tokens",
        /// Tokens out, of think spans.
        output_tokens: u64 => Fixed<u64> = "output_tokens",
        /// Cost in nano-dollars, of think spans.
        cost_nanousd: u64 => Fixed<u64> = "cost_nanousd",
        /// Longest run of calls of one tool with equal arguments.
        max_repeat: u32 => Fixed<u32> = "max_repeat",
        /// What was flagged, sorted.
        flags: Vec<String> => StringArray = "flags",
        /// Name of the first root, empty while none has come.
        root_name: String => Strings = "root_name",
        /// `last_time` - `first_time`, µs.
        duration_us: u64 => Fixed<u64> = "duration_us",
        /// Spans whose parent has not come.
        orphans: u64 => Fixed<u64> = "orphans",
        /// Spans.
        spans: u64 => Fixed<u64> = "spans",
    }
}

/// Builds `dws_trace`.
#[must_use]
pub fn traces() -> RowTable<TraceRow> {
    RowTable::named("dws_trace")
}
