"""Reads OTLP spans from protobuf, as far as ``agent-probe tail`` shows them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent_probe.protobuf import fields

Value = str | int | float | bool | None


@dataclass
class Seen:
    """A span."""

    resource: dict[str, Value]
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)
    failed: bool = False
    status_message: str = ""

    @property
    def service(self) -> str:
        """``service.name``."""
        return str(self.resource.get("service.name") or "?")


def spans(request: bytes) -> Iterator[Seen]:
    """The spans of an ``ExportTraceServiceRequest``. Raises :class:`agent_probe.protobuf.WireError`."""
    for resource_spans in _bodies(request, 1):
        resource: dict[str, Value] = {}
        for body in _bodies(resource_spans, 1):
            resource.update(_pairs(body, 1))
        for scope_spans in _bodies(resource_spans, 2):
            for span in _bodies(scope_spans, 2):
                yield _span(span, resource)


def _bodies(data: bytes, number: int) -> Iterator[bytes]:
    for found, _, value in fields(data):
        if found == number and isinstance(value, bytes):
            yield value


def _span(data: bytes, resource: dict[str, Value]) -> Seen:
    seen = Seen(resource)
    for number, _, value in fields(data):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            seen.trace_id = value.hex()
        elif number == 2:
            seen.span_id = value.hex()
        elif number == 4:
            seen.parent_span_id = value.hex()
        elif number == 5:
            seen.name = value.decode(errors="replace")
        elif number == 7:
            seen.start_ns = int.from_bytes(value, "little")
        elif number == 8:
            seen.end_ns = int.from_bytes(value, "little")
        elif number == 9:
            seen.attributes.update([_pair(value)])
        elif number == 15:
            _status(value, seen)
    return seen


def _status(data: bytes, seen: Seen) -> None:
    for number, _, value in fields(data):
        if number == 2 and isinstance(value, bytes):
            seen.status_message = value.decode(errors="replace")
        elif number == 3:
            seen.failed = value == 2


def _pairs(data: bytes, field_number: int) -> dict[str, Value]:
    return dict(_pair(body) for body in _bodies(data, field_number))


def _pair(data: bytes) -> tuple[str, Value]:
    key, read = "", None
    for number, _, value in fields(data):
        if number == 1 and isinstance(value, bytes):
            key = value.decode(errors="replace")
        elif number == 2 and isinstance(value, bytes):
            read = _value(value)
    return key, read


def _value(data: bytes) -> Value:
    for number, _, value in fields(data):
        if number == 1 and isinstance(value, bytes):
            return value.decode(errors="replace")
        if number == 2:
            return bool(value)
        if number == 3 and isinstance(value, int):
            return value - (1 << 64) if value >= 1 << 63 else value
        if number == 4 and isinstance(value, bytes):
            return float(struct.unpack("<d", value)[0])
    return None
