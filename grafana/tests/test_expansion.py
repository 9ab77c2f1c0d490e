"""The rules by which queries are expanded, on examples of the plugin's own documentation and tests."""

from __future__ import annotations

import pytest

from datasource import ALL, MacroError, TimeRange, Variable, expand, field_type

RANGE = TimeRange(1_700_000_000, 1_700_003_600, 120)


def test_time_macros_become_calls_with_numbers() -> None:
    sql = "SELECT $__timeInterval(t) FROM x WHERE $__timeFilter(t) AND $__timeFilter_ms(u) AND v > $__fromTime"
    assert expand(sql, {}, RANGE) == (
        "SELECT toStartOfInterval(toDateTime(t), INTERVAL 120 second) FROM x WHERE t >= toDateTime(1700000000) "
        "AND t <= toDateTime(1700003600) AND u >= fromUnixTimestamp64Milli(1700000000000) "
        "AND u <= fromUnixTimestamp64Milli(1700003600000) AND v > toDateTime(1700000000)"
    )


def test_an_interval_is_a_second_at_least() -> None:
    assert expand("$__interval_s", {}, TimeRange(0, 1, 0)) == "1"


def test_several_values_are_a_list_of_quoted_strings() -> None:
    chosen = {"agent": Variable(["a", "it's"])}
    assert expand("agent IN (${agent:sqlstring})", chosen, RANGE) == "agent IN ('a','it''s')"
    assert expand("agent IN ($agent)", {"agent": Variable(["a", "b"])}, RANGE) == "agent IN ('a','b')"


def test_all_takes_a_condition_away() -> None:
    sql = "WHERE $__conditionalAll(lower(agent) IN (${agent:sqlstring}), $agent) AND 1"
    assert expand(sql, {"agent": Variable([ALL], ("a", "b"))}, RANGE) == "WHERE 1=1 AND 1"
    assert expand(sql, {"agent": Variable("")}, RANGE) == "WHERE 1=1 AND 1"
    assert expand(sql, {"agent": Variable(["a"])}, RANGE) == "WHERE lower(agent) IN ('a') AND 1"


def test_all_without_a_condition_is_every_value() -> None:
    assert expand("${agent:sqlstring}", {"agent": Variable([ALL], ("a", "b"))}, RANGE) == "'a','b'"


@pytest.mark.parametrize("sql", ["$__timeFilter(f(t))", "$__timeFilter(a, b)", "$__nothing", "${missing}"])
def test_what_no_version_expands_alike_is_refused(sql: str) -> None:
    with pytest.raises(MacroError):
        expand(sql, {}, RANGE)


def test_types_become_grafanas_fields() -> None:
    types = [
        "LowCardinality(String)",
        "DateTime64(6, 'UTC')",
        "Nullable(Float64)",
        "UInt64",
        "Array(Map(String, String))",
    ]
    assert [field_type(name) for name in types] == ["string", "time", "number", "number", "json"]
    with pytest.raises(MacroError):
        field_type("AggregateFunction(sum, UInt64)")
