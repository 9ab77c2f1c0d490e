//! Real clients of other languages against the gateway: clickhouse-connect and clickhouse-go.
//!
//! The Python test makes a virtual environment of its own below `target/`, once; it needs python3-venv and PyPI. The Go
//! test needs Go and its module proxy; without Go it is left out, and says so.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gateway_support::{Server, clients};

fn run(command: &mut Command, hint: &str) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; {hint}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?} failed; {hint}\n{out}\n{err}"
    );
    output
}

/// A virtual environment with the pinned requirements, made once per version of them.
fn python() -> PathBuf {
    let requirements = clients().join("python").join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv");
    let (python, mark) = (
        folder.join("bin").join("python"),
        folder.join("installed.txt"),
    );
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let hint = "on Debian or Ubuntu: apt-get install python3-venv";
    run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
        hint,
    );
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ])
    .arg(&requirements);
    run(&mut pip, "is PyPI reachable?");
    fs::write(&mark, wanted).unwrap();
    python
}

#[test]
fn clickhouse_connect_queries_inserts_and_reads_data_frames() {
    let python = python();
    let server = Server::start(&[]);
    let script = clients().join("python").join("gateway_client.py");
    let output = run(
        Command::new(python).arg(script).arg(server.url()),
        "see the assertion",
    );
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"));
}

#[test]
fn clickhouse_go_queries_and_inserts_native_blocks() {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("SKIPPED: Go isn't installed, so clickhouse-go was not tried");
        return;
    }
    let server = Server::start(&[]);
    let mut go = Command::new("go");
    go.args(["run", ".", &server.url()])
        .current_dir(clients().join("go"));
    let output = run(&mut go, "see the message");
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"));
}
