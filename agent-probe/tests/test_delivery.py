"""With a real Kafka: the one of ``SPANFLOW_TEST_KAFKA``, and for killing, one of its own."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import broker
from agent_probe.exporter import KafkaMetricExporter, KafkaSpanExporter, ProbeSpanProcessor, make_sender
from agent_probe.settings import load
from test_sender import await_that, make_spans
from traced import decoded

ADDRESS = os.environ.get("SPANFLOW_TEST_KAFKA", "")
pytestmark = pytest.mark.skipif(not ADDRESS, reason="SPANFLOW_TEST_KAFKA names no broker")
SESSIONS = int(os.environ.get("AGENT_PROBE_TEST_SESSIONS", "1000"))


@pytest.fixture
def topic() -> str:
    """A topic of the test's own."""
    name = f"probe-test-{uuid.uuid4().hex[:8]}"
    broker.make_topic(ADDRESS, name)
    return name


def test_the_exporter_alone_works_with_any_provider(topic: str, tmp_path: Path) -> None:
    exporter = KafkaSpanExporter(ADDRESS, topic=topic, spill_dir=str(tmp_path))
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    for number in range(10):
        with provider.get_tracer("t").start_as_current_span(f"root {number}") as span:
            span.set_attribute("agent.input", "中文 " * 100)
            provider.get_tracer("t").start_span("child").end()
    assert provider.force_flush(30_000)
    assert exporter.force_flush(30_000)
    records = broker.read_topic(ADDRESS, topic)
    assert len(records) == 10
    for key, value in records:
        spans = decoded(value)
        assert len(spans) == 2
        assert {span.trace_id.hex().encode() for _, span in spans} == {key}
    provider.shutdown()
    assert exporter.accounts.delivered == 20


def test_metrics_arrive(topic: str, tmp_path: Path) -> None:
    exporter = KafkaMetricExporter(ADDRESS, topic=topic, spill_dir=str(tmp_path))
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)])
    provider.get_meter("m").create_counter("c").add(5)
    assert provider.force_flush(30_000)
    assert exporter.force_flush(30_000)
    ((key, value),) = broker.read_topic(ADDRESS, topic)
    assert key is None
    (metric,) = ExportMetricsServiceRequest.FromString(value).resource_metrics[0].scope_metrics[0].metrics
    assert metric.sum.data_points[0].as_int == 5
    provider.shutdown()


def test_a_topic_that_comes_later_gets_everything(tmp_path: Path) -> None:
    name = f"probe-late-{uuid.uuid4().hex[:8]}"
    sender = make_sender(load({}, bootstrap_servers=ADDRESS, spans_topic=name, spill_dir=str(tmp_path)))
    for span in make_spans(30, traces=30):
        sender.offer(span)
    await_that(lambda: sender.accounts.spilled == 30, "spans without a topic are in the spill file")
    broker.make_topic(ADDRESS, name)
    assert sender.flush(60)
    assert len(broker.read_topic(ADDRESS, name)) == 30
    assert sender.shutdown(5)


def test_a_message_that_the_topic_refuses_is_counted_and_does_not_hold_up_others(tmp_path: Path) -> None:
    name = f"probe-small-{uuid.uuid4().hex[:8]}"
    broker.make_topic(ADDRESS, name, 1, {"max.message.bytes": "20000"})
    sender = make_sender(
        load({}, bootstrap_servers=ADDRESS, spans_topic=name, spill_dir=str(tmp_path), max_content_chars=1 << 20)
    )
    incompressible = random.Random(1).randbytes(100_000).hex()
    for span in make_spans(2, text=incompressible) + make_spans(1):
        sender.offer(span)
    assert sender.flush(60)
    assert sender.accounts.dropped == {"rejected": 2}
    assert sender.accounts.delivered == 1
    assert sender.shutdown(5)


@pytest.fixture
def own_broker() -> Iterator[broker.Broker]:
    made = broker.Broker()
    yield made
    made.stop()


def test_kafka_killed_and_restarted_amid_sessions_loses_no_span(own_broker: broker.Broker, tmp_path: Path) -> None:
    """Every span that was started is in the topic; what is there twice is there byte for byte."""
    sender = make_sender(load({}, bootstrap_servers=own_broker.address, spill_dir=str(tmp_path), spill_after_ms=1_000))
    provider = TracerProvider()
    provider.add_span_processor(ProbeSpanProcessor(sender, 5.0))
    tracer = provider.get_tracer("t")
    started: list[int] = []
    stop = threading.Event()

    async def session(number: int) -> None:
        # Sessions overlap the kill, the outage and the restart, whenever those are.
        turn = 0
        while turn < 3 or not stop.is_set():
            with tracer.start_as_current_span("session", attributes={"session.id": f"s-{number}"}) as root:
                started.append(root.get_span_context().span_id)
                for step in ("think", "act", "observe", "response"):
                    with tracer.start_as_current_span(step, attributes={"agent.input": "x" * 200}) as span:
                        started.append(span.get_span_context().span_id)
                        await asyncio.sleep(random.uniform(0.1, 0.4))
            turn += 1

    async def sessions() -> None:
        await asyncio.gather(*(session(number) for number in range(SESSIONS)))

    agent = threading.Thread(target=lambda: asyncio.run(sessions()), daemon=True)
    agent.start()
    await_that(lambda: sender.accounts.delivered > SESSIONS, "spans are arriving", 60)
    own_broker.kill()
    spilled_from = sender.accounts.spilled
    await_that(lambda: sender.accounts.spilled > spilled_from + 2 * SESSIONS, "spans are spilled", 60)
    own_broker.start()
    delivered_from = sender.accounts.delivered
    await_that(lambda: sender.accounts.delivered > delivered_from + 2 * SESSIONS, "spans arrive again", 120)
    stop.set()
    agent.join(120)
    assert not agent.is_alive()
    began = time.monotonic()
    assert sender.flush(120), f"not flushed after {time.monotonic() - began:.0f} s: {sender.accounts}"
    assert not sender.accounts.dropped
    records = broker.read_topic(own_broker.address, "otlp_spans", 120)
    copies: dict[bytes, set[bytes]] = {}
    landed: Counter[int] = Counter()
    for _, value in records:
        for _, span in decoded(value):
            landed[int.from_bytes(span.span_id, "big")] += 1
            copies.setdefault(span.span_id, set()).add(span.SerializeToString())
    twice = sum(count - 1 for count in landed.values())
    print(f"{SESSIONS} sessions, {len(started)} spans, {sender.accounts.spilled} spilled, {twice} copies")
    assert set(landed) == set(started)
    assert len(started) == len(set(started))
    assert all(len(forms) == 1 for forms in copies.values())
    assert sender.shutdown(5)
