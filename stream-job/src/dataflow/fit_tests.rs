#![allow(clippy::unwrap_used)]
use super::super::fixtures;
use super::*;
use crate::checkpoint::record::{EpochRecord, Gap};

fn position(partition: i32, topic_id: &str, next_offset: i64) -> Position {
    Position {
        topic: "otlp_spans".to_owned(),
        topic_id: topic_id.to_owned(),
        partition,
        next_offset,
    }
}

fn found(partition: i32, topic_id: &str, offsets: std::ops::Range<i64>) -> Found {
    Found {
        earliest: position(partition, topic_id, offsets.start),
        end_offset: offsets.end,
    }
}

fn epoch(epoch: u64, positions: Vec<Position>, gaps: Vec<Gap>) -> EpochRecord {
    EpochRecord {
        positions,
        gaps,
        ..fixtures::record(epoch, 0)
    }
}

/// A log that begins at these positions and has these epochs.
fn log(positions: Vec<Position>, epochs: Vec<EpochRecord>) -> Replay {
    Replay {
        positions,
        epochs,
        ..Replay::default()
    }
}

fn refusal(replay: &Replay, found: &[Found], policy: OnDataLoss) -> String {
    let error = fit_positions(replay, found, policy).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(JobError::Refused(_))));
    error.to_string()
}

#[test]
fn a_restart_reads_where_its_log_began_and_takes_in_new_partitions_from_their_first_offset() {
    let replay = log(
        vec![position(0, "a", 7)],
        vec![epoch(
            1,
            vec![position(0, "a", 9), position(2, "a", 4)],
            Vec::new(),
        )],
    );
    let found = [
        found(0, "a", 3..20),
        found(1, "a", 5..6),
        found(2, "a", 4..4),
    ];
    let fitted = fit_positions(&replay, &found, OnDataLoss::Stop).unwrap();
    assert_eq!(fitted.positions, [position(0, "a", 7)]);
    assert_eq!(fitted.new, [position(1, "a", 5)]);
    assert!(fitted.gone.is_empty());
}

#[test]
fn a_topic_made_again_lost_or_shorter_than_what_was_read_is_refused_under_any_policy() {
    let read = |from, to| {
        log(
            vec![position(0, "a", from)],
            vec![epoch(1, vec![position(0, "a", to)], vec![])],
        )
    };
    for policy in [OnDataLoss::Stop, OnDataLoss::Continue] {
        let again = refusal(&read(7, 7), &[found(0, "b", 0..9)], policy);
        assert!(again.contains("made again"), "{again}");
        let replayed = refusal(&read(7, 9), &[found(0, "a", 8..9)], policy);
        assert!(replayed.contains("reads again"), "{replayed}");
        let lost = refusal(&read(7, 9), &[found(1, "a", 0..9)], policy);
        assert!(lost.contains("otlp_spans/0"), "{lost}");
        let short = refusal(&read(7, 9), &[found(0, "a", 0..8)], policy);
        assert!(short.contains("ends at 8"), "{short}");
    }
    // A broker that tells no ids refuses nothing.
    assert!(fit_positions(&read(7, 9), &[found(0, "", 3..9)], OnDataLoss::Stop).is_ok());
}

#[test]
fn what_was_deleted_before_it_was_read_stops_the_start_or_not_as_the_policy_says() {
    let replay = log(vec![position(0, "a", 7)], Vec::new());
    let found = [found(0, "a", 12..20)];
    let said = refusal(&replay, &found, OnDataLoss::Stop);
    for part in [
        "otlp_spans/0",
        "offset 7",
        "begins at 12",
        "5 records",
        "continue",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let fitted = fit_positions(&replay, &found, OnDataLoss::Continue).unwrap();
    assert_eq!(
        fitted.positions, replay.positions,
        "the gap is found when it is read"
    );
}

#[test]
fn a_gap_that_the_log_knows_is_no_reason_to_refuse_but_what_was_read_behind_it_must_be_there() {
    let gap = Gap {
        slot: 0,
        from: 7,
        to: 12,
    };
    let replay = log(
        vec![position(0, "a", 7)],
        vec![epoch(1, vec![position(0, "a", 15)], vec![gap])],
    );
    for policy in [OnDataLoss::Stop, OnDataLoss::Continue] {
        assert!(fit_positions(&replay, &[found(0, "a", 12..20)], policy).is_ok());
        let said = refusal(&replay, &[found(0, "a", 13..20)], policy);
        assert!(said.contains("from offset 12"), "{said}");
    }
}

#[test]
fn a_topic_that_is_gone_and_has_nothing_to_replay_is_left_out_where_the_policy_allows_it() {
    let replay = log(vec![position(0, "a", 7), position(1, "a", 3)], Vec::new());
    let found = [found(1, "a", 0..3)];
    let said = refusal(&replay, &found, OnDataLoss::Stop);
    assert!(
        said.contains("otlp_spans/0") && said.contains("continue"),
        "{said}"
    );
    let fitted = fit_positions(&replay, &found, OnDataLoss::Continue).unwrap();
    assert_eq!(fitted.gone, BTreeSet::from([0]));
}
