//! `dws_resource_1m`: what a process of an agent took in a minute.

use super::RowTable;
use crate::sink::native::{Fixed, LowCardinality, Seconds};

row_table! {
    /// CPU and memory of one process in one minute.
    pub struct ResourceRow => Columns, key (agent, instance, window_start) {
        /// Agent.
        agent: String => LowCardinality = "agent",
        /// Which process of the agent.
        instance: String => LowCardinality = "instance",
        /// Start of the window, s since 1970, inclusive.
        window_start: u32 => Fixed<Seconds> = "window_start",
        /// End of the window, s since 1970, exclusive.
        window_end: u32 => Fixed<Seconds> = "window_end",
        /// Points of memory in the window.
        samples: u64 => Fixed<u64> = "samples",
        /// CPU time used, of all cores, µs.
        cpu_time_us: u64 => Fixed<u64> = "cpu_time_us",
        /// Sum of the resident memory of the points, bytes.
        memory_sum_bytes: u64 => Fixed<u64> = "memory_sum_bytes",
        /// Highest resident memory, bytes.
        memory_max_bytes: u64 => Fixed<u64> = "memory_max_bytes",
        /// Most threads.
        threads_max: u32 => Fixed<u32> = "threads_max",
        /// Whether the watermark has passed the window's end and the allowed lateness.
        is_final: bool => Fixed<bool> = "final",
    }
}

/// Builds `dws_resource_1m`.
#[must_use]
pub fn resources() -> RowTable<ResourceRow> {
    RowTable::named("dws_resource_1m")
}
