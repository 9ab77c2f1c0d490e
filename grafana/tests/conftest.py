"""A warehouse that has seen simulated agents: the simulator writes a recording, the stream job reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "grafana"), str(ROOT / "grafana" / "tests")]

from datasource import TimeRange, Warehouse  # noqa: E402

PROGRAMS = Path(os.environ.get("SPANFLOW_PROGRAMS", ROOT / "target" / "debug"))
LOAD_S = 45 * 60
# Enough failures, loops, lost roots and bad records that every panel has something to show.
LOAD = (
    f"--duration {LOAD_S} --rate 10 --sessions 40 --error-rate 0.08 --loop-rate 0.08 --orphan-rate 0.02 --bad-rate 0.02"
)


def run(*command: str | Path, **environment: str) -> None:
    """Runs a program to its end; its output is part of the failure."""
    done = subprocess.run(
        [str(part) for part in command], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """The embedded warehouse on a free port, loaded; or the one that is named, as it is."""
    if url := os.environ.get("SPANFLOW_GRAFANA_WAREHOUSE"):
        yield Warehouse(url)
        return
    folder = tmp_path_factory.mktemp("grafana")
    for program in ("warehouse", "stream-job"):
        assert (PROGRAMS / program).exists(), f"{PROGRAMS / program} is missing: cargo build -p stream-job -p warehouse"
    with (folder / "warehouse.log").open("w") as log:
        command = [PROGRAMS / "warehouse", "serve", "--data", folder / "data", "--listen", "127.0.0.1:0"]
        server = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        said = re.match(r"listening on (\S+)", server.stdout.readline())
        assert said, f"the warehouse did not start:\n{(folder / 'warehouse.log').read_text()[-2000:]}"
        load(folder, said[1])
        yield Warehouse(said[1])
    finally:
        server.terminate()
        server.wait(timeout=30)


def load(folder: Path, url: str) -> None:
    """Agents' spans of the last three quarters of an hour, through the real job."""
    start = datetime.fromtimestamp(time.time() - LOAD_S, timezone.utc).isoformat()
    run(
        *(sys.executable, "-m", "agent_probe.simulator", "--recording", folder / "recording", "--start", start),
        *LOAD.split(),
        PYTHONPATH=str(ROOT / "agent-probe" / "src"),
    )
    settings = {
        "recording": folder / "recording",
        "clickhouse_url": url,
        "state_dir": folder / "state",
        "http_listen": "127.0.0.1:0",
    }
    run(PROGRAMS / "stream-job", "run", *(f"--set={name}={value}" for name, value in settings.items()))


@pytest.fixture(scope="session")
def time_range(warehouse: Warehouse) -> TimeRange:
    """From before the first span until just after the newest epoch has landed."""
    end = int(warehouse.ask("SELECT toUnixTimestamp(max(wall_time)) + 1 FROM ops_epoch"))
    return TimeRange(end - LOAD_S - 1800, end)
