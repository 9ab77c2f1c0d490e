#![allow(clippy::unwrap_used)]
use super::*;
use crate::checkpoint::manifest::StateRef;
use crate::checkpoint::record::Rewrite;
use crate::checkpoint::state::KEY_GROUPS;

const SECOND_US: i64 = 1_000_000;
const NOW: i64 = 1_700_000_000_000;

fn positions(n: i32) -> Vec<Position> {
    (0..n)
        .map(|partition| Position {
            topic: "t".into(),
            topic_id: String::new(),
            partition,
            next_offset: 0,
        })
        .collect()
}

fn coordinator(partitions: i32, cut: Cut) -> Coordinator {
    let rules = TimeRules {
        max_out_of_orderness_us: 10 * SECOND_US,
        idle_timeout_us: 30 * SECOND_US,
        max_watermark_drift_us: 3_600 * SECOND_US,
    };
    let identity = Identity {
        timeline: "tl".into(),
        generation: 1,
        settings_hash: 7,
    };
    Coordinator::new(cut, rules, identity, 4, 100, positions(partitions), 1)
}

const BY_TIME: Cut = Cut::Interval {
    epoch_ms: 500,
    block_ms: 2_000,
};

fn said(slot: u32, position: i64, max_event_us: Option<i64>, idle: bool) -> PartitionReport {
    PartitionReport {
        slot,
        position,
        max_event_us,
        idle,
        ended: false,
        gaps: Vec::new(),
    }
}

fn landed(epoch: Epoch) -> Progress {
    Progress {
        landed: epoch,
        landed_whole: epoch,
        ..Progress::default()
    }
}

fn report(released: Epoch, full: bool, partitions: Vec<PartitionReport>) -> Report {
    Report {
        worker: 0,
        released,
        full,
        partitions,
        saved: None,
    }
}

fn cut(c: &mut Coordinator, now_ms: i64) -> EpochRecord {
    match c.decide(now_ms, landed(c.next_epoch - 1), &mut Vec::new(), false) {
        Some(Decision::Cut(record)) => record,
        other => panic!("expected a cut, got {other:?}"),
    }
}

#[test]
fn no_epoch_begins_while_too_much_is_on_its_way() {
    let mut c = coordinator(1, BY_TIME);
    c.report(&report(99, true, vec![said(0, 5, None, false)]));
    let full = Progress {
        is_full: true,
        ..landed(99)
    };
    assert_eq!(c.decide(NOW, full, &mut Vec::new(), false), None);
    cut(&mut c, NOW);
}

#[test]
fn the_watermark_is_the_least_of_the_partitions_that_speak() {
    let mut c = coordinator(2, BY_TIME);
    c.report(&report(
        99,
        false,
        vec![
            said(0, 5, Some(100 * SECOND_US), false),
            said(1, 9, Some(70 * SECOND_US), false),
        ],
    ));
    assert_eq!(cut(&mut c, NOW).watermark_us, 60 * SECOND_US);
}

#[test]
fn an_idle_partition_holds_nobody_back() {
    let mut c = coordinator(2, BY_TIME);
    c.report(&report(
        99,
        false,
        vec![
            said(0, 5, Some(100 * SECOND_US), false),
            said(1, 9, Some(70 * SECOND_US), true),
        ],
    ));
    let record = cut(&mut c, NOW);
    assert_eq!(record.watermark_us, 90 * SECOND_US);
    assert_eq!(record.idle, vec![1]);
}

#[test]
fn the_watermark_never_falls_when_an_idle_partition_speaks_again() {
    let mut c = coordinator(2, BY_TIME);
    c.report(&report(
        99,
        false,
        vec![
            said(0, 5, Some(100 * SECOND_US), false),
            said(1, 9, None, true),
        ],
    ));
    assert_eq!(cut(&mut c, NOW).watermark_us, 90 * SECOND_US);
    c.report(&report(
        100,
        false,
        vec![said(1, 10, Some(50 * SECOND_US), false)],
    ));
    assert_eq!(cut(&mut c, NOW + 500).watermark_us, 90 * SECOND_US);
}

#[test]
fn when_all_are_idle_the_watermark_follows_the_wall_clock() {
    let mut c = coordinator(1, BY_TIME);
    c.report(&report(99, false, vec![said(0, 0, None, true)]));
    assert_eq!(cut(&mut c, NOW).watermark_us, NOW * 1_000 - 40 * SECOND_US);
}

