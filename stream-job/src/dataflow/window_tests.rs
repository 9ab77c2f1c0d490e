#![allow(clippy::unwrap_used)]

use super::WindowKind::{FiveMinutes, Hour, Minute};
use super::*;
use crate::dataflow::fixtures::{SECOND_US, record, record_within_block};

#[path = "window_key_tests.rs"]
mod keys;
#[path = "window_sum_tests.rs"]
mod sums;

/// How a window fired: early, closed by the watermark, or final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pane {
    Early,
    Closed,
    Final,
}
use Pane::{Closed, Early, Final};

fn key(agent: &str, tool: &str) -> StepKey {
    StepKey {
        agent: agent.to_owned(),
        step_type: "act".to_owned(),
        tool_name: tool.to_owned(),
        model: String::new(),
    }
}

fn partial(key: StepKey, minute_s: i64, count: u64) -> StepPartial {
    let mut buckets = Buckets::new();
    buckets.add_to(3, count);
    let sums = StepSums {
        count,
        duration_sum_us: 7 * count,
        duration_max_us: count,
        buckets,
        ..StepSums::default()
    };
    StepPartial {
        key,
        minute_s,
        sums,
    }
}

fn watermark(seconds: i64) -> i64 {
    if seconds == i64::MAX || seconds == i64::MIN {
        seconds
    } else {
        seconds * SECOND_US
    }
}

/// One epoch that ends a block: the watermark (s), what comes (minute, count), and what fires (start, count, pane).
type Epoch<'a> = (i64, &'a [(i64, u64)], &'a [(i64, u64, Pane)]);

struct Case<'a> {
    name: &'a str,
    lateness_s: i64,
    watched: WindowKind,
    epochs: &'a [Epoch<'a>],
}

fn check(case: &Case<'_>) {
    let mut windows = Windows::new(case.lateness_s * SECOND_US, 10);
    for (at, &(watermark_s, comes, fires)) in case.epochs.iter().enumerate() {
        let partials = comes
            .iter()
            .map(|&(minute, count)| partial(key("a", "t"), minute, count));
        let fired = windows.apply(&record(1, watermark(watermark_s)), partials.collect());
        let found: Vec<_> = fired
            .iter()
            .filter(|window| window.kind == case.watched)
            .map(|window| (window.start_s, window.sums.count, pane(window)))
            .collect();
        assert_eq!(found, fires, "{}, epoch {at}", case.name);
    }
}

fn pane(window: &FiredWindow) -> Pane {
    match (window.closed, window.is_final) {
        (false, false) => Early,
        (true, false) => Closed,
        (true, true) => Final,
        (false, true) => panic!("a window that is not closed cannot be final: {window:?}"),
    }
}

#[test]
fn a_time_belongs_to_the_window_that_starts_at_or_before_it() {
    let cases = [
        (0, MINUTE_S, 0),
        (59_999_999, MINUTE_S, 0),
        (60_000_000, MINUTE_S, 60),
        (-1, MINUTE_S, -60),
        (-60_000_000, MINUTE_S, -60),
        (-60_000_001, MINUTE_S, -120),
        (3_599_999_999, HOUR_S, 0),
        (3_600_000_000, HOUR_S, 3_600),
        (-1, HOUR_S, -3_600),
        // 2024-02-29T23:59:59.999999Z and the first µs of the next day.
        (1_709_251_199_999_999, HOUR_S, 1_709_247_600),
        (1_709_251_200_000_000, HOUR_S, 1_709_251_200),
    ];
    for (event_us, length_s, start_s) in cases {
        assert_eq!(
            window_start_s(event_us, length_s),
            start_s,
            "{event_us} µs in windows of {length_s} s"
        );
    }
}

#[test]
fn tumbling_windows_fire_early_closed_late_and_final() {
    let cases = [
        Case {
            name: "an early firing at each block end that brings something",
            lateness_s: 0,
            watched: Minute,
            epochs: &[
                (0, &[(0, 1)], &[(0, 1, Early)]),
                (10, &[], &[]),
                (20, &[(0, 2)], &[(0, 3, Early)]),
                (60, &[], &[(0, 3, Final)]),
                (61, &[], &[]),
            ],
        },
        Case {
            name: "the watermark closes a window exactly at its end, not 1 s before",
            lateness_s: 60,
            watched: Minute,
            epochs: &[
                (0, &[(0, 1)], &[(0, 1, Early)]),
                (59, &[], &[]),
                (60, &[], &[(0, 1, Closed)]),
                (119, &[], &[]),
                (120, &[], &[(0, 1, Final)]),
                (500, &[], &[]),
            ],
        },
        Case {
            name: "a late span fires its window again with more in it",
            lateness_s: 600,
            watched: Minute,
            epochs: &[
                (0, &[(0, 1)], &[(0, 1, Early)]),
                (60, &[], &[(0, 1, Closed)]),
                (400, &[(0, 4)], &[(0, 5, Closed)]),
                (659, &[(0, 1)], &[(0, 6, Closed)]),
                (660, &[], &[(0, 6, Final)]),
            ],
        },
        Case {
            name: "a late span opens a window that is closed already",
            lateness_s: 600,
            watched: Minute,
            epochs: &[
                (200, &[(0, 1)], &[(0, 1, Closed)]),
                (660, &[], &[(0, 1, Final)]),
            ],
        },
        Case {
            name: "the watermark jumps over both ends: one firing, final",
            lateness_s: 600,
            watched: Minute,
            epochs: &[
                (0, &[(0, 1), (60, 2)], &[(0, 1, Early), (60, 2, Early)]),
                (1_000_000, &[], &[(0, 1, Final), (60, 2, Final)]),
                (i64::MAX, &[], &[]),
            ],
        },
        Case {
            name: "times before 1970",
            lateness_s: 0,
            watched: Minute,
            epochs: &[
                (i64::MIN, &[(-60, 1)], &[(-60, 1, Early)]),
                (-1, &[], &[]),
                (0, &[], &[(-60, 1, Final)]),
            ],
        },
        Case {
            name: "a watermark that falls is taken as one that stands",
            lateness_s: 0,
            watched: Minute,
            epochs: &[
                (50, &[(0, 1)], &[(0, 1, Early)]),
                (10, &[], &[]),
                (60, &[], &[(0, 1, Final)]),
            ],
        },
        Case {
            name: "an hour holds its sixty minutes and no more",
            lateness_s: 0,
            watched: Hour,
            epochs: &[
                (
                    -60,
                    &[(-60, 1), (0, 2), (3_540, 4), (3_600, 8)],
                    &[(-3_600, 1, Early), (0, 6, Early), (3_600, 8, Early)],
                ),
                (0, &[], &[(-3_600, 1, Final)]),
                (3_600, &[], &[(0, 6, Final)]),
                (7_199, &[], &[]),
                (7_200, &[], &[(3_600, 8, Final)]),
            ],
        },
    ];
    cases.iter().for_each(check);
}

