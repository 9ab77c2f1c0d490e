//! The walk over an OTLP `ExportMetricsServiceRequest`.
//!
//! As in the walk over spans ([`protobuf`](super::protobuf)) fields may stand in any order, and points may have been
//! visited before a walk fails. Metrics are few beside spans: each point is built anew.

use super::RecordError;
use super::protobuf::{WalkOptions, attribute, name};
use super::schema::{
    data_point, exponential_buckets, exponential_point, histogram_point, metric, metric_data,
    metrics_request, number_point, quantile, resource, resource_metrics, scope, scope_metrics,
    summary_point,
};
use super::value::text;
use super::wire::{Cursor, Fault};
use crate::metric::{
    Distribution, MAX_BUCKETS, MetricKind, MetricView, PointValue, PointView, Temporality,
};
use crate::span::view::{Attr, ResourceView, ScopeView};

/// Flag of a point that says that there is no value.
const NO_RECORDED_VALUE: u64 = 1;

/// Calls `visit` for every point of an `ExportMetricsServiceRequest` in wire order and gives their number. `transcoded` says
/// that our own transcoder made the bytes: only then are its private fields read.
///
/// # Errors
/// [`RecordError`] with the byte position of the first fault, after points before it may have been visited.
pub fn walk<'p>(
    payload: &'p [u8],
    transcoded: bool,
    options: &WalkOptions,
    visit: impl FnMut(&ResourceView<'p>, &ScopeView<'p>, &MetricView<'p>, &PointView<'p>),
) -> Result<u32, RecordError> {
    let mut walk = Walk {
        transcoded,
        options,
        next_index: 0,
        visit,
    };
    walk.request(Cursor::new(payload))?;
    Ok(walk.next_index)
}

struct Walk<'o, F> {
    transcoded: bool,
    options: &'o WalkOptions,
    next_index: u32,
    visit: F,
}

