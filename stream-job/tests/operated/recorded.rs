//! State that releases have written, in `tests/data/state-VERSION`: this program goes on from it, or refuses it by name.
//!
//! Each folder holds a recording, the `state_dir` of a job that was killed in the middle of it, and the settings of that
//! job, one a line.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use stream_job::checkpoint::epoch_log::{self, Replay};
use stream_job::ops::failpoint;
use stream_job::ops::job::exit;
use stream_job::ops::settings::{Inputs, Loaded, Settings};

use crate::against_reference::compare_with_reference;
use crate::log_entries;
use crate::reference::recording::{Plan, write};
use crate::runs::{Ended, end_of, log_of};
use crate::stage::{Stage, compare};
use crate::warehouse_process::{migrate_for_ever, shared_url};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
const THIS_RELEASE: &str = concat!("state-", env!("CARGO_PKG_VERSION"));

/// Settings of the next recording. What a release has recorded goes by those that lie beside it.
const SETTINGS: [&str; 16] = [
    "epoch_records=6",
    "dws_block_interval=1500ms",
    "checkpoint_interval=500ms",
    "checkpoints_kept=100",
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
    "sink_shards=2",
    "workers=2",
];

#[test]
fn the_state_of_every_recorded_release_is_restored_and_leads_to_the_tables_of_the_reference() {
    let releases = releases();
    let this = Path::new(DATA).join(THIS_RELEASE);
    assert!(
        releases.contains(&this),
        "no state of this release in {DATA}: record it, see CONTRIBUTING.md"
    );
    for (number, data) in releases.iter().enumerate() {
        restores(data, &format!("recorded_{number}"));
    }
}

fn restores(data: &Path, database: &str) {
    let stage = stage(data, database);
    let log = log_of(&stage, database);
    let recorded = epoch_log::read(&log).unwrap();
    let checkpoint = checkpoint_with_more_behind(&recorded);
    // The rows that had landed, from the records of the same epochs.
    let before = stage.path("before.log");
    copy(&log, &before);
    follow(&stage, data, &before, database);

    let ended = end_of(&stage, command(&stage, data, database, database));
    ended.succeeded();
    let restored = format!("checkpoint of epoch {checkpoint}: ");
    assert!(ended.said.contains(&restored), "{}", ended.said);
    let undisturbed = format!("{database}_undisturbed");
    migrate_for_ever(shared_url(), &undisturbed);
    follow(&stage, data, &log, &undisturbed);
    compare(&stage, database, &undisturbed);
    let whole = epoch_log::read(&log).unwrap();
    assert!(whole.epochs.len() > recorded.epochs.len());
    compare_with_reference(&stage, &settings(data), &whole);
}

#[test]
fn state_in_a_format_that_this_program_does_not_read_is_refused_by_name() {
    let data = Path::new(DATA).join(THIS_RELEASE);
    let later = "written by version 0.1.0, cannot be restored by this program";
    let operators = |manifest: &mut Json| {
        let of_first_file = &mut manifest["layers"][0]["files"][0]["operators"];
        let operators = of_first_file.as_object_mut().unwrap();
        assert!(operators.contains_key("step-windows"), "{operators:?}");
        std::mem::take(operators)
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Json), &'a str);
    let cases: [Case; 3] = [
        (
            "operator_version",
            &|manifest| {
                let mut changed = operators(manifest);
                changed["step-windows"] = json!(999);
                manifest["layers"][0]["files"][0]["operators"] = changed.into();
            },
            "the state of operator `step-windows` has format version 999, and it reads [",
        ),
        (
            "operator",
            &|manifest| {
                let mut changed = operators(manifest);
                changed.insert("of_the_future".to_owned(), json!(1));
                manifest["layers"][0]["files"][0]["operators"] = changed.into();
            },
            "it has no operator `of_the_future`",
        ),
        (
            "manifest_version",
            &|manifest| manifest["version"] = json!(999),
            "its manifest has format version 999, and this program reads ",
        ),
    ];
    for (what, change, reason) in cases {
        let database = format!("refused_{what}");
        let stage = stage(&data, &database);
        change_newest_manifest(&stage.path(&database), change);
        let Ended { status, said } = end_of(&stage, command(&stage, &data, &database, &database));
        assert_eq!(status.code(), Some(exit::REFUSED.into()), "{what}: {said}");
        assert!(said.contains(reason), "{what}: {said}");
        assert!(said.contains(later), "{what}: {said}");
        assert_eq!(stage.number("SELECT count() FROM ods_record"), 0, "{what}");
    }
}

