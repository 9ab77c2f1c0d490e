"""Does Spanflow itself keep up, and does it lose nothing?"""

from __future__ import annotations

from boards.parts import (
    Dashboard,
    Panel,
    Row,
    chart,
    field_options,
    node_graph,
    prom,
    rows,
    series,
    stat,
    table,
    thresholds,
)

# Tables that the job writes, by layer: what is upstream of each in the graph, and how rows of the newest minute are found.
LANDED = "ingest_time > fromUnixTimestamp64Milli(toUnixTimestamp64Milli(toDateTime64($__toTime, 3)) - 60000)"
CHANGED = (
    "rev >= (SELECT min(epoch) FROM ops_epoch WHERE wall_time > toDateTime64($__toTime, 3) - toIntervalSecond(60))"
)
TABLES = [
    ("ods_dead_letter", "ods_record", LANDED),
    ("dwd_span", "ods_record", LANDED),
    ("dwd_event", "ods_record", LANDED),
    ("dwd_content", "ods_record", LANDED),
    ("dws_step_1m", "dwd_span", CHANGED),
    ("dws_step_5m", "dwd_span", CHANGED),
    ("dws_step_1h", "dwd_span", CHANGED),
    ("dws_trace", "dwd_span", CHANGED),
    ("dws_session", "dws_trace", CHANGED),
    ("ads_anomaly", "dws_step_1m", CHANGED),
    ("ads_top_slow", "dwd_span", CHANGED),
    ("ads_top_error", "dwd_span", CHANGED),
    ("ads_top_cost", "dwd_span", CHANGED),
    ("ads_freshness", "ods_record", CHANGED),
]
LAYERS = {"topic": "blue", "ods": "purple", "dwd": "green", "dws": "orange", "ads": "red"}
DELAY = thresholds((None, "green"), (60, "orange"), (600, "red"))


def dashboard() -> Dashboard:
    return Dashboard(
        "spanflow-pipeline",
        "Pipeline",
        "The stream job: flow, lag, delay, checkpoints, dead letters, and counts in = counts out for every layer.",
        [],
        [_now(), _flow(), _delay(), _counts(), _rejected(), _work()],
    )


def _now() -> Row:
    return Row(
        "Now",
        4,
        [
            _state(),
            stat(
                "Lag", 4, prom("sum(spanflow_partition_lag_records)", instant=True), description="Records not read yet"
            ),
            stat(
                "Watermark delay",
                4,
                prom("max(spanflow_watermark_delay_seconds)", instant=True),
                "s",
                "How far the event time of the job is behind the clock",
                DELAY,
            ),
            stat(
                "Checkpoint age",
                4,
                prom("time() - max(spanflow_checkpoint_timestamp_milliseconds > 0) / 1000", instant=True),
                "s",
                steps=DELAY,
            ),
            stat("Restarts", 4, prom("sum(spanflow_job_restarts_total)", instant=True)),
            stat(
                "Dead letters",
                4,
                rows("SELECT count() AS letters FROM ods_dead_letter WHERE $__timeFilter(ingest_time)"),
                description="In the time range",
                steps=thresholds((None, "green"), (1, "orange")),
            ),
        ],
    )


def _state() -> Panel:
    panel = stat("State", 4, prom("max by (state) (spanflow_job_state == 1)", "{{state}}", instant=True))
    panel.options["textMode"] = "name"
    return panel


def _flow() -> Row:
    """The graph stands on the newest minute of the range, whatever its length."""
    topics = f"SELECT topic, count() / 60 AS rate FROM ods_record WHERE {LANDED} GROUP BY topic"
    counted = " UNION ALL ".join(
        f"SELECT '{name}' AS name, '{upstream}' AS upstream, count() / 60 AS rate FROM {name} WHERE {condition}"
        for name, upstream, condition in TABLES
    )
    color = (
        "multiIf("
        + ", ".join(f"startsWith(id, '{layer}_'), '{color}'" for layer, color in LAYERS.items())
        + ", 'blue')"
    )
    return Row(
        "Live flow",
        15,
        [
            node_graph(
                "Rows a second, by table",
                24,
                f"""
                SELECT id, id AS title, upper(splitByChar('_', id)[1]) AS subtitle, rate AS mainstat, {color} AS color
                FROM (
                    SELECT name AS id, rate FROM ({counted})
                    UNION ALL
                    SELECT 'ods_record', sum(rate) FROM ({topics})
                    UNION ALL
                    SELECT concat('topic ', topic), rate FROM ({topics})
                )
                """,
                f"""
                SELECT concat(source, ' → ', target) AS id, source, target, rate AS mainstat, 1 + least(5, log2(1 + rate)) AS thickness
                FROM (
                    SELECT upstream AS source, name AS target, rate FROM ({counted})
                    UNION ALL
                    SELECT concat('topic ', topic), 'ods_record', rate FROM ({topics})
                )
                """,
                ("rowsps", "short"),
                ("rowsps", "short"),
                {},
                "Rows that became visible in the newest minute: topic → layer → table. The rows of DWS and ADS are versions: a "
                "window or session that changes is written again.",
            )
        ],
    )


