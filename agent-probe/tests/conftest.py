"""One run that most tests look at: every convention, loops, errors, duplicates, orphans. And the Kafka of this run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker import Broker
from recorded import Read, Sent, read, record, spans_of
from traced import Spans

FLAGS = (
    "--seed",
    "7",
    "--total-sessions",
    "240",
    "--sessions",
    "60",
    "--rate",
    "300",
    "--error-rate",
    "0.08",
    "--loop-rate",
    "0.1",
    "--orphan-rate",
    "0.03",
    "--duplicate-rate",
    "0.05",
)

# Where SPANFLOW_TEST_KAFKA is this word, a broker is started for the run, and its address put in the word's place.
START = "start"
_started: list[Broker] = []


def pytest_configure() -> None:
    if os.environ.get("SPANFLOW_TEST_KAFKA") == START:
        _started.append(Broker())
        os.environ["SPANFLOW_TEST_KAFKA"] = _started[0].address


def pytest_unconfigure() -> None:
    while _started:
        _started.pop().stop()
        os.environ["SPANFLOW_TEST_KAFKA"] = START


@dataclass(frozen=True)
class Run:
    """What a run told and what it wrote."""

    folder: Path
    report: dict[str, Any]
    records: list[Read]
    # Without the copies that are exact duplicates of an earlier record.
    first_records: list[Read]
    spans: list[Sent]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    report = record(folder, *FLAGS)
    records = read(folder / "recording")
    # An unkeyed copy goes to another partition: time tells which record was the first.
    newest_first = sorted(records, key=lambda one: -one.timestamp_ms)
    first = list({(one.topic, one.key, one.payload): one for one in newest_first}.values())
    return Run(folder, report, records, first, spans_of(first))


@pytest.fixture(scope="session")
def _provider() -> Spans:
    return Spans()


@pytest.fixture
def spans(_provider: Spans) -> Spans:
    """The spans of this test."""
    _provider.clear()
    return _provider
