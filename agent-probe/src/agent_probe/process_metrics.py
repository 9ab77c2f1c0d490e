"""What the process takes, and what its agents do, as OpenTelemetry metrics."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider

from agent_probe import heartbeat, runtime
from agent_probe.exporter import KafkaMetricExporter
from agent_probe.sender import Sender
from agent_probe.settings import Settings

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Resident memory; the most so far, where the present is not told."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


class _Utilization:
    """CPU time by wall time since the last look, in cores."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def __call__(self) -> float:
        cpu, wall = time.process_time(), time.monotonic()
        used = (cpu - self._cpu) / max(wall - self._wall, 1e-6)
        self._cpu, self._wall = cpu, wall
        return used


class ProcessMetrics:
    """A meter provider of its own, whatever the agent does with metrics otherwise."""

    def __init__(self, sender: Sender, tracers: TracerProvider, settings: Settings) -> None:
        """Starts; the resource is that of the spans."""
        self._sender = sender
        self._utilization = _Utilization()
        reader = PeriodicExportingMetricReader(
            KafkaMetricExporter(sender=sender, topic=settings.metrics_topic),
            export_interval_millis=settings.metrics_interval_ms,
            export_timeout_millis=settings.exit_timeout_ms,
        )
        self._provider = MeterProvider([reader], resource=tracers.resource, shutdown_on_exit=False)
        self._observe()

    def _observe(self) -> None:
        meter = self._provider.get_meter("agent_probe")
        gauge, counter = meter.create_observable_gauge, meter.create_observable_counter
        counter("process.cpu.time", [self._cpu_time], unit="s", description="CPU time of the process")
        gauge("process.cpu.utilization", [self._cpu], unit="1", description="Cores in use since the last point")
        gauge("process.memory.usage", [self._memory], unit="By", description="Resident memory")
        gauge("process.thread.count", [self._threads], unit="{thread}", description="Python threads")
        gauge("agent.event_loop.delay", [self._loop], unit="s", description="Worst delay of the loops with sessions")
        gauge("agent.sessions.active", [self._active], unit="{session}", description="Sessions that are open")
        counter("agent.sessions", [self._sessions], unit="{session}", description="Sessions begun")
        counter("agent.steps", [self._steps], unit="{step}", description="Steps ended, by type")
        counter("agent.errors", [self._errors], unit="{step}", description="Steps that failed, by type")
        counter("agent.tokens", [self._tokens], unit="{token}", description="Tokens, by gen_ai.token.type")
        counter("agent.cost", [self._cost], unit="USD", description="Cost of the tokens")
        counter("agent_probe.spans", [self._spans], unit="{span}", description="Spans, by what became of them")
        counter("agent_probe.dropped", [self._dropped], unit="{span}", description="Spans dropped, by reason")
        gauge("agent_probe.queue", [self._queue], unit="{span}", description="Spans that wait to be encoded")

    def stop(self) -> None:
        """A last export, and no more."""
        self._provider.shutdown(timeout_millis=1_000)

    def _cpu_time(self, options: CallbackOptions) -> Iterable[Observation]:
        times = os.times()
        yield Observation(times.user, {"cpu.mode": "user"})
        yield Observation(times.system, {"cpu.mode": "system"})

    def _cpu(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._utilization())

    def _memory(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(resident_bytes())

    def _threads(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(threading.active_count())

    def _loop(self, options: CallbackOptions) -> Iterable[Observation]:
        worst = heartbeat.worst_delay()
        if worst is not None:
            yield Observation(worst)

    def _active(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(runtime.COUNTS.active_sessions)

    def _sessions(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(runtime.COUNTS.sessions)

    def _steps(self, options: CallbackOptions) -> Iterable[Observation]:
        for kind, count in list(runtime.COUNTS.steps.items()):
            yield Observation(count, {"agent.step.type": kind})

    def _errors(self, options: CallbackOptions) -> Iterable[Observation]:
        for kind, count in list(runtime.COUNTS.errors.items()):
            yield Observation(count, {"agent.step.type": kind})

    def _tokens(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(runtime.COUNTS.input_tokens, {"gen_ai.token.type": "input"})
        yield Observation(runtime.COUNTS.output_tokens, {"gen_ai.token.type": "output"})

    def _cost(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(runtime.COUNTS.cost_usd)

    def _spans(self, options: CallbackOptions) -> Iterable[Observation]:
        accounts = self._sender.accounts
        yield Observation(accounts.offered, {"state": "ended"})
        yield Observation(accounts.delivered, {"state": "delivered"})
        yield Observation(accounts.spilled, {"state": "spilled"})

    def _dropped(self, options: CallbackOptions) -> Iterable[Observation]:
        dropped = dict(self._sender.accounts.dropped)
        # A counter that is there before anything was dropped can be watched.
        yield Observation(dropped.pop("queue_full", 0), {"reason": "queue_full"})
        for reason, count in dropped.items():
            yield Observation(count, {"reason": reason})

    def _queue(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._sender.queued)
