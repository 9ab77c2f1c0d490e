"""An agent that hides its failures, recorded without a change to it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

import agent_probe
from traced import Spans, attributes, id_of, parent_of


class APIError(Exception):
    pass


class Scripted:
    """A model that says what it is told to, in turn; an exception is raised."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)

    def __call__(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        content = reply if isinstance(reply, str) else json.dumps(reply)
        return {"content": content, "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"thought": f"use {tool}", "tool_calls": [{"name": tool, "arguments": arguments, "id": "c1"}]}


def answer(text: str) -> dict[str, Any]:
    return {"thought": "done", "final_answer": text}


async def weather(city: str) -> str:
    if city == "Atlantis":
        raise LookupError("no such city")
    await asyncio.sleep(0)
    return f"sunny in {city}"


@pytest.fixture(params=["before it is imported", "after it is imported"])
def jolly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "jolly"))
    if request.param.startswith("before"):
        assert agent_probe.instrument("jollyagent")
    import src.agent
    import src.executor

    if request.param.startswith("after"):
        assert agent_probe.instrument("jollyagent")
        assert agent_probe.instrument("jollyagent")
    yield lambda *replies: src.agent.Agent(Scripted(*replies), src.executor.ToolExecutor({"weather": weather}))
    agent_probe.uninstrument("jollyagent")
    for name in [name for name in sys.modules if name == "src" or name.startswith("src.")]:
        del sys.modules[name]


def converse(agent: Any, *messages: str, conversation: str | None = "c-1") -> list[str]:
    async def turns() -> list[str]:
        if conversation:
            await agent.start_conversation(conversation)
        return [await agent.process_message(message) for message in messages]

    return asyncio.run(turns())


def in_order(spans: Spans) -> list[ReadableSpan]:
    """The steps of a turn by their numbers, its root first."""
    return sorted(spans.all, key=lambda span: attributes(span).get("agent.step.number", 0))


def kinds(spans: Spans) -> list[str]:
    return [attributes(span)["agent.step.type"] for span in in_order(spans)]


def failed(spans: Spans) -> list[str]:
    return [
        f"{attributes(span)['agent.step.type']}: {attributes(span)['error.type']}"
        for span in in_order(spans)
        if span.status.status_code is StatusCode.ERROR
    ]


def test_a_turn_with_a_tool_has_every_step_once_with_parents_tokens_and_ids(jolly: Any, spans: Spans) -> None:
    agent = jolly(call("weather", city="Paris"), answer("It is sunny."))
    assert converse(agent, "Weather in Paris?") == ["It is sunny."]
    assert kinds(spans) == ["session", "think", "act", "observe", "think", "response"]
    root, think, act, observe, second, response = in_order(spans)
    assert [parent_of(span) for span in (think, act, observe, response)] == [id_of(root)] * 4
    assert parent_of(second) == id_of(observe)
    assert failed(spans) == []
    for span in spans.all:
        assert attributes(span)["session.id"] == attributes(span)["gen_ai.conversation.id"] == "c-1"
    assert attributes(root)["agent.input"] == "Weather in Paris?"
    assert attributes(root)["agent.output"] == attributes(response)["agent.output"] == "It is sunny."
    for span in (think, second):
        assert attributes(span)["gen_ai.usage.input_tokens"] == 100
        assert attributes(span)["gen_ai.usage.output_tokens"] == 10
        assert attributes(span)["gen_ai.response.model"] == "gpt-4o-mini"
        assert attributes(span)["agent.cost_usd"] == pytest.approx(100 * 0.15e-6 + 10 * 0.6e-6)
    assert json.loads(attributes(think)["agent.input"])[0]["content"] == "Weather in Paris?"
    assert attributes(act)["agent.tool.name"] == "weather"
    assert json.loads(attributes(act)["agent.tool.arguments"]) == {"city": "Paris"}
    assert attributes(act)["agent.tool.result"] == "sunny in Paris"
    assert json.loads(attributes(observe)["agent.input"])[0]["success"] is True
    assert attributes(observe)["agent.output"] == "It is sunny."
    assert "gen_ai.usage.input_tokens" not in attributes(root)


