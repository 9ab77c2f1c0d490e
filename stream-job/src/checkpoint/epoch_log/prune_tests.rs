//! Pruning, what it leaves at each instant, and the formats of earlier versions.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::reader::Reader;
use super::tests::{ack, checkpoint, epoch, intent, new_log, open};
use super::*;
use crate::checkpoint::record::Intent;

/// A segment for every few entries.
const SMALL: u64 = 900;

fn open_small(dir: &Path) -> (EpochLog, Replay) {
    EpochLog::open_with_segments_of(dir, new_log, SMALL).unwrap()
}

/// Epochs 100 to 139, a block each, acknowledged two epochs later; checkpoints of 110, 120 and 130, each told of
/// three epochs after it.
fn write_history(log: &mut EpochLog) {
    for number in 100..140 {
        log.append(&[epoch(number)]).unwrap();
        let blocks = vec![intent(number, 0)];
        log.append(&[Entry::Intents { blocks }]).unwrap();
        if number >= 102 {
            let blocks = vec![ack(number - 2, 0, 5)];
            log.append(&[Entry::Acks { blocks }]).unwrap();
        }
        if [113, 123, 133].contains(&number) {
            log.append(&[checkpoint(number - 3)]).unwrap();
        }
    }
}

fn history() -> (TempDir, EpochLog, Replay) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open_small(dir.path());
    write_history(&mut log);
    let whole = read(dir.path()).unwrap();
    (dir, log, whole)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let numbers = segment::list(dir).unwrap();
    (numbers.into_iter())
        .map(|number| dir.join(segment::file_name(number)))
        .collect()
}

/// That of everything after `epoch` nothing is missing.
fn assert_all_after(epoch: u64, replay: &Replay, whole: &Replay) {
    let after = |replay: &Replay| {
        let epochs = replay.epochs.iter().filter(|record| record.epoch > epoch);
        let blocks = (replay.blocks.iter()).filter(|(block, _)| block.epoch > epoch);
        let acks = blocks.map(|(block, recorded)| (block.clone(), recorded.acked_ms));
        (
            epochs.cloned().collect::<Vec<_>>(),
            acks.collect::<Vec<_>>(),
        )
    };
    assert_eq!(after(replay), after(whole));
    let newer = |replay: &Replay| {
        let kept = (replay.checkpoints.iter()).filter(|checkpoint| checkpoint.epoch >= epoch);
        kept.cloned().collect::<Vec<_>>()
    };
    assert_eq!(newer(replay), newer(whole));
    assert_eq!(replay.settings, whole.settings);
    assert_eq!(replay.first_epoch, whole.first_epoch);
}

#[test]
fn pruning_keeps_everything_after_the_epoch_and_the_log_goes_on() {
    for kept in [110, 120, 130] {
        let (dir, mut log, whole) = history();
        let before = segments(dir.path()).len();
        log.prune_below(kept).unwrap();
        let after = segments(dir.path()).len();
        assert!(after < before, "{before} segments, then {after}");
        let replay = read(dir.path()).unwrap();
        assert!(replay.epochs[0].epoch > 100);
        assert_all_after(kept, &replay, &whole);
        log.append(&[epoch(140)]).unwrap();
        drop(log);
        let (_log, replay) = open(dir.path());
        assert_eq!(replay.epochs.last().unwrap().epoch, 140);
        assert_eq!(replay.generation, 2);
        assert_all_after(kept, &replay, &{
            let mut whole = whole;
            whole.epochs.push(replay.epochs.last().unwrap().clone());
            whole
        });
    }
}

#[test]
fn a_crash_in_the_middle_of_pruning_leaves_a_log_that_reads_the_same() {
    let (dir, mut log, whole) = history();
    let before = segments(dir.path());
    let kept: Vec<_> = before.iter().map(|path| fs::read(path).unwrap()).collect();
    log.prune_below(120).unwrap();
    let gone = before.len() - segments(dir.path()).len();
    assert!(gone > 5);
    drop(log);
    for crashed_after in 0..=gone {
        for (at, path) in before.iter().enumerate() {
            let _ = fs::remove_file(path);
            if at >= crashed_after {
                fs::write(path, &kept[at]).unwrap();
            }
        }
        assert_all_after(120, &read(dir.path()).unwrap(), &whole);
    }
}

