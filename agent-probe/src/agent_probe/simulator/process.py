"""What the simulated agents' processes take: the metrics that the probe sends of a process."""

from __future__ import annotations

import struct
from collections.abc import Callable

from agent_probe.simulator import wire
from agent_probe.simulator.output import METRICS, Record
from agent_probe.simulator.randomness import Draw

_GAUGE, _SUM = b"\x2a", b"\x3a"
# Temporality and monotonic, of a sum.
_CUMULATIVE = b"\x10\x02\x18\x01"
_SECOND = 1_000_000_000
_MB = 1 << 20
_CPU_SECONDS_A_SPAN = 0.004
_IDLE_CPU_SHARE = 0.01
_GROWTH_BYTES_A_SPAN = 20_000
# From here on a process gives memory back.
_LARGEST_BYTES = 600 * _MB


class Process:
    """One agent process: speaks of itself every ``period_ns``."""

    def __init__(
        self,
        resource: bytes,
        draw: Draw,
        period_ns: int,
        spans: Callable[[], int],
        send: Callable[[Record, int], None],
    ) -> None:
        """``resource`` is its exporter's field, ``spans()`` how many spans have ended in it.

        ``send(record, points)`` is called with every record.
        """
        self._resource = resource
        self._draw = draw
        self._period_ns = period_ns
        self._spans = spans
        self._send = send
        self._seen = 0
        self._start_ns = 0
        self._user, self._system = draw.uniform(0.5, 1.5), draw.uniform(0.1, 0.3)
        self._resident = draw.uniform(80, 160) * _MB

    def act(self, now_ns: int) -> int | None:
        """Sends what it takes now."""
        self._start_ns = self._start_ns or now_ns
        ended = self._spans()
        spans, self._seen = ended - self._seen, ended
        seconds = self._period_ns / _SECOND
        self._user += spans * _CPU_SECONDS_A_SPAN * self._draw.uniform(0.8, 1.2) + seconds * _IDLE_CPU_SHARE
        self._system += spans * _CPU_SECONDS_A_SPAN * 0.2
        self._resident += spans * _GROWTH_BYTES_A_SPAN
        if self._resident > _LARGEST_BYTES:
            self._resident *= 0.4
        loop_delay = self._draw.uniform(0.0005, 0.004) + (0.2 if self._draw.chance(0.01) else 0)
        times = self._start_ns, now_ns
        by_mode = (("user", self._user), ("system", self._system))
        cpu = [_point(used, *times, ("cpu.mode", mode)) for mode, used in by_mode]
        gauges = (
            ("process.memory.usage", "By", self._resident),
            ("process.thread.count", "{thread}", 8 + int(self._draw.uniform(0, 4))),
            ("agent.event_loop.delay", "s", loop_delay),
        )
        metrics = [_metric("process.cpu.time", "s", _SUM, cpu, _CUMULATIVE)]
        metrics += [_metric(name, unit, _GAUGE, [_point(value, 0, now_ns)]) for name, unit, value in gauges]
        # Its messages have the numbers of those with spans.
        payload = wire.request(self._resource, [(wire.scope("agent_probe", ""), metrics)])
        self._send(Record(METRICS, None, (), payload, now_ns // 1_000_000), len(cpu) + len(gauges))
        return now_ns + self._period_ns


def _point(value: float, start_ns: int, time_ns: int, *pairs: wire.Pair) -> bytes:
    """``NumberDataPoint``."""
    start = b"\x11" + struct.pack("<Q", start_ns) if start_ns else b""
    attributes = b"".join([wire.sized(b"\x3a", wire.key_value(pair)) for pair in pairs])
    return start + struct.pack("<cQcd", b"\x19", time_ns, b"\x21", value) + attributes


def _metric(name: str, unit: str, kind: bytes, points: list[bytes], more: bytes = b"") -> bytes:
    """``Metric``, with its points as the kind that the tag says."""
    data = b"".join([wire.sized(b"\x0a", point) for point in points]) + more
    return wire.sized(b"\x0a", name.encode()) + wire.sized(b"\x1a", unit.encode()) + wire.sized(kind, data)
