//! Pass 2 over the spans of a record: rows of the tables of DWD, and partial sums for everything above.

use super::admit::{AdmitRules, InRecord, Partials, RawSink, ShardTables, bury, is_copy};
use super::dedup::Duplicate;
use super::scan::ScannedRecord;
use super::windowing::Lifecycle;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::{Contents, Outcome};
use crate::span::view::{ResourceView, ScopeView, SpanView};
use crate::span::{clean, validate};

/// The spans of one record in pass 2.
pub(super) struct SpanPass<'r> {
    pub here: &'r InRecord<'r>,
    pub scanned: &'r ScannedRecord,
    pub duplicates: &'r [Duplicate],
    pub next_fingerprint: usize,
    pub outcome: &'r mut Outcome,
    pub tables: &'r mut ShardTables,
    pub partials: &'r mut Partials,
    pub rules: &'r AdmitRules,
    pub sink: &'r dyn RawSink,
}

impl SpanPass<'_> {
    pub(super) fn see(
        &mut self,
        resource: &ResourceView<'_>,
        scope: &ScopeView<'_>,
        span: &SpanView<'_>,
    ) {
        if let Err(reject) = validate(span, &self.rules.scan.limits, self.here.epoch.wall_ms) {
            self.outcome.rejected += 1;
            let encoding = self.scanned.encoding.as_str();
            let letter = DeadLetter::of_span(
                &self.here.record,
                &self.here.origin,
                encoding,
                span,
                &reject,
            );
            bury(self.tables, &self.here.stamp, self.sink, letter);
            return;
        }
        let fingerprint = self.here.batch.fingerprints[self.next_fingerprint];
        self.next_fingerprint += 1;
        if is_copy(self.duplicates, span.index) {
            self.outcome.duplicate += 1;
            return;
        }
        self.outcome.landed += 1;
        let clean = clean(resource, scope, span, &self.rules.clean);
        let lateness_us = self.rules.allowed_lateness_us;
        let is_late =
            Lifecycle::new(lateness_us, self.here.epoch.watermark_us).is_late(clean.end_us);
        self.partials.counts.land(clean.end_us);
        if is_late {
            self.partials.counts.late += 1;
        } else {
            self.partials.windows.add(&clean);
            self.partials.top.add(&clean);
        }
        self.partials.traces.add(&clean);
        let (origin, stamp) = (&self.here.origin, &self.here.stamp);
        let contents: &mut dyn Contents = &mut self.tables.contents;
        self.tables
            .spans
            .push(&clean, origin, fingerprint, is_late, stamp, contents);
        self.tables
            .events
            .push(&clean, origin, fingerprint, stamp, contents);
    }
}
