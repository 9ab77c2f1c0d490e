//! The job's process killed at random against a real warehouse, and replays that must not go on.

#![allow(clippy::unwrap_used, missing_docs)]

mod reference;
mod warehouse_process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value as Json, json};
use stream_job::checkpoint::epoch_log::{self, BlockId};
use stream_job::ops::settings::Settings;
use stream_job::sink::tables::every_table;
use stream_job::sink::target::Target;
use tempfile::TempDir;

use reference::recording::{Dice, Plan, write};
use reference::tables::{Cell, is_raw};
use warehouse_process::{migrate, shared_url};

const KILLS: usize = 7;
/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(180);

/// Settings of every run here, as flags and as the reference reads them.
const SETTINGS: [&str; 16] = [
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
    "top_n=3",
    "sink_shards=4",
    "workers=2",
    "http_listen=127.0.0.1:0",
    "log=warn",
];

struct Stage {
    folder: TempDir,
    target: Target,
}

impl Stage {
    fn new(database: &str, plan: Plan) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let now_s = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        // Recent, as the tables' TTLs cut what is old.
        let base_s = i64::try_from(now_s).unwrap() - 3_600;
        write(&folder.path().join("recording"), &Plan { base_s, ..plan });
        let target = migrate(shared_url(), database);
        Stage { folder, target }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, database: &str, state: &str) -> Command {
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

    fn run_to_the_end(&self, database: &str, state: &str) {
        let output = self.command(database, state).output().unwrap();
        assert_succeeded(&output);
    }

    fn numbers(&self, sql: &str) -> Vec<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let query = self.target.client().query(sql);
        runtime
            .block_on(query.fetch_all::<u64>())
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn number(&self, sql: &str) -> u64 {
        self.numbers(sql)[0]
    }
}

fn assert_succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.map(|entry| entry.unwrap().metadata().map_or(0, |data| data.len()));
    sizes.sum()
}