impl<'p, F> Walk<'_, F>
where
    F: FnMut(&ResourceView<'p>, &ScopeView<'p>, &MetricView<'p>, &PointView<'p>),
{
    fn request(&mut self, mut cursor: Cursor<'p>) -> Result<(), Fault> {
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                metrics_request::RESOURCE_METRICS => self.resource_metrics(cursor.message()?)?,
                key => cursor.skip(start, key, metrics_request::KNOWN)?,
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: Cursor<'p>) -> Result<(), Fault> {
        let mut resource = ResourceView::default();
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                resource_metrics::RESOURCE => {
                    self.resource(cursor.message()?, &mut resource)?;
                }
                resource_metrics::SCOPE_METRICS => {
                    cursor.bytes()?;
                }
                key => cursor.skip(start, key, resource_metrics::KNOWN)?,
            }
        }
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                resource_metrics::SCOPE_METRICS => {
                    self.scope_metrics(cursor.message()?, &resource)?;
                }
                key => cursor.skip(start, key, 0)?,
            }
        }
        Ok(())
    }

    fn resource(
        &mut self,
        mut cursor: Cursor<'p>,
        into: &mut ResourceView<'p>,
    ) -> Result<(), Fault> {
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                resource::ATTRIBUTES => self.attribute(cursor.message()?, &mut into.attributes)?,
                key => cursor.skip(start, key, resource::KNOWN)?,
            }
        }
        Ok(())
    }

    fn attribute(&self, cursor: Cursor<'p>, into: &mut Vec<Attr<'p>>) -> Result<(), Fault> {
        let attr = attribute(cursor, self.options)?;
        if into.len() < self.options.max_attributes {
            into.push(attr);
        }
        Ok(())
    }

    fn scope_metrics(
        &mut self,
        message: Cursor<'p>,
        resource: &ResourceView<'p>,
    ) -> Result<(), Fault> {
        let mut scope = ScopeView::default();
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                scope_metrics::SCOPE => scope = read_scope(cursor.message()?)?,
                scope_metrics::METRICS => {
                    cursor.bytes()?;
                }
                key => cursor.skip(start, key, scope_metrics::KNOWN)?,
            }
        }
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                scope_metrics::METRICS => self.metric(cursor.message()?, resource, &scope)?,
                key => cursor.skip(start, key, 0)?,
            }
        }
        Ok(())
    }

    fn metric(
        &mut self,
        message: Cursor<'p>,
        resource: &ResourceView<'p>,
        scope: &ScopeView<'p>,
    ) -> Result<(), Fault> {
        let mut view = MetricView::default();
        // Of the kinds that there are the last one counts, as in every `oneof`.
        let mut data = None;
        let mut cursor = message;
        while !cursor.is_done() {
            let start = cursor.at();
            let kind = match cursor.key()? {
                metric::NAME => {
                    view.name = name(cursor.bytes()?, self.options);
                    continue;
                }
                metric::UNIT => {
                    view.unit = name(cursor.bytes()?, self.options);
                    continue;
                }
                metric::GAUGE => MetricKind::Gauge,
                metric::SUM => MetricKind::Sum,
                metric::HISTOGRAM => MetricKind::Histogram,
                metric::EXPONENTIAL_HISTOGRAM => MetricKind::ExponentialHistogram,
                metric::SUMMARY => MetricKind::Summary,
                key => {
                    cursor.skip(start, key, metric::KNOWN)?;
                    continue;
                }
            };
            view.kind = kind;
            data = Some(cursor.message()?);
        }
        let Some(data) = data else {
            return Ok(());
        };
        let mut cursor = data;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                metric_data::DATA_POINTS => {
                    cursor.bytes()?;
                }
                metric_data::TEMPORALITY => {
                    view.temporality = match cursor.varint()? {
                        1 => Temporality::Delta,
                        2 => Temporality::Cumulative,
                        _ => Temporality::Unspecified,
                    };
                }
                metric_data::IS_MONOTONIC => view.monotonic = cursor.varint()? != 0,
                key => cursor.skip(start, key, metric_data::KNOWN)?,
            }
        }
        self.points(data, resource, scope, &view)
    }

    fn points(
        &mut self,
        mut cursor: Cursor<'p>,
        resource: &ResourceView<'p>,
        scope: &ScopeView<'p>,
        metric: &MetricView<'p>,
    ) -> Result<(), Fault> {
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                metric_data::DATA_POINTS => {
                    let point = self.point(cursor.message()?, metric.kind)?;
                    (self.visit)(resource, scope, metric, &point);
                }
                metric_data::TEMPORALITY | metric_data::IS_MONOTONIC => {
                    cursor.varint()?;
                }
                key => cursor.skip(start, key, 0)?,
            }
        }
        Ok(())
    }

    fn point(&mut self, cursor: Cursor<'p>, kind: MetricKind) -> Result<PointView<'p>, Fault> {
        let mut point = PointView {
            index: self.next_index,
            raw: cursor.rest(),
            ..PointView::default()
        };
        self.next_index += 1;
        let flags = match kind {
            MetricKind::Gauge | MetricKind::Sum => self.number(cursor, &mut point)?,
            MetricKind::Histogram => self.histogram(cursor, &mut point)?,
            MetricKind::ExponentialHistogram => self.exponential(cursor, &mut point)?,
            MetricKind::Summary => self.summary(cursor, &mut point)?,
        };
        if flags & NO_RECORDED_VALUE != 0 {
            point.value = PointValue::Missing;
        }
        Ok(point)
    }

    fn number(&self, mut cursor: Cursor<'p>, point: &mut PointView<'p>) -> Result<u64, Fault> {
        let mut flags = 0;
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                number_point::ATTRIBUTES => {
                    self.attribute(cursor.message()?, &mut point.attributes)?;
                }
                number_point::AS_DOUBLE => {
                    point.value = PointValue::Double(f64::from_bits(cursor.fixed64()?));
                }
                number_point::AS_INT => {
                    point.value = PointValue::Int(cursor.fixed64()?.cast_signed());
                }
                number_point::FLAGS => flags = cursor.varint()?,
                key => self.times(&mut cursor, start, key, point, number_point::KNOWN)?,
            }
        }
        Ok(flags)
    }

    fn histogram(&self, mut cursor: Cursor<'p>, point: &mut PointView<'p>) -> Result<u64, Fault> {
        let (mut flags, mut of) = (0, Distribution::default());
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                histogram_point::ATTRIBUTES => {
                    self.attribute(cursor.message()?, &mut point.attributes)?;
                }
                histogram_point::COUNT => of.count = cursor.fixed64()?,
                histogram_point::SUM => of.sum = f64::from_bits(cursor.fixed64()?),
                histogram_point::BUCKET_COUNTS => {
                    let mut packed = cursor.message()?;
                    while !packed.is_done() {
                        keep(&mut of.bucket_counts, packed.fixed64()?);
                    }
                }
                histogram_point::BUCKET_COUNT => keep(&mut of.bucket_counts, cursor.fixed64()?),
                histogram_point::BOUNDS => {
                    let mut packed = cursor.message()?;
                    while !packed.is_done() {
                        keep(&mut of.bounds, f64::from_bits(packed.fixed64()?));
                    }
                }
                histogram_point::BOUND => {
                    keep(&mut of.bounds, f64::from_bits(cursor.fixed64()?));
                }
                histogram_point::FLAGS => flags = cursor.varint()?,
                key => self.times(&mut cursor, start, key, point, histogram_point::KNOWN)?,
            }
        }
        point.value = PointValue::Distribution(of);
        Ok(flags)
    }

    fn exponential(&self, mut cursor: Cursor<'p>, point: &mut PointView<'p>) -> Result<u64, Fault> {
        let (mut flags, mut of) = (0, Distribution::default());
        let mut buckets = Exponential::default();
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                exponential_point::ATTRIBUTES => {
                    self.attribute(cursor.message()?, &mut point.attributes)?;
                }
                exponential_point::COUNT => of.count = cursor.fixed64()?,
                exponential_point::SUM => of.sum = f64::from_bits(cursor.fixed64()?),
                exponential_point::SCALE => buckets.scale = zigzag(cursor.varint()?),
                exponential_point::ZERO_COUNT => buckets.zeros = cursor.fixed64()?,
                exponential_point::ZERO_THRESHOLD => {
                    buckets.zero_threshold = f64::from_bits(cursor.fixed64()?);
                }
                exponential_point::POSITIVE => buckets.positive = read_side(cursor.message()?)?,
                exponential_point::NEGATIVE => buckets.negative = read_side(cursor.message()?)?,
                exponential_point::FLAGS => flags = cursor.varint()?,
                key => self.times(&mut cursor, start, key, point, exponential_point::KNOWN)?,
            }
        }
        (of.bounds, of.bucket_counts) = buckets.explicit();
        point.value = PointValue::Distribution(of);
        Ok(flags)
    }

    fn summary(&self, mut cursor: Cursor<'p>, point: &mut PointView<'p>) -> Result<u64, Fault> {
        let (mut flags, mut of) = (0, Distribution::default());
        while !cursor.is_done() {
            let start = cursor.at();
            match cursor.key()? {
                summary_point::ATTRIBUTES => {
                    self.attribute(cursor.message()?, &mut point.attributes)?;
                }
                summary_point::COUNT => of.count = cursor.fixed64()?,
                summary_point::SUM => of.sum = f64::from_bits(cursor.fixed64()?),
                summary_point::QUANTILES => {
                    let (quantile, value) = read_quantile(cursor.message()?)?;
                    keep(&mut of.bounds, quantile);
                    keep(&mut of.quantile_values, value);
                }
                summary_point::FLAGS => flags = cursor.varint()?,
                key => self.times(&mut cursor, start, key, point, summary_point::KNOWN)?,
            }
        }
        point.value = PointValue::Distribution(of);
        Ok(flags)
    }

    /// What points of all kinds have, or a field that is not known.
    fn times(
        &self,
        cursor: &mut Cursor<'p>,
        start: usize,
        key: u32,
        point: &mut PointView<'p>,
        known: u64,
    ) -> Result<(), Fault> {
        match key {
            data_point::START_TIME => point.start_time_unix_nano = cursor.fixed64()?,
            data_point::TIME => point.time_unix_nano = cursor.fixed64()?,
            data_point::PROBLEM if self.transcoded => point.problem = text(cursor.bytes()?),
            key => cursor.skip(start, key, known)?,
        }
        Ok(())
    }
}

