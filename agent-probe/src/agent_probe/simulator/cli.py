"""The command line: ``agent-simulator``, or ``python -m agent_probe.simulator``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from agent_probe.simulator import workers
from agent_probe.simulator.agents import CONVENTIONS, agents_of
from agent_probe.simulator.engine import Plan, Simulation
from agent_probe.simulator.output import Output, OutputError
from agent_probe.simulator.recording import Recording
from agent_probe.simulator.report import Report
from agent_probe.simulator.session import Rates

_NS = 1_000_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the simulator; 0 when everything sent was delivered, also after SIGTERM or Ctrl-C."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = build_parser()
    options = parser.parse_args(given)
    problem = check(options)
    if problem:
        parser.error(problem)
    try:
        if options.workers > 1 and options.worker is None:
            report = workers.run(given, options.workers)
            summary = {"settings": settings(options), **report.to_json()}
            show = summary
        else:
            report, summary = run(options)
            show = {**summary, "raw": workers.dump(report)} if options.worker is not None else summary
    except OutputError as error:
        print(f"agent-simulator: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("agent-simulator: stopped before anything was sent", file=sys.stderr)
        return 130
    if options.report is not None and options.worker is None:
        options.report.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(show, ensure_ascii=False), flush=True)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All flags; README.md says the same at more length."""
    parser = argparse.ArgumentParser(
        prog="agent-simulator",
        description="Simulated AI agents that send what instrumented agents send, and state how much that was.",
    )
    add = parser.add_argument
    add("--kafka", metavar="HOST:PORT", help="send to this Kafka; the topics must be there or come within --wait")
    add("--recording", metavar="DIR", type=Path, help="write a recording to this new or empty folder")
    add("--seed", default="1", help="the same seed and --start give the same bytes (default 1)")
    add(
        "--start",
        metavar="TIME",
        help="ISO time of the first step: as fast as possible in simulated time. Without it: live, by the wall clock",
    )
    add("--rate", type=float, default=20.0, metavar="N", help="spans a second (default 20)")
    add("--sessions", type=int, default=50, metavar="N", help="sessions at once (default 50)")
    add("--duration", type=float, default=0.0, metavar="S", help="end after so many seconds (simulated with --start)")
    add("--total-sessions", type=int, default=0, metavar="N", help="end after so many sessions")
    add("--spans", type=int, default=0, metavar="N", help="end at the first span border after so many spans")
    add("--error-rate", type=float, default=0.03, metavar="P", help="failures per model or tool call (default 0.03)")
    add("--loop-rate", type=float, default=0.01, metavar="P", help="planted loops per session (default 0.01)")
    add("--orphan-rate", type=float, default=0.002, metavar="P", help="roots lost per trace (default 0.002)")
    add("--duplicate-rate", type=float, default=0.005, metavar="P", help="records sent twice (default 0.005)")
    add("--bad-rate", type=float, default=0.0, metavar="P", help="bad records per record (default 0)")
    add(
        "--conventions", default=",".join(CONVENTIONS), metavar="A,B", help=f"of {', '.join(CONVENTIONS)} (default all)"
    )
    add("--workers", type=int, default=1, metavar="N", help="processes, --kafka only (default 1)")
    add("--batch-delay-ms", type=int, default=100, metavar="MS", help="longest wait of an ended span (default 100)")
    add(
        "--metrics-interval",
        type=float,
        default=10.0,
        metavar="S",
        help="how often a process sends metrics (default 10; 0: never)",
    )
    add("--linger-ms", type=int, default=5, metavar="MS", help="Kafka's linger.ms, at most 50 (default 5)")
    add("--wait", type=float, default=60.0, metavar="S", help="limit on waiting for Kafka and its topics (default 60)")
    add("--flush", type=float, default=30.0, metavar="S", help="limit on waiting for acknowledgements (default 30)")
    add("--report", type=Path, metavar="FILE", help="write the report there too; it is the last line on stdout anyway")
    add("--progress", action="store_true", help="one line a second on stderr")
    add("--worker", type=int, help=argparse.SUPPRESS)
    return parser


