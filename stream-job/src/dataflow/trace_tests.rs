#![allow(clippy::unwrap_used)]

use super::*;
use crate::dataflow::fixtures::{
    MINUTE_US, SECOND_US, numbered as of, record, record_within_block,
};
use crate::dataflow::trace_summary::SessionSource;
use crate::span::clean::{Status, StepType};

const TIMES: TraceRules = TraceRules {
    orphan_grace_us: MINUTE_US,
    trace_ttl_us: 60 * MINUTE_US,
    max_spans: 50_000,
};

fn partials(spans: &[CleanSpan<'_>]) -> Vec<TracePartial> {
    let mut sums = PreTrace::default();
    spans.iter().for_each(|span| sums.add(span));
    sums.take()
}

fn apply(
    traces: &mut Traces,
    epoch: Epoch,
    watermark_s: i64,
    spans: &[CleanSpan<'_>],
) -> Vec<TraceUpdate> {
    traces.apply(&record(epoch, watermark_s * SECOND_US), partials(spans))
}

/// The orphans of the one trace that is told of; `None` where nothing is told.
fn orphans(updates: &[TraceUpdate]) -> Option<u64> {
    assert!(updates.len() <= 1, "{updates:?}");
    updates.first().map(|update| update.summary.orphans)
}

fn session_of(updates: &[TraceUpdate]) -> (&str, SessionSource, Option<&str>) {
    let [update] = updates else {
        panic!("expected one update, got {updates:?}")
    };
    (
        &update.session.session_id,
        update.summary.session_source,
        update
            .moved_from
            .as_ref()
            .map(|key| key.session_id.as_str()),
    )
}

#[test]
fn a_trace_of_too_many_spans_takes_its_transitions_and_orphans_back() {
    let mut traces = Traces::new(TraceRules {
        max_spans: 3,
        ..TIMES
    });
    let counts = |traces: &mut Traces| -> i64 {
        let changed = traces.take_edges().map(|edge| edge.sums.count);
        changed.sum()
    };
    // Their parent never comes.
    let steps = [1, 2, 3, 4].map(|id| of(id + 1, 1, StepType::Think, id as i64, id as i64 + 1));
    apply(&mut traces, 1, 0, &steps[..2]);
    let waited = apply(&mut traces, 2, 50, &steps[2..3]);
    assert_eq!(orphans(&waited), Some(0));
    let settled = apply(&mut traces, 3, 200, &[]);
    assert_eq!(
        (orphans(&settled), settled[0].summary.truncated),
        (Some(3), false)
    );
    assert_eq!(counts(&mut traces), 4, "start, between the steps, end");
    let more = apply(&mut traces, 4, 200, &steps[3..]);
    assert_eq!((orphans(&more), more[0].summary.truncated), (Some(0), true));
    assert_eq!(counts(&mut traces), -4);
    let again = apply(&mut traces, 5, 300, &[of(9, 1, StepType::Think, 7, 8)]);
    assert_eq!(
        (orphans(&again), again[0].summary.totals.spans),
        (Some(0), 5)
    );
    assert_eq!(counts(&mut traces), 0);
}

#[test]
fn children_may_come_before_their_parents_and_the_root_last() {
    let mut traces = Traces::new(TIMES);
    let child = of(3, 2, StepType::Act, 2, 3);
    let parent = of(2, 1, StepType::Think, 1, 4);
    let root = CleanSpan {
        name: "turn".into(),
        status: Status::Error,
        ..of(1, 0, StepType::Session, 0, 5)
    };
    let first = apply(&mut traces, 1, 0, &[child]);
    assert_eq!(
        (first[0].summary.root.clone(), orphans(&first)),
        (None, Some(0))
    );
    let second = apply(&mut traces, 2, 0, &[parent]);
    assert_eq!(second[0].summary.totals.steps, 2);
    let third = apply(&mut traces, 3, 0, &[root]);
    let summary = &third[0].summary;
    let found = summary.root.as_ref().unwrap();
    assert_eq!((found.name.as_str(), found.failed), ("turn", true));
    assert_eq!((summary.first_us, summary.last_us), (0, 5 * SECOND_US));
    assert_eq!((summary.turns, summary.totals.spans), (1, 3));
    assert_eq!(
        third[0].segment, 1,
        "the segment is the epoch it was opened at"
    );
    // Long after: no orphan turns up, so nothing is told.
    assert!(apply(&mut traces, 4, 600, &[]).is_empty());
}

#[test]
fn the_parts_of_one_epoch_are_told_once_and_only_where_the_block_ends() {
    let mut traces = Traces::new(TIMES);
    let both = [
        partials(&[of(1, 0, StepType::Session, 0, 1)]),
        partials(&[of(2, 1, StepType::Think, 0, 1)]),
    ];
    assert!(
        traces
            .apply(&record_within_block(1, 0), both.concat())
            .is_empty()
    );
    let updates = apply(&mut traces, 2, 0, &[]);
    assert_eq!(updates.len(), 1);
    assert_eq!(
        (updates[0].segment, updates[0].summary.totals.spans),
        (1, 2)
    );
    assert!(apply(&mut traces, 3, 0, &[]).is_empty(), "nothing changed");
}

#[test]
fn a_trace_moves_when_a_better_name_of_its_session_comes() {
    let mut traces = Traces::new(TIMES);
    let updates = apply(&mut traces, 1, 0, &[of(9, 0, StepType::Think, 5, 6)]);
    let unnamed = "trace:01010101010101010101010101010101";
    assert_eq!(session_of(&updates), (unnamed, SessionSource::Trace, None));

    let conversation = CleanSpan {
        conversation_id: "c".into(),
        ..of(8, 9, StepType::Think, 5, 6)
    };
    let updates = apply(&mut traces, 2, 0, &[conversation]);
    let expected = ("c", SessionSource::Conversation, Some(unnamed));
    assert_eq!(session_of(&updates), expected);

    let session = |id: u64, name: &'static str, start_s| CleanSpan {
        session_id: name.into(),
        ..of(id, 9, StepType::Think, start_s, 6)
    };
    let updates = apply(&mut traces, 3, 0, &[session(7, "later", 4)]);
    let expected = ("later", SessionSource::Session, Some("c"));
    assert_eq!(session_of(&updates), expected);

    let updates = apply(&mut traces, 4, 0, &[session(6, "earliest", 1)]);
    let expected = ("earliest", SessionSource::Session, Some("later"));
    assert_eq!(session_of(&updates), expected);

    let updates = apply(&mut traces, 5, 0, &[session(5, "too late", 2)]);
    assert_eq!(
        session_of(&updates),
        ("earliest", SessionSource::Session, None)
    );
}

#[test]
fn a_session_that_was_never_told_is_not_moved_from() {
    let mut traces = Traces::new(TIMES);
    let unnamed = partials(&[of(1, 0, StepType::Think, 0, 1)]);
    traces.apply(&record_within_block(1, 0), unnamed);
    let named = CleanSpan {
        session_id: "s".into(),
        ..of(2, 1, StepType::Think, 0, 1)
    };
    let updates = apply(&mut traces, 2, 0, &[named]);
    assert_eq!(session_of(&updates), ("s", SessionSource::Session, None));
}

#[test]
fn the_namespace_of_the_root_is_the_sessions() {
    let mut traces = Traces::new(TIMES);
    let within = |namespace: &'static str, span| CleanSpan {
        namespace: namespace.into(),
        session_id: "s".into(),
        ..span
    };
    let tool = within("tools", of(2, 1, StepType::Act, 0, 1));
    let root = within("shop", of(1, 0, StepType::Session, 1, 3));
    let updates = apply(&mut traces, 1, 0, &[tool]);
    assert_eq!(updates[0].session.namespace, "tools");
    let updates = apply(&mut traces, 2, 0, &[root]);
    assert_eq!(updates[0].session.namespace, "shop");
    assert_eq!(
        updates[0].moved_from.as_ref().unwrap().namespace,
        "tools",
        "the same id in another namespace is another session"
    );
}