def _delay() -> Row:
    return Row(
        "Delay",
        8,
        [
            chart(
                "From a span's end to its row",
                8,
                series(
                    """
                    SELECT
                        window_start AS time, delay_p50_ms AS p50, delay_p95_ms AS p95, delay_p99_ms AS p99, delay_max_ms AS longest
                    FROM ads_freshness_latest WHERE $__timeFilter(window_start) ORDER BY time
                    """
                ),
                unit="ms",
                description="By the minute in which the row became visible",
            ),
            chart(
                "Lag",
                8,
                prom("sum by (topic) (spanflow_partition_lag_records)", "{{topic}}"),
                description="Records that are in Kafka and not read yet",
                interval="",
            ),
            chart(
                "Watermark and checkpoint",
                8,
                prom("max(spanflow_watermark_delay_seconds)", "watermark delay"),
                prom("time() - max(spanflow_checkpoint_timestamp_milliseconds > 0) / 1000", "checkpoint age", "B"),
                unit="s",
                interval="",
            ),
        ],
    )


def _counts() -> Row:
    return Row(
        "Counts in = counts out",
        8,
        [
            chart(
                "Spans in, and what became of them",
                10,
                series(
                    """
                    SELECT
                        $__timeInterval(wall_time) AS time,
                        sum(spans) / $__interval_s AS spans_in,
                        sum(spans_landed) / $__interval_s AS landed,
                        sum(spans_duplicate) / $__interval_s AS duplicate,
                        sum(spans_rejected) / $__interval_s AS rejected,
                        sum(spans_late) / $__interval_s AS late
                    FROM ops_epoch WHERE $__timeFilter(wall_time) GROUP BY time ORDER BY time
                    """
                ),
                interval="10s",
            ),
            table(
                "Balance of the layers",
                14,
                rows(
                    f"""
                    WITH
                        (
                            SELECT (sum(records), sum(spans), sum(spans_landed), sum(spans_duplicate), sum(spans_rejected))
                            FROM ops_epoch WHERE {_LANDED_IN_RANGE.format("wall_time")}
                        ) AS told,
                        settled AS (
                            SELECT window_start FROM dws_step_1m_latest WHERE $__timeFilter(window_start)
                            GROUP BY window_start HAVING min(final)
                        )
                    SELECT name AS layer, came_in, went_out, toInt64(came_in) - toInt64(went_out) AS difference
                    FROM (
                        SELECT 1 AS place, 'Kafka records = rows of ods_record' AS name, told.1 AS came_in,
                            (SELECT count() FROM ods_record WHERE {_LANDED_IN_RANGE.format("ingest_time")}) AS went_out
                        UNION ALL
                        SELECT 2, 'spans = landed + duplicate + rejected', told.2, told.3 + told.4 + told.5
                        UNION ALL
                        SELECT 3, 'spans landed = rows of dwd_span', told.3,
                            (SELECT count() FROM dwd_span WHERE {_LANDED_IN_RANGE.format("ingest_time")})
                        UNION ALL
                        SELECT 4, 'dwd_span = counts of dws_step_1m, final windows',
                            (
                                SELECT count() FROM dwd_span
                                WHERE NOT late AND toStartOfMinute(end_time)::DateTime('UTC') IN (SELECT window_start FROM settled)
                            ),
                            (SELECT sum(count) FROM dws_step_1m_latest WHERE window_start IN (SELECT window_start FROM settled))
                    )
                    ORDER BY place
                    """
                ),
                field_options(
                    "difference",
                    cell={"type": "color-text"},
                    thresholds=thresholds((None, "red"), (0, "green"), (1, "red")),
                ),
                field_options("layer", width=360),
                description="Of what landed in the time range, all up to the newest epoch; `warehouse reconcile` holds more "
                "against each other. A window is final an hour after its end.",
            ),
        ],
    )


# All rows of an epoch have its wall clock: whole epochs are compared with whole epochs.
_LANDED_IN_RANGE = "$__timeFilter({0}) AND {0} <= (SELECT max(wall_time) FROM ops_epoch)"


def _rejected() -> Row:
    return Row(
        "Dead letters",
        9,
        [
            chart(
                "Dead letters, by code",
                10,
                series(
                    """
                    SELECT $__timeInterval(ingest_time) AS time, error_code, count() AS letters
                    FROM ods_dead_letter WHERE $__timeFilter(ingest_time) GROUP BY time, error_code ORDER BY time
                    """
                ),
                label="error_code",
                bars=True,
                stacked=True,
            ),
            table(
                "Newest dead letters",
                14,
                rows(
                    """
                    SELECT
                        ingest_time AS time, error_code AS code, unit, error, topic, partition, offset,
                        substring(toValidUTF8(payload), 1, 500) AS payload
                    FROM ods_dead_letter WHERE $__timeFilter(ingest_time) ORDER BY time DESC LIMIT 100
                    """
                ),
                field_options("payload", inspect=True),
                field_options("error", inspect=True, width=320),
            ),
        ],
    )


def _work() -> Row:
    return Row(
        "Work of the job",
        8,
        [
            chart(
                "Records read a second",
                6,
                prom("sum by (topic) (rate(spanflow_records_total[1m]))", "{{topic}}"),
                interval="",
            ),
            chart(
                "Rows acknowledged a second",
                6,
                prom("sum by (table) (rate(spanflow_rows_total[1m]))", "{{table}}"),
                interval="",
            ),
            chart(
                "INSERTs",
                6,
                prom("histogram_quantile(0.95, sum by (le) (rate(spanflow_insert_seconds_bucket[1m])))", "p95"),
                prom("histogram_quantile(0.5, sum by (le) (rate(spanflow_insert_seconds_bucket[1m])))", "p50", "B"),
                unit="s",
                interval="",
            ),
            chart(
                "Busiest operators",
                6,
                prom("topk(8, sum by (operator) (rate(spanflow_operator_busy_seconds_total[1m])))", "{{operator}}"),
                unit="percentunit",
                description="Share of a second that workers spend in an operator; 1 is one worker all the time",
                interval="",
            ),
        ],
    )
