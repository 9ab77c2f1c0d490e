use super::*;
use crate::dataflow::fixtures::record as epoch_record;
use crate::metric::{MetricView, PointValue, PointView};
use crate::span::view::{Attr, ResourceView, Value};

const LATENESS_US: i64 = 60_000_000;
const DAY_US: i64 = 86_400_000_000;
/// A start of a process; minutes count from it.
const START_S: i64 = 1_760_000_040;

fn at(epoch: u64, watermark_s: i64) -> EpochRecord {
    EpochRecord {
        dws_block_ends: true,
        ..epoch_record(epoch, (START_S + watermark_s) * 1_000_000)
    }
}

fn resources() -> Resources {
    Resources::new(LATENESS_US, DAY_US)
}

fn attr(key: &'static str, value: &'static str) -> Attr<'static> {
    Attr {
        key: key.into(),
        value: Value::Str(value.into()),
    }
}

/// A point of a process, at a time and with a start in seconds after [`START_S`].
struct Point {
    metric: &'static str,
    at_s: i64,
    start_s: i64,
    value: PointValue,
    mode: &'static str,
    temporality: Temporality,
}

fn cpu(at_s: i64, seconds: f64) -> Point {
    Point {
        metric: CPU_TIME,
        at_s,
        start_s: 0,
        value: PointValue::Double(seconds),
        mode: "user",
        temporality: Temporality::Cumulative,
    }
}

fn gauge(metric: &'static str, at_s: i64, value: i64) -> Point {
    Point {
        metric,
        value: PointValue::Int(value),
        ..cpu(at_s, 0.0)
    }
}

fn partials(points: &[Point]) -> Vec<ResourcePartial> {
    let resource = ResourceView {
        attributes: vec![
            attr("service.name", "jolly"),
            attr("service.instance.id", "i"),
        ],
    };
    let nanos = |s: i64| (START_S + s) as u64 * 1_000_000_000;
    let mut sums = PreResource::default();
    for point in points {
        let is_cpu = point.metric == CPU_TIME;
        let metric = MetricView {
            name: point.metric.into(),
            unit: if is_cpu { "s" } else { "By" }.into(),
            kind: if is_cpu {
                MetricKind::Sum
            } else {
                MetricKind::Gauge
            },
            temporality: point.temporality,
            monotonic: is_cpu,
        };
        let view = PointView {
            time_unix_nano: nanos(point.at_s),
            start_time_unix_nano: nanos(point.start_s),
            attributes: vec![attr("cpu.mode", point.mode)],
            value: point.value.clone(),
            ..PointView::default()
        };
        sums.add(&CleanPoint::of(&resource, &metric, &view));
    }
    sums.take()
}

/// Minute after the start, CPU time in ms, and whether it is final.
fn told(updates: Vec<ResourceUpdate>) -> Vec<(i64, u64, bool)> {
    let told = |update: &ResourceUpdate| {
        let minute = (update.minute_s - START_S).div_euclid(60);
        (minute, update.cpu_time_us / 1_000, update.is_final)
    };
    updates.iter().map(told).collect()
}

#[test]
fn a_minute_used_what_its_counters_came_beyond_the_minute_before() {
    let mut resources = resources();
    let system = |at_s, seconds| Point {
        mode: "system",
        ..cpu(at_s, seconds)
    };
    let points = [
        cpu(5, 1.0),
        cpu(50, 2.5),
        system(50, 0.25),
        cpu(110, 4.0),
        system(110, 0.75),
    ];
    let updates = resources.apply(&at(1, 60), partials(&points));
    assert_eq!(told(updates), [(0, 2_750, false), (1, 2_000, false)]);
}

