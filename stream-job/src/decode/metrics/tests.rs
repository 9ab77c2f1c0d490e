#![allow(clippy::unwrap_used)]

use super::*;
use crate::decode::encode::{Writer, text_attr};
use crate::decode::schema::metric as of_metric;

const TIME_NS: u64 = 1_760_000_000_000_000_000;

fn options() -> WalkOptions {
    WalkOptions::default()
}

/// Metric, kind and value of every point.
fn walked(payload: &[u8]) -> Result<Vec<(String, MetricKind, PointValue)>, RecordError> {
    let mut seen = Vec::new();
    let points = walk(payload, false, &options(), |_, _, metric, point| {
        assert_eq!(point.index as usize, seen.len());
        seen.push((metric.name.to_string(), metric.kind, point.value.clone()));
    })?;
    assert_eq!(points as usize, seen.len());
    Ok(seen)
}

fn request(metrics: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.message(metrics_request::RESOURCE_METRICS, |w| {
        w.message(resource_metrics::SCOPE_METRICS, |w| {
            w.message(scope_metrics::METRICS, metrics);
        });
    });
    writer.into_bytes()
}

fn number(writer: &mut Writer, fields: impl FnOnce(&mut Writer)) {
    writer.message(metric_data::DATA_POINTS, |w| {
        w.fixed64(data_point::TIME, TIME_NS);
        fields(w);
    });
}

#[test]
fn a_name_and_a_temporality_count_wherever_they_stand() {
    let payload = request(|w| {
        w.message(of_metric::SUM, |w| {
            number(w, |w| w.fixed64(number_point::AS_INT, 7));
            w.varint(metric_data::IS_MONOTONIC, 1);
            w.varint(metric_data::TEMPORALITY, 2);
        });
        w.bytes(of_metric::NAME, b"process.cpu.time");
    });
    let mut seen = Vec::new();
    walk(&payload, false, &options(), |_, _, metric, point| {
        seen.push((metric.clone(), point.clone()));
    })
    .unwrap();
    let (metric, point) = seen.pop().unwrap();
    assert_eq!(metric.name, "process.cpu.time");
    assert_eq!(
        (metric.kind, metric.temporality, metric.monotonic),
        (MetricKind::Sum, Temporality::Cumulative, true)
    );
    assert_eq!(
        (point.time_unix_nano, &point.value),
        (TIME_NS, &PointValue::Int(7))
    );
}

#[test]
fn a_resource_behind_its_metrics_is_theirs() {
    let mut writer = Writer::new();
    writer.message(metrics_request::RESOURCE_METRICS, |w| {
        w.message(resource_metrics::SCOPE_METRICS, |w| {
            w.message(scope_metrics::METRICS, |w| {
                w.message(of_metric::GAUGE, |w| number(w, |_| {}));
            });
            w.message(scope_metrics::SCOPE, |w| w.bytes(scope::NAME, b"probe"));
        });
        w.message(resource_metrics::RESOURCE, |w| {
            let attr = text_attr("service.name", "jolly");
            w.attribute(resource::ATTRIBUTES, &attr.key, &attr.value);
        });
    });
    let mut seen = 0;
    walk(
        writer.as_bytes(),
        false,
        &options(),
        |resource, scope, _, _| {
            assert_eq!(resource.attributes, [text_attr("service.name", "jolly")]);
            assert_eq!(scope.name, "probe");
            seen += 1;
        },
    )
    .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_point_without_a_number_or_marked_as_having_none_has_no_value() {
    let payload = request(|w| {
        w.message(of_metric::GAUGE, |w| {
            number(w, |_| {});
            number(w, |w| {
                w.fixed64(number_point::AS_DOUBLE, 1.5_f64.to_bits());
                w.varint(number_point::FLAGS, 1);
            });
            number(w, |w| w.fixed64(number_point::AS_DOUBLE, 1.5_f64.to_bits()));
        });
    });
    let values: Vec<_> = walked(&payload)
        .unwrap()
        .into_iter()
        .map(|(.., value)| value)
        .collect();
    assert_eq!(
        values,
        [
            PointValue::Missing,
            PointValue::Missing,
            PointValue::Double(1.5)
        ]
    );
}

#[test]
fn a_metric_without_data_has_no_points() {
    assert_eq!(
        walked(&request(|w| w.bytes(of_metric::NAME, b"m"))),
        Ok(vec![])
    );
    assert_eq!(walked(&[]), Ok(vec![]));
}

#[test]
fn numbers_that_are_not_packed_are_read_too_and_too_many_are_told_from_enough() {
    let payload = request(|w| {
        w.message(of_metric::HISTOGRAM, |w| {
            number(w, |w| {
                for count in [1, 2, 3] {
                    w.fixed64(histogram_point::BUCKET_COUNT, count);
                }
                w.fixed64(histogram_point::BOUND, 0.5_f64.to_bits());
                w.fixed64(histogram_point::BOUND, 2.0_f64.to_bits());
            });
            number(w, |w| {
                w.bytes(
                    histogram_point::BUCKET_COUNTS,
                    &[0; 8 * (MAX_BUCKETS + 500)],
                );
            });
        });
    });
    let mut seen = walked(&payload).unwrap().into_iter();
    let Some((_, _, PointValue::Distribution(of))) = seen.next() else {
        panic!("a distribution")
    };
    assert_eq!(
        (of.bucket_counts, of.bounds),
        (vec![1, 2, 3], vec![0.5, 2.0])
    );
    let Some((_, _, PointValue::Distribution(of))) = seen.next() else {
        panic!("a distribution")
    };
    assert_eq!(of.bucket_counts.len(), MAX_BUCKETS + 1);
}

#[test]
fn numbers_below_zero_are_read_as_they_are_written() {
    assert_eq!(
        [0, 1, 2, 3, u64::from(u32::MAX)].map(zigzag),
        [0, -1, 1, -2, i32::MIN]
    );
}

#[test]
fn a_request_cut_anywhere_is_an_error_or_nothing_but_shorter() {
    let payload = include_bytes!("../../../tests/fixtures/otlp/metrics.bin");
    let all = walked(payload).unwrap();
    for end in 1..payload.len() {
        if let Ok(seen) = walked(&payload[..end]) {
            assert!(all.starts_with(&seen), "cut to {end} bytes");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_too_bad(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = walked(&bytes);
    }

    #[test]
    fn no_change_of_a_byte_is_too_bad(at in 0..800_usize, to in proptest::prelude::any::<u8>()) {
        let mut payload = include_bytes!("../../../tests/fixtures/otlp/metrics.bin").to_vec();
        let length = payload.len();
        payload[at % length] = to;
        let _ = walked(&payload);
    }
}
