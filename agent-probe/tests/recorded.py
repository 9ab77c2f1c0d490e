"""Reads recordings back with nothing of the simulator's own but the folder's contract."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from agent_probe.simulator.cli import main

START = "2026-11-22T08:00:00Z"


@dataclass(frozen=True)
class Read:
    """One record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: dict[str, bytes]
    payload: bytes


def record(folder: Path, *flags: str) -> dict[str, Any]:
    """Runs the simulator into ``folder / "recording"``; gives its report."""
    report = folder / "report.json"
    arguments = ["--recording", str(folder / "recording"), "--start", START, "--report", str(report), *flags]
    assert main(arguments) == 0
    told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return told


def read(folder: Path) -> list[Read]:
    """All records of a recording, by topic, partition and offset."""
    header = json.loads((folder / "recording.json").read_text(encoding="utf-8"))
    assert (header["format"], header["version"]) == ("spanflow-recording", 1)
    return [
        one
        for topic in header["topics"]
        for partition in range(topic["partitions"])
        for one in _partition(folder / topic["name"] / f"{partition}.log", topic["name"], partition)
    ]


def _partition(path: Path, topic: str, partition: int) -> list[Read]:
    data, at, out = path.read_bytes(), 0, []
    while at < len(data):
        size, checksum = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + 8 + size]
        assert len(body) == size, f"{path}: torn frame at byte {at}"
        assert zlib.crc32(body) == checksum, f"{path}: bad CRC at byte {at}"
        out.append(_frame(body, topic, partition))
        at += 8 + size
    return out


def _frame(body: bytes, topic: str, partition: int) -> Read:
    at = 16

    def sized() -> bytes | None:
        nonlocal at
        (length,) = struct.unpack_from("<i", body, at)
        at += 4
        if length < 0:
            return None
        at += length
        return body[at - length : at]

    offset, timestamp_ms = struct.unpack_from("<qq", body)
    key = sized()
    (count,) = struct.unpack_from("<I", body, at)
    at += 4
    headers = {}
    for _ in range(count):
        name, value = sized(), sized()
        assert name is not None
        assert value is not None
        headers[name.decode()] = value
    payload = sized()
    assert at == len(body), "bytes are left over in the frame"
    assert payload is not None
    return Read(topic, partition, offset, timestamp_ms, key, headers, payload)


@dataclass(frozen=True)
class Sent:
    """One OTLP span with what its resource says."""

    service: str
    resource: dict[str, Any]
    scope: str
    span: Span
    attributes: dict[str, Any]
    record: Read

    @property
    def trace(self) -> str:
        """Trace id as hex."""
        return self.span.trace_id.hex()


def spans_of(records: list[Read]) -> list[Sent]:
    """The spans of all records of ``otlp_spans``, as ``opentelemetry-proto`` decodes them."""
    out = []
    for one in records:
        if one.topic != "otlp_spans":
            continue
        for resource_spans in ExportTraceServiceRequest.FromString(one.payload).resource_spans:
            resource = dictionary(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    given = dictionary(span.attributes)
                    out.append(Sent(resource["service.name"], resource, scope_spans.scope.name, span, given, one))
    return out


def dictionary(attributes: Any) -> dict[str, Any]:
    """Attributes by key; no key may come twice."""
    out: dict[str, Any] = {}
    pair: KeyValue
    for pair in attributes:
        assert pair.key not in out, f"{pair.key} comes twice"
        out[pair.key] = _value(pair.value)
    return out


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    assert kind is not None
    return getattr(value, kind)