/// Keeps an element, and of too many enough to tell that they are.
fn keep<T>(list: &mut Vec<T>, element: T) {
    if list.len() <= MAX_BUCKETS {
        list.push(element);
    }
}

fn read_scope<'p>(mut cursor: Cursor<'p>) -> Result<ScopeView<'p>, Fault> {
    let mut view = ScopeView::default();
    while !cursor.is_done() {
        let start = cursor.at();
        match cursor.key()? {
            scope::NAME => view.name = text(cursor.bytes()?),
            scope::VERSION => view.version = text(cursor.bytes()?),
            key => cursor.skip(start, key, scope::KNOWN)?,
        }
    }
    Ok(view)
}

fn read_quantile(mut cursor: Cursor<'_>) -> Result<(f64, f64), Fault> {
    let mut read = (0.0, 0.0);
    while !cursor.is_done() {
        let start = cursor.at();
        match cursor.key()? {
            quantile::QUANTILE => read.0 = f64::from_bits(cursor.fixed64()?),
            quantile::VALUE => read.1 = f64::from_bits(cursor.fixed64()?),
            key => cursor.skip(start, key, quantile::KNOWN)?,
        }
    }
    Ok(read)
}

/// A `sint32`; the upper half is cut off, as every decoder does.
fn zigzag(number: u64) -> i32 {
    let number = number as u32;
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// The buckets of one side of an exponential histogram.
#[derive(Default)]
struct Side {
    offset: i32,
    counts: Vec<u64>,
}

fn read_side(mut cursor: Cursor<'_>) -> Result<Side, Fault> {
    let mut side = Side::default();
    while !cursor.is_done() {
        let start = cursor.at();
        match cursor.key()? {
            exponential_buckets::OFFSET => side.offset = zigzag(cursor.varint()?),
            exponential_buckets::COUNTS => {
                let mut packed = cursor.message()?;
                while !packed.is_done() {
                    keep(&mut side.counts, packed.varint()?);
                }
            }
            exponential_buckets::COUNT => keep(&mut side.counts, cursor.varint()?),
            key => cursor.skip(start, key, exponential_buckets::KNOWN)?,
        }
    }
    Ok(side)
}

/// An exponential histogram: bucket `i` is over `base^i` and at most `base^(i+1)`, where `base = 2^(2^-scale)`.
#[derive(Default)]
struct Exponential {
    scale: i32,
    zeros: u64,
    zero_threshold: f64,
    positive: Side,
    negative: Side,
}

impl Exponential {
    /// The same buckets with their upper bounds, in the order of their values; one count more than bounds. Between the
    /// zeros and the first bucket of a side is an empty one, so that no bucket looks wider than it is.
    fn explicit(&self) -> (Vec<f64>, Vec<u64>) {
        let (mut bounds, mut counts) = (Vec::new(), Vec::new());
        let power = |side: &Side, bucket: usize| {
            (f64::from(side.offset) + bucket as f64) * f64::from(-self.scale).exp2()
        };
        let mut put = |bound: f64, count: u64| {
            keep(&mut bounds, bound);
            keep(&mut counts, count);
        };
        for (bucket, &count) in self.negative.counts.iter().enumerate().rev() {
            put(-power(&self.negative, bucket).exp2(), count);
        }
        if !self.negative.counts.is_empty() {
            put(0.0 - self.zero_threshold, 0);
        }
        put(self.zero_threshold, self.zeros);
        if !self.positive.counts.is_empty() {
            put(power(&self.positive, 0).exp2(), 0);
        }
        for (bucket, &count) in self.positive.counts.iter().enumerate() {
            put(power(&self.positive, bucket + 1).exp2(), count);
        }
        keep(&mut counts, 0);
        (bounds, counts)
    }
}

#[cfg(test)]
mod tests;
