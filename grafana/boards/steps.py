"""Which steps, tools and models are slow, fail or cost?"""

from __future__ import annotations

from boards.parts import (
    Dashboard,
    Json,
    Panel,
    Row,
    bars,
    chart,
    field_options,
    fixed,
    heatmap,
    node_graph,
    rows,
    series,
    table,
    thresholds,
)
from boards.sql import AGENT, STEPS, agent_variable, anomaly_marks, chosen, key_variable, to_trace

FILTERS = " AND ".join([AGENT, chosen("step_type", "step_type"), chosen("tool_name", "tool"), chosen("model", "model")])
STEP_TYPES = [
    "session", "think", "act", "observe", "response", "embedding", "retrieval", "rerank", "guardrail", "evaluate", "chain",
    "other",
]  # fmt: skip
# Upper bounds of the heat map's rows, in seconds: 1, 2, 5 of each decade from a millisecond to 1,000 s.
BOUNDS = [digit * 10**power for power in range(-3, 3) for digit in (1, 2, 5)] + [1000]
RATE = thresholds((None, "green"), (0.05, "orange"), (0.2, "red"))
# Transitions between steps. Each is counted in the minute in which its later step ended.
EDGES = f"(SELECT * FROM dws_edge_1m_latest WHERE $__timeFilter(window_start) AND {AGENT})"
BEHIND = "Of the tables of the job's own top lists: the first of each minute and agent"


def dashboard() -> Dashboard:
    return Dashboard(
        "spanflow-steps",
        "Steps and tools",
        "Latency, errors and cost by step type, tool and model.",
        [
            agent_variable(),
            fixed("step_type", "Step", STEP_TYPES),
            key_variable("tool", "Tool", "tool_name"),
            key_variable("model", "Model", "model"),
        ],
        [_latency(), _by_key(), _errors(), _flow(), _extremes()],
        [anomaly_marks()],
    )


def _buckets() -> str:
    """A column a row of the heat map. The last one takes what is longer than all bounds."""
    columns = []
    for lower, upper in zip([0, *BOUNDS[:-1]], BOUNDS, strict=True):
        above = f"value >= {lower * 1e6:.0f}"
        below = "" if upper == BOUNDS[-1] else f" AND value < {upper * 1e6:.0f}"
        columns.append(f"sumIf(spans, {above}{below}) AS `{upper:g}`")
    return ", ".join(columns)


def _latency() -> Row:
    return Row(
        "Latency",
        10,
        [
            heatmap(
                "How long steps take",
                14,
                series(
                    f"""
                    SELECT time, {_buckets()}
                    FROM (
                        SELECT
                            $__timeInterval(window_start) AS time,
                            arrayJoin(sumMap(duration_buckets)) AS bucket,
                            spanflow_bucket_value(bucket.1) AS value,
                            bucket.2 AS spans
                        FROM {STEPS} WHERE {FILTERS} GROUP BY time
                    )
                    GROUP BY time
                    ORDER BY time
                    """
                ),
                "s",
                "Steps by duration, from the logarithmic buckets of the windows",
            ),
            chart(
                "p95, by step type",
                10,
                series(
                    f"""
                    SELECT
                        $__timeInterval(window_start) AS time,
                        step_type,
                        spanflow_quantile(0.95, sumMap(duration_buckets)) AS p95
                    FROM {STEPS} WHERE {FILTERS} GROUP BY time, step_type ORDER BY time
                    """
                ),
                unit="µs",
                label="step_type",
            ),
        ],
    )


def _table(title: str, key: str, condition: str, extra: str, *overrides: Json) -> Panel:
    return table(
        title,
        12,
        rows(
            f"""
            SELECT
                {key},
                sum(count) AS calls,
                sum(errors) / calls AS error_rate,
                spanflow_quantile(0.5, sumMap(duration_buckets)) AS p50,
                spanflow_quantile(0.95, sumMap(duration_buckets)) AS p95,
                spanflow_quantile(0.99, sumMap(duration_buckets)) AS p99,
                max(duration_max_us) AS longest,
                {extra}
            FROM {STEPS} WHERE {condition} AND {FILTERS} GROUP BY {key} ORDER BY calls DESC
            """
        ),
        *(field_options(name, unit="µs") for name in ("p50", "p95", "p99", "longest")),
        field_options("error_rate", unit="percentunit", thresholds=RATE, cell={"type": "color-text"}),
        *overrides,
    )


