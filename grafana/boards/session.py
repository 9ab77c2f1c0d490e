"""What happened in one session? Search on top, and below it the session that was picked, or else the newest one."""

from __future__ import annotations

from boards.parts import Dashboard, Row, field_options, fixed, link, node_graph, rows, table, text, text_stat, waterfall
from boards.sql import AGENT, SESSIONS, agent_variable, anomaly_marks, chosen, given, to_session

# A session is told by its id alone: two namespaces with one id are shown together. The newest one is found by its last
# segment, without combining those before.
SESSION = f"""if(
    ${{session:sqlstring}} != '',
    ${{session:sqlstring}},
    (
        SELECT argMax(session_id, (last_time, session_id)) FROM dws_session FINAL
        WHERE ${{session:sqlstring}} = '' AND last_time >= $__fromTime AND first_time <= $__toTime AND {AGENT}
    )
)"""
# The inner query finds what was ever in the session, the outer one what is.
TURNS = f"""(
    SELECT * FROM dws_trace_latest
    WHERE session_id = {SESSION} AND trace_id IN (SELECT trace_id FROM dws_trace WHERE session_id = {SESSION})
)"""
# As a value, so that it is found once, and that tables are searched for these few ids.
TURN_IDS = f"(SELECT groupArray(trace_id) FROM {TURNS})"
TRACE = f"""if(
    ${{trace:sqlstring}} != '',
    ${{trace:sqlstring}},
    (SELECT argMax(trace_id, (last_time, trace_id)) FROM {TURNS} WHERE ${{trace:sqlstring}} = '')
)"""

# Typed steps: an act is told apart by its tool.
STEP_NAME = "if(step_type = 'act' AND tool_name != '', concat('act:', tool_name), step_type)"
FLOW_STEPS = f"""(
    WITH {TURN_IDS} AS turns
    SELECT
        trace_id, start_time, end_time, derived, span_id, status, duration_us,
        {STEP_NAME}::String AS step,
        lagInFrame(step, 1, 'start') OVER flow AS before,
        lagInFrame(end_time, 1, start_time) OVER flow AS before_end,
        row_number() OVER (PARTITION BY trace_id ORDER BY start_time DESC, end_time DESC, derived DESC, span_id DESC) = 1 AS last
    FROM dwd_step
    WHERE trace_id IN (SELECT arrayJoin(turns)) AND step_type IN ('think', 'act', 'observe', 'response')
    WINDOW flow AS (
        PARTITION BY trace_id ORDER BY start_time, end_time, derived, span_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
)"""


def dashboard() -> Dashboard:
    return Dashboard(
        "spanflow-session",
        "Session",
        "Find a session, and see its turns, its waterfall, its flow and every step's input and output.",
        [
            agent_variable(),
            fixed("state", "State", ["open", "idle", "done", "failed"]),
            text("user", "User", "Sessions of this user alone"),
            text("search", "Search", "Part of a session id, user id or flag"),
            text("at", "At", "Milliseconds since 1970; links set it: sessions that were active then"),
            text("session", "Session", "The session shown below; empty shows the newest one"),
            text("trace", "Trace", "The turn whose waterfall is shown; empty shows the newest one"),
        ],
        [_search(), _summary(), _waterfall(), _flow(), _steps()],
        [anomaly_marks()],
    )


def _search() -> Row:
    found_text = (
        "positionCaseInsensitive(concat(session_id, ' ', user_id, ' ', toString(flags)), ${search:sqlstring}) > 0"
    )
    # The moment that a chart's point stands for is the beginning of its interval, a minute at least.
    at = "first_time < fromUnixTimestamp64Milli(toInt64(${at:sqlstring}) + 60000) AND last_time >= fromUnixTimestamp64Milli(toInt64(${at:sqlstring}))"
    return Row(
        "Sessions",
        9,
        [
            table(
                "Sessions",
                24,
                rows(
                    f"""
                    SELECT
                        session_id AS session, agent, user_id AS user, state, first_time AS began,
                        dateDiff('millisecond', first_time, last_time) AS took,
                        turns, steps, llm_calls, tool_calls, errors, cost_nanousd / 1e9 AS cost,
                        arrayStringConcat(flags, ', ') AS flagged
                    FROM {SESSIONS}
                    WHERE {AGENT}
                        AND {chosen("state", "state")}
                        AND {given("user_id = ${user:sqlstring}", "user")}
                        AND {given(found_text, "search")}
                        AND {given(at, "at")}
                    ORDER BY began DESC
                    LIMIT 500
                    """
                ),
                field_options("session", links=[to_session("session")], width=260),
                field_options(
                    "user",
                    links=[
                        link(
                            "Sessions of this user",
                            "/d/spanflow-session?var-user=${__data.fields.user:percentencode}&${__url_time_range}",
                        )
                    ],
                ),
                field_options("took", unit="ms"),
                field_options("cost", unit="currencyUSD"),
                field_options("state", **_STATE_COLORS),
                description="Of all that were active in the time range, the 500 that began last",
            )
        ],
    )


