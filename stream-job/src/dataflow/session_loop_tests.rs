//! Loops: one tool called with equal arguments again and again, within a trace or across them.

use super::*;

fn call(start_s: i64, tool: &str, args_hash: u64) -> ToolCall {
    ToolCall {
        place: (start_s * SECOND_US, start_s as u64),
        end_us: (start_s + 1) * SECOND_US,
        tool_name: tool.to_owned(),
        args_hash,
    }
}

fn calling(calls: &[(i64, &str, u64)]) -> Option<TraceSummary> {
    Some(TraceSummary {
        calls: calls
            .iter()
            .map(|&(start_s, tool, args_hash)| call(start_s, tool, args_hash))
            .collect(),
        ..summary(0, 100)
    })
}

/// What is told of loops: length, opening in s, whether it is the first time, and the trace of the first call.
fn told(out: &[SessionOut]) -> Vec<(usize, i64, bool, TraceId)> {
    out.iter()
        .filter_map(|one| match one {
            SessionOut::Loop {
                found,
                opened_us,
                is_first,
                ..
            } => Some((
                found.calls.len(),
                opened_us / SECOND_US,
                *is_first,
                found.trace_id,
            )),
            _ => None,
        })
        .collect()
}

fn row(out: &[SessionOut]) -> (u32, &[String]) {
    let row = out.iter().find_map(|one| match one {
        SessionOut::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    (row.max_repeat, &row.flags)
}

#[test]
fn equal_calls_across_traces_make_a_loop() {
    let mut sessions = Sessions::new(RULES);
    let changes = vec![
        change("s", 8, calling(&[(1, "search", 7), (4, "search", 7)])),
        change("s", 9, calling(&[(2, "search", 7), (3, "search", 7)])),
    ];
    let out = apply(&mut sessions, 1, 0, changes);
    assert_eq!(told(&out), [(4, 1, true, 8)]);
    assert_eq!(row(&out), (4, &["loop".to_owned()][..]));
}

#[test]
fn fewer_calls_than_the_rule_asks_for_are_no_loop() {
    let mut sessions = Sessions::new(RULES);
    let calls = [(1, "search", 7), (2, "search", 7), (3, "search", 8)];
    let out = apply(&mut sessions, 1, 0, vec![change("s", 1, calling(&calls))]);
    assert!(told(&out).is_empty());
    assert_eq!(row(&out), (2, &[][..]));
}

#[test]
fn a_loop_is_told_again_only_when_it_has_grown() {
    let mut sessions = Sessions::new(RULES);
    let mut tell = |epoch, calls: &[(i64, &str, u64)]| {
        let out = apply(
            &mut sessions,
            epoch,
            0,
            vec![change("s", 1, calling(calls))],
        );
        told(&out)
    };
    let mut calls = vec![(1, "t", 7), (2, "t", 7), (3, "t", 7)];
    assert_eq!(tell(1, &calls), [(3, 1, true, 1)]);
    calls.push((4, "u", 7));
    assert!(tell(2, &calls).is_empty());
    calls[3] = (4, "t", 7);
    assert_eq!(tell(3, &calls), [(4, 1, false, 1)]);
}

#[test]
fn a_call_that_comes_late_does_not_make_another_loop_of_it() {
    let mut sessions = Sessions::new(RULES);
    let calls = [(2, "t", 7), (3, "t", 7), (4, "t", 7)];
    let out = apply(&mut sessions, 1, 0, vec![change("s", 1, calling(&calls))]);
    assert_eq!(told(&out), [(3, 2, true, 1)]);
    let out = apply(
        &mut sessions,
        2,
        0,
        vec![change("s", 2, calling(&[(1, "t", 7)]))],
    );
    assert_eq!(told(&out), [(4, 2, false, 2)]);
}

#[test]
fn a_longer_loop_of_another_tool_is_told_for_the_first_time() {
    let mut sessions = Sessions::new(RULES);
    let short = [(1, "t", 7), (2, "t", 7), (3, "t", 7)];
    apply(&mut sessions, 1, 0, vec![change("s", 1, calling(&short))]);
    let long = [(4, "u", 7), (5, "u", 7), (6, "u", 7), (7, "u", 7)];
    let out = apply(&mut sessions, 2, 0, vec![change("s", 2, calling(&long))]);
    assert_eq!(told(&out), [(4, 4, true, 2)]);
}

#[test]
fn orphans_of_any_trace_show_in_the_flags() {
    let mut sessions = Sessions::new(RULES);
    let orphaned = TraceSummary {
        orphans: 2,
        ..summary(0, 5)
    };
    let changes = vec![
        change("s", 1, Some(orphaned)),
        change("s", 2, Some(summary(0, 5))),
    ];
    let out = apply(&mut sessions, 1, 0, changes);
    assert_eq!(row(&out).1, ["orphans"]);
}
