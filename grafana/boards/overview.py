"""How are the agents? The first dashboard that a person opens."""

from __future__ import annotations

from boards.parts import Dashboard, Row, chart, field_options, link, rows, series, stat, table, thresholds
from boards.sql import (
    AGENT,
    ANOMALIES,
    SESSIONS,
    SESSIONS_OF_POINT,
    STEPS,
    STEPS_OF_AGENT,
    agent_variable,
    anomaly_marks,
    to_trace,
)

# Sessions are counted by their turns; all else that agents do is a step.
STEP = f"step_type != 'session' AND {AGENT}"
BAD_RATE = thresholds((None, "green"), (0.05, "orange"), (0.2, "red"))
BAD_COUNT = thresholds((None, "green"), (1, "red"))


def dashboard() -> Dashboard:
    return Dashboard(
        "spanflow-overview",
        "Overview",
        "Rate, errors, latency, cost and open sessions of all agents, and what was flagged.",
        [agent_variable()],
        [_now(), _traffic(), _latency(), _money(), _lists()],
        [anomaly_marks()],
    )


def _now() -> Row:
    return Row(
        "In the time range",
        4,
        [
            stat("Steps", 3, rows(f"SELECT sum(count) AS steps FROM {STEPS} WHERE {STEP}")),
            stat(
                "Error rate",
                3,
                rows(f"SELECT sum(errors) / sum(count) AS rate FROM {STEPS} WHERE {STEP}"),
                "percentunit",
                "Steps with status error, of all steps",
                BAD_RATE,
            ),
            stat(
                "p95 of a step",
                3,
                rows(f"SELECT spanflow_quantile(0.95, sumMap(duration_buckets)) AS p95 FROM {STEPS} WHERE {STEP}"),
                "µs",
            ),
            stat(
                "p95 of a turn",
                3,
                rows(
                    f"""
                    SELECT spanflow_quantile(0.95, sumMap(duration_buckets)) AS p95
                    FROM {STEPS} WHERE step_type = 'session' AND {AGENT}
                    """
                ),
                "µs",
                "From a person's question to the end of the answer",
            ),
            stat(
                "Cost",
                3,
                rows(f"SELECT sum(cost_nanousd) / 1e9 AS cost FROM {STEPS} WHERE step_type = 'think' AND {AGENT}"),
                "currencyUSD",
            ),
            stat(
                "Open sessions",
                3,
                rows(f"SELECT countIf(state = 'open') AS open FROM {SESSIONS} WHERE {AGENT}"),
                description="A turn of theirs has not ended yet",
                links=[link("Sessions", "/d/spanflow-session?var-state=open&${__url_time_range}")],
            ),
            stat(
                "Freshness",
                3,
                rows(
                    """
                    SELECT argMax(delay_p95_ms, window_start) AS p95
                    FROM ads_freshness_latest WHERE $__timeFilter(window_start)
                    """
                ),
                "ms",
                "p95 of the time from the end of a span to its row being visible, in the newest minute",
                thresholds((None, "green"), (5000, "orange"), (30000, "red")),
                links=[link("Pipeline", "/d/spanflow-pipeline?${__url_time_range}")],
            ),
            stat(
                "Anomalies",
                3,
                rows(f"SELECT countIf(state != 'resolved') AS open FROM {ANOMALIES} WHERE {AGENT}"),
                description="Flagged in the range and not resolved",
                steps=BAD_COUNT,
            ),
        ],
    )


def _traffic() -> Row:
    return Row(
        "Traffic and errors",
        8,
        [
            chart(
                "Steps a second",
                8,
                series(
                    f"""
                    SELECT $__timeInterval(window_start) AS time, agent, sum(count) / $__interval_s AS steps
                    FROM {STEPS} WHERE {STEP} GROUP BY time, agent ORDER BY time
                    """
                ),
                label="agent",
                stacked=True,
                links=[SESSIONS_OF_POINT, STEPS_OF_AGENT],
            ),
            chart(
                "Error rate",
                8,
                series(
                    f"""
                    SELECT $__timeInterval(window_start) AS time, agent, sum(errors) / sum(count) AS rate
                    FROM {STEPS} WHERE {STEP} GROUP BY time, agent ORDER BY time
                    """
                ),
                unit="percentunit",
                label="agent",
                links=[SESSIONS_OF_POINT, STEPS_OF_AGENT],
            ),
            chart(
                "Open sessions",
                8,
                series(
                    f"""
                    SELECT
                        toDateTime(arrayJoin(range(
                            intDiv(toUnixTimestamp(greatest(first_time, toDateTime64($__fromTime, 6))), $__interval_s)
                                * $__interval_s,
                            toUnixTimestamp(least(last_time, toDateTime64($__toTime, 6))) + 1,
                            $__interval_s
                        ))) AS time,
                        agent,
                        count() AS sessions
                    FROM {SESSIONS} WHERE {AGENT} GROUP BY time, agent ORDER BY time
                    """
                ),
                label="agent",
                stacked=True,
                description="Sessions between whose first and last span the moment lies",
                links=[SESSIONS_OF_POINT],
            ),
        ],
    )