#[test]
fn a_partition_that_never_spoke_and_is_not_idle_holds_the_watermark() {
    let mut c = coordinator(2, BY_TIME);
    c.report(&report(
        99,
        false,
        vec![said(0, 5, Some(100 * SECOND_US), false)],
    ));
    assert_eq!(cut(&mut c, NOW).watermark_us, i64::MIN);
}

#[test]
fn epochs_come_by_the_clock_and_sooner_when_a_worker_is_full() {
    let mut c = coordinator(1, BY_TIME);
    assert_eq!(cut(&mut c, NOW).epoch, 100);
    assert_eq!(
        c.decide(NOW + 499, landed(100), &mut Vec::new(), false),
        None
    );
    c.report(&report(100, true, vec![said(0, 50, None, false)]));
    let record = cut(&mut c, NOW + 1);
    assert_eq!((record.epoch, record.positions[0].next_offset), (101, 50));
    assert_eq!(
        c.decide(NOW + 2, landed(101), &mut Vec::new(), false),
        None,
        "the same report does not cut twice"
    );
}

#[test]
fn blocks_end_every_two_seconds() {
    let mut c = coordinator(1, BY_TIME);
    let ends: Vec<bool> = (0..9)
        .map(|i| cut(&mut c, NOW + i * 500).dws_block_ends)
        .collect();
    assert_eq!(
        ends,
        [true, false, false, false, true, false, false, false, true]
    );
}

#[test]
fn nothing_is_cut_while_too_many_epochs_have_not_landed() {
    let mut c = coordinator(1, BY_TIME);
    for i in 0..4 {
        assert!(
            c.decide(NOW + i * 500, landed(99), &mut Vec::new(), false)
                .is_some()
        );
    }
    assert_eq!(
        c.decide(NOW + 5_000, landed(99), &mut Vec::new(), false),
        None
    );
    assert!(
        c.decide(NOW + 5_000, landed(100), &mut Vec::new(), false)
            .is_some()
    );
}

#[test]
fn stopping_closes_the_block_and_then_stops() {
    let mut c = coordinator(1, BY_TIME);
    cut(&mut c, NOW);
    c.report(&report(100, false, vec![said(0, 3, None, false)]));
    let Some(Decision::Cut(last)) = c.decide(NOW + 1, landed(100), &mut Vec::new(), true) else {
        panic!("one more epoch")
    };
    assert!(last.dws_block_ends && !last.end_of_input);
    assert_eq!(last.positions[0].next_offset, 3);
    assert_eq!(
        c.decide(NOW + 2, landed(101), &mut Vec::new(), true),
        Some(Decision::Stop)
    );
    assert_eq!(c.decide(NOW + 3, landed(101), &mut Vec::new(), true), None);
}

#[test]
fn a_bounded_source_is_cut_by_count_and_ends_with_the_watermark_at_the_end_of_time() {
    let mut c = coordinator(
        1,
        Cut::Count {
            epochs_per_block: 4,
        },
    );
    c.report(&report(99, false, vec![said(0, 3, None, false)]));
    assert_eq!(
        c.decide(NOW, landed(99), &mut Vec::new(), false),
        None,
        "not before the quota is read"
    );
    c.report(&report(99, true, vec![said(0, 10, None, false)]));
    let first = cut(&mut c, NOW);
    assert_eq!(first.positions[0].next_offset, 10);
    let ended = PartitionReport {
        ended: true,
        ..said(0, 12, Some(5), false)
    };
    c.report(&report(100, false, vec![ended.clone()]));
    assert!(!cut(&mut c, NOW).end_of_input);
    c.report(&report(101, false, vec![ended]));
    let last = cut(&mut c, NOW);
    assert!(last.end_of_input && last.dws_block_ends);
    assert_eq!(last.watermark_us, i64::MAX);
    assert_eq!(
        c.decide(NOW, landed(102), &mut Vec::new(), false),
        Some(Decision::Stop)
    );
}

#[test]
fn a_replay_gives_the_logged_records_before_any_new_one() {
    let mut first = coordinator(1, BY_TIME);
    first.report(&report(
        99,
        false,
        vec![said(0, 4, Some(90 * SECOND_US), false)],
    ));
    let logged = vec![cut(&mut first, NOW), cut(&mut first, NOW + 500)];
    let mut again = coordinator(1, BY_TIME).with_replay(logged.clone(), false);
    for record in logged {
        let next = again.next_epoch;
        assert_eq!(
            again.decide(NOW, landed(next - 1), &mut Vec::new(), false),
            Some(Decision::Replay(record))
        );
    }
    let record = cut(&mut again, NOW + 9_000);
    assert_eq!((record.epoch, record.positions[0].next_offset), (102, 4));
    assert_eq!(
        record.watermark_us,
        80 * SECOND_US,
        "a watermark that was reached stays"
    );
}

