//! Partitions that are far apart in event time.

use super::*;

const SLOW_RECORDS: u64 = 300;
const FAST_RECORDS: u64 = 400;
const DRIFT: std::time::Duration = std::time::Duration::from_secs(600);

/// Partition 0 has one hour in many records, partition 1 almost seven hours, a minute a record.
fn far_apart() -> Recorded {
    let mut tape = Tape::new();
    let mut put = |partition: i32, number: u64, end_s: u64| {
        let mut trace_id = [partition as u8 + 1; 16];
        trace_id[..8].copy_from_slice(&number.to_be_bytes());
        let agent = ["slow", "fast"][partition as usize];
        tape.put_spans(partition, agent, &[span(&trace_id, &[1; 8], end_s)]);
    };
    (0..SLOW_RECORDS).for_each(|n| put(0, n, n * 12));
    (0..FAST_RECORDS).for_each(|n| put(1, n, n * 60));
    tape.finish()
}

/// How far the second partition was ahead of the first, at most, while the first was still read; in µs.
fn widest_gap(replay: &Replay) -> i64 {
    let gaps = replay.epochs.iter().filter_map(|record| {
        let slots: Vec<usize> = (0..2)
            .map(|partition| {
                let is_it = |p: &&crate::checkpoint::record::Position| {
                    p.topic == SPANS && p.partition == partition
                };
                let at = record.positions.iter().position(|p| is_it(&p));
                at.unwrap()
            })
            .collect();
        let watermark = |slot: usize| record.partition_watermarks_us[slots[slot]];
        let is_read = record.positions[slots[0]].next_offset < SLOW_RECORDS as i64;
        (is_read && watermark(0) > i64::MIN).then(|| watermark(1) - watermark(0))
    });
    gaps.max().unwrap()
}

#[test]
fn a_partition_hours_ahead_waits_for_the_slowest_and_all_is_read_in_the_end() {
    let recorded = far_apart();
    let run = |name: &str, drift| {
        recorded.run(name, None, |s| {
            (s.workers, s.epoch_records) = (1, 16);
            s.max_watermark_drift = drift;
        })
    };
    let (aligned, memory) = run("aligned", DRIFT);
    let all = SLOW_RECORDS + FAST_RECORDS;
    assert_eq!(memory.counted(), [all, all, 0, 0, 0], "nothing is late");
    let drift_us = i64::try_from(DRIFT.as_micros()).unwrap();
    // What is read while the records that show it are on their way comes on top: a few epochs of two minutes.
    let gap = widest_gap(&aligned);
    assert!(gap <= 2 * drift_us, "{} s ahead", gap / 1_000_000);
    let (free, _) = run("free", std::time::Duration::ZERO);
    assert!(widest_gap(&free) > 10 * drift_us, "it would run away");
}
