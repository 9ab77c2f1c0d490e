//! Pass 2 over the spans of a record: rows of the tables of DWD, and partial sums for everything above.

use super::pass::RecordPass;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::Contents;
use crate::span::view::{ResourceView, ScopeView, SpanView};
use crate::span::{clean, validate};

impl RecordPass<'_> {
    pub(super) fn see_span(
        &mut self,
        resource: &ResourceView<'_>,
        scope: &ScopeView<'_>,
        span: &SpanView<'_>,
    ) {
        let here = self.here;
        if let Err(reject) = validate(span, &self.rules.scan.limits, here.epoch.wall_ms) {
            let (record, origin) = (&here.record, &here.origin);
            let letter = DeadLetter::of_span(record, origin, self.encoding, span, &reject);
            self.reject(letter);
            return;
        }
        let Some(fingerprint) = self.admit(span.index) else {
            return;
        };
        let clean = clean(resource, scope, span, &self.rules.clean);
        let is_late = self.is_late(clean.end_us);
        self.partials.counts.land(clean.end_us);
        if is_late {
            self.partials.counts.late += 1;
        } else {
            self.partials.windows.add(&clean);
            self.partials.top.add(&clean);
        }
        self.partials.traces.add(&clean);
        let (origin, stamp) = (&here.origin, &here.stamp);
        let contents: &mut dyn Contents = &mut self.tables.contents;
        self.tables
            .spans
            .push(&clean, origin, fingerprint, is_late, stamp, contents);
        self.tables
            .events
            .push(&clean, origin, fingerprint, stamp, contents);
    }
}
