"""How spans become records: what ``BatchSpanProcessor`` and a Kafka exporter do in one agent process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent_probe.simulator import wire
from agent_probe.simulator.agents import Agent
from agent_probe.simulator.convention import Written, scopes_of
from agent_probe.simulator.output import SPANS, Record

# The SDK's OTEL_BSP_MAX_EXPORT_BATCH_SIZE.
MAX_BATCH = 512
_MODEL_CALLS = ("think", "embedding")
_PROBE_HEADERS = (("content-type", b"application/x-protobuf"),)

Deliver = Callable[[Record, int, int], None]


@dataclass(frozen=True)
class _Queued:
    trace_id: bytes
    scope: int
    body: bytes


class Exporter:
    """One agent process: collects ended spans and hands over a batch whenever it is due."""

    def __init__(self, agent: Agent, instance: str, deliver: Deliver) -> None:
        """``deliver(record, spans, now_ns)`` is called with every record and the number of its spans."""
        self._agent = agent
        self._deliver = deliver
        self._queue: list[_Queued] = []
        scopes = scopes_of(agent)
        self._scopes = [wire.scope(*named) for named in scopes]
        pairs: list[wire.Pair] = [
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.sdk.version", "1.45.2"),
            ("service.name", agent.name),
            ("service.instance.id", instance),
            ("deployment.environment.name", "demo"),
        ]
        if agent.namespace:
            pairs.append(("service.namespace", agent.namespace))
        self.resource = wire.resource(pairs)
        # How many spans have ended in it.
        self.spans = 0
        # The probe splits a batch by trace and keys each record; other exporters send a batch as it is.
        self._by_trace = agent.convention == "agent"

    def add(self, trace_id: bytes, written: Written, now_ns: int) -> None:
        """A span has ended."""
        self.spans += 1
        scope = 0 if len(self._scopes) == 1 or written.step_type in _MODEL_CALLS else 1
        self._queue.append(_Queued(trace_id, scope, written.body))
        if len(self._queue) >= MAX_BATCH:
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Hands over what has ended."""
        queue, self._queue = self._queue, []
        if not queue:
            return
        if not self._by_trace:
            self._send(queue, None, (), now_ns)
            return
        traces: dict[bytes, list[_Queued]] = {}
        for queued in queue:
            traces.setdefault(queued.trace_id, []).append(queued)
        for trace_id, spans in traces.items():
            self._send(spans, trace_id.hex().encode(), _PROBE_HEADERS, now_ns)

    def _send(
        self, spans: list[_Queued], key: bytes | None, headers: tuple[tuple[str, bytes], ...], now_ns: int
    ) -> None:
        by_scope = [
            (field, bodies)
            for number, field in enumerate(self._scopes)
            if (bodies := [queued.body for queued in spans if queued.scope == number])
        ]
        payload = wire.request(self.resource, by_scope)
        self._deliver(Record(SPANS, key, headers, payload, now_ns // 1_000_000), len(spans), now_ns)
