//! INSERTs: every row or none, once a token, whatever happens to the client in mid-body.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use std::io::{Read, Write};
use std::net::Shutdown;

use gateway_support::{Server, answer};

const COLUMNS: &str = "a UInt32, b String";

/// Sends the head of an INSERT and `body`, framed as `framing` says, and then vanishes.
fn vanish(server: &Server, table: &str, token: &str, headers: &str, parameters: &str, body: &[u8]) {
    let mut connection = server.connect();
    let path = format!(
        "/?query=INSERT+INTO+t.{table}+FORMAT+TSV&insert_deduplication_token={token}{parameters}"
    );
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    connection.flush().unwrap();
    // Long enough for the body to reach the engine.
    std::thread::sleep(std::time::Duration::from_millis(150));
    connection.shutdown(Shutdown::Both).unwrap();
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

#[test]
fn a_client_that_is_gone_in_mid_body_leaves_no_row_and_uses_no_token() {
    let server = Server::start(&[]);
    server.table("cut", COLUMNS);
    let many: Vec<u8> = (0..200_000_u32)
        .flat_map(|id| format!("{id}\tsome text\n").into_bytes())
        .collect();
    let cases: [(&str, &str, Vec<u8>); 5] = [
        (
            "chunked, at a row's end",
            "Transfer-Encoding: chunked\r\n",
            chunk(b"1\ta\n2\tb\n"),
        ),
        (
            "chunked, inside a row",
            "Transfer-Encoding: chunked\r\n",
            chunk(b"1\ta\n2\tb"),
        ),
        (
            "chunked, large, at a row's end",
            "Transfer-Encoding: chunked\r\n",
            chunk(&many),
        ),
        (
            "short of its length, at a row's end",
            "Content-Length: 16\r\n",
            b"1\ta\n2\tb\n".to_vec(),
        ),
        (
            "inside a chunk",
            "Transfer-Encoding: chunked\r\n",
            b"10\r\n1\ta\n2\tb\n".to_vec(),
        ),
    ];
    for (number, (case, framing, body)) in cases.iter().enumerate() {
        let token = format!("cut{number}");
        vanish(&server, "cut", &token, framing, "", body);
        assert_eq!(server.sql("SELECT count() FROM t.cut"), "0", "{case}");
        let parameters =
            format!("query=INSERT+INTO+t.cut+FORMAT+TSV&insert_deduplication_token={token}");
        assert_eq!(
            server.post(&parameters, b"1\ta\n2\tb\n").status,
            200,
            "{case}"
        );
        assert_eq!(
            server.sql("SELECT count() FROM t.cut"),
            "2",
            "{case}: the token was used up"
        );
        server.sql("TRUNCATE TABLE t.cut");
    }
    server.eventually("SELECT count() FROM system.processes", "1");
}

#[test]
fn a_compressed_body_that_is_cut_inserts_nothing_though_http_is_whole() {
    let server = Server::start(&[]);
    server.table("frames", COLUMNS);
    let text: Vec<u8> = (0..1_000_u32)
        .flat_map(|id| format!("{id}\ttext {id}\n").into_bytes())
        .collect();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
    let lz4 = {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    for (coding, wire) in [("gzip", gzip), ("zstd", zstd), ("lz4", lz4)] {
        let path =
            format!("/?query=INSERT+INTO+t.frames+FORMAT+TSV&insert_deduplication_token={coding}");
        let headers = [("Content-Encoding", coding)];
        let cut = server.request("POST", &path, &headers, &wire[..wire.len() - 5]);
        assert!(
            cut.status >= 400 && cut.text().starts_with("Code: 271."),
            "{coding}: {}",
            cut.text()
        );
        assert_eq!(server.sql("SELECT count() FROM t.frames"), "0", "{coding}");
        let whole = server.request("POST", &path, &headers, &wire);
        assert_eq!(whole.status, 200, "{coding}: {}", whole.text());
        assert_eq!(
            server.sql("SELECT count() FROM t.frames"),
            "1000",
            "{coding}"
        );
        server.sql("TRUNCATE TABLE t.frames");
    }
}

#[test]
fn frames_of_decompress_are_checked() {
    let server = Server::start(&[]);
    server.table("own", COLUMNS);
    // What `compress=1` gives is what `decompress=1` takes.
    let framed = server
        .post(
            "compress=1",
            b"SELECT number, toString(number) FROM numbers(300000) FORMAT TSV",
        )
        .body;
    let path = "query=INSERT+INTO+t.own+FORMAT+TSV&decompress=1";
    let mut damaged = framed.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (case, body, code) in [
        ("cut", &framed[..framed.len() - 1], "Code: 271."),
        ("damaged", damaged.as_slice(), "Code: 40."),
    ] {
        let refused = server.post(path, body);
        assert!(
            refused.text().starts_with(code),
            "{case}: {}",
            refused.text()
        );
        assert_eq!(server.sql("SELECT count() FROM t.own"), "0", "{case}");
    }
    assert_eq!(server.post(path, &framed).status, 200);
    assert_eq!(
        server.sql("SELECT count(), sum(a), uniq(_part) FROM t.own"),
        "300000\t44999850000\t1"
    );
}

#[test]
fn a_body_may_come_in_pieces_with_any_borders_in_any_format() {
    let server = Server::start(&[]);
    server.table("pieces", COLUMNS);
    let native =
        b"\x02\x02\x01a\x06UInt32\x01\x00\x00\x00\x02\x00\x00\x00\x01b\x06String\x02xy\x00"
            .to_vec();
    for (format, body) in [
        ("TSV", b"1\txy\n2\t\n".to_vec()),
        ("CSV", b"1,\"xy\"\n2,\"\"\n".to_vec()),
        ("JSONEachRow", b"{\"a\":1,\"b\":\"xy\"}\n{\"a\":2}".to_vec()),
        ("Native", native),
        ("RowBinary", b"\x01\0\0\0\x02xy\x02\0\0\0\0".to_vec()),
        ("Values", b"(1,'xy'),(2,'')".to_vec()),
    ] {
        for step in [1, 3, body.len()] {
            let mut connection = server.connect();
            let path =
                format!("/?query=INSERT+INTO+t.pieces+(a,b)+FORMAT+{format}").replace(' ', "+");
            write!(connection, "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
                .unwrap();
            for piece in body.chunks(step) {
                connection.write_all(&chunk(piece)).unwrap();
            }
            connection.write_all(b"0\r\n\r\n").unwrap();
            let done = answer(&mut connection);
            assert_eq!(done.status, 200, "{format} by {step}: {}", done.text());
            let found = server.sql("SELECT a, b FROM t.pieces ORDER BY a FORMAT CSV");
            assert_eq!(found, "1,\"xy\"\n2,\"\"", "{format} by {step}");
            server.sql("TRUNCATE TABLE t.pieces");
        }
    }
}

#[test]
fn a_statement_may_bring_its_data_with_it() {
    let server = Server::start(&[]);
    server.table("inline", COLUMNS);
    let insert = |body: &[u8]| {
        let done = server.post("database=t", body);
        assert_eq!(done.status, 200, "{}", done.text());
        assert!(done.headers["x-clickhouse-summary"].contains("\"written_rows\":\"2\""));
    };
    insert(b"INSERT INTO inline VALUES (1, 'a'), (2, 'b')");
    insert(b"INSERT INTO inline FORMAT TSV\n3\tc\n4\td\n");
    insert(b"INSERT INTO inline (b, a) SETTINGS max_threads = 1 FORMAT CSV\nx,5\ny,6\n");
    insert(b"INSERT INTO inline SELECT number + 7, 'z' FROM numbers(2)");
    assert_eq!(server.sql("SELECT count(), sum(a) FROM t.inline"), "8\t36");
}

#[test]
fn a_compressed_body_may_begin_with_the_statement() {
    let server = Server::start(&[]);
    // Without a deduplication window: equal blocks would be taken for one.
    server.sql("CREATE DATABASE t");
    server.sql(&format!(
        "CREATE TABLE t.within ({COLUMNS}) ENGINE = MergeTree ORDER BY a"
    ));
    let body = b"INSERT INTO t.within FORMAT TSV\n1\ta\n2\tb\n";
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(body).unwrap();
    let lz4 = lz4.finish().unwrap();
    for (coding, wire) in [
        ("lz4", lz4),
        ("zstd", zstd::encode_all(body.as_slice(), 1).unwrap()),
    ] {
        let done = server.request("POST", "/", &[("Content-Encoding", coding)], &wire);
        assert_eq!(done.status, 200, "{coding}: {}", done.text());
    }
    let literal = String::from_utf8_lossy(body)
        .replace('\n', "\\n")
        .replace('\t', "\\t");
    let framed = server
        .post(
            "compress=1",
            format!("SELECT '{literal}' FORMAT RawBLOB").as_bytes(),
        )
        .body;
    let done = server.post("decompress=1", &framed);
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(server.sql("SELECT count() FROM t.within"), "6");
}

#[test]
fn a_refused_insert_answers_though_its_body_is_large() {
    let server = Server::start(&[]);
    let body = vec![b'x'; 20 << 20];
    let refused = server.post("query=INSERT+INTO+nowhere+FORMAT+TSV", &body);
    assert_eq!(refused.status, 404);
    assert_eq!(refused.headers["x-clickhouse-exception-code"], "60");
    assert!(
        refused.text().contains("(UNKNOWN_TABLE) (version "),
        "{}",
        refused.text()
    );
}

#[test]
fn a_block_of_half_a_million_rows_is_one_part() {
    let server = Server::start(&[]);
    server.table("large", COLUMNS);
    let body: Vec<u8> = (0..500_000_u32)
        .flat_map(|id| format!("{id}\tsome text of a span {id}\n").into_bytes())
        .collect();
    for _ in 0..2 {
        let done = server.post(
            "query=INSERT+INTO+t.large+FORMAT+TSV&insert_deduplication_token=large",
            &body,
        );
        assert_eq!(done.status, 200, "{}", done.text());
    }
    assert_eq!(
        server.sql("SELECT count(), uniq(_part) FROM t.large"),
        "500000\t1"
    );
}

#[test]
fn a_client_is_asked_for_its_body_before_it_sends_it() {
    let server = Server::start(&[]);
    server.table("asked", COLUMNS);
    let mut connection = server.connect();
    let head = "POST /?query=INSERT+INTO+t.asked+FORMAT+TSV HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    connection.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    connection.read_exact(&mut go_on).unwrap();
    assert!(
        go_on.starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&go_on)
    );
    connection.write_all(b"1\tx\n").unwrap();
    assert_eq!(answer(&mut connection).status, 200);
    assert_eq!(server.sql("SELECT count() FROM t.asked"), "1");
}

#[test]
fn settings_of_an_insert_hold_wherever_they_stand() {
    let server = Server::start(&[]);
    server.table("placed", COLUMNS);
    let insert = |parameters: &str, sql: &str| {
        let done = server.post(
            &format!("{parameters}&query={}", sql.replace(' ', "+")),
            b"1\ta\n",
        );
        assert_eq!(done.status, 200, "{}", done.text());
    };
    let count = || server.sql("SELECT count() FROM t.placed");
    for (number, parameters) in ["", "async_insert=0&insert_deduplicate=1&", "max_threads=1&"]
        .iter()
        .enumerate()
    {
        let token = format!("{parameters}insert_deduplication_token=it%27s%20{number}");
        for sql in [
            "INSERT INTO t.placed FORMAT TSV",
            "INSERT INTO t.placed (a, b) SETTINGS max_threads = 2 FORMAT TSV",
        ] {
            insert(&token, sql);
            assert_eq!(count(), (number + 1).to_string(), "{token} {sql}");
        }
    }
    let all = "deduplicate_insert=disable&max_insert_threads=1&deduplicate_blocks_in_dependent_materialized_views=1";
    insert(all, "INSERT INTO t.placed FORMAT TSV");
    insert(all, "INSERT INTO t.placed FORMAT TSV");
    assert_eq!(count(), "5");
    let wrong = server.post(
        "query=INSERT+INTO+t.placed+FORMAT+TSV&async_insert=perhaps",
        b"1\ta\n",
    );
    assert!(wrong.status >= 400, "{}", wrong.text());
}
