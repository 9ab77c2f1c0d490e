//! `ads_top_slow`, `ads_top_cost`, `ads_top_error`: the top N of a window.

use super::RowTable;
use crate::sink::native::{Fixed, LowCardinality, Micros, Seconds, Strings};

row_table! {
    /// One of the slowest or dearest spans of a window.
    pub struct TopSpanRow => SpanColumns, key (window_start, agent, rank) {
        /// Start of the window, s since 1970, inclusive.
        window_start: u32 => Fixed<Seconds> = "window_start",
        /// Agent.
        agent: String => LowCardinality = "agent",
        /// Place from 1.
        rank: u16 => Fixed<u16> = "rank",
        /// End of the window, s since 1970, exclusive.
        window_end: u32 => Fixed<Seconds> = "window_end",
        /// Trace id.
        trace_id: String => Strings = "trace_id",
        /// Span id.
        span_id: String => Strings = "span_id",
        /// Session id as the span says.
        session_id: String => Strings = "session_id",
        /// Span name.
        name: String => LowCardinality = "name",
        /// Step type.
        step_type: String => LowCardinality = "step_type",
        /// Tool.
        tool_name: String => LowCardinality = "tool_name",
        /// Model.
        model: String => LowCardinality = "model",
        /// Status in effect.
        status: String => LowCardinality = "status",
        /// Start, µs since 1970.
        start_time: i64 => Fixed<Micros> = "start_time",
        /// Duration, µs.
        duration_us: u64 => Fixed<u64> = "duration_us",
        /// Cost in nano-dollars.
        cost_nanousd: u64 => Fixed<u64> = "cost_nanousd",
    }
}

row_table! {
    /// One of the most frequent errors of a window.
    pub struct TopErrorRow => ErrorColumns, key (window_start, agent, rank) {
        /// Start of the window, s since 1970, inclusive.
        window_start: u32 => Fixed<Seconds> = "window_start",
        /// Agent.
        agent: String => LowCardinality = "agent",
        /// Place from 1.
        rank: u16 => Fixed<u16> = "rank",
        /// End of the window, s since 1970, exclusive.
        window_end: u32 => Fixed<Seconds> = "window_end",
        /// Step type.
        step_type: String => LowCardinality = "step_type",
        /// Tool.
        tool_name: String => LowCardinality = "tool_name",
        /// Model.
        model: String => LowCardinality = "model",
        /// Kind of the error.
        error_type: String => LowCardinality = "error_type",
        /// Spans with it.
        count: u64 => Fixed<u64> = "count",
    }
}

/// Builds `ads_top_slow`.
#[must_use]
pub fn slowest() -> RowTable<TopSpanRow> {
    RowTable::named("ads_top_slow")
}

/// Builds `ads_top_cost`.
#[must_use]
pub fn dearest() -> RowTable<TopSpanRow> {
    RowTable::named("ads_top_cost")
}

/// Builds `ads_top_error`.
#[must_use]
pub fn errors() -> RowTable<TopErrorRow> {
    RowTable::named("ads_top_error")
}