_STATE_COLORS: dict[str, object] = {
    "cell": {"type": "color-text"},
    "mappings": [
        {
            "type": "value",
            "options": {
                "open": {"color": "blue", "index": 0},
                "idle": {"color": "orange", "index": 1},
                "done": {"color": "green", "index": 2},
                "failed": {"color": "red", "index": 3},
            },
        }
    ],
}


def _summary() -> Row:
    return Row(
        "The session",
        7,
        [
            text_stat(
                "Session",
                10,
                rows(
                    f"""
                    SELECT
                        session_id AS session, agent, user_id AS user, state, turns, steps, errors,
                        input_tokens + output_tokens AS tokens, round(cost_nanousd / 1e9, 4) AS cost_usd,
                        round(dateDiff('millisecond', first_time, last_time) / 1e3, 1) AS seconds
                    FROM dws_session_latest WHERE session_id = {SESSION}
                    """
                ),
            ),
            table(
                "Turns",
                14,
                rows(
                    f"""
                    SELECT
                        trace_id AS trace, session_id AS session, first_time AS began, duration_us AS took, root_name AS root,
                        state, steps, errors, orphans
                    FROM {TURNS}
                    ORDER BY began
                    """
                ),
                field_options(
                    "trace",
                    links=[
                        link(
                            "Show this turn",
                            "/d/spanflow-session?var-session=${__data.fields.session:percentencode}"
                            "&var-trace=${__data.fields.trace:percentencode}&${__url_time_range}",
                        )
                    ],
                ),
                field_options("session", hidden={"legend": False, "tooltip": False, "viz": True}),
                field_options("took", unit="µs"),
                field_options("state", **_STATE_COLORS),
                description="One trace a turn; orphans are steps whose parent has not come",
            ),
        ],
    )


def _waterfall() -> Row:
    """Times are milliseconds with a fraction, as the panel takes them; an attribute's long value is a preview."""
    tags = "arrayMap(key -> map('key', key, 'value', {0}[key]), mapKeys({0}))"
    return Row(
        "Waterfall",
        16,
        [
            waterfall(
                "Waterfall of the turn",
                24,
                f"""
                SELECT
                    span.trace_id AS traceID,
                    span.span_id AS spanID,
                    span.parent_span_id AS parentSpanID,
                    span.agent AS serviceName,
                    if(span.tool_name != '', concat(span.step_type, ': ', span.tool_name), concat(span.step_type, ': ', span.name))
                        AS operationName,
                    toUnixTimestamp64Micro(span.start_time) / 1000 AS startTime,
                    span.duration_us / 1000 AS duration,
                    multiIf(span.status = 'error', 2, span.status = 'ok', 1, 0) AS statusCode,
                    if(span.error_message != '', span.error_message, span.status_message) AS statusMessage,
                    span.kind AS kind,
                    span.scope AS instrumentationLibraryName,
                    span.scope_version AS instrumentationLibraryVersion,
                    span.trace_state AS traceState,
                    arrayConcat(
                        arrayFilter(
                            tag -> tag['value'] != '',
                            [
                                map('key', 'input', 'value', span.input_preview),
                                map('key', 'output', 'value', span.output_preview),
                                map('key', 'model', 'value', span.model::String),
                                map('key', 'user', 'value', span.user_id),
                                map('key', 'error.type', 'value', span.error_type::String),
                                map('key', 'late', 'value', if(span.late, 'true', ''))
                            ]
                        ),
                        {tags.format("span.attributes")}
                    ) AS tags,
                    {tags.format("span.resource")} AS serviceTags,
                    event.logs AS logs
                FROM dwd_span AS span
                LEFT ANY JOIN (
                    SELECT
                        span_id,
                        content_hash,
                        groupArray(
                            (
                                name::String,
                                toUnixTimestamp64Micro(time) / 1000,
                                {tags.format("attributes")}
                            )::Tuple(name String, timestamp Float64, fields Array(Map(String, String)))
                        ) AS logs
                    FROM dwd_event WHERE trace_id = {TRACE} GROUP BY span_id, content_hash
                ) AS event ON event.span_id = span.span_id AND event.content_hash = span.content_hash
                WHERE span.trace_id = {TRACE}
                ORDER BY span.start_time, span.duration_us DESC
                LIMIT 5000
                """,
                "Every span with its attributes, input, output and events. One whose parent has not come stands at the top level.",
            )
        ],
    )


