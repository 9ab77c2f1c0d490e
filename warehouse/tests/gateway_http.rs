//! ClickHouse's HTTP interface as curl sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use std::io::Read;

use gateway_support::Server;

#[test]
fn ping_and_unknown_paths_answer_like_clickhouse() {
    let server = Server::start(&["--token", "t"]);
    for path in ["/ping", "/replicas_status"] {
        let ping = server.get(path);
        assert_eq!(
            (ping.status, ping.text().as_str()),
            (200, "Ok.\n"),
            "{path}"
        );
    }
    assert_eq!(server.get("/nothing").status, 404);
    assert_eq!(server.request("DELETE", "/", &[], b"").status, 405);
}

#[test]
fn a_statement_is_taken_from_the_url_the_body_or_both() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/?query=SELECT+1").text(), "1\n");
    assert_eq!(server.post("", b"SELECT 2").text(), "2\n");
    assert_eq!(server.post("query=SELECT", b"3 FORMAT CSV").text(), "3\n");
    assert_eq!(
        server
            .post("default_format=JSONEachRow", b"SELECT 4 AS a")
            .text(),
        "{\"a\":4}\n"
    );
    let header = server.request(
        "POST",
        "/",
        &[("X-ClickHouse-Format", "CSVWithNames")],
        b"SELECT 5 AS a",
    );
    assert_eq!(header.text(), "\"a\"\n5\n");
    assert_eq!(header.headers["x-clickhouse-format"], "CSVWithNames");
    assert!(header.headers["content-type"].starts_with("text/csv"));
    let database = server.request(
        "POST",
        "/",
        &[("X-ClickHouse-Database", "system")],
        b"SELECT currentDatabase()",
    );
    assert_eq!(database.text(), "system\n");
    assert_eq!(
        server
            .post("database=system", b"SELECT count() > 5 FROM tables")
            .text(),
        "1\n"
    );
}

#[test]
fn errors_have_the_status_of_clickhouse() {
    let server = Server::start(&[]);
    let long = format!("SELECT {}", "x".repeat(300_000));
    for (parameters, sql, status, code) in [
        ("", "SELEC 1", 400, 62),
        ("", "", 400, 62),
        ("", "SELECT 1; SELECT 2", 400, 62),
        ("", "SELECT * FROM nowhere", 404, 60),
        ("", "SELECT nope", 404, 47),
        ("", "SELECT 1 FORMAT Nope", 404, 73),
        ("database=nowhere", "SELECT 1", 404, 81),
        ("nope=1", "SELECT 1", 404, 115),
        ("", "SELECT throwIf(1)", 500, 395),
        (
            "max_memory_usage=1000000",
            "SELECT groupArray(number) FROM numbers(10000000)",
            500,
            241,
        ),
        (
            "max_execution_time=1&timeout_overflow_mode=throw",
            "SELECT sleepEachRow(0.5) FROM numbers(10) SETTINGS max_block_size=1",
            500,
            159,
        ),
        ("param_a=x", "SELECT {a:UInt8}", 500, 457),
        ("", long.as_str(), 400, 62),
    ] {
        let sql_start = &sql[..sql.len().min(60)];
        let answer = server.post(parameters, sql.as_bytes());
        assert_eq!(
            answer.headers.get("x-clickhouse-exception-code"),
            Some(&code.to_string()),
            "{sql_start}: {}",
            answer.text()
        );
        assert_eq!(answer.status, status, "{sql_start}");
        assert!(
            answer
                .text()
                .starts_with(&format!("Code: {code}. DB::Exception: ")),
            "{sql_start}: {}",
            answer.text()
        );
        assert!(
            answer.text().ends_with("(official build))\n"),
            "{sql_start}: {}",
            answer.text()
        );
    }
}

#[test]
fn settings_hold_for_their_own_query_only() {
    let server = Server::start(&[]);
    let threads = "SELECT getSetting('max_threads'), getSetting('async_insert'), getSetting('max_insert_threads')";
    let before = server.sql(threads);
    assert!(before.ends_with("\tfalse\t1"), "{before}");
    assert_eq!(
        server
            .post("max_threads=7", threads.as_bytes())
            .text()
            .split('\t')
            .next(),
        Some("7")
    );
    for _ in 0..10 {
        assert_eq!(server.sql(threads), before);
    }
    let odd = server.post(
        "log_comment=it%27s+%5C+odd",
        b"SELECT getSetting('log_comment') FORMAT TSVRaw",
    );
    assert_eq!(odd.text(), "it's \\ odd\n");
    server.sql("SET max_threads = 9");
    assert_eq!(server.sql(threads), before);
}

#[test]
fn parameters_are_read_as_clickhouse_escapes_them() {
    let server = Server::start(&[]);
    let answer = server.post(
        "param_s=a%5Ctb%5C%5Cc'&param_d=2026-01-02",
        b"SELECT {s:String}, {d:Date} + 1 FORMAT TSVRaw",
    );
    assert_eq!(answer.text(), "a\tb\\c'\t2026-01-03\n");
}

