"""What was active in a range, read along the order of the tables, is what the views combine of every key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import PROGRAMS, run

from boards.sql import SESSIONS, TRACES
from datasource import TimeRange, Warehouse, expand

START = 1_790_000_000
# A second segment begins four hours after the first one of its key, in which nothing happens for three.
LATER = 4 * 3600
# Keys are a second apart. Of one thousand: a newer revision of every other, a second segment of every seventh with
# another agent and no user, a third of some, a first or a second one that is deleted again.
ROWS = """
SELECT
    {key}, segment, agent, user_id, began + shift AS first_time, first_time + 60 * rev AS last_time, state, turns,
    rev, is_deleted
FROM (
    SELECT number AS key, toDateTime64({start}, 6, 'UTC') + number AS began FROM numbers(1000)
) AS keys
CROSS JOIN values(
    'every UInt64, segment UInt64, shift UInt32, agent String, user_id String, state String, turns UInt64, rev UInt64,
     is_deleted UInt8',
    (1, 1, 0, 'a', 'u', 'open', 1, 1, 0), (2, 1, 0, 'a', 'u', 'done', 2, 2, 0),
    (7, 5, {later}, 'b', '', 'idle', 3, 5, 0), (49, 9, 2 * {later}, '', 'w', 'failed', 4, 9, 0),
    (11, 1, 0, 'a', 'u', 'done', 2, 3, 1), (77, 5, {later}, 'b', '', 'idle', 3, 6, 1)
) AS planted
WHERE key % every = 0 AND rev = {rev}
"""
TABLES = {
    "dws_session": (
        SESSIONS,
        "namespace, session_id",
        "if(key % 2 = 0, 'x', ''), concat('s', toString(intDiv(key, 2)))",
    ),
    "dws_trace": (TRACES, "trace_id", "lower(hex(MD5(toString(key))))"),
}
RANGES = {
    "all": (START - 60, START + 3 * LATER),
    "some first segments": (START + 300, START + 420),
    "between segments": (START + 2 * 3600, START + 3 * 3600),
    "second segments": (START + LATER + 100, START + LATER + 500),
    "nothing": (START - 7200, START - 3600),
}


@pytest.fixture(scope="module")
def reopened(warehouse: Warehouse) -> Iterator[Warehouse]:
    """A database of its own, whose sessions and traces were heard of again."""
    database = "spanflow_reopened"
    warehouse.ask(f"DROP DATABASE IF EXISTS {database}")
    run(PROGRAMS / "warehouse", "migrate", "--url", warehouse.url, "--database", database)
    planted = Warehouse(warehouse.url, database)
    columns = "segment, agent, user_id, first_time, last_time, state, turns, rev, is_deleted"
    for table, (_, names, key) in TABLES.items():
        for rev in (1, 2, 3, 5, 6, 9):
            rows = ROWS.format(key=key, start=START, later=LATER, rev=rev)
            planted.ask(f"INSERT INTO {table} ({names}, {columns}) {rows}")
    # The job writes it; the view counts it again.
    planted.ask(
        "INSERT INTO dws_trace "
        "SELECT * REPLACE (dateDiff('microsecond', first_time, last_time) AS duration_us) FROM dws_trace"
    )
    yield planted
    warehouse.ask(f"DROP DATABASE {database}")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", RANGES)
def test_what_was_active_has_a_row_a_key_with_all_its_segments_combined(
    table: str, name: str, reopened: Warehouse
) -> None:
    active, key, _ = TABLES[table]
    start, end = RANGES[name]
    found = reopened.frame(expand(f"SELECT * FROM {active} ORDER BY {key}", {}, TimeRange(start, end)))
    expected = reopened.frame(
        f"""
        SELECT * FROM {table}_latest
        WHERE ({key}) IN (
            SELECT {key} FROM {table} FINAL WHERE last_time >= toDateTime({start}) AND first_time <= toDateTime({end})
        )
        ORDER BY {key}
        """
    )
    assert (found.names, found.types) == (expected.names, expected.types)
    assert found.rows == expected.rows
    assert bool(found.rows) == (name not in ("between segments", "nothing"))


@pytest.mark.parametrize("table", TABLES)
def test_the_planted_keys_have_several_segments(table: str, reopened: Warehouse) -> None:
    _, key, _ = TABLES[table]
    several = reopened.ask(
        f"""
        SELECT count(), max(segments)
        FROM (SELECT count() AS segments FROM {table} FINAL GROUP BY {key}) WHERE segments > 1
        """
    )
    keys, segments = (int(word) for word in several.split())
    assert keys > 50
    assert segments == 3
