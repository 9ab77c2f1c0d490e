//! The SQL for a cluster: as recorded, and as the real engine's grammar has it. No cluster has run it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use std::process::Command;

use gateway_support::Server;
use warehouse::migrate::cluster_sql;

const GOLDEN: &str = include_str!("golden/cluster.sql");

fn printed() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warehouse"))
        .args(["migrate", "--cluster", "prod", "--database", "spanflow"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// After a change of the migrations: `warehouse migrate --cluster prod --database spanflow > warehouse/tests/golden/cluster.sql`,
/// and read the difference.
#[test]
fn the_sql_for_a_cluster_is_the_one_recorded() {
    let (printed, golden) = (printed(), GOLDEN);
    let both = printed.lines().zip(golden.lines());
    for (number, (printed, golden)) in both.enumerate() {
        assert_eq!(printed, golden, "line {}", number + 1);
    }
    assert_eq!(printed.lines().count(), golden.lines().count());
}

#[test]
fn the_engine_reads_every_statement_for_a_cluster() {
    let server = Server::start(&[]);
    let statements = cluster_sql("spanflow", "prod").unwrap();
    let (insert, creates) = statements.split_last().unwrap();
    assert!(creates.len() > 60, "{}", creates.len());
    for statement in creates {
        let answer = server.post("", format!("EXPLAIN AST {statement}").as_bytes());
        assert_eq!(answer.status, 200, "{statement}\n{}", answer.text());
    }
    // What it notes is read back by the table's own form.
    server.sql("CREATE DATABASE spanflow");
    server.sql(
        "CREATE TABLE spanflow.ops_migration (number UInt32, name String, checksum String, applied_time DateTime64(3)) \
         ENGINE = Memory",
    );
    server.sql(insert);
    let noted = server.sql("SELECT count() FROM spanflow.ops_migration");
    assert_eq!(noted, warehouse::schema::migrations().len().to_string());
}
