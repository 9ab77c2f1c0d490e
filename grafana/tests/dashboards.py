"""The dashboards as Grafana reads them: their panels, variables and links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasource import ALL, TimeRange, Value, Variable, Warehouse, expand

GRAFANA = Path(__file__).resolve().parent.parent
Json = dict[str, Any]


@dataclass(frozen=True)
class Dashboard:
    """One file of grafana/dashboards."""

    model: Json

    @property
    def uid(self) -> str:
        return str(self.model["uid"])

    def variables(self) -> list[Json]:
        return list(self.model["templating"]["list"])

    def panels(self) -> Iterator[Json]:
        return (panel for panel in self.model["panels"] if panel["type"] != "row")

    def targets(self, source: str) -> Iterator[tuple[Json, Json]]:
        """Each panel with each of its queries to a kind of data source."""
        for panel in self.panels():
            for target in panel["targets"]:
                if target["datasource"]["type"] == source:
                    yield panel, target

    def links(self) -> Iterator[tuple[Json, str, str]]:
        """Each panel that has links, the field that carries one ("" for all), and its URL."""
        for panel in self.panels():
            config = panel["fieldConfig"]
            for one in config["defaults"].get("links", []):
                yield panel, "", one["url"]
            for override in config["overrides"]:
                for entry in override["properties"]:
                    if entry["id"] == "links":
                        for one in entry["value"]:
                            yield panel, override["matcher"]["options"], one["url"]


def dashboards() -> list[Dashboard]:
    """All of them."""
    files = sorted((GRAFANA / "dashboards").glob("*.json"))
    return [Dashboard(json.loads(path.read_text(encoding="utf-8"))) for path in files]


def values(dashboard: Dashboard, warehouse: Warehouse, time_range: TimeRange, **chosen: Value) -> dict[str, Variable]:
    """The dashboard's variables as they are when it is opened, but for those that are `chosen`."""
    found: dict[str, Variable] = {}
    for model in dashboard.variables():
        value = chosen.get(model["name"], model["current"]["value"])
        options: tuple[str, ...] = ()
        if model["type"] == "query":
            options = tuple(warehouse.frame(expand(model["query"], found, time_range)).column(_first(model["query"])))
        elif model["type"] == "custom":
            options = tuple(option["value"] for option in model["options"] if option["value"] != ALL)
        found[model["name"]] = Variable(value, options)
    return found


def _first(sql: str) -> str:
    name = re.match(r"SELECT DISTINCT (\w+)", sql)
    assert name, f"a variable's query begins with SELECT DISTINCT and a column: {sql}"
    return name[1]
