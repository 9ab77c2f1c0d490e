//! The unmodified `clickhouse` crate against the gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use clickhouse::{Client, Compression, Row};
use gateway_support::Server;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
struct Step {
    id: u64,
    name: String,
    tags: Vec<(String, String)>,
    score: Option<f64>,
    hash: [u8; 4],
}

const COLUMNS: &str = "id UInt64, name LowCardinality(String), tags Map(LowCardinality(String), String), \
                       score Nullable(Float64), hash FixedString(4)";

fn step(id: u64) -> Step {
    Step {
        id,
        name: format!("step {}", id % 7),
        tags: vec![("k".to_owned(), "线\n".repeat(id as usize % 3))],
        score: id.is_multiple_of(2).then_some(id as f64 / 3.0),
        hash: *b"abcd",
    }
}

fn client(server: &Server) -> Client {
    Client::default().with_url(server.url()).with_database("t")
}

#[tokio::test]
async fn rows_come_back_as_they_went_in_with_and_without_lz4_and_validation() {
    let server = Server::start(&[]);
    for (name, compression, validation) in [
        ("plain_validated", Compression::None, true),
        ("plain", Compression::None, false),
        ("lz4_validated", Compression::Lz4, true),
        ("lz4", Compression::Lz4, false),
    ] {
        server.table(name, COLUMNS);
        let client = client(&server)
            .with_compression(compression)
            .with_validation(validation);
        let rows: Vec<Step> = (0..5_000).map(step).collect();
        let mut insert = client.insert::<Step>(name).await.unwrap();
        for row in &rows {
            insert.write(row).await.unwrap();
        }
        insert.end().await.unwrap();
        let found = client
            .query("SELECT ?fields FROM ? ORDER BY id")
            .bind(clickhouse::sql::Identifier(name));
        assert_eq!(found.fetch_all::<Step>().await.unwrap(), rows, "{name}");
    }
}

#[tokio::test]
async fn parameters_are_escaped_and_bound_by_the_server() {
    let server = Server::start(&[]);
    let client = client(&server).with_database("default");
    for text in [
        "plain",
        "it's",
        "tab\tline\nback\\slash",
        "引号\"'`",
        "",
        "{x:Int8}",
        "\\N",
    ] {
        let query = client.query("SELECT {text:String}, {numbers:Array(Int32)}[2]");
        let query = query.param("text", text).param("numbers", vec![1, -2, 3]);
        let found = query.fetch_one::<(String, i32)>().await.unwrap();
        assert_eq!(found, (text.to_owned(), -2));
    }
}

#[tokio::test]
async fn a_token_makes_an_insert_happen_once() {
    let server = Server::start(&[]);
    server.table("once", COLUMNS);
    for (token, ids) in [("a", 0..10), ("a", 0..10), ("a", 50..60), ("b", 10..20)] {
        let client = client(&server).with_setting("insert_deduplication_token", token);
        let mut insert = client.insert::<Step>("once").await.unwrap();
        for id in ids {
            insert.write(&step(id)).await.unwrap();
        }
        insert.end().await.unwrap();
    }
    assert_eq!(server.sql("SELECT count(), max(id) FROM t.once"), "20\t19");
}

#[tokio::test]
async fn errors_carry_their_code() {
    let server = Server::start(&[]);
    server.table("typed", "id UInt64");
    let client = client(&server);
    for (sql, code) in [
        ("SELECT * FROM nowhere", "Code: 60."),
        ("SELEC 1", "Code: 62."),
        ("SELECT nope", "Code: 47."),
    ] {
        let error = client.query(sql).execute().await.unwrap_err().to_string();
        assert!(
            error.contains(code) && error.contains("version"),
            "{sql}: {error}"
        );
    }
    let mut insert = client.insert_formatted_with("INSERT INTO t.typed FORMAT CSV");
    insert
        .send(bytes::Bytes::from_static(b"1\nnot a number\n"))
        .await
        .unwrap();
    let error = insert.end().await.unwrap_err().to_string();
    assert!(error.contains("Code: 117."), "{error}");
    assert_eq!(server.sql("SELECT count() FROM t.typed"), "0");
}

#[tokio::test]
async fn an_exception_in_the_middle_of_a_result_is_seen() {
    let server = Server::start(&[]);
    for compression in [Compression::None, Compression::Lz4] {
        let client = client(&server)
            .with_database("default")
            .with_compression(compression);
        let sql = "SELECT number, throwIf(number = 3000000) FROM system.numbers LIMIT 4000000";
        let mut cursor = client.query(sql).fetch::<(u64, u8)>().unwrap();
        let mut rows = 0_u64;
        let error = loop {
            match cursor.next().await {
                Ok(Some((number, _))) => {
                    assert_eq!(number, rows);
                    rows += 1;
                }
                Ok(None) => panic!("the result ended without its exception after {rows} rows"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            rows > 1_000_000,
            "it failed before it began to stream: {rows}"
        );
        assert!(error.contains("Code: 395."), "{error}");
    }
}

#[tokio::test]
async fn native_blocks_and_settings_go_through_insert_formatted() {
    let server = Server::start(&[]);
    server.table("native", "a UInt32, b String");
    let client = client(&server).with_setting("insert_deduplication_token", "block");
    let mut block = vec![2, 3, 1, b'a'];
    block.extend_from_slice(b"\x06UInt32");
    block.extend([1_u32, 2, 3].iter().flat_map(|value| value.to_le_bytes()));
    block.extend_from_slice(b"\x01b\x06String\x01x\x00\x02yz");
    let mut insert = client.insert_formatted_with("INSERT INTO t.native (a, b) FORMAT Native");
    for piece in block.chunks(5) {
        insert
            .send(bytes::Bytes::copy_from_slice(piece))
            .await
            .unwrap();
    }
    insert.end().await.unwrap();
    assert_eq!(
        server.sql("SELECT * FROM t.native ORDER BY a FORMAT CSV"),
        "1,\"x\"\n2,\"\"\n3,\"yz\""
    );
}

#[tokio::test]
async fn a_token_guards_the_server_and_opens_it() {
    let server = Server::start(&["--token", "s3cret"]);
    let open = Client::default().with_url(server.url());
    let error = open
        .query("SELECT 1")
        .execute()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("Code: 516."), "{error}");
    let user = open.clone().with_user("default").with_password("s3cret");
    user.query("SELECT 1").execute().await.unwrap();
    let bearer = open.with_access_token("s3cret");
    bearer.query("SELECT 1").execute().await.unwrap();
}
