//! Taking an object log from others, and what races do to it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::super::place::entries_of;
use super::super::tests::{ack, checkpoint, epoch, intent, new_log};
use super::super::{EpochLog, EpochLogHandle};
use super::*;

/// A store of its own for each test.
fn store(name: &str) -> Store {
    Store::open(&format!("memory:epoch-log-{name}")).unwrap()
}

fn open(store: &Store) -> (EpochLog, Replay) {
    try_open(store).unwrap()
}

fn try_open(store: &Store) -> Result<(EpochLog, Replay), EpochLogError> {
    EpochLog::open_in(store, "00000001/log", None, new_log)
}

fn place(store: &Store) -> Place {
    Place::new(store, "00000001/log")
}

fn replay(store: &Store) -> Replay {
    read(store, "00000001/log").unwrap().unwrap()
}

fn epochs(replay: &Replay) -> Vec<u64> {
    replay.epochs.iter().map(|record| record.epoch).collect()
}

fn assert_fenced(result: Result<(), EpochLogError>, ours: u64, theirs: u64) {
    let error = result.unwrap_err();
    let said = error.to_string();
    match error {
        EpochLogError::Fenced {
            ours: our,
            theirs: their,
            ..
        } => assert_eq!((our, their), (ours, theirs), "{said}"),
        _ => panic!("{said}"),
    }
    let who = format!("belongs to process {} on ", std::process::id());
    assert!(said.contains(&who), "{said}");
}

