//! The embedded warehouse, for real. Needs the binary `warehouse` (cargo build --bins) and the engine (warehouse fetch).
#![allow(clippy::unwrap_used)]

use dev::warehouse::{Warehouse, WarehouseOptions};

fn options(folder: &std::path::Path) -> WarehouseOptions {
    WarehouseOptions {
        folder: folder.join("warehouse"),
        logs: folder.join("logs"),
        port: None,
    }
}

#[test]
fn tables_and_rows_survive_a_kill_and_a_restart_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let mut warehouse = Warehouse::start(options(folder.path())).unwrap();
    warehouse.migrate().unwrap();
    let sql = warehouse.sql();
    sql.text("INSERT INTO ops_probe (probe, row, time) VALUES ('dev', 7, now64(3))")
        .unwrap();
    let url = warehouse.url();
    warehouse.kill();
    assert!(sql.number("SELECT 1").is_err());
    warehouse.restart().unwrap();
    assert_eq!(warehouse.url(), url);
    let row = sql.number("SELECT row FROM ops_probe WHERE probe = 'dev'");
    assert_eq!(row.unwrap(), 7);
    assert!(warehouse.stop(), "the warehouse did not stop by itself");
}

#[test]
fn a_refused_statement_comes_back_with_the_engines_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::start(options(folder.path())).unwrap();
    warehouse.migrate().unwrap();
    let error = warehouse
        .sql()
        .number("SELECT no_such_column FROM ops_epoch")
        .unwrap_err();
    assert!(error.to_string().contains("no_such_column"), "{error:#}");
}

#[test]
fn a_folder_in_use_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let _warehouse = Warehouse::start(options(folder.path())).unwrap();
    let error = Warehouse::start(options(folder.path())).unwrap_err();
    assert!(format!("{error:#}").contains("use"), "{error:#}");
}
