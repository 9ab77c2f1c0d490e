// Drives the gateway with clickhouse-go over HTTP, as Grafana's data source does.
//
//	go run . http://127.0.0.1:8123
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gatewayclient URL")
		os.Exit(2)
	}
	address, err := url.Parse(os.Args[1])
	check(err, "the URL")
	methods := []clickhouse.CompressionMethod{
		clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD,
		clickhouse.CompressionGZIP, clickhouse.CompressionDeflate,
	}
	for _, method := range methods {
		fmt.Println("compression:", method)
		connection, err := clickhouse.Open(&clickhouse.Options{
			Protocol:    clickhouse.HTTP,
			Addr:        []string{address.Host},
			Auth:        clickhouse.Auth{Database: "default", Username: "default"},
			Compression: &clickhouse.Compression{Method: method, Level: 1},
		})
		check(err, "open")
		drive(connection)
		check(connection.Close(), "close")
	}
	fmt.Println("ok")
}

func drive(connection driver.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	check(connection.Ping(ctx), "ping")
	version, err := connection.ServerVersion()
	check(err, "server version")
	expect("major version", version.Version.Major >= 26, true)

	check(connection.Exec(ctx, "DROP TABLE IF EXISTS go_steps"), "drop")
	check(connection.Exec(ctx, `CREATE TABLE go_steps (id UInt64, at DateTime64(6, 'UTC'), name LowCardinality(String),
		tags Map(LowCardinality(String), String), score Nullable(Float64), list Array(String), big UInt128)
		ENGINE = MergeTree ORDER BY id`), "create")
	insert(ctx, connection)
	read(ctx, connection)
	failures(ctx, connection)
}

func insert(ctx context.Context, connection driver.Conn) {
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO go_steps (id, at, name, tags, score, list)")
	check(err, "prepare batch")
	for id := range uint64(3000) {
		var score *float64
		if id%2 == 0 {
			value := float64(id) / 4
			score = &value
		}
		err := batch.Append(id, time.UnixMicro(1_700_000_000_000_000+int64(id)), fmt.Sprintf("step %d", id%5),
			map[string]string{"键": "值\n"}, score, []string{"a", fmt.Sprint(id)})
		check(err, "append")
	}
	check(batch.Send(), "send")
}

func read(ctx context.Context, connection driver.Conn) {
	var count uint64
	check(connection.QueryRow(ctx, "SELECT count() FROM go_steps WHERE id >= {from:UInt64}",
		clickhouse.Named("from", "1000")).Scan(&count), "count")
	expect("count", count, uint64(2000))

	rows, err := connection.Query(ctx, "SELECT id, at, name, tags, score, list FROM go_steps ORDER BY id")
	check(err, "query")
	next := uint64(0)
	for rows.Next() {
		var (
			id    uint64
			at    time.Time
			name  string
			tags  map[string]string
			score *float64
			list  []string
		)
		check(rows.Scan(&id, &at, &name, &tags, &score, &list), "scan")
		expect("id", id, next)
		expect("at", at.UnixMicro(), 1_700_000_000_000_000+int64(id))
		expect("name", name, fmt.Sprintf("step %d", id%5))
		expect("tags", tags, map[string]string{"键": "值\n"})
		expect("score", score != nil, id%2 == 0)
		expect("list", list, []string{"a", fmt.Sprint(id)})
		next++
	}
	check(rows.Err(), "rows")
	expect("rows", next, uint64(3000))

	rows, err = connection.Query(ctx, "SELECT number FROM numbers(500000)")
	check(err, "long query")
	total := 0
	for rows.Next() {
		total++
	}
	check(rows.Err(), "long rows")
	expect("long rows", total, 500000)

	rows, err = connection.Query(ctx, "SELECT id FROM go_steps WHERE 0")
	check(err, "empty query")
	expect("empty", rows.Next(), false)
	check(rows.Err(), "empty rows")
	rows, err = connection.Query(ctx, "DESCRIBE TABLE go_steps")
	check(err, "describe")
	columns := 0
	for rows.Next() {
		columns++
	}
	expect("described columns", columns, 7)
}

func failures(ctx context.Context, connection driver.Conn) {
	var exception *clickhouse.Exception
	err := connection.Exec(ctx, "SELECT * FROM nowhere")
	expect("unknown table is an exception", errors.As(err, &exception), true)
	expect("its code", exception.Code, int32(60))

	rows, err := connection.Query(ctx, "SELECT number, throwIf(number = 3000000) FROM numbers(4000000)")
	seen := 0
	if err == nil {
		for rows.Next() {
			seen++
		}
		err = rows.Err()
	}
	expect("a failure in mid-stream is seen", err != nil, true)
	expect("as an exception", errors.As(err, &exception), true)
	expect("with its code", exception.Code, int32(395))
	expect("after some rows", seen > 0, true)
}

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func expect(what string, found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		fmt.Fprintf(os.Stderr, "%s: %v instead of %v\n", what, found, expected)
		os.Exit(1)
	}
}
