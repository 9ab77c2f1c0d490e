#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::checkpoint::record::{Ack, EpochRecord, ForkPoint, Intent, Position, Rewrite};

pub(super) fn new_log() -> std::io::Result<NewLog> {
    Ok(NewLog {
        timeline: "t1".to_owned(),
        positions: Vec::new(),
        first_epoch: 100,
        settings: BTreeMap::from([("sink_shards".to_owned(), "2".to_owned())]),
        forked_from: None,
    })
}

pub(super) fn open(dir: &Path) -> (EpochLog, Replay) {
    EpochLog::open(dir, new_log).unwrap()
}

pub(super) fn epoch(epoch: u64) -> Entry {
    Entry::Epoch(EpochRecord {
        epoch,
        timeline: "t1".to_owned(),
        generation: 1,
        positions: vec![Position {
            topic: "otlp_spans".to_owned(),
            topic_id: "id".to_owned(),
            partition: 0,
            next_offset: 17,
        }],
        watermark_us: 1_700_000_000_000_000,
        partition_watermarks_us: vec![1],
        idle: vec![0],
        gaps: Vec::new(),
        wall_ms: 1_700_000_000_000,
        dws_block_ends: true,
        ack_times: Vec::new(),
        settings_hash: 1,
        code_version: "v".to_owned(),
        end_of_input: false,
        checkpoint: None,
        tells_all: false,
    })
}

pub(super) fn intent(epoch: u64, n: u16) -> Intent {
    Intent {
        table: "dwd_span".to_owned(),
        shard: 1,
        epoch,
        n,
        rows: 3,
        hash: "00ff".to_owned(),
    }
}

pub(super) fn ack(epoch: u64, n: u16, acked_ms: i64) -> Ack {
    Ack {
        table: "dwd_span".to_owned(),
        shard: 1,
        epoch,
        n,
        acked_ms,
    }
}

pub(super) fn checkpoint(epoch: u64) -> Entry {
    Entry::Checkpoint {
        epoch,
        manifest: format!("00000001/checkpoints/{epoch:020}-g1.json"),
        crc32c: 0xff,
        bytes: 1000,
    }
}

fn first_segment(dir: &Path) -> PathBuf {
    dir.join("epochs-00000001.log")
}

#[test]
fn what_was_appended_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, replay) = open(dir.path());
    assert!(replay.fresh);
    assert_eq!((replay.generation, replay.first_epoch), (1, 100));
    log.append(&[epoch(100)]).unwrap();
    let blocks = vec![intent(100, 0), intent(100, 1)];
    log.append(&[Entry::Intents { blocks }, epoch(101)])
        .unwrap();
    let blocks = vec![ack(100, 0, 5)];
    log.append(&[Entry::Acks { blocks }]).unwrap();
    drop(log);

    let (_log, replay) = open(dir.path());
    assert!(!replay.fresh);
    assert_eq!(replay.generation, 2);
    assert_eq!(replay.settings["sink_shards"], "2");
    let epochs: Vec<u64> = replay.epochs.iter().map(|record| record.epoch).collect();
    assert_eq!(epochs, [100, 101]);
    let acked: Vec<_> = replay
        .blocks
        .values()
        .map(|block| (block.place, block.acked_ms))
        .collect();
    assert_eq!(acked, [(0, Some(5)), (1, None)]);
    assert_eq!(replay.intents["dwd_span"], 2);
    assert_eq!(replay.torn_bytes, 0);
}

#[test]
fn a_torn_last_frame_is_cut_off_wherever_it_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    log.append(&[epoch(100)]).unwrap();
    let whole = log.segment().bytes();
    log.append(&[epoch(101)]).unwrap();
    drop(log);
    let file = first_segment(dir.path());
    let bytes = fs::read(&file).unwrap();
    let start = whole as usize;
    for end in start + 1..bytes.len() {
        fs::write(&file, &bytes[..end]).unwrap();
        let replay = read(dir.path()).unwrap();
        assert_eq!(replay.epochs.len(), 1, "cut to {end}");
        assert_eq!(replay.torn_bytes as usize, end - start);
    }
    // A file that was made longer before its data came: zeros.
    let mut zeros = bytes[..start].to_vec();
    zeros.resize(bytes.len(), 0);
    fs::write(&file, zeros).unwrap();

    let (mut log, replay) = open(dir.path());
    assert_eq!(replay.epochs.len(), 1);
    assert_eq!(replay.torn_bytes as usize, bytes.len() - start);
    log.append(&[epoch(101)]).unwrap();
    drop(log);
    assert_eq!(read(dir.path()).unwrap().epochs.len(), 2);
}

#[test]
fn damage_before_the_last_frame_is_refused_with_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    let at = log.segment().bytes();
    log.append(&[epoch(100)]).unwrap();
    log.append(&[epoch(101)]).unwrap();
    drop(log);
    let file = first_segment(dir.path());
    let bytes = fs::read(&file).unwrap();
    // In the length (too long, zero), in the checksum, in the body.
    for (place, value) in [(3, 0x7f), (2, 1), (0, 0), (5, 0xaa), (60, b'#')] {
        let mut damaged = bytes.clone();
        damaged[at as usize + place] = value;
        assert_ne!(damaged, bytes);
        fs::write(&file, &damaged).unwrap();
        match EpochLog::open(dir.path(), new_log) {
            Err(EpochLogError::Damaged {
                at: found,
                file: named,
                ..
            }) => {
                assert_eq!((found, &named), (at, &file));
            }
            other => panic!("byte {place}: {other:?}"),
        }
        assert_eq!(
            fs::read(&file).unwrap(),
            damaged,
            "a refused log is left as it is"
        );
    }
}