#[test]
fn a_beginning_that_no_checkpoint_stands_for_is_missed() {
    let (dir, log, _) = history();
    drop(log);
    let mut refused = 0;
    for path in segments(dir.path()) {
        fs::remove_file(&path).unwrap();
        match read(dir.path()) {
            Ok(replay) => {
                assert_eq!(refused, 0, "no more than is covered may be gone");
                assert!(replay.epochs[0].epoch <= 131);
            }
            Err(EpochLogError::NoBeginning(first)) => {
                refused += 1;
                assert_eq!(Some(&first), segments(dir.path()).first());
            }
            Err(EpochLogError::Nothing(_)) => assert!(segments(dir.path()).is_empty()),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);

    // An empty segment that is not the first one is no new log.
    fs::write(dir.path().join(segment::file_name(7)), b"").unwrap();
    let error = EpochLog::open(dir.path(), new_log).unwrap_err();
    assert!(matches!(error, EpochLogError::NoBeginning(_)), "{error}");
}

#[test]
fn a_gap_in_a_pruned_log_is_damage() {
    let (dir, mut log, _) = history();
    log.prune_below(110).unwrap();
    drop(log);
    let left = segments(dir.path());
    fs::remove_file(&left[left.len() / 2]).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(
        matches!(error, EpochLogError::MissingSegment { .. }),
        "{error}"
    );
}

#[test]
fn nothing_is_pruned_that_no_checkpoint_in_the_log_stands_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open_small(dir.path());
    for number in 100..120 {
        log.append(&[epoch(number)]).unwrap();
    }
    log.prune_below(u64::MAX).unwrap();
    assert_eq!(read(dir.path()).unwrap().epochs.len(), 20);
    log.append(&[checkpoint(105)]).unwrap();
    log.prune_below(u64::MAX).unwrap();
    let replay = read(dir.path()).unwrap();
    assert!((101..=106).contains(&replay.epochs[0].epoch));
    drop(log);
    // A process that only read of the checkpoint knows it too.
    let (mut log, _) = open_small(dir.path());
    log.append(&[checkpoint(119)]).unwrap();
    log.prune_below(119).unwrap();
    assert!(read(dir.path()).unwrap().epochs.len() < 5);
    assert!(!segments(dir.path()).is_empty(), "the newest always stays");
}

#[test]
fn a_checkpoint_begins_a_new_segment_once_a_mebibyte_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    log.append(&[epoch(100), checkpoint(100)]).unwrap();
    log.prune_below(100).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    let blocks = (0..20_000).map(|n| intent(100, n)).collect();
    log.append(&[Entry::Intents { blocks }]).unwrap();
    log.append(&[epoch(101), checkpoint(101)]).unwrap();
    log.prune_below(100).unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    log.append(&[epoch(102), checkpoint(102)]).unwrap();
    log.prune_below(102).unwrap();
    assert_eq!(
        segments(dir.path()),
        [dir.path().join(segment::file_name(2))]
    );
}

#[test]
fn acks_of_pruned_intents_are_ignored_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open_small(dir.path());
    let blocks = vec![intent(100, 0)];
    log.append(&[epoch(100), Entry::Intents { blocks }])
        .unwrap();
    for number in 101..106 {
        log.append(&[epoch(number)]).unwrap();
    }
    let blocks = vec![ack(100, 0, 5)];
    log.append(&[Entry::Acks { blocks }, checkpoint(102)])
        .unwrap();
    log.prune_below(102).unwrap();
    let replay = read(dir.path()).unwrap();
    assert_eq!(
        (replay.epochs[0].epoch > 100, replay.blocks.len()),
        (true, 0)
    );
    // An epoch after the checkpoint is not pruned, so its intent should be there.
    let blocks = vec![ack(104, 0, 5)];
    log.append(&[Entry::Acks { blocks }]).unwrap();
    let error = read(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("up to epoch 104, which has no intent"),
        "{error}"
    );
}

