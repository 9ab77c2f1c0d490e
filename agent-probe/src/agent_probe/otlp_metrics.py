"""OTLP protobuf of the SDK's metrics. Field numbers: ``metrics/v1/metrics.proto``."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Gauge,
    Histogram,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)

from agent_probe.otlp import UNCHANGED, attributes, resource_field, schema_url, scope_field
from agent_probe.protobuf import sized, utf8, varint


def _fixed(tag: bytes, number: int) -> bytes:
    return tag + struct.pack("<Q", number)


def _double(tag: bytes, number: float) -> bytes:
    return tag + struct.pack("<d", number)


def _packed(tag: bytes, form: str, numbers: Sequence[float]) -> bytes:
    return sized(tag, struct.pack(f"<{len(numbers)}{form}", *numbers)) if numbers else b""


def _value(double_tag: bytes, int_tag: bytes, number: float) -> bytes:
    if isinstance(number, int):
        return int_tag + struct.pack("<q", max(min(number, (1 << 63) - 1), -(1 << 63)))
    return _double(double_tag, number)


def _exemplars(tag: bytes, point: Any) -> bytes:
    out = []
    for exemplar in point.exemplars:
        body = _fixed(b"\x11", exemplar.time_unix_nano) + _value(b"\x19", b"\x31", exemplar.value)
        if exemplar.span_id is not None and exemplar.trace_id is not None:
            body += sized(b"\x22", exemplar.span_id.to_bytes(8, "big"))
            body += sized(b"\x2a", exemplar.trace_id.to_bytes(16, "big"))
        out.append(sized(tag, body + attributes(b"\x3a", exemplar.filtered_attributes, UNCHANGED)))
    return b"".join(out)


def _number(point: NumberDataPoint) -> bytes:
    start = _fixed(b"\x11", point.start_time_unix_nano) if point.start_time_unix_nano else b""
    out = start + _fixed(b"\x19", point.time_unix_nano) + _value(b"\x21", b"\x31", point.value)
    return out + _exemplars(b"\x2a", point) + attributes(b"\x3a", point.attributes, UNCHANGED)


def _histogram(point: Any) -> bytes:
    out = _fixed(b"\x11", point.start_time_unix_nano or 0) + _fixed(b"\x19", point.time_unix_nano)
    out += _fixed(b"\x21", point.count) + _double(b"\x29", point.sum)
    out += _packed(b"\x32", "Q", point.bucket_counts) + _packed(b"\x3a", "d", point.explicit_bounds)
    out += _exemplars(b"\x42", point) + attributes(b"\x4a", point.attributes, UNCHANGED)
    return out + _double(b"\x59", point.min) + _double(b"\x61", point.max)


def _zigzag(number: int) -> bytes:
    return varint((number << 1 ^ number >> 63) & 0xFFFF_FFFF)


def _buckets(tag: bytes, buckets: Any) -> bytes:
    if not buckets.bucket_counts:
        return b""
    counts = b"".join([varint(count) for count in buckets.bucket_counts])
    return sized(tag, b"\x08" + _zigzag(buckets.offset) + sized(b"\x12", counts))


def _exponential(point: Any) -> bytes:
    out = attributes(b"\x0a", point.attributes, UNCHANGED)
    out += _fixed(b"\x11", point.start_time_unix_nano or 0) + _fixed(b"\x19", point.time_unix_nano)
    out += _fixed(b"\x21", point.count) + _double(b"\x29", point.sum)
    out += b"\x30" + _zigzag(point.scale) + _fixed(b"\x39", point.zero_count)
    out += _buckets(b"\x42", point.positive) + _buckets(b"\x4a", point.negative) + _exemplars(b"\x5a", point)
    return out + _double(b"\x61", point.min) + _double(b"\x69", point.max)


def _data(metric: Metric) -> bytes:
    data = metric.data
    if isinstance(data, Gauge):
        return sized(b"\x2a", b"".join([sized(b"\x0a", _number(point)) for point in data.data_points]))
    temporality = b"\x10" + varint(data.aggregation_temporality.value)
    if isinstance(data, Sum):
        points = b"".join([sized(b"\x0a", _number(point)) for point in data.data_points])
        return sized(b"\x3a", points + temporality + (b"\x18\x01" if data.is_monotonic else b""))
    if isinstance(data, Histogram):
        points = b"".join([sized(b"\x0a", _histogram(point)) for point in data.data_points])
        return sized(b"\x4a", points + temporality)
    if isinstance(data, ExponentialHistogram):
        points = b"".join([sized(b"\x0a", _exponential(point)) for point in data.data_points])
        return sized(b"\x52", points + temporality)
    return b""


def _metric(metric: Metric) -> bytes:
    out = sized(b"\x0a", utf8(metric.name))
    if metric.description:
        out += sized(b"\x12", utf8(metric.description))
    if metric.unit:
        out += sized(b"\x1a", utf8(metric.unit))
    return out + _data(metric)


def metrics_request(data: MetricsData) -> bytes:
    """An ``ExportMetricsServiceRequest``, empty where there is no metric."""
    out = []
    for of_resource in data.resource_metrics:
        scopes = []
        for of_scope in of_resource.scope_metrics:
            metrics = b"".join(
                [sized(b"\x12", _metric(metric)) for metric in of_scope.metrics if metric.data.data_points]
            )
            if metrics:
                scopes.append(sized(b"\x12", scope_field(of_scope.scope) + metrics + schema_url(of_scope.schema_url)))
        if scopes:
            whole = resource_field(of_resource.resource) + b"".join(scopes) + schema_url(of_resource.schema_url)
            out.append(sized(b"\x0a", whole))
    return b"".join(out)