#[test]
fn orphans_are_told_only_after_the_grace_time() {
    let mut traces = Traces::new(TIMES);
    let children = [
        of(2, 1, StepType::Think, 0, 5),
        of(3, 1, StepType::Act, 0, 10),
        of(4, 3, StepType::Act, 0, 10),
    ];
    assert_eq!(orphans(&apply(&mut traces, 1, 0, &children)), Some(0));
    assert_eq!(orphans(&apply(&mut traces, 2, 69, &[])), None);
    assert_eq!(orphans(&apply(&mut traces, 3, 70, &[])), Some(2));
    assert_eq!(orphans(&apply(&mut traces, 4, 200, &[])), None);
}

#[test]
fn a_parent_that_comes_takes_its_children_out_of_the_orphans() {
    let mut traces = Traces::new(TIMES);
    apply(&mut traces, 1, 0, &[of(2, 1, StepType::Think, 0, 10)]);
    assert_eq!(orphans(&apply(&mut traces, 2, 70, &[])), Some(1));
    let root = of(1, 0, StepType::Session, 0, 11);
    assert_eq!(orphans(&apply(&mut traces, 3, 80, &[root])), Some(0));
}

#[test]
fn a_new_child_has_a_grace_time_of_its_own() {
    let mut traces = Traces::new(TIMES);
    apply(&mut traces, 1, 0, &[of(2, 1, StepType::Think, 0, 10)]);
    assert_eq!(orphans(&apply(&mut traces, 2, 70, &[])), Some(1));
    // Its parent, 5, may still come; that of span 2 is an hour late already.
    let child = of(6, 5, StepType::Act, 70, 100);
    assert_eq!(orphans(&apply(&mut traces, 3, 101, &[child])), Some(1));
    assert_eq!(orphans(&apply(&mut traces, 4, 159, &[])), None);
    assert_eq!(orphans(&apply(&mut traces, 5, 160, &[])), Some(2));
}

