//! `dws_edge_1m`: transitions between typed steps.

use super::RowTable;
use crate::sink::native::{Fixed, LowCardinality, Seconds};

row_table! {
    /// How often, in one minute, one kind of step of an agent came after another.
    pub struct EdgeRow => Columns, key (agent, window_start, from, to) {
        /// Agent of the trace.
        agent: String => LowCardinality = "agent",
        /// Start of the window, s since 1970, inclusive.
        window_start: u32 => Fixed<Seconds> = "window_start",
        /// End of the window, s since 1970, exclusive.
        window_end: u32 => Fixed<Seconds> = "window_end",
        /// The step before.
        from: String => LowCardinality = "from",
        /// The step after.
        to: String => LowCardinality = "to",
        /// Transitions whose later step ended in the window.
        count: u64 => Fixed<u64> = "count",
        /// Of them with a derived step at either end.
        derived: u64 => Fixed<u64> = "derived",
        /// Of them whose later step failed.
        errors: u64 => Fixed<u64> = "errors",
        /// Sum of the times between the steps, µs.
        gap_sum_us: u64 => Fixed<u64> = "gap_sum_us",
        /// Sum of the durations of the later steps, µs.
        duration_sum_us: u64 => Fixed<u64> = "duration_sum_us",
        /// Whether the watermark has passed the window's end and the allowed lateness.
        is_final: bool => Fixed<bool> = "final",
    }
}

/// Builds `dws_edge_1m`.
#[must_use]
pub fn edges() -> RowTable<EdgeRow> {
    RowTable::named("dws_edge_1m")
}