#[test]
fn many_threads_append_while_the_log_is_pruned_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open_small(dir.path());
    let handle = EpochLogHandle::start(log).unwrap();
    for number in 100..200 {
        handle.append_durable(vec![epoch(number)]).unwrap();
        if number % 10 == 0 {
            handle.append_durable(vec![checkpoint(number)]).unwrap();
            handle.prune_below(number.saturating_sub(20)).unwrap();
            // Reading beside the writer never takes what is being pruned for damage.
            let replay = read(dir.path()).unwrap();
            assert_eq!(replay.epochs.last().unwrap().epoch, number);
        }
    }
    drop(handle);
    let replay = read(dir.path()).unwrap();
    assert!((150..=171).contains(&replay.epochs[0].epoch));
    assert_eq!(replay.checkpoints.last().unwrap().epoch, 190);
}

#[test]
fn a_log_of_version_1_is_read_and_goes_on_in_a_segment_of_the_new_version() {
    let recorded =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/epoch_log/version-1.log");
    let dir = tempfile::tempdir().unwrap();
    fs::copy(recorded, dir.path().join(segment::file_name(1))).unwrap();
    let old = read(dir.path()).unwrap();
    let epochs: Vec<u64> = old.epochs.iter().map(|record| record.epoch).collect();
    assert_eq!(epochs, [100, 101, 102]);
    assert_eq!((old.generation, old.blocks.len()), (2, 2));
    let (mut log, replay) = open(dir.path());
    assert_eq!(replay.generation, 3);
    log.append(&[epoch(103), checkpoint(103)]).unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    let replay = read(dir.path()).unwrap();
    assert_eq!((replay.epochs.len(), replay.checkpoints.len()), (4, 1));
    drop(log);
    // The second time nothing is old any more.
    open(dir.path());
    assert_eq!(segments(dir.path()).len(), 2);
}

/// One frame's entries; what it refers to is made to fit when the log is written.
#[derive(Clone, Debug)]
enum Step {
    Epoch,
    Intent,
    Ack,
    Checkpoint,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Epoch),
        3 => Just(Step::Intent),
        2 => Just(Step::Ack),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..12)
}

/// The bytes of a log, where its frames end, and what the log says up to each of them.
fn written(steps: &[Step]) -> (Vec<u8>, Vec<(usize, Replay)>) {
    let mut frames = vec![vec![
        new_log().unwrap().header(),
        Entry::Generation {
            generation: 1,
            by: None,
        },
    ]];
    let (mut last, mut generation) = (99, 1);
    let mut intents: Vec<Intent> = Vec::new();
    for step in steps {
        let entry = match step {
            Step::Epoch => {
                last += 1;
                epoch(last)
            }
            Step::Intent => {
                let block = intent(last, intents.len() as u16);
                intents.push(block.clone());
                let blocks = vec![block];
                Entry::Intents { blocks }
            }
            Step::Ack => {
                let blocks = intents.last().map(|block| ack(block.epoch, block.n, 5));
                let blocks = blocks.into_iter().collect();
                Entry::Acks { blocks }
            }
            Step::Checkpoint => checkpoint(last),
            Step::Reopen => {
                generation += 1;
                let by = Some("another".to_owned());
                Entry::Generation { generation, by }
            }
        };
        frames.push(vec![entry]);
    }
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let mut replay = None;
    for entries in frames {
        bytes.extend(frame::encode(&entries).unwrap());
        let mut reader = Reader::new(false);
        reader.replay = replay;
        let frame = frame::encode(&entries).unwrap();
        reader.read(Path::new("frame"), &frame, false).unwrap();
        replay = reader.replay;
        ends.push((bytes.len(), replay.clone().unwrap()));
    }
    (bytes, ends)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_log_cut_anywhere_says_what_its_whole_frames_say(steps in steps()) {
        let (bytes, ends) = written(&steps);
        for cut in 0..=bytes.len() {
            let mut reader = Reader::new(false);
            let part = reader.read(Path::new("log"), &bytes[..cut], true).unwrap();
            let whole = ends.iter().rev().find(|(end, _)| *end <= cut);
            let expected = whole.map(|(end, replay)| Replay {
                torn_bytes: (cut - end) as u64,
                ..replay.clone()
            });
            prop_assert_eq!(part.valid_bytes, whole.map_or(0, |(end, _)| *end as u64));
            prop_assert_eq!(reader.finish(Path::new("log")).unwrap(), expected);
        }
    }
}
