from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Histogram,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from agent_probe.otlp import UNCHANGED, span_body, trace_request
from agent_probe.otlp_metrics import metrics_request
from agent_probe.protobuf import WireError, fields


def _encoded(spans: list[ReadableSpan]) -> bytes:
    return trace_request([(span, span_body(span, UNCHANGED)) for span in spans])


@pytest.fixture
def spans() -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "é", "n": 3, "list": ["a", "b"]}, "https://x.test/1"))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("one", "1.0", "https://x.test/2", {"k": "v"})
    remote = SpanContext(7 << 64, 9, True, TraceFlags(1), TraceState([("a", "b"), ("c", "d")]))
    with tracer.start_as_current_span("root", kind=SpanKind.SERVER, links=[Link(remote, {"why": "x"})]) as root:
        root.set_attributes(
            {"t": "text 中文", "i": -5, "f": 0.1, "b": True, "e": "", "many": [1, 2], "long": "x" * 20_000}
        )
        root.add_event("event", {"k": 1})
        root.set_status(Status(StatusCode.ERROR, "why"))
        with provider.get_tracer("two").start_as_current_span("child") as child:
            child.set_status(Status(StatusCode.OK))
    with pytest.raises(ValueError, match="boom"), tracer.start_as_current_span("raises"):
        raise ValueError("boom")
    return list(memory.get_finished_spans())


def test_spans_are_encoded_as_the_official_classes_do(spans: list[ReadableSpan]) -> None:
    assert ExportTraceServiceRequest.FromString(_encoded(spans)) == encode_spans(spans)


def test_the_bytes_of_a_span_are_the_same_each_time(spans: list[ReadableSpan]) -> None:
    assert _encoded(spans) == _encoded(spans)


def test_a_lone_surrogate_and_a_huge_number_do_not_stop_a_span() -> None:
    provider = TracerProvider()
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    span = provider.get_tracer("t").start_span("name \ud800")
    span.set_attributes({"text": "\udfff!", "number": 1 << 80})
    span.end()
    request = ExportTraceServiceRequest.FromString(_encoded(list(memory.get_finished_spans())))
    written = request.resource_spans[0].scope_spans[0].spans[0]
    assert written.name == "name ?"
    assert [pair.value.string_value for pair in written.attributes] == ["?!", str(1 << 80)]


@pytest.mark.parametrize("exemplars", ["none", "of spans", "of all"])
def test_metrics_are_encoded_as_the_official_classes_do(exemplars: str) -> None:
    filters = {"none": AlwaysOffExemplarFilter(), "of spans": TraceBasedExemplarFilter()}
    reader = InMemoryMetricReader()
    views = [
        View(instrument_type=Histogram, instrument_name="exp", aggregation=ExponentialBucketHistogramAggregation()),
        View(instrument_name="c", attribute_keys={"a"}),
    ]
    provider = MeterProvider(
        [reader],
        resource=Resource({"service.name": "m"}),
        views=views,
        exemplar_filter=filters.get(exemplars, AlwaysOnExemplarFilter()),
    )
    meter = provider.get_meter("scope", "2")

    def measure() -> None:
        # "left.out" is in the exemplar only.
        meter.create_counter("c", unit="1", description="d").add(3, {"a": "b", "left.out": "é"})
        meter.create_up_down_counter("u").add(-2.5)
        meter.create_gauge("g").set(4)
        for name in ("h", "exp"):
            histogram = meter.create_histogram(name)
            for value in (0.0, 0.001, 3.5, 7000.0):
                histogram.record(value)

    measure()
    with TracerProvider().get_tracer("t").start_as_current_span("measured"):
        measure()
    data = reader.get_metrics_data()
    assert data is not None
    encoded = ExportMetricsServiceRequest.FromString(metrics_request(data))
    assert encoded == encode_metrics(data)
    points = [
        point
        for metric in encoded.resource_metrics[0].scope_metrics[0].metrics
        for kind in (metric.gauge, metric.sum, metric.histogram, metric.exponential_histogram)
        for point in kind.data_points
    ]
    assert len(points) == 5
    assert all(bool(point.exemplars) == (exemplars != "none") for point in points)
    assert all(one.trace_id for point in points for one in point.exemplars) == (exemplars != "of all")


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\xff", b"\x0b", b"\x09\x00"])
def test_bytes_that_are_no_protobuf_are_an_error(data: bytes) -> None:
    with pytest.raises(WireError):
        list(fields(data))
