"""Frameworks with instrumentors of their own pass through untouched: the examples, run as they are."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_probe import Collector
from traced import child_environment

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("example", "packages", "key", "expected"),
    [
        (
            "langgraph_openinference.py",
            ("langgraph", "openinference"),
            "openinference.span.kind",
            {"AGENT": 1, "LLM": 2, "TOOL": 1},
        ),
        (
            "pydantic_ai_native.py",
            ("pydantic_ai",),
            "gen_ai.operation.name",
            {"invoke_agent": 1, "chat": 2, "execute_tool": 1},
        ),
        (
            "react_steps.py",
            (),
            "agent.step.type",
            {"session": 1, "think": 2, "act": 2, "observe": 2, "response": 1},
        ),
    ],
)
def test_an_example_runs_offline_and_its_steps_arrive_in_one_trace(
    example: str, packages: tuple[str, ...], key: str, expected: dict[str, int], collector: Collector, tmp_path: Path
) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -r agent-probe/examples/requirements.txt")
    environment = child_environment(AGENT_PROBE_ENDPOINT=collector.url, AGENT_PROBE_SPILL_DIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    kinds = Counter(attributes[key] for attributes, _ in collector.spans if key in attributes)
    assert {kind: kinds[kind] for kind in expected} == expected
    assert len({span.trace_id for _, span in collector.spans}) == 1