def _by_key() -> Row:
    return Row(
        "By tool and model",
        10,
        [
            _table(
                "Tools",
                "tool_name",
                "tool_name != ''",
                "sum(duration_sum_us) AS total",
                field_options("total", unit="µs"),
            ),
            _table(
                "Models",
                "model",
                "step_type = 'think' AND model != ''",
                "sum(input_tokens) AS tokens_in, sum(output_tokens) AS tokens_out, sum(cost_nanousd) / 1e9 AS cost",
                field_options("cost", unit="currencyUSD"),
            ),
        ],
    )


def _errors() -> Row:
    return Row(
        "Errors",
        9,
        [
            chart(
                "Errors, by kind",
                14,
                series(
                    f"""
                    SELECT
                        $__timeInterval(window_start) AS time,
                        if(error_type = '', 'no kind given', error_type) AS kind,
                        sum(count) AS errors
                    FROM ads_top_error_latest WHERE $__timeFilter(window_start) AND {FILTERS}
                    GROUP BY time, kind ORDER BY time
                    """
                ),
                label="kind",
                bars=True,
                stacked=True,
                description=BEHIND,
            ),
            bars(
                "Error rate, by tool",
                10,
                rows(
                    f"""
                    SELECT tool_name AS tool, sum(errors) / sum(count) AS error_rate
                    FROM {STEPS} WHERE tool_name != '' AND {FILTERS}
                    GROUP BY tool ORDER BY error_rate DESC LIMIT 20
                    """
                ),
                unit="percentunit",
            ),
        ],
    )


def _top(title: str, source: str, order: str, unit: str) -> Panel:
    return table(
        title,
        12,
        rows(
            f"""
            SELECT
                start_time AS began, agent, step_type AS step, if(tool_name != '', tool_name, name) AS what, model, status,
                {order},
                session_id AS session, trace_id AS trace
            FROM {source} WHERE $__timeFilter(window_start) AND {FILTERS}
            ORDER BY {order.split(" AS ")[-1]} DESC LIMIT 100
            """
        ),
        field_options(order.split(" AS ")[-1], unit=unit),
        field_options("trace", links=[to_trace("session", "trace")]),
        description=BEHIND,
    )


def _flow() -> Row:
    return Row(
        "Flow",
        14,
        [
            node_graph(
                "Flow of the agents",
                24,
                f"""
                SELECT
                    step AS id,
                    id AS title,
                    sum(arrivals) AS mainstat,
                    sum(took_us) / mainstat AS secondarystat,
                    sum(failed) / mainstat AS arc__errors,
                    1 - arc__errors AS arc__success,
                    sum(failed) AS detail__errors
                FROM
                (
                    SELECT `to` AS step, count AS arrivals, duration_sum_us AS took_us, errors AS failed FROM {EDGES}
                    UNION ALL
                    SELECT `from`, count, 0, 0 FROM {EDGES} WHERE `from` = 'start'
                )
                GROUP BY step
                ORDER BY mainstat DESC
                LIMIT 200
                """,
                f"""
                SELECT
                    `from` AS source,
                    `to` AS target,
                    concat(source, ' → ', target) AS id,
                    sum(count) AS mainstat,
                    sum(gap_sum_us) / mainstat AS secondarystat,
                    sum(errors) AS detail__errors,
                    sum(derived) AS detail__derived,
                    1 + 4 * mainstat / max(mainstat) OVER () AS thickness,
                    if(detail__errors > 0, 'red', '') AS color
                FROM {EDGES}
                GROUP BY source, target
                ORDER BY mainstat DESC
                LIMIT 500
                """,
                ("short", "µs"),
                ("short", "µs"),
                {"arc__success": "green", "arc__errors": "red"},
                "Every way that the chosen agents went. A node shows how often a step was reached, how long it took on average, and "
                "the share of errors; an edge how often one step followed the other, and the time between them.",
            )
        ],
    )


def _extremes() -> Row:
    return Row(
        "Slowest and most expensive steps",
        11,
        [
            _top("Slowest", "ads_top_slow_latest", "duration_us AS took", "µs"),
            _top("Most expensive", "ads_top_cost_latest", "cost_nanousd / 1e9 AS cost", "currencyUSD"),
        ],
    )