#[test]
fn a_second_process_is_told_who_holds_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let error = EpochLog::open(dir.path(), new_log).unwrap_err().to_string();
    assert!(
        error.contains(&format!("in use by process {}", std::process::id())),
        "{error}"
    );
    drop(log);
    open(dir.path());
}

#[test]
fn a_log_goes_on_over_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = EpochLog::open_with_segments_of(dir.path(), new_log, 1000).unwrap();
    for number in 100..120 {
        log.append(&[epoch(number)]).unwrap();
    }
    let last = log.segment().number();
    assert!(last > 3);
    drop(log);
    // A crash right after a segment was made leaves it empty.
    fs::write(dir.path().join(segment::file_name(last + 1)), b"").unwrap();
    let (mut log, replay) = open(dir.path());
    assert_eq!(replay.epochs.len(), 20);
    log.append(&[epoch(120)]).unwrap();
    drop(log);
    assert_eq!(read(dir.path()).unwrap().epochs.len(), 21);

    fs::remove_file(dir.path().join(segment::file_name(3))).unwrap();
    let error = read(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("lacks segment epochs-00000003.log"),
        "{error}"
    );
}

#[test]
fn contradictions_are_refused() {
    let cases: [(&str, Vec<Entry>); 5] = [
        (
            "a checkpoint of epoch 101, which was not cut",
            vec![epoch(100), checkpoint(101)],
        ),
        ("epoch 100 after epoch 100", vec![epoch(100), epoch(100)]),
        (
            "has no intent",
            vec![Entry::Acks {
                blocks: vec![ack(100, 0, 1)],
            }],
        ),
        (
            "a second intent",
            vec![Entry::Intents {
                blocks: vec![intent(1, 0), intent(1, 0)],
            }],
        ),
        (
            "generation 0 after generation 1",
            vec![Entry::Generation {
                generation: 0,
                by: None,
            }],
        ),
    ];
    for (expected, entries) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        log.append(&entries).unwrap();
        drop(log);
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn concurrent_callers_share_syncs_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let handle = EpochLogHandle::start(log).unwrap();
    let callers: Vec<_> = (0..8_u64)
        .map(|caller| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                for n in 0..5 {
                    let blocks = vec![intent(caller, n)];
                    handle
                        .append_durable(vec![Entry::Intents { blocks }])
                        .unwrap();
                }
            })
        })
        .collect();
    callers
        .into_iter()
        .for_each(|caller| caller.join().unwrap());
    handle
        .append_later(vec![Entry::Acks {
            blocks: vec![ack(3, 3, 9)],
        }])
        .unwrap();
    drop(handle);
    let replay = read(dir.path()).unwrap();
    assert_eq!(replay.blocks.len(), 40);
    assert_eq!(
        replay
            .blocks
            .values()
            .filter(|block| block.acked_ms == Some(9))
            .count(),
        1
    );
    // The last handle gave the lock back.
    open(dir.path());
}

#[test]
fn a_log_prints_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    log.append(&[
        epoch(100),
        Entry::Intents {
            blocks: vec![intent(100, 0)],
        },
    ])
    .unwrap();
    let Entry::Epoch(mut record) = epoch(101) else {
        unreachable!();
    };
    record.checkpoint = Some(Rewrite { from: 0, to: 1024 });
    log.append(&[Entry::Epoch(record), checkpoint(101)])
        .unwrap();
    let mut replay = read(dir.path()).unwrap();
    replay.forked_from = Some(ForkPoint {
        timeline: "t0".to_owned(),
        epoch: 99,
    });
    let mut out = Vec::new();
    print(&replay, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("epoch 100 · wall 2023-11-14 22:13:20.000"),
        "{text}"
    );
    assert!(text.contains("otlp_spans/0@17 idle"), "{text}");
    for expected in [
        "forked from timeline t0 after epoch 99",
        &format!("written by process {}", std::process::id()),
        "checkpoint, whole groups 0..1024",
        "checkpoint of epoch 101 · 00000001/checkpoints/00000000000000000101-g1.json, 1000 bytes, CRC-32C 000000ff",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(
        text.contains("not acknowledged: block 0 of dwd_span, shard 1, up to epoch 100"),
        "{text}"
    );
}

#[test]
fn a_minted_timeline_is_new_and_starts_now() {
    let (one, two) = (
        NewLog::mint(Vec::new(), BTreeMap::new()).unwrap(),
        NewLog::mint(Vec::new(), BTreeMap::new()).unwrap(),
    );
    assert_ne!(one.timeline, two.timeline);
    assert!(one.first_epoch > 1_700_000_000_000);
    assert_eq!(one.timeline.len(), 16);
}
