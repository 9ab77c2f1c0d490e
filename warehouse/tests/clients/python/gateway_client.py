"""Drives the gateway with clickhouse-connect: python gateway_client.py http://127.0.0.1:8123"""

import sys
from datetime import datetime, timedelta, timezone
from urllib.parse import urlparse

import clickhouse_connect
import pandas
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

COLUMNS = ["id", "at", "name", "tags", "score", "list"]
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)


def row(number: int) -> list:
    score = number / 4 if number % 2 else None
    at = START + timedelta(microseconds=number)
    return [number, at, f"step {number % 5}", {"键": "值\n"}, score, ["a", str(number)]]


def drive(client) -> None:
    assert client.ping()
    assert client.server_version.startswith("26."), client.server_version
    client.command("DROP TABLE IF EXISTS py_steps")
    client.command(
        "CREATE TABLE py_steps (id UInt64, at DateTime64(6, 'UTC'), name LowCardinality(String),"
        " tags Map(LowCardinality(String), String), score Nullable(Float64), list Array(String))"
        " ENGINE = MergeTree ORDER BY id"
    )
    rows = [row(number) for number in range(3000)]
    client.insert("py_steps", rows, column_names=COLUMNS)
    result = client.query("SELECT * FROM py_steps ORDER BY id")
    assert result.column_names == tuple(COLUMNS), result.column_names
    found = [list(each) for each in result.result_rows]
    for each in found:
        each[1] = each[1].replace(tzinfo=timezone.utc)
    assert found == rows, (found[:2], rows[:2])

    bound = client.query(
        "SELECT {text:String} AS text, {from:UInt64} + 1 AS n", parameters={"text": "it's\t\\n", "from": 4}
    )
    assert bound.result_rows == [("it's\t\\n", 5)], bound.result_rows
    limited = client.query("SELECT getSetting('max_threads') AS n", settings={"max_threads": 3})
    assert limited.first_row[0] == 3, limited.first_row

    frame = client.query_df("SELECT id, name, score FROM py_steps ORDER BY id")
    assert isinstance(frame, pandas.DataFrame) and frame.shape == (3000, 3), frame.shape
    client.command("DROP TABLE IF EXISTS py_frame")
    client.command("CREATE TABLE py_frame (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    client.insert_df("py_frame", frame[["id", "name"]])
    assert client.query("SELECT count(), uniq(name) FROM py_frame").first_row == (3000, 5)
    assert client.command("SELECT count() FROM py_frame") == 3000

    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(500000)") as stream:
        assert sum(len(block) for block in stream) == 500000
    assert client.raw_query("SELECT 1 AS a, 'x' AS b", fmt="JSONEachRow") == b'{"a":1,"b":"x"}\n'
    assert client.query("SELECT id FROM py_steps WHERE 0").result_rows == []
    failures(client)


def failures(client) -> None:
    try:
        client.query("SELECT * FROM nowhere")
        raise SystemExit("an unknown table was found")
    except DatabaseError as error:
        assert "60" in str(error), error
    try:
        with client.query_row_block_stream("SELECT number, throwIf(number = 3000000) FROM numbers(4000000)") as stream:
            count = sum(len(block) for block in stream)
        raise SystemExit(f"a result that failed half-way looked whole: {count} rows")
    except ClickHouseError as error:
        assert "395" in str(error) or "non-zero" in str(error), error


def main() -> None:
    url = urlparse(sys.argv[1])
    for compress in (False, True, "lz4", "zstd", "gzip"):
        print("compression:", compress, flush=True)
        client = clickhouse_connect.get_client(host=url.hostname, port=url.port, compress=compress)
        drive(client)
        client.close()
    print("ok")


if __name__ == "__main__":
    main()