#[test]
fn get_changes_nothing() {
    let server = Server::start(&[]);
    let refused = server.get("/?query=CREATE+TABLE+x+(a+Int8)+ENGINE=Memory");
    assert!(
        refused.text().starts_with("Code: 164."),
        "{}",
        refused.text()
    );
    assert_eq!(server.get("/?query=SHOW+TABLES").text(), "");
}

#[test]
fn a_long_result_is_streamed_with_one_header_and_decodes_in_every_coding() {
    let server = Server::start(&[]);
    let sql = b"SELECT number AS n FROM numbers(1000000) FORMAT TSVWithNames";
    let plain = server.post("", sql);
    assert_eq!(
        plain.headers.get("transfer-encoding").map(String::as_str),
        Some("chunked")
    );
    assert!(plain.whole);
    let expected: String = std::iter::once("n\n".to_owned())
        .chain((0..1_000_000).map(|n| format!("{n}\n")))
        .collect();
    assert!(plain.text() == expected);
    for coding in ["gzip", "deflate", "zstd", "lz4"] {
        let coded = server.request("POST", "/", &[("Accept-Encoding", coding)], sql);
        assert_eq!(coded.headers["content-encoding"], coding);
        assert!(
            coded.body.len() < expected.len() * 3 / 4,
            "{coding}: {} bytes",
            coded.body.len()
        );
        let mut text = String::new();
        let wire = coded.body.as_slice();
        match coding {
            "gzip" => flate2::read::GzDecoder::new(wire)
                .read_to_string(&mut text)
                .unwrap(),
            "deflate" => flate2::read::ZlibDecoder::new(wire)
                .read_to_string(&mut text)
                .unwrap(),
            "zstd" => zstd::Decoder::new(wire)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap(),
            _ => lz4_flex::frame::FrameDecoder::new(wire)
                .read_to_string(&mut text)
                .unwrap(),
        };
        assert!(text == expected, "{coding}");
    }
    let off = server.request(
        "POST",
        "/?enable_http_compression=0",
        &[("Accept-Encoding", "gzip")],
        b"SELECT 1",
    );
    assert_eq!(off.text(), "1\n");
}

