//! The metric points of one record.

use stream_job::checkpoint::record::EpochRecord;
use stream_job::metric::{CleanPoint, MetricView, PointView, validate};
use stream_job::span::validate::Limits;
use stream_job::span::view::ResourceView;

use super::raw::{Found, Tally};
use super::resources::Point;
use super::tables::{Cell, Tables, put, row};

pub(super) struct Pass<'r> {
    pub epoch: &'r EpochRecord,
    pub found: &'r Found,
    /// A point before it is late.
    pub late_before: i64,
    pub tally: &'r mut Tally,
    pub letters: &'r mut Vec<(u32, &'static str, Vec<u8>)>,
    pub rows: &'r mut Tables,
    /// Those that land and are not late.
    pub counted: Vec<Point>,
}

impl Pass<'_> {
    /// Whether it lands.
    pub fn see(
        &mut self,
        resource: &ResourceView<'_>,
        metric: &MetricView<'_>,
        point: &PointView<'_>,
        fingerprint: u128,
        is_copy: bool,
    ) -> bool {
        if let Err(reject) = validate(metric, point, &Limits::default(), self.epoch.wall_ms) {
            self.tally.rejected += 1;
            self.letters
                .push((point.index, reject.code, point.raw.to_vec()));
            return false;
        }
        if is_copy {
            self.tally.duplicate += 1;
            return false;
        }
        self.tally.landed += 1;
        let clean = CleanPoint::of(resource, metric, point);
        let late = clean.time_us < self.late_before;
        self.tally.late += u64::from(late);
        if !late {
            self.counted.push(Point::of(&clean));
        }
        let (found, epoch) = (self.found, self.epoch);
        let row = row! {
            "topic": &found.topic, "partition": found.partition, "offset": found.offset, "index": point.index,
            "agent": &*clean.agent, "namespace": &*clean.namespace, "service_name": &*clean.service_name,
            "instance": &*clean.instance, "metric": &*metric.name, "kind": metric.kind.as_str(),
            "unit": &*metric.unit, "temporality": metric.temporality.as_str(), "monotonic": metric.monotonic,
            "start_time": clean.start_us, "time": clean.time_us, "value": clean.value(), "late": late,
            "content_hash": Cell::Number(fingerprint.cast_signed()),
            "_epoch": epoch.epoch, "_shard": found.shard, "ingest_time": epoch.wall_ms,
        };
        put(self.rows, "dwd_metric_point", row);
        true
    }
}
