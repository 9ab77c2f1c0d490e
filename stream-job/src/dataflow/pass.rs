//! Pass 2 over one record: what its spans and its metric points have in common.

use super::admit::{AdmitRules, InRecord, Partials, RawSink, ShardTables, bury, is_copy};
use super::dedup::Duplicate;
use super::windowing::Lifecycle;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::Outcome;

/// One record in pass 2. Its spans are seen in `spans`, its points in `points`.
pub(super) struct RecordPass<'r> {
    pub here: &'r InRecord<'r>,
    pub encoding: &'static str,
    pub duplicates: &'r [Duplicate],
    pub next_fingerprint: usize,
    pub outcome: Outcome,
    pub tables: &'r mut ShardTables,
    pub partials: &'r mut Partials,
    pub rules: &'r AdmitRules,
    pub sink: &'r dyn RawSink,
}

impl RecordPass<'_> {
    /// Rejects one of the record's spans or points.
    pub(super) fn reject(&mut self, letter: DeadLetter) {
        self.outcome.rejected += 1;
        bury(self.tables, &self.here.stamp, self.sink, letter);
    }

    /// The fingerprint of the next valid span or point, which is the one at `index`, if it lands: if it is no copy.
    pub(super) fn admit(&mut self, index: u32) -> Option<u128> {
        let fingerprint = self.here.batch.fingerprints[self.next_fingerprint];
        self.next_fingerprint += 1;
        if is_copy(self.duplicates, index) {
            self.outcome.duplicate += 1;
            return None;
        }
        self.outcome.landed += 1;
        Some(fingerprint)
    }

    /// Whether what happened then counts in no window.
    pub(super) fn is_late(&self, event_us: i64) -> bool {
        let lateness_us = self.rules.allowed_lateness_us;
        Lifecycle::new(lateness_us, self.here.epoch.watermark_us).is_late(event_us)
    }
}
