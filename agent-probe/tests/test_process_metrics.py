"""What the process tells of itself."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import agent_probe
from agent_probe import runtime
from agent_probe.message import Message
from agent_probe.process_metrics import ProcessMetrics
from agent_probe.settings import load
from recorded import dictionary
from test_sender import sender_of
from traced import FakeTransport, Spans


class Metrics:
    """The points of the last export, by name and attributes."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        self.sender = sender_of(self.transport)
        resource = Resource({"service.name": "measured"})
        self._metrics = ProcessMetrics(
            self.sender, TracerProvider(resource=resource), load({}, metrics_interval_ms=3_600_000)
        )

    def points(self) -> dict[str, Any]:
        self.transport.delivered.clear()
        self._metrics._provider.force_flush()
        assert self.sender.flush(10)
        message: Message = self.transport.delivered[-1]
        assert (message.topic, message.key, message.spans) == ("otlp_metrics", b"", 0)
        (resource,) = ExportMetricsServiceRequest.FromString(message.value).resource_metrics
        assert dictionary(resource.resource.attributes)["service.name"] == "measured"
        found = {}
        for metric in resource.scope_metrics[0].metrics:
            for point in list(metric.gauge.data_points) + list(metric.sum.data_points):
                name = "/".join([metric.name, *map(str, dictionary(point.attributes).values())])
                found[name] = point.as_int if point.HasField("as_int") else point.as_double
        return found

    def stop(self) -> None:
        self._metrics.stop()


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(runtime, "COUNTS", runtime.Counts())
    made = Metrics()
    yield made
    made.stop()


def test_cpu_memory_threads_and_what_agents_did_are_told(metrics: Metrics, spans: Spans) -> None:
    with agent_probe.session("s"):
        with agent_probe.think("gpt-4o-mini") as think:
            think.set_tokens(1000, 100)
        with agent_probe.act("t") as act:
            act.fail("broken")
        inside = metrics.points()
    after = metrics.points()
    assert inside["process.memory.usage"] > 10_000_000
    assert inside["process.cpu.time/user"] > 0
    assert inside["process.cpu.utilization"] > 0
    assert inside["process.thread.count"] >= 2
    assert (inside["agent.sessions.active"], after["agent.sessions.active"]) == (1, 0)
    assert after["agent.sessions"] == 1
    assert after["agent.steps/session"] == after["agent.steps/think"] == after["agent.steps/act"] == 1
    assert after["agent.errors/act"] == 1
    assert (after["agent.tokens/input"], after["agent.tokens/output"]) == (1000, 100)
    assert after["agent.cost"] == pytest.approx(0.00021)


def test_dropped_spans_are_a_metric(metrics: Metrics) -> None:
    assert metrics.points()["agent_probe.dropped/queue_full"] == 0
    metrics.sender.accounts.drop("queue_full", 3)
    metrics.sender.accounts.drop("rejected", 1)
    points = metrics.points()
    assert (points["agent_probe.dropped/queue_full"], points["agent_probe.dropped/rejected"]) == (3, 1)


def test_an_event_loop_that_was_held_up_is_told_with_how_long(metrics: Metrics, spans: Spans) -> None:
    async def main() -> None:
        async with agent_probe.session("s"):
            await asyncio.sleep(0.05)
            # What an agent must not do in a loop.
            time.sleep(0.6)
            await asyncio.sleep(0.05)

    assert "agent.event_loop.delay" not in metrics.points()
    asyncio.run(main())
    assert metrics.points()["agent.event_loop.delay"] > 0.2
