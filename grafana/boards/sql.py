"""SQL that several dashboards share.

Macros ($__timeFilter, $__interval_s, $__conditionalAll, ...) are the ClickHouse data source's. Their arguments are plain
column names: each of its versions splits arguments in its own way as soon as there are brackets or quotes in them.
"""

from __future__ import annotations

from boards.parts import Json, annotation, choice, link

# Windows of the range: the minute ones, or the hourly ones where a point on a chart is an hour or more. ClickHouse knows
# before it reads anything which half is empty.
STEPS = """(
    SELECT * FROM dws_step_1m_latest WHERE $__interval_s < 3600 AND $__timeFilter(window_start)
    UNION ALL
    SELECT * FROM dws_step_1h_latest WHERE $__interval_s >= 3600 AND $__timeFilter(window_start)
)"""


def _active(table: str, key: str) -> str:
    """What was active in the range, one row a key.

    A key has a row a segment: a second one where it was heard of again after `session_ttl`. Few have, and grouping a
    million keys costs several times what reading them does. So the second segments are found along the table's order, without
    a hash table; the view combines segments of their keys alone, and the one row of every other key counts as it is.
    """
    active = "last_time >= $__fromTime AND first_time <= $__toTime"
    return f"""(
    WITH (
        SELECT groupArray(({key})) FROM (SELECT {key} FROM {table} FINAL ORDER BY {key}, segment LIMIT 1 OFFSET 1 BY {key})
    ) AS reopened_{table}
    SELECT * FROM {table} FINAL WHERE {active} AND ({key}) NOT IN (SELECT arrayJoin(reopened_{table}))
    UNION ALL
    SELECT * FROM {table}_latest
    WHERE ({key}) IN (SELECT arrayJoin(reopened_{table}))
        AND ({key}) IN (SELECT {key} FROM {table} WHERE ({key}) IN (SELECT arrayJoin(reopened_{table})) AND {active})
)"""


SESSIONS = _active("dws_session", "namespace, session_id")
TRACES = _active("dws_trace", "trace_id")

ANOMALIES = """(
    SELECT * FROM ads_anomaly_latest WHERE window_end >= $__fromTime AND window_start <= $__toTime
)"""


def chosen(column: str, variable: str) -> str:
    """A condition on a variable with several values; none where all are chosen."""
    return f"$__conditionalAll({column} IN (${{{variable}:sqlstring}}), ${variable})"


def given(condition: str, variable: str) -> str:
    """A condition that counts once the variable is filled in."""
    return f"$__conditionalAll({condition}, ${variable})"


AGENT = chosen("agent", "agent")


def agent_variable() -> Json:
    """The agents that did something in the range."""
    return choice(
        "agent",
        "Agent",
        """
        SELECT DISTINCT agent FROM dws_step_1h_latest
        WHERE window_start >= toStartOfHour($__fromTime) AND window_start <= $__toTime ORDER BY agent
        """,
    )


def key_variable(name: str, label: str, column: str) -> Json:
    """The values that a column of the windows has in the range, for the agents chosen."""
    return choice(
        name,
        label,
        f"""
        SELECT DISTINCT {column} FROM dws_step_1h_latest
        WHERE window_start >= toStartOfHour($__fromTime) AND window_start <= $__toTime
            AND {column} != '' AND {AGENT}
        ORDER BY {column}
        """,
    )


def anomaly_marks() -> Json:
    """What the job flagged, over every chart."""
    return annotation(
        "Anomalies",
        f"""
        SELECT
            toUnixTimestamp(window_start) * 1000 AS time,
            toUnixTimestamp(window_end) * 1000 AS timeEnd,
            concat(detector, ' · ', agent) AS title,
            message AS text,
            concat(severity, ',', state, ',', detector) AS tags
        FROM {ANOMALIES}
        WHERE {AGENT}
        ORDER BY time
        LIMIT 500
        """,
        "red",
    )


# From a point of a chart by agent: what was going on then.
SESSIONS_OF_POINT = link(
    "Sessions then",
    "/d/spanflow-session?var-agent=${__field.labels.agent:percentencode}&var-at=${__value.time}&${__url_time_range}",
)
STEPS_OF_AGENT = link(
    "Steps and tools", "/d/spanflow-steps?var-agent=${__field.labels.agent:percentencode}&${__url_time_range}"
)


def to_session(field: str) -> Json:
    """From a row to its session."""
    return link(
        "Session", f"/d/spanflow-session?var-session=${{__data.fields.{field}:percentencode}}&${{__url_time_range}}"
    )


def to_trace(session: str, trace: str) -> Json:
    """From a row to its session and the waterfall of its trace."""
    return link(
        "Waterfall",
        f"/d/spanflow-session?var-session=${{__data.fields.{session}:percentencode}}"
        f"&var-trace=${{__data.fields.{trace}:percentencode}}&${{__url_time_range}}",
    )
