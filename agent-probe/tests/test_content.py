"""Values as text, whatever they are."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest

from agent_probe import content
from agent_probe.content import to_text


@dataclass
class Point:
    x: int
    inner: Any = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        (1.5, "1.5"),
        ({"a": [1, "é", None, True]}, '{"a": [1, "é", null, true]}'),
        ({1: "one", None: 2}, '{"1": "one", "null": 2}'),
        ({("a", "b"): 1}, "{\"('a', 'b')\": 1}"),
        (Point(1, Point(2)), '{"x": 1, "inner": {"x": 2, "inner": null}}'),
        ([Point(1)], '[{"x": 1, "inner": null}]'),
        ({"data": b"abc"}, '{"data": "<3 bytes>"}'),
        ({3}, "[3]"),
    ],
)
def test_values_are_json_where_they_have_a_form(value: Any, expected: str) -> None:
    assert to_text(value) == expected


def test_what_is_huge_is_cut_with_how_much_more_there_was() -> None:
    for huge in (list(range(1_000_000)), {"rows": {"all": [[0] * 1000 for _ in range(1000)]}}):
        text = to_text(huge)
        assert len(text) < 100_000
        assert "more" in text
        json.loads(text)


def test_cycles_and_depth_end() -> None:
    cyclic: list[Any] = []
    cyclic.append({"again": cyclic})
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    ordered: OrderedDict[str, Any] = OrderedDict()
    ordered["again"] = [ordered]
    for value in (cyclic, deep, ordered):
        assert "…" in to_text(value)


def test_without_the_encoder_under_json_values_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[Any] = [{"a": [1, "é", None, True, 2.5, float("nan")]}, [Point(1)], {3}, {1: 2}]
    texts = [to_text(value) for value in values]
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    monkeypatch.setattr(content, "_encode", content._encoder())
    assert [to_text(value) for value in values] == texts
