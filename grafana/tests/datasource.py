"""What Grafana and the ClickHouse data source (4.x) do with a query before ClickHouse sees it, and with its answer.

Sources of the rules: Grafana's template service (variables and the format `sqlstring`), the plugin's
`applyConditionalAll`, `pkg/macros` and `pkg/converters`, and `sqlutil.Interpolate` of grafana-plugin-sdk-go, which
expands macros.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ALL = "$__all"
# How a query asks the backend to shape its answer, by the type of its panel.
FORMATS = {"timeseries": 0, "heatmap": 0, "stat": 1, "table": 1, "bargauge": 1, "nodeGraph": 1, "traces": 3}
Value = str | list[str]


@dataclass(frozen=True)
class TimeRange:
    """Seconds since 1970, and the interval between two points of a chart in seconds."""

    start: int
    end: int
    interval: int = 60


@dataclass(frozen=True)
class Variable:
    """A dashboard's variable as it stands: its value, and what All stands for."""

    value: Value
    options: tuple[str, ...] = ()

    def current(self) -> Value:
        return list(self.options) if self.value in (ALL, [ALL]) else self.value


class MacroError(Exception):
    """The plugin would refuse the query."""


def expand(sql: str, variables: Mapping[str, Variable], time_range: TimeRange) -> str:
    """The SQL that ClickHouse gets."""
    return _macros(_replace(_conditional_all(sql, variables), variables), time_range)


def _conditional_all(sql: str, variables: Mapping[str, Variable]) -> str:
    """`$__conditionalAll(condition, $variable)`: 1=1 where the variable is empty or All. The last one goes first."""
    name = "$__conditionalAll("
    while (at := sql.rfind(name)) != -1:
        arguments = _bracketed(sql[at + len(name) - 1 :])
        if len(arguments) != 2:
            raise MacroError(f"$__conditionalAll takes two arguments: {arguments}")
        phrase = arguments[0]
        found = re.search(r"(?<=\$\{)\w+(?=\})|(?<=\$)\w+", arguments[1].strip())
        if found:
            value = variables[found[0]].value
            if (",".join(value) if isinstance(value, list) else value) in ("", ALL):
                phrase = "1=1"
        sql = sql.replace(f"{name}{arguments[0]},{arguments[1]})", phrase, 1)
    return sql


def _bracketed(text: str) -> list[str]:
    """The arguments in the brackets that `text` begins with. Quotes mean nothing to it."""
    depth, begin, arguments = 0, 1, []
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (character == "," and depth == 1) or depth == 0:
            arguments.append(text[begin:at])
            begin = at + 1
        if depth == 0:
            return arguments
    raise MacroError(f"a bracket is not closed: {text[:60]}")


def _replace(sql: str, variables: Mapping[str, Variable]) -> str:
    """Grafana's variables; what is no variable's name stays as it is, so that macros do."""

    def put(found: re.Match[str]) -> str:
        name, wanted = found[1] or found[2], found[3]
        if name not in variables:
            return found[0]
        value = variables[name].current()
        if wanted == "sqlstring":
            values = value if isinstance(value, list) else [value]
            return ",".join("'" + one.replace("'", "''") + "'" for one in values)
        if wanted:
            raise MacroError(f"the format {wanted} is not known here")
        return "'" + "','".join(value) + "'" if isinstance(value, list) else value

    return re.sub(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}", put, sql)


def _macros(sql: str, time_range: TimeRange) -> str:
    start, end, interval = time_range.start, time_range.end, max(time_range.interval, 1)
    begin_ms, end_ms = f"fromUnixTimestamp64Milli({start * 1000})", f"fromUnixTimestamp64Milli({end * 1000})"
    known: dict[str, tuple[int, Callable[..., str]]] = {
        "fromTime": (0, lambda: f"toDateTime({start})"),
        "toTime": (0, lambda: f"toDateTime({end})"),
        "fromTime_ms": (0, lambda: begin_ms),
        "toTime_ms": (0, lambda: end_ms),
        "timeFilter": (1, lambda name: f"{name} >= toDateTime({start}) AND {name} <= toDateTime({end})"),
        "timeFilter_ms": (1, lambda name: f"{name} >= {begin_ms} AND {name} <= {end_ms}"),
        "timeInterval": (1, lambda name: f"toStartOfInterval(toDateTime({name}), INTERVAL {interval} second)"),
        "interval_s": (0, lambda: str(interval)),
    }
    for name in sorted(known, key=len, reverse=True):
        count, write = known[name]
        while found := re.search(rf"\$__{name}\b", sql):
            rest = sql[found.end() :]
            arguments: list[str] = []
            if rest.startswith("("):
                arguments = [argument.strip() for argument in _bracketed(rest)]
                rest = rest[_closing(rest) + 1 :]
            if len(arguments) != count:
                raise MacroError(f"$__{name} takes {count} arguments, not {arguments}")
            if any(not re.fullmatch(r"\w+", argument) for argument in arguments):
                raise MacroError(f"$__{name}({arguments}): versions differ in how they split anything but a plain name")
            sql = sql[: found.start()] + write(*arguments) + rest
    if left := re.search(r"\$\{?\w+", sql):
        raise MacroError(f"{left[0]} is neither a macro nor a variable of the dashboard")
    return sql


def _closing(text: str) -> int:
    depth = 0
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return at
    raise MacroError(f"a bracket is not closed: {text[:60]}")


@dataclass(frozen=True)
class Frame:
    """An answer: names, types as Grafana's fields have them, and rows."""

    names: list[str]
    types: list[str]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    def of_type(self, wanted: str) -> list[str]:
        return [name for name, kind in zip(self.names, self.types, strict=True) if kind == wanted]


def field_type(clickhouse: str) -> str:
    """time, number, string, boolean or json; as `pkg/converters` has it."""
    inner = re.sub(r"^Nullable\((.*)\)$", r"\1", clickhouse)
    if re.fullmatch(r"U?Int(8|16|32|64|128|256)|Float(32|64)|Decimal.*", inner):
        return "number"
    if inner.startswith("Date"):
        return "time"
    if inner in ("String", "LowCardinality(String)", "LowCardinality(Nullable(String))") or inner.startswith("Enum"):
        return "string"
    if inner == "Bool":
        return "boolean"
    if re.match(r"(Array|Map|Tuple|Nested)\(", clickhouse):
        return "json"
    raise MacroError(f"the plugin has no converter for {clickhouse}")


@dataclass(frozen=True)
class Warehouse:
    """A warehouse's HTTP interface."""

    url: str
    database: str = "spanflow"

    def ask(self, sql: str) -> str:
        request = urllib.request.Request(f"{self.url}/?database={self.database}", data=sql.encode())
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.read().decode()[:1500]}\n{sql}") from error

    def frame(self, sql: str) -> Frame:
        answer = json.loads(self.ask(f"{sql}\nFORMAT JSONCompact SETTINGS output_format_json_quote_64bit_integers = 0"))
        meta = answer["meta"]
        return Frame(
            [column["name"] for column in meta], [field_type(column["type"]) for column in meta], answer["data"]
        )
