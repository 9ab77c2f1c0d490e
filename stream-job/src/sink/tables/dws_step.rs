//! `dws_step_1m`, `dws_step_5m`, `dws_step_1h`: steps by window.

use super::RowTable;
use crate::dataflow::buckets::Buckets;
use crate::sink::native::{BucketMap, Fixed, LowCardinality, Seconds};

row_table! {
    /// What one kind of step of one agent did in one window.
    pub struct StepRow => Columns, key (agent, step_type, tool_name, model, window_start) {
        /// Agent.
        agent: String => LowCardinality = "agent",
        /// Step type.
        step_type: String => LowCardinality = "step_type",
        /// Tool, empty where there is none.
        tool_name: String => LowCardinality = "tool_name",
        /// Model, empty where there is none.
        model: String => LowCardinality = "model",
        /// Start of the window, s since 1970, inclusive.
        window_start: u32 => Fixed<Seconds> = "window_start",
        /// End of the window, s since 1970, exclusive.
        window_end: u32 => Fixed<Seconds> = "window_end",
        /// Spans that are not late.
        count: u64 => Fixed<u64> = "count",
        /// Of them with status error.
        errors: u64 => Fixed<u64> = "errors",
        /// Sum of their durations, µs.
        duration_sum_us: u64 => Fixed<u64> = "duration_sum_us",
        /// Longest of them, µs.
        duration_max_us: u64 => Fixed<u64> = "duration_max_us",
        /// Tokens in.
        input_tokens: u64 => Fixed<u64> = "input_tokens",
        /// Tokens out.
        output_tokens: u64 => Fixed<u64> = "output_tokens",
        /// Cost in nano-dollars.
        cost_nanousd: u64 => Fixed<u64> = "cost_nanousd",
        /// Durations by logarithmic bucket.
        duration_buckets: Buckets => BucketMap = "duration_buckets",
        /// Whether the watermark has passed the window's end and the allowed lateness.
        is_final: bool => Fixed<bool> = "final",
    }
}

/// Builds `dws_step_1m`.
#[must_use]
pub fn one_minute() -> RowTable<StepRow> {
    RowTable::named("dws_step_1m")
}

/// Builds `dws_step_5m`, whose windows hop by one minute.
#[must_use]
pub fn five_minutes() -> RowTable<StepRow> {
    RowTable::named("dws_step_5m")
}

/// Builds `dws_step_1h`.
#[must_use]
pub fn one_hour() -> RowTable<StepRow> {
    RowTable::named("dws_step_1h")
}
