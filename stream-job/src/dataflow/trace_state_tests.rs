//! What a trace says, whatever order its spans come in.

use std::borrow::Cow;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::dataflow::fixtures::{TRACE, numbered as of};
use crate::dataflow::trace_summary::longest_run;

fn part(spans: &[CleanSpan<'_>]) -> TraceState {
    let mut state = TraceState::default();
    spans.iter().for_each(|span| state.add_span(span));
    state
}

fn turns(spans: &[(u64, u64, StepType)]) -> u64 {
    let spans: Vec<_> = spans
        .iter()
        .map(|&(id, parent, step_type)| of(id, parent, step_type, 0, 1))
        .collect();
    part(&spans).turns()
}

#[test]
fn turns_are_the_outermost_session_spans() {
    use StepType::{Act, Chain, Session, Think};
    // Span id, parent and type of each span.
    type Shape = [(u64, u64, StepType)];
    let cases: [(&str, &Shape, u64); 11] = [
        ("one turn", &[(1, 0, Session), (2, 1, Think)], 1),
        (
            "two turns side by side",
            &[(1, 0, Session), (2, 0, Session)],
            2,
        ),
        (
            "the same invoke_agent twice, one within the other",
            &[(1, 0, Session), (2, 1, Session), (3, 2, Think)],
            1,
        ),
        (
            "an agent that is called as a tool",
            &[(1, 0, Session), (2, 1, Act), (3, 2, Session)],
            1,
        ),
        (
            "turns below a chain, which is none",
            &[(1, 0, Chain), (2, 1, Session), (3, 1, Session)],
            2,
        ),
        ("a turn whose parent never comes", &[(2, 1, Session)], 1),
        ("steps without a session span", &[(1, 0, Think)], 1),
        ("tool calls alone", &[(1, 0, Act)], 0),
        ("other spans alone", &[(1, 0, Chain)], 0),
        (
            "a cycle of parents above a turn",
            &[(1, 2, Chain), (2, 1, Chain), (3, 1, Session)],
            1,
        ),
        (
            "a turn below a cycle that holds a turn",
            &[(1, 2, Session), (2, 1, Chain), (3, 2, Session)],
            0,
        ),
    ];
    for (name, spans, expected) in cases {
        assert_eq!(turns(spans), expected, "{name}");
        let backwards: Vec<_> = spans.iter().rev().copied().collect();
        assert_eq!(turns(&backwards), expected, "{name}, backwards");
    }
}

#[test]
fn two_spans_with_one_id_say_the_same_in_any_order() {
    use StepType::{Act, Session};
    let spans = [
        (1, 0, Session),
        (2, 1, Act),
        (2, 0, Session),
        (3, 2, Session),
    ];
    let backwards: Vec<_> = spans.iter().rev().copied().collect();
    assert_eq!(turns(&spans), turns(&backwards));
    assert_eq!(turns(&spans), 2);
}

#[test]
fn a_deep_trace_is_counted_in_one_pass() {
    const DEEP: u64 = 200_000;
    let chain = (1..=DEEP).map(|id| of(id, id - 1, StepType::Chain, 0, 1));
    let leaves = (1..=DEEP).map(|id| of(DEEP + id, DEEP, StepType::Session, 0, 1));
    let spans: Vec<_> = chain.chain(leaves).collect();
    assert_eq!(part(&spans).turns(), DEEP);
}

#[test]
fn tokens_and_cost_count_on_think_spans_only() {
    let with = |step_type| CleanSpan {
        input_tokens: 10,
        output_tokens: 5,
        cost_nanousd: 7,
        ..of(1, 0, step_type, 0, 1)
    };
    let state = part(&StepType::ALL.map(with));
    let expected = Totals {
        spans: 12,
        steps: 4,
        llm_calls: 1,
        tool_calls: 1,
        errors: 0,
        input_tokens: 10,
        output_tokens: 5,
        cost_nanousd: 7,
    };
    assert_eq!(state.totals, expected);
}

#[test]
fn the_agent_is_that_of_the_root_else_of_the_earliest_span() {
    let by = |agent: &'static str, span| CleanSpan {
        agent: agent.into(),
        ..span
    };
    let late = by("tool", of(3, 9, StepType::Act, 5, 6));
    let early = by("planner", of(2, 9, StepType::Think, 1, 2));
    let root = by("shop", of(1, 0, StepType::Session, 3, 6));
    let agent = |spans: &[CleanSpan<'_>]| part(spans).summary(0).agent;
    assert_eq!(agent(&[late.clone(), early.clone()]), "planner");
    assert_eq!(agent(&[late.clone(), root.clone(), early.clone()]), "shop");
    let agents = part(&[late, root, early]).summary(0).agents;
    assert_eq!(agents, ["planner", "shop", "tool"]);
}

#[test]
fn the_longest_run_is_the_first_of_its_length() {
    let call = |start_s: i64, tool: &str, args_hash| ToolCall {
        place: (start_s, 1),
        end_us: 0,
        tool_name: tool.to_owned(),
        args_hash,
    };
    let run = |calls: &[ToolCall]| {
        let run = longest_run(calls.iter());
        (run.first().map_or(0, |call| call.place.0), run.len())
    };
    assert_eq!(run(&[]), (0, 0));
    assert_eq!(run(&[call(1, "a", 7)]), (1, 1));
    let equal = [call(1, "a", 7), call(2, "a", 7), call(3, "a", 7)];
    assert_eq!(run(&equal), (1, 3));
    let other_arguments = [call(1, "a", 7), call(2, "a", 8), call(3, "a", 7)];
    assert_eq!(run(&other_arguments), (1, 1));
    let other_tool = [call(1, "a", 7), call(2, "b", 7), call(3, "b", 7)];
    assert_eq!(run(&other_tool), (2, 2));
    let twice = [
        call(1, "a", 7),
        call(2, "a", 7),
        call(3, "b", 7),
        call(4, "b", 7),
    ];
    assert_eq!(run(&twice), (1, 2));
}

fn any_span() -> impl Strategy<Value = CleanSpan<'static>> {
    // Few values, so that ids, times and names meet.
    let names = || prop_oneof![Just(""), Just("a"), Just("b")].prop_map(Cow::Borrowed);
    let kinds = prop_oneof![
        Just(StepType::Session),
        Just(StepType::Think),
        Just(StepType::Act),
        Just(StepType::Chain),
    ];
    let place = (1_u64..6, 0_u64..6, 0_i64..4, 0_i64..4);
    let said = (names(), names(), names(), names(), names());
    let flags = (any::<bool>(), 0_u64..3);
    (place, kinds, said, flags).prop_map(|(place, step_type, said, (failed, args_hash))| {
        let (id, parent, start_s, length_s) = place;
        let (agent, session_id, conversation_id, user_id, namespace) = said;
        CleanSpan {
            agent,
            session_id,
            conversation_id,
            user_id,
            namespace,
            status: if failed { Status::Error } else { Status::Ok },
            args_hash,
            ..of(id, parent, step_type, start_s, start_s + length_s)
        }
    })
}