/// Waits until so many objects are left.
fn wait_for_objects(store: &Store, left: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let numbers = place(store).numbers().unwrap();
        if numbers.len() <= left {
            return assert_eq!(numbers.len(), left, "{numbers:?}");
        }
        assert!(
            Instant::now() < deadline,
            "not pruned to {left}: {numbers:?}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_appended_is_replayed() {
    let store = store("replay");
    let (mut log, first) = open(&store);
    assert!(first.fresh);
    assert_eq!((first.generation, first.first_epoch), (1, 100));
    log.append(&[epoch(100)]).unwrap();
    let blocks = vec![intent(100, 0), intent(100, 1)];
    log.append(&[Entry::Intents { blocks }, epoch(101)])
        .unwrap();
    let blocks = vec![ack(100, 0, 5)];
    log.append(&[Entry::Acks { blocks }]).unwrap();
    assert_eq!(place(&store).numbers().unwrap(), [0, 1, 2, 3]);

    let (log, second) = open(&store);
    assert!(!second.fresh);
    assert_eq!((second.generation, log.generation()), (2, 2));
    assert_eq!(epochs(&second), [100, 101]);
    assert_eq!(second.settings["sink_shards"], "2");
    let acked: Vec<_> = second.blocks.values().map(|block| block.acked_ms).collect();
    assert_eq!(acked, [Some(5), None]);
    assert_eq!(replay(&store).blocks, second.blocks);
}

#[test]
fn a_process_that_was_taken_over_from_stops_at_its_next_append_and_says_by_whom() {
    let store = store("fenced");
    let (mut old, _) = open(&store);
    old.append(&[epoch(100)]).unwrap();
    let (mut new, _) = open(&store);
    assert_fenced(old.append(&[epoch(101)]), 1, 2);
    // Even where the newer one has written on.
    new.append(&[epoch(101)]).unwrap();
    new.append(&[epoch(102)]).unwrap();
    assert_fenced(old.append(&[epoch(101)]), 1, 2);
    assert_eq!(epochs(&replay(&store)), [100, 101, 102]);
}

#[test]
fn a_fenced_handle_answers_all_who_wait_with_the_reason() {
    let store = store("handle");
    let (old, _) = open(&store);
    let handle = EpochLogHandle::start(old).unwrap();
    handle.append_durable(vec![epoch(100)]).unwrap();
    let (_new, _) = open(&store);
    let error = handle
        .append_durable(vec![epoch(101)])
        .unwrap_err()
        .to_string();
    assert!(error.contains("generation 2"), "{error}");
    assert!(handle.append_durable(vec![epoch(101)]).is_err());
}

#[test]
fn what_an_older_process_appends_after_it_was_read_is_taken_in() {
    let store = store("adopt");
    let (mut old, _) = open(&store);
    old.append(&[epoch(100)]).unwrap();
    let place = place(&store);
    let mut log = place.read().unwrap();
    old.append(&[epoch(101)]).unwrap();
    old.append(&[epoch(102)]).unwrap();
    let taken = place.take(&mut log, None, "the new one").unwrap().unwrap();
    assert_eq!(epochs(&taken), [100, 101, 102]);
    assert_eq!((taken.generation, log.next), (2, 5));
    assert!(old.append(&[epoch(103)]).is_err());
}

#[test]
fn of_two_that_start_at_once_one_has_the_log_and_the_other_stops() {
    // With a log that is there, and with one that is not.
    for (name, exists) in [("starters", true), ("first-starters", false)] {
        let store = store(name);
        if exists {
            open(&store).0.append(&[epoch(100)]).unwrap();
        }
        let place = place(&store);
        let (mut one, mut two) = (place.read().unwrap(), place.read().unwrap());
        let minted = new_log().unwrap();
        let won = place.take(&mut one, Some(&minted), "one").unwrap().unwrap();
        let lost = place.take(&mut two, Some(&minted), "two").unwrap_err();
        let (said, generation) = (lost.to_string(), won.generation);
        assert!(matches!(lost, EpochLogError::Fenced { .. }), "{said}");
        let expected = format!("belongs to one, of generation {generation}");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn a_starter_so_slow_that_its_number_was_pruned_takes_nothing() {
    let store = store("slow");
    let (mut live, _) = open(&store);
    live.append(&[epoch(100)]).unwrap();
    let place = place(&store);
    let mut slow = place.read().unwrap();
    for number in 101..110 {
        live.append(&[epoch(number)]).unwrap();
    }
    live.append(&[checkpoint(108)]).unwrap();
    live.prune_below(108).unwrap();
    // The opener, epoch 109 and the checkpoint.
    wait_for_objects(&store, 3);
    assert!(
        place
            .take(&mut slow, None, "the slow one")
            .unwrap()
            .is_none()
    );
    // Its stray opener harms nobody.
    live.append(&[epoch(110)]).unwrap();
    assert_eq!(epochs(&replay(&store)), [109, 110]);
    // Begun again it takes the log, above the generation that the stray one tells.
    let (mut new, taken) = open(&store);
    assert_eq!((epochs(&taken), taken.generation), (vec![109, 110], 3));
    assert_fenced(live.append(&[epoch(111)]), 1, 3);
    new.append(&[epoch(111)]).unwrap();
    assert_eq!(epochs(&replay(&store)), [109, 110, 111]);
}

#[test]
fn a_late_append_finds_no_pruned_number_free() {
    let store = store("late");
    let (mut zombie, _) = open(&store);
    zombie.append(&[epoch(100)]).unwrap();
    let (mut live, _) = open(&store);
    for number in 101..110 {
        live.append(&[epoch(number)]).unwrap();
    }
    live.append(&[checkpoint(109)]).unwrap();
    live.prune_below(109).unwrap();
    // Two openers and the checkpoint.
    wait_for_objects(&store, 3);
    assert_fenced(zombie.append(&[epoch(101)]), 1, 2);
    drop(live);
    let (_, taken) = open(&store);
    assert_eq!((taken.generation, taken.checkpoints.len()), (3, 1));
}

#[test]
fn a_crash_in_the_middle_of_pruning_leaves_a_log_that_reads_the_same() {
    let store = store("crash");
    let (mut log, _) = open(&store);
    for number in 100..120 {
        let blocks = vec![intent(number, 0)];
        log.append(&[epoch(number), Entry::Intents { blocks }])
            .unwrap();
        if number > 100 {
            let blocks = vec![ack(number - 1, 0, 5)];
            log.append(&[Entry::Acks { blocks }]).unwrap();
        }
    }
    log.append(&[checkpoint(110), checkpoint(115)]).unwrap();
    let whole = replay(&store);
    for number in place(&store).numbers().unwrap().into_iter().skip(1) {
        let now = replay(&store);
        let after = |replay: &Replay| {
            let blocks = replay.blocks.iter().filter(|(id, _)| id.epoch > 110);
            let blocks = blocks.map(|(id, block)| (id.clone(), block.acked_ms));
            let mut epochs = epochs(replay);
            epochs.retain(|epoch| *epoch > 110);
            (
                epochs,
                blocks.collect::<Vec<_>>(),
                replay.checkpoints.clone(),
            )
        };
        assert_eq!(after(&now), after(&whole), "before {number} went");
        let path = place(&store).path_of(number);
        let bytes = store.get(&path).unwrap().unwrap();
        let holds_111 = (entries_of(&bytes).unwrap().iter())
            .any(|entry| matches!(entry, Entry::Epoch(record) if record.epoch == 111));
        if holds_111 {
            return;
        }
        store.delete(&path).unwrap();
    }
    panic!("epoch 111 was not found");
}

#[test]
fn gaps_and_damage_are_refused() {
    let store = store("damage");
    let (mut log, _) = open(&store);
    for number in 100..110 {
        log.append(&[epoch(number)]).unwrap();
    }
    let place = place(&store);
    let bytes = place.get(5).unwrap().unwrap();
    store.delete(&place.path_of(5)).unwrap();
    let error = try_open(&store).unwrap_err();
    assert!(
        matches!(error, EpochLogError::MissingSegment { .. }),
        "{error}"
    );
    for damaged in [&bytes[..bytes.len() - 1], b"", &bytes[1..]] {
        store.put_new(&place.path_of(5), damaged).unwrap();
        let error = try_open(&store).unwrap_err();
        assert!(matches!(error, EpochLogError::Damaged { .. }), "{error}");
        store.delete(&place.path_of(5)).unwrap();
    }
    // A beginning that no checkpoint stands for.
    for number in 1..=5 {
        store.delete(&place.path_of(number)).unwrap();
    }
    let error = try_open(&store).unwrap_err();
    assert!(matches!(error, EpochLogError::NoBeginning(_)), "{error}");
    assert_eq!(
        place.numbers().unwrap().len(),
        6,
        "a refused log is left as it is"
    );
}

#[test]
fn a_store_that_overwrites_is_found_out() {
    let store = store("overwrites");
    let (mut log, _) = open(&store);
    log.append(&[epoch(100)]).unwrap();
    let stray = frame::encode(&[Entry::Generation {
        generation: 0,
        by: None,
    }]);
    store
        .put_new(&place(&store).path_of(2), &stray.unwrap())
        .unwrap();
    let error = log.append(&[epoch(101)]).unwrap_err();
    assert!(matches!(error, EpochLogError::NotKept { .. }), "{error}");
}

#[test]
fn a_sealed_log_is_written_to_by_nobody() {
    let store = store("sealed");
    seal(&store, "00000001/log").unwrap();
    let (mut log, _) = open(&store);
    log.append(&[epoch(100)]).unwrap();
    seal(&store, "00000001/log").unwrap();
    assert_fenced(log.append(&[epoch(101)]), 1, 2);
    assert_eq!(epochs(&replay(&store)), [100]);
}

/// Takes the log again and again, each time cutting epochs after the last one that it finds, until it is fenced.
fn take_and_write(store: &Store, name: usize, written: &Mutex<BTreeMap<u64, Vec<usize>>>) {
    let mut taken = 0;
    for _ in 0..200 {
        let (mut log, replay) = match try_open(store) {
            Ok(opened) => opened,
            Err(EpochLogError::Fenced { .. } | EpochLogError::Failed(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        let last = replay.epochs.last().map(|record| record.epoch);
        let first = (last.max(replay.newest_checkpoint())).map_or(100, |last| last + 1);
        for next in first..first + 20 {
            match log.append(&[epoch(next)]) {
                Ok(()) => {
                    let mut written = written.lock().unwrap();
                    written.entry(next).or_default().push(name);
                }
                Err(EpochLogError::Fenced { .. }) => break,
                Err(error) => panic!("{error}"),
            }
            if next.is_multiple_of(5) && log.append(&[checkpoint(next)]).is_ok() {
                log.prune_below(next).unwrap();
            }
        }
        taken += 1;
        if taken == 10 {
            return;
        }
    }
}

#[test]
fn writers_that_race_for_a_log_never_write_one_epoch_twice_nor_leave_one_out() {
    let store = store("race");
    let written = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for name in 0..4 {
            let (store, written) = (&store, &written);
            scope.spawn(move || take_and_write(store, name, written));
        }
    });
    let written = written.into_inner().unwrap();
    // Whoever took the log last was not fenced any more.
    assert!(written.len() >= 20);
    for (place, (epoch, writers)) in written.iter().enumerate() {
        assert_eq!(*epoch, 100 + place as u64, "no epoch is left out");
        assert_eq!(writers.len(), 1, "epoch {epoch} by {writers:?}");
    }
    let replay = replay(&store);
    let last = (replay.epochs.last().map(|record| record.epoch)).max(replay.newest_checkpoint());
    assert_eq!(last, written.keys().next_back().copied());
}
