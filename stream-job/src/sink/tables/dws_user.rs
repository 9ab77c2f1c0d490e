//! `dws_user_1d`: users by day.

use super::RowTable;
use crate::sink::native::{Days, Fixed, LowCardinality, Micros, Strings};

row_table! {
    /// The traces of a user that ended on a day of the business time zone.
    pub struct UserRow => Columns, key (day, namespace, user_id, segment) {
        /// Days since 1970.
        day: u16 => Fixed<Days> = "day",
        /// `service.namespace` of the traces.
        namespace: String => LowCardinality = "namespace",
        /// User.
        user_id: String => Strings = "user_id",
        /// Epoch at which this segment was opened.
        segment: u64 => Fixed<u64> = "segment",
        /// Sessions that the traces belong to.
        sessions: u64 => Fixed<u64> = "sessions",
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
        /// Earliest start of a span, µs since 1970.
        first_time: i64 => Fixed<Micros> = "first_time",
        /// Latest end of a span, µs since 1970.
        last_time: i64 => Fixed<Micros> = "last_time",
    }
}

/// Builds `dws_user_1d`.
#[must_use]
pub fn users() -> RowTable<UserRow> {
    RowTable::named("dws_user_1d")
}
