#![allow(clippy::unwrap_used)]

use super::parts::{Parts, last_us, pack, unpack};
use super::*;
use crate::dataflow::fixtures::{MINUTE_US, SECOND_US, record, record_within_block};
use crate::dataflow::trace_summary::Root;

#[path = "session_loop_tests.rs"]
mod loops;
#[path = "session_settled_tests.rs"]
mod settled;

const RULES: SessionRules = SessionRules {
    idle_us: 30 * MINUTE_US,
    ttl_us: 24 * 60 * MINUTE_US,
    loop_min_repeats: 3,
    trace_kept_us: 60 * MINUTE_US,
    max_traces: 1000,
};
const HOUR_S: i64 = 3_600;

fn key(session_id: &str) -> SessionKey {
    SessionKey {
        namespace: "shop".to_owned(),
        session_id: session_id.to_owned(),
    }
}

fn root(start_s: i64, failed: bool) -> Option<Root> {
    Some(Root {
        place: (start_s * SECOND_US, 1),
        name: "turn".to_owned(),
        agent: "agent".to_owned(),
        failed,
    })
}

/// One think step from `start_s` to `end_s`, without a root.
fn summary(start_s: i64, end_s: i64) -> TraceSummary {
    TraceSummary {
        totals: Totals {
            spans: 2,
            steps: 1,
            llm_calls: 1,
            input_tokens: 10,
            ..Totals::default()
        },
        turns: 1,
        first_us: start_s * SECOND_US,
        last_us: end_s * SECOND_US,
        session_source: SessionSource::Session,
        user_id: None,
        agent: "agent".to_owned(),
        root: None,
        agents: vec!["agent".to_owned()],
        calls: Vec::new(),
        orphans: 0,
        truncated: false,
    }
}

fn rooted(start_s: i64, end_s: i64, failed: bool) -> TraceSummary {
    TraceSummary {
        root: root(start_s, failed),
        ..summary(start_s, end_s)
    }
}

fn change(session: &str, trace_id: TraceId, summary: Option<TraceSummary>) -> SessionChange {
    SessionChange {
        session: key(session),
        trace_id,
        trace_segment: 1,
        summary: summary.map(std::sync::Arc::new),
    }
}

fn apply(
    sessions: &mut Sessions,
    epoch: Epoch,
    watermark_s: i64,
    changes: Vec<SessionChange>,
) -> Vec<SessionOut> {
    sessions.apply(&record(epoch, watermark_s * SECOND_US), changes)
}

/// What was put out, in short: `session:traces:spans:state`, `-session@segment`, `loop`.
fn brief(out: &[SessionOut]) -> Vec<String> {
    out.iter()
        .map(|one| match one {
            SessionOut::Row(row) => format!(
                "{}:{}:{}:{}",
                row.session.session_id,
                row.traces,
                row.totals.spans,
                row.state.as_str()
            ),
            SessionOut::Gone {
                session, segment, ..
            } => format!("-{}@{segment}", session.session_id),
            SessionOut::Loop { .. } => "loop".to_owned(),
        })
        .collect()
}

fn only_row(out: Vec<SessionOut>) -> SessionSummary {
    match <[SessionOut; 1]>::try_from(out) {
        Ok([SessionOut::Row(row)]) => row,
        other => panic!("expected one row, got {other:?}"),
    }
}

#[test]
fn a_session_is_the_sum_of_its_traces() {
    let mut sessions = Sessions::new(RULES);
    let named = |place: i64, user: &str, agent: &str, from: TraceSummary| TraceSummary {
        user_id: Some(((place, 1), user.to_owned())),
        agent: agent.to_owned(),
        agents: vec![agent.to_owned(), "tools".to_owned()],
        ..from
    };
    let changes = vec![
        change("s", 2, Some(named(9, "bo", "b", rooted(20, 30, false)))),
        change("s", 1, Some(named(4, "al", "a", summary(10, 15)))),
    ];
    let row = only_row(apply(&mut sessions, 7, 0, changes));
    assert_eq!(row.segment, 7);
    assert_eq!((row.traces, row.turns), (2, 2));
    assert_eq!((row.totals.spans, row.totals.input_tokens), (4, 20));
    assert_eq!(
        (row.first_us, row.last_us),
        (10 * SECOND_US, 30 * SECOND_US)
    );
    assert_eq!(row.user_id, "al", "the earliest span's");
    assert_eq!(row.agent, "agent", "the first root's");
    assert_eq!(row.agents, ["a", "b", "tools"]);
    assert!(row.flags.is_empty());
}

#[test]
fn a_trace_that_is_told_again_replaces_itself() {
    let mut sessions = Sessions::new(RULES);
    apply(
        &mut sessions,
        1,
        0,
        vec![change("s", 1, Some(summary(0, 5)))],
    );
    let mut grown = summary(0, 9);
    grown.totals.spans = 5;
    let out = apply(&mut sessions, 2, 0, vec![change("s", 1, Some(grown))]);
    assert_eq!(brief(&out), ["s:1:5:open"]);
    assert_eq!(only_row(out).segment, 1);
}

