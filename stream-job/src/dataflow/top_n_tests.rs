#![allow(clippy::unwrap_used)]

use super::*;
use crate::dataflow::fatal::Fatal;
use crate::dataflow::fixtures::{
    MINUTE_US, SECOND_US, record, record_within_block, run_epochs, span,
};
use crate::span::clean::{CleanSpan, Status, StepType};

const LATENESS_US: i64 = MINUTE_US;

/// A step of the given number and duration that ends at `end_s`.
fn step(id: u64, end_s: i64, duration_us: u64) -> CleanSpan<'static> {
    CleanSpan {
        span_id: id.to_be_bytes(),
        start_us: end_s * SECOND_US,
        end_us: end_s * SECOND_US,
        duration_us,
        ..span()
    }
}

fn failed(error_type: &'static str, id: u64, end_s: i64) -> CleanSpan<'static> {
    CleanSpan {
        status: Status::Error,
        error_type: error_type.into(),
        ..step(id, end_s, 0)
    }
}

/// What one epoch brings, worker by worker, and the watermark it comes with, in s.
struct Brought {
    watermark_s: i64,
    ends_block: bool,
    by_worker: Vec<Vec<CleanSpan<'static>>>,
}

fn brought(watermark_s: i64, by_worker: &[&[CleanSpan<'static>]]) -> Brought {
    Brought {
        watermark_s,
        ends_block: true,
        by_worker: by_worker.iter().map(|spans| spans.to_vec()).collect(),
    }
}

/// The lists' changes, as `epoch list@minute #rank what:measure`, sorted.
fn changes(workers: usize, n: usize, epochs: Vec<Brought>) -> Vec<String> {
    let records = (1..).zip(&epochs).map(|(epoch, brought)| {
        let watermark_us = brought.watermark_s.saturating_mul(SECOND_US);
        if brought.ends_block {
            record(epoch, watermark_us)
        } else {
            record_within_block(epoch, watermark_us)
        }
    });
    let records = records.collect();
    let data = move |worker: usize, epoch: Epoch| {
        let by_worker = &epochs[epoch as usize - 1].by_worker;
        let mut top = PreTop::new(n);
        // What there are fewer workers for, the first ones read.
        let mine = (0..)
            .zip(by_worker)
            .filter(|(at, _)| at % workers == worker);
        mine.flat_map(|(_, spans)| spans)
            .for_each(|span| top.add(span));
        top.take()
    };
    let out = run_epochs(workers, records, data, move |stream, epochs| {
        stream.top_n(
            epochs,
            &Keeper::new(0, 1, None, Fatal::default()),
            n,
            LATENESS_US,
        )
    });
    let mut told: Vec<_> = out.into_iter().flatten().map(brief).collect();
    told.sort();
    told
}

fn brief((epoch, change): (Epoch, TopChange)) -> String {
    let TopChange { key, rank, entry } = change;
    let entry = entry.map_or("nothing".to_owned(), |entry| match entry.item {
        TopItem::Span(span) => format!("{}:{}", span.span_id, entry.measure.0),
        TopItem::Error(kind) => format!("{}:{}", kind.error_type, entry.measure.0),
    });
    let list = format!("{:?}@{}", key.list, key.window_start_s);
    format!("{epoch} {list} #{rank} {entry}")
}

/// On one worker and on three: the lists are the same.
fn check(n: usize, epochs: impl Fn() -> Vec<Brought>, expected: &[&str]) {
    assert_eq!(changes(1, n, epochs()), expected, "1 worker");
    assert_eq!(changes(3, n, epochs()), expected, "3 workers");
}

#[test]
fn the_slowest_steps_of_all_workers_are_ranked_per_minute() {
    let epochs = || {
        vec![brought(
            0,
            &[
                &[step(1, 10, 500), step(2, 70, 20)],
                &[step(3, 20, 700), step(4, 59, 100)],
                &[step(5, 0, 600)],
            ],
        )]
    };
    let expected = [
        "1 Slow@0 #1 3:700",
        "1 Slow@0 #2 5:600",
        "1 Slow@60 #1 2:20",
    ];
    check(2, epochs, &expected);
}

#[test]
fn a_slower_step_pushes_the_others_down_and_the_last_one_out() {
    let epochs = || {
        vec![
            brought(0, &[&[step(1, 0, 500), step(2, 0, 300)], &[], &[]]),
            brought(0, &[&[], &[step(3, 0, 400)], &[]]),
            brought(0, &[&[], &[], &[step(4, 0, 10), step(5, 0, 900)]]),
            brought(0, &[&[step(6, 0, 10)], &[], &[]]),
        ]
    };
    let expected = [
        "1 Slow@0 #1 1:500",
        "1 Slow@0 #2 2:300",
        "2 Slow@0 #2 3:400",
        "3 Slow@0 #1 5:900",
        "3 Slow@0 #2 1:500",
    ];
    check(2, epochs, &expected);
}

#[test]
fn ties_go_to_the_earlier_start_then_to_the_lower_id_whoever_read_them() {
    let epochs = || {
        vec![brought(
            0,
            &[&[step(7, 5, 100)], &[step(9, 4, 100)], &[step(8, 5, 100)]],
        )]
    };
    let expected = ["1 Slow@0 #1 9:100", "1 Slow@0 #2 7:100"];
    check(2, epochs, &expected);
}

#[test]
fn errors_are_counted_by_kind_over_workers_and_epochs() {
    let epochs = || {
        vec![
            brought(
                0,
                &[
                    &[failed("timeout", 1, 0), failed("rate", 2, 0)],
                    &[failed("timeout", 3, 0)],
                    &[failed("auth", 4, 0)],
                ],
            ),
            brought(
                0,
                &[&[failed("auth", 5, 0), failed("auth", 6, 0)], &[], &[]],
            ),
        ]
    };
    let expected = [
        "1 Error@0 #1 timeout:2",
        "1 Error@0 #2 auth:1",
        "2 Error@0 #1 auth:3",
        "2 Error@0 #2 timeout:2",
    ];
    check(2, epochs, &expected);
}

#[test]
fn a_rank_is_told_at_the_end_of_the_block_as_it_stands_then() {
    let within = |spans: &[CleanSpan<'static>]| Brought {
        ends_block: false,
        ..brought(0, &[spans])
    };
    let epochs = || {
        vec![
            within(&[step(1, 0, 100)]),
            within(&[step(2, 0, 200)]),
            brought(0, &[&[step(3, 0, 300)]]),
            brought(0, &[]),
        ]
    };
    let expected = ["3 Slow@0 #1 3:300", "3 Slow@0 #2 2:200"];
    check(2, epochs, &expected);
}

#[test]
fn rows_stand_when_their_window_becomes_final_and_a_late_step_still_changes_them_before() {
    let epochs = || {
        vec![
            brought(0, &[&[step(1, 0, 500), failed("auth", 2, 0)]]),
            // Closed, not final: a late step.
            brought(119, &[&[], &[step(3, 0, 900), failed("auth", 4, 0)]]),
            // Final: what is taken out of the state takes no row back.
            brought(120, &[&[step(5, 120, 50)]]),
            brought(i64::MAX, &[]),
        ]
    };
    let expected = [
        "1 Error@0 #1 auth:1",
        "1 Slow@0 #1 1:500",
        "2 Error@0 #1 auth:2",
        "2 Slow@0 #1 3:900",
        "2 Slow@0 #2 1:500",
        "3 Slow@120 #1 5:50",
    ];
    check(3, epochs, &expected);
}

#[test]
fn a_change_in_the_block_in_which_its_window_becomes_final_is_told() {
    let epochs = || {
        vec![
            Brought {
                ends_block: false,
                ..brought(0, &[&[step(1, 0, 500)]])
            },
            brought(600, &[]),
        ]
    };
    check(3, epochs, &["2 Slow@0 #1 1:500"]);
}

#[test]
fn the_cost_list_ranks_by_cost_and_leaves_out_what_was_free() {
    let cost = |id, cost_nanousd| CleanSpan {
        cost_nanousd,
        ..step(id, 0, 0)
    };
    let epochs = || vec![brought(0, &[&[cost(1, 5), cost(2, 0)], &[cost(3, 9)]])];
    check(3, epochs, &["1 Cost@0 #1 3:9", "1 Cost@0 #2 1:5"]);
}

#[test]
fn turns_and_chains_are_left_out() {
    let of = |id, step_type| CleanSpan {
        step_type,
        ..step(id, 0, 900)
    };
    let epochs = || {
        let spans = [
            of(1, StepType::Session),
            of(2, StepType::Chain),
            of(3, StepType::Act),
        ];
        vec![brought(0, &[&spans])]
    };
    check(3, epochs, &["1 Slow@0 #1 3:900"]);
}

fn kept(top: &mut PreTop) -> Vec<u64> {
    let mut kept: Vec<_> = top
        .take()
        .into_iter()
        .map(|partial| match partial {
            TopPartial::Span(_, entry) => entry.measure.0,
            TopPartial::Error(_, _, count) => count,
        })
        .collect();
    kept.sort_unstable();
    kept
}

#[test]
fn a_worker_keeps_no_more_candidates_than_ranks() {
    let mut top = PreTop::new(3);
    for duration_us in [5, 1, 9, 7, 3, 8, 2] {
        top.add(&step(duration_us, 0, duration_us));
    }
    assert_eq!(kept(&mut top), [7, 8, 9]);
    assert!(kept(&mut top).is_empty(), "taken once");
}

#[test]
fn two_spans_that_look_the_same_here_push_nobody_out() {
    let mut top = PreTop::new(2);
    for (id, duration_us) in [(1, 5), (2, 9), (2, 9)] {
        top.add(&step(id, 0, duration_us));
    }
    assert_eq!(kept(&mut top), [5, 9]);
    let twin = || step(2, 0, 900);
    let epochs = || {
        vec![brought(
            0,
            &[&[twin(), step(1, 0, 500)], &[twin()], &[twin()]],
        )]
    };
    check(2, epochs, &["1 Slow@0 #1 2:900", "1 Slow@0 #2 1:500"]);
}
