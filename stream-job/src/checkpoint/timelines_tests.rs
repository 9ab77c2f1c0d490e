#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::checkpoint::record::{Entry, Intent};

fn mint() -> std::io::Result<NewLog> {
    NewLog::mint(Vec::new(), BTreeMap::new())
}

fn entry(epoch: u64) -> Entry {
    Entry::Intents {
        blocks: vec![Intent {
            table: "dwd_span".to_owned(),
            shard: 0,
            epoch,
            n: 0,
            rows: 1,
            hash: "00ff".to_owned(),
        }],
    }
}

/// A local store and one in memory.
fn stores(name: &str) -> (tempfile::TempDir, [Store; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let local = Store::open_dir(&dir.path().join("state")).unwrap();
    let memory = Store::open(&format!("memory:timelines-{name}")).unwrap();
    (dir, [local, memory])
}

fn start(store: &Store) -> (EpochLog, Replay, Timeline) {
    let timelines = Timelines::open(store.clone()).unwrap();
    timelines.open_log(mint).unwrap()
}

fn start_anew(store: &Store) -> (EpochLog, Replay, Timeline) {
    let mut timelines = Timelines::open(store.clone()).unwrap();
    timelines.begin(&mint().unwrap()).unwrap();
    timelines.open_log(mint).unwrap()
}

#[test]
fn the_first_start_begins_a_timeline_and_the_next_goes_on_with_it() {
    let (_dir, stores) = stores("first");
    for store in stores {
        let (mut log, first, timeline) = start(&store);
        assert!(first.fresh);
        assert_eq!((timeline.number, &timeline.timeline), (1, &first.timeline));
        assert_eq!(timeline.log_folder(), "00000001/log");
        log.append(&[entry(1)]).unwrap();
        drop(log);
        let (_log, second, again) = start(&store);
        assert_eq!((second.fresh, second.generation), (false, 2));
        assert_eq!(second.blocks.len(), 1);
        assert_eq!(again, timeline);
    }
}

#[test]
fn a_new_timeline_is_the_next_number_and_leaves_the_old_one_as_it_is() {
    let (_dir, stores) = stores("next");
    for store in stores {
        let (mut log, old, _) = start(&store);
        log.append(&[entry(1)]).unwrap();
        drop(log);
        let before = store.list("00000001").unwrap();
        let (_log, new, timeline) = start_anew(&store);
        assert!(new.fresh && new.blocks.is_empty() && new.timeline != old.timeline);
        assert_eq!(timeline.number, 2);
        let after = store.list("00000001").unwrap();
        // An object log gets one entry more, which makes its last writer stop.
        let sealed = usize::from(store.local_dir().is_none());
        assert_eq!(after[..before.len()], before[..]);
        assert_eq!(after.len(), before.len() + sealed);
        let kept = epoch_log::read_in(&store, "00000001/log").unwrap();
        assert_eq!(kept.blocks.len(), 1);
    }
}

#[test]
fn a_timeline_whose_log_was_not_begun_is_begun_as_it_was_told() {
    let (_dir, stores) = stores("crash");
    for store in stores {
        let forked = NewLog {
            first_epoch: 77,
            forked_from: Some(ForkPoint {
                timeline: "t0".to_owned(),
                epoch: 70,
            }),
            ..mint().unwrap()
        };
        let mut timelines = Timelines::open(store.clone()).unwrap();
        timelines.begin(&forked).unwrap();
        // The process dies here.
        drop(timelines);
        let (_log, replay, timeline) = start(&store);
        assert!(replay.fresh);
        assert_eq!((replay.timeline, replay.first_epoch), (forked.timeline, 77));
        assert_eq!(replay.forked_from, forked.forked_from);
        assert_eq!(timeline.forked_from, forked.forked_from);
    }
}

#[test]
fn one_process_leads_a_folder_from_the_start_to_the_end_of_its_log() {
    let (_dir, [store, _]) = stores("lock");
    let timelines = Timelines::open(store.clone()).unwrap();
    let refused = || Timelines::open(store.clone()).unwrap_err().to_string();
    assert!(refused().contains("in use by process"), "{}", refused());
    let (log, ..) = timelines.open_log(mint).unwrap();
    assert!(refused().contains("in use by process"), "{}", refused());
    drop(log);
    Timelines::open(store.clone()).unwrap();
}

#[test]
fn what_a_crash_left_unfinished_in_a_folder_is_deleted_at_the_next_start() {
    let (_dir, [store, _]) = stores("sweep");
    let torn = store.local_dir().unwrap().join(".9-0.tmp");
    fs::write(&torn, b"ha").unwrap();
    start(&store);
    assert!(!torn.exists());
}

#[test]
fn a_new_timeline_makes_who_writes_to_the_old_one_stop() {
    let (_dir, [_, store]) = stores("fence");
    let (mut old, ..) = start(&store);
    let (mut new, ..) = start_anew(&store);
    let error = old.append(&[entry(1)]).unwrap_err();
    assert!(matches!(error, EpochLogError::Fenced { .. }), "{error}");
    new.append(&[entry(1)]).unwrap();
}

#[test]
fn a_start_that_another_one_overtakes_with_a_new_timeline_stops() {
    let (_dir, [_, store]) = stores("overtaken");
    start(&store);
    let slow = Timelines::open(store.clone()).unwrap();
    let mut slow_to_begin = Timelines::open(store.clone()).unwrap();
    let (mut new, ..) = start_anew(&store);
    let error = slow.open_log(mint).unwrap_err();
    assert!(
        matches!(error, TimelineError::Overtaken { number: 2, .. }),
        "{error}"
    );
    let error = slow_to_begin.begin(&mint().unwrap()).unwrap_err();
    assert!(
        matches!(error, TimelineError::Overtaken { number: 2, .. }),
        "{error}"
    );
    new.append(&[entry(1)]).unwrap();
}

#[test]
fn the_layout_of_earlier_versions_is_refused_with_what_to_do() {
    let (_dir, [store, _]) = stores("old");
    fs::write(store.local_dir().unwrap().join("epochs-00000001.log"), b"").unwrap();
    let error = Timelines::open(store).unwrap_err().to_string();
    assert!(error.contains("empty state_dir"), "{error}");
}

#[test]
fn a_damaged_entry_and_a_log_of_another_timeline_are_refused() {
    let (_dir, stores) = stores("damaged");
    for store in stores {
        let (log, ..) = start(&store);
        drop(log);
        store.delete("timelines/00000001.json").unwrap();
        Timelines::open(store.clone())
            .unwrap()
            .begin(&mint().unwrap())
            .unwrap();
        let error = Timelines::open(store.clone())
            .unwrap()
            .open_log(mint)
            .unwrap_err();
        assert!(error.to_string().contains("is the log of"), "{error}");
        store.put_new("timelines/00000002.json", b"{").unwrap();
        let error = Timelines::open(store).unwrap_err().to_string();
        assert!(error.contains("timelines/00000002.json"), "{error}");
    }
}

#[test]
fn a_log_is_read_by_the_store_its_folder_or_a_segment() {
    let (_dir, [local, memory]) = stores("read");
    for store in [&local, &memory] {
        start(store);
        let (mut log, ..) = start_anew(store);
        log.append(&[entry(1)]).unwrap();
    }
    let dir = local.local_dir().unwrap();
    for place in [
        dir.to_path_buf(),
        dir.join("00000002/log"),
        dir.join("00000002/log/epochs-00000001.log"),
        PathBuf::from(format!("file://{}", dir.display())),
        PathBuf::from("memory:timelines-read"),
    ] {
        assert_eq!(read(&place).unwrap().blocks.len(), 1, "{}", place.display());
    }
    assert!(read(&dir.join("00000001")).is_err());
    let error = read(&dir.join("gone")).unwrap_err().to_string();
    assert!(error.contains("gone"), "{error}");
}
