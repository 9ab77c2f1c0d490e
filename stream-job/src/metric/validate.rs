//! What makes a metric point one that can land.

use super::{Distribution, MetricView, PointValue, PointView};
use crate::span::validate::{Limits, out_of_range};

/// Buckets or quantiles that one point may have.
pub const MAX_BUCKETS: usize = 1_000;

/// Why one point is a dead letter while the rest of its record lands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PointReject {
    /// The stable code, one of [`PointReject::CODES`].
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

impl PointReject {
    /// Every code that [`validate`] can give.
    pub const CODES: [&'static str; 5] = [
        "bad_field",
        "bad_metric_name",
        "time_out_of_range",
        "no_value",
        "bad_buckets",
    ];
}

/// Checks that a point can land.
///
/// - `bad_field`: the JSON that it came as has a value in it that cannot be read.
/// - `bad_metric_name`: its metric has no name.
/// - `time_out_of_range`: no time, one before 2000, or one more than [`Limits::max_ahead_ms`] after `ingest_ms` (ms since
///   1970, the epoch's wall clock).
/// - `no_value`: neither a number nor a distribution was set, it is marked as having no recorded value, or it is not a
///   finite number.
/// - `bad_buckets`: more than [`MAX_BUCKETS`], or not one more count than bounds.
///
/// # Errors
/// The first of these reasons that applies.
pub fn validate(
    metric: &MetricView<'_>,
    point: &PointView<'_>,
    limits: &Limits,
    ingest_ms: i64,
) -> Result<(), PointReject> {
    let reject = |code, message: String| Err(PointReject { code, message });
    if !point.problem.is_empty() {
        return reject("bad_field", point.problem.to_string());
    }
    if metric.name.is_empty() {
        return reject("bad_metric_name", "its metric has no name".to_owned());
    }
    if let Some(reason) = out_of_range("is", point.time_unix_nano, limits, ingest_ms) {
        return reject("time_out_of_range", reason);
    }
    let name = &metric.name;
    match &point.value {
        PointValue::Missing => reject("no_value", format!("a point of {name} has no value")),
        PointValue::Double(number) | PointValue::Distribution(Distribution { sum: number, .. })
            if !number.is_finite() =>
        {
            let reason = format!("a point of {name} is {number}, expected a finite number");
            reject("no_value", reason)
        }
        PointValue::Distribution(of) => {
            let (bounds, counts) = (of.bounds.len(), of.bucket_counts.len());
            if bounds.max(counts) > MAX_BUCKETS {
                let reason = format!(
                    "a point of {name} has {counts} buckets, at most {MAX_BUCKETS} are kept"
                );
                return reject("bad_buckets", reason);
            }
            let is_summary = of.quantile_values.len() == bounds;
            if counts != 0 && counts != bounds + 1 || counts == 0 && bounds != 0 && !is_summary {
                let reason = format!(
                    "a point of {name} has {bounds} bounds and {counts} counts, expected one count more than bounds"
                );
                return reject("bad_buckets", reason);
            }
            Ok(())
        }
        PointValue::Int(_) | PointValue::Double(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_760_000_000_000;

    fn code(name: &str, point: &PointView<'_>) -> Option<&'static str> {
        let metric = MetricView {
            name: name.into(),
            ..MetricView::default()
        };
        let rejected = validate(&metric, point, &Limits::default(), NOW_MS).err()?;
        assert!(PointReject::CODES.contains(&rejected.code) && !rejected.message.is_empty());
        Some(rejected.code)
    }

    fn with(value: PointValue) -> PointView<'static> {
        PointView {
            time_unix_nano: 1_760_000_000_000_000_000,
            value,
            ..PointView::default()
        }
    }

    #[test]
    fn a_point_has_a_name_a_time_and_a_finite_value() {
        assert_eq!(code("m", &with(PointValue::Int(-1))), None);
        assert_eq!(code("m", &with(PointValue::Double(0.5))), None);
        assert_eq!(code("", &with(PointValue::Int(1))), Some("bad_metric_name"));
        assert_eq!(code("m", &with(PointValue::Missing)), Some("no_value"));
        for number in [f64::NAN, f64::INFINITY] {
            assert_eq!(
                code("m", &with(PointValue::Double(number))),
                Some("no_value")
            );
        }
        for time_unix_nano in [0, 1, 1_760_090_000_000_000_000] {
            let point = PointView {
                time_unix_nano,
                ..with(PointValue::Int(1))
            };
            assert_eq!(code("m", &point), Some("time_out_of_range"));
        }
    }

    #[test]
    fn a_distribution_has_one_count_more_than_bounds_or_none_and_not_too_many() {
        let of = |bounds: usize, counts: usize, quantiles: usize| {
            let distribution = Distribution {
                bounds: vec![1.0; bounds],
                bucket_counts: vec![1; counts],
                quantile_values: vec![1.0; quantiles],
                ..Distribution::default()
            };
            code("m", &with(PointValue::Distribution(distribution)))
        };
        assert_eq!(of(0, 0, 0), None);
        assert_eq!(of(3, 4, 0), None);
        assert_eq!(of(3, 0, 3), None, "a summary");
        assert_eq!(of(3, 3, 0), Some("bad_buckets"));
        assert_eq!(of(3, 0, 0), Some("bad_buckets"));
        assert_eq!(of(MAX_BUCKETS, MAX_BUCKETS + 1, 0), Some("bad_buckets"));
    }
}
