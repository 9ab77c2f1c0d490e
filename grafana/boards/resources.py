"""What do Spanflow's own parts need: memory, state, disk?

The CPU and memory of agents are not here: no table has them yet (`dws_resource_1m` waits for metrics to be read).
"""

from __future__ import annotations

from boards.parts import Dashboard, Row, chart, field_options, prom, rows, series, table


def dashboard() -> Dashboard:
    return Dashboard(
        "spanflow-resources",
        "Resources",
        "Memory, state and disk of the system's own parts.",
        [],
        [_processes(), _state(), _storage()],
    )


def _processes() -> Row:
    return Row(
        "Processes",
        8,
        [
            chart(
                "Resident memory",
                8,
                prom("process_resident_memory_bytes", "{{job}} {{process}}"),
                unit="bytes",
                interval="",
            ),
            chart(
                "CPU",
                8,
                prom("rate(process_cpu_seconds_total[1m])", "{{job}}"),
                prom("sum(rate(spanflow_operator_busy_seconds_total[1m]))", "operators of the stream job", "B"),
                description="Cores in use, by the parts that say so",
                interval="",
            ),
            chart(
                "Up",
                8,
                prom("up", "{{job}}"),
                description="1 while Prometheus reaches the part",
                max=1,
                interval="",
            ),
        ],
    )


def _state() -> Row:
    return Row(
        "State of the stream job",
        8,
        [
            chart("Keys", 8, prom("sum by (state) (spanflow_state_keys)", "{{state}}"), interval=""),
            chart(
                "Blocks on their way",
                8,
                prom("sum(spanflow_in_flight_bytes)", "not acknowledged"),
                prom("max(spanflow_checkpoint_bytes)", "newest checkpoint", "B"),
                unit="bytes",
                interval="",
            ),
            chart(
                "Pauses for checkpoints",
                8,
                prom(
                    "histogram_quantile(0.99, sum by (le) (rate(spanflow_checkpoint_pause_seconds_bucket[5m])))", "p99"
                ),
                unit="s",
                interval="",
            ),
        ],
    )


def _storage() -> Row:
    return Row(
        "Warehouse",
        12,
        [
            table(
                "Tables",
                14,
                rows(
                    """
                    SELECT
                        table,
                        sum(rows) AS stored_rows,
                        sum(bytes_on_disk) AS on_disk,
                        on_disk / greatest(stored_rows, 1) AS per_row,
                        sum(data_uncompressed_bytes) / greatest(sum(data_compressed_bytes), 1) AS compression,
                        count() AS parts
                    FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY on_disk DESC
                    """
                ),
                field_options("on_disk", unit="bytes"),
                field_options("per_row", unit="bytes", decimals=1),
                field_options("compression", decimals=1),
            ),
            chart(
                "Payload landed",
                10,
                series(
                    """
                    SELECT $__timeInterval(ingest_time) AS time, sum(length(payload)) / $__interval_s AS payload
                    FROM ods_record WHERE $__timeFilter(ingest_time) GROUP BY time ORDER BY time
                    """
                ),
                unit="Bps",
                description="Bytes of Kafka records a second",
                interval="1m",
            ),
        ],
    )
