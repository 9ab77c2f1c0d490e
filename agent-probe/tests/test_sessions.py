"""What a session does, whatever convention it is written in."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest

from agent_probe.simulator.agents import AGENTS, Agent
from agent_probe.simulator.randomness import Draw
from agent_probe.simulator.session import LOOP_CALLS, MAX_EQUAL_CALLS, Rates, Session, SessionPlan
from conftest import Run
from recorded import Sent

CALM = Rates(error=0.0, loop=0.0, orphan=0.0)
ROUGH = Rates(error=0.15, loop=0.0, orphan=0.0)


def plan(agent: Agent, number: int, rates: Rates) -> Session:
    return SessionPlan(Draw("test", agent.name, number), agent, rates).plan()


def _calls(session: Session) -> Counter[tuple[str, str]]:
    steps = (step for turn in session.turns for step in turn.steps)
    return Counter((step.tool.name, step.arguments) for step in steps if step.kind == "act" and step.tool)


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_turns_go_think_act_observe_and_end_with_a_response(agent: Agent) -> None:
    for number in range(20):
        for turn in plan(agent, number, CALM).turns:
            kinds = [step.kind for step in turn.steps if step.kind in ("think", "act", "observe", "response")]
            if not kinds:
                assert [step.kind for step in turn.steps] == ["create"]
                continue
            assert turn.steps[0].kind == "session"
            assert kinds[0] == "think"
            assert kinds[-2:] == ["think", "response"]
            for before, after in itertools.pairwise(kinds):
                assert (
                    after
                    in {
                        "think": ("act", "response"),
                        "act": ("act", "observe"),
                        "observe": ("observe", "think"),
                    }[before]
                )


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_only_planted_loops_repeat_a_call_more_than_a_retry_does(agent: Agent) -> None:
    repeated = 0
    for number in range(60):
        calls = _calls(plan(agent, number, ROUGH))
        assert max(calls.values(), default=0) <= MAX_EQUAL_CALLS
        repeated += sum(count > 1 for count in calls.values())
    assert repeated > 0, "no retry in 60 sessions"
    for number in range(20):
        session = plan(agent, number, Rates(error=0.05, loop=1.0, orphan=0.0))
        assert session.loop is not None
        tool, count = session.loop
        assert LOOP_CALLS[0] <= count <= LOOP_CALLS[1]
        assert max(found for (name, _), found in _calls(session).items() if name == tool) == count


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_children_lie_within_their_parents(agent: Agent) -> None:
    for number in range(20):
        for turn in plan(agent, number, ROUGH).turns:
            for step in turn.steps:
                assert step.start_ns < step.end_ns
                if step.parent >= 0:
                    parent = turn.steps[step.parent]
                    assert parent.start_ns <= step.start_ns
                    assert step.end_ns <= parent.end_ns


def test_a_session_is_the_same_whenever_it_is_planned() -> None:
    assert plan(AGENTS[0], 1, ROUGH) == plan(AGENTS[0], 1, ROUGH)
    assert plan(AGENTS[0], 1, ROUGH) != plan(AGENTS[0], 2, ROUGH)


def test_some_steps_are_slow_and_some_texts_long_and_both_languages_occur() -> None:
    sessions = [plan(agent, number, CALM) for agent in AGENTS for number in range(20)]
    steps = [step for session in sessions for turn in session.turns for step in turn.steps]
    thinks = sorted(step.end_ns - step.start_ns for step in steps if step.kind == "think")
    assert thinks[-1] > 8 * thinks[len(thinks) // 2]
    sizes = [len(step.output.encode()) for step in steps if step.kind == "act"]
    assert max(sizes) > 10_000
    assert sum(size > 2000 for size in sizes) / len(sizes) < 0.2
    assert {session.agent.language for session in sessions} == {"zh", "en"}
    assert any(len(session.turns) > 2 for session in sessions)


def test_planted_loops_are_reported_with_their_session(run: Run) -> None:
    loops = run.report["loops"]
    assert len(loops) > 5
    by_session: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for sent in run.spans:
        if sent.service in ("travel-planner", "ops-runbook", "support-desk", "shopping-guide"):
            name = sent.attributes.get("gen_ai.tool.name", sent.attributes.get("tool.name"))
            given = sent.attributes.get("gen_ai.tool.call.arguments", sent.attributes.get("input.value"))
            if name and given and "agent.output" not in sent.attributes:
                by_session[sent.attributes["session.id"]][name, given] += 1
    checked = 0
    for loop in loops:
        if loop["session_id"] in by_session:
            assert max(by_session.pop(loop["session_id"]).values()) == loop["calls"]
            checked += 1
    assert checked > 0
    assert all(max(calls.values()) <= MAX_EQUAL_CALLS for calls in by_session.values())


def _by_trace(run: Run) -> dict[str, list[Sent]]:
    traces: dict[str, list[Sent]] = defaultdict(list)
    for sent in run.spans:
        traces[sent.trace].append(sent)
    return traces


def test_children_are_sent_before_their_parents_and_traces_are_split(run: Run) -> None:
    split = 0
    for sent in _by_trace(run).values():
        times = {one.span.span_id: one.record.timestamp_ms for one in sent}
        split += len(set(times.values())) > 1
        for one in sent:
            parent = one.span.parent_span_id
            if parent in times:
                assert times[one.span.span_id] <= times[parent]
    assert split > 100


def test_a_session_of_several_turns_is_several_traces(run: Run) -> None:
    traces: dict[str, set[str]] = defaultdict(set)
    for sent in run.spans:
        if "session.id" in sent.attributes:
            traces[sent.attributes["session.id"]].add(sent.trace)
    assert Counter(len(found) for found in traces.values()).keys() == {1, 2, 3, 4}


def test_a_span_is_sent_within_its_batch_delay(run: Run) -> None:
    for sent in run.spans:
        waited_ms = sent.record.timestamp_ms - sent.span.end_time_unix_nano / 1e6
        assert -1.0 <= waited_ms <= 101.0