fn other(topic: &str, partition: i32, next_offset: i64) -> Position {
    Position {
        topic: topic.into(),
        topic_id: String::new(),
        partition,
        next_offset,
    }
}

#[test]
fn a_partition_that_is_found_takes_the_next_slot_and_begins_in_the_next_record() {
    let mut c = coordinator(2, BY_TIME);
    cut(&mut c, NOW);
    c.add(vec![other("a", 0, 3), other("t", 1, 0)]);
    let record = cut(&mut c, NOW + 500);
    let mut wanted = positions(2);
    wanted.push(other("a", 0, 3));
    assert_eq!(
        record.positions, wanted,
        "what is known already is not taken in twice"
    );
    assert_eq!(record.partition_watermarks_us.len(), 3);
    c.report(&report(101, false, vec![said(2, 8, Some(5), false)]));
    assert_eq!(cut(&mut c, NOW + 1_000).positions[2].next_offset, 8);
}

#[test]
fn a_replay_takes_in_partitions_where_its_log_has_them_and_new_ones_only_behind_it() {
    let mut first = coordinator(1, BY_TIME);
    let mut logged = vec![cut(&mut first, NOW)];
    first.add(vec![other("a", 0, 3)]);
    logged.push(cut(&mut first, NOW + 500));
    let mut again = coordinator(1, BY_TIME).with_replay(logged.clone(), false);
    again.add(vec![other("a", 0, 0), other("b", 7, 0)]);
    for record in logged {
        assert!(again.is_replaying());
        let landed = landed(again.next_epoch - 1);
        let replayed = again.decide(NOW, landed, &mut Vec::new(), false);
        assert_eq!(replayed, Some(Decision::Replay(record)));
    }
    assert!(!again.is_replaying());
    let record = cut(&mut again, NOW + 9_000);
    let wanted = [other("t", 0, 0), other("a", 0, 3), other("b", 7, 0)];
    assert_eq!(record.positions, wanted);
}

#[test]
fn a_gap_is_in_the_one_record_that_goes_beyond_it() {
    let mut c = coordinator(1, BY_TIME);
    let with_gaps = |position, gaps: &[(i64, i64)]| PartitionReport {
        gaps: gaps.to_vec(),
        ..said(0, position, None, false)
    };
    c.report(&report(99, false, vec![with_gaps(5, &[])]));
    assert!(cut(&mut c, NOW).gaps.is_empty());
    c.report(&report(
        99,
        false,
        vec![with_gaps(30, &[(5, 20), (25, 28)])],
    ));
    let record = cut(&mut c, NOW + 500);
    let gap = |from, to| Gap { slot: 0, from, to };
    assert_eq!(record.gaps, [gap(5, 20), gap(25, 28)]);
    assert_eq!(record.positions[0].next_offset, 30);
    // The report is older than the record: its worker has not released it yet.
    c.report(&report(
        100,
        false,
        vec![with_gaps(31, &[(5, 20), (25, 28)])],
    ));
    assert!(cut(&mut c, NOW + 1_000).gaps.is_empty());
}

#[test]
fn a_partition_that_is_gone_holds_nobody_back() {
    let mut c = coordinator(2, BY_TIME).without(BTreeSet::from([1]));
    c.report(&report(
        99,
        false,
        vec![said(0, 5, Some(100 * SECOND_US), false)],
    ));
    let record = cut(&mut c, NOW);
    assert_eq!(
        (record.watermark_us, record.idle),
        (90 * SECOND_US, vec![1])
    );
}

#[test]
fn a_partition_far_ahead_does_not_hold_up_the_cut_of_a_bounded_source() {
    let mut c = coordinator(
        2,
        Cut::Count {
            epochs_per_block: 4,
        },
    );
    let at =
        |slot, position, hours: i64| said(slot, position, Some(hours * 3_600 * SECOND_US), false);
    c.report(&report(99, true, vec![at(0, 10, 0), at(1, 10, 5)]));
    cut(&mut c, NOW);
    // It has nothing more to give until the other has caught up.
    c.report(&report(100, true, vec![at(0, 20, 1), at(1, 10, 5)]));
    let record = cut(&mut c, NOW);
    assert_eq!(record.positions[0].next_offset, 20);
}

