"""Bad records, each with what must become of it.

The error codes are those of ``stream-job``'s dead letters. A span that is only cleaned lands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from agent_probe.simulator import wire
from agent_probe.simulator.output import CONVERSATIONS, SPANS, Record
from agent_probe.simulator.randomness import Draw

_RESOURCE = wire.resource((("service.name", "bad-sender"),))
_SCOPE = wire.scope("bad", "1")
_YEAR_1970_NS = 86_400 * 10**9
_YEAR_2200_NS = 7_258_118_400 * 10**9
_HUGE_BYTES = 5_000_000
_MANY = 10_000


@dataclass(frozen=True)
class Bad:
    """A bad record and its fate: ``code`` empty where all of it lands."""

    kind: str
    record: Record
    code: str
    # What is rejected: "record" or "span".
    unit: str
    landed: int
    rejected: int


KINDS = (
    "truncated",
    "not_otlp",
    "not_utf8_document",
    "not_utf8_attribute",
    "zero_trace_id",
    "zero_span_id",
    "year_1970",
    "year_2200",
    "end_before_start",
    "many_attributes",
    "huge",
)


def make(draw: Draw, now_ns: int, kind: str = "") -> Bad:
    """A bad record, of the kind given or of any."""
    kind = kind or draw.one(KINDS)
    good = _span(draw, now_ns)
    if kind == "truncated":
        whole = _request([good])
        return _rejected_record(kind, whole[: len(whole) * 2 // 3], "truncated", now_ns)
    if kind == "not_otlp":
        return _rejected_record(kind, b"2026-01-01 ERROR this is a log line, not a span\n", "unknown_encoding", now_ns)
    if kind == "not_utf8_document":
        text = json.dumps({"session_id": f"bad-{draw.hex(8)}", "spans": []}).encode()
        record = Record(CONVERSATIONS, None, (), text.replace(b"bad-", b"bad\xff\xfe"), now_ns // 1_000_000)
        return Bad(kind, record, "bad_document", "record", 0, 0)
    if kind in _BAD_SPANS:
        code, bad = _BAD_SPANS[kind](draw, now_ns)
        return Bad(kind, _record(_request([good, bad]), now_ns), code, "span", 1, 1)
    return Bad(kind, _record(_request([_CLEANED[kind](draw, now_ns)]), now_ns), "", "span", 1, 0)


def _span(
    draw: Draw,
    now_ns: int,
    *,
    trace_id: bytes | None = None,
    span_id: bytes | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    extra: bytes = b"",
) -> bytes:
    attributes = wire.span_attributes((("agent.step.type", "act"), ("gen_ai.tool.name", "bad_tool"))) + extra
    # Drawn whether used or not: one kind takes as many draws as another.
    own_trace, own_span = draw.id_bytes(16), draw.id_bytes(8)
    return wire.span(
        own_trace if trace_id is None else trace_id,
        own_span if span_id is None else span_id,
        b"",
        "act bad_tool",
        wire.INTERNAL,
        now_ns - 5_000_000 if start_ns is None else start_ns,
        now_ns if end_ns is None else end_ns,
        attributes=attributes,
    )


def _zero_trace_id(draw: Draw, now_ns: int) -> tuple[str, bytes]:
    return "bad_trace_id", _span(draw, now_ns, trace_id=bytes(16))


def _zero_span_id(draw: Draw, now_ns: int) -> tuple[str, bytes]:
    return "bad_span_id", _span(draw, now_ns, span_id=bytes(8))


def _year_1970(draw: Draw, now_ns: int) -> tuple[str, bytes]:
    return "time_out_of_range", _span(draw, now_ns, start_ns=_YEAR_1970_NS, end_ns=_YEAR_1970_NS + 1000)


def _year_2200(draw: Draw, now_ns: int) -> tuple[str, bytes]:
    return "time_out_of_range", _span(draw, now_ns, start_ns=_YEAR_2200_NS, end_ns=_YEAR_2200_NS + 1000)


def _end_before_start(draw: Draw, now_ns: int) -> bytes:
    return _span(draw, now_ns, start_ns=now_ns, end_ns=now_ns - 2_000_000)


def _not_utf8_attribute(draw: Draw, now_ns: int) -> bytes:
    value = wire.sized(b"\x0a", b"caf\xe9 \xff")
    pair = wire.sized(b"\x0a", b"note") + wire.sized(b"\x12", value)
    return _span(draw, now_ns, extra=wire.sized(b"\x4a", pair))


def _many_attributes(draw: Draw, now_ns: int) -> bytes:
    return _span(draw, now_ns, extra=wire.span_attributes((f"key.{n}", n) for n in range(_MANY)))


def _huge(draw: Draw, now_ns: int) -> bytes:
    return _span(draw, now_ns, extra=wire.span_attributes((("dump", "x" * _HUGE_BYTES),)))


_BAD_SPANS = {
    "zero_trace_id": _zero_trace_id,
    "zero_span_id": _zero_span_id,
    "year_1970": _year_1970,
    "year_2200": _year_2200,
}
_CLEANED = {
    "end_before_start": _end_before_start,
    "not_utf8_attribute": _not_utf8_attribute,
    "many_attributes": _many_attributes,
    "huge": _huge,
}


def _request(spans: list[bytes]) -> bytes:
    return wire.request(_RESOURCE, ((_SCOPE, spans),))


def _record(payload: bytes, now_ns: int) -> Record:
    return Record(SPANS, None, (), payload, now_ns // 1_000_000)


def _rejected_record(kind: str, payload: bytes, code: str, now_ns: int) -> Bad:
    return Bad(kind, _record(payload, now_ns), code, "record", 0, 0)
