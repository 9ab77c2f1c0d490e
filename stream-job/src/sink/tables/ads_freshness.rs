//! `ads_freshness`: the pipeline's own delay.

use super::RowTable;
use crate::dataflow::buckets::Buckets;
use crate::sink::native::{BucketMap, Fixed, Seconds};

row_table! {
    /// One minute of the pipeline.
    pub struct FreshnessRow => Columns, key (window_start) {
        /// Start of the window, s since 1970, inclusive.
        window_start: u32 => Fixed<Seconds> = "window_start",
        /// End of the window, s since 1970, exclusive.
        window_end: u32 => Fixed<Seconds> = "window_end",
        /// Spans whose delay is counted.
        spans: u64 => Fixed<u64> = "spans",
        /// Median delay from span end to row visible, ms.
        delay_p50_ms: u64 => Fixed<u64> = "delay_p50_ms",
        /// 95th percentile of it, ms.
        delay_p95_ms: u64 => Fixed<u64> = "delay_p95_ms",
        /// 99th percentile of it, ms.
        delay_p99_ms: u64 => Fixed<u64> = "delay_p99_ms",
        /// Longest delay, ms.
        delay_max_ms: u64 => Fixed<u64> = "delay_max_ms",
        /// Delays by logarithmic bucket.
        delay_buckets: Buckets => BucketMap = "delay_buckets",
        /// Records consumed.
        records: u64 => Fixed<u64> = "records",
        /// Spans in them.
        spans_in: u64 => Fixed<u64> = "spans_in",
        /// Spans that landed.
        spans_landed: u64 => Fixed<u64> = "spans_landed",
        /// Spans that were there already.
        spans_duplicate: u64 => Fixed<u64> = "spans_duplicate",
        /// Spans that became dead letters.
        spans_rejected: u64 => Fixed<u64> = "spans_rejected",
        /// Landed spans that were late.
        spans_late: u64 => Fixed<u64> = "spans_late",
        /// Whether the watermark has passed the window's end and the allowed lateness.
        is_final: bool => Fixed<bool> = "final",
    }
}

/// Builds `ads_freshness`.
#[must_use]
pub fn freshness() -> RowTable<FreshnessRow> {
    RowTable::named("ads_freshness")
}
