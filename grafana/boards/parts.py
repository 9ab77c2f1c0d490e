"""What dashboards are made of: queries, panels, rows and variables, and their JSON (Grafana's classic model)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

Json = dict[str, Any]

CLICKHOUSE: Json = {"type": "grafana-clickhouse-datasource", "uid": "spanflow-clickhouse"}
PROMETHEUS: Json = {"type": "prometheus", "uid": "spanflow-prometheus"}
EXPRESSION: Json = {"type": "__expr__", "uid": "__expr__"}

# How the data source's backend shapes an answer: sqlutil.FormatQueryOption of grafana-plugin-sdk-go.
FORMATS = {"timeseries": 0, "table": 1, "traces": 3}

# The newest version of the dashboard model that Grafana's classic JSON has; Grafana migrates it as it likes.
SCHEMA_VERSION = 41
GRID_WIDTH = 24


def _sql(text: str) -> str:
    return dedent(text).strip()


def clickhouse(sql: str, query_type: str, ref: str = "A") -> Json:
    """A query of the ClickHouse data source, as its SQL editor saves one."""
    return {
        "datasource": CLICKHOUSE,
        "editorType": "sql",
        "format": FORMATS[query_type],
        "queryType": query_type,
        "rawSql": _sql(sql),
        "refId": ref,
    }


def series(sql: str, ref: str = "A") -> Json:
    """A time column, numbers, and texts that become labels; ordered by time."""
    return clickhouse(sql, "timeseries", ref)


def rows(sql: str, ref: str = "A") -> Json:
    """Rows as they are."""
    return clickhouse(sql, "table", ref)


def spans(sql: str) -> Json:
    """Rows of the Traces panel."""
    return clickhouse(sql, "traces")


def prom(expr: str, legend: str = "", ref: str = "A", instant: bool = False) -> Json:
    """A query of Prometheus."""
    return {
        "datasource": PROMETHEUS,
        "expr": expr,
        "instant": instant,
        "legendFormat": legend or "__auto",
        "range": not instant,
        "refId": ref,
    }


def link(title: str, url: str) -> Json:
    """A link from a value to another place, mostly another dashboard."""
    return {"title": title, "url": url}


def field_options(name: str, **properties: Any) -> Json:
    """What one field of a panel has of its own: unit, links, width, ... by the property's id with _ for a dot."""
    ids = {
        "cell": "custom.cellOptions",
        "width": "custom.width",
        "inspect": "custom.inspect",
        "hidden": "custom.hideFrom",
    }
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": ids.get(key, key), "value": value} for key, value in properties.items()],
    }


def thresholds(*steps: tuple[float | None, str]) -> Json:
    """Colours from a value on; the first value is None."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}


@dataclass
class Panel:
    """One panel. Its width is in columns of 24; its height is that of its row."""

    title: str
    kind: str
    width: int
    targets: list[Json]
    description: str = ""
    options: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    overrides: list[Json] = field(default_factory=list)
    interval: str = ""

    def to_json(self, number: int, x: int, y: int, height: int) -> Json:
        """The panel at its place."""
        panel: Json = {
            "datasource": self.targets[0]["datasource"],
            "description": self.description,
            "fieldConfig": {"defaults": self.defaults, "overrides": self.overrides},
            "gridPos": {"h": height, "w": self.width, "x": x, "y": y},
            "id": number,
            "options": self.options,
            "targets": self.targets,
            "title": self.title,
            "type": self.kind,
        }
        if self.interval:
            panel["interval"] = self.interval
        return panel


def chart(
    title: str,
    width: int,
    *targets: Json,
    unit: str = "short",
    description: str = "",
    stacked: bool = False,
    bars: bool = False,
    label: str = "",
    links: Sequence[Json] = (),
    interval: str = "1m",
    **defaults: Any,
) -> Panel:
    """A time series. `label` is the label that names a series; without it a series has the name of its column."""
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 10,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
    }
    if stacked:
        custom["stacking"] = {"group": "A", "mode": "normal"}
    shown: Json = {"custom": custom, "unit": unit, "min": 0, **defaults}
    if label:
        shown["displayName"] = f"${{__field.labels.{label}}}"
    if links:
        shown["links"] = list(links)
    return Panel(
        title,
        "timeseries",
        width,
        list(targets),
        description,
        {
            "legend": {"calcs": ["mean", "max"], "displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        shown,
        interval=interval,
    )


def stat(
    title: str,
    width: int,
    target: Json,
    unit: str = "short",
    description: str = "",
    steps: Json | None = None,
    links: Sequence[Json] = (),
    **defaults: Any,
) -> Panel:
    """One number, or a few side by side."""
    shown: Json = {"unit": unit, "thresholds": steps or thresholds((None, "text")), "noValue": "none", **defaults}
    if links:
        shown["links"] = list(links)
    return Panel(
        title,
        "stat",
        width,
        [target],
        description,
        {
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "auto",
        },
        shown,
    )


def text_stat(title: str, width: int, target: Json, description: str = "") -> Panel:
    """One row with a text and numbers, each shown with its name."""
    panel = stat(title, width, target, description=description)
    panel.options["reduceOptions"]["fields"] = "/.*/"
    panel.options["textMode"] = "value_and_name"
    return panel


def table(
    title: str,
    width: int,
    target: Json,
    *overrides: Json,
    description: str = "",
    sort: str = "",
    **defaults: Any,
) -> Panel:
    """A table; `sort` is the column by which it is sorted at first, the highest first."""
    options: Json = {"cellHeight": "sm", "showHeader": True}
    if sort:
        options["sortBy"] = [{"desc": True, "displayName": sort}]
    shown: Json = {"custom": {"filterable": True}, "noValue": "", **defaults}
    return Panel(title, "table", width, [target], description, options, shown, list(overrides))


def heatmap(title: str, width: int, target: Json, unit: str, description: str = "") -> Panel:
    """A heat map of a wide frame: a time, and a column a bucket, named by the bucket's upper bound."""
    options: Json = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "exponent": 0.5,
            "fill": "dark-orange",
            "mode": "scheme",
            "scale": "exponential",
            "scheme": "Oranges",
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "le"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    return Panel(title, "heatmap", width, [target], description, options, interval="1m")


