"""Several processes, each with its share of the sessions and a Kafka client of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agent_probe.simulator.output import OutputError
from agent_probe.simulator.report import Report


def share(total: int, worker: int, workers: int) -> int:
    """A worker's share of a total; 0, which is no limit, only where the total is 0."""
    if total == 0:
        return 0
    return max(1, total * (worker + 1) // workers - total * worker // workers)


def dump(report: Report) -> dict[str, Any]:
    """The report as the parent process merges it."""
    return dict(vars(report))


def load(raw: dict[str, Any]) -> Report:
    """What :func:`dump` gave, after JSON."""
    report = Report()
    for name, value in raw.items():
        setattr(report, name, Counter(value) if isinstance(value, dict) else value)
    return report


def run(arguments: Sequence[str], count: int) -> Report:
    """Runs the workers to their end and adds their reports up. Raises :class:`OutputError` where one failed."""
    command = [sys.executable, "-m", "agent_probe.simulator", *arguments]
    running = [
        subprocess.Popen([*command, "--worker", str(worker)], stdout=subprocess.PIPE, text=True)
        for worker in range(count)
    ]

    def forward(*_: object) -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    total = Report()
    failed = []
    for worker, process in enumerate(running):
        told, _ = process.communicate()
        if process.returncode == 0:
            total.merge(load(json.loads(told.splitlines()[-1])["raw"]))
        else:
            failed.append(f"worker {worker} ended with {process.returncode}")
            forward()
    if failed:
        raise OutputError("; ".join(failed))
    return total
