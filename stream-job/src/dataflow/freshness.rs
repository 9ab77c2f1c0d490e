//! The pipeline's own delay, from span end to row visible, and what it counted, per minute of the acknowledgement.
//!
//! A row is visible when its insert is acknowledged. That moment is not known to the epoch itself; the record of a later
//! epoch carries it, so that a replay gives the same rows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::buckets::{Buckets, bucket_of};
use super::epochs::Epoch;
use super::window::MINUTE_S;
use crate::checkpoint::record::EpochRecord;

#[path = "freshness_saved.rs"]
mod saved;

/// Span ends are counted in steps of this many ms.
const STEP_MS: i64 = 10;

/// What one worker counted in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochCounts {
    /// Records.
    pub records: u64,
    /// Spans found in them.
    pub spans: u64,
    /// Spans that go to `dwd_span`.
    pub landed: u64,
    /// Spans that were there already.
    pub duplicate: u64,
    /// Spans that became dead letters.
    pub rejected: u64,
    /// Spans beyond the allowed lateness.
    pub late: u64,
    /// Ends of the spans that land: in steps of 10 ms since 1970, with how many.
    ends: Vec<(i64, u64)>,
}

impl EpochCounts {
    /// Counts a span that lands.
    pub fn land(&mut self, end_us: i64) {
        self.landed += 1;
        let step = end_us.div_euclid(1_000 * STEP_MS);
        match self.ends.last_mut() {
            Some((last, count)) if *last == step => *count += 1,
            _ => self.ends.push((step, 1)),
        }
        if self.ends.len() >= 8_192 && self.ends.len().is_power_of_two() {
            self.compact();
        }
    }

    /// Sums equal steps.
    pub fn compact(&mut self) {
        self.ends.sort_unstable();
        self.ends.dedup_by(|next, held| {
            let same = next.0 == held.0;
            held.1 += if same { next.1 } else { 0 };
            same
        });
    }

    /// Adds another worker's counts.
    pub fn merge(&mut self, other: EpochCounts) {
        self.records += other.records;
        self.spans += other.spans;
        self.landed += other.landed;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.late += other.late;
        self.ends.extend(other.ends);
        self.compact();
    }
}

/// One minute of the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshnessRow {
    /// Start of the minute, s since 1970.
    pub window_start_s: i64,
    /// Spans that became visible.
    pub spans: u64,
    /// Delays in ms, in logarithmic buckets.
    pub delays: Buckets,
    /// Longest delay, ms.
    pub max_ms: u64,
    /// What was counted in the epochs that became visible.
    pub counts: EpochCounts,
    /// Nothing is added to this minute any more.
    pub is_final: bool,
}

/// Epochs that wait for their acknowledgement, and the minutes that may still change.
#[derive(Default)]
pub struct Freshness {
    waiting: BTreeMap<Epoch, EpochCounts>,
    minutes: BTreeMap<i64, FreshnessRow>,
    changed: BTreeSet<i64>,
    /// Start of the newest minute that is final.
    final_through: Option<i64>,
}

/// A minute is final this long after its end by the record's wall clock: acknowledgements come within an epoch or two.
const FINAL_AFTER_S: i64 = 60;
/// Epochs whose acknowledgement never comes (it was lost with the process) are forgotten after this many more.
const FORGET_AFTER_EPOCHS: u64 = 100_000;

impl Freshness {
    /// Takes in one epoch; returns the changed minutes where the record ends a block.
    pub fn apply(&mut self, record: &EpochRecord, counts: Vec<EpochCounts>) -> Vec<FreshnessRow> {
        let mut total = EpochCounts::default();
        counts.into_iter().for_each(|one| total.merge(one));
        if total.records > 0 {
            self.waiting.insert(record.epoch, total);
        }
        for ack in &record.ack_times {
            if let Some(counts) = self.waiting.remove(&ack.epoch) {
                self.see(ack.acked_ms, counts, record.wall_ms);
            }
        }
        let oldest = record.epoch.saturating_sub(FORGET_AFTER_EPOCHS);
        self.waiting = self.waiting.split_off(&oldest);
        if record.tells_all {
            self.changed.extend(self.minutes.keys());
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        self.finish(record.wall_ms.div_euclid(1_000));
        let changed = std::mem::take(&mut self.changed);
        let rows = changed
            .iter()
            .filter_map(|start| self.minutes.get(start).cloned())
            .collect();
        self.minutes.retain(|_, row| !row.is_final);
        rows
    }

    fn see(&mut self, acked_ms: i64, mut counts: EpochCounts, now_ms: i64) {
        let minute = |ms: i64| ms.div_euclid(1_000 * MINUTE_S) * MINUTE_S;
        // An acknowledgement that was told too late for its own minute counts in the present one: a final row stays.
        let start = if Some(minute(acked_ms)) > self.final_through {
            minute(acked_ms)
        } else {
            minute(now_ms)
        };
        let row = self.minutes.entry(start).or_default();
        row.window_start_s = start;
        for (step, count) in std::mem::take(&mut counts.ends) {
            let delay_ms = u64::try_from(acked_ms - step * STEP_MS).unwrap_or(0);
            row.spans += count;
            row.delays.add_to(bucket_of(delay_ms), count);
            row.max_ms = row.max_ms.max(delay_ms);
        }
        row.counts.merge(counts);
        self.changed.insert(start);
    }

    fn finish(&mut self, now_s: i64) {
        for (start, row) in &mut self.minutes {
            if !row.is_final && start + MINUTE_S + FINAL_AFTER_S <= now_s {
                row.is_final = true;
                self.final_through = self.final_through.max(Some(*start));
                self.changed.insert(*start);
            }
        }
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