#[test]
fn points_in_any_order_and_any_epochs_come_to_the_same() {
    let values = [(5, 1.0), (50, 2.5), (110, 4.0), (130, 4.5), (230, 9.0)];
    let last = |order: &[usize]| {
        let (mut resources, mut last) = (resources(), BTreeMap::new());
        for (epoch, &number) in (1..).zip(order) {
            let (at_s, seconds) = values[number];
            let updates = resources.apply(&at(epoch, 0), partials(&[cpu(at_s, seconds)]));
            last.extend(
                told(updates)
                    .into_iter()
                    .map(|(minute, ms, _)| (minute, ms)),
            );
        }
        last.into_iter().collect::<Vec<_>>()
    };
    let forward = last(&[0, 1, 2, 3, 4]);
    assert_eq!(forward, [(0, 2_500), (1, 1_500), (2, 500), (3, 4_500)]);
    assert_eq!(last(&[4, 3, 2, 1, 0]), forward);
    assert_eq!(last(&[2, 0, 4, 1, 3]), forward);
}

#[test]
fn a_minute_is_final_with_the_lateness_and_later_ones_go_on_from_it() {
    let mut resources = resources();
    resources.apply(&at(1, 0), partials(&[cpu(30, 3.0)]));
    assert_eq!(told(resources.apply(&at(2, 119), vec![])), []);
    assert_eq!(
        told(resources.apply(&at(3, 120), vec![])),
        [(0, 3_000, true)]
    );
    let updates = resources.apply(&at(4, 121), partials(&[cpu(400, 5.0)]));
    assert_eq!(
        told(updates),
        [(6, 2_000, false)],
        "over a gap, in the minute that it was seen"
    );
}

#[test]
fn a_counter_known_from_its_middle_counts_from_its_first_point_on() {
    let mut resources = resources();
    let old = |at_s, seconds| Point {
        start_s: -86_400,
        ..cpu(at_s, seconds)
    };
    let updates = resources.apply(&at(1, 0), partials(&[old(10, 7_200.0), old(70, 7_201.0)]));
    assert_eq!(told(updates), [(0, 0, false), (1, 1_000, false)]);
}

#[test]
fn a_process_that_began_anew_is_counted_from_nothing() {
    let mut resources = resources();
    let again = Point {
        start_s: 65,
        ..cpu(70, 0.5)
    };
    let updates = resources.apply(&at(1, 0), partials(&[cpu(30, 3.0), again]));
    assert_eq!(told(updates), [(0, 3_000, false), (1, 500, false)]);
}

#[test]
fn differences_are_added_up() {
    let mut resources = resources();
    let delta = |at_s, seconds| Point {
        temporality: Temporality::Delta,
        ..cpu(at_s, seconds)
    };
    resources.apply(&at(1, 0), partials(&[delta(10, 0.5)]));
    let updates = resources.apply(&at(2, 0), partials(&[delta(20, 0.25)]));
    assert_eq!(told(updates), [(0, 750, false)]);
}

#[test]
fn memory_and_threads_are_summed_and_their_greatest_kept() {
    let mut resources = resources();
    let points = [
        gauge(MEMORY, 1, 100),
        gauge(MEMORY, 2, 300),
        gauge(THREADS, 1, 7),
        gauge(THREADS, 2, 5),
        gauge("process.open_file_descriptor.count", 2, 9),
        gauge(MEMORY, 3, -5),
    ];
    let updates = resources.apply(&at(1, 0), partials(&points));
    let [update] = &updates[..] else {
        panic!("one minute: {updates:?}")
    };
    assert_eq!(
        (
            update.samples,
            update.memory_sum_bytes,
            update.memory_max_bytes,
            update.threads_max
        ),
        (2, 400, 300, 7),
        "a memory below nothing and a metric of another name do not count"
    );
}

#[test]
fn a_process_that_is_silent_for_long_is_forgotten() {
    let mut resources = resources();
    resources.apply(&at(1, 0), partials(&[cpu(30, 3.0)]));
    resources.apply(&at(2, 86_400), vec![]);
    assert_eq!(resources.len(), 1);
    resources.apply(&at(3, 86_400 + 121), vec![]);
    assert!(resources.is_empty());
}

#[test]
fn a_fork_tells_every_open_minute_again() {
    let mut resources = resources();
    resources.apply(&at(1, 0), partials(&[cpu(30, 3.0)]));
    let again = EpochRecord {
        tells_all: true,
        ..at(2, 0)
    };
    assert_eq!(told(resources.apply(&again, vec![])), [(0, 3_000, false)]);
}
