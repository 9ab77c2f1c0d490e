"""Spans as tests look at them: from the SDK in this process, and from OTLP bytes by the official classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_probe.message import Message
from agent_probe.transport import Done, Outcome
from recorded import dictionary

SOURCES = Path(__file__).resolve().parent.parent / "src"


def child_environment(**more: str) -> dict[str, str]:
    """For another Python process, which is to find the package, and none of the caller's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AGENT_PROBE_", "OTEL_", "KAFKA_"))}
    return {**kept, "PYTHONPATH": str(SOURCES), **more}


class Spans:
    """What ended so far in this process."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        provider = TracerProvider(resource=Resource({"service.name": "tests"}))
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        trace.set_tracer_provider(provider)

    def clear(self) -> None:
        self._memory.clear()

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self._memory.get_finished_spans())

    def one(self, name: str) -> ReadableSpan:
        found = [span for span in self.all if span.name == name]
        assert len(found) == 1, [span.name for span in self.all]
        return found[0]

    def by_type(self, kind: str) -> list[ReadableSpan]:
        found = [span for span in self.all if attributes(span).get("agent.step.type") == kind]
        return sorted(found, key=lambda span: span.start_time or 0)


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def parent_of(span: ReadableSpan) -> int:
    return 0 if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def decoded(value: bytes) -> list[tuple[dict[str, Any], Any]]:
    """Attributes and span of each span in a message."""
    request = ExportTraceServiceRequest.FromString(value)
    return [
        (dictionary(span.attributes), span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@dataclass
class FakeTransport:
    """Answers as it is told to: ``up`` delivers, else the message comes back."""

    up: bool = True
    # Takes messages and never answers.
    silent: bool = False
    rejecting: bool = False
    room: bool = True
    by_trace: bool = True
    deadline: float = float("inf")
    quiet_until: float = 0.0

    def __post_init__(self) -> None:
        self.delivered: list[Message] = []
        self.tried = 0
        self._answers: list[tuple[int, Outcome, str]] = []
        self._done: Done | None = None

    def open(self, done: Done) -> None:
        self._done = done

    def submit(self, number: int, message: Message) -> bool:
        self.tried += 1
        if not self.room:
            return False
        if self.silent:
            return True
        if self.rejecting:
            self._answers.append((number, Outcome.REJECTED, "too large"))
        elif self.up:
            self.delivered.append(message)
            self._answers.append((number, Outcome.DELIVERED, ""))
        else:
            self._answers.append((number, Outcome.RETRY, "away"))
        return True

    def poll(self, seconds: float) -> None:
        answers, self._answers = self._answers, []
        assert self._done is not None
        for answer in answers:
            self._done(*answer)

    def abandon(self) -> None:
        self._answers = []

    def close(self) -> None:
        pass

    @property
    def span_ids(self) -> list[bytes]:
        return [span.span_id for message in self.delivered for _, span in decoded(message.value)]
