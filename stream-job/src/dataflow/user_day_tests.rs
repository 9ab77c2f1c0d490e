#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use chrono_tz::Tz;

use super::*;
use crate::checkpoint::state::Restored;
use crate::dataflow::fixtures::{
    MINUTE_US, SECOND_US, numbered as of, record, record_within_block, restarted,
};
use crate::dataflow::trace::{PreTrace, TraceRules, Traces as AllTraces};
use crate::span::clean::{CleanSpan, StepType};

const TIMES: TraceRules = TraceRules {
    orphan_grace_us: MINUTE_US,
    trace_ttl_us: 60 * MINUTE_US,
    max_spans: 50_000,
};
const DAY_S: i64 = 86_400;

/// Traces and the users' days over them, as the dataflow connects them.
struct Both {
    zone: Tz,
    traces: AllTraces,
    users: UserDays,
}

impl Both {
    fn new(zone: Tz) -> Self {
        let rules = UserDayRules {
            zone,
            kept_us: TIMES.kept_us(),
        };
        Self {
            zone,
            traces: AllTraces::new(TIMES),
            users: UserDays::new(rules),
        }
    }

    fn changes(&mut self, record: &EpochRecord, spans: &[CleanSpan<'_>]) -> Vec<UserChange> {
        let mut partials = PreTrace::default();
        spans.iter().for_each(|span| partials.add(span));
        let updates = self.traces.apply(record, partials.take());
        let says = updates
            .iter()
            .flat_map(|update| UserChange::of(update, self.zone));
        let settled = self.traces.take_forgotten();
        let settled = settled.map(|trace| UserChange::settled(trace, self.zone));
        says.chain(settled).collect()
    }

    /// One epoch in which a block ends, in short: `day user @segment sessions/traces/steps first-last`, times in seconds.
    fn apply(&mut self, epoch: Epoch, watermark_s: i64, spans: &[CleanSpan<'_>]) -> Vec<String> {
        let record = record(epoch, watermark_s * SECOND_US);
        let changes = self.changes(&record, spans);
        brief(&self.users.apply(&record, changes))
    }
}

fn brief(updates: &[UserDayUpdate]) -> Vec<String> {
    let seconds = |us: i64| us / SECOND_US;
    let one = |update: &UserDayUpdate| {
        let UserDay { day, user_id, .. } = &update.key;
        let key = format!("{day} {user_id} @{}", update.segment);
        match &update.sums {
            None => format!("{key} gone"),
            Some(sums) => format!(
                "{key} {}/{}/{} {}-{}",
                sums.sessions,
                sums.traces,
                sums.totals.steps,
                seconds(sums.first_us),
                seconds(sums.last_us)
            ),
        }
    };
    updates.iter().map(one).collect()
}

/// A root step of a trace, of a user and in a session.
fn step(
    trace: u8,
    user: &'static str,
    session: &'static str,
    start_s: i64,
    end_s: i64,
) -> CleanSpan<'static> {
    CleanSpan {
        trace_id: [trace; 16],
        user_id: user.into(),
        session_id: session.into(),
        ..of(1, 0, StepType::Think, start_s, end_s)
    }
}

/// A further step of it, which names nobody.
fn further(trace: u8, id: u64, start_s: i64, end_s: i64) -> CleanSpan<'static> {
    CleanSpan {
        trace_id: [trace; 16],
        ..of(id, 1, StepType::Act, start_s, end_s)
    }
}

#[test]
fn traces_are_summed_by_user_and_day_and_a_session_counts_once() {
    let mut both = Both::new(Tz::UTC);
    let spans = [
        step(1, "ann", "s", 100, 110),
        further(1, 2, 101, 105),
        step(2, "ann", "s", 90, 95),
        step(3, "ann", "t", 120, 130),
        step(4, "bob", "s", 100, 140),
        step(5, "", "s", 100, 140),
    ];
    assert_eq!(
        both.apply(1, 0, &spans),
        ["0 ann @1 2/3/4 90-130", "0 bob @1 1/1/1 100-140"]
    );
    assert!(both.apply(2, 0, &[]).is_empty(), "nothing has changed");
}

#[test]
fn a_span_that_comes_late_corrects_its_users_day() {
    let mut both = Both::new(Tz::UTC);
    both.apply(1, 0, &[step(1, "ann", "s", 100, 110)]);
    assert_eq!(
        both.apply(2, 3_000, &[further(1, 2, 90, 120)]),
        ["0 ann @1 1/1/2 90-120"]
    );
}

