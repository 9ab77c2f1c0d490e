"""What do agents' processes and Spanflow's own parts need: CPU, memory, state, disk?"""

from __future__ import annotations

from boards.parts import Dashboard, Row, chart, field_options, prom, rows, series, table
from boards.sql import AGENT, agent_variable

# What processes took, by minute.
MINUTES = f"(SELECT * FROM dws_resource_1m_latest WHERE $__timeFilter(window_start) AND {AGENT})"


def dashboard() -> Dashboard:
    return Dashboard(
        "spanflow-resources",
        "Resources",
        "CPU and memory of agents' processes; memory, state and disk of the system's own parts.",
        [agent_variable()],
        [_agents(), _agents_processes(), _processes(), _state(), _storage()],
    )


def _agents() -> Row:
    return Row(
        "Agents",
        8,
        [
            chart(
                "CPU of agents",
                8,
                series(
                    f"""
                    SELECT
                        $__timeInterval(window_start) AS time,
                        agent,
                        sum(cpu_time_us) / 1e6 / greatest($__interval_s, 60) AS cores
                    FROM {MINUTES} GROUP BY time, agent ORDER BY time
                    """
                ),
                description="Cores in use, by all processes of an agent",
                label="agent",
                interval="1m",
            ),
            chart(
                "Memory of agents",
                8,
                series(
                    f"""
                    SELECT $__timeInterval(window_start) AS time, agent, max(memory_max_bytes) AS largest
                    FROM {MINUTES} GROUP BY time, agent ORDER BY time
                    """
                ),
                unit="bytes",
                description="Resident memory of an agent's largest process",
                label="agent",
                interval="1m",
            ),
            chart(
                "Event loops",
                8,
                series(
                    f"""
                    SELECT $__timeInterval(time) AS minute, agent, max(value) AS longest
                    FROM dwd_metric_point
                    WHERE metric = 'agent.event_loop.delay' AND $__timeFilter(time) AND {AGENT}
                    GROUP BY minute, agent ORDER BY minute
                    """
                ),
                unit="s",
                description="Longest delay of an event loop that sessions run in: what blocks it delays every session",
                label="agent",
                interval="1m",
            ),
        ],
    )


def _agents_processes() -> Row:
    return Row(
        "Processes of agents",
        9,
        [
            table(
                "Processes",
                24,
                rows(
                    f"""
                    SELECT
                        agent,
                        instance,
                        max(window_end) AS last_heard,
                        sum(cpu_time_us) / 1e6 / (60 * count()) AS cores,
                        sum(memory_sum_bytes) / greatest(sum(samples), 1) AS memory,
                        max(memory_max_bytes) AS largest,
                        max(threads_max) AS threads
                    FROM {MINUTES} GROUP BY agent, instance ORDER BY cores DESC LIMIT 200
                    """
                ),
                field_options("cores", decimals=3),
                field_options("memory", unit="bytes"),
                field_options("largest", unit="bytes"),
                description="The 200 busiest; mean and greatest of the minutes that a process spoke in",
            )
        ],
    )


def _processes() -> Row:
    return Row(
        "Parts of Spanflow",
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