fn said(state: &TraceState) -> (TraceSummary, SessionKey, BTreeSet<u64>) {
    let missing = state.missing_parents();
    let orphans = state.children_of(&missing);
    let session = state.session_key(TRACE);
    (state.clone().summary(orphans), session, missing)
}

#[test]
fn a_packed_trace_of_eight_spans_takes_under_300_bytes() {
    let tools = ["search_web", "run_sql", "read_file"];
    let spans: Vec<_> = (0..8_u64)
        .map(|number| CleanSpan {
            agent: "support-desk".into(),
            session_id: "session-0123456789abcdef".into(),
            user_id: "user-0042".into(),
            tool_name: tools[number as usize % 3].into(),
            args_hash: u64::MAX / (number + 1),
            name: "support-desk".into(),
            ..of(
                (number + 1) << 40,
                if number == 0 { 0 } else { 1 << 40 },
                [StepType::Session, StepType::Think, StepType::Act]
                    [number.min(1 + number % 2) as usize],
                1_790_000_000 + number as i64,
                1_790_000_001 + number as i64,
            )
        })
        .collect();
    let packed = part(&spans).pack(&BTreeSet::new());
    assert!(packed.len() < 300, "{} bytes", packed.len());
}

proptest! {
    #[test]
    fn parts_merged_in_any_order_say_the_same(
        spans in proptest::collection::vec((any_span(), any::<Index>()), 1..20),
        order in any::<u64>(),
        max_spans in 0u64..25,
    ) {
        let mut whole = part(&spans.iter().map(|(span, _)| span.clone()).collect::<Vec<_>>());
        whole.truncate(max_spans);
        let mut parts = vec![TraceState::default(); 4];
        for (span, at) in &spans {
            parts[at.index(4)].add_span(span);
        }
        let turn = order as usize % parts.len();
        parts.rotate_left(turn);
        if order % 2 == 0 {
            parts.reverse();
        }
        let mut merged = TraceState::default();
        for part in parts {
            merged.merge(part);
            merged.truncate(max_spans);
        }
        prop_assert_eq!(merged.is_truncated(), spans.len() as u64 > max_spans);
        prop_assert_eq!(said(&merged), said(&whole));
    }

    #[test]
    fn what_is_packed_comes_back(
        spans in proptest::collection::vec(any_span(), 0..20),
        missing in proptest::collection::btree_set(any::<u64>(), 0..4),
    ) {
        let state = part(&spans);
        let packed = state.pack(&missing);
        prop_assert_eq!(TraceState::packed_last_us(&packed), state.last_us);
        prop_assert_eq!(TraceState::unpack(&packed), (state, missing));
    }
}

