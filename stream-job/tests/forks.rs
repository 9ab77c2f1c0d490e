//! Going back to an earlier checkpoint, against a real warehouse.

#![allow(clippy::unwrap_used, missing_docs)]

mod reference;
mod warehouse_process;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value as Json, json};
use stream_job::checkpoint::timelines;
use stream_job::ops::client::Client;
use stream_job::sink::target::Target;
use tempfile::TempDir;

use reference::recording::{Plan, write};
use warehouse_process::{migrate, shared_url};

const SETTINGS: [&str; 7] = [
    "epoch_records=40",
    "dws_block_interval=1s",
    "checkpoint_interval=1s",
    "checkpoints_kept=100",
    "sink_shards=4",
    "http_listen=127.0.0.1:0",
    "log=warn",
];

/// Tables, with what of their rows a fork does not repeat: when it was, and how often it was corrected.
const COMPARED: [(&str, &str); 8] = [
    ("ods_record", "_epoch, ingest_time"),
    ("ods_dead_letter", "_epoch, ingest_time"),
    ("dwd_span", "_epoch, ingest_time, late"),
    ("dwd_event", "_epoch, ingest_time"),
    ("dws_step_1m_latest", "rev"),
    ("dws_step_1h_latest", "rev"),
    ("ads_top_slow_latest", "rev"),
    ("ads_top_error_latest", "rev"),
];

struct Stage {
    folder: TempDir,
    target: Target,
}

/// Longest wait for a process.
const PATIENCE: Duration = Duration::from_secs(180);

impl Stage {
    fn new(database: &str) -> Stage {
        Stage::with_copies(database, Plan::default().copied)
    }

    /// Over a recording of whose messages so many per cent come twice.
    fn with_copies(database: &str, copied: u64) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        // One recording, whichever stage plays it.
        static NOW_S: LazyLock<u64> =
            LazyLock::new(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
        let plan = Plan {
            seed: 61,
            traces: 250,
            copied,
            // Recent, as the tables' TTLs cut what is old.
            base_s: i64::try_from(*NOW_S).unwrap() - 3_600,
            ..Plan::default()
        };
        write(&folder.path().join("recording"), &plan);
        let target = migrate(shared_url(), database);
        Stage { folder, target }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stream-job"));
        let database = &self.target.database;
        command.args(["run", "--url", &self.target.url, "--database", database]);
        command
            .arg("--recording")
            .arg(self.folder.path().join("recording"));
        let state = format!("state_dir={}", self.state().display());
        for setting in SETTINGS.into_iter().chain([state.as_str()]) {
            command.args(["--set", setting]);
        }
        command.args(flags).stdin(Stdio::null());
        command
    }

