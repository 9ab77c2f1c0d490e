"""Down to the rows of the warehouse, where ``SPANFLOW_TEST_DEMO`` names the ``demo.env`` of a running local system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from agent_probe.exporter import make_sender
from agent_probe.settings import load
from agent_probe.spill import SpillFolder
from test_sender import make_spans
from traced import SOURCES, child_environment

DEMO = os.environ.get("SPANFLOW_TEST_DEMO", "")
pytestmark = pytest.mark.skipif(not DEMO, reason="SPANFLOW_TEST_DEMO names no demo.env")
TESTS = Path(__file__).resolve().parent

# Conversation, step, number, tool, status, error type, tokens in and out, number of the parent's step (0: the root).
EXPECTED = [
    ("good", "session", 0, "", "ok", "", 0, 0, None),
    ("good", "think", 1, "", "ok", "", 100, 10, 0),
    ("good", "act", 2, "weather", "ok", "", 0, 0, 0),
    ("good", "observe", 3, "weather", "ok", "", 0, 0, 0),
    ("good", "think", 4, "", "ok", "", 100, 10, 3),
    ("good", "response", 5, "", "ok", "", 0, 0, 0),
    ("llm", "session", 0, "", "error", "APIError", 0, 0, None),
    ("llm", "think", 1, "", "error", "APIError", 0, 0, 0),
    ("llm", "response", 2, "", "error", "APIError", 0, 0, 0),
    ("tool", "session", 0, "", "ok", "", 0, 0, None),
    ("tool", "think", 1, "", "ok", "", 100, 10, 0),
    ("tool", "act", 2, "weather", "error", "tool_failure", 0, 0, 0),
    ("tool", "observe", 3, "weather", "ok", "", 0, 0, 0),
    ("tool", "think", 4, "", "ok", "", 100, 10, 3),
    ("tool", "think", 5, "", "error", "bad_json", 100, 10, 0),
    ("tool", "think", 6, "", "ok", "", 100, 10, 0),
    ("tool", "response", 7, "", "ok", "", 0, 0, 0),
]


def _facts() -> dict[str, str]:
    lines = Path(DEMO).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _query(sql: str) -> list[dict[str, Any]]:
    facts = _facts()
    url = f"{facts['CLICKHOUSE_URL']}/?database={facts['CLICKHOUSE_DATABASE']}"
    request = urllib.request.Request(url, f"{sql} FORMAT JSONEachRow".encode())
    if facts.get("CLICKHOUSE_TOKEN"):
        request.add_header("Authorization", f"Bearer {facts['CLICKHOUSE_TOKEN']}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]


def _await_rows(sql: str, count: int) -> list[dict[str, Any]]:
    limit = time.monotonic() + 60
    while len(rows := _query(sql)) < count:
        assert time.monotonic() < limit, f"{len(rows)} of {count} rows landed within 60 s"
        time.sleep(0.2)
    return rows


async def _converse() -> None:
    """In a process of its own, as ``init`` is for a whole process."""
    from src.agent import Agent
    from src.executor import ToolExecutor

    from test_jollyagent import APIError, Scripted, answer, call, weather

    scripts: dict[str, list[Any]] = {
        "good": [call("weather", city="Paris"), answer("Sunny.")],
        "llm": [APIError("429")],
        "tool": [call("weather", city="Atlantis"), {"thought": "again"}, "{not json", answer("Unknown.")],
    }
    for conversation, replies in scripts.items():
        agent = Agent(Scripted(*replies), ToolExecutor({"weather": weather}))
        await agent.start_conversation(conversation)
        await agent.process_message("?")


def test_a_failing_tool_bad_json_an_llm_error_and_a_good_answer_are_right_in_the_warehouse(tmp_path: Path) -> None:
    service = f"jolly-{uuid.uuid4().hex[:8]}"
    paths = os.pathsep.join(str(path) for path in (SOURCES, TESTS, TESTS / "jolly"))
    program = f"""
import asyncio, agent_probe
with agent_probe.init(service_name={service!r}, instrument="jollyagent"):
    import test_warehouse
    asyncio.run(test_warehouse._converse())