def bars(title: str, width: int, target: Json, unit: str = "short", description: str = "", **defaults: Any) -> Panel:
    """Horizontal bars, one a row: a text and a number."""
    options: Json = {
        "displayMode": "gradient",
        "maxVizHeight": 300,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "auto",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "limit": 20, "values": True},
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    return Panel(title, "bargauge", width, [target], description, options, {"unit": unit, "min": 0, **defaults})


def node_graph(
    title: str,
    width: int,
    nodes: str,
    edges: str,
    node_units: tuple[str, str],
    edge_units: tuple[str, str],
    arcs: Mapping[str, str],
    description: str = "",
) -> Panel:
    """A graph of the queries `nodes` (id, title, mainstat, ...) and `edges` (id, source, target, ...)."""
    options: Json = {
        "edges": {"mainStatUnit": edge_units[0], "secondaryStatUnit": edge_units[1]},
        "nodes": {
            "arcs": [{"color": color, "field": name} for name, color in arcs.items()],
            "mainStatUnit": node_units[0],
            "secondaryStatUnit": node_units[1],
        },
    }
    # The panel knows the two frames by these names.
    return Panel(title, "nodeGraph", width, [rows(nodes, "nodes"), rows(edges, "edges")], description, options)


def waterfall(title: str, width: int, sql: str, description: str = "") -> Panel:
    """The Traces panel: one trace."""
    return Panel(title, "traces", width, [spans(sql)], description)


@dataclass
class Row:
    """Panels side by side under a title; they go on in a next line where 24 columns are full."""

    title: str
    height: int
    panels: list[Panel]


def choice(name: str, label: str, sql: str, description: str = "") -> Json:
    """A variable with the values that a query finds: all, or some of them."""
    return {
        "allowCustomValue": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "datasource": CLICKHOUSE,
        "description": description,
        "includeAll": True,
        "label": label,
        "multi": True,
        "name": name,
        "options": [],
        "query": _sql(sql),
        "refresh": 2,
        "sort": 1,
        "type": "query",
    }


def text(name: str, label: str, description: str = "") -> Json:
    """A variable that a person or a link fills in; empty at first."""
    return {
        "current": {"text": "", "value": ""},
        "description": description,
        "label": label,
        "name": name,
        "query": "",
        "type": "textbox",
    }


def fixed(name: str, label: str, values: Sequence[str]) -> Json:
    """A variable with the values given here: all, or some of them."""
    every = [{"selected": True, "text": "All", "value": "$__all"}]
    return {
        "current": {"text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "label": label,
        "multi": True,
        "name": name,
        "options": every + [{"selected": False, "text": value, "value": value} for value in values],
        "query": ",".join(values),
        "type": "custom",
    }


def annotation(name: str, sql: str, color: str) -> Json:
    """Marks over all charts: time, timeEnd, title, text, tags."""
    return {
        "datasource": CLICKHOUSE,
        "enable": True,
        "iconColor": color,
        "name": name,
        "target": clickhouse(sql, "table", "annotation"),
    }


@dataclass
class Dashboard:
    """One dashboard."""

    uid: str
    title: str
    description: str
    variables: list[Json]
    rows: list[Row]
    annotations: list[Json] = field(default_factory=list)
    start: str = "now-1h"

    def to_json(self) -> Json:
        """The dashboard as Grafana reads it from a file."""
        return {
            "annotations": {"list": self.annotations},
            "description": self.description,
            "editable": True,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "links": [_siblings()],
            "panels": self._panels(),
            "refresh": "5s",
            "schemaVersion": SCHEMA_VERSION,
            "tags": ["spanflow"],
            "templating": {"list": self.variables},
            "time": {"from": self.start, "to": "now"},
            "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
            "timezone": "browser",
            "title": f"Spanflow · {self.title}",
            "uid": self.uid,
        }

    def _panels(self) -> list[Json]:
        panels: list[Json] = []
        y = 0
        for row in self.rows:
            panels.append(_row_title(row.title, len(panels) + 1, y))
            x, y = 0, y + 1
            for panel in row.panels:
                if x + panel.width > GRID_WIDTH:
                    x, y = 0, y + row.height
                panels.append(panel.to_json(len(panels) + 1, x, y, row.height))
                x += panel.width
            y += row.height
        return panels


def _row_title(title: str, number: int, y: int) -> Json:
    place = {"h": 1, "w": GRID_WIDTH, "x": 0, "y": y}
    return {"collapsed": False, "gridPos": place, "id": number, "panels": [], "title": title, "type": "row"}


def _siblings() -> Json:
    """The other dashboards, at the top of each; the time range goes along."""
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": False,
        "keepTime": True,
        "tags": ["spanflow"],
        "targetBlank": False,
        "title": "Spanflow",
        "tooltip": "",
        "type": "dashboards",
        "url": "",
    }
