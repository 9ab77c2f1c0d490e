//! What makes two metric points the same point.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{MetricView, PointValue, PointView};
use crate::span::fingerprint::attributes;
use crate::span::view::{Attr, ResourceView, ScopeView};

/// The fingerprint of a point by which copies are found: 128 bits over all of it as decoded, and over its resource, scope
/// and metric, as nothing else says whose point it is. Attributes count by key, in any order.
#[must_use]
pub fn fingerprint(
    resource: &ResourceView<'_>,
    scope: &ScopeView<'_>,
    metric: &MetricView<'_>,
    point: &PointView<'_>,
) -> u128 {
    let mut hash = Xxh3::new();
    let mut put = |bytes: &[u8]| hash.update(bytes);
    for of in [&resource.attributes, &point.attributes] {
        put(&set_of(of));
    }
    for text in [&scope.name, &scope.version, &metric.name, &metric.unit] {
        put(&xxh3_128(text.as_bytes()).to_le_bytes());
    }
    put(&[
        metric.kind as u8,
        metric.temporality as u8,
        u8::from(metric.monotonic),
    ]);
    put(&point.start_time_unix_nano.to_le_bytes());
    put(&point.time_unix_nano.to_le_bytes());
    match &point.value {
        PointValue::Missing => put(&[0]),
        PointValue::Int(number) => {
            put(&[1]);
            put(&number.to_le_bytes());
        }
        PointValue::Double(number) => {
            put(&[2]);
            put(&number.to_bits().to_le_bytes());
        }
        PointValue::Distribution(of) => {
            put(&[3]);
            put(&of.count.to_le_bytes());
            put(&of.sum.to_bits().to_le_bytes());
            for numbers in [&of.bounds, &of.quantile_values] {
                put(&(numbers.len() as u64).to_le_bytes());
                for number in numbers {
                    put(&number.to_bits().to_le_bytes());
                }
            }
            for count in &of.bucket_counts {
                put(&count.to_le_bytes());
            }
        }
    }
    hash.digest128()
}

fn set_of(of: &[Attr<'_>]) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&attributes(of).to_le_bytes());
    bytes[16..].copy_from_slice(&(of.len() as u64).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{Distribution, MetricKind, Temporality};
    use super::*;
    use crate::span::view::Value;

    fn attr(key: &'static str, value: i64) -> Attr<'static> {
        Attr {
            key: key.into(),
            value: Value::Int(value),
        }
    }

    #[test]
    fn whatever_differs_gives_another_fingerprint_and_the_order_of_attributes_does_not() {
        let resource = ResourceView {
            attributes: vec![attr("service.instance.id", 1), attr("b", 2)],
        };
        let scope = ScopeView::default();
        let metric = MetricView {
            name: "process.cpu.time".into(),
            unit: "s".into(),
            kind: MetricKind::Sum,
            temporality: Temporality::Cumulative,
            monotonic: true,
        };
        let point = PointView {
            start_time_unix_nano: 1,
            time_unix_nano: 2,
            attributes: vec![attr("x", 1), attr("y", 2)],
            value: PointValue::Double(1.0),
            ..PointView::default()
        };
        let one = fingerprint(&resource, &scope, &metric, &point);
        let turned = PointView {
            attributes: vec![attr("y", 2), attr("x", 1)],
            index: 9,
            raw: &[1],
            ..point.clone()
        };
        assert_eq!(fingerprint(&resource, &scope, &metric, &turned), one);

        let mut seen = std::collections::BTreeSet::from([one]);
        let other_resource = ResourceView {
            attributes: vec![attr("service.instance.id", 2), attr("b", 2)],
        };
        assert!(seen.insert(fingerprint(&other_resource, &scope, &metric, &point)));
        let changes: [fn(&mut MetricView<'_>); 5] = [
            |metric| metric.name = "process.cpu.tim".into(),
            |metric| metric.unit = "ms".into(),
            |metric| metric.kind = MetricKind::Gauge,
            |metric| metric.temporality = Temporality::Delta,
            |metric| metric.monotonic = false,
        ];
        for change in changes {
            let mut metric = metric.clone();
            change(&mut metric);
            assert!(seen.insert(fingerprint(&resource, &scope, &metric, &point)));
        }
        let distribution = |bounds: &[f64], quantile_values: &[f64]| {
            PointValue::Distribution(Distribution {
                bounds: bounds.to_vec(),
                quantile_values: quantile_values.to_vec(),
                ..Distribution::default()
            })
        };
        for value in [
            PointValue::Missing,
            PointValue::Int(1),
            PointValue::Double(2.0),
            distribution(&[1.0, 2.0], &[]),
            distribution(&[1.0], &[2.0]),
        ] {
            let point = PointView {
                value,
                ..point.clone()
            };
            assert!(seen.insert(fingerprint(&resource, &scope, &metric, &point)));
        }
        for time in [(3, 2), (1, 3)] {
            let point = PointView {
                start_time_unix_nano: time.0,
                time_unix_nano: time.1,
                ..point.clone()
            };
            assert!(seen.insert(fingerprint(&resource, &scope, &metric, &point)));
        }
    }
}
