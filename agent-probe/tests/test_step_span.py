"""Steps' own spans beside the SDK's: what is sent must be the same, whatever is done to the span."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import Span, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

import agent_probe
from agent_probe import step, step_span
from agent_probe.exporter import ProbeSpanProcessor
from agent_probe.step_span import Maker, StepSpan
from test_sender import sender_of
from traced import FakeTransport, attributes, decoded


class Setup:
    """A provider whose only processor is the probe's, and what it sent."""

    def __init__(self, own: bool, **provider: Any) -> None:
        self.transport = FakeTransport()
        self.sender = sender_of(self.transport)
        self.processor = ProbeSpanProcessor(self.sender, 5.0)
        self.provider = TracerProvider(shutdown_on_exit=False, **provider)
        self.provider.add_span_processor(self.processor)
        self.maker = Maker.of(self.provider, step.TRACER, self.processor) if own else None

    def sent(self) -> list[tuple[dict[str, Any], Any]]:
        assert self.sender.flush(10)
        assert not self.sender.accounts.dropped
        return [one for message in self.transport.delivered for one in decoded(message.value)]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Setup]]:
    made: list[Setup] = []

    def used(own: bool = True, **provider: Any) -> Setup:
        setup = Setup(own, **provider)
        made.append(setup)
        monkeypatch.setattr(step, "_tracer", setup.provider.get_tracer(step.TRACER))
        monkeypatch.setattr(step_span, "current", setup.maker)
        return setup

    yield used
    for setup in made:
        setup.sender.shutdown(5)


def _plain() -> None:
    with agent_probe.session(
        "planner", session_id="s", user_id=7, input={"question": "Paris?", "中": [1, None]}
    ) as turn:
        with agent_probe.think("gpt-4o", provider="openai") as think:
            think.set_output("look it up").set_tokens(1000, 100)
        turn.set_output("A city.")


def _failing() -> None:
    with pytest.raises(ValueError, match="boom"), agent_probe.session("a"), agent_probe.act("search", input={"q": 1}):
        raise ValueError("boom")


def _touched_by_others() -> None:
    with agent_probe.session("a", input="x") as turn, agent_probe.response() as answer:
        here = trace.get_current_span()
        assert isinstance(here, Span)
        here.set_attributes({"by.others": [1, 2], "agent.input": "theirs"})
        here.add_event("seen", {"k": "v"})
        here.add_link(SpanContext(5 << 64, 6, True))
        here.update_name("renamed")
        turn.span.set_status(Status(StatusCode.ERROR, "said by others"))
        answer.set_output("y")


def _ended_by_others() -> None:
    with agent_probe.session("a") as turn:
        turn.span.end()
        turn.set_output("too late")


def _odd_attributes() -> None:
    odd: Any = {"list": ["a", "b"], "map": {"k": 1}, "": "no name", 5: "no text", "object": object}
    with agent_probe.session("a", attributes=odd) as turn:
        turn.set("good", 1.5).set("", "no name").set("object", {1})


def _many_attributes() -> None:
    with agent_probe.session("a") as turn:
        for number in range(200):
            turn.set(f"key.{number}", number)


def _under_a_remote_parent() -> None:
    for flags in (TraceFlags.SAMPLED, TraceFlags.DEFAULT):
        parent = NonRecordingSpan(SpanContext(7 << 64 | 1, 9, True, TraceFlags(flags)))
        with trace.use_span(parent), agent_probe.session("a"), agent_probe.response():
            pass


def _told(sent: list[tuple[dict[str, Any], Any]]) -> list[Any]:
    """Spans in order of their beginning, with ids and times that differ from run to run left out."""
    place = {span.span_id: at for at, (_, span) in enumerate(sent)}
    told = []
    for found, span in sent:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        told.append(
            {
                "parent": place.get(span.parent_span_id),
                "attributes": found,
                "events": [(event.name, sorted(pair.key for pair in event.attributes)) for event in span.events],
                "links": len(span.links),
                "status": (span.status.code, span.status.message),
                "dropped": (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count),
                "rest": (span.name, span.kind, span.flags, span.trace_state),
            }
        )
    return told


