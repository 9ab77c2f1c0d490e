"""Against a real Kafka, where ``SPANFLOW_TEST_KAFKA`` names one that has the topics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent_probe.simulator.cli import main

BROKER = os.environ.get("SPANFLOW_TEST_KAFKA", "")
needs_kafka = pytest.mark.skipif(not BROKER, reason="SPANFLOW_TEST_KAFKA names no broker")
TOPICS = ("otlp_spans", "agent.conversations", "otlp_metrics")


def test_a_broker_that_is_not_there_is_an_error_after_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kafka", "127.0.0.1:1", "--wait", "1", "--duration", "1"]) == 1
    told = capsys.readouterr().err
    assert "127.0.0.1:1" in told
    assert "--wait" in told


def _ends() -> Counter[str]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": BROKER, "group.id": "agent-simulator-test"})
    ends: Counter[str] = Counter()
    for topic in TOPICS:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            ends[topic] += high - low
    consumer.close()
    return ends


def _run(*flags: str, stop_after: float = 0.0) -> dict[str, Any]:
    command = [sys.executable, "-m", "agent_probe.simulator", "--kafka", BROKER, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if stop_after:
            time.sleep(stop_after)
            process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    report: dict[str, Any] = json.loads(told.splitlines()[-1])
    return report


@needs_kafka
@pytest.mark.parametrize("workers", [1, 2])
def test_every_record_of_the_report_is_in_kafka(workers: int) -> None:
    before = _ends()
    report = _run("--rate", "300", "--sessions", "40", "--duration", "4", "--workers", str(workers))
    assert report["records"]["by_topic"] == dict(_ends() - before)
    assert report["expected"]["spans_landed"] > 300


@needs_kafka
def test_sigterm_ends_the_run_with_a_report_of_all_that_was_sent() -> None:
    before = _ends()
    report = _run("--rate", "200", "--sessions", "40", stop_after=4.0)
    assert report["records"]["by_topic"] == dict(_ends() - before)
    assert report["sessions"]["cut"] > 0


@needs_kafka
def test_kafka_and_a_recording_get_the_same_records(tmp_path: Path) -> None:
    from recorded import read

    before = _ends()
    folder = tmp_path / "recording"
    _run("--recording", str(folder), "--start", "2026-11-22T08:00:00Z", "--spans", "500")
    assert Counter(one.topic for one in read(folder)) == _ends() - before
