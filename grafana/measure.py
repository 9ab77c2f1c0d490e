"""How long every panel's query takes: `python3 grafana/measure.py --url http://127.0.0.1:8123 --spans 10000000`.

The warehouse must hold the spans of simulated agents, such as those that `make demo` leaves; it is grown to the number
asked for by copies of them, each a little earlier under ids of its own. Use a database that nobody needs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent / "tests")]

from dashboards import dashboards, values  # noqa: E402
from datasource import TimeRange, Warehouse, expand  # noqa: E402

# By table: what a copy number `number` has of its own. Keys must differ, and times move on.
TRACE = "lower(concat(hex(xxHash64(trace_id, number)), hex(sipHash64(trace_id, number))))"
SESSION = "concat(session_id, '-', toString(number))"
CONTENT = {
    "dwd_span": {
        "trace_id": TRACE,
        "trace_hash": "xxHash64(trace_id, number)",
        "session_id": SESSION,
        "start_time": "start_time - {0}",
        "end_time": "end_time - {0}",
        "ingest_time": "ingest_time - {0}",
    },
    "dwd_event": {
        "trace_id": TRACE,
        "trace_hash": "xxHash64(trace_id, number)",
        "start_time": "start_time - {0}",
        "time": "time - {0}",
        "ingest_time": "ingest_time - {0}",
    },
    "ods_record": {"offset": "offset + 1000000000 * (number + 1)", "ingest_time": "ingest_time - {0}"},
    "ods_dead_letter": {"offset": "offset + 1000000000 * (number + 1)", "ingest_time": "ingest_time - {0}"},
    "dws_trace": {
        "trace_id": TRACE,
        "session_id": SESSION,
        "first_time": "first_time - {0}",
        "last_time": "last_time - {0}",
    },
    "dws_session": {"session_id": SESSION, "first_time": "first_time - {0}", "last_time": "last_time - {0}"},
    # Further users, over a year.
    "dws_user_1d": {"user_id": "concat(user_id, '-', toString(number))", "day": "day - number % 365"},
    "dws_step_1m": {"window_start": "window_start - {0}", "window_end": "window_end - {0}"},
    "dws_resource_1m": {"window_start": "window_start - {0}", "window_end": "window_end - {0}"},
    "dwd_metric_point": {"time": "time - {0}", "ingest_time": "ingest_time - {0}"},
    "dws_step_1h": {"window_start": "window_start - {0}", "window_end": "window_end - {0}"},
    "ads_top_slow": {"window_start": "window_start - {0}", "trace_id": TRACE, "session_id": SESSION},
    "ads_top_error": {"window_start": "window_start - {0}"},
    "ads_top_cost": {"window_start": "window_start - {0}", "trace_id": TRACE, "session_id": SESSION},
    "ads_anomaly": {
        "anomaly_id": "concat(anomaly_id, toString(number))",
        "window_start": "window_start - {0}",
        "window_end": "window_end - {0}",
    },
}


def grow(warehouse: Warehouse, spans: int) -> None:
    """Copies what is there as often as it takes. Payloads are left out: no panel reads one that is old."""
    there, minutes = (
        int(word)
        for word in warehouse.ask(
            "SELECT count(), intDiv(dateDiff('second', min(start_time), max(start_time)), 60) + 1 FROM dwd_span"
        ).split()
    )
    copies = spans // there - 1
    if copies < 1:
        return
    for table, own in CONTENT.items():
        began = time.monotonic()
        # Hourly windows move by whole hours, or two of them would be one.
        step = 60 * (minutes // 60 + 1) if table == "dws_step_1h" else minutes
        shift = f"toIntervalMinute({step} * (number + 1))"
        replaced = ", ".join(f"{text.format(shift)} AS {column}" for column, text in own.items())
        first = f"'' AS payload, {replaced}" if table.startswith("ods_") else replaced
        # One copy an INSERT: a block has rows of a few days only.
        warehouse.ask(
            f"INSERT INTO {table} SELECT * EXCEPT (number) REPLACE ({first}) "
            f"FROM {table} CROSS JOIN numbers({copies}) AS copy "
            "SETTINGS max_partitions_per_insert_block = 0, max_insert_threads = 1"
        )
        print(f"{table}: {copies} copies in {time.monotonic() - began:.0f} s", file=sys.stderr)


def measure(warehouse: Warehouse, time_range: TimeRange, runs: int) -> list[tuple[float, str]]:
    """The middle of some runs of each query, in milliseconds, the slowest first."""
    times = []
    for board in dashboards():
        variables = values(board, warehouse, time_range)
        for panel, target in board.targets("grafana-clickhouse-datasource"):
            sql = expand(target["rawSql"], variables, time_range)
            took = []
            for _ in range(runs):
                began = time.monotonic()
                warehouse.frame(sql)
                took.append((time.monotonic() - began) * 1000)
            times.append((sorted(took)[runs // 2], f"{board.uid} · {panel['title']} · {target['refId']}"))
    return sorted(times, reverse=True)


def main() -> int:
    """Prints a line a query."""
    parser = argparse.ArgumentParser(description="Times every panel's query.")
    parser.add_argument("--url", default="http://127.0.0.1:8123")
    parser.add_argument("--spans", type=int, default=0, help="grow the warehouse to about so many first")
    parser.add_argument("--hours", type=float, default=1, help="length of the time range")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    warehouse = Warehouse(options.url)
    if options.spans:
        grow(warehouse, options.spans)
    end = int(warehouse.ask("SELECT toUnixTimestamp(max(wall_time)) + 1 FROM ops_epoch"))
    # A chart has a point every minute at least, and some hundred points.
    interval = next(step for step in (60, 300, 600, 1800, 3600, 10800, 86400) if step * 300 >= options.hours * 3600)
    time_range = TimeRange(end - int(options.hours * 3600), end, interval)
    print(f"{warehouse.ask('SELECT count() FROM dwd_span').strip()} spans, {options.hours:g} h")
    for took, name in measure(warehouse, time_range, options.runs):
        print(f"{took:8.0f} ms  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
