#![allow(clippy::unwrap_used)]
use super::*;

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
    }
}

fn report(released: Epoch, full: bool, partitions: Vec<PartitionReport>) -> Report {
    Report {
        worker: 0,
        released,
        full,
        partitions,
    }
}

fn cut(c: &mut Coordinator, now_ms: i64) -> EpochRecord {
    match c.decide(now_ms, c.next_epoch - 1, &mut Vec::new(), false) {
        Some(Decision::Cut(record)) => record,
        other => panic!("expected a cut, got {other:?}"),
    }
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
    assert_eq!(c.decide(NOW + 499, 100, &mut Vec::new(), false), None);
    c.report(&report(100, true, vec![said(0, 50, None, false)]));
    let record = cut(&mut c, NOW + 1);
    assert_eq!((record.epoch, record.positions[0].next_offset), (101, 50));
    assert_eq!(
        c.decide(NOW + 2, 101, &mut Vec::new(), false),
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
            c.decide(NOW + i * 500, 99, &mut Vec::new(), false)
                .is_some()
        );
    }
    assert_eq!(c.decide(NOW + 5_000, 99, &mut Vec::new(), false), None);
    assert!(c.decide(NOW + 5_000, 100, &mut Vec::new(), false).is_some());
}

#[test]
fn stopping_closes_the_block_and_then_stops() {
    let mut c = coordinator(1, BY_TIME);
    cut(&mut c, NOW);
    c.report(&report(100, false, vec![said(0, 3, None, false)]));
    let Some(Decision::Cut(last)) = c.decide(NOW + 1, 100, &mut Vec::new(), true) else {
        panic!("one more epoch")
    };
    assert!(last.dws_block_ends && !last.end_of_input);
    assert_eq!(last.positions[0].next_offset, 3);
    assert_eq!(
        c.decide(NOW + 2, 101, &mut Vec::new(), true),
        Some(Decision::Stop)
    );
    assert_eq!(c.decide(NOW + 3, 101, &mut Vec::new(), true), None);
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
        c.decide(NOW, 99, &mut Vec::new(), false),
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
        c.decide(NOW, 102, &mut Vec::new(), false),
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
            again.decide(NOW, next - 1, &mut Vec::new(), false),
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