#[test]
fn a_trace_that_turns_out_to_be_another_users_leaves_the_first_and_takes_its_times_along() {
    let mut both = Both::new(Tz::UTC);
    let spans = [
        step(1, "guest", "s", 100, 110),
        step(2, "guest", "t", 105, 106),
    ];
    assert_eq!(both.apply(1, 0, &spans), ["0 guest @1 2/2/2 100-110"]);
    let login = CleanSpan {
        span_id: 9_u64.to_be_bytes(),
        ..step(1, "ann", "s", 50, 60)
    };
    assert_eq!(
        both.apply(2, 0, &[login]),
        ["0 ann @2 1/1/2 50-110", "0 guest @1 1/1/1 105-106"]
    );
    let login = CleanSpan {
        span_id: 9_u64.to_be_bytes(),
        ..step(2, "ann", "t", 50, 60)
    };
    assert_eq!(
        both.apply(3, 0, std::slice::from_ref(&login)),
        ["0 ann @2 2/2/4 50-110", "0 guest @1 gone"]
    );
    let back = both.apply(4, 0, &[step(3, "guest", "u", 100, 110)]);
    assert_eq!(back, ["0 guest @4 1/1/1 100-110"], "a segment of its own");
}

#[test]
fn a_trace_counts_on_the_day_of_its_end_and_moves_when_it_goes_on_after_midnight() {
    let mut both = Both::new(Tz::Asia__Shanghai);
    // Midnight there is 16:00 UTC.
    let midnight_s = 16 * 3_600;
    let before = step(1, "ann", "s", midnight_s - 20, midnight_s - 1);
    assert_eq!(
        both.apply(1, 0, &[before]),
        [format!(
            "0 ann @1 1/1/1 {}-{}",
            midnight_s - 20,
            midnight_s - 1
        )]
    );
    assert_eq!(
        both.apply(2, 0, &[further(1, 2, midnight_s - 1, midnight_s)]),
        [
            "0 ann @1 gone".to_owned(),
            format!("1 ann @2 1/1/2 {}-{midnight_s}", midnight_s - 20)
        ]
    );
}

#[test]
fn what_was_forgotten_stays_in_the_sums_and_a_day_that_is_over_is_dropped() {
    let mut both = Both::new(Tz::UTC);
    both.apply(1, 0, &[step(1, "ann", "s", 100, 110)]);
    assert!(
        both.apply(2, 2 * 3_600, &[]).is_empty(),
        "forgotten, and nothing told"
    );
    assert!(both.traces.is_empty());
    let later = step(2, "ann", "s", 3 * 3_600, 3 * 3_600);
    assert_eq!(
        both.apply(3, 3 * 3_600, &[later]),
        ["0 ann @1 1/2/2 100-10800"]
    );
    // A day is kept as long as a trace that ended at its end.
    both.apply(4, DAY_S + 3_599, &[]);
    assert_eq!(both.users.len(), 1);
    both.apply(5, DAY_S + 3_600, &[]);
    assert!(both.users.is_empty());
    let late = step(3, "ann", "s", 200, 210);
    assert_eq!(
        both.apply(6, DAY_S + 3_600, &[late]),
        ["0 ann @6 1/1/1 200-210"]
    );
    assert_eq!(both.users.len(), 1, "its trace may change");
    assert!(both.apply(7, DAY_S + 3_600, &[]).is_empty());
    assert!(both.users.is_empty(), "its trace was forgotten");
}

#[test]
fn what_a_trace_says_in_the_block_in_which_it_is_forgotten_counts() {
    let mut both = Both::new(Tz::UTC);
    both.apply(1, 0, &[step(1, "ann", "s", 100, 110)]);
    // The span wakes the trace, and does not make it end later.
    assert_eq!(
        both.apply(2, 7_200, &[further(1, 2, 101, 105)]),
        ["0 ann @1 1/1/2 100-110"]
    );
    assert!(both.traces.is_empty());
    let again = step(1, "ann", "s", 7_300, 7_310);
    assert_eq!(
        both.apply(3, 7_200, &[again]),
        ["0 ann @1 1/2/3 100-7310"],
        "a trace that goes on after it was forgotten counts again"
    );
}

