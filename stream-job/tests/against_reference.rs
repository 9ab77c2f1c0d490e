//! The whole dataflow against a reference in one plain loop, and against itself in other layouts.

#![allow(clippy::unwrap_used, missing_docs)]

mod reference;

use std::fs;
use std::path::Path;
use std::time::Duration;

use stream_job::checkpoint::epoch_log;
use stream_job::ops::settings::{Settings, TimeZone};
use stream_job::sink::tables::EpochRow;
use tempfile::TempDir;

use reference::memory::{Run, run};
use reference::recording::{Dice, Plan, write};
use reference::tables::{Cell, Tables, assert_equal, key_columns};

const SECOND: Duration = Duration::from_secs(1);

/// Short times, so that windows become final, traces and sessions end, and spans are late within the run.
fn short_settings(recording: &Path) -> Settings {
    Settings {
        recording: recording.to_str().unwrap().to_owned(),
        epoch_records: 36,
        dws_block_interval: 3 * Duration::from_millis(500),
        max_out_of_orderness: 4 * SECOND,
        allowed_lateness: 45 * SECOND,
        dedup_horizon: 120 * SECOND,
        orphan_grace: 15 * SECOND,
        trace_ttl: 150 * SECOND,
        session_idle: 40 * SECOND,
        session_ttl: 300 * SECOND,
        loop_min_repeats: 3,
        top_n: 3,
        sink_shards: 4,
        workers: 2,
        // There a day begins a few minutes into a recording.
        business_time_zone: TimeZone(chrono_tz::Tz::Pacific__Gambier),
        ..Settings::default()
    }
}

struct Input {
    folder: TempDir,
    settings: Settings,
}

impl Input {
    fn new(plan: &Plan) -> Input {
        let folder = tempfile::tempdir().unwrap();
        let recording = folder.path().join("recording");
        write(&recording, plan);
        let settings = short_settings(&recording);
        Input { folder, settings }
    }

    fn run(&self, name: &str) -> Run {
        run(&self.settings, &self.folder.path().join(name), None)
    }

    fn check(&self, run: &Run, what: &str) {
        let recording = Path::new(&self.settings.recording);
        let expected = reference::compute(&self.settings, recording, &run.log);
        assert_eq!(run.counted.len(), expected.epochs.len());
        for (counted, expected) in run.counted.iter().zip(&expected.epochs) {
            assert_eq!(counted, expected, "{what}: what was counted");
        }
        assert_equal(&expected.tables, &comparable(run), what);
    }
}

/// The tables, of the anomalies only the loops.
fn comparable(run: &Run) -> Tables {
    let mut tables = run.tables();
    if let Some(flags) = tables.get_mut("ads_anomaly") {
        flags.retain(|_, flag| flag["detector"] == Cell::from("loop"));
    }
    tables
}

#[test]
fn every_table_is_what_the_reference_computes() {
    for seed in 1..=6 {
        let mut input = Input::new(&Plan {
            seed,
            ..Plan::default()
        });
        if seed % 2 == 0 {
            // Agents have more keys than that: the rest is counted under `__overflow__`.
            input.settings.max_keys_per_agent = 5;
            // And a few traces more spans, and most sessions more traces.
            input.settings.max_spans_per_trace = 8;
            input.settings.max_traces_per_session = 1;
        }
        let run = input.run("log");
        assert!(run.log.epochs.len() > 15, "{} epochs", run.log.epochs.len());
        input.check(&run, &format!("seed {seed}"));
    }
}

#[test]
fn the_recordings_hold_every_case() {
    let input = Input::new(&Plan::default());
    let run = input.run("log");
    let sum = |count: fn(&EpochRow) -> u64| run.counted.iter().map(count).sum::<u64>();
    assert!(sum(|row| row.spans_late) > 20);
    assert!(sum(|row| row.spans_duplicate) > 50);
    assert!(sum(|row| row.spans_rejected) > 5);
    let tables = run.tables();
    let count = |table: &str, column: &str, wanted: fn(&Cell) -> bool| {
        let rows = tables[table].values();
        rows.filter(|row| wanted(&row[column])).count()
    };
    assert!(
        count("ods_record", "encoding", |cell| *cell
            == Cell::from("undecodable"))
            > 3
    );
    assert!(
        count("ods_record", "encoding", |cell| *cell
            == Cell::from("document"))
            > 20
    );
    assert!(count("dws_trace", "orphans", |cell| *cell > Cell::Number(0)) > 5);
    assert!(
        count("dws_session", "is_deleted", |cell| *cell == Cell::Number(1)) > 3,
        "moved"
    );
    assert!(
        count("dws_user_1d", "is_deleted", |cell| *cell == Cell::Number(1)) > 0,
        "another user's"
    );
    for state in ["open", "idle", "done", "failed"].map(Cell::from) {
        let seen = run
            .every_row("dws_session")
            .any(|row| row["state"] == state);
        assert!(seen, "no session was ever {state:?}");
    }
    let segments = |table: &str| segments(&tables, table);
    assert!(segments("dws_trace") > 3 && segments("dws_session") > 3);
    assert!(
        count("ads_anomaly", "detector", |cell| *cell
            == Cell::from("loop"))
            > 3
    );
    let outcomes = ["points_landed", "points_duplicate", "points_rejected"];
    for outcome in outcomes {
        assert!(
            count("ods_record", outcome, |cell| *cell > Cell::Number(0)) > 5,
            "{outcome}"
        );
    }
    assert!(count("dwd_metric_point", "late", |cell| *cell == Cell::Number(1)) > 5);
    assert!(
        count("dws_resource_1m", "cpu_time_us", |cell| *cell
            > Cell::Number(0))
            > 50
    );
    assert!(
        run.every_row("dws_step_1m")
            .any(|row| row["final"] == Cell::Number(0))
    );
}

