//! Sessions of many traces: those that change no more are sums, and nobody sees it in the rows.

use proptest::prelude::*;

use super::*;
use crate::dataflow::fixtures::{numbered as of, restarted};
use crate::dataflow::trace::{PreTrace, TraceRules, Traces};
use crate::span::clean::{CleanSpan, StepType};

const TRACES: TraceRules = TraceRules {
    orphan_grace_us: MINUTE_US,
    trace_ttl_us: RULES.trace_kept_us,
    max_spans: 50_000,
};

fn keeping(max_traces: usize) -> Sessions {
    Sessions::new(SessionRules {
        max_traces,
        ..RULES
    })
}

/// How many traces of its one session are kept one by one.
fn kept_one_by_one(sessions: &mut Sessions) -> usize {
    let mut all = sessions.sessions.iter_mut();
    let (_, tracked) = all.next().unwrap();
    assert!(all.next().is_none());
    tracked.traces.read().len()
}

#[test]
fn a_session_that_never_ends_keeps_as_many_traces_as_may_change() {
    let mut sessions = keeping(5);
    for minute in 0..600 {
        let at_s = minute * 60;
        let changes = vec![change(
            "s",
            minute as u128 + 1,
            Some(rooted(at_s, at_s + 1, false)),
        )];
        let row = only_row(apply(&mut sessions, minute as Epoch + 1, at_s, changes));
        assert_eq!(
            (row.traces, row.turns, row.totals.spans),
            (
                minute as u64 + 1,
                minute as u64 + 1,
                2 * (minute as u64 + 1)
            )
        );
        assert_eq!((row.first_us, row.last_us), (0, (at_s + 1) * SECOND_US));
        assert_eq!(row.state, SessionState::Done);
    }
    // A trace an hour, and the block in which it is told that it may not change any more.
    assert!(kept_one_by_one(&mut sessions) <= 63);
}

#[test]
fn what_was_settled_says_how_the_session_stands() {
    let mut sessions = keeping(1);
    let open = |at_s| change("s", at_s as u128 + 1, Some(summary(at_s, at_s + 1)));
    let failed = |at_s| change("s", at_s as u128 + 1, Some(rooted(at_s, at_s + 1, true)));
    let done = |at_s| change("s", at_s as u128 + 1, Some(rooted(at_s, at_s + 1, false)));
    apply(&mut sessions, 1, 0, vec![failed(10), done(0)]);
    apply(&mut sessions, 2, 2 * HOUR_S, vec![]);
    let row = only_row(apply(&mut sessions, 3, 2 * HOUR_S, vec![done(5)]));
    assert_eq!(kept_one_by_one(&mut sessions), 1);
    assert_eq!((row.traces, row.state), (3, SessionState::Failed));
    let row = only_row(apply(&mut sessions, 4, 2 * HOUR_S, vec![done(5)]));
    assert_eq!(
        (row.traces, row.state),
        (3, SessionState::Failed),
        "the last root lies among the settled"
    );
    let row = only_row(apply(&mut sessions, 5, 2 * HOUR_S, vec![open(2 * HOUR_S)]));
    assert_eq!((row.traces, row.state), (4, SessionState::Open));
}

#[test]
fn a_trace_that_changes_after_its_time_is_not_counted_twice() {
    let mut sessions = keeping(1);
    let late = |spans| TraceSummary {
        totals: Totals {
            spans,
            ..Totals::default()
        },
        ..rooted(0, 1, false)
    };
    // All of them come when their time is over already; the traces are forgotten at the end of the next block.
    apply(
        &mut sessions,
        1,
        3 * HOUR_S,
        vec![change("s", 1, Some(late(1)))],
    );
    let two = vec![
        change("s", 2, Some(late(10))),
        change("s", 1, Some(late(2))),
    ];
    apply(&mut sessions, 2, 3 * HOUR_S, two);
    let row = only_row(apply(
        &mut sessions,
        3,
        3 * HOUR_S,
        vec![change("s", 2, Some(late(20)))],
    ));
    assert_eq!((row.traces, row.totals.spans), (2, 22));
    let row = only_row(apply(
        &mut sessions,
        4,
        3 * HOUR_S,
        vec![change("s", 3, Some(late(100)))],
    ));
    assert_eq!((row.traces, row.totals.spans), (3, 122));
}

/// A trace that calls a tool with each of these arguments, a second apart.
fn calling(at_s: i64, hashes: &[u64]) -> Option<TraceSummary> {
    let calls = (at_s..).zip(hashes).map(|(at_s, &args_hash)| ToolCall {
        place: (at_s * SECOND_US, at_s as u64),
        end_us: at_s * SECOND_US,
        tool_name: "search".to_owned(),
        args_hash,
    });
    Some(TraceSummary {
        calls: calls.collect(),
        ..rooted(at_s, at_s + 1, false)
    })
}