def _flow() -> Row:
    return Row(
        "Flow",
        14,
        [
            node_graph(
                "Flow of the session",
                24,
                f"""
                SELECT
                    arrayJoin(
                        arrayConcat([step], if(before = 'start', ['start'], []), if(last, ['end'], []))
                    ) AS id,
                    id AS title,
                    if(countIf(derived AND id = step) = count(), 'derived', '') AS subtitle,
                    count() AS mainstat,
                    avg(if(id = step, duration_us, 0)) AS secondarystat,
                    countIf(status = 'error' AND id = step) / count() AS arc__errors,
                    1 - arc__errors AS arc__success,
                    countIf(status = 'error' AND id = step) AS detail__errors,
                    maxIf(duration_us, id = step) / 1e6 AS detail__longest_s
                FROM {FLOW_STEPS} GROUP BY id
                """,
                f"""
                SELECT
                    arrayJoin(arrayConcat([(before, step)], if(last, [(step, 'end')], []))) AS edge,
                    edge.1 AS source,
                    edge.2 AS target,
                    concat(source, ' → ', target) AS id,
                    count() AS mainstat,
                    avg(if(target = 'end', 0, greatest(0, dateDiff('microsecond', before_end, start_time)))) AS secondarystat,
                    countIf(status = 'error' AND target != 'end') AS detail__errors,
                    1 + 4 * count() / max(count()) OVER () AS thickness,
                    if(detail__errors > 0, 'red', '') AS color
                FROM {FLOW_STEPS} GROUP BY edge
                """,
                ("short", "µs"),
                ("short", "µs"),
                {"arc__success": "green", "arc__errors": "red"},
                "Steps by type and tool. A node shows how often, how long on average, and the share of errors; an edge how often "
                "one followed the other, and the time between them.",
            )
        ],
    )


def _steps() -> Row:
    return Row(
        "Steps",
        16,
        [
            table(
                "Steps, with input and output",
                24,
                rows(
                    f"""
                    WITH
                        {TURN_IDS} AS turns,
                        (
                            SELECT groupUniqArrayArray([input_hash, output_hash]) FROM dwd_span
                            WHERE trace_id IN (SELECT arrayJoin(turns))
                        ) AS hashes,
                        texts AS (
                            SELECT hash, any(content) AS content FROM dwd_content
                            WHERE hash IN (SELECT arrayJoin(hashes)) GROUP BY hash
                        )
                    SELECT
                        start_time AS began,
                        step_no AS step,
                        concat(step_type, if(derived, ' (derived)', ''), if(orphan, ' (orphan)', '')) AS type,
                        if(tool_name != '', tool_name, name) AS what,
                        status,
                        duration_us AS took,
                        if(input.content != '', input.content, input_preview) AS input,
                        if(output.content != '', output.content, output_preview) AS output,
                        error_message AS error,
                        input_tokens + output_tokens AS tokens,
                        cost_nanousd / 1e9 AS cost,
                        trace_id AS trace
                    FROM dwd_step
                    LEFT ANY JOIN texts AS input ON input.hash = input_hash
                    LEFT ANY JOIN texts AS output ON output.hash = output_hash
                    WHERE trace_id IN (SELECT arrayJoin(turns))
                    ORDER BY began, step
                    LIMIT 5000
                    """
                ),
                field_options("took", unit="µs", width=90),
                field_options("cost", unit="currencyUSD", width=90),
                field_options("step", width=60),
                field_options("input", inspect=True, width=320),
                field_options("output", inspect=True, width=320),
                field_options("error", inspect=True),
                field_options(
                    "status",
                    cell={"type": "color-text"},
                    mappings=[{"type": "value", "options": {"error": {"color": "red", "index": 0}}}],
                ),
                description="In full: the eye in a cell shows the whole text. An observe or response that no span says is derived.",
            )
        ],
    )