/// Cuts the next epoch and says what its record tells.
fn try_cut(c: &mut Coordinator, now_ms: i64) -> Option<EpochRecord> {
    let done = landed(c.next_epoch - 1);
    match c.decide(now_ms, done, &mut Vec::new(), false) {
        Some(Decision::Cut(record)) => Some(record),
        _ => None,
    }
}

fn file(epoch: Epoch) -> StateRef {
    StateRef {
        epoch,
        worker: 0,
        path: format!("e{epoch}"),
        bytes: 100,
        crc32c: 0,
        rewritten_bytes: 50,
        operators: std::collections::BTreeMap::new(),
    }
}

const ALL: Rewrite = Rewrite {
    from: 0,
    to: KEY_GROUPS,
};

#[test]
fn a_checkpoint_is_complete_with_all_files_and_all_rows_and_none_is_begun_before() {
    let mut c = coordinator(1, BY_TIME).with_checkpoints(CheckpointRule::Interval(1_000));
    c.report(&report(99, false, vec![said(0, 5, None, false)]));
    let first = try_cut(&mut c, NOW).unwrap();
    assert_eq!(first.checkpoint, Some(ALL), "the first one rewrites all");
    for i in 1..=8 {
        let record = try_cut(&mut c, NOW + i * 500).unwrap();
        assert_eq!(record.checkpoint, None, "one is pending");
    }
    let mut said_file = report(108, false, vec![said(0, 5, None, false)]);
    said_file.saved = Some(file(100));
    c.report(&said_file);
    let mut progress = Progress {
        landed: 108,
        landed_whole: 99,
        ..Progress::default()
    };
    let mut decide = |progress| c.decide(NOW + 4_100, progress, &mut Vec::new(), false);
    assert_eq!(decide(progress), None, "its rows have not all landed");
    progress.landed_whole = 100;
    let Some(Decision::Checkpoint(record, layer)) = decide(progress) else {
        panic!("it is complete");
    };
    assert_eq!((record.epoch, layer.files.len()), (100, 1));
    assert_eq!(decide(progress), None, "it is told once");
    progress.published = 100;
    assert_eq!(decide(progress), None);
    let next = (9..20).find_map(|i| try_cut(&mut c, NOW + i * 500)?.checkpoint);
    assert_eq!(
        next,
        Some(Rewrite { from: 0, to: 1024 }),
        "50 bytes of changes for 50 rewritten"
    );
}

#[test]
fn a_savepoint_rewrites_all_at_once_and_ends_the_run_where_that_was_asked() {
    for stop in [false, true] {
        let mut c = coordinator(1, BY_TIME).with_checkpoints(CheckpointRule::Interval(60_000));
        c.report(&report(99, false, vec![said(0, 5, None, false)]));
        let first = try_cut(&mut c, NOW).unwrap().epoch;
        let mut saved = report(first, false, vec![said(0, 5, None, false)]);
        saved.saved = Some(file(first));
        c.report(&saved);
        let mut done = landed(first);
        assert!(matches!(
            c.decide(NOW + 1, done, &mut Vec::new(), false),
            Some(Decision::Checkpoint(..))
        ));
        c.make_savepoint(stop);
        assert_eq!(
            c.decide(NOW + 2, done, &mut Vec::new(), false),
            None,
            "one is pending"
        );
        done.published = first;
        let Some(Decision::Cut(record)) = c.decide(NOW + 3, done, &mut Vec::new(), false) else {
            panic!("no epoch for the savepoint");
        };
        assert_eq!(
            (record.checkpoint, record.dws_block_ends),
            (Some(ALL), true)
        );
        (done.landed, done.landed_whole) = (record.epoch, record.epoch);
        assert_eq!(
            c.decide(NOW + 4, done, &mut Vec::new(), false),
            None,
            "its file is missing"
        );
        done.published = record.epoch;
        let next = c.decide(NOW + 5, done, &mut Vec::new(), false);
        assert_eq!(next, stop.then_some(Decision::Stop));
    }
}

#[test]
fn only_the_first_new_epoch_of_a_fork_tells_all() {
    let mut c = coordinator(1, BY_TIME).telling_all(true);
    c.report(&report(99, false, vec![said(0, 5, None, false)]));
    let told = |record: EpochRecord| (record.tells_all, record.dws_block_ends);
    assert_eq!(try_cut(&mut c, NOW).map(told), Some((true, true)));
    assert_eq!(try_cut(&mut c, NOW + 500).map(told), Some((false, false)));
}