#[test]
fn a_trace_that_moves_takes_its_numbers_along_and_its_old_session_goes() {
    let mut sessions = Sessions::new(RULES);
    let changes = vec![
        change("trace:1", 1, Some(summary(0, 5))),
        change("s", 2, Some(summary(0, 5))),
    ];
    let out = apply(&mut sessions, 1, 0, changes);
    assert_eq!(brief(&out), ["s:1:2:open", "trace:1:1:2:open"]);
    let moved = vec![
        change("trace:1", 1, None),
        change("s", 1, Some(summary(0, 6))),
    ];
    for changes in [moved.clone(), moved.into_iter().rev().collect()] {
        let mut sessions = Sessions::new(RULES);
        let before = vec![
            change("trace:1", 1, Some(summary(0, 5))),
            change("s", 2, Some(summary(0, 5))),
        ];
        apply(&mut sessions, 1, 0, before);
        let out = apply(&mut sessions, 2, 0, changes);
        assert_eq!(brief(&out), ["s:2:4:open", "-trace:1@1"]);
        assert_eq!(sessions.len(), 1);
    }
}

#[test]
fn a_session_that_keeps_a_trace_stays_when_another_one_leaves() {
    let mut sessions = Sessions::new(RULES);
    let both = vec![
        change("a", 1, Some(summary(0, 5))),
        change("a", 2, Some(summary(0, 9))),
    ];
    apply(&mut sessions, 1, 0, both);
    let moved = vec![change("a", 2, None), change("b", 2, Some(summary(0, 9)))];
    let out = apply(&mut sessions, 2, 0, moved);
    assert_eq!(brief(&out), ["a:1:2:open", "b:1:2:open"]);
    // Its last span left with the trace, so it is idle sooner.
    let idle_at_s = 30 * 60 + 5;
    assert!(apply(&mut sessions, 3, idle_at_s - 1, vec![]).is_empty());
    assert_eq!(
        brief(&apply(&mut sessions, 4, idle_at_s, vec![])),
        ["a:1:2:idle"]
    );
}

#[test]
fn a_session_that_was_never_shown_is_not_taken_back() {
    let mut sessions = Sessions::new(RULES);
    let within = record_within_block(1, 0);
    let comes = vec![change("trace:1", 1, Some(summary(0, 5)))];
    assert!(sessions.apply(&within, comes).is_empty());
    let moved = vec![
        change("trace:1", 1, None),
        change("s", 1, Some(summary(0, 5))),
    ];
    assert_eq!(brief(&apply(&mut sessions, 2, 0, moved)), ["s:1:2:open"]);
    assert!(apply(&mut sessions, 3, 0, vec![change("never", 1, None)]).is_empty());
}

#[test]
fn a_session_that_comes_back_is_a_new_segment() {
    let mut sessions = Sessions::new(RULES);
    apply(
        &mut sessions,
        1,
        0,
        vec![change("s", 1, Some(summary(0, 5)))],
    );
    let out = apply(&mut sessions, 2, 0, vec![change("s", 1, None)]);
    assert_eq!(brief(&out), ["-s@1"]);
    let out = apply(
        &mut sessions,
        3,
        0,
        vec![change("s", 2, Some(summary(0, 5)))],
    );
    assert_eq!(only_row(out).segment, 3);
}

#[test]
fn a_session_is_done_or_failed_by_its_last_root_once_all_traces_have_theirs() {
    use SessionState::{Done, Failed, Open};
    let cases: [(&[Option<TraceSummary>], SessionState); 5] = [
        (&[Some(rooted(0, 5, false))], Done),
        (&[Some(rooted(0, 5, true))], Failed),
        (
            &[Some(rooted(0, 5, true)), Some(rooted(9, 10, false))],
            Done,
        ),
        (
            &[Some(rooted(9, 10, true)), Some(rooted(0, 5, false))],
            Failed,
        ),
        (&[Some(rooted(0, 5, false)), Some(summary(9, 10))], Open),
    ];
    for (traces, expected) in cases {
        let mut sessions = Sessions::new(RULES);
        let changes = (1..)
            .zip(traces)
            .map(|(trace_id, summary)| change("s", trace_id, summary.clone()));
        let row = only_row(apply(&mut sessions, 1, 0, changes.collect()));
        assert_eq!(row.state, expected, "{traces:?}");
    }
}

#[test]
fn a_later_segment_of_a_trace_that_showed_its_root_does_not_open_its_session_again() {
    let mut sessions = Sessions::new(RULES);
    let later = SessionChange {
        trace_segment: 9,
        ..change("s", 1, Some(summary(50, 60)))
    };
    let changes = vec![change("s", 1, Some(rooted(0, 5, false))), later];
    let row = only_row(apply(&mut sessions, 9, 0, changes));
    assert_eq!((row.state, row.traces), (SessionState::Done, 1));
}