#[test]
fn a_loop_goes_on_over_traces_that_are_settled() {
    let mut sessions = keeping(1);
    let mut longest = 0;
    for turn in 0..8 {
        let trace = change("s", turn as u128 + 1, calling(turn * HOUR_S, &[7]));
        let out = apply(&mut sessions, turn as Epoch + 1, turn * HOUR_S, vec![trace]);
        longest = out.iter().fold(longest, |longest, one| match one {
            SessionOut::Loop { found, .. } => found.calls.len(),
            _ => longest,
        });
    }
    assert_eq!(longest, 8);
    assert!(kept_one_by_one(&mut sessions) <= 3);
}

#[test]
fn the_longest_run_is_remembered_when_its_calls_are_not() {
    let mut sessions = keeping(1);
    let all_different: Vec<u64> = (0..3_000).collect();
    let traces = [&[7; 5], &all_different[..], &[8], &[9], &[10, 10]];
    for (at, hashes) in traces.into_iter().enumerate() {
        let at_s = 5 * HOUR_S * at as i64;
        let trace = change("s", at as u128 + 1, calling(at_s, hashes));
        let out = apply(&mut sessions, at as Epoch + 1, at_s, vec![trace]);
        let told = out.iter().any(|one| matches!(one, SessionOut::Loop { .. }));
        assert_eq!(told, at == 0, "a shorter one is not told");
        let Some(SessionOut::Row(row)) = out.last() else {
            panic!("no row: {out:?}")
        };
        assert_eq!(
            (row.max_repeat, &row.flags[..]),
            (5, &["loop".to_owned()][..])
        );
    }
    let mut held = sessions.sessions.iter_mut();
    let settled = held.next().unwrap().1.settled.as_ref().unwrap();
    assert!(settled.calls_kept() <= 1_000, "{}", settled.calls_kept());
}

/// A span of one of a few traces and sessions, ending so many minutes before the watermark.
#[derive(Clone, Debug)]
struct Came {
    trace: u8,
    session: u8,
    step: usize,
    ago_min: i64,
    root: bool,
    hash: u64,
}

fn came() -> impl Strategy<Value = Came> {
    (0u8..12, 0u8..3, 0usize..3, 0i64..90, any::<bool>(), 0u64..2).prop_map(
        |(trace, session, step, ago_min, root, hash)| Came {
            trace,
            session,
            step,
            ago_min,
            root,
            hash,
        },
    )
}

/// What comes in an epoch, how many minutes the watermark goes on before, and whether a block ends with it.
fn epochs() -> impl Strategy<Value = Vec<(Vec<Came>, i64, bool)>> {
    let epoch = (
        proptest::collection::vec(came(), 0..6),
        0i64..50,
        any::<bool>(),
    );
    proptest::collection::vec(epoch, 1..40)
}

proptest! {
    #[test]
    fn rows_are_the_same_however_many_traces_are_kept_one_by_one(
        epochs in epochs(),
        restart_at in 0usize..40,
    ) {
        let mut traces = Traces::new(TRACES);
        let mut few = keeping(1);
        let mut all = keeping(usize::MAX);
        let mut gone = std::collections::HashSet::new();
        let mut watermark_s = 100 * 60;
        let mut span_id = 0;
        for (at, (spans, minutes, block_ends)) in epochs.iter().enumerate() {
            watermark_s += minutes * 60;
            let epoch = at as Epoch + 1;
            let mut record = record(epoch, watermark_s * SECOND_US);
            record.dws_block_ends = *block_ends;
            let mut partials = PreTrace::default();
            for came in spans {
                // What comes of a trace that was forgotten is another one, which may be counted again.
                if gone.contains(&u128::from(came.trace)) {
                    continue;
                }
                span_id += 1;
                let end_s = watermark_s - came.ago_min * 60;
                let step_type = [StepType::Think, StepType::Act, StepType::Session][came.step];
                partials.add(&CleanSpan {
                    trace_id: u128::from(came.trace).to_be_bytes(),
                    session_id: format!("s{}", came.session).into(),
                    user_id: "ann".into(),
                    tool_name: "search".into(),
                    args_hash: came.hash,
                    ..of(span_id, u64::from(!came.root), step_type, end_s - 1, end_s)
                });
            }
            let updates = traces.apply(&record, partials.take());
            gone.extend(traces.take_forgotten().map(|trace| trace.trace_id));
            let changes: Vec<_> = updates.iter().flat_map(SessionChange::of).collect();
            let expected = all.apply(&record, changes.clone());
            prop_assert_eq!(few.apply(&record, changes), expected);
            if *block_ends && at == restart_at {
                few = restarted(&mut few, keeping(1), record);
            }
        }
    }
}
