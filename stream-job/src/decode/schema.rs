//! The keys of OTLP's messages that Spanflow reads or writes.
//!
//! Source: opentelemetry-proto 1.x, `trace/v1/trace.proto`, `metrics/v1/metrics.proto`, `common/v1/common.proto`,
//! `resource/v1/resource.proto`.
//! Each message also says by `KNOWN`, one bit a field number, which fields the walk reads, so that a known field of
//! another wire type is told from an unknown field.

use super::wire::{FIXED64, LENGTH, VARINT, key};

/// The bits of the given field numbers.
const fn bits(fields: &[u32]) -> u64 {
    let mut bits = 0;
    let mut i = 0;
    while i < fields.len() {
        bits |= 1 << fields[i];
        i += 1;
    }
    bits
}

/// `ExportTraceServiceRequest`, and `TracesData`, which has the same bytes.
pub(crate) mod request {
    use super::*;
    pub(crate) const RESOURCE_SPANS: u32 = key(1, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1]);
}

/// `ResourceSpans`. Field 1000, the long gone `instrumentation_library_spans`, is skipped as unknown.
pub(crate) mod resource_spans {
    use super::*;
    pub(crate) const RESOURCE: u32 = key(1, LENGTH);
    pub(crate) const SCOPE_SPANS: u32 = key(2, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}

/// `Resource`.
pub(crate) mod resource {
    use super::*;
    pub(crate) const ATTRIBUTES: u32 = key(1, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1]);
}

/// `ScopeSpans`.
pub(crate) mod scope_spans {
    use super::*;
    pub(crate) const SCOPE: u32 = key(1, LENGTH);
    pub(crate) const SPANS: u32 = key(2, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}

/// `InstrumentationScope`.
pub(crate) mod scope {
    use super::*;
    pub(crate) const NAME: u32 = key(1, LENGTH);
    pub(crate) const VERSION: u32 = key(2, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}

/// `Span`, with the private fields that only our own transcoders write.
pub(crate) mod span {
    use super::*;
    pub(crate) const TRACE_ID: u32 = key(1, LENGTH);
    pub(crate) const SPAN_ID: u32 = key(2, LENGTH);
    pub(crate) const TRACE_STATE: u32 = key(3, LENGTH);
    pub(crate) const PARENT_SPAN_ID: u32 = key(4, LENGTH);
    pub(crate) const NAME: u32 = key(5, LENGTH);
    pub(crate) const KIND: u32 = key(6, VARINT);
    pub(crate) const START_TIME: u32 = key(7, FIXED64);
    pub(crate) const END_TIME: u32 = key(8, FIXED64);
    pub(crate) const ATTRIBUTES: u32 = key(9, LENGTH);
    pub(crate) const EVENTS: u32 = key(11, LENGTH);
    pub(crate) const LINKS: u32 = key(13, LENGTH);
    pub(crate) const STATUS: u32 = key(15, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15]);

    // The highest numbers that protobuf has: OTLP will not come near them.
    pub(crate) const TRACE_REF: u32 = key((1 << 29) - 1, LENGTH);
    pub(crate) const SPAN_REF: u32 = key((1 << 29) - 2, LENGTH);
    pub(crate) const PARENT_SPAN_REF: u32 = key((1 << 29) - 3, LENGTH);
    pub(crate) const PROBLEM: u32 = key((1 << 29) - 4, LENGTH);
}

/// `Span.Event`.
pub(crate) mod event {
    use super::*;
    pub(crate) const TIME: u32 = key(1, FIXED64);
    pub(crate) const NAME: u32 = key(2, LENGTH);
    pub(crate) const ATTRIBUTES: u32 = key(3, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2, 3]);
}

/// `Span.Link`.
pub(crate) mod link {
    use super::*;
    pub(crate) const TRACE_ID: u32 = key(1, LENGTH);
    pub(crate) const SPAN_ID: u32 = key(2, LENGTH);
    pub(crate) const TRACE_STATE: u32 = key(3, LENGTH);
    pub(crate) const ATTRIBUTES: u32 = key(4, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2, 3, 4]);
}

/// `Status`.
pub(crate) mod status {
    use super::*;
    pub(crate) const MESSAGE: u32 = key(2, LENGTH);
    pub(crate) const CODE: u32 = key(3, VARINT);
    pub(crate) const KNOWN: u64 = bits(&[2, 3]);
}

/// `KeyValue`.
pub(crate) mod key_value {
    use super::*;
    pub(crate) const KEY: u32 = key(1, LENGTH);
    pub(crate) const VALUE: u32 = key(2, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}

/// `AnyValue`.
pub(crate) mod any_value {
    use super::*;
    pub(crate) const STRING: u32 = key(1, LENGTH);
    pub(crate) const BOOL: u32 = key(2, VARINT);
    pub(crate) const INT: u32 = key(3, VARINT);
    pub(crate) const DOUBLE: u32 = key(4, FIXED64);
    pub(crate) const ARRAY: u32 = key(5, LENGTH);
    pub(crate) const KVLIST: u32 = key(6, LENGTH);
    pub(crate) const BYTES: u32 = key(7, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2, 3, 4, 5, 6, 7]);
}

/// `ArrayValue` and `KeyValueList`: both have one repeated field.
pub(crate) mod list {
    use super::*;
    pub(crate) const VALUES: u32 = key(1, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1]);
}

/// `ExportMetricsServiceRequest`, and `MetricsData`, which has the same bytes.
pub(crate) mod metrics_request {
    use super::*;
    pub(crate) const RESOURCE_METRICS: u32 = key(1, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1]);
}