def test_a_failing_tool_bad_json_and_a_good_answer_are_each_seen(jolly: Any, spans: Spans) -> None:
    agent = jolly(
        call("weather", city="Atlantis"),
        {"thought": "try again"},
        "{not json",
        answer("I do not know."),
    )
    assert converse(agent, "Weather in Atlantis?") == ["I do not know."]
    assert kinds(spans) == ["session", "think", "act", "observe", "think", "think", "think", "response"]
    assert failed(spans) == ["act: tool_failure", "think: bad_json"]
    act = in_order(spans)[2]
    assert attributes(act)["error.message"] == act.status.description == "no such city"
    bad = in_order(spans)[5]
    assert attributes(bad)["agent.output"] == "{not json"
    assert attributes(bad)["gen_ai.usage.input_tokens"] == 100


def test_an_llm_error_that_the_agent_swallows_is_on_the_think_and_on_the_turn(jolly: Any, spans: Spans) -> None:
    agent = jolly(APIError("429 too many requests"))
    assert converse(agent, "Hi") == ["Sorry, something went wrong."]
    assert kinds(spans) == ["session", "think", "response"]
    assert failed(spans) == ["session: APIError", "think: APIError", "response: APIError"]
    root, think, response = in_order(spans)
    assert [event.name for event in think.events] == ["exception"]
    assert root.events == ()
    assert root.status.description == "429 too many requests"
    assert attributes(response)["agent.output"] == "Sorry, something went wrong."


def test_an_llm_error_while_observing_is_on_that_call_the_observe_and_the_turn(jolly: Any, spans: Spans) -> None:
    agent = jolly(call("weather", city="Paris"), APIError("500"))
    converse(agent, "Hi")
    assert failed(spans) == ["session: APIError", "observe: APIError", "think: APIError", "response: APIError"]


def test_a_turn_that_never_gets_an_answer_says_so(jolly: Any, spans: Spans) -> None:
    agent = jolly(*["bad json"] * 5)
    converse(agent, "Hi")
    assert kinds(spans) == ["session"] + ["think"] * 5 + ["response"]
    assert failed(spans) == ["session: no_final_answer"] + ["think: bad_json"] * 5 + ["response: no_final_answer"]
    assert in_order(spans)[0].status.description == "no final answer after 5 iterations"


def test_unknown_tools_wrong_arguments_and_refused_calls_are_failed_acts(jolly: Any, spans: Spans) -> None:
    both = call("weather", town="Paris")
    both["tool_calls"] += [{"name": "nothing", "arguments": {}, "id": "c2"}]
    both["tool_calls"] += [{"name": "weather", "arguments": {"forbidden": 1}, "id": "c3"}]
    agent = jolly(both, answer("No."))
    converse(agent, "Hi")
    assert failed(spans) == ["act: tool_failure"] * 3
    messages = [attributes(span)["error.message"] for span in spans.by_type("act")]
    assert messages[1:] == ["unknown tool nothing", "refused by the user"]
    assert "'city'" in messages[0]


def test_a_conversation_that_begins_within_the_turn_is_its_session(jolly: Any, spans: Spans) -> None:
    agent = jolly(answer("Hello."))
    converse(agent, "Hi", conversation=None)
    ids = {attributes(span).get("session.id") for span in spans.all}
    assert ids == {agent.state.conversation_id}


def test_agents_at_once_in_one_loop_are_kept_apart_and_turns_are_traces(jolly: Any, spans: Spans) -> None:
    async def one(number: int) -> None:
        agent = jolly(call("weather", city=f"city {number}"), answer(f"answer {number}"))
        await agent.start_conversation(f"c-{number}")
        assert await agent.process_message("?") == f"answer {number}"

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(main())
    roots = {span.get_span_context().trace_id: span for span in spans.by_type("session")}  # type: ignore[union-attr]
    assert len(roots) == 20
    for act in spans.by_type("act"):
        root = roots[act.get_span_context().trace_id]  # type: ignore[union-attr]
        number = attributes(root)["session.id"].removeprefix("c-")
        assert json.loads(attributes(act)["agent.tool.arguments"]) == {"city": f"city {number}"}
        assert attributes(root)["agent.output"] == f"answer {number}"


def test_taken_off_again_nothing_is_recorded(jolly: Any, spans: Spans) -> None:
    agent_probe.uninstrument("jollyagent")
    converse(jolly(answer("Hello.")), "Hi")
    assert spans.all == []


def test_a_name_that_is_not_known_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert not agent_probe.instrument("nonsense")
    assert "knows no instrumentor 'nonsense'; it knows jollyagent" in caplog.text