def _latency() -> Row:
    return Row(
        "Latency",
        8,
        [
            chart(
                "Duration of steps",
                12,
                series(
                    f"""
                    SELECT
                        time,
                        spanflow_quantile(0.5, buckets) AS p50,
                        spanflow_quantile(0.95, buckets) AS p95,
                        spanflow_quantile(0.99, buckets) AS p99
                    FROM (
                        SELECT $__timeInterval(window_start) AS time, sumMap(duration_buckets) AS buckets
                        FROM {STEPS} WHERE {STEP} GROUP BY time
                    )
                    ORDER BY time
                    """
                ),
                unit="µs",
            ),
            chart(
                "p95 of a turn, by agent",
                12,
                series(
                    f"""
                    SELECT
                        $__timeInterval(window_start) AS time,
                        agent,
                        spanflow_quantile(0.95, sumMap(duration_buckets)) AS p95
                    FROM {STEPS} WHERE step_type = 'session' AND {AGENT} GROUP BY time, agent ORDER BY time
                    """
                ),
                unit="µs",
                label="agent",
                links=[SESSIONS_OF_POINT, STEPS_OF_AGENT],
            ),
        ],
    )


def _money() -> Row:
    return Row(
        "Tokens and cost",
        8,
        [
            chart(
                "Cost, by model",
                12,
                series(
                    f"""
                    SELECT $__timeInterval(window_start) AS time, model, sum(cost_nanousd) / 1e9 AS cost
                    FROM {STEPS} WHERE step_type = 'think' AND {AGENT} GROUP BY time, model ORDER BY time
                    """
                ),
                unit="currencyUSD",
                label="model",
                bars=True,
                stacked=True,
            ),
            chart(
                "Tokens a second",
                12,
                series(
                    f"""
                    SELECT
                        $__timeInterval(window_start) AS time,
                        sum(input_tokens) / $__interval_s AS input,
                        sum(output_tokens) / $__interval_s AS output
                    FROM {STEPS} WHERE step_type = 'think' AND {AGENT} GROUP BY time ORDER BY time
                    """
                ),
            ),
        ],
    )


def _lists() -> Row:
    return Row(
        "Agents and anomalies",
        10,
        [
            table(
                "Agents",
                12,
                rows(
                    f"""
                    SELECT
                        agent,
                        sumIf(count, step_type = 'session') AS turns,
                        sumIf(count, step_type != 'session') AS steps,
                        sumIf(errors, step_type != 'session') / greatest(steps, 1) AS error_rate,
                        spanflow_quantile(0.95, sumMapIf(duration_buckets, step_type = 'session')) AS turn_p95,
                        sumIf(cost_nanousd, step_type = 'think') / 1e9 AS cost
                    FROM {STEPS} WHERE {AGENT} GROUP BY agent ORDER BY steps DESC
                    """
                ),
                field_options(
                    "agent",
                    links=[
                        link(
                            "Steps and tools",
                            "/d/spanflow-steps?var-agent=${__data.fields.agent:percentencode}&${__url_time_range}",
                        ),
                        link(
                            "Sessions",
                            "/d/spanflow-session?var-agent=${__data.fields.agent:percentencode}&${__url_time_range}",
                        ),
                    ],
                ),
                field_options("error_rate", unit="percentunit", thresholds=BAD_RATE, cell={"type": "color-text"}),
                field_options("turn_p95", unit="µs"),
                field_options("cost", unit="currencyUSD"),
            ),
            table(
                "Anomalies",
                12,
                rows(
                    f"""
                    SELECT
                        window_start AS time, severity, state, detector, agent, message, session_id AS session, trace_id AS trace
                    FROM {ANOMALIES} WHERE {AGENT} ORDER BY time DESC LIMIT 200
                    """
                ),
                field_options("session", links=[to_trace("session", "trace")]),
                field_options("message", width=360),
            ),
        ],
    )
