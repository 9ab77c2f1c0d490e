//! The metrics of OTLP/JSON.

use super::{
    Field, Reader, Result, Writer, attributes, double, elements, enumeration, fixed64, int64,
    message, messages, or_problem, resource_field, scope_field, text, unsigned64,
};
use crate::decode::schema::{
    data_point, exponential_buckets, exponential_point, histogram_point, metric, metric_data,
    metrics_request, number_point, quantile, resource_metrics, scope_metrics, summary_point,
};
use crate::decode::wire::Key;

const TEMPORALITIES: [&str; 3] = [
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
];
const COUNT: &str = "expected a count, 0 to 2^64 - 1";

pub(super) fn request_field<'a>(r: &mut Reader<'a>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "resourceMetrics" | "resource_metrics" => messages(
            r,
            w,
            metrics_request::RESOURCE_METRICS,
            resource_metrics_field,
        ),
        _ => r.skip(),
    }
}

fn resource_metrics_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "resource" => message(r, w, resource_metrics::RESOURCE, resource_field),
        "scopeMetrics" | "scope_metrics" => {
            messages(r, w, resource_metrics::SCOPE_METRICS, scope_metrics_field)
        }
        _ => r.skip(),
    }
}

fn scope_metrics_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "scope" => message(r, w, scope_metrics::SCOPE, scope_field),
        "metrics" => messages(r, w, scope_metrics::METRICS, metric_field),
        _ => r.skip(),
    }
}

fn metric_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "name" => text(r, w, metric::NAME),
        "unit" => text(r, w, metric::UNIT),
        "gauge" => message(r, w, metric::GAUGE, |r, w, name| {
            data_field(r, w, name, number_field)
        }),
        "sum" => message(r, w, metric::SUM, |r, w, name| {
            data_field(r, w, name, number_field)
        }),
        "histogram" => message(r, w, metric::HISTOGRAM, |r, w, name| {
            data_field(r, w, name, histogram_field)
        }),
        "exponentialHistogram" | "exponential_histogram" => {
            message(r, w, metric::EXPONENTIAL_HISTOGRAM, |r, w, name| {
                data_field(r, w, name, exponential_field)
            })
        }
        "summary" => message(r, w, metric::SUMMARY, |r, w, name| {
            data_field(r, w, name, summary_field)
        }),
        _ => r.skip(),
    }
}

/// A field of what a metric measures, with points of the kind that `point_field` reads.
fn data_field<'a>(
    r: &mut Reader<'a>,
    w: &mut Writer,
    name: &str,
    point_field: Field<'a>,
) -> Result<()> {
    match name {
        "dataPoints" | "data_points" => elements(r, |r| {
            or_problem(r, w, metric_data::DATA_POINTS, |r, w| {
                message(r, w, metric_data::DATA_POINTS, point_field)
            })
        }),
        "aggregationTemporality" | "aggregation_temporality" => {
            enumeration(r, w, metric_data::TEMPORALITY, &TEMPORALITIES)
        }
        "isMonotonic" | "is_monotonic" => {
            if !r.null()? {
                w.varint(metric_data::IS_MONOTONIC, u64::from(r.boolean()?));
            }
            Ok(())
        }
        _ => r.skip(),
    }
}

fn number_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "attributes" => attributes(r, w, number_point::ATTRIBUTES),
        "asDouble" | "as_double" => real(r, w, number_point::AS_DOUBLE),
        "asInt" | "as_int" => {
            if !r.null()? {
                w.fixed64(number_point::AS_INT, int64(r)?.cast_unsigned());
            }
            Ok(())
        }
        "flags" => count(r, w, number_point::FLAGS, Writer::varint),
        name => times(r, w, name),
    }
}

fn histogram_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "attributes" => attributes(r, w, histogram_point::ATTRIBUTES),
        "count" => count(r, w, histogram_point::COUNT, Writer::fixed64),
        "sum" => real(r, w, histogram_point::SUM),
        "bucketCounts" | "bucket_counts" => elements(r, |r| {
            w.fixed64(histogram_point::BUCKET_COUNT, unsigned64(r, COUNT)?);
            Ok(())
        }),
        "explicitBounds" | "explicit_bounds" => elements(r, |r| {
            w.fixed64(histogram_point::BOUND, double(r)?.to_bits());
            Ok(())
        }),
        "flags" => count(r, w, histogram_point::FLAGS, Writer::varint),
        name => times(r, w, name),
    }
}

fn exponential_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "attributes" => attributes(r, w, exponential_point::ATTRIBUTES),
        "count" => count(r, w, exponential_point::COUNT, Writer::fixed64),
        "sum" => real(r, w, exponential_point::SUM),
        "scale" => signed(r, w, exponential_point::SCALE),
        "zeroCount" | "zero_count" => count(r, w, exponential_point::ZERO_COUNT, Writer::fixed64),
        "zeroThreshold" | "zero_threshold" => real(r, w, exponential_point::ZERO_THRESHOLD),
        "positive" => message(r, w, exponential_point::POSITIVE, buckets_field),
        "negative" => message(r, w, exponential_point::NEGATIVE, buckets_field),
        "flags" => count(r, w, exponential_point::FLAGS, Writer::varint),
        name => times(r, w, name),
    }
}

fn buckets_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "offset" => signed(r, w, exponential_buckets::OFFSET),
        "bucketCounts" | "bucket_counts" => elements(r, |r| {
            w.varint(exponential_buckets::COUNT, unsigned64(r, COUNT)?);
            Ok(())
        }),
        _ => r.skip(),
    }
}

fn summary_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "attributes" => attributes(r, w, summary_point::ATTRIBUTES),
        "count" => count(r, w, summary_point::COUNT, Writer::fixed64),
        "sum" => real(r, w, summary_point::SUM),
        "quantileValues" | "quantile_values" => {
            messages(r, w, summary_point::QUANTILES, |r, w, name| match name {
                "quantile" => real(r, w, quantile::QUANTILE),
                "value" => real(r, w, quantile::VALUE),
                _ => r.skip(),
            })
        }
        "flags" => count(r, w, summary_point::FLAGS, Writer::varint),
        name => times(r, w, name),
    }
}

fn times(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "startTimeUnixNano" | "start_time_unix_nano" => fixed64(r, w, data_point::START_TIME),
        "timeUnixNano" | "time_unix_nano" => fixed64(r, w, data_point::TIME),
        _ => r.skip(),
    }
}

fn count(
    r: &mut Reader<'_>,
    w: &mut Writer,
    key: Key,
    write: fn(&mut Writer, Key, u64),
) -> Result<()> {
    if !r.null()? {
        write(w, key, unsigned64(r, COUNT)?);
    }
    Ok(())
}

fn real(r: &mut Reader<'_>, w: &mut Writer, key: Key) -> Result<()> {
    if !r.null()? {
        w.fixed64(key, double(r)?.to_bits());
    }
    Ok(())
}

/// A `sint32`.
fn signed(r: &mut Reader<'_>, w: &mut Writer, key: Key) -> Result<()> {
    if r.null()? {
        return Ok(());
    }
    let at = r.at();
    let number =
        i32::try_from(int64(r)?).map_err(|_| r.fault(at, "expected a whole number of 32 bits"))?;
    let zigzag = (number << 1) ^ (number >> 31);
    w.varint(key, u64::from(zigzag.cast_unsigned()));
    Ok(())
}

#[cfg(test)]
mod tests;
