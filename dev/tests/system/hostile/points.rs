//! Metrics that are not what they should be.

use super::cases::Case;

/// Where metrics go.
const METRICS: &str = "otlp_metrics";

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let now = crate::wire::now_ns();
    let day_ns = 86_400_000_000_000;
    let number = 4.5_f64.to_bits().to_le_bytes();
    let not_a_number = f64::NAN.to_bits().to_le_bytes();
    let with = |time_ns: u64, rest: &[u8]| [fixed(3, time_ns), rest.to_vec()].concat();
    let value = [&[0x21][..], &number].concat();
    let good = with(now, &value);
    let case = |name: &str, payload: Vec<u8>, lands: u64, letters: &[&'static str]| {
        Case::new(name, payload, lands, letters).with(|outgoing| outgoing.topic = METRICS)
    };
    let gauge = |name: &str, points: &[Vec<u8>]| request(&metric(name, 5, points));
    let json = |points: &str| {
        let metric = format!(r#"{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}"#);
        let scopes = format!(r#"[{{"metrics":[{metric}]}}]"#);
        format!(r#"{{"resourceMetrics":[{{"scopeMetrics":{scopes}}}]}}"#).into_bytes()
    };
    let buckets = [fixed(3, now), bytes(7, &number), bytes(6, &[0; 8])].concat();
    vec![
        case(
            "good metric",
            gauge("m", std::slice::from_ref(&good)),
            1,
            &[],
        ),
        case(
            "metrics as JSON, one point that can't be read",
            json(&format!(
                r#"{{"timeUnixNano":"{now}","asInt":"7"}},{{"asInt":"many"}}"#
            )),
            1,
            &["point bad_field"],
        ),
        case(
            "metrics as JSON that ends too soon",
            json("{}")[..40].to_vec(),
            0,
            &["record bad_json"],
        ),
        case(
            "metric without a name",
            gauge("", std::slice::from_ref(&good)),
            0,
            &["point bad_metric_name"],
        ),
        case(
            "points without a value, one good",
            gauge(
                "m",
                &[
                    with(now, &[]),
                    with(now + 1, &[&[0x21][..], &not_a_number].concat()),
                    with(now + 2, &[&value[..], &[0x40, 1]].concat()),
                    with(now + 3, &value),
                ],
            ),
            1,
            &["point no_value", "point no_value", "point no_value"],
        ),
        case(
            "points of no time and of tomorrow",
            gauge("m", &[value.clone(), with(now + 2 * day_ns, &value)]),
            0,
            &["point time_out_of_range", "point time_out_of_range"],
        ),
        case(
            "bounds without a bucket more",
            request(&metric("m", 9, &[buckets])),
            0,
            &["point bad_buckets"],
        ),
    ]
}

/// A length-delimited field of less than 128 bytes, or more.
fn bytes(number: u8, body: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = body.len();
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(body);
    field
}

fn fixed(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

/// A metric with its points as the kind that the field stands for.
fn metric(name: &str, kind: u8, points: &[Vec<u8>]) -> Vec<u8> {
    let points = points.iter().flat_map(|point| bytes(1, point));
    [
        bytes(1, name.as_bytes()),
        bytes(kind, &points.collect::<Vec<u8>>()),
    ]
    .concat()
}

fn request(metric: &[u8]) -> Vec<u8> {
    bytes(1, &bytes(2, &bytes(2, metric)))
}
