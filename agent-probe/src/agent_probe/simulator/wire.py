"""OTLP's protobuf wire format, written piece by piece.

Building a span as an ``opentelemetry.proto`` message costs several times what joining its pieces does, so the pieces
are joined here; the tests hold the result against ``opentelemetry-proto``, byte for byte. Field numbers are those of
``opentelemetry/proto/trace/v1/trace.proto`` and ``common/v1/common.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

# Bytes are a text that is UTF-8 already.
Value = str | bytes | int | float | bool | Sequence[str]
Pair = tuple[str, Value]

INTERNAL, CLIENT = 1, 3
UNSET, OK, ERROR = 0, 1, 2

_SHORT = [bytes([n]) for n in range(128)]
# Lengths of up to 16 kB are looked up, which is nearly all of them.
_LENGTHS = _SHORT + [bytes([n & 127 | 128, n >> 7]) for n in range(128, 1 << 14)]
_LENGTHS_END = len(_LENGTHS)
_SPAN_ATTRIBUTE = b"\x4a"
# What the SDK writes: sampled, and "whether the parent is remote is known" (it is not).
_FLAGS = b"\x85\x01" + struct.pack("<I", 0x101)
_pack_times = struct.Struct("<cQcQ").pack


def varint(number: int) -> bytes:
    """A base-128 number, as protobuf writes an unsigned one."""
    if number < _LENGTHS_END:
        return _LENGTHS[number]
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(tag: bytes, body: bytes) -> bytes:
    """A length-delimited field; nothing is left out, not even an empty body."""
    return tag + varint(len(body)) + body


@lru_cache(maxsize=4096)
def _key(name: str) -> bytes:
    return sized(b"\x0a", name.encode())


def any_value(value: Value) -> bytes:
    """The body of an ``AnyValue``."""
    if isinstance(value, str):
        return sized(b"\x0a", value.encode())
    if isinstance(value, bytes):
        return sized(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    return sized(b"\x2a", b"".join(sized(b"\x0a", any_value(item)) for item in value))


def key_value(pair: Pair) -> bytes:
    """The body of a ``KeyValue``."""
    return _key(pair[0]) + sized(b"\x12", any_value(pair[1]))


def span_attributes(pairs: Iterable[Pair]) -> bytes:
    """``Span.attributes``, field 9."""
    out: list[bytes] = []
    for pair in pairs:
        name, value = pair
        if isinstance(value, str):
            data = value.encode()
        elif isinstance(value, bytes):
            data = value
        else:
            out.append(sized(_SPAN_ATTRIBUTE, key_value(pair)))
            continue
        # Texts are most of the bytes: laid out here without a copy for each level of nesting.
        key = _key(name)
        length = varint(len(data))
        any_size = 1 + len(length) + len(data)
        any_length = varint(any_size)
        size = varint(len(key) + 1 + len(any_length) + any_size)
        out += (_SPAN_ATTRIBUTE, size, key, b"\x12", any_length, b"\x0a", length, data)
    return b"".join(out)


def exception_event(time_ns: int, pairs: Iterable[Pair]) -> bytes:
    """``Span.events``, field 11: what ``span.record_exception`` adds."""
    attributes = b"".join([sized(b"\x1a", key_value(pair)) for pair in pairs])
    return sized(b"\x5a", b"\x09" + struct.pack("<Q", time_ns) + sized(b"\x12", b"exception") + attributes)


def status(code: int, message: str = "") -> bytes:
    """``Span.status``, field 15. The SDK always writes it, empty where nothing was said."""
    body = sized(b"\x12", message.encode()) if message else b""
    return sized(b"\x7a", body + (b"\x18" + varint(code) if code else b""))


def span(
    trace_id: bytes,
    span_id: bytes,
    parent_span_id: bytes,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    *,
    attributes: bytes,
    events: bytes = b"",
    state: bytes = b"\x7a\x00",
) -> bytes:
    """The body of a ``Span``. Ids of any length are written as given, so that bad ones can be made."""
    parent = sized(b"\x22", parent_span_id) if parent_span_id else b""
    return b"".join(
        (
            sized(b"\x0a", trace_id),
            sized(b"\x12", span_id),
            parent,
            sized(b"\x2a", name.encode()),
            b"\x30" + _SHORT[kind],
            _pack_times(b"\x39", start_ns, b"\x41", end_ns),
            attributes,
            events,
            state,
            _FLAGS,
        )
    )


def resource(pairs: Iterable[Pair]) -> bytes:
    """``ResourceSpans.resource``, field 1."""
    return sized(b"\x0a", b"".join([sized(b"\x0a", key_value(pair)) for pair in pairs]))


def scope(name: str, version: str) -> bytes:
    """``ScopeSpans.scope``, field 1."""
    body = sized(b"\x0a", name.encode())
    return sized(b"\x0a", body + sized(b"\x12", version.encode()) if version else body)


def request(resource_field: bytes, scopes: Iterable[tuple[bytes, Sequence[bytes]]]) -> bytes:
    """An ``ExportTraceServiceRequest`` with one resource; ``scopes`` are scope fields with their spans' bodies."""
    body = [resource_field]
    for scope_field, spans in scopes:
        body.append(sized(b"\x12", scope_field + b"".join([sized(b"\x12", one) for one in spans])))
    return sized(b"\x0a", b"".join(body))
