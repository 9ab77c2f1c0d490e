"""OTLP protobuf of the SDK's spans, by joining pieces.

Building ``opentelemetry.proto`` messages costs several times as much, and their package pins ``protobuf``, which agents
often pin otherwise. Tests hold the result against the official classes. Field numbers: ``trace/v1/trace.proto``,
``common/v1/common.proto`` and ``resource/v1/resource.proto`` of https://github.com/open-telemetry/opentelemetry-proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from agent_probe.privacy import Privacy, is_content
from agent_probe.protobuf import sized, utf8, varint

# Applied where content rules don't: resources, scopes, metric attributes.
UNCHANGED = Privacy(max_content_chars=1 << 31)

_times = struct.Struct("<cQcQ").pack
_double = struct.Struct("<cd").pack
_fixed64 = struct.Struct("<cQ").pack
_SPAN_ATTRIBUTE = b"\x4a"
_MAX_DEPTH = 16
_SHORT_TEXT = 48


@lru_cache(maxsize=4096)
def _key(name: str) -> bytes:
    return sized(b"\x0a", utf8(name))


def any_value(value: object, depth: int = 0) -> bytes:
    """The body of an ``AnyValue``."""
    if isinstance(value, str):
        return sized(b"\x0a", utf8(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        return sized(b"\x0a", str(value).encode())
    if isinstance(value, float):
        return _double(b"\x21", value)
    if isinstance(value, bytes):
        return sized(b"\x3a", value)
    if value is None or depth >= _MAX_DEPTH:
        return b""
    if isinstance(value, Mapping):
        pairs = (_key(str(key)) + sized(b"\x12", any_value(one, depth + 1)) for key, one in value.items())
        return sized(b"\x32", b"".join([sized(b"\x0a", pair) for pair in pairs]))
    if isinstance(value, Sequence):
        return sized(b"\x2a", b"".join([sized(b"\x0a", any_value(one, depth + 1)) for one in value]))
    return sized(b"\x0a", utf8(str(value)))


def attributes(tag: bytes, pairs: Mapping[str, Any] | None, privacy: Privacy) -> bytes:
    """``repeated KeyValue`` in the field of this tag."""
    out: list[bytes] = []
    plain, limit = privacy.plain, privacy.max_content_chars
    for name, value in (pairs or {}).items():
        sent, length = value, None
        if isinstance(value, str):
            if not plain or len(value) > limit:
                sent, length = privacy.text(name, value)
        elif not isinstance(value, (bool, int, float)):
            sent = _inside(name, value, privacy)
        if isinstance(sent, str):
            if len(sent) <= _SHORT_TEXT:
                out.append(_short(tag, name, sent))
            else:
                # Texts are most of the bytes: laid out here without a copy for each level of nesting.
                data = utf8(sent)
                out += _around(tag, _key(name), len(data))
                out.append(data)
        elif sent is not None:
            out.append(sized(tag, _key(name) + sized(b"\x12", any_value(sent))))
        if length is not None:
            out.append(sized(tag, _key(name + ".length") + sized(b"\x12", any_value(length))))
    return b"".join(out)


def _around(tag: bytes, key: bytes, length: int) -> tuple[bytes, ...]:
    """All of an attribute before its text of this length."""
    size = varint(length)
    any_size = 1 + len(size) + length
    any_length = varint(any_size)
    return tag, varint(len(key) + 1 + len(any_length) + any_size), key, b"\x12", any_length, b"\x0a", size


@lru_cache(maxsize=2048)
def _short(tag: bytes, name: str, text: str) -> bytes:
    """An attribute whose text is short: most are ids, names and kinds, the same in many spans."""
    data = utf8(text)
    return b"".join((*_around(tag, _key(name), len(data)), data))


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    """A span's attributes, from the dictionary under the SDK's mapping, whose views cost a Python call for each key."""
    kept = getattr(span, "_attributes", None)
    inner = kept if type(kept) is dict else getattr(kept, "_dict", None)
    return inner if isinstance(inner, dict) else span.attributes or {}


def _inside(name: str, value: object, privacy: Privacy, depth: int = 0) -> object:
    """A list or a map, with the rules applied to each text in it."""
    if not privacy.capture_content and is_content(name):
        return None
    if isinstance(value, str):
        return privacy.text(name, value)[0]
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {key: _inside(name, one, privacy, depth + 1) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_inside(name, one, privacy, depth + 1) for one in value]
    return value


def _id(number: int, length: int) -> bytes:
    return number.to_bytes(length, "big")


def _flags(context: SpanContext | None) -> int:
    """What the SDK's encoder writes: "it is known whether the parent is remote", and whether it is."""
    return 0x300 if context is not None and context.is_remote else 0x100


def _trace_state(context: SpanContext) -> bytes:
    state = context.trace_state
    return utf8(",".join([f"{key}={value}" for key, value in state.items()])) if state else b""


