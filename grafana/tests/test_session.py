"""The waterfall and the flow chart: what the Traces and the Node graph panel read, on the traces that are hard."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from dashboards import Json, values
from datasource import Frame, TimeRange, Warehouse, expand
from test_panels import BOARDS, frame_of

SESSION = BOARDS["spanflow-session"]

# What `TraceSpanRow` of @grafana/data has, by type; the panel needs the first block.
NEEDED = {
    "traceID": "string",
    "spanID": "string",
    "parentSpanID": "string",
    "operationName": "string",
    "serviceName": "string",
    "serviceTags": "json",
    "startTime": "number",
    "duration": "number",
    "tags": "json",
    "logs": "json",
}
OPTIONAL = {
    "statusCode": "number",
    "statusMessage": "string",
    "kind": "string",
    "instrumentationLibraryName": "string",
    "instrumentationLibraryVersion": "string",
    "traceState": "string",
}


def target(kind: str, ref: str = "A", board: str = "spanflow-session") -> Json:
    (found,) = [
        target
        for panel, target in BOARDS[board].targets("grafana-clickhouse-datasource")
        if panel["type"] == kind and target["refId"] == ref
    ]
    return found


def waterfall(warehouse: Warehouse, time_range: TimeRange, **chosen: str) -> Frame:
    return frame_of(SESSION, target("traces"), warehouse, time_range, **chosen)


def trace_with(warehouse: Warehouse, condition: str) -> tuple[str, int]:
    """A trace and how many spans it has."""
    found = warehouse.frame(
        f"SELECT trace_id, spans FROM dws_trace_latest WHERE {condition} ORDER BY spans DESC LIMIT 1"
    ).rows
    assert found, f"the load has no trace with {condition}"
    return found[0][0], found[0][1]


@pytest.mark.parametrize("condition", ["errors > 0", "orphans > 0", "tool_calls > 2", "turns > 0 AND steps > 10"])
def test_a_waterfall_has_every_span_as_the_traces_panel_reads_it(
    condition: str, warehouse: Warehouse, time_range: TimeRange
) -> None:
    trace, spans = trace_with(warehouse, condition)
    frame = waterfall(warehouse, time_range, trace=trace)
    types = dict(zip(frame.names, frame.types, strict=True))
    assert types == NEEDED | OPTIONAL
    assert len(frame.rows) == spans
    assert set(frame.column("traceID")) == {trace}
    assert len(set(frame.column("spanID"))) == spans
    assert set(frame.column("statusCode")) <= {0, 1, 2}
    for start, duration in zip(frame.column("startTime"), frame.column("duration"), strict=True):
        assert time_range.start * 1000 < start < time_range.end * 1000, "milliseconds since 1970"
        assert 0 <= duration < 3_600_000, "milliseconds"
    for name in ("tags", "serviceTags"):
        for tags in frame.column(name):
            assert all(set(tag) == {"key", "value"} for tag in tags)
            assert tags


def test_a_waterfall_of_orphans_shows_them_at_the_top_level(warehouse: Warehouse, time_range: TimeRange) -> None:
    trace, _ = trace_with(warehouse, "orphans > 0")
    frame = waterfall(warehouse, time_range, trace=trace)
    ids = set(frame.column("spanID"))
    # The panel puts what names a parent that is not there at the top; the parent is named all the same.
    assert [parent for parent in frame.column("parentSpanID") if parent and parent not in ids]


def test_errors_and_their_events_are_in_the_waterfall(warehouse: Warehouse, time_range: TimeRange) -> None:
    trace = warehouse.frame("SELECT trace_id FROM dwd_event WHERE name = 'exception' LIMIT 1").rows[0][0]
    frame = waterfall(warehouse, time_range, trace=trace)
    assert 2 in frame.column("statusCode")
    logs = [log for entry in frame.column("logs") for log in entry]
    assert logs
    for log in logs:
        assert set(log) == {"name", "timestamp", "fields"}
        assert time_range.start * 1000 < log["timestamp"] < time_range.end * 1000
        assert all(set(tag) == {"key", "value"} for tag in log["fields"])


def test_without_a_choice_the_newest_turn_of_the_newest_session_is_shown(
    warehouse: Warehouse, time_range: TimeRange
) -> None:
    (trace,) = set(waterfall(warehouse, time_range).column("traceID"))
    begun = f"first_time <= toDateTime({time_range.end})"
    newest = f"SELECT session_id FROM dws_session_latest WHERE {begun} ORDER BY last_time DESC, 1 DESC LIMIT 1"
    assert trace in warehouse.ask(f"SELECT trace_id FROM dws_trace_latest WHERE session_id = ({newest})")


def graph(warehouse: Warehouse, time_range: TimeRange, board: str, **chosen: str) -> tuple[Frame, Frame]:
    """The frames `nodes` and `edges`, held against what the Node graph panel reads."""
    nodes = frame_of(BOARDS[board], target("nodeGraph", "nodes", board), warehouse, time_range, **chosen)
    edges = frame_of(BOARDS[board], target("nodeGraph", "edges", board), warehouse, time_range, **chosen)
    types = dict(zip(nodes.names, nodes.types, strict=True))
    assert (types["id"], types["title"], types["mainstat"]) == ("string", "string", "number")
    ids = nodes.column("id")
    assert len(set(ids)) == len(ids)
    types = dict(zip(edges.names, edges.types, strict=True))
    assert (types["id"], types["source"], types["target"]) == ("string", "string", "string")
    assert (types["mainstat"], types["thickness"]) == ("number", "number")
    assert len(set(edges.column("id"))) == len(edges.rows)
    assert {*edges.column("source"), *edges.column("target")} <= set(ids)
    arcs = [name for name in nodes.names if name.startswith("arc__")]
    for row in zip(*(nodes.column(name) for name in arcs), strict=True) if arcs else []:
        assert sum(row) == pytest.approx(1), "arcs are shares of one circle"
    return nodes, edges


def test_the_flow_of_a_session_leads_from_start_to_end_over_typed_steps(
    warehouse: Warehouse, time_range: TimeRange
) -> None:
    session = warehouse.frame(
        "SELECT session_id, traces FROM dws_session_latest WHERE tool_calls > 2 AND errors > 0 AND traces > 1 "
        "ORDER BY last_time DESC LIMIT 1"
    ).rows[0]
    nodes, edges = graph(warehouse, time_range, "spanflow-session", session=session[0])
    counts = dict(zip(nodes.column("id"), nodes.column("mainstat"), strict=True))
    assert any(name.startswith("act:") for name in counts)
    into: Counter[str] = Counter()
    out_of: Counter[str] = Counter()
    for row in edges.rows:
        edge = dict(zip(edges.names, row, strict=True))
        into[edge["target"]] += edge["mainstat"]
        out_of[edge["source"]] += edge["mainstat"]
    # What goes into a step comes out of it again.
    for name, count in counts.items():
        assert name == "start" or into[name] == count, name
        assert name == "end" or out_of[name] == count, name


def test_the_live_flow_has_topics_layers_and_tables(warehouse: Warehouse, time_range: TimeRange) -> None:
    nodes, edges = graph(warehouse, time_range, "spanflow-pipeline")
    rates = dict(zip(nodes.column("id"), nodes.column("mainstat"), strict=True))
    assert rates["ods_record"] > 0
    assert rates["dwd_span"] > 0
    assert rates["dws_session"] > 0
    assert sum(rate for name, rate in rates.items() if name.startswith("topic ")) == pytest.approx(rates["ods_record"])
    assert {"dwd_span", "dws_trace"} <= set(edges.column("source"))


def test_the_balance_of_the_layers_shows_no_difference(warehouse: Warehouse, time_range: TimeRange) -> None:
    board = BOARDS["spanflow-pipeline"]
    (query,) = [t for p, t in board.targets("grafana-clickhouse-datasource") if p["title"] == "Balance of the layers"]
    frame = warehouse.frame(expand(query["rawSql"], values(board, warehouse, time_range), time_range))
    assert len(frame.rows) == 4
    assert frame.column("difference") == [0, 0, 0, 0], json.dumps(frame.rows)
    assert all(count > 0 for count in frame.column("came_in"))


def test_a_session_of_a_thousand_steps_is_shown_whole(warehouse: Warehouse, time_range: TimeRange) -> None:
    trace, session = "f" * 32, "a-thousand-steps"
    now = time_range.end - 1200
    warehouse.ask(
        f"""
        INSERT INTO dwd_span (
            trace_id, span_id, parent_span_id, start_time, end_time, duration_us, agent, step_type, tool_name, status,
            session_id, output_preview, attributes, ingest_time
        )
        SELECT
            '{trace}', lower(hex(toUInt64(number + 1))), if(number = 0, '', lower(hex(toUInt64(1)))),
            toDateTime64({now}, 6) + number AS started, started + 1, 1000000, 'thousand',
            if(number % 2 = 0, 'think', 'act'), if(number % 2 = 0, '', 'web_search'), 'ok',
            '{session}', 'text', map('n', toString(number)), now()
        FROM numbers(1000)
        """
    )
    summary = f"'{session}', 'thousand', toDateTime64({now}, 6) AS began, began + 1000, 1000"
    columns = "session_id, agent, first_time, last_time, spans"
    warehouse.ask(f"INSERT INTO dws_session ({columns}) SELECT {summary}")
    warehouse.ask(f"INSERT INTO dws_trace (trace_id, {columns}) SELECT '{trace}', {summary}")
    assert len(waterfall(warehouse, time_range, session=session).rows) == 1000
    nodes, _ = graph(warehouse, time_range, "spanflow-session", session=session)
    assert dict(zip(nodes.column("id"), nodes.column("mainstat"), strict=True))["act:web_search"] == 500
    (steps,) = [t for p, t in SESSION.targets("grafana-clickhouse-datasource") if p["title"].startswith("Steps, with")]
    assert len(frame_of(SESSION, steps, warehouse, time_range, session=session).rows) >= 1000