    fn run_to_the_end(&self, flags: &[&str]) {
        let output = self.run(flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
    }

    fn ask<T>(
        &self,
        sql: &str,
        ask: impl AsyncFnOnce(clickhouse::query::Query) -> clickhouse::error::Result<T>,
    ) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(ask(self.target.client().query(sql)));
        answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn number(&self, sql: &str) -> u64 {
        self.ask(sql, async |query| query.fetch_one().await)
    }

    /// Puts aside what of the rows a fork repeats.
    fn keep(&self) {
        for (table, beside) in COMPARED {
            self.execute(&format!(
                "CREATE TABLE kept_{table} ENGINE = MergeTree ORDER BY tuple() AS SELECT * EXCEPT ({beside}) FROM {table}"
            ));
        }
    }

    /// The same rows are there as were put aside, in this database or another.
    fn compare_with_kept(&self, kept_in: &str) {
        for (table, beside) in COMPARED {
            let now = format!("SELECT * EXCEPT ({beside}) FROM {table}");
            let kept = format!("SELECT * FROM {kept_in}.kept_{table}");
            let count = |rows: &str| self.number(&format!("SELECT count() FROM ({rows})"));
            assert!(count(&kept) > 0, "{table} is empty");
            assert_eq!(count(&now), count(&kept), "rows of {table}");
            for (left, right) in [(&now, &kept), (&kept, &now)] {
                let differ = count(&format!("{left} EXCEPT {right}"));
                assert_eq!(differ, 0, "{table}: {left} EXCEPT {right}");
            }
        }
    }

    fn execute(&self, sql: &str) {
        self.ask(sql, async |query| query.execute().await);
    }
}

#[test]
fn a_fork_from_an_older_checkpoint_leaves_the_rows_of_an_undisturbed_run() {
    let stage = Stage::new("forked");
    stage.run_to_the_end(&[]);
    let first = timelines::read(&stage.state()).unwrap();
    let count = first.checkpoints.len();
    assert!(count >= 4, "{count} checkpoints");
    stage.keep();
    let point = &first.checkpoints[1];
    let beyond = stage.number(&format!(
        "SELECT count() FROM dwd_span WHERE _epoch > {}",
        point.epoch
    ));
    assert!(beyond > 50, "{beyond} spans beyond the point");

    stage.run_to_the_end(&["--from", &point.manifest]);

    let fork = timelines::read(&stage.state()).unwrap();
    let left = fork.forked_from.clone().unwrap();
    assert_eq!(
        (left.timeline, left.epoch),
        (first.timeline.clone(), point.epoch)
    );
    let last = first.epochs.last().unwrap().epoch;
    assert!(fork.first_epoch > last, "epochs never fall");
    assert!(fork.epochs[0].tells_all && !fork.epochs[1].tells_all);
    let between = format!("_epoch > {} AND _epoch < {}", point.epoch, fork.first_epoch);
    for table in ["ods_record", "dwd_span"] {
        assert_eq!(
            stage.number(&format!("SELECT count() FROM {table} WHERE {between}")),
            0,
            "{table}"
        );
    }
    stage.compare_with_kept("forked");
    let spans = stage.number("SELECT sum(spans) FROM dws_session_latest");
    assert_eq!(spans, stage.number("SELECT count() FROM dwd_span"));
    // It goes on as any timeline does: there is nothing left to do.
    stage.run_to_the_end(&[]);
    assert_eq!(stage.number("SELECT count() FROM dwd_span"), spans);

    let missing = stage.run(&["--from", "savepoints/none"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(3), "{said}");
    assert!(
        said.contains("savepoints/none/manifest.json is not in"),
        "{said}"
    );
}

#[test]
fn a_savepoint_of_two_processes_is_gone_on_from_by_one_with_other_workers() {
    // A savepoint ends an epoch early. Which of two copies lands, where they are in two partitions, may depend on that.
    let undisturbed = Stage::with_copies("two_undisturbed", 0);
    undisturbed.run_to_the_end(&[]);
    undisturbed.keep();

    let stage = Stage::with_copies("two", 0);
    let mut processes = Processes::start(&stage);
    let since = Instant::now();
    while stage.number("SELECT count() FROM dwd_span") < 100 {
        assert!(since.elapsed() < PATIENCE, "no spans land");
    }
    let savepoint = processes.stop_with_savepoint("halfway");
    processes.end();
    let first = timelines::read(&stage.state()).unwrap();
    let last = first.epochs.last().unwrap();
    assert!(!last.end_of_input, "the input had ended before");
    assert_eq!(savepoint["epoch"], last.epoch, "nothing was cut behind it");
    let landed = stage.number("SELECT count() FROM dwd_span");
    let files = std::fs::read_dir(stage.state().join("savepoints/halfway")).unwrap();
    assert_eq!(files.count(), 5, "a file of each worker, and the manifest");

    let path = savepoint["path"].as_str().unwrap();
    stage.run_to_the_end(&["--from", path, "--set", "workers=3"]);
    let fork = timelines::read(&stage.state()).unwrap();
    assert_eq!(fork.forked_from.unwrap().epoch, last.epoch);
    assert!(stage.number("SELECT count() FROM dwd_span") > landed);
    stage.compare_with_kept("two_undisturbed");
}

/// Two processes of two workers each.
struct Processes {
    children: Vec<Child>,
    /// Where the first one listens.
    url: String,
}

impl Processes {
    fn start(stage: &Stage) -> Processes {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let cluster_port = format!("cluster_port={}", port.port());
        let start = |process: &str| {
            let mut command = stage.command(&["--processes", "2", "--process", process]);
            command.args(["--set", "workers=2", "--set", &cluster_port]);
            // Many, so that the savepoint is asked for long before the last.
            command.args(["--set", "epoch_records=10"]);
            command.env(
                "SPANFLOW_CLUSTER_SECRET",
                "a secret of the test of savepoints",
            );
            command.stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut children = vec![start("0"), start("1")];
        let mut line = String::new();
        let stdout = children[0].stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let (_, url) = line.trim().split_once("listening on ").unwrap();
        let url = url.to_owned();
        Processes { children, url }
    }

    /// Asks for a savepoint that ends the job.
    fn stop_with_savepoint(&self, name: &str) -> Json {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = Client::at(&self.url, "").unwrap().within(PATIENCE);
        runtime.block_on(async {
            let asked = json!({ "name": name, "stop": true });
            let answer = client.post("/api/v1/process/savepoints", &asked).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            serde_json::from_str(&answer.text()).unwrap()
        })
    }

    fn end(&mut self) {
        let since = Instant::now();
        for child in &mut self.children {
            let status = loop {
                match child.try_wait().unwrap() {
                    Some(status) => break status,
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
                assert!(since.elapsed() < PATIENCE, "a process does not end");
            };
            assert!(status.success(), "{status}");
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // They have ended, or a failed test leaves them behind.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
