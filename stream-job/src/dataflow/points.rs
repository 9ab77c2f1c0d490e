//! Pass 2 over the metric points of a record: rows of `dwd_metric_point`, and sums by process.

use super::admit::{AdmitRules, InRecord, Partials, RawSink, ShardTables, bury, is_copy};
use super::dedup::Duplicate;
use super::windowing::Lifecycle;
use crate::decode::Encoding;
use crate::metric::{CleanPoint, MetricView, PointView, validate};
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::Outcome;
use crate::span::view::ResourceView;

/// What one worker counted of metric points in one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PointCounts {
    /// Points that go to `dwd_metric_point`.
    pub landed: u64,
    /// Points that were there already.
    pub duplicate: u64,
    /// Points that became dead letters.
    pub rejected: u64,
    /// Points beyond the allowed lateness.
    pub late: u64,
}

/// The points of one record in pass 2.
pub(super) struct PointPass<'r> {
    pub here: &'r InRecord<'r>,
    pub duplicates: &'r [Duplicate],
    pub next_fingerprint: usize,
    pub outcome: &'r mut Outcome,
    pub tables: &'r mut ShardTables,
    pub partials: &'r mut Partials,
    pub rules: &'r AdmitRules,
    pub sink: &'r dyn RawSink,
}

impl PointPass<'_> {
    pub(super) fn see(
        &mut self,
        resource: &ResourceView<'_>,
        metric: &MetricView<'_>,
        point: &PointView<'_>,
    ) {
        let (limits, wall_ms) = (&self.rules.scan.limits, self.here.epoch.wall_ms);
        let counts = &mut self.partials.points;
        if let Err(reject) = validate(metric, point, limits, wall_ms) {
            self.outcome.rejected += 1;
            counts.rejected += 1;
            let letter = DeadLetter::of_point(
                &self.here.record,
                &self.here.origin,
                Encoding::OtlpMetrics.as_str(),
                point,
                &reject,
            );
            bury(self.tables, &self.here.stamp, self.sink, letter);
            return;
        }
        let fingerprint = self.here.batch.fingerprints[self.next_fingerprint];
        self.next_fingerprint += 1;
        if is_copy(self.duplicates, point.index) {
            self.outcome.duplicate += 1;
            counts.duplicate += 1;
            return;
        }
        self.outcome.landed += 1;
        counts.landed += 1;
        let clean = CleanPoint::of(resource, metric, point);
        let lifecycle =
            Lifecycle::new(self.rules.allowed_lateness_us, self.here.epoch.watermark_us);
        let is_late = lifecycle.is_late(clean.time_us);
        if is_late {
            counts.late += 1;
        } else {
            self.partials.resources.add(&clean);
        }
        let (origin, stamp) = (&self.here.origin, &self.here.stamp);
        self.tables
            .points
            .push(&clean, origin, fingerprint, is_late, stamp);
    }
}
