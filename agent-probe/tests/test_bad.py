"""Bad records are bad in the way that their report says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agent_probe.simulator import bad
from agent_probe.simulator.randomness import Draw
from recorded import read, record

NOW_NS = 1_795_000_000_000_000_000


def _spans(made: bad.Bad) -> list[tuple[bytes, bytes, int, int]]:
    request = ExportTraceServiceRequest.FromString(made.record.payload)
    return [
        (span.trace_id, span.span_id, span.start_time_unix_nano, span.end_time_unix_nano)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@pytest.mark.parametrize("kind", ["truncated", "not_otlp"])
def test_rejected_records_do_not_decode(kind: str) -> None:
    made = bad.make(Draw("bad"), NOW_NS, kind)
    assert (made.unit, made.landed, made.rejected) == ("record", 0, 0)
    with pytest.raises(DecodeError):
        ExportTraceServiceRequest.FromString(made.record.payload)


@pytest.mark.parametrize(
    ("kind", "code", "field", "wrong"),
    [
        ("zero_trace_id", "bad_trace_id", 0, bytes(16)),
        ("zero_span_id", "bad_span_id", 1, bytes(8)),
        ("year_1970", "time_out_of_range", 3, 86_400_000_001_000),
        ("year_2200", "time_out_of_range", 3, 7_258_118_400_000_001_000),
    ],
)
def test_a_rejected_span_comes_with_one_that_lands(kind: str, code: str, field: int, wrong: object) -> None:
    made = bad.make(Draw("bad"), NOW_NS, kind)
    assert (made.code, made.unit, made.landed, made.rejected) == (code, "span", 1, 1)
    good, rejected = _spans(made)
    assert rejected[field] == wrong
    assert good[3] == NOW_NS
    assert any(good[0])


@pytest.mark.parametrize("kind", ["end_before_start", "many_attributes", "huge"])
def test_a_span_that_is_only_cleaned_lands(kind: str) -> None:
    made = bad.make(Draw("bad"), NOW_NS, kind)
    assert (made.code, made.landed, made.rejected) == ("", 1, 0)
    ((_, _, start_ns, end_ns),) = _spans(made)
    assert (end_ns < start_ns) == (kind == "end_before_start")
    assert (len(made.record.payload) > 4_900_000) == (kind == "huge")


def test_texts_that_are_not_utf8_are_not_utf8() -> None:
    for kind in ("not_utf8_document", "not_utf8_attribute"):
        with pytest.raises(UnicodeDecodeError):
            bad.make(Draw("bad"), NOW_NS, kind).record.payload.decode()


def test_bad_records_are_counted_with_what_becomes_of_them(tmp_path: Path) -> None:
    flags = ("--spans", "800", "--bad-rate", "0.1", "--duplicate-rate", "0", "--conventions", "openinference")
    report = record(tmp_path, *flags)
    kinds: Counter[str] = Counter(report["bad_records"])
    rejected = Counter(report["expected"]["dead_letters"]["record"])
    spans = Counter(report["expected"]["dead_letters"]["span"])
    assert rejected["truncated"] == kinds["truncated"]
    assert rejected["unknown_encoding"] == kinds["not_otlp"]
    assert rejected["bad_document"] == kinds["not_utf8_document"]
    assert spans["bad_trace_id"] == kinds["zero_trace_id"]
    assert spans["bad_span_id"] == kinds["zero_span_id"]
    assert spans["time_out_of_range"] == kinds["year_1970"] + kinds["year_2200"]
    assert report["expected"]["spans_rejected"] == spans.total()
    undecodable = 0
    for one in read(tmp_path / "recording"):
        if one.topic == "otlp_spans":
            try:
                ExportTraceServiceRequest.FromString(one.payload)
            except DecodeError:
                undecodable += 1
    # Python's protobuf rejects text that is not UTF-8; the job cleans it.
    assert undecodable == kinds["truncated"] + kinds["not_otlp"] + kinds["not_utf8_attribute"]
