"""Every query of Grafana's through clickhouse-go, the client that the data source's backend is made with."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from dashboards import dashboards, values
from datasource import TimeRange, Warehouse, expand, field_type
from test_panels import CLICKHOUSE, alert_rules

CLIENT = Path(__file__).resolve().parent / "client"


def queries(warehouse: Warehouse, time_range: TimeRange) -> dict[str, str]:
    """By name: panels, variables and annotations as their dashboards open, and the alerts."""
    found: dict[str, str] = {}
    for board in dashboards():
        variables = values(board, warehouse, time_range)
        for panel, target in board.targets(CLICKHOUSE):
            name = f"{board.uid} · {panel['id']} {panel['title']} · {target['refId']}"
            found[name] = expand(target["rawSql"], variables, time_range)
        for model in board.variables():
            if model["type"] == "query":
                found[f"{board.uid} · ${model['name']}"] = expand(model["query"], variables, time_range)
        for annotation in board.model["annotations"]["list"]:
            found[f"{board.uid} · {annotation['name']}"] = expand(annotation["target"]["rawSql"], variables, time_range)
    for rule in alert_rules():
        query = rule["data"][0]
        if query["datasourceUid"] == "spanflow-clickhouse":
            found[f"alert · {rule['uid']}"] = query["model"]["rawSql"]
    return found


def test_the_data_sources_own_client_reads_every_query(warehouse: Warehouse, time_range: TimeRange) -> None:
    if not shutil.which("go"):
        warnings.warn("Go isn't installed: no query was run through clickhouse-go", stacklevel=1)
        pytest.skip("Go isn't installed, so clickhouse-go was not tried")
    asked = queries(warehouse, time_range)
    done = subprocess.run(
        ["go", "run", ".", warehouse.url, warehouse.database],
        cwd=CLIENT,
        input=json.dumps([{"name": name, "sql": sql} for name, sql in asked.items()]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = {answer["name"]: answer for answer in json.loads(done.stdout)}
    assert answers.keys() == asked.keys()
    failed = [f"{name}: {answer['error']}" for name, answer in answers.items() if answer["error"]]
    assert not failed, "\n".join(failed)
    for name, sql in asked.items():
        frame, answer = warehouse.frame(sql), answers[name]
        assert [column["name"] for column in answer["columns"]] == frame.names, name
        # The driver's name of a type is what the plugin chooses a converter by.
        assert [field_type(column["type"]) for column in answer["columns"]] == frame.types, name
        # Alerts look at the last minutes, which pass meanwhile.
        assert name.startswith("alert") or answer["rows"] == len(frame.rows), name
