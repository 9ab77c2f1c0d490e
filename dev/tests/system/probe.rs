//! An agent with the probe in it, down to the rows: the probe's own test, on a system of this one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dev::paths::checkout;

use crate::stage::Stage;

#[test]
fn what_the_probe_records_of_an_agent_is_in_the_warehouse() {
    let stage = Stage::start(&[]);
    let facts = stage.folder().join("demo.env");
    let told = [
        (
            "KAFKA_BOOTSTRAP_SERVERS",
            stage.system.kafka.bootstrap().clone(),
        ),
        ("CLICKHOUSE_URL", stage.system.warehouse.url()),
        ("CLICKHOUSE_DATABASE", "spanflow".to_owned()),
    ];
    let lines = told.map(|(name, value)| format!("{name}={value}\n"));
    fs::write(&facts, lines.concat()).unwrap();
    let tested = Command::new(python())
        .args(["-m", "pytest", "tests/test_warehouse.py"])
        .current_dir(checkout().join("agent-probe"))
        .env("PYTHONPATH", "src")
        .env("SPANFLOW_TEST_DEMO", &facts)
        .env_remove("SPANFLOW_TEST_KAFKA")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success(), "{said}");
    assert!(
        said.contains("3 passed") && !said.contains("skipped"),
        "{said}"
    );
}

/// The interpreter of the environment that the Python tests run in.
fn python() -> PathBuf {
    let made = Command::new(checkout().join("dev/python-env.sh"))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let folder = String::from_utf8(made.stdout).unwrap();
    PathBuf::from(folder.trim()).join("bin/python")
}
