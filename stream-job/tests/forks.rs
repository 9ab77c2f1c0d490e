//! Going back to an earlier checkpoint, against a real warehouse.

#![allow(clippy::unwrap_used, missing_docs)]

mod reference;
mod warehouse_process;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use stream_job::checkpoint::timelines;
use stream_job::sink::target::Target;
use tempfile::TempDir;

use reference::recording::{Plan, write};
use warehouse_process::{migrate, shared_url};

const DATABASE: &str = "forked";
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

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let now_s = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let plan = Plan {
            seed: 61,
            traces: 250,
            // Recent, as the tables' TTLs cut what is old.
            base_s: i64::try_from(now_s).unwrap() - 3_600,
            ..Plan::default()
        };
        write(&folder.path().join("recording"), &plan);
        let target = migrate(shared_url(), DATABASE);
        Stage { folder, target }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run(&self, flags: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stream-job"));
        command.args(["run", "--url", &self.target.url, "--database", DATABASE]);
        command
            .arg("--recording")
            .arg(self.folder.path().join("recording"));
        let state = format!("state_dir={}", self.state().display());
        for setting in SETTINGS.into_iter().chain([state.as_str()]) {
            command.args(["--set", setting]);
        }
        command.args(flags).stdin(Stdio::null()).output().unwrap()
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

    fn execute(&self, sql: &str) {
        self.ask(sql, async |query| query.execute().await);
    }
}

#[test]
fn a_fork_from_an_older_checkpoint_leaves_the_rows_of_an_undisturbed_run() {
    let stage = Stage::new();
    stage.run_to_the_end(&[]);
    let first = timelines::read(&stage.state()).unwrap();
    let count = first.checkpoints.len();
    assert!(count >= 4, "{count} checkpoints");
    for (table, beside) in COMPARED {
        stage.execute(&format!(
            "CREATE TABLE kept_{table} ENGINE = MergeTree ORDER BY tuple() AS SELECT * EXCEPT ({beside}) FROM {table}"
        ));
    }
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
    for (table, beside) in COMPARED {
        let now = format!("SELECT * EXCEPT ({beside}) FROM {table}");
        let kept = format!("SELECT * FROM kept_{table}");
        let count = |rows: &str| stage.number(&format!("SELECT count() FROM ({rows})"));
        assert!(count(&kept) > 0, "{table} is empty");
        assert_eq!(count(&now), count(&kept), "rows of {table}");
        for (left, right) in [(&now, &kept), (&kept, &now)] {
            let differ = count(&format!("{left} EXCEPT {right}"));
            assert_eq!(differ, 0, "{table}: {left} EXCEPT {right}");
        }
    }
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