#[test]
fn hopping_windows_share_their_panes() {
    let cases = [
        Case {
            name: "a minute is in the five windows that cover it",
            lateness_s: 0,
            watched: FiveMinutes,
            epochs: &[
                (
                    0,
                    &[(240, 1)],
                    &[
                        (0, 1, Early),
                        (60, 1, Early),
                        (120, 1, Early),
                        (180, 1, Early),
                        (240, 1, Early),
                    ],
                ),
                (300, &[], &[(0, 1, Final)]),
                (420, &[], &[(60, 1, Final), (120, 1, Final)]),
                (539, &[], &[(180, 1, Final)]),
                (540, &[], &[(240, 1, Final)]),
            ],
        },
        Case {
            name: "a late span changes all windows over its minute, each by its own stage",
            lateness_s: 3_600,
            watched: FiveMinutes,
            epochs: &[
                (
                    400,
                    &[(240, 1), (300, 2)],
                    &[
                        (0, 1, Closed),
                        (60, 3, Closed),
                        (120, 3, Early),
                        (180, 3, Early),
                        (240, 3, Early),
                        (300, 2, Early),
                    ],
                ),
                (
                    420,
                    &[(300, 5)],
                    &[
                        (60, 8, Closed),
                        (120, 8, Closed),
                        (180, 8, Early),
                        (240, 8, Early),
                        (300, 7, Early),
                    ],
                ),
            ],
        },
        Case {
            name: "panes far apart share no window",
            lateness_s: 0,
            watched: FiveMinutes,
            epochs: &[(
                -1_000,
                &[(0, 1), (300, 2)],
                &[
                    (-240, 1, Early),
                    (-180, 1, Early),
                    (-120, 1, Early),
                    (-60, 1, Early),
                    (0, 1, Early),
                    (60, 2, Early),
                    (120, 2, Early),
                    (180, 2, Early),
                    (240, 2, Early),
                    (300, 2, Early),
                ],
            )],
        },
    ];
    cases.iter().for_each(check);
}

#[test]
fn nothing_fires_before_the_block_ends_and_then_all_that_changed() {
    let mut windows = Windows::new(0, 10);
    let comes = |minute, count| vec![partial(key("a", "t"), minute, count)];
    let within = |epoch, watermark_s| record_within_block(epoch, watermark_s * SECOND_US);
    assert!(windows.apply(&within(1, 0), comes(0, 1)).is_empty());
    assert!(windows.apply(&within(2, 30), comes(0, 2)).is_empty());
    // The watermark makes the window final within the block: the block's end still knows.
    assert!(windows.apply(&within(3, 61), comes(60, 4)).is_empty());
    let fired = windows.apply(&record(4, 62 * SECOND_US), Vec::new());
    let minutes: Vec<_> = fired
        .iter()
        .filter(|window| window.kind == Minute)
        .map(|window| (window.start_s, window.sums.count, pane(window)))
        .collect();
    assert_eq!(minutes, [(0, 3, Final), (60, 4, Early)]);
}

#[test]
fn a_pane_is_kept_until_its_last_window_is_final_and_then_dropped() {
    let mut windows = Windows::new(60 * SECOND_US, 10);
    windows.apply(
        &record(1, 3_300 * SECOND_US),
        vec![partial(key("a", "t"), 3_300, 1)],
    );
    let panes = |windows: &Windows| {
        let held: Vec<_> = windows.keys.values().collect();
        held.first()
            .map_or((0, 0), |held| (held.minutes.len(), held.hours.len()))
    };
    windows.apply(&record(2, 3_659 * SECOND_US), Vec::new());
    assert_eq!(panes(&windows), (1, 1), "the last five minutes end at 3600");
    windows.apply(&record(3, 3_660 * SECOND_US), Vec::new());
    assert_eq!(panes(&windows), (0, 0));
    assert!(windows.is_empty() && windows.keys_of_agent.is_empty());
}

#[test]
fn the_end_of_time_makes_everything_final_and_empties_the_state() {
    let mut windows = Windows::new(3_600 * SECOND_US, 10);
    let comes = (0..50).map(|i| partial(key(["a", "b"][i as usize % 2], "t"), i * 60, 1));
    windows.apply(&record(1, i64::MIN), comes.collect());
    let fired = windows.apply(&record(2, i64::MAX), Vec::new());
    assert!(fired.iter().all(|window| pane(window) == Final));
    let minutes = fired.iter().filter(|window| window.kind == Minute).count();
    assert_eq!(minutes, 50);
    assert!(windows.is_empty() && windows.keys_of_agent.is_empty());
}
