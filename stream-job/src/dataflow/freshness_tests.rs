#![allow(clippy::unwrap_used)]

use super::*;
use crate::checkpoint::record::AckTime;
use crate::dataflow::fixtures::record;

const MINUTE_MS: i64 = 60_000;

/// Spans that end at these ms.
fn counts(ends_ms: &[i64]) -> EpochCounts {
    let mut counts = EpochCounts {
        records: 1,
        spans: ends_ms.len() as u64,
        ..EpochCounts::default()
    };
    ends_ms.iter().for_each(|ms| counts.land(ms * 1_000));
    counts
}

fn epoch(epoch: Epoch, wall_ms: i64, acks: &[(Epoch, i64)]) -> EpochRecord {
    let acks = acks
        .iter()
        .map(|&(epoch, acked_ms)| AckTime { epoch, acked_ms });
    EpochRecord {
        wall_ms,
        ack_times: acks.collect(),
        ..record(epoch, 0)
    }
}

/// Minute, spans, longest delay and whether it is final.
fn brief(rows: &[FreshnessRow]) -> Vec<(i64, u64, u64, bool)> {
    rows.iter()
        .map(|row| (row.window_start_s, row.spans, row.max_ms, row.is_final))
        .collect()
}

#[test]
fn a_delay_is_known_only_when_a_later_record_carries_the_acknowledgement() {
    let mut freshness = Freshness::default();
    assert!(
        freshness
            .apply(&epoch(1, 100_500, &[]), vec![counts(&[100_000, 100_300])])
            .is_empty()
    );
    assert!(freshness.apply(&epoch(2, 101_000, &[]), vec![]).is_empty());
    let rows = freshness.apply(&epoch(3, 101_500, &[(1, 101_200)]), vec![]);
    assert_eq!(brief(&rows), [(60, 2, 1_200, false)]);
    let delays: Vec<_> = rows[0].delays.iter().collect();
    assert_eq!(delays, [(bucket_of(900), 1), (bucket_of(1_200), 1)]);
    assert_eq!((rows[0].counts.records, rows[0].counts.landed), (1, 2));
    // The same acknowledgement again counts nothing twice.
    assert!(
        freshness
            .apply(&epoch(4, 102_000, &[(1, 101_200)]), vec![])
            .is_empty()
    );
}

#[test]
fn a_minute_is_that_of_the_acknowledgement() {
    let mut freshness = Freshness::default();
    for (at, end_ms) in [(1, 59_000), (2, 59_500)] {
        freshness.apply(&epoch(at, 59_900, &[]), vec![counts(&[end_ms])]);
    }
    let acks = [(1, MINUTE_MS - 1), (2, MINUTE_MS)];
    let rows = freshness.apply(&epoch(3, MINUTE_MS + 500, &acks), vec![]);
    assert_eq!(brief(&rows), [(0, 1, 999, false), (60, 1, 500, false)]);
}

#[test]
fn a_minute_becomes_final_a_minute_after_its_end_and_never_changes_then() {
    let mut freshness = Freshness::default();
    for at in 1..4 {
        freshness.apply(&epoch(at, 30_000, &[]), vec![counts(&[30_000])]);
    }
    freshness.apply(&epoch(4, 31_000, &[(1, 31_000)]), vec![]);
    assert!(
        freshness
            .apply(&epoch(5, 2 * MINUTE_MS - 1, &[]), vec![])
            .is_empty()
    );
    let rows = freshness.apply(&epoch(6, 2 * MINUTE_MS, &[]), vec![]);
    assert_eq!(brief(&rows), [(0, 1, 1_000, true)]);
    // Acknowledgements of the first minute that are told too late count in the present one.
    let rows = freshness.apply(&epoch(7, 2 * MINUTE_MS + 5, &[(2, 32_000)]), vec![]);
    assert_eq!(brief(&rows), [(120, 1, 2_000, false)]);
    let rows = freshness.apply(&epoch(8, 2 * MINUTE_MS + 6, &[(3, 33_000)]), vec![]);
    assert_eq!(brief(&rows), [(120, 2, 3_000, false)]);
}

#[test]
fn a_minute_that_is_told_when_it_is_over_is_final_at_once_and_once() {
    let mut freshness = Freshness::default();
    for at in 1..3 {
        freshness.apply(&epoch(at, 1_000, &[]), vec![counts(&[1_000])]);
    }
    let now = 10 * MINUTE_MS;
    let rows = freshness.apply(&epoch(3, now, &[(1, 2_000)]), vec![]);
    assert_eq!(brief(&rows), [(0, 1, 1_000, true)]);
    freshness.apply(&epoch(4, now, &[]), vec![counts(&[MINUTE_MS])]);
    let acks = [(2, 59_999), (4, MINUTE_MS + 2)];
    let rows = freshness.apply(&epoch(5, now, &acks), vec![]);
    assert_eq!(
        brief(&rows),
        [(60, 1, 2, true), (600, 1, 58_999, false)],
        "minute 0 is final: the present one takes what is told of it"
    );
    freshness.apply(&epoch(6, now, &[]), vec![counts(&[MINUTE_MS])]);
    let rows = freshness.apply(&epoch(7, now, &[(6, MINUTE_MS + 3)]), vec![]);
    assert_eq!(brief(&rows), [(600, 2, 58_999, false)], "so is 60 now");
}

#[test]
fn rows_are_put_out_only_where_the_block_ends() {
    let mut freshness = Freshness::default();
    freshness.apply(&epoch(1, MINUTE_MS, &[]), vec![counts(&[MINUTE_MS])]);
    let within = EpochRecord {
        dws_block_ends: false,
        ..epoch(2, MINUTE_MS, &[(1, MINUTE_MS)])
    };
    assert!(freshness.apply(&within, vec![]).is_empty());
    assert_eq!(freshness.apply(&epoch(3, MINUTE_MS, &[]), vec![]).len(), 1);
    assert!(
        freshness
            .apply(&epoch(4, MINUTE_MS, &[]), vec![])
            .is_empty()
    );
}

#[test]
fn a_span_that_ends_after_its_acknowledgement_has_no_delay() {
    let mut freshness = Freshness::default();
    freshness.apply(&epoch(1, MINUTE_MS, &[]), vec![counts(&[2 * MINUTE_MS])]);
    let rows = freshness.apply(&epoch(2, MINUTE_MS, &[(1, MINUTE_MS)]), vec![]);
    assert_eq!(brief(&rows), [(60, 1, 0, false)]);
}

#[test]
fn counts_of_workers_add_up_and_an_acknowledgement_that_never_comes_is_forgotten() {
    let mut freshness = Freshness::default();
    let both = vec![counts(&[5, 5, 30]), counts(&[5])];
    freshness.apply(&epoch(1, 50, &[]), both);
    assert_eq!(freshness.waiting[&1].ends, [(0, 3), (3, 1)]);
    assert_eq!(
        (freshness.waiting[&1].records, freshness.waiting[&1].landed),
        (2, 4)
    );
    freshness.apply(&epoch(2 + FORGET_AFTER_EPOCHS, 50, &[]), vec![]);
    assert!(freshness.waiting.is_empty());
}

#[test]
fn many_spans_take_no_more_room_than_their_times() {
    let mut counts = EpochCounts::default();
    for at in 0..100_000_i64 {
        counts.land(at % 500 * 10_000);
    }
    assert!(counts.ends.len() <= 16_384, "{}", counts.ends.len());
    counts.compact();
    assert_eq!(counts.ends.len(), 500);
    assert!(counts.ends.iter().all(|(_, count)| *count == 200));
}
