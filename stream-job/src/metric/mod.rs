//! Metric points: as they were sent ([`PointView`]), whether they can land ([`validate`]), which are the same
//! ([`fingerprint`]), and as they land ([`CleanPoint`]).

mod clean;
mod fingerprint;
mod validate;

use std::borrow::Cow;

use crate::span::view::Attr;

pub use clean::{CleanPoint, instance};
pub use fingerprint::fingerprint;
pub use validate::{MAX_BUCKETS, PointReject, validate};

/// What a metric measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricKind {
    /// A value at a time.
    #[default]
    Gauge,
    /// A sum over an interval.
    Sum,
    /// Measurements by bucket, with bounds of their own.
    Histogram,
    /// Measurements by bucket, with bounds that grow by a factor.
    ExponentialHistogram,
    /// Measurements by quantile.
    Summary,
}

impl MetricKind {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Sum => "sum",
            MetricKind::Histogram => "histogram",
            MetricKind::ExponentialHistogram => "exponential_histogram",
            MetricKind::Summary => "summary",
        }
    }
}

/// From when on a sum or a histogram counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Temporality {
    /// It has no meaning for the kind, or was not said.
    #[default]
    Unspecified,
    /// Since the point before.
    Delta,
    /// Since the process began to count.
    Cumulative,
}

impl Temporality {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Temporality::Unspecified => "",
            Temporality::Delta => "delta",
            Temporality::Cumulative => "cumulative",
        }
    }
}

/// What the points of one metric share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricView<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its unit, as sent.
    pub unit: Cow<'a, str>,
    /// What it measures.
    pub kind: MetricKind,
    /// From when on it counts.
    pub temporality: Temporality,
    /// A sum that only grows.
    pub monotonic: bool,
}

/// Measurements, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// Their sum; 0 where none was sent.
    pub sum: f64,
    /// Upper bounds of the buckets; of a summary, its quantiles.
    pub bounds: Vec<f64>,
    /// Measurements by bucket: one more than bounds, or none.
    pub bucket_counts: Vec<u64>,
    /// Of a summary, the values at its quantiles.
    pub quantile_values: Vec<f64>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PointValue {
    /// Nothing: it was not set, or the sender says that there is no value.
    #[default]
    Missing,
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A histogram or summary.
    Distribution(Distribution),
}

/// One metric point as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointView<'a> {
    /// Position of the point in its record, from 0, over all its resources, scopes and metrics.
    pub index: u32,
    /// Start of the interval in ns since 1970; 0 where none was sent.
    pub start_time_unix_nano: u64,
    /// Time of the point in ns since 1970.
    pub time_unix_nano: u64,
    /// Attributes in the order sent.
    pub attributes: Vec<Attr<'a>>,
    /// What was measured.
    pub value: PointValue,
    /// Why it could not be read from the JSON that it came as; empty where it could.
    pub problem: Cow<'a, str>,
    /// The point's own bytes, for a dead letter.
    pub raw: &'a [u8],
}
