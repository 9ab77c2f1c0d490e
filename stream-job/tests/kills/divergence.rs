//! Replays that compute other bytes than were written.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use serde_json::{Value as Json, json};
use stream_job::checkpoint::epoch_log::{self, BlockId};
use stream_job::ops::failpoint;
use stream_job::ops::job::exit;

use crate::log_entries;
use crate::reference::recording::Plan;
use crate::runs::{end_of, follow, job, log_of};
use crate::stage::{Stage, compare};

/// `sink_shards` of every run here.
const SHARDS: u16 = 4;

#[test]
fn a_replay_that_computes_other_bytes_stops_with_an_exit_code_of_its_own() {
    let plan = Plan {
        processes: 1,
        seed: 51,
        traces: 60,
        ..Plan::default()
    };
    let stage = Stage::new("diverged", plan);
    // With one checkpoint, at the end, all before it is in the log's first segment.
    let mut once = job(&stage, "diverged");
    once.args(["--set", "checkpoint_interval=1h"]);
    end_of(&stage, once).succeeded();
    let rows = stage.number("SELECT count() FROM dwd_span");
    let file = log_of(&stage, "diverged").join("epochs-00000001.log");
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
        assert_diverges(&stage, job(&stage, "diverged"), id);
        assert_eq!(stage.number("SELECT count() FROM dwd_span"), rows);
    }
    fs::write(&file, log).unwrap();
    end_of(&stage, job(&stage, "diverged")).succeeded();
    assert_eq!(stage.number("SELECT count() FROM dwd_span"), rows);
}

#[test]
fn a_job_whose_code_computes_other_rows_stops_before_it_writes_them() {
    let plan = Plan {
        processes: 1,
        seed: 52,
        traces: 150,
        ..Plan::default()
    };
    let stage = Stage::new("sabotaged", plan);
    let run = |variable, value| {
        let mut command = job(&stage, "sabotaged");
        command.args(["--set", "checkpoint_interval=1h"]);
        command.env(variable, value);
        command
    };
    let killed = end_of(&stage, run(failpoint::FAILPOINT, "ops-epoch-landed:3"));
    assert_eq!(
        killed.status.signal(),
        Some(libc::SIGKILL),
        "{}",
        killed.said
    );
    let log = log_of(&stage, "sabotaged");
    let recorded = epoch_log::read(&log).unwrap().blocks;
    for table in ["dwd_span", "dws_trace"] {
        let first = recorded.keys().find(|id| id.table == table).unwrap();
        let rows = format!("SELECT count() FROM {table}");
        let before = stage.number(&rows);
        assert_diverges(&stage, run(failpoint::SABOTAGE, table), first);
        assert_eq!(stage.number(&rows), before, "rows of {table}");
    }
    end_of(&stage, job(&stage, "sabotaged")).succeeded();
    follow(&stage, &log, "as_it_was", 3);
    compare(&stage, "sabotaged", "as_it_was");
}

/// The run stops, and names the block: the first of its table, of any shard.
fn assert_diverges(stage: &Stage, command: Command, id: &BlockId) {
    let ended = end_of(stage, command);
    let said = &ended.said;
    assert_eq!(
        ended.status.code(),
        Some(exit::DIVERGED.into()),
        "{id}: {said}"
    );
    let shards = 0..SHARDS;
    let named: Vec<String> = shards
        .map(|shard| format!("{}, shard {shard}, up to epoch {}", id.table, id.epoch))
        .collect();
    let is_named = named.iter().any(|name| said.contains(name));
    assert!(is_named, "none of {named:?} is in: {said}");
}

#[derive(Clone, Copy)]
enum Change {
    /// The block was promised with another hash.
    Hash,
    /// The block was never promised.
    Gone,
}

/// The log with the intent of one block changed, or without intent and acknowledgement of it; and without checkpoints,
/// so that all is replayed.
fn tampered(log: &[u8], id: &BlockId, change: Change) -> Vec<u8> {
    let is_it = |block: &Json| {
        let place = json!([block["table"], block["shard"], block["epoch"], block["n"]]);
        place == json!([id.table, id.shard, id.epoch, id.n])
    };
    let mut changed = 0;
    let out = log_entries::changed(log, |entry| {
        if entry["kind"] == "checkpoint" {
            return false;
        }
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
        true
    });
    assert_eq!(changed, 1, "one intent is changed");
    out
}
