//! A recording, a warehouse, and the job's process between them.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use stream_job::sink::tables::every_table;
use stream_job::sink::target::Target;
use tempfile::TempDir;

use crate::reference::recording::{Plan, write};
use crate::reference::tables::is_raw;
use crate::warehouse_process::{migrate, shared_url};

/// Settings of every run here, as flags and as the reference reads them.
pub const SETTINGS: [&str; 18] = [
    "epoch_records=40",
    "dws_block_interval=1500ms",
    "max_epochs_in_flight=4",
    "max_out_of_orderness=4s",
    "allowed_lateness=45s",
    "dedup_horizon=2min",
    "orphan_grace=15s",
    "trace_ttl=150s",
    "session_idle=40s",
    "session_ttl=5min",
    "loop_min_repeats=3",
    "max_spans_per_trace=8",
    "max_traces_per_session=1",
    "top_n=3",
    "sink_shards=4",
    "workers=2",
    "http_listen=127.0.0.1:0",
    "log=warn",
];

pub struct Stage {
    folder: TempDir,
    pub target: Target,
}

impl Stage {
    #[allow(dead_code)]
    pub fn new(database: &str, plan: Plan) -> Stage {
        Stage::at(shared_url(), database, plan)
    }

    /// Over a warehouse of its own.
    pub fn at(url: &str, database: &str, plan: Plan) -> Stage {
        let now_s = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        // Recent, as the tables' TTLs cut what is old.
        let base_s = i64::try_from(now_s).unwrap() - 3_600;
        Stage::over(url, database, |recording| {
            write(recording, &Plan { base_s, ..plan });
        })
    }

    /// Over a recording that is put into a folder.
    pub fn over(url: &str, database: &str, put: impl FnOnce(&Path)) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join("recording"));
        let target = migrate(url, database);
        Stage { folder, target }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, database: &str, state: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stream-job"));
        command.args(["run", "--url", &self.target.url, "--database", database]);
        command.arg("--recording").arg(self.path("recording"));
        let state = format!("state_dir={}", self.path(state).display());
        for setting in SETTINGS.into_iter().chain([state.as_str()]) {
            command.args(["--set", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    #[allow(dead_code)]
    pub fn run_to_the_end(&self, database: &str, state: &str) {
        let output = self.command(database, state).output().unwrap();
        assert_succeeded(&output);
    }

    pub fn numbers(&self, sql: &str) -> Vec<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let query = self.target.client().query(sql);
        runtime
            .block_on(query.fetch_all::<u64>())
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub fn number(&self, sql: &str) -> u64 {
        self.numbers(sql)[0]
    }
}

pub fn assert_succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
}

/// Fails unless every table of both databases holds the same rows.
#[allow(dead_code)]
pub fn compare(stage: &Stage, one: &str, other: &str) {
    let found = comparison(stage, one, other);
    assert!(found.differences.is_empty(), "{found:#?}");
}

/// What was compared, and what is not equal.
#[derive(Debug, Default)]
pub struct Comparison {
    #[allow(dead_code)]
    pub rows: u64,
    pub differences: Vec<String>,
}

/// Every table of both databases holds the same rows: of ODS and DWD without FINAL, and none twice.
pub fn comparison(stage: &Stage, one: &str, other: &str) -> Comparison {
    let mut found = Comparison::default();
    for table in every_table() {
        let name = table.name();
        let (columns, last) = match name {
            // When the rows of that run landed.
            "ops_epoch" => ("* EXCEPT (landed_time)", ""),
            // A set: of several rows of one text any may stay.
            "dwd_content" => ("DISTINCT hash, content", ""),
            raw if is_raw(raw) => ("*", ""),
            _ => ("*", "FINAL"),
        };
        let rows = |database: &str| format!("SELECT {columns} FROM {database}.{name} {last}");
        let (ours, theirs) = (rows(one), rows(other));
        let count = |rows: &str| stage.number(&format!("SELECT count() FROM ({rows})"));
        let mut expect = |what: &str, is: u64, expected: u64| {
            if is != expected {
                let said = format!("{one}.{name}: {is} {what} instead of {expected}");
                found.differences.push(said);
            }
        };
        let all = count(&theirs);
        expect("rows", count(&ours), all);
        expect("tables without rows", u64::from(all == 0), 0);
        let distinct = count(&format!("SELECT DISTINCT * FROM ({ours})"));
        expect("distinct rows", distinct, all);
        let beyond = |one: &str, other: &str| count(&format!("{one} EXCEPT {other}"));
        expect("rows that should not be", beyond(&ours, &theirs), 0);
        expect("rows that are missing", beyond(&theirs, &ours), 0);
        found.rows += all;
    }
    found
}
