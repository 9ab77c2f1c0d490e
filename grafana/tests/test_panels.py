"""Every query of every dashboard and alert, run as Grafana would, after simulated agents.

Each answer is held against what the type of its panel reads.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

import pytest

from dashboards import GRAFANA, Dashboard, Json, dashboards, values
from datasource import ALL, FORMATS, Frame, TimeRange, Warehouse, expand

BOARDS = {board.uid: board for board in dashboards()}
CLICKHOUSE = "grafana-clickhouse-datasource"
CASES = [
    pytest.param(board, panel, target, id=f"{uid} · {panel['title']} · {target['refId']}")
    for uid, board in BOARDS.items()
    for panel, target in board.targets(CLICKHOUSE)
]


def frame_of(
    board: Dashboard, target: Json, warehouse: Warehouse, time_range: TimeRange, **chosen: str | list[str]
) -> Frame:
    variables = values(board, warehouse, time_range, **chosen)
    return warehouse.frame(expand(target["rawSql"], variables, time_range))


@pytest.mark.parametrize(("board", "panel", "target"), CASES)
def test_a_query_finds_rows_of_the_shape_that_its_panel_reads(
    board: Dashboard, panel: Json, target: Json, warehouse: Warehouse, time_range: TimeRange
) -> None:
    frame = frame_of(board, target, warehouse, time_range)
    assert frame.rows, "no rows after a load that should give some"
    assert target["format"] == FORMATS[panel["type"]]
    if panel["type"] in ("timeseries", "heatmap"):
        check_series(panel, frame)
    elif panel["type"] == "stat":
        assert len(frame.rows) == 1
        assert any(value is not None for name in frame.of_type("number") for value in frame.column(name))
    elif panel["type"] == "bargauge":
        assert (len(frame.of_type("string")), len(frame.of_type("number"))) == (1, 1)
    check_fields(panel, frame)


def check_series(panel: Json, frame: Frame) -> None:
    """What LongToWide takes: one time, never null and in order, numbers, and texts that tell series apart."""
    (time,) = frame.of_type("time")
    numbers, labels = frame.of_type("number"), frame.of_type("string")
    assert set(frame.names) == {time, *numbers, *labels}, "nothing else can be drawn"
    times = frame.column(time)
    assert None not in times
    assert times == sorted(times), "long series must be sorted by time"
    points = Counter(zip(times, *(frame.column(label) for label in labels), strict=True))
    assert max(points.values()) == 1, f"two values of one series at one time: {points.most_common(1)}"
    shown = re.findall(r"__field\.labels\.(\w+)", json.dumps(panel["fieldConfig"]))
    assert set(shown) <= set(labels)
    if labels:
        assert len(numbers) == 1, "series are named by their label alone"
        assert panel["fieldConfig"]["defaults"]["displayName"]
    if panel["type"] == "heatmap":
        bounds = [float(name) for name in numbers]
        assert not labels
        assert bounds == sorted(bounds), "a column is a bucket, named by its upper bound"
        assert sum(sum(frame.column(name)) for name in numbers) > 0


def check_fields(panel: Json, frame: Frame) -> None:
    """Options and links name fields that are there."""
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"] == {"id": "byName", "options": override["matcher"]["options"]}
        assert override["matcher"]["options"] in frame.names
    for field in re.findall(r"__data\.fields\.(\w+)", json.dumps(panel["fieldConfig"])):
        assert field in frame.names


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_links_lead_to_dashboards_and_variables_that_are_there(board: Dashboard) -> None:
    for panel, _, url in board.links():
        parts = urlsplit(url)
        target = BOARDS[parts.path.removeprefix("/d/")]
        known = {variable["name"] for variable in target.variables()}
        given = {name.removeprefix("var-") for name, _ in parse_qsl(parts.query) if name.startswith("var-")}
        assert given <= known, f"{panel['title']}: {url}"
        assert "${__url_time_range}" in url, f"{panel['title']}: {url}"


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_queries_hold_with_every_variable_filled_in(
    board: Dashboard, warehouse: Warehouse, time_range: TimeRange
) -> None:
    open_board = values(board, warehouse, time_range)
    filled: dict[str, str | list[str]] = {}
    for variable in board.variables():
        options = open_board[variable["name"]].options
        filled[variable["name"]] = list(options[:2]) if variable["type"] != "textbox" else "it's"
    if "at" in filled:
        filled["at"] = str(time_range.end * 1000)
    for panel, target in board.targets(CLICKHOUSE):
        frame_of(board, target, warehouse, time_range, **filled), panel["title"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_charts_hold_when_a_point_is_hours_long(board: Dashboard, warehouse: Warehouse, time_range: TimeRange) -> None:
    month = TimeRange(time_range.end - 30 * 86_400, time_range.end, 3 * 3600)
    for panel, target in board.targets(CLICKHOUSE):
        frame = frame_of(board, target, warehouse, month)
        if panel["type"] in ("timeseries", "heatmap"):
            check_series(panel, frame)


def test_variables_find_what_the_agents_did(warehouse: Warehouse, time_range: TimeRange) -> None:
    for board in BOARDS.values():
        found = values(board, warehouse, time_range)
        for model in board.variables():
            assert model["type"] != "query" or found[model["name"]].options, f"{board.uid}: {model['name']}"
    one = values(BOARDS["spanflow-steps"], warehouse, time_range, agent=["travel-planner"])
    every = values(BOARDS["spanflow-steps"], warehouse, time_range, agent=[ALL])
    assert 0 < len(one["tool"].options) < len(every["tool"].options)


@pytest.mark.parametrize("board", [b for b in BOARDS.values() if b.model["annotations"]["list"]], ids=lambda b: b.uid)
def test_annotations_are_events_in_time(board: Dashboard, warehouse: Warehouse, time_range: TimeRange) -> None:
    for annotation in board.model["annotations"]["list"]:
        frame = frame_of(board, annotation["target"], warehouse, time_range)
        assert frame.names == ["time", "timeEnd", "title", "text", "tags"]
        assert frame.types == ["number", "number", "string", "string", "string"]
        assert frame.rows
        # Milliseconds, not seconds.
        assert all(start <= end and start > 1e12 for start, end, *_ in frame.rows)


def alert_rules() -> list[Json]:
    path = GRAFANA / "provisioning" / "alerting" / "spanflow.json"
    groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: str(rule["uid"]))
def test_an_alert_asks_for_one_number_a_row_and_has_a_threshold(
    rule: Json, warehouse: Warehouse, time_range: TimeRange
) -> None:
    query, threshold = rule["data"]
    assert "$" not in json.dumps(rule), "Grafana takes $ in a provisioning file for an environment variable"
    assert (rule["condition"], threshold["model"]["expression"]) == (threshold["refId"], query["refId"])
    board = BOARDS[rule["annotations"]["__dashboardUid__"]]
    assert int(rule["annotations"]["__panelId__"]) in {panel["id"] for panel in board.panels()}
    if query["datasourceUid"] != "spanflow-clickhouse":
        return
    frame = warehouse.frame(query["model"]["rawSql"])
    assert len(frame.of_type("number")) == 1
    labels = frame.of_type("string")
    assert len(labels) == len(frame.names) - 1
    used = re.findall(r'index \.Labels "(\w+)"', rule["annotations"]["summary"])
    assert set(used) <= set(labels)


def test_prometheus_queries_name_metrics_that_the_job_has() -> None:
    documented = (GRAFANA.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    # What client libraries of Prometheus itself, and of Grafana, have.
    known = {"up", "process_cpu_seconds_total", *re.findall(r"^\| `(\w+)` \|", documented, re.MULTILINE)}
    expressions = [target["expr"] for board in BOARDS.values() for _, target in board.targets("prometheus")]
    expressions += [rule["data"][0]["model"].get("expr", "") for rule in alert_rules()]
    for expression in expressions:
        for name in re.findall(r"\b(spanflow_\w+|process_\w+|up)\b", expression):
            assert name.removesuffix("_bucket") in known, f"{name} of {expression} is in no list of metrics"