"""
    environment = child_environment(
        PYTHONPATH=paths,
        AGENT_PROBE_BOOTSTRAP_SERVERS=_facts()["KAFKA_BOOTSTRAP_SERVERS"],
        AGENT_PROBE_SPILL_DIR=str(tmp_path),
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=120)
    rows = _await_rows(f"SELECT * FROM dwd_span WHERE agent = '{service}' ORDER BY session_id, step_no", len(EXPECTED))
    numbers = {row["span_id"]: row["step_no"] for row in rows}
    assert [
        (
            row["session_id"],
            row["step_type"],
            row["step_no"],
            row["tool_name"],
            row["status"],
            row["error_type"],
            int(row["input_tokens"]),
            int(row["output_tokens"]),
            numbers[row["parent_span_id"]] if row["parent_span_id"] else None,
        )
        for row in rows
    ] == EXPECTED
    assert {row["convention"] for row in rows} == {"agent"}
    costs = {row["step_type"]: int(row["cost_nanousd"]) for row in rows if row["session_id"] == "good"}
    assert costs == {"session": 0, "think": 21_000, "act": 0, "observe": 0, "response": 0}
    failed = next(row for row in rows if row["status"] == "error" and row["step_type"] == "think")
    assert failed["error_message"] == "429"
    assert "APIError" in failed["error_stack"]


def test_a_spilled_copy_that_is_sent_twice_is_one_row(tmp_path: Path) -> None:
    """As after a process that died while it was sending its spill file."""
    from confluent_kafka import Producer

    spans = make_spans(5)
    away = make_sender(load({}, bootstrap_servers="127.0.0.1:1", spill_dir=str(tmp_path), exit_timeout_ms=2_000))
    for span in spans:
        away.offer(span)
    assert away.shutdown(10)
    (root,) = tmp_path.iterdir()
    kept = SpillFolder(root, 1 << 20).read(100, 1 << 20)
    assert sum(message.spans for _, message in kept) == 5
    producer = Producer({"bootstrap.servers": _facts()["KAFKA_BOOTSTRAP_SERVERS"]})
    for _ in range(3):
        for _, message in kept:
            producer.produce(message.topic, message.value, message.key)
        assert producer.flush(30) == 0
    context = spans[0].get_span_context()
    assert context is not None
    trace_id = f"{context.trace_id:032x}"
    records = f"SELECT spans_landed, spans_duplicate FROM ods_record WHERE key = '{trace_id}'"
    landed = _await_rows(records, 3 * len(kept))
    assert sum(row["spans_landed"] for row in landed) == 5
    assert sum(row["spans_duplicate"] for row in landed) == 10
    assert len(_query(f"SELECT span_id FROM dwd_span WHERE trace_id = '{trace_id}'")) == 5


def test_what_a_process_takes_is_points_and_a_minute_of_it(tmp_path: Path) -> None:
    service = f"metered-{uuid.uuid4().hex[:8]}"
    program = f"""
import agent_probe
with agent_probe.init(service_name={service!r}):
    with agent_probe.session(session_id="s", user_id="u"), agent_probe.think():
        # Something that a counter of CPU time shows.
        sum(range(3_000_000))
"""
    environment = child_environment(
        PYTHONPATH=str(SOURCES),
        AGENT_PROBE_BOOTSTRAP_SERVERS=_facts()["KAFKA_BOOTSTRAP_SERVERS"],
        AGENT_PROBE_SPILL_DIR=str(tmp_path),
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=120)
    (minute,) = _await_rows(f"SELECT * FROM dws_resource_1m_latest WHERE agent = '{service}'", 1)
    assert int(minute["samples"]) >= 1
    assert 0 < int(minute["cpu_time_us"]) < 60_000_000
    assert 10_000_000 < int(minute["memory_max_bytes"]) < 2_000_000_000
    assert minute["threads_max"] >= 1
    points = _query(f"SELECT * FROM dwd_metric_point WHERE agent = '{service}'")
    assert {point["instance"] for point in points} == {minute["instance"]} != {""}
    ended = {
        point["attributes"]["agent.step.type"]: point["value"] for point in points if point["metric"] == "agent.steps"
    }
    assert ended == {"session": 1, "think": 1}
    kinds = {point["metric"]: (point["kind"], point["temporality"], point["monotonic"]) for point in points}
    assert kinds["process.cpu.time"] == ("sum", "cumulative", True)
    assert kinds["process.memory.usage"] == ("gauge", "", False)
    records = _query("SELECT points, points_landed FROM ods_record WHERE topic = 'otlp_metrics'")
    assert sum(int(record["points_landed"]) for record in records) >= len(points) > 10
