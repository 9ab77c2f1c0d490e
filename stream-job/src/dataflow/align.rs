//! Watermark alignment: a partition far ahead of the others waits, so that the state between them stays bounded.
//!
//! Decided from an epoch record alone, so the coordinator and every worker come to the same answer without a message,
//! and a replay to the same as the run before it.

use crate::checkpoint::record::EpochRecord;

/// Which partitions read no further until the next record, in the order of the record's positions: those whose watermark
/// is more than `max_drift_us` ahead of where the job stands. 0 pauses nobody.
///
/// The job stands at its watermark, or where its slowest partition is that has spoken and is neither idle nor ended,
/// whichever is later. So the slowest is never paused, and whoever it waits for is: there is always one that reads, or
/// that goes idle with time. A partition that has not spoken yet pauses nobody: it is read as fast as it can be.
#[must_use]
pub fn paused(record: &EpochRecord, max_drift_us: i64) -> Vec<bool> {
    let watermarks = &record.partition_watermarks_us;
    let is_idle = |at: usize| record.idle.iter().any(|&idle| idle as usize == at);
    let speaking = (0..watermarks.len()).filter(|&at| watermarks[at] > i64::MIN && !is_idle(at));
    let slowest = speaking.map(|at| watermarks[at]).min();
    let stands_at = slowest.unwrap_or(i64::MIN).max(record.watermark_us);
    let limit = stands_at.saturating_add(max_drift_us);
    watermarks
        .iter()
        .map(|&watermark| max_drift_us > 0 && stands_at > i64::MIN && watermark > limit)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRIFT_US: i64 = 100;

    fn record(watermark_us: i64, partitions: &[i64], idle: &[u32]) -> EpochRecord {
        EpochRecord {
            epoch: 1,
            timeline: String::new(),
            generation: 1,
            positions: Vec::new(),
            watermark_us,
            partition_watermarks_us: partitions.to_vec(),
            idle: idle.to_vec(),
            gaps: Vec::new(),
            wall_ms: 0,
            dws_block_ends: false,
            ack_times: Vec::new(),
            settings_hash: 0,
            code_version: String::new(),
            end_of_input: false,
            checkpoint: None,
            tells_all: false,
        }
    }

    fn pauses(watermark_us: i64, partitions: &[i64], idle: &[u32]) -> Vec<bool> {
        paused(&record(watermark_us, partitions, idle), DRIFT_US)
    }

    #[test]
    fn a_partition_further_ahead_than_the_drift_waits() {
        assert_eq!(pauses(0, &[0, 100, 101], &[]), [false, false, true]);
    }

    #[test]
    fn a_drift_of_zero_pauses_nobody() {
        assert_eq!(paused(&record(0, &[0, i64::MAX], &[]), 0), [false, false]);
    }

    #[test]
    fn an_idle_partition_holds_nobody() {
        assert_eq!(pauses(i64::MIN, &[0, 500, 550], &[0]), [false; 3]);
    }

    #[test]
    fn a_partition_that_has_not_spoken_holds_nobody() {
        let partitions = [i64::MIN, 500, 700];
        assert_eq!(pauses(i64::MIN, &partitions, &[]), [false, false, true]);
        assert_eq!(pauses(i64::MIN, &[i64::MIN; 2], &[]), [false, false]);
    }

    #[test]
    fn one_that_speaks_far_behind_the_jobs_watermark_holds_nobody() {
        // The watermark never falls: what comes behind it adds no state between the partitions.
        assert_eq!(pauses(1_000, &[5, 1_050], &[]), [false, false]);
    }

    /// Reads partitions to their ends, as the source would: the event times of one step a time from each that is not
    /// paused. Gives the steps that it took.
    fn read_all(partitions: &[Vec<i64>], step: usize) -> usize {
        let mut at = vec![0; partitions.len()];
        let mut newest = vec![i64::MIN; partitions.len()];
        let mut watermark_us = i64::MIN;
        let mut idle: Vec<u32> = Vec::new();
        for steps in 0.. {
            let is_idle = |slot: usize| idle.iter().any(|&idle| idle as usize == slot);
            let least = (0..newest.len()).filter(|&slot| !is_idle(slot));
            let least = least.map(|slot| newest[slot]).min().unwrap_or(watermark_us);
            watermark_us = watermark_us.max(least);
            let record = record(watermark_us, &newest, &idle);
            let paused = paused(&record, DRIFT_US);
            if at.iter().zip(partitions).all(|(at, all)| *at == all.len()) {
                return steps;
            }
            assert!(steps < 10_000, "nobody gets on: {record:?}");
            let stands_at = newest.iter().zip(&paused).filter(|(_, paused)| !**paused);
            assert!(stands_at.count() > 0, "all are paused: {record:?}");
            idle.clear();
            for slot in 0..partitions.len() {
                if paused[slot] {
                    continue;
                }
                let to = (at[slot] + step).min(partitions[slot].len());
                // What is at its end goes idle with time.
                if to == at[slot] {
                    idle.push(u32::try_from(slot).unwrap_or(u32::MAX));
                }
                let read = partitions[slot][at[slot]..to].iter().copied();
                newest[slot] = read.fold(newest[slot], i64::max);
                at[slot] = to;
            }
        }
        unreachable!("the loop returns")
    }

    proptest! {
        #[test]
        fn all_is_read_in_the_end_whatever_the_partitions_hold(
            partitions in prop::collection::vec(prop::collection::vec(-2_000_i64..2_000, 0..60), 1..8),
            step in 1_usize..20,
        ) {
            read_all(&partitions, step);
        }

        #[test]
        fn who_reads_on_is_never_further_ahead_than_the_drift(
            watermark_us in -500_i64..500,
            partitions in prop::collection::vec(-1_000_i64..1_000, 1..8),
            idle in prop::collection::vec(0_u32..8, 0..4),
        ) {
            let record = record(watermark_us, &partitions, &idle);
            let paused = paused(&record, DRIFT_US);
            let speaking = (0_u32..).zip(&partitions).filter(|(at, _)| !idle.contains(at));
            let slowest = speaking.map(|(_, &watermark)| watermark).min();
            let stands_at = slowest.unwrap_or(watermark_us).max(watermark_us);
            for (&watermark, paused) in partitions.iter().zip(paused) {
                prop_assert_eq!(paused, watermark > stands_at + DRIFT_US);
            }
        }
    }
}