/// How many rows of a table are of a further segment of their key.
fn segments(tables: &Tables, table: &str) -> usize {
    let keys: Vec<&Vec<Cell>> = tables[table].keys().collect();
    keys.windows(2)
        .filter(|pair| pair[0][..pair[0].len() - 1] == pair[1][..pair[1].len() - 1])
        .count()
}

#[test]
fn traces_that_come_after_their_users_day_was_dropped_open_a_segment_of_it() {
    let mut input = Input::new(&Plan {
        seed: 7,
        late: 40,
        traces: 800,
        ..Plan::default()
    });
    input.settings.trace_ttl = 20 * SECOND;
    let run = input.run("log");
    input.check(&run, "many late messages");
    assert!(segments(&run.tables(), "dws_user_1d") > 3);
}

#[test]
fn any_number_of_workers_writes_the_same_bytes() {
    let mut input = Input::new(&Plan {
        seed: 11,
        ..Plan::default()
    });
    input.settings.max_keys_per_agent = 5;
    let first = input.run("log");
    for workers in 1..=4 {
        input.settings.workers = workers;
        let dir = input.folder.path().join(format!("workers-{workers}"));
        let other = run(&input.settings, &dir, Some(&first.log));
        assert_same_blocks(&first, &other, &format!("{workers} workers"));
        assert_eq!(first.counted, other.counted);
        assert_eq!(first.letters, other.letters);
    }
}

fn assert_same_blocks(first: &Run, other: &Run, what: &str) {
    let (first, other) = (first.hashes(), other.hashes());
    for (id, block) in &first {
        assert_eq!(Some(block), other.get(id), "{what}: {id} (rows, hash)");
    }
    assert_eq!(first.len(), other.len(), "{what}: number of blocks");
}

#[test]
fn a_log_cut_anywhere_leads_to_the_same_blocks_up_to_the_cut() {
    let input = Input::new(&Plan {
        seed: 21,
        ..Plan::default()
    });
    let first = input.run("log");
    let file = "epochs-00000001.log";
    let bytes = fs::read(input.folder.path().join("log").join(file)).unwrap();
    let mut dice = Dice::new(5);
    for cut in 0..6 {
        let kept = 200 + dice.below(bytes.len() as u64 - 200) as usize;
        let name = format!("cut-{cut}");
        let dir = input.folder.path().join(&name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(file), &bytes[..kept]).unwrap();
        let epochs = epoch_log::read(&dir).map_or(0, |replay| replay.epochs.len());
        let again = input.run(&name);
        let what = format!("{kept} bytes, {epochs} epochs kept");
        if let Some(last) = epochs.checked_sub(1).map(|at| first.log.epochs[at].epoch) {
            assert_eq!(first.log.epochs[..epochs], again.log.epochs[..epochs]);
            let up_to = |run: &Run| {
                let mut hashes = run.hashes();
                hashes.retain(|id, _| id.epoch <= last);
                hashes
            };
            assert_eq!(up_to(&first), up_to(&again), "{what}");
        }
        input.check(&again, &what);
    }
}

#[test]
fn runs_with_logs_of_their_own_agree_where_no_span_is_late() {
    let mut input = Input::new(&Plan {
        seed: 31,
        late: 0,
        // Which of two copies in different partitions comes first depends on where epochs end.
        scattered: false,
        ..Plan::default()
    });
    let hour = 3_600 * SECOND;
    input.settings.allowed_lateness = hour;
    input.settings.trace_ttl = hour;
    input.settings.session_ttl = 24 * hour;
    input.settings.dedup_horizon = hour;
    let first = input.run("first");
    input.settings.epoch_records = 90;
    input.settings.workers = 3;
    let second = input.run("second");
    assert_ne!(first.log.epochs.len(), second.log.epochs.len());
    for run in [&first, &second] {
        let late: u64 = run.counted.iter().map(|row| row.spans_late).sum();
        assert_eq!(late, 0);
    }
    let (first, second) = (without_epochs(&first), without_epochs(&second));
    assert!(first["dws_step_1m"].len() > 100 && first["dwd_span"].len() > 500);
    assert_equal(&first, &second, "the second run");
}

/// ODS, DWD, DWS and top lists without what names an epoch, and without what was taken back.
fn without_epochs(run: &Run) -> Tables {
    let mut out = Tables::new();
    for (table, rows) in run.tables() {
        if ["ads_anomaly", "ads_freshness"].contains(&table) {
            continue;
        }
        for mut row in rows.into_values() {
            if row.get("is_deleted") == Some(&Cell::Number(1)) {
                continue;
            }
            for column in ["_epoch", "ingest_time", "late", "rev", "segment"] {
                row.remove(column);
            }
            let key: Vec<Cell> = match table {
                "dwd_content" => vec![row["hash"].clone()],
                _ => {
                    let columns = key_columns(table).iter();
                    columns.filter_map(|name| row.get(name)).cloned().collect()
                }
            };
            if table == "dwd_content" {
                row.remove("_shard");
            }
            out.entry(table).or_default().insert(key, row);
        }
    }
    out
}