/// `ResourceMetrics`.
pub(crate) mod resource_metrics {
    use super::*;
    pub(crate) const RESOURCE: u32 = key(1, LENGTH);
    pub(crate) const SCOPE_METRICS: u32 = key(2, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}

/// `ScopeMetrics`.
pub(crate) mod scope_metrics {
    use super::*;
    pub(crate) const SCOPE: u32 = key(1, LENGTH);
    pub(crate) const METRICS: u32 = key(2, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}

/// `Metric`.
pub(crate) mod metric {
    use super::*;
    pub(crate) const NAME: u32 = key(1, LENGTH);
    pub(crate) const UNIT: u32 = key(3, LENGTH);
    pub(crate) const GAUGE: u32 = key(5, LENGTH);
    pub(crate) const SUM: u32 = key(7, LENGTH);
    pub(crate) const HISTOGRAM: u32 = key(9, LENGTH);
    pub(crate) const EXPONENTIAL_HISTOGRAM: u32 = key(10, LENGTH);
    pub(crate) const SUMMARY: u32 = key(11, LENGTH);
    pub(crate) const KNOWN: u64 = bits(&[1, 3, 5, 7, 9, 10, 11]);
}

/// `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` and `Summary`: what they have, they have by the same numbers.
pub(crate) mod metric_data {
    use super::*;
    pub(crate) const DATA_POINTS: u32 = key(1, LENGTH);
    pub(crate) const TEMPORALITY: u32 = key(2, VARINT);
    pub(crate) const IS_MONOTONIC: u32 = key(3, VARINT);
    pub(crate) const KNOWN: u64 = bits(&[1, 2, 3]);
}

/// The start and the time of every kind of data point.
pub(crate) mod data_point {
    use super::*;
    pub(crate) const START_TIME: u32 = key(2, FIXED64);
    pub(crate) const TIME: u32 = key(3, FIXED64);

    // Private, as that of a span.
    pub(crate) const PROBLEM: u32 = super::span::PROBLEM;
}

/// `NumberDataPoint`.
pub(crate) mod number_point {
    use super::*;
    pub(crate) const AS_DOUBLE: u32 = key(4, FIXED64);
    pub(crate) const AS_INT: u32 = key(6, FIXED64);
    pub(crate) const ATTRIBUTES: u32 = key(7, LENGTH);
    pub(crate) const FLAGS: u32 = key(8, VARINT);
    pub(crate) const KNOWN: u64 = bits(&[2, 3, 4, 6, 7, 8]);
}

/// `HistogramDataPoint`. Its repeated numbers are packed by every encoder, and may come one by one.
pub(crate) mod histogram_point {
    use super::*;
    pub(crate) const COUNT: u32 = key(4, FIXED64);
    pub(crate) const SUM: u32 = key(5, FIXED64);
    pub(crate) const BUCKET_COUNTS: u32 = key(6, LENGTH);
    pub(crate) const BUCKET_COUNT: u32 = key(6, FIXED64);
    pub(crate) const BOUNDS: u32 = key(7, LENGTH);
    pub(crate) const BOUND: u32 = key(7, FIXED64);
    pub(crate) const ATTRIBUTES: u32 = key(9, LENGTH);
    pub(crate) const FLAGS: u32 = key(10, VARINT);
    pub(crate) const KNOWN: u64 = bits(&[2, 3, 4, 5, 6, 7, 9, 10]);
}

/// `ExponentialHistogramDataPoint`.
pub(crate) mod exponential_point {
    use super::*;
    pub(crate) const ATTRIBUTES: u32 = key(1, LENGTH);
    pub(crate) const COUNT: u32 = key(4, FIXED64);
    pub(crate) const SUM: u32 = key(5, FIXED64);
    pub(crate) const SCALE: u32 = key(6, VARINT);
    pub(crate) const ZERO_COUNT: u32 = key(7, FIXED64);
    pub(crate) const POSITIVE: u32 = key(8, LENGTH);
    pub(crate) const NEGATIVE: u32 = key(9, LENGTH);
    pub(crate) const FLAGS: u32 = key(10, VARINT);
    pub(crate) const ZERO_THRESHOLD: u32 = key(14, FIXED64);
    pub(crate) const KNOWN: u64 = bits(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14]);
}

/// `ExponentialHistogramDataPoint.Buckets`.
pub(crate) mod exponential_buckets {
    use super::*;
    pub(crate) const OFFSET: u32 = key(1, VARINT);
    pub(crate) const COUNTS: u32 = key(2, LENGTH);
    pub(crate) const COUNT: u32 = key(2, VARINT);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}

/// `SummaryDataPoint`.
pub(crate) mod summary_point {
    use super::*;
    pub(crate) const COUNT: u32 = key(4, FIXED64);
    pub(crate) const SUM: u32 = key(5, FIXED64);
    pub(crate) const QUANTILES: u32 = key(6, LENGTH);
    pub(crate) const ATTRIBUTES: u32 = key(7, LENGTH);
    pub(crate) const FLAGS: u32 = key(8, VARINT);
    pub(crate) const KNOWN: u64 = bits(&[2, 3, 4, 5, 6, 7, 8]);
}

/// `SummaryDataPoint.ValueAtQuantile`.
pub(crate) mod quantile {
    use super::*;
    pub(crate) const QUANTILE: u32 = key(1, FIXED64);
    pub(crate) const VALUE: u32 = key(2, FIXED64);
    pub(crate) const KNOWN: u64 = bits(&[1, 2]);
}