#[test]
fn an_open_session_is_idle_after_silence_and_open_again_when_it_speaks() {
    let mut sessions = Sessions::new(RULES);
    apply(
        &mut sessions,
        1,
        0,
        vec![change("s", 1, Some(summary(0, 5)))],
    );
    assert!(apply(&mut sessions, 2, 1_804, vec![]).is_empty());
    assert_eq!(
        brief(&apply(&mut sessions, 3, 1_805, vec![])),
        ["s:1:2:idle"]
    );
    assert!(apply(&mut sessions, 4, 2_000, vec![]).is_empty());
    let again = vec![change("s", 1, Some(summary(0, 2_000)))];
    assert_eq!(
        brief(&apply(&mut sessions, 5, 2_001, again)),
        ["s:1:2:open"]
    );
    assert!(apply(&mut sessions, 6, 3_799, vec![]).is_empty());
    assert_eq!(
        brief(&apply(&mut sessions, 7, 3_800, vec![])),
        ["s:1:2:idle"]
    );
}

#[test]
fn a_session_that_is_done_puts_nothing_out_as_time_passes() {
    let mut sessions = Sessions::new(RULES);
    apply(
        &mut sessions,
        1,
        0,
        vec![change("s", 1, Some(rooted(0, 5, false)))],
    );
    assert!(apply(&mut sessions, 2, 2_000, vec![]).is_empty());
    assert!(apply(&mut sessions, 3, 24 * HOUR_S + 4, vec![]).is_empty());
    assert_eq!(sessions.len(), 1);
    assert!(apply(&mut sessions, 4, 24 * HOUR_S + 5, vec![]).is_empty());
    assert!(sessions.is_empty());
}

#[test]
fn a_session_is_forgotten_after_its_time_and_a_later_trace_opens_a_segment() {
    let mut sessions = Sessions::new(RULES);
    apply(
        &mut sessions,
        1,
        0,
        vec![change("s", 1, Some(summary(0, 5)))],
    );
    // Its time is over within a block: it goes at the block's end, with its last state.
    let over = (24 * HOUR_S + 5) * SECOND_US;
    assert!(
        sessions
            .apply(&record_within_block(2, over), vec![])
            .is_empty()
    );
    assert_eq!(sessions.len(), 1);
    let out = sessions.apply(&record(3, over), vec![]);
    assert_eq!(brief(&out), ["s:1:2:idle"]);
    assert!(sessions.is_empty());
    let comes = vec![change("s", 2, Some(summary(90_000, 90_001)))];
    let row = only_row(apply(&mut sessions, 4, 90_002, comes));
    assert_eq!((row.segment, row.traces), (4, 1));
}

#[test]
fn a_trace_in_the_last_moment_keeps_its_session() {
    let mut sessions = Sessions::new(RULES);
    apply(
        &mut sessions,
        1,
        0,
        vec![change("s", 1, Some(summary(0, 5)))],
    );
    let comes = vec![change("s", 2, Some(summary(24 * HOUR_S, 24 * HOUR_S)))];
    let row = only_row(apply(&mut sessions, 2, 24 * HOUR_S + 5, comes));
    assert_eq!((row.segment, row.traces), (1, 2));
    assert_eq!(sessions.len(), 1);
}

#[test]
fn the_end_of_time_makes_open_sessions_idle_and_empties_the_state() {
    let mut sessions = Sessions::new(RULES);
    let changes = vec![
        change("done", 1, Some(rooted(0, 5, false))),
        change("open", 2, Some(summary(0, 5))),
    ];
    apply(&mut sessions, 1, 0, changes);
    let out = sessions.apply(&record(2, i64::MAX), vec![]);
    assert_eq!(brief(&out), ["open:1:2:idle"]);
    assert!(sessions.is_empty());
}

#[test]
fn a_traces_update_leaves_one_session_and_joins_the_other() {
    let update = TraceUpdate {
        trace_id: 5,
        segment: 3,
        session: key("s"),
        user_before: None,
        moved_from: Some(key("trace:5")),
        summary: std::sync::Arc::new(summary(0, 5)),
    };
    let changes: Vec<_> = SessionChange::of(&update).collect();
    let found: Vec<_> = changes
        .iter()
        .map(|change| (&change.session, change.summary.is_some()))
        .collect();
    assert_eq!(found, [(&key("trace:5"), false), (&key("s"), true)]);
    assert!(changes.iter().all(|change| change.trace_segment == 3));
    let stays = TraceUpdate {
        user_before: None,
        moved_from: None,
        ..update
    };
    assert_eq!(SessionChange::of(&stays).count(), 1);
}

#[test]
fn what_traces_say_comes_back_from_its_small_form() {
    let parts = Parts::from([
        ((TraceId::MAX, 9), Arc::new(rooted(-1, 7, true))),
        (
            (7, 3),
            Arc::new(TraceSummary {
                user_id: Some(((5, 6), "user".to_owned())),
                session_source: SessionSource::Conversation,
                orphans: 3,
                calls: vec![ToolCall {
                    place: (-5, 6),
                    end_us: i64::MIN,
                    tool_name: "search".to_owned(),
                    args_hash: u64::MAX,
                }],
                ..summary(i64::MIN / 2_000_000, 7)
            }),
        ),
    ]);
    assert_eq!(unpack(&pack(&parts)), parts);
    assert_eq!(Held::Packed(pack(&parts)).last_us(), last_us(&parts));
    assert_eq!(unpack(&pack(&Parts::new())), Parts::new());
}
