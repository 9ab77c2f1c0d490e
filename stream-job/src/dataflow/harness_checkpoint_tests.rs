//! From any checkpoint, with any number of workers: the bytes that an undisturbed run writes.

use super::replay::{differing, mixed};
use super::*;
use crate::checkpoint::store::Store;

/// The blocks above an epoch.
fn above(outcome: &Outcome, epoch: Epoch) -> Outcome {
    let above = outcome.iter().filter(|(id, _)| id.2 > epoch);
    above.map(|(id, block)| (*id, *block)).collect()
}

#[test]
fn a_run_from_any_checkpoint_writes_what_an_undisturbed_one_writes() {
    let recorded = mixed();
    let store = Store::open_dir(&recorded.folder.path().join("store")).unwrap();
    let settings = |s: &mut Settings| {
        (s.sink_shards, s.epoch_records) = (4, 12);
        s.dws_block_interval = s.epoch_interval * 2;
        s.checkpoint_interval = s.epoch_interval * 2;
        s.checkpoints_kept = 1_000;
    };
    let keep = HarnessOptions {
        store: Some(&store),
        ..HarnessOptions::default()
    };
    let (log, first) = recorded.run_with("first", keep, |s| {
        settings(s);
        s.workers = 3;
    });
    let outcome = first.outcome();
    let count = log.checkpoints.len();
    assert!(count >= 4, "{count} checkpoints");
    let last = log.epochs.last().unwrap();
    assert!(last.checkpoint.is_some() && last.end_of_input);
    for (at, checkpoint) in log.checkpoints.iter().enumerate() {
        let workers = 1 + u16::try_from(at % 5).unwrap();
        let name = format!("from {at} of {count}, {workers} workers");
        let resume = HarnessOptions {
            metrics: None,
            follow: Some(&log),
            store: Some(&store),
            from: Some(checkpoint),
        };
        let (_, memory) = recorded.run_with(&name, resume, |s| {
            settings(s);
            s.workers = workers;
        });
        let expected = above(&outcome, checkpoint.epoch);
        assert!(at + 1 == count || expected.len() > 5, "{name}");
        assert!(
            memory.outcome() == expected,
            "{name}: {}",
            differing(&memory.outcome(), &expected)
        );
    }
}