#[test]
fn a_trace_that_goes_on_after_a_pause_is_looked_at_again() {
    let mut traces = Traces::new(TIMES);
    apply(&mut traces, 1, 0, &[of(1, 0, StepType::Session, 0, 10)]);
    assert_eq!(orphans(&apply(&mut traces, 2, 70, &[])), None);
    let child = of(3, 2, StepType::Act, 90, 100);
    assert_eq!(orphans(&apply(&mut traces, 3, 101, &[child])), Some(0));
    assert_eq!(orphans(&apply(&mut traces, 4, 160, &[])), Some(1));
}

#[test]
fn a_timer_within_a_block_is_told_at_its_end() {
    let mut traces = Traces::new(TIMES);
    apply(&mut traces, 1, 0, &[of(2, 1, StepType::Think, 0, 10)]);
    let within = record_within_block(2, 70 * SECOND_US);
    assert!(traces.apply(&within, Vec::new()).is_empty());
    assert_eq!(orphans(&apply(&mut traces, 3, 70, &[])), Some(1));
}

#[test]
fn a_trace_is_forgotten_after_its_time_and_a_later_span_opens_a_segment() {
    let mut traces = Traces::new(TIMES);
    apply(&mut traces, 7, 0, &[of(1, 0, StepType::Session, 0, 10)]);
    assert!(apply(&mut traces, 8, 3_609, &[]).is_empty());
    assert_eq!(traces.len(), 1);
    // Its time is over within a block: it goes at the block's end.
    let over = record_within_block(9, 3_610 * SECOND_US);
    assert!(traces.apply(&over, Vec::new()).is_empty());
    assert_eq!(traces.len(), 1);
    assert!(
        apply(&mut traces, 10, 3_610, &[]).is_empty(),
        "its row stands"
    );
    assert!(traces.is_empty());
    let updates = apply(&mut traces, 11, 3_620, &[of(2, 1, StepType::Think, 11, 12)]);
    assert_eq!(
        (updates[0].segment, updates[0].summary.totals.spans),
        (11, 1)
    );
    assert!(updates[0].moved_from.is_none());
}

#[test]
fn a_span_in_the_last_moment_keeps_its_trace() {
    let mut traces = Traces::new(TIMES);
    apply(&mut traces, 1, 0, &[of(1, 0, StepType::Session, 0, 10)]);
    let updates = apply(
        &mut traces,
        2,
        3_610,
        &[of(2, 1, StepType::Think, 0, 3_600)],
    );
    assert_eq!(
        (updates[0].segment, updates[0].summary.totals.spans),
        (1, 2)
    );
    assert_eq!(traces.len(), 1);
    apply(&mut traces, 3, 7_199, &[]);
    assert_eq!(traces.len(), 1);
    apply(&mut traces, 4, 7_200, &[]);
    assert!(traces.is_empty());
}

#[test]
fn a_late_span_of_a_forgotten_trace_is_told_before_it_is_forgotten_again() {
    let mut traces = Traces::new(TIMES);
    let updates = apply(&mut traces, 1, 10_000, &[of(2, 1, StepType::Think, 0, 10)]);
    assert_eq!(orphans(&updates), Some(0));
    // Its grace time is long over: the look at it comes with the next epoch, and is its last.
    assert_eq!(orphans(&apply(&mut traces, 2, 10_000, &[])), Some(1));
    assert!(traces.is_empty());
}

#[test]
fn the_end_of_time_tells_the_last_orphans_and_empties_the_state() {
    let mut traces = Traces::new(TIMES);
    apply(&mut traces, 1, 0, &[of(2, 1, StepType::Think, 0, 10)]);
    let updates = traces.apply(&record(2, i64::MAX), Vec::new());
    assert_eq!(orphans(&updates), Some(1));
    assert!(traces.is_empty());
}

#[test]
fn timers_do_not_pile_up_while_a_trace_goes_on() {
    let mut traces = Traces::new(TIMES);
    for second in 0..1_000 {
        let step = of(1 + second as u64, 0, StepType::Think, second, second);
        apply(&mut traces, 1 + second as u64, second, &[step]);
    }
    assert!(traces.timers.len() <= 2, "{}", traces.timers.len());
}
