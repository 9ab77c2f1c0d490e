from __future__ import annotations

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from agent_probe.simulator import wire

VALUES: list[tuple[wire.Value, AnyValue]] = [
    ("", AnyValue(string_value="")),
    ("你好", AnyValue(string_value="你好")),
    (b"as utf-8", AnyValue(string_value="as utf-8")),
    ("x" * 20_000, AnyValue(string_value="x" * 20_000)),
    (True, AnyValue(bool_value=True)),
    (False, AnyValue(bool_value=False)),
    (0, AnyValue(int_value=0)),
    (-1, AnyValue(int_value=-1)),
    (1 << 62, AnyValue(int_value=1 << 62)),
    (0.25, AnyValue(double_value=0.25)),
    (["a", "b"], AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="a"), AnyValue(string_value="b")]))),
]


@pytest.mark.parametrize(("value", "official"), VALUES, ids=lambda value: str(value)[:20])
def test_attributes_equal_the_official_encoding(value: wire.Value, official: AnyValue) -> None:
    span = Span(attributes=[KeyValue(key="a.key", value=official)])
    assert wire.span_attributes([("a.key", value)]) == span.SerializeToString()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16_383, 16_384, 1 << 21, (1 << 63) - 1])
def test_varints_equal_the_official_encoding(number: int) -> None:
    assert b"\x18" + wire.varint(number) == AnyValue(int_value=number).SerializeToString()


def test_a_whole_span_equals_the_official_encoding() -> None:
    official = Span(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        parent_span_id=b"p" * 8,
        name="think",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=5,
        end_time_unix_nano=9,
        flags=0x101,
        attributes=[KeyValue(key="k", value=AnyValue(string_value="v"))],
        events=[
            Span.Event(
                time_unix_nano=8,
                name="exception",
                attributes=[KeyValue(key="exception.type", value=AnyValue(string_value="E"))],
            )
        ],
        status=Status(code=Status.STATUS_CODE_ERROR, message="failed"),
    )
    made = wire.span(
        b"t" * 16,
        b"s" * 8,
        b"p" * 8,
        "think",
        wire.CLIENT,
        5,
        9,
        attributes=wire.span_attributes([("k", "v")]),
        events=wire.exception_event(8, [("exception.type", "E")]),
        state=wire.status(wire.ERROR, "failed"),
    )
    assert made == official.SerializeToString()