#[test]
fn traces_that_the_state_never_heard_of_change_leave_and_end_without_harm() {
    // The traces were restored from a release that did not write users' days.
    let mut both = Both::new(Tz::UTC);
    let told = record(1, 0);
    let untold = [
        step(1, "ann", "s", 100, 110),
        step(2, "ann", "s", 100, 110),
        step(3, "ann", "s", 100, 110),
    ];
    assert_eq!(both.changes(&told, &untold).len(), 3);
    let without = Restored::new(told);
    assert_eq!(without.feed(&mut both.users, 0, 1).unwrap(), 0);
    assert_eq!(
        both.apply(2, 0, &[further(1, 2, 101, 120)]),
        ["0 ann @2 1/1/2 100-120"],
        "it counts as a whole from its first change on"
    );
    let login = CleanSpan {
        span_id: 9_u64.to_be_bytes(),
        ..step(2, "bob", "s", 50, 60)
    };
    assert_eq!(both.apply(3, 0, &[login]), ["0 bob @3 1/1/2 50-110"]);
    assert!(both.apply(4, 2 * 3_600, &[]).is_empty());
    let again = EpochRecord {
        tells_all: true,
        ..record(5, 2 * 3_600 * SECOND_US)
    };
    let changes = both.changes(&again, &[]);
    assert_eq!(
        brief(&both.users.apply(&again, changes)),
        ["0 ann @2 1/1/2 100-120", "0 bob @3 1/1/2 50-110"]
    );
}

#[test]
fn a_fork_tells_every_day_again() {
    let mut both = Both::new(Tz::UTC);
    both.apply(1, 0, &[step(1, "ann", "s", 100, 110)]);
    both.apply(2, 2 * 3_600, &[step(2, "bob", "t", 7_000, 7_100)]);
    let again = EpochRecord {
        tells_all: true,
        ..record(3, 2 * 3_600 * SECOND_US)
    };
    let changes = both.changes(&again, &[]);
    assert_eq!(
        brief(&both.users.apply(&again, changes)),
        ["0 ann @1 1/1/1 100-110", "0 bob @2 1/1/1 7000-7100"]
    );
}

#[test]
fn rows_come_at_the_end_of_a_block_and_say_what_came_in_all_its_epochs() {
    let mut both = Both::new(Tz::UTC);
    let changes = both.changes(&record(1, 0), &[step(1, "ann", "s", 100, 110)]);
    let within = record_within_block(1, 0);
    assert!(both.users.apply(&within, changes).is_empty());
    assert_eq!(
        both.apply(2, 0, &[step(2, "ann", "t", 90, 95)]),
        ["0 ann @1 2/2/2 90-110"]
    );
}

#[test]
fn users_days_go_on_from_a_checkpoint_as_if_nothing_had_happened() {
    let mut both = Both::new(Tz::UTC);
    both.apply(
        1,
        0,
        &[step(1, "ann", "s", 100, 110), step(2, "bob", "b", 100, 110)],
    );
    both.apply(2, 7_200, &[step(3, "ann", "t", 7_000, 7_010)]);
    let rules = both.users.rules;
    both.users = restarted(
        &mut both.users,
        UserDays::new(rules),
        record(2, 7_200 * SECOND_US),
    );
    assert_eq!(
        both.apply(
            3,
            7_200,
            &[
                further(3, 2, 7_000, 7_020),
                step(4, "ann", "s", 7_000, 7_001)
            ]
        ),
        ["0 ann @1 2/3/4 100-7020"]
    );
    assert_eq!(both.users.len(), 2);
    both.apply(4, DAY_S + 3_600, &[]);
    both.users = restarted(
        &mut both.users,
        UserDays::new(rules),
        record(4, (DAY_S + 3_600) * SECOND_US),
    );
    assert!(both.users.is_empty());
}

#[test]
fn an_update_of_a_trace_goes_to_the_days_before_and_after_it() {
    let update = |before: Option<(&str, i64)>| TraceUpdate {
        trace_id: 5,
        segment: 3,
        session: crate::dataflow::trace_summary::SessionKey {
            namespace: "shop".to_owned(),
            session_id: "s".to_owned(),
        },
        moved_from: None,
        user_before: before.map(|(user, last_s)| TraceUser {
            namespace: "shop".to_owned(),
            user_id: user.to_owned(),
            last_us: last_s * SECOND_US,
        }),
        summary: Arc::new(ended_at(DAY_S)),
    };
    let days = |before| -> Vec<(Day, bool)> {
        UserChange::of(&update(before), Tz::UTC)
            .map(|one| (one.key.day, matches!(one.change, TraceChange::Left)))
            .collect()
    };
    assert_eq!(days(None), [(1, false)]);
    assert_eq!(days(Some(("ann", DAY_S + 5))), [(1, false)]);
    assert_eq!(days(Some(("ann", DAY_S - 1))), [(0, true), (1, false)]);
    assert_eq!(days(Some(("bob", DAY_S))), [(1, true), (1, false)]);
}

fn ended_at(last_s: i64) -> crate::dataflow::trace_summary::TraceSummary {
    let mut partials = PreTrace::default();
    partials.add(&step(1, "ann", "s", 0, last_s));
    let mut traces = AllTraces::new(TIMES);
    let updates = traces.apply(&record(1, 0), partials.take());
    (*updates[0].summary).clone()
}
