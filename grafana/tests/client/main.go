// Runs queries as the backend of Grafana's ClickHouse data source does: database/sql over clickhouse-go, HTTP, gzip, and
// every value scanned into the type that the driver names for its column. The version in go.mod is the plugin's.
//
//	go run . http://127.0.0.1:8123 DATABASE < queries.json > answers.json
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// A query of a panel, with macros and variables filled in.
type query struct {
	Name string `json:"name"`
	SQL  string `json:"sql"`
}

type column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

type answer struct {
	Name    string   `json:"name"`
	Columns []column `json:"columns"`
	Rows    int      `json:"rows"`
	Error   string   `json:"error"`
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: panelclient URL DATABASE"))
	}
	address, err := url.Parse(os.Args[1])
	fail(err)
	var queries []query
	fail(json.NewDecoder(os.Stdin).Decode(&queries))
	db := clickhouse.OpenDB(&clickhouse.Options{
		Protocol:    clickhouse.HTTP,
		Addr:        []string{address.Host},
		Auth:        clickhouse.Auth{Database: os.Args[2], Username: "default"},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionGZIP},
		DialTimeout: 10 * time.Second,
		ReadTimeout: 30 * time.Second,
	})
	fail(db.Ping())
	answers := make([]answer, 0, len(queries))
	for _, one := range queries {
		got := answer{Name: one.Name}
		if err := run(db, one.SQL, &got); err != nil {
			got.Error = err.Error()
		}
		answers = append(answers, got)
	}
	fail(db.Close())
	fail(json.NewEncoder(os.Stdout).Encode(answers))
}

func run(db *sql.DB, text string, got *answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// As the data source does, which passes on the time zone of who looks.
	rows, err := db.QueryContext(clickhouse.Context(ctx, clickhouse.WithUserLocation(time.UTC)), text)
	if err != nil {
		return err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	row := make([]any, len(types))
	for at, kind := range types {
		got.Columns = append(got.Columns, column{kind.Name(), kind.DatabaseTypeName()})
		row[at] = reflect.New(kind.ScanType()).Interface()
	}
	for rows.Next() {
		if err := rows.Scan(row...); err != nil {
			return err
		}
		got.Rows++
	}
	return rows.Err()
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