@pytest.mark.parametrize(
    "run",
    [
        _plain,
        _failing,
        _touched_by_others,
        _ended_by_others,
        _odd_attributes,
        _many_attributes,
        _under_a_remote_parent,
    ],
)
def test_what_is_sent_is_what_the_sdks_span_would_have_sent(run: Callable[[], None], use: Callable[..., Setup]) -> None:
    told = []
    for own in (True, False):
        setup = use(own)
        assert own is (setup.maker is not None)
        run()
        told.append(_told(setup.sent()))
    assert told[0] == told[1]
    assert told[0]


def test_with_the_sdk_that_is_pinned_steps_have_spans_of_their_own(use: Callable[..., Setup]) -> None:
    use()
    with agent_probe.session("a", input="x") as turn:
        assert type(turn.span) is StepSpan
        assert turn.span.attributes == {"agent.step.type": "session", "agent.name": "a", "agent.input": "x"}
        assert turn.span.is_recording()
    assert not turn.span.is_recording()
    assert (turn.span.events, turn.span.links) == ((), ())


def test_a_processor_that_is_added_gets_spans_of_the_sdk(use: Callable[..., Setup]) -> None:
    setup, memory = use(), InMemorySpanExporter()
    with agent_probe.session("a") as turn:
        setup.provider.add_span_processor(SimpleSpanProcessor(memory))
        with agent_probe.response() as answer:
            assert type(answer.span) is not StepSpan
        turn.set_output("x")
    response, session = memory.get_finished_spans()
    assert (response.name, session.name) == ("response", "session a")
    assert attributes(session)["agent.output"] == "x"
    assert len(setup.sent()) == 2


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_ON), TraceIdRatioBased(0.0)])
def test_another_sampler_is_asked(sampler: Any, use: Callable[..., Setup]) -> None:
    assert use(sampler=sampler).maker is None


@pytest.mark.parametrize(
    "limits",
    [SpanLimits(max_span_attributes=3), SpanLimits(max_span_attribute_length=5), SpanLimits(max_attribute_length=0)],
)
def test_limits_on_attributes_are_kept_by_the_sdk(limits: SpanLimits, use: Callable[..., Setup]) -> None:
    assert use(span_limits=limits).maker is None


def test_an_sdk_that_keeps_something_else_in_its_spans_makes_them_itself(
    monkeypatch: pytest.MonkeyPatch, use: Callable[..., Setup]
) -> None:
    monkeypatch.setattr(step_span, "_FIELDS", step_span._FIELDS | {"_new_in_the_next_version"})
    setup = use()
    assert setup.maker is None
    _plain()
    assert len(setup.sent()) == 2


def test_what_is_open_at_the_end_is_cut_as_an_error(use: Callable[..., Setup]) -> None:
    setup = use()
    turn = agent_probe.session("a", input="x").start()
    setup.processor.cut_open_spans(10)
    ((found, span),) = setup.sent()
    assert found["error.type"] == "process_exit"
    assert found["agent.input"] == "x"
    assert span.status.code == 2
    turn.finish()
    assert len(setup.sent()) == 1


def test_steps_and_spans_of_the_sdk_are_each_others_parents(use: Callable[..., Setup]) -> None:
    setup = use()
    tracer = setup.provider.get_tracer("theirs")
    outer, inner = (tracer.start_as_current_span(name) for name in ("outer", "inner"))
    with outer, agent_probe.session("a"), inner, agent_probe.response() as answer:
        assert type(answer.span) is StepSpan
    by_name = {span.name: span for _, span in setup.sent()}
    for child, parent in (("response", "inner"), ("inner", "session a"), ("session a", "outer")):
        assert by_name[child].parent_span_id == by_name[parent].span_id
        assert by_name[child].trace_id == by_name[parent].trace_id
        assert by_name[child].flags == by_name[parent].flags
