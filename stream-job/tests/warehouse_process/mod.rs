//! `warehouse serve` for tests: the real engine, in a folder of its own, ended with the test process.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};

use stream_job::sink::target::Target;

/// The binary, built if need be.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "warehouse"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the warehouse binary does not build");
    let test_binary = std::env::current_exe().expect("a test has a path");
    // target/debug/deps/test-… → target/debug/warehouse
    let folder = test_binary
        .parent()
        .and_then(Path::parent)
        .expect("cargo's layout");
    folder.join("warehouse")
});

/// A running warehouse.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
}

/// Starts a warehouse; port 0 takes a free one. It dies with the thread that calls this, whatever happens.
pub(crate) fn serve(data: &Path, port: u16) -> Served {
    let mut command = Command::new(&*BINARY);
    command
        .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data)
        .args(["--max-memory-bytes", "1500000000"])
        // It warns of every insert that is cut off, and some tests kill the job in the middle of many.
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped());
    // SAFETY: prctl is async-signal-safe and touches nothing of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn().expect("the warehouse starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let url = loop {
        let line = lines
            .next()
            .expect("the warehouse says where it listens")
            .expect("text");
        if let Some((_, url)) = line.split_once("listening on ") {
            break url.trim().to_owned();
        }
    };
    // Keep the pipe open and empty.
    std::thread::spawn(move || lines.for_each(drop));
    Served { child, url }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates a database with all tables.
pub(crate) fn migrate(url: &str, database: &str) -> Target {
    migrate_with(url, database, &[])
}

/// As [`migrate`], and the rows stay, however old they are.
#[allow(dead_code)]
pub(crate) fn migrate_for_ever(url: &str, database: &str) -> Target {
    migrate_with(url, database, &["--ttl", "ods=0,dwd=0,dws=0,ads=0"])
}

/// As [`migrate_for_ever`], with the days of a time zone.
#[allow(dead_code)]
pub(crate) fn migrate_in_zone(url: &str, database: &str, zone: &str) -> Target {
    let ttl = ["--ttl", "ods=0,dwd=0,dws=0,ads=0"];
    migrate_with(
        url,
        database,
        &[&ttl[..], &["--business-time-zone", zone]].concat(),
    )
}

/// Holds the counts of all layers against each other, when everything has landed; returns what is said.
#[allow(dead_code)]
pub(crate) fn reconcile(url: &str, database: &str) -> String {
    let output = Command::new(&*BINARY)
        .args([
            "reconcile",
            "--drained",
            "--url",
            url,
            "--database",
            database,
        ])
        .output()
        .expect("the counts are compared");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn migrate_with(url: &str, database: &str, flags: &[&str]) -> Target {
    let status = Command::new(&*BINARY)
        .args(["migrate", "--url", url, "--database", database])
        .args(flags)
        .stdout(Stdio::null())
        .status()
        .expect("the migration runs");
    assert!(status.success(), "the migration fails");
    Target {
        url: url.to_owned(),
        database: database.to_owned(),
        user: "default".to_owned(),
        token: String::new(),
        lz4: false,
    }
}

/// URL of the warehouse that the tests of this process share.
pub(crate) fn shared_url() -> &'static str {
    static URL: LazyLock<String> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel();
        // A thread that lives as long as the process, as the warehouse dies with it.
        std::thread::spawn(move || {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let served = serve(folder.path(), 0);
            sender.send(served.url.clone()).expect("the test waits");
            loop {
                std::thread::park();
            }
        });
        receiver.recv().expect("the warehouse starts")
    });
    &URL
}
