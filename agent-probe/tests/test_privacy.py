"""Nothing that is not to leave does, by any path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_probe.otlp import span_body, trace_request
from agent_probe.privacy import MASK_FAILED, Privacy
from agent_probe.sender import Limits, Sender
from agent_probe.spill import SpillFolder
from recorded import dictionary
from traced import FakeTransport, decoded

SECRET = "4111-1111"


def spans_with_secrets() -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("t")
    try:
        with tracer.start_as_current_span("step") as span:
            for key in (
                "agent.input",
                "agent.output",
                "agent.tool.arguments",
                "agent.tool.result",
                "input.value",
                "output.value",
                "llm.input_messages.0.message.content",
                "gen_ai.input.messages",
                "gen_ai.prompt.0.content",
                "gen_ai.completion.0.content",
                "traceloop.entity.input",
                "error.message",
            ):
                span.set_attribute(key, f"card {SECRET}")
            span.set_attribute("retrieval.documents.0.document.content", [f"card {SECRET}"])
            span.set_attributes({"session.id": f"s-{SECRET}", "agent.step.type": "act", "gen_ai.usage.input_tokens": 9})
            span.add_event("gen_ai.user.message", {"content": f"card {SECRET}"})
            raise ValueError(f"card {SECRET}\nFile {SECRET}")
    except ValueError:
        pass
    return list(memory.get_finished_spans())


def sent(privacy: Privacy) -> tuple[bytes, dict[str, Any], Any]:
    span = spans_with_secrets()[0]
    value = trace_request([(span, span_body(span, privacy))])
    ((attributes, written),) = decoded(value)
    return value, attributes, written


def test_without_capture_no_content_leaves_but_lengths_types_and_places_do() -> None:
    value, attributes, written = sent(Privacy(capture_content=False))
    assert value.count(SECRET.encode()) == 1
    assert attributes["session.id"] == f"s-{SECRET}"
    assert attributes["agent.input.length"] == len(f"card {SECRET}")
    assert "agent.input" not in attributes
    assert attributes["gen_ai.usage.input_tokens"] == 9
    exception = next(dictionary(event.attributes) for event in written.events if event.name == "exception")
    assert exception["exception.type"] == "ValueError"
    assert re.search(r'File ".*test_privacy.py", line \d+, in spans_with_secrets$', exception["exception.stacktrace"])
    assert written.status.code == 2


def test_a_mask_sees_every_text_but_structure() -> None:
    def mask(key: str, text: str) -> str:
        return re.sub(r"\d{4}-\d{4}", "****", text)

    value, attributes, _ = sent(Privacy(mask=mask))
    assert value.count(SECRET.encode()) == 1
    assert attributes["session.id"] == f"s-{SECRET}"
    assert attributes["agent.input"] == "card ****"


def test_a_mask_that_fails_lets_nothing_through() -> None:
    for mask in (lambda key, text: 1 / 0, lambda key, text: None):
        value, attributes, _ = sent(Privacy(mask=mask))  # type: ignore[arg-type]
        assert value.count(SECRET.encode()) == 1
        assert attributes["agent.input"] == MASK_FAILED


def test_the_spill_file_has_only_what_may_leave(tmp_path: Path) -> None:
    sender = Sender(
        FakeTransport(up=False),
        lambda: SpillFolder(tmp_path, 1 << 20),
        topic="otlp_spans",
        privacy=Privacy(capture_content=False),
        limits=Limits(delay=0.01),
    )
    sender.offer(spans_with_secrets()[0])
    assert sender.shutdown(5)
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"agent.step.type" in data
    assert data.count(SECRET.encode()) == 1


def test_a_long_text_is_cut_and_its_full_length_kept() -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("t").start_span("s", attributes={"agent.input": "é" * 1000, "agent.output": "short"}).end()
    span = memory.get_finished_spans()[0]
    ((attributes, _),) = decoded(trace_request([(span, span_body(span, Privacy(max_content_chars=100)))]))
    assert attributes == {"agent.input": "é" * 100, "agent.input.length": 1000, "agent.output": "short"}