/// Writes the state of this release anew; see CONTRIBUTING.md.
#[test]
#[ignore = "writes tests/data anew, for a release"]
fn record_the_state_of_this_release() {
    let plan = Plan {
        seed: 81,
        traces: 24,
        documents: 2,
        processes: 1,
        ..Plan::default()
    };
    let database = "recorded_now";
    let stage = Stage::over(shared_url(), database, |recording| write(recording, &plan));
    let data = Path::new(DATA).join(THIS_RELEASE);
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("settings"), SETTINGS.join("\n") + "\n").unwrap();
    copy(&stage.path("recording"), &data.join("recording"));
    let mut run = command(&stage, &data, database, database);
    run.env(failpoint::FAILPOINT, "checkpoint-logged:2");
    let ended = end_of(&stage, run);
    let signal = ended.status.signal();
    assert_eq!(signal, Some(libc::SIGKILL), "{}", ended.said);
    checkpoint_with_more_behind(&epoch_log::read(&log_of(&stage, database)).unwrap());
    let state = stage.path(database);
    fs::remove_file(state.join("LOCK")).unwrap();
    copy(&state, &data.join("state"));
    for segment in segments(&data.join("state")) {
        // Which machine wrote it is nobody's business.
        let log = log_entries::changed(&fs::read(&segment).unwrap(), |entry| {
            if let Some(by) = entry.get_mut("by") {
                *by = json!("a process that recorded its state");
            }
            true
        });
        fs::write(&segment, log).unwrap();
    }
    let bytes = bytes_in(&data);
    assert!(bytes < 250_000, "{bytes} bytes are too many to keep");
}

/// The newest checkpoint of a log that goes on behind it, and that is not at the end of the input.
fn checkpoint_with_more_behind(log: &Replay) -> u64 {
    let checkpoint = log.checkpoints.last().unwrap().epoch;
    let last = log.epochs.last().unwrap();
    assert!(
        checkpoint < last.epoch && !last.end_of_input,
        "checkpoint of {checkpoint} of {last:?}"
    );
    checkpoint
}

/// The folders of all recorded releases.
fn releases() -> Vec<PathBuf> {
    let entries = fs::read_dir(DATA).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// A stage over a release's recording, with its state as that of the database's job.
fn stage(data: &Path, database: &str) -> Stage {
    let recording = data.join("recording");
    let stage = Stage::over(shared_url(), database, |folder| copy(&recording, folder));
    migrate_for_ever(shared_url(), database);
    copy(&data.join("state"), &stage.path(database));
    stage
}

fn command(stage: &Stage, data: &Path, database: &str, state: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stream-job"));
    command.args(["run", "--url", &stage.target.url, "--database", database]);
    command.arg("--recording").arg(stage.path("recording"));
    let mut set = recorded_settings(data);
    set.push(format!("state_dir={}", stage.path(state).display()));
    set.extend(["http_listen=127.0.0.1:0", "log=info"].map(str::to_owned));
    for one in set {
        command.args(["--set", &one]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn recorded_settings(data: &Path) -> Vec<String> {
    let text = fs::read_to_string(data.join("settings")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn settings(data: &Path) -> Settings {
    let inputs = Inputs {
        flags: recorded_settings(data),
        ..Inputs::default()
    };
    Loaded::read(&inputs).unwrap().settings
}

/// Fills a database from an epoch log, by a job that keeps its own state elsewhere.
fn follow(stage: &Stage, data: &Path, log: &Path, database: &str) {
    let mut command = command(stage, data, database, &format!("{database}_followed"));
    command.arg("--epoch-log").arg(log);
    end_of(stage, command).succeeded();
}

fn segments(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state.join("00000001/log")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Changes the newest manifest, and what the log says of its bytes.
fn change_newest_manifest(state: &Path, change: &dyn Fn(&mut Json)) {
    let replay = epoch_log::read(&state.join("00000001/log")).unwrap();
    let named = replay.checkpoints.last().unwrap();
    let path = state.join(&named.manifest);
    let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    fs::write(&path, &bytes).unwrap();
    for segment in segments(state) {
        let log = log_entries::changed(&fs::read(&segment).unwrap(), |entry| {
            if entry["manifest"] == json!(named.manifest) {
                entry["crc32c"] = json!(crc32c::crc32c(&bytes));
                entry["bytes"] = json!(bytes.len());
            }
            true
        });
        fs::write(&segment, log).unwrap();
    }
}

/// Copies a folder and all in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap();
    let sizes = entries.map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_in(&path)
        } else {
            path.metadata().unwrap().len()
        }
    });
    sizes.sum()
}