def _events(span: ReadableSpan, privacy: Privacy) -> bytes:
    out = []
    for event in span.events:
        body = _fixed64(b"\x09", event.timestamp) + sized(b"\x12", utf8(event.name))
        body += attributes(b"\x1a", event.attributes, privacy)
        if event.dropped_attributes:
            body += b"\x20" + varint(event.dropped_attributes)
        out.append(sized(b"\x5a", body))
    return b"".join(out)


def _links(span: ReadableSpan, privacy: Privacy) -> bytes:
    out = []
    for link in span.links:
        context = link.context
        body = sized(b"\x0a", _id(context.trace_id, 16)) + sized(b"\x12", _id(context.span_id, 8))
        body += attributes(b"\x22", link.attributes, privacy)
        out.append(sized(b"\x6a", body + b"\x35" + struct.pack("<I", _flags(context))))
    return b"".join(out)


def span_body(span: ReadableSpan, privacy: Privacy) -> bytes:
    """The body of a ``Span``."""
    context = span.get_span_context()
    if context is None or span.start_time is None:
        raise ValueError("a span without context or start")
    parent, state = span.parent, _trace_state(context)
    status = span.status
    description = privacy.status_message(status.description) if status.description else ""
    code = status.status_code.value
    pieces = [
        sized(b"\x0a", _id(context.trace_id, 16)),
        sized(b"\x12", _id(context.span_id, 8)),
        sized(b"\x1a", state) if state else b"",
        sized(b"\x22", _id(parent.span_id, 8)) if parent is not None else b"",
        sized(b"\x2a", utf8(span.name)),
        b"\x30" + varint(span.kind.value + 1),
        _times(b"\x39", span.start_time, b"\x41", span.end_time or span.start_time),
        attributes(_SPAN_ATTRIBUTE, attributes_of(span), privacy),
    ]
    if span.dropped_attributes:
        pieces.append(b"\x50" + varint(span.dropped_attributes))
    if span.events:
        pieces.append(_events(span, privacy))
    if span.dropped_events:
        pieces.append(b"\x60" + varint(span.dropped_events))
    if span.links:
        pieces.append(_links(span, privacy))
    if span.dropped_links:
        pieces.append(b"\x70" + varint(span.dropped_links))
    message = sized(b"\x12", utf8(description)) if description else b""
    pieces.append(sized(b"\x7a", message + (b"\x18" + varint(code) if code else b"")))
    pieces.append(b"\x85\x01" + struct.pack("<I", _flags(parent)))
    return b"".join(pieces)


@lru_cache(maxsize=64)
def resource_field(resource: Resource) -> bytes:
    """``ResourceSpans.resource`` or ``ResourceMetrics.resource``, field 1."""
    return sized(b"\x0a", attributes(b"\x0a", resource.attributes, UNCHANGED))


@lru_cache(maxsize=1024)
def _scope_field(name: str, version: str) -> bytes:
    body = sized(b"\x0a", utf8(name))
    return sized(b"\x0a", body + sized(b"\x12", utf8(version)) if version else body)


def scope_field(scope: InstrumentationScope | None) -> bytes:
    """``ScopeSpans.scope`` or ``ScopeMetrics.scope``, field 1."""
    if scope is None:
        return b"\x0a\x00"
    if scope.attributes:
        body = sized(b"\x0a", utf8(scope.name)) + (sized(b"\x12", utf8(scope.version)) if scope.version else b"")
        return sized(b"\x0a", body + attributes(b"\x1a", scope.attributes, UNCHANGED))
    return _scope_field(scope.name, scope.version or "")


def schema_url(url: str | None) -> bytes:
    """``schema_url``, field 3 of what has a resource or a scope."""
    return sized(b"\x1a", url.encode()) if url else b""


def trace_request(spans: Iterable[tuple[ReadableSpan, bytes]]) -> bytes:
    """An ``ExportTraceServiceRequest`` of spans with their bodies, by resource and scope in order of appearance."""
    resources: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
    last_resource = last_scope = bodies = None
    for span, body in spans:
        resource, scope = span.resource, span.instrumentation_scope
        # Nearly always those of the span before, and to hash a resource is to write it as JSON.
        if bodies is None or resource is not last_resource or scope is not last_scope:
            last_resource, last_scope = resource, scope
            bodies = resources.setdefault(resource, {}).setdefault(scope, [])
        bodies.append(body)
    out = []
    for resource, scopes in resources.items():
        pieces = [resource_field(resource)]
        for scope, bodies in scopes.items():
            listed = b"".join([sized(b"\x12", body) for body in bodies])
            url = schema_url(scope.schema_url if scope else None)
            pieces.append(sized(b"\x12", scope_field(scope) + listed + url))
        pieces.append(schema_url(resource.schema_url))
        out.append(sized(b"\x0a", b"".join(pieces)))
    return b"".join(out)
