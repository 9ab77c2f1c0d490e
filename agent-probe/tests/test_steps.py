"""Steps in every shape of code, as the spans that come of them."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import agent_probe
from agent_probe import carrying, prices
from traced import Spans, attributes, child_environment, id_of, parent_of


def test_a_turn_has_its_steps_numbered_and_under_it_with_ids_and_content(spans: Spans) -> None:
    with agent_probe.session("planner", session_id="s-1", conversation_id="c-1", user_id=7, input="Paris?") as turn:
        with agent_probe.think("gpt-4o", provider="openai", input=[{"role": "user", "content": "Paris?"}]) as think:
            think.set_output("look it up").set_tokens(1000, 100, cache_read=200).set_model("gpt-4o-2024-11-20")
        with agent_probe.act("search", input={"q": "Paris"}) as act:
            act.set_output({"success": True})
        with agent_probe.observe("search", input="a city"):
            pass
        with agent_probe.response() as answer:
            answer.set_output("A city.")
        turn.set_output("A city.")
    root = spans.one("session planner")
    steps = [spans.one(name) for name in ("think gpt-4o", "act search", "observe search", "response")]
    assert [parent_of(step) for step in steps] == [id_of(root)] * 4
    assert [attributes(step)["agent.step.number"] for step in steps] == [1, 2, 3, 4]
    for span in (root, *steps):
        assert span.status.status_code is StatusCode.OK
        assert attributes(span)["session.id"] == "s-1"
        assert attributes(span)["gen_ai.conversation.id"] == "c-1"
        assert attributes(span)["user.id"] == "7"
        assert attributes(span)["agent.name"] == "planner"
    thought, acted, observed, answered = (attributes(step) for step in steps)
    assert thought["gen_ai.usage.input_tokens"] == 1000
    assert thought["gen_ai.usage.output_tokens"] == 100
    assert thought["gen_ai.usage.cache_read.input_tokens"] == 200
    # 800 at 2.50, 200 at 1.25 and 100 at 10 dollars per million.
    assert thought["agent.cost_usd"] == pytest.approx(0.00325)
    assert thought["gen_ai.response.model"] == "gpt-4o-2024-11-20"
    assert json.loads(thought["agent.input"]) == [{"role": "user", "content": "Paris?"}]
    assert acted["agent.tool.name"] == "search"
    assert json.loads(acted["agent.tool.arguments"]) == {"q": "Paris"}
    assert json.loads(acted["agent.tool.result"]) == {"success": True}
    assert observed["agent.input"] == "a city"
    assert answered["agent.output"] == attributes(root)["agent.output"] == "A city."


def test_a_decorated_function_names_its_tool_and_takes_arguments_by_name(spans: Spans) -> None:
    class Tools:
        @agent_probe.tool
        def add(self, a: int, b: int = 2, *more: int, **named: int) -> int:
            return a + b + sum(more) + sum(named.values())

    assert Tools().add(1, 5, 6, x=7) == 19
    act = attributes(spans.one("act add"))
    assert json.loads(act["agent.tool.arguments"]) == {"a": 1, "b": 5, "more": [6], "x": 7}
    assert act["agent.tool.result"] == "19"


def test_decorators_take_ids_from_parameters_of_their_names(spans: Spans) -> None:
    @agent_probe.session("helper")
    async def chat(question: str, session_id: str, user_id: str | None = None) -> str:
        return question.upper()

    assert asyncio.run(chat("hello", "s-9", user_id="u-9")) == "HELLO"
    root = attributes(spans.one("session helper"))
    assert (root["session.id"], root["user.id"]) == ("s-9", "u-9")
    assert (root["agent.input"], root["agent.output"]) == ("hello", "HELLO")


def test_an_exception_goes_on_to_the_agent_and_is_in_the_span(spans: Spans) -> None:
    @agent_probe.think("m")
    def think() -> None:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError):
        think()
    span = spans.one("think m")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "no answer"
    assert attributes(span)["error.type"] == "TimeoutError"
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "no answer"
    assert "in think" in str(event.attributes["exception.stacktrace"])


@dataclass
class ToolResult:
    success: bool
    result: Any = None
    error: str | None = None


@pytest.mark.parametrize(
    "result", [{"success": False, "error": "no such city"}, ToolResult(False, None, "no such city")]
)
def test_a_tool_that_returns_a_failure_is_an_error(spans: Spans, result: Any) -> None:
    @agent_probe.tool
    def search() -> Any:
        return result

    assert search() is result
    span = spans.one("act search")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "tool_failure"
    assert attributes(span)["error.message"] == span.status.description == "no such city"


def test_what_a_failure_is_can_be_said_otherwise(spans: Spans) -> None:
    @agent_probe.act(failed=lambda result: f"code {result}" if result else None)
    def run(code: int) -> int:
        return code

    run(0)
    run(3)
    good, bad = spans.by_type("act")
    assert good.status.status_code is StatusCode.OK
    assert attributes(bad)["error.message"] == "code 3"


def test_a_predicate_that_raises_does_not_reach_the_agent(spans: Spans) -> None:
    @agent_probe.tool(failed=lambda result: result.nonsense)
    def run() -> int:
        return 1

    assert run() == 1
    assert spans.one("act run").end_time


def test_usage_model_and_text_are_read_from_replies_as_openai_and_anthropic_shape_them(spans: Spans) -> None:
    @agent_probe.think
    def openai() -> Any:
        message = SimpleNamespace(content="Hi.")
        usage = SimpleNamespace(
            prompt_tokens=10, completion_tokens=2, prompt_tokens_details=SimpleNamespace(cached_tokens=4)
        )
        return SimpleNamespace(model="gpt-4o-mini", choices=[SimpleNamespace(message=message)], usage=usage)

    @agent_probe.think
    def anthropic() -> Any:
        usage = {"input_tokens": 8, "output_tokens": 1, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
        return {"model": "claude-sonnet-4-5", "content": [{"type": "text", "text": "Hi."}], "usage": usage}

    openai()
    anthropic()
    one, other = (attributes(span) for span in spans.by_type("think"))
    assert (one["gen_ai.usage.input_tokens"], one["gen_ai.usage.output_tokens"]) == (10, 2)
    assert one["gen_ai.usage.cache_read.input_tokens"] == 4
    # Anthropic's input does not include what its cache read or took.
    assert (other["gen_ai.usage.input_tokens"], other["gen_ai.usage.cache_read.input_tokens"]) == (13, 3)
    assert one["agent.output"] == other["agent.output"] == "Hi."
    assert one["gen_ai.response.model"] == "gpt-4o-mini"
    assert one["agent.cost_usd"] > 0


def test_prices_can_be_overridden_by_a_file_and_that_by_a_table(tmp_path: Any) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"gpt-4o": {"input": 1, "output": 2}, "own": {"input": 3, "output": 4}}')
    try:
        prices.configure(str(file), {"own": (5.0, 6.0)})
        assert prices.cost_usd("gpt-4o", 1_000_000, 0) == 1
        assert prices.cost_usd("vendor/own-v2", 0, 1_000_000) == 6
        assert prices.cost_usd("unheard-of", 1, 1) is None
    finally:
        prices.configure("", None)


def test_a_generator_is_a_step_until_its_end_and_the_consumers_code_is_not_part_of_it(spans: Spans) -> None:
    @agent_probe.think("m")
    def stream(question: str) -> Iterator[str]:
        with agent_probe.act("inside"):
            pass
        yield "a"
        yield "b"

    with agent_probe.session("s"):
        for _ in stream("q"):
            with agent_probe.act("outside"):
                pass
    think = spans.one("think m")
    assert attributes(think)["agent.output"] == "ab"
    assert attributes(think)["agent.stream.chunks"] == 2
    assert attributes(think)["agent.stream.first_chunk_ms"] >= 0
    assert parent_of(spans.one("act inside")) == id_of(think)
    assert [parent_of(span) for span in spans.all if span.name == "act outside"] == [id_of(spans.one("session s"))] * 2


def test_a_generator_passes_on_what_is_sent_thrown_and_returned(spans: Spans) -> None:
    @agent_probe.think
    def echo() -> Any:
        got = yield "first"
        try:
            got = yield got
        except KeyError:
            got = yield "caught"
        return "end"

    def outer() -> Any:
        return (yield from echo())

    generator = outer()
    assert next(generator) == "first"
    assert generator.send("sent") == "sent"
    assert generator.throw(KeyError("x")) == "caught"
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "end"
    assert spans.one("think").status.status_code is StatusCode.OK


def test_a_generator_that_is_left_early_ends_its_step_and_closes(spans: Spans) -> None:
    closed = []

    @agent_probe.think
    def stream() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    for number in stream():
        if number == 2:
            break
    gc.collect()
    assert closed == [True]
    span = spans.one("think")
    assert attributes(span)["agent.stream.abandoned"] is True
    assert span.status.status_code is StatusCode.OK


def test_a_generator_that_raises_is_an_error(spans: Spans) -> None:
    @agent_probe.think
    def stream() -> Iterator[int]:
        yield 1
        raise ConnectionError("cut")

    with pytest.raises(ConnectionError):
        list(stream())
    span = spans.one("think")
    assert attributes(span)["error.type"] == "ConnectionError"
    assert len(span.events) == 1


def test_async_generators_are_steps_and_may_be_left_early_or_read_in_another_task(spans: Spans) -> None:
    @agent_probe.think("m")
    async def stream(count: int) -> AsyncIterator[str]:
        for number in range(count):
            with agent_probe.act("inside"):
                await asyncio.sleep(0)
            yield str(number)

    async def main() -> None:
        async with agent_probe.session("s"):
            reading = stream(3)
            assert await anext(reading) == "0"
            assert await asyncio.create_task(anext(reading)) == "1"  # type: ignore[arg-type]
            assert [part async for part in reading] == ["2"]
            early = stream(5)
            async for _ in early:
                break
            await early.aclose()  # type: ignore[attr-defined]
            assert trace.get_current_span().get_span_context().span_id

    asyncio.run(main())
    whole, left = spans.by_type("think")
    assert attributes(whole)["agent.output"] == "012"
    assert attributes(left)["agent.stream.abandoned"] is True
    root = id_of(spans.one("session s"))
    assert parent_of(whole) == parent_of(left) == root
    inside = [parent_of(span) for span in spans.all if span.name == "act inside"]
    assert inside == [id_of(whole)] * 3 + [id_of(left)]


def test_a_function_that_returns_a_generator_is_a_step_until_that_ends(spans: Spans) -> None:
    @agent_probe.think
    def stream() -> Iterator[str]:
        return (part for part in "xyz")

    assert list(stream()) == ["x", "y", "z"]
    assert attributes(spans.one("think"))["agent.output"] == "xyz"


def test_many_sessions_at_once_keep_their_steps_and_ids_apart(spans: Spans) -> None:
    @agent_probe.tool
    async def look() -> None:
        await asyncio.sleep(0)

    async def turn(number: int) -> None:
        async with agent_probe.session("s", session_id=f"s-{number}"):
            await asyncio.gather(look(), look())
            await asyncio.sleep(0)
            async with agent_probe.response():
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(turn(number) for number in range(100)))

    asyncio.run(main())
    roots = {id_of(span): attributes(span)["session.id"] for span in spans.by_type("session")}
    assert len(roots) == 100
    steps = spans.by_type("act") + spans.by_type("response")
    assert len(steps) == 300
    for step in steps:
        assert attributes(step)["session.id"] == roots[parent_of(step)]
    numbers = sorted((attributes(step)["session.id"], attributes(step)["agent.step.number"]) for step in steps)
    assert len(set(numbers)) == 300


def test_an_agent_called_by_an_agent_is_in_its_session_with_steps_numbered_anew(spans: Spans) -> None:
    with (
        agent_probe.session("outer", session_id="s", user_id="u"),
        agent_probe.act("delegate"),
        agent_probe.session("inner"),
        agent_probe.think("m"),
    ):
        pass
    inner = spans.one("session inner")
    assert parent_of(inner) == id_of(spans.one("act delegate"))
    assert (attributes(inner)["session.id"], attributes(inner)["user.id"]) == ("s", "u")
    assert attributes(inner)["agent.step.number"] == 2
    assert attributes(spans.one("think m"))["agent.step.number"] == 1
    assert attributes(spans.one("think m"))["agent.name"] == "inner"


def test_threads_and_executors_carry_the_step(spans: Spans) -> None:
    @agent_probe.tool
    def work() -> None:
        pass

    carrying.into_threads()
    with ThreadPoolExecutor(1) as pool:
        with agent_probe.session("s"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            pool.submit(work).result()
            list(pool.map(lambda _: work(), range(2)))
            asyncio.run(asyncio.to_thread(work))
        # The worker began in the session, and must not be in it any more.
        pool.submit(work).result()
    root = id_of(spans.one("session s"))
    assert [parent_of(span) for span in spans.by_type("act")] == [root] * 5 + [0]


def test_a_function_can_be_carried_by_hand(spans: Spans) -> None:
    with agent_probe.session("s"):
        carried = agent_probe.carry(agent_probe.tool(lambda: None))
    carried()
    assert parent_of(spans.by_type("act")[0]) == id_of(spans.one("session s"))


def test_a_cancelled_step_is_an_error_and_stays_cancelled(spans: Spans) -> None:
    @agent_probe.think("m")
    async def slow() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(slow())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    span = spans.one("think m")
    assert attributes(span)["error.type"] == "CancelledError"
    assert span.status.description == "cancelled"


def test_recording_an_error_marks_a_step_whose_exception_was_swallowed(spans: Spans) -> None:
    with agent_probe.think("m") as think:
        think.record_error(RuntimeError("swallowed"))
    assert spans.one("think m").status.description == "swallowed"


class Nasty:
    """Whatever can go wrong with a value does."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


class NastyError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_values_and_errors_that_refuse_everything_do_not_reach_the_agent(spans: Spans) -> None:
    cyclic: dict[str, Any] = {"text": "\ud800"}
    cyclic["self"] = cyclic

    @agent_probe.think
    def think(*values: Any) -> Any:
        return Nasty()

    assert isinstance(think(Nasty(), cyclic, list(range(100_000))), Nasty)
    with pytest.raises(NastyError), agent_probe.act("t") as act:
        act.set("k", Nasty()).set_tokens("many").set_cost("dear").set_model(5)  # type: ignore[arg-type]
        raise NastyError
    assert len(spans.all) == 2
    assert spans.one("act t").status.status_code is StatusCode.ERROR


def test_without_init_everything_runs_as_it_was(spans: Spans) -> None:
    """In a process of its own, as this one has a provider."""
    import subprocess
    import sys

    program = """
import agent_probe
@agent_probe.tool
def add(a, b): return a + b
with agent_probe.session("s") as session:
    session.set_output(add(1, 2))
    assert not session.recording
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=child_environment()
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