def check(options: argparse.Namespace) -> str:
    """What is wrong with the flags, or nothing."""
    if options.kafka is None and options.recording is None:
        return "nothing to write to: give --kafka HOST:PORT, --recording DIR or both"
    if options.kafka is None and options.start is None:
        return "a recording alone needs --start, such as --start 2026-11-22T08:00:00Z, so that it can be made again"
    if options.workers > 1 and options.recording is not None:
        return "--workers is for --kafka only: a recording is written by one process"
    if options.start is not None and not limited(options):
        return "with --start, time is simulated and needs an end: --duration, --total-sessions or --spans"
    for name in ("error_rate", "loop_rate", "orphan_rate", "duplicate_rate", "bad_rate"):
        if not 0 <= getattr(options, name) <= 1:
            return f"--{name.replace('_', '-')} is a probability between 0 and 1, not {getattr(options, name)}"
    for name in ("rate", "sessions", "workers", "batch_delay_ms"):
        if not getattr(options, name) > 0:
            return f"--{name.replace('_', '-')} must be more than 0"
    for name in ("metrics_interval", "duration", "total_sessions", "spans", "wait", "flush"):
        if getattr(options, name) < 0:
            return f"--{name.replace('_', '-')} must not be less than 0"
    if options.sessions < options.workers:
        return f"--sessions {options.sessions} cannot be shared by --workers {options.workers}"
    if not 0 <= options.linger_ms <= 50:
        return "--linger-ms must be between 0 and 50"
    unknown = [name for name in options.conventions.split(",") if name not in CONVENTIONS]
    if unknown:
        return f"--conventions: {unknown[0]!r} is none of {', '.join(CONVENTIONS)}"
    return start_problem(options.start)


def limited(options: argparse.Namespace) -> bool:
    """Whether the run ends by itself."""
    return bool(options.duration or options.total_sessions or options.spans)


def start_problem(start: str | None) -> str:
    """What is wrong with ``--start``, or nothing."""
    try:
        if start is not None and start_of(start) < 0:
            return "--start must not be before 1970"
    except ValueError:
        return f"--start {start!r} is not an ISO time such as 2026-11-22T08:00:00Z"
    return ""


def start_of(start: str) -> int:
    """ns since 1970; a time without an offset is UTC."""
    moment = datetime.fromisoformat(start.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    since = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * _NS + since.microseconds * 1000


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the flags ask for."""
    worker, count = options.worker or 0, options.workers
    return Plan(
        seed=options.seed,
        agents=agents_of(tuple(options.conventions.split(","))),
        rate=options.rate,
        sessions=options.sessions,
        rates=Rates(options.error_rate, options.loop_rate, options.orphan_rate),
        duplicate_rate=options.duplicate_rate,
        bad_rate=options.bad_rate,
        batch_delay_ms=options.batch_delay_ms,
        metrics_interval_s=options.metrics_interval,
        duration_s=options.duration,
        total_sessions=workers.share(options.total_sessions, worker, count),
        spans=workers.share(options.spans, worker, count),
        worker=worker,
        workers=count,
    )


def run(options: argparse.Namespace) -> tuple[Report, dict[str, Any]]:
    """One process's run: its counts, and the report as it is printed."""
    outputs = open_outputs(options)
    report = Report()
    simulation = Simulation(plan_of(options), outputs, report)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: simulation.stop())
    live = options.start is None
    start_ns = time.time_ns() if live else start_of(options.start)
    began = time.monotonic()
    try:
        simulation.run(start_ns, live, ticker(options, simulation, start_ns))
    finally:
        for output in outputs:
            output.close()
    seconds = time.monotonic() - began
    told = {
        "settings": {**settings(options), "speed": round(simulation.speed, 3)},
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time(), 3),
        **report.to_json(),
    }
    return report, told


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The flags that shape what is sent."""
    names = (
        "seed",
        "start",
        "rate",
        "sessions",
        "workers",
        "conventions",
        "error_rate",
        "loop_rate",
        "orphan_rate",
        "duplicate_rate",
        "bad_rate",
        "batch_delay_ms",
        "metrics_interval",
        "duration",
        "total_sessions",
        "spans",
    )
    return {name: getattr(options, name) for name in names}


def open_outputs(options: argparse.Namespace) -> list[Output]:
    """The outputs asked for, ready to take records."""
    outputs: list[Output] = []
    if options.recording is not None:
        outputs.append(Recording(options.recording, options.seed))
    if options.kafka is not None:
        # Only here: a recording can be written where confluent-kafka has no wheel.
        from agent_probe.simulator.kafka import Kafka

        outputs.append(Kafka(options.kafka, options.wait, options.flush, options.linger_ms))
    return outputs


def ticker(options: argparse.Namespace, simulation: Simulation, start_ns: int) -> Callable[[int], None]:
    """Prints progress, and stops a worker whose parent is gone."""
    shown_at = time.monotonic()
    shown_spans = 0
    parent = os.getppid()

    def tick(now_ns: int) -> None:
        nonlocal shown_at, shown_spans
        now = time.monotonic()
        if now - shown_at < 1.0:
            return
        if options.worker is not None and os.getppid() != parent:
            simulation.stop()
        report = simulation.report
        sent = report.spans["landed"]
        if options.progress:
            print(
                f"{(now_ns - start_ns) / _NS:8.1f} s  {sent} spans ({(sent - shown_spans) / (now - shown_at):.0f}/s)  "
                f"{sum(report.records.values())} records  {sum(report.errors_by_step_type.values())} errors  "
                f"{report.sessions['started'] - report.sessions['finished']} sessions open",
                file=sys.stderr,
                flush=True,
            )
        shown_at, shown_spans = now, sent

    return tick
