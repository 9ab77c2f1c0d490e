"""Alert rules: the health of Spanflow itself, and of the agents.

Their queries have no macros and no $: Grafana takes a $ in a provisioning file for an environment variable.
"""

from __future__ import annotations

from boards.parts import EXPRESSION, PROMETHEUS, Json, rows

# What an agent must do in five minutes before it is judged at all.
MIN_STEPS = 20
ERROR_RATE = 0.2
TURN_P95_S = 60
FRESHNESS_S = 30
SILENCE_MINUTES = 15
LAG_RECORDS = 100_000
WATERMARK_DELAY_S = 900
CHECKPOINT_AGE_S = 300
LOOK_BACK_S = 600

# The newest five minutes that have ended.
RECENT = "window_start >= toStartOfMinute(now()) - INTERVAL 5 MINUTE AND window_start < toStartOfMinute(now())"


def rules() -> Json:
    """The provisioning file."""
    return {
        "apiVersion": 1,
        "groups": [
            _group("agents", 60, _agents()),
            _group("pipeline", 30, _pipeline()),
        ],
    }


def _group(name: str, seconds: int, entries: list[Json]) -> Json:
    return {"folder": "Spanflow", "interval": f"{seconds}s", "name": name, "orgId": 1, "rules": entries}


def _data(ref: str, source: Json, model: Json) -> Json:
    return {
        "datasourceUid": source["uid"],
        "model": {**model, "refId": ref, "datasource": source},
        "refId": ref,
        "relativeTimeRange": {"from": LOOK_BACK_S, "to": 0},
    }


def _rule(
    uid: str,
    title: str,
    query: Json,
    above: float,
    summary: str,
    dashboard: str,
    severity: str = "warning",
    wait: str = "2m",
    no_data: str = "OK",
) -> Json:
    """Fires, for each row or series, while the number that the query gives is above `above`.

    Where a query finds nothing there is nothing to complain about, but for `no_data` = Alerting.
    """
    threshold = {
        "conditions": [{"evaluator": {"params": [above], "type": "gt"}}],
        "expression": "A",
        "type": "threshold",
    }
    return {
        "annotations": {"__dashboardUid__": dashboard, "__panelId__": "2", "summary": summary},
        "condition": "B",
        "data": [_data("A", query["datasource"], query), _data("B", EXPRESSION, threshold)],
        "execErrState": "Error",
        "for": wait,
        "isPaused": False,
        "labels": {"severity": severity, "product": "spanflow"},
        "noDataState": no_data,
        "title": title,
        "uid": f"spanflow-{uid}",
    }


def _prom(expr: str) -> Json:
    return {"datasource": PROMETHEUS, "expr": expr, "instant": True, "range": False}


AGENT = '{{ index .Labels "agent" }}'


def _agents() -> list[Json]:
    return [
        _rule(
            "agent-errors",
            "An agent fails often",
            rows(
                f"""
                SELECT agent, sum(errors) / sum(count) AS error_rate
                FROM dws_step_1m_latest WHERE {RECENT} AND step_type != 'session'
                GROUP BY agent HAVING sum(count) >= {MIN_STEPS}
                """
            ),
            ERROR_RATE,
            f"{AGENT}: more than {ERROR_RATE:.0%} of the steps of the last five minutes failed",
            "spanflow-steps",
        ),
        _rule(
            "agent-latency",
            "An agent answers slowly",
            rows(
                f"""
                SELECT agent, spanflow_quantile(0.95, sumMap(duration_buckets)) / 1e6 AS p95
                FROM dws_step_1m_latest WHERE {RECENT} AND step_type = 'session'
                GROUP BY agent HAVING sum(count) >= {MIN_STEPS}
                """
            ),
            TURN_P95_S,
            f"{AGENT}: of the turns of the last five minutes one in twenty took more than {TURN_P95_S} s",
            "spanflow-steps",
        ),
        _rule(
            "agent-silent",
            "An agent went silent",
            rows(
                """
                SELECT agent, dateDiff('minute', max(window_end), now()) AS minutes
                FROM dws_step_1m_latest WHERE window_start >= now() - INTERVAL 1 HOUR GROUP BY agent
                """
            ),
            SILENCE_MINUTES,
            f"{AGENT}: no step for {SILENCE_MINUTES} minutes, after there were some in the last hour",
            "spanflow-overview",
        ),
        _rule(
            "anomaly",
            "An anomaly is open",
            rows(
                """
                SELECT agent, detector, count() AS anomalies
                FROM ads_anomaly_latest
                WHERE state != 'resolved' AND window_end >= now() - INTERVAL 15 MINUTE GROUP BY agent, detector
                """
            ),
            0,
            AGENT + ': flagged by {{ index .Labels "detector" }}; the table of anomalies says why',
            "spanflow-overview",
            wait="0s",
        ),
    ]


def _pipeline() -> list[Json]:
    return [
        _rule(
            "job-down",
            "The stream job does not work",
            _prom("1 - min(spanflow_ready)"),
            0,
            "The source is not assigned or the warehouse does not answer; `stream-job status` says what it waits for",
            "spanflow-pipeline",
            "critical",
            no_data="Alerting",
        ),
        _rule(
            "part-down",
            "A part is down",
            _prom("1 - up"),
            0,
            'Prometheus does not reach {{ index .Labels "job" }}',
            "spanflow-resources",
            "critical",
        ),
        _rule(
            "restarts",
            "The stream job keeps restarting",
            _prom("increase(spanflow_job_restarts_total[15m])"),
            3,
            "More than three restarts in 15 minutes; `stream-job status` has the reasons",
            "spanflow-pipeline",
            "critical",
            wait="0s",
        ),
        _rule(
            "lag",
            "The stream job does not keep up",
            _prom("sum(spanflow_partition_lag_records)"),
            LAG_RECORDS,
            f"More than {LAG_RECORDS} records wait in Kafka",
            "spanflow-pipeline",
            wait="5m",
        ),
        _rule(
            "watermark",
            "Event time stands still",
            _prom("max(spanflow_watermark_delay_seconds)"),
            WATERMARK_DELAY_S,
            "A partition holds the watermark back, or nothing is sent: windows are not closed",
            "spanflow-pipeline",
            wait="5m",
        ),
        _rule(
            "checkpoint",
            "Checkpoints are not completed",
            _prom("time() - max(spanflow_checkpoint_timestamp_milliseconds > 0) / 1000"),
            CHECKPOINT_AGE_S,
            f"The newest checkpoint is older than {CHECKPOINT_AGE_S} s: a restart would take long",
            "spanflow-pipeline",
        ),
        _rule(
            "dead-letters",
            "Records are rejected",
            _prom("sum by (error_code) (rate(spanflow_dead_letters_total[5m]))"),
            0,
            'Somebody sends what cannot be read: {{ index .Labels "error_code" }}',
            "spanflow-pipeline",
        ),
        _rule(
            "freshness",
            "Rows come late",
            rows(
                """
                SELECT max(delay_p95_ms) / 1000 AS p95
                FROM ads_freshness_latest WHERE window_start >= now() - INTERVAL 3 MINUTE HAVING count() > 0
                """
            ),
            FRESHNESS_S,
            f"One span in twenty took more than {FRESHNESS_S} s from its end to its row",
            "spanflow-pipeline",
        ),
    ]