#[test]
fn documents_come_in_one_piece() {
    let server = Server::start(&[]);
    let json = server.post("", b"SELECT number FROM numbers(200000) FORMAT JSON");
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(value["rows"], 200_000);
    assert_eq!(value["data"].as_array().unwrap().len(), 200_000);
    let totals = server.post(
        "",
        b"SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k",
    );
    assert_eq!(totals.text(), "0\t5\n1\t5\n\n0\t10\n");
    let parquet = server
        .post("", b"SELECT number FROM numbers(200000) FORMAT Parquet")
        .body;
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

#[test]
fn a_failure_in_mid_stream_is_marked_and_the_body_is_cut() {
    let server = Server::start(&[]);
    let failed = server.post(
        "",
        b"SELECT throwIf(number = 3000000) FROM numbers(4000000)",
    );
    assert_eq!(failed.status, 200);
    assert!(!failed.whole, "curl would take it for a whole result");
    let tag = &failed.headers["x-clickhouse-exception-tag"];
    let text = failed.text();
    assert!(
        text.ends_with(&format!(" {tag}\r\n__exception__\r\n")),
        "{}",
        &text[text.len() - 300..]
    );
    assert!(text.contains(&format!("\r\n__exception__\r\n{tag}\r\nCode: 395.")));
    let waited = server.post(
        "wait_end_of_query=1",
        b"SELECT throwIf(number = 3000000) FROM numbers(4000000)",
    );
    assert_eq!(waited.status, 500);
}

#[test]
fn the_headers_of_an_answer_are_those_of_clickhouse() {
    let server = Server::start(&[]);
    let answer = server.post("query_id=mine", b"SELECT number FROM numbers(10)");
    assert_eq!(answer.headers["x-clickhouse-query-id"], "mine");
    assert!(answer.headers["x-clickhouse-summary"].contains("\"read_rows\":\"10\""));
    assert!(answer.headers.contains_key("x-clickhouse-timezone"));
    assert!(
        answer
            .headers
            .contains_key("x-clickhouse-server-display-name")
    );
    assert_eq!(
        server.post("", b"SELECT 1").headers["x-clickhouse-query-id"].len(),
        36
    );
}

#[test]
fn native_columns_of_all_types_are_walked_over() {
    let server = Server::start(&[]);
    for kind in [
        "UInt8",
        "Int256",
        "Bool",
        "Float32",
        "Decimal(9, 2)",
        "Decimal(76, 2)",
        "Date32",
        "DateTime64(6)",
        "UUID",
        "IPv6",
        "String",
        "FixedString(7)",
        "LowCardinality(String)",
        "LowCardinality(Nullable(String))",
        "Array(LowCardinality(Nullable(String)))",
        "Map(LowCardinality(String), Array(String))",
        "Nullable(UInt64)",
        "Array(Array(Nullable(String)))",
        "Array(Tuple(a LowCardinality(String), `b c` Map(String, UInt64)))",
        "MultiPolygon",
        "Enum8('a,\\'(' = 1, 'b' = 2)",
        "Nested(a UInt8, b LowCardinality(String))",
        "LowCardinality(FixedString(3))",
    ] {
        let sql = format!(
            "SELECT c, 'end' AS z FROM generateRandom($$c {kind}$$, 1, 5, 4) LIMIT 1000 FORMAT Native"
        );
        check_walk(&server, kind, &sql);
        let sql = format!(
            "SELECT defaultValueOfTypeName($${kind}$$) AS c, 'end' AS z FROM numbers(3) FORMAT Native"
        );
        check_walk(&server, kind, &sql);
    }
    let variant = "SELECT [toUInt64(1)::Variant(UInt64, String), NULL, 'x'::Variant(UInt64, String)] AS c, 'end' AS z FORMAT Native";
    check_walk(&server, "Variant", variant);
}

/// The rewritten block is the plain one with 8 bytes in front and one zero after each of the two types.
fn check_walk(server: &Server, kind: &str, sql: &str) {
    let plain = server.post("", sql.as_bytes());
    assert_eq!(plain.status, 200, "{kind}: {}", plain.text());
    let walked = server.post("client_protocol_version=54460", sql.as_bytes());
    assert_eq!(walked.status, 200, "{kind}: {}", walked.text());
    assert_eq!(walked.body.len(), plain.body.len() + 10, "{kind}");
    let end = b"\x01z\x06String";
    let at = walked
        .body
        .windows(end.len())
        .rposition(|window| window == end)
        .expect("the last column's head");
    assert_eq!(walked.body[at + end.len()], 0, "{kind}");
    assert_eq!(
        walked.body[at + end.len() + 1..],
        plain.body[at - 9 + end.len()..],
        "{kind}"
    );
}

#[test]
fn a_session_keeps_what_was_set_and_takes_back_what_was_only_asked_for() {
    let server = Server::start(&[]);
    let threads = b"SELECT getSetting('max_threads'), currentDatabase()";
    let before = server.post("", threads).text();
    assert_eq!(server.post("session_id=a", threads).text(), before);
    assert_eq!(
        server.post("session_id=a", b"SET max_threads = 5").status,
        200
    );
    assert_eq!(server.post("session_id=a", b"USE system").status, 200);
    assert_eq!(server.post("session_id=a", threads).text(), "5\tsystem\n");
    assert_eq!(
        server.post("session_id=a&max_threads=6", threads).text(),
        "6\tsystem\n"
    );
    assert_eq!(server.post("session_id=a", threads).text(), "5\tsystem\n");
    assert_eq!(server.post("session_id=a", b"SELECT nope").status, 404);
    assert_eq!(server.post("session_id=a", threads).text(), "5\tsystem\n");
    assert_eq!(server.post("session_id=b", threads).text(), before);
    assert_eq!(server.post("", threads).text(), before);
    assert_eq!(
        server
            .post("session_id=c", b"CREATE TEMPORARY TABLE mine (a UInt8)")
            .status,
        200
    );
    assert_eq!(
        server
            .post("session_id=c", b"INSERT INTO mine VALUES (1), (2)")
            .status,
        200
    );
    assert_eq!(
        server
            .post("session_id=c", b"SELECT count() FROM mine")
            .text(),
        "2\n"
    );
    assert_eq!(server.post("", b"SELECT count() FROM mine").status, 404);
}

#[test]
fn a_session_is_locked_while_it_works_and_ends_after_its_timeout() {
    let server = Server::start(&[]);
    assert_eq!(
        server
            .post("session_id=a&session_timeout=1", b"SET max_threads = 5")
            .status,
        200
    );
    std::thread::scope(|scope| {
        let long =
            scope.spawn(|| server.post("session_id=a&session_timeout=1", b"SELECT sleep(1)"));
        std::thread::sleep(std::time::Duration::from_millis(400));
        let locked = server.post("session_id=a", b"SELECT 1");
        assert!(locked.text().starts_with("Code: 373."), "{}", locked.text());
        assert_eq!(long.join().unwrap().status, 200);
    });
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let ended = server.post("session_id=a", b"SELECT getSetting('max_threads') = 5");
    assert_eq!(ended.text(), "0\n");
}

#[test]
fn a_slow_reader_gets_the_exception_before_the_cut() {
    use std::io::Write;
    let server = Server::start(&[]);
    let sql = "SELECT number, throwIf(number = 3000000) FROM numbers(4000000)";
    let mut connection = server.connect();
    write!(
        connection,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{sql}",
        sql.len()
    )
    .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let failed = gateway_support::answer(&mut connection);
    assert!(!failed.whole);
    assert!(
        failed.body.ends_with(b"\r\n__exception__\r\n"),
        "{} bytes without the exception",
        failed.body.len()
    );
}
