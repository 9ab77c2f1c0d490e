"""``agent-probe doctor`` and ``agent-probe tail``."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import broker
from agent_probe import tail
from agent_probe.cli import main
from agent_probe.doctor import BAD, GOOD, Finding, examine, skew
from agent_probe.otlp import UNCHANGED, span_body, trace_request
from agent_probe.reading import spans as read_spans
from agent_probe.settings import load
from test_sender import make_spans

ADDRESS = os.environ.get("SPANFLOW_TEST_KAFKA", "")
needs_kafka = pytest.mark.skipif(not ADDRESS, reason="SPANFLOW_TEST_KAFKA names no broker")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AGENT_PROBE_", "OTEL_", "KAFKA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AGENT_PROBE_SPILL_DIR", str(tmp_path / "spill"))


def wrong(**settings: Any) -> list[Finding]:
    return [finding for finding in examine(load(os.environ, **settings)) if finding.state == BAD]


def test_a_broker_that_is_not_there_is_told_with_what_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--kafka", "127.0.0.1:1"]) == 1
    told = capsys.readouterr().out
    assert "nothing answers at 127.0.0.1:1: Connection refused" in told
    assert "is Kafka running" in told
    assert "1 thing is wrong" in told


def test_a_host_that_does_not_exist_and_an_address_that_is_none_are_told_apart() -> None:
    assert "no host 'kafka.invalid'" in wrong(bootstrap_servers="kafka.invalid:9092")[0].what
    assert "'kafka' is no address" in wrong(bootstrap_servers="kafka")[0].what


def test_something_that_is_no_kafka_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (finding,) = wrong(bootstrap_servers=f"127.0.0.1:{server.getsockname()[1]}")
    assert "does not answer as Kafka does" in finding.what


def test_a_spill_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    findings = wrong(bootstrap_servers="127.0.0.1:1", spill_dir=str(tmp_path / "file"))
    assert "the spill folder" in findings[0].what


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [(100.0, GOOD), (96.0, GOOD), (104.9, GOOD), (40.0, "60 s ahead of Kafka's"), (3_701.0, "3600 s behind Kafka's")],
)
def test_a_clock_that_is_off_is_told_with_how_much(theirs: float, expected: str) -> None:
    finding = skew(theirs, 100.0, 101.0, "Kafka's")
    assert expected in (finding.what if finding.state == BAD else GOOD)


def _collector(status: int, date: str | None = None) -> tuple[HTTPServer, str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response_only(status)
            self.send_header("date", date or self.date_time_string())
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


def test_a_collector_is_asked_and_its_clock_held_against_ours() -> None:
    for status, date, expected in (
        (200, None, ""),
        (401, None, "answers 401"),
        (200, "Mon, 01 Jan 2024 00:00:00 GMT", "ahead of the Collector's"),
    ):
        server, url = _collector(status, date)
        try:
            findings = wrong(endpoint=url)
        finally:
            server.shutdown()
            server.server_close()
        assert [expected in finding.what for finding in findings] == ([True] if expected else [])


@needs_kafka
def test_with_kafka_as_it_should_be_all_is_well_and_nothing_is_left_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--kafka", ADDRESS]) == 0
    told = capsys.readouterr().out
    assert "the topic otlp_spans for spans is there, with 6 partitions" in told
    assert "clock agrees with Kafka's" in told
    assert "1,000,000 bytes, the largest that the probe makes, is taken" in told
    limit = time.monotonic() + 20
    while True:
        topics = AdminClient({"bootstrap.servers": ADDRESS}).list_topics(timeout=10).topics
        if not any(name.startswith("agent-probe-doctor") for name in topics):
            break
        assert time.monotonic() < limit, "the doctor's topic is still there"


@needs_kafka
def test_a_topic_that_is_missing_or_takes_too_little_is_told() -> None:
    name = f"probe-narrow-{uuid.uuid4().hex[:8]}"
    broker.make_topic(ADDRESS, name, 1, {"max.message.bytes": "50000"})
    found = wrong(bootstrap_servers=ADDRESS, spans_topic=name, metrics_topic="nowhere")
    assert "takes messages of up to 50,000 bytes" in found[0].what
    assert "AGENT_PROBE_MAX_MESSAGE_BYTES=49000" in found[0].advice
    assert "there is no topic nowhere for metrics" in found[1].what


@needs_kafka
def test_tail_shows_steps_of_the_session_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"probe-tail-{uuid.uuid4().hex[:8]}"
    broker.make_topic(ADDRESS, name, 2)
    monkeypatch.setenv("AGENT_PROBE_SPANS_TOPIC", name)
    producer = Producer({"bootstrap.servers": ADDRESS})
    for span in make_spans(3, text="a question"):
        producer.produce(name, trace_request([(span, span_body(span, UNCHANGED))]))
    producer.produce(name, b"no protobuf")
    assert producer.flush(20) == 0
    assert main(["tail", "--kafka", ADDRESS, "--from-start", "--count", "3"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3
    assert sum("a question" in line for line in told) == 2


def test_tail_of_a_broker_that_is_not_there_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_ANSWER_SECONDS", 1.0)
    assert main(["tail", "--kafka", "127.0.0.1:1"]) == 1
    assert "agent-probe doctor" in capsys.readouterr().err


def test_a_line_tells_the_step(spans: Any) -> None:
    import agent_probe

    with agent_probe.session("s", session_id="s-1"):
        with agent_probe.think("gpt-4o", input="why?") as think:
            think.set_tokens(10, 5).set_output("be\ncause")
        with agent_probe.act("search") as act:
            act.fail("tool_failure", "no such city")
    value = trace_request([(span, span_body(span, UNCHANGED)) for span in spans.all])
    think_line, act_line, _ = (tail.line(span) for span in read_spans(value))
    assert "tests s-1 think     think gpt-4o" in think_line
    assert "10→5 tokens) why? → be cause" in think_line
    assert "✗ tool_failure: no such city" in act_line