/// Waits until the log has grown to `bytes`; `false` if the job ends before.
fn wait_for_log(job: &mut Child, log: &Path, bytes: u64) -> bool {
    let since = Instant::now();
    while bytes_in(log) < bytes {
        assert!(since.elapsed() < PATIENCE, "the job does not come on");
        if job.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn a_job_killed_again_and_again_leaves_the_tables_of_an_undisturbed_one() {
    let stage = Stage::new(
        "killed",
        Plan {
            seed: 41,
            traces: 500,
            ..Plan::default()
        },
    );
    let log = stage.path("killed");
    let mut dice = Dice::new(u64::from(std::process::id()));
    for kill in 0..KILLS {
        let mut job = stage.command("killed", "killed").spawn().unwrap();
        let before = bytes_in(&log);
        // By turns soon after the start, while the log is replayed, and later, while it grows.
        let (growth, pause_ms) = if kill % 2 == 1 {
            (1, dice.below(400))
        } else {
            (15_000 + dice.below(25_000), dice.below(20))
        };
        let went_on = wait_for_log(&mut job, &log, before + growth);
        std::thread::sleep(Duration::from_millis(pause_ms));
        assert!(
            went_on && job.try_wait().unwrap().is_none(),
            "the job ended before it was killed {KILLS} times"
        );
        job.kill().unwrap();
        job.wait().unwrap();
    }
    stage.run_to_the_end("killed", "killed");
    let replay = epoch_log::read(&log).unwrap();
    assert!(replay.epochs.last().unwrap().end_of_input);
    assert_eq!(replay.generation, KILLS as u64 + 1);
    assert!(replay.blocks.values().all(|block| block.acked_ms.is_some()));

    let mut undisturbed = stage.command("undisturbed", "undisturbed");
    let output = undisturbed.arg("--epoch-log").arg(&log).output().unwrap();
    assert_succeeded(&output);
    compare(&stage, "killed", "undisturbed");
    compare_with_reference(&stage, &replay);
}

/// Every table of both databases holds the same rows: of ODS and DWD without FINAL, and none twice.
fn compare(stage: &Stage, one: &str, other: &str) {
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
        let found = count(&ours);
        assert!(found > 0, "{name} is empty");
        assert_eq!(found, count(&theirs), "rows of {name}");
        assert_eq!(
            count(&format!("SELECT DISTINCT * FROM ({ours})")),
            found,
            "{name} holds rows twice"
        );
        for (left, right) in [(&ours, &theirs), (&theirs, &ours)] {
            let beyond = count(&format!("{left} EXCEPT {right}"));
            assert_eq!(beyond, 0, "rows of {name} differ: {left} EXCEPT {right}");
        }
    }
}

fn compare_with_reference(stage: &Stage, replay: &epoch_log::Replay) {
    let seconds = Duration::from_secs;
    let settings = Settings {
        allowed_lateness: seconds(45),
        dedup_horizon: seconds(120),
        orphan_grace: seconds(15),
        trace_ttl: seconds(150),
        session_idle: seconds(40),
        session_ttl: seconds(300),
        loop_min_repeats: 3,
        top_n: 3,
        sink_shards: 4,
        ..Settings::default()
    };
    let expected = reference::compute(&settings, &stage.path("recording"), replay);
    for (table, rows) in &expected.tables {
        let (last, filter) = match *table {
            "ads_anomaly" => ("FINAL", "WHERE detector = 'loop'"),
            "dwd_content" => continue,
            table if is_raw(table) => ("", ""),
            _ => ("FINAL", ""),
        };
        let is_there =
            |row: &&reference::tables::Row| row.get("is_deleted") != Some(&Cell::Number(1));
        let wanted = rows.values().filter(is_there).count() as u64;
        let found = stage.number(&format!("SELECT count() FROM {table} {last} {filter}"));
        assert_eq!(found, wanted, "rows of {table} against the reference");
    }
}

#[test]
fn a_replay_that_computes_other_bytes_stops_with_an_exit_code_of_its_own() {
    let stage = Stage::new(
        "diverged",
        Plan {
            seed: 51,
            traces: 60,
            ..Plan::default()
        },
    );
    stage.run_to_the_end("diverged", "state");
    let rows = stage.number("SELECT count() FROM dwd_span");
    let file = stage.path("state").join("epochs-00000001.log");
    let log = fs::read(&file).unwrap();
    let replay = epoch_log::read(&file).unwrap();
    for (table, change) in [
        ("dwd_span", Change::Hash),
        ("dws_trace", Change::Hash),
        ("ods_record", Change::Gone),
    ] {
        let (id, _) = replay
            .blocks
            .iter()
            .find(|(id, _)| id.table == table)
            .unwrap();
        fs::write(&file, tampered(&log, id, change)).unwrap();
        let output = stage.command("diverged", "state").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{table}: {said}");
        let named = format!("{table}, shard {}, up to epoch {}", id.shard, id.epoch);
        assert!(said.contains(&named), "{named} is not in: {said}");
        assert_eq!(stage.number("SELECT count() FROM dwd_span"), rows);
    }
    fs::write(&file, log).unwrap();
    stage.run_to_the_end("diverged", "state");
    assert_eq!(stage.number("SELECT count() FROM dwd_span"), rows);
}

#[derive(Clone, Copy)]
enum Change {
    /// The block was promised with another hash.
    Hash,
    /// The block was never promised.
    Gone,
}

/// The log with the intent of one block changed, or without intent and acknowledgement of it.
fn tampered(log: &[u8], id: &BlockId, change: Change) -> Vec<u8> {
    let is_it = |block: &Json| {
        let place = json!([block["table"], block["shard"], block["epoch"], block["n"]]);
        place == json!([id.table, id.shard, id.epoch, id.n])
    };
    let mut out = Vec::new();
    let (mut rest, mut changed) = (log, 0);
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let mut body = String::new();
        for line in std::str::from_utf8(&after[..length]).unwrap().lines() {
            let mut entry: Json = serde_json::from_str(line).unwrap();
            if let Some(Json::Array(blocks)) = entry.get_mut("blocks") {
                for intent in blocks
                    .iter_mut()
                    .filter_map(|block| is_it(block).then(|| block.get_mut("hash"))?)
                {
                    *intent = "0123456789abcdef0123456789abcdef".into();
                    changed += 1;
                }
                if matches!(change, Change::Gone) {
                    blocks.retain(|block| !is_it(block));
                }
            }
            body.push_str(&entry.to_string());
            body.push('\n');
        }
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(crc32c::crc32c(body.as_bytes()).to_le_bytes());
        out.extend(body.into_bytes());
        rest = &after[length..];
    }
    assert_eq!(changed, 1, "one intent is changed");
    out
}