#[test]
fn of_too_many_spans_the_sums_and_the_earliest_calls_are_left() {
    let spans: Vec<_> = (0..3_000)
        .map(|number: i64| CleanSpan {
            tool_name: "search".into(),
            args_hash: number as u64 / 2,
            agent: format!("agent-{:04}", number % 500).into(),
            ..of(
                number as u64 + 2,
                // Of a parent that never comes.
                1,
                if number % 2 == 0 {
                    StepType::Act
                } else {
                    StepType::Think
                },
                number,
                number + 1,
            )
        })
        .collect();
    // By parts of 100, from the first and from the last.
    let merged = |parts: &mut dyn Iterator<Item = &[CleanSpan<'_>]>| {
        let mut state = TraceState::default();
        for spans in parts {
            state.merge(part(spans));
            state.truncate(2_500);
        }
        state
    };
    let state = merged(&mut spans.chunks(100));
    assert_eq!(state, merged(&mut spans.rchunks(100)));
    assert_eq!((state.calls.len(), state.nodes.len()), (1_000, 1_000));
    let packed = state.pack(&BTreeSet::new());
    assert_eq!(TraceState::unpack(&packed).0, state);
    let (summary, _, missing) = said(&state);
    assert!(missing.is_empty());
    assert!(summary.truncated);
    assert_eq!(
        (
            summary.totals.spans,
            summary.totals.llm_calls,
            summary.totals.tool_calls
        ),
        (3_000, 1_500, 1_500)
    );
    assert_eq!((summary.turns, summary.orphans), (1, 0));
    assert_eq!(summary.agents.len(), MAX_AGENTS);
    let last_call = &summary.calls[999];
    assert_eq!(last_call.place.0, 1_998_000_000);
    assert_eq!(way_of(&state), "");
}

/// The way through a trace as text, with `'` at what is derived.
fn way(spans: &[CleanSpan<'_>]) -> String {
    way_of(&part(spans))
}

fn way_of(state: &TraceState) -> String {
    let mut way = Vec::new();
    state.each_edge(|edge, sums| {
        let mark = if sums.derived > 0 { "'" } else { "" };
        let failed = if sums.errors > 0 { "!" } else { "" };
        let end = |(kind, tool): (crate::dataflow::edge::StepKind, &str)| format!("{kind:?}{tool}");
        way.push(format!(
            "{}>{}{mark}{failed}+{}",
            end(edge.from),
            end(edge.to),
            sums.gap_sum_us / 1_000_000
        ));
    });
    way.join(" ")
}

#[test]
fn the_way_goes_by_time_and_what_no_span_says_is_derived() {
    use StepType::{Act, Observe, Session, Think};
    let output = |span: CleanSpan<'static>| CleanSpan {
        output: "42".into(),
        ..span
    };
    let act = |id, start_us, end_us| CleanSpan {
        tool_name: "search".into(),
        ..of(id, 1, Act, start_us, end_us)
    };
    let root = of(1, 0, Session, 0, 100);
    let think = of(2, 1, Think, 0, 10);
    let answer = output(of(4, 1, Think, 30, 40));
    assert_eq!(
        way(&[
            answer.clone(),
            output(act(3, 12, 25)),
            think.clone(),
            root.clone()
        ]),
        "Start>Think+0 Think>Actsearch+2 Actsearch>Observe'+0 Observe>Think'+0 Think>Response'+0 Response>End'+0"
    );
    assert_eq!(
        way(&[think.clone(), act(3, 5, 25), answer.clone()]),
        "Start>Think+0 Think>Actsearch+0 Actsearch>Think+5 Think>End+0",
        "nothing came of the tool, nor has the root come"
    );
    let observe = of(5, 1, Observe, 25, 26);
    let failed = CleanSpan {
        status: Status::Error,
        ..output(act(3, 12, 25))
    };
    assert_eq!(
        way(&[think, failed, observe, root.clone()]),
        "Start>Think+0 Think>Actsearch!+2 Actsearch>Observe+0 Observe>End+0"
    );
    assert_eq!(way(&[root]), "", "a trace without steps has no way");
}
