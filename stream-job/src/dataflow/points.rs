//! Pass 2 over the metric points of a record: rows of `dwd_metric_point`, and sums by process.

use super::pass::RecordPass;
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

impl PointCounts {
    /// Adds what became of a record's points.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.landed += u64::from(outcome.landed);
        self.duplicate += u64::from(outcome.duplicate);
        self.rejected += u64::from(outcome.rejected);
    }
}

impl RecordPass<'_> {
    pub(super) fn see_point(
        &mut self,
        resource: &ResourceView<'_>,
        metric: &MetricView<'_>,
        point: &PointView<'_>,
    ) {
        let here = self.here;
        let limits = &self.rules.scan.limits;
        if let Err(reject) = validate(metric, point, limits, here.epoch.wall_ms) {
            let (record, origin) = (&here.record, &here.origin);
            let letter = DeadLetter::of_point(record, origin, self.encoding, point, &reject);
            self.reject(letter);
            return;
        }
        let Some(fingerprint) = self.admit(point.index) else {
            return;
        };
        let clean = CleanPoint::of(resource, metric, point);
        let is_late = self.is_late(clean.time_us);
        if is_late {
            self.partials.points.late += 1;
        } else {
            self.partials.resources.add(&clean);
        }
        let (origin, stamp) = (&here.origin, &here.stamp);
        self.tables
            .points
            .push(&clean, origin, fingerprint, is_late, stamp);
    }
}
