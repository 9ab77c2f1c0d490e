"""How each instrumentation writes a step down as a span.

A writer gives a span's body and the step type that contracts say it has; ``None`` where the convention has no such
step. Attributes are those of the packages named in each module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent_probe.simulator import wire
from agent_probe.simulator.agents import Agent
from agent_probe.simulator.session import Message, Session, Step, Turn
from agent_probe.simulator.text import to_json

EVENT_STACK = "exception.stacktrace"


@dataclass(frozen=True)
class Place:
    """Where a step stands, and when it happened: ns since 1970."""

    session: Session
    turn: Turn
    step: Step
    start_ns: int
    end_ns: int

    @property
    def parent_id(self) -> bytes:
        """Id of the parent span, empty at a root."""
        return b"" if self.step.parent < 0 else self.turn.steps[self.step.parent].span_id


@dataclass(frozen=True)
class Written:
    """A span as written."""

    body: bytes
    step_type: str
    error: bool
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanousd: int = 0


Writer = Callable[[Place], "Written | None"]


def messages_json(messages: tuple[Message, ...], form: str, render: Callable[[Message], object]) -> bytes:
    """A JSON array of messages in UTF-8; each message is rendered once per form, however many calls repeat it."""
    pieces = []
    for message in messages:
        piece = message.rendered.get(form)
        if piece is None:
            piece = message.rendered[form] = to_json(render(message)).encode()
        pieces.append(piece)
    return b"[" + b", ".join(pieces) + b"]"


def exception(place: Place) -> bytes:
    """The event of ``record_exception``; nothing where the step did not fail."""
    failure = place.step.failure
    if failure is None:
        return b""
    return wire.exception_event(
        place.end_ns,
        (
            ("exception.type", failure.type),
            ("exception.message", failure.message),
            (EVENT_STACK, failure.stack),
            ("exception.escaped", "False"),
        ),
    )


def body(place: Place, name: str, kind: int, attributes: bytes, events: bytes, state: bytes) -> bytes:
    """The span's body at its place."""
    return wire.span(
        place.turn.trace_id,
        place.step.span_id,
        place.parent_id,
        name,
        kind,
        place.start_ns,
        place.end_ns,
        attributes=attributes,
        events=events,
        state=state,
    )


def scopes_of(agent: Agent) -> tuple[tuple[str, str], ...]:
    """Instrumentation scopes that the agent's spans come under: (name, version); the first has the model's calls."""
    return {
        "probe": (("agent_probe", "0.1.0"),),
        "langchain": (("openinference.instrumentation.langchain", "0.1.80"),),
        "openai": (("openinference.instrumentation.openai", "0.1.66"), ("shopping_guide", "")),
        "anthropic": (("opentelemetry.instrumentation.anthropic", "1.3b0"),),
        "workflow": (("opentelemetry.instrumentation.openai_v2", "2.4b0"),),
        "sdk": (("opentelemetry.instrumentation.openai.v1", "0.62.4"), ("traceloop.tracer", "0.62.4")),
        "old": (("opentelemetry.instrumentation.openai.v1", "0.33.12"), ("traceloop.tracer", "0.33.12")),
        "document": (("", ""),),
    }[agent.dialect]
