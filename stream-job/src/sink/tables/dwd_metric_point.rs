//! `dwd_metric_point`: metric points.

use super::attributes::preview_of_long;
use super::{Origin, Stamp, Table};
use crate::metric::CleanPoint;
use crate::sink::native::{Fixed, LabelMap, LowCardinality, Micros, Millis, NumberArray};
use crate::span::view::Attr;

columns! {
    struct Columns {
        agent: LowCardinality = "agent",
        namespace: LowCardinality = "namespace",
        service_name: LowCardinality = "service_name",
        instance: LowCardinality = "instance",
        metric: LowCardinality = "metric",
        kind: LowCardinality = "kind",
        unit: LowCardinality = "unit",
        temporality: LowCardinality = "temporality",
        monotonic: Fixed<bool> = "monotonic",
        start_time: Fixed<Micros> = "start_time",
        time: Fixed<Micros> = "time",
        value: Fixed<f64> = "value",
        count: Fixed<u64> = "count",
        bounds: NumberArray<f64> = "bounds",
        bucket_counts: NumberArray<u64> = "bucket_counts",
        attributes: LabelMap = "attributes",
        resource: LabelMap = "resource",
        topic: LowCardinality = "topic",
        partition: Fixed<i32> = "partition",
        offset: Fixed<i64> = "offset",
        index: Fixed<u32> = "index",
        epoch: Fixed<u64> = "_epoch",
        shard: Fixed<u16> = "_shard",
        ingest_time: Fixed<Millis> = "ingest_time",
        late: Fixed<bool> = "late",
        quantile_values: NumberArray<f64> = "quantile_values",
        content_hash: Fixed<u128> = "content_hash",
    }
}

/// Builds `dwd_metric_point`.
#[derive(Debug, Default)]
pub struct DwdMetricPoint {
    columns: Columns,
}

impl DwdMetricPoint {
    /// Pushes one point. `fingerprint` is its content hash, by which copies are found.
    pub fn push(
        &mut self,
        point: &CleanPoint<'_>,
        origin: &Origin<'_>,
        fingerprint: u128,
        late: bool,
        stamp: &Stamp,
    ) {
        let (columns, metric) = (&mut self.columns, point.metric);
        columns.agent.push(&point.agent);
        columns.namespace.push(&point.namespace);
        columns.service_name.push(&point.service_name);
        columns.instance.push(&point.instance);
        columns.metric.push(&metric.name);
        columns.kind.push(metric.kind.as_str());
        columns.unit.push(&metric.unit);
        columns.temporality.push(metric.temporality.as_str());
        columns.monotonic.push(metric.monotonic);
        columns.start_time.push(Micros(point.start_us));
        columns.time.push(Micros(point.time_us));
        columns.value.push(point.value());
        let of = point.distribution();
        columns.count.push(of.map_or(0, |of| of.count));
        columns.bounds.push(of.map_or(&[], |of| &of.bounds));
        columns
            .bucket_counts
            .push(of.map_or(&[], |of| &of.bucket_counts));
        columns
            .quantile_values
            .push(of.map_or(&[], |of| &of.quantile_values));
        push_attributes(&point.point.attributes, &mut columns.attributes);
        push_attributes(point.resource, &mut columns.resource);
        columns.late.push(late);
        columns.content_hash.push(fingerprint);
        columns.topic.push(origin.topic);
        columns.partition.push(origin.partition);
        columns.offset.push(origin.offset);
        columns.index.push(point.point.index);
        columns.epoch.push(stamp.epoch);
        columns.shard.push(stamp.shard);
        columns.ingest_time.push(Millis(stamp.ingest_ms));
    }
}

fn push_attributes(attributes: &[Attr<'_>], into: &mut LabelMap) {
    for Attr { key, value } in attributes {
        let text = value.text();
        into.entry(key, preview_of_long(&text).unwrap_or(&text));
    }
    into.end_row();
}

impl Table for DwdMetricPoint {
    table_of_columns!(Columns, "dwd_metric_point", partition);

    /// By agent, metric and minute, then by time, content and where a point came from.
    fn order(&mut self) -> Vec<u32> {
        let columns = &self.columns;
        let (agents, metrics) = (columns.agent.row_ranks(), columns.metric.row_ranks());
        let topics = columns.topic.row_ranks();
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(|&row| {
            let at = row as usize;
            let time_us = columns.time.values()[at].0;
            let content = columns.content_hash.values()[at];
            let origin = (
                topics[at],
                columns.partition.values()[at],
                columns.offset.values()[at],
                columns.index.values()[at],
            );
            (agents[at], metrics[at], time_us, content, origin)
        });
        order
    }

    fn clear(&mut self) {
        self.columns.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::tests::{STAMP, attr, origin, text};
    use super::*;
    use crate::metric::{Distribution, MetricKind, MetricView, PointValue, PointView};
    use crate::sink::block;
    use crate::span::view::ResourceView;

    #[test]
    fn a_block_does_not_depend_on_the_order_of_arrival_and_long_values_are_cut() {
        let long = "x".repeat(300);
        let resource = ResourceView {
            attributes: vec![attr("service.name", text("a")), attr("long", text(&long))],
        };
        let metrics = ["m2", "m1"].map(|name| MetricView {
            name: Cow::Borrowed(name),
            kind: MetricKind::Histogram,
            ..MetricView::default()
        });
        let block_of = |order: &[usize]| {
            let mut table = DwdMetricPoint::default();
            for &number in order {
                let point = PointView {
                    index: number as u32,
                    time_unix_nano: 1_700_000_000_000_000_000 + (number as u64 / 4) * 1_000,
                    value: PointValue::Distribution(Distribution {
                        count: 3,
                        sum: 4.5,
                        bounds: vec![1.0; number],
                        bucket_counts: vec![2; number + 1],
                        quantile_values: Vec::new(),
                    }),
                    ..PointView::default()
                };
                let clean = CleanPoint::of(&resource, &metrics[number % 2], &point);
                table.push(&clean, &origin(7), 1, false, &STAMP);
            }
            let ordered = table.order();
            let sizes: usize = ordered.iter().map(|&row| table.row_bytes(row)).sum();
            assert!(table.total_bytes() <= sizes);
            block::cut(&mut table, 1, 5)
        };
        let forward = block_of(&(0..20).collect::<Vec<_>>());
        assert_eq!(forward, block_of(&(0..20).rev().collect::<Vec<_>>()));
        let body = forward[0].body.concat();
        assert!(memchr::memmem::find(&body, "x".repeat(256).as_bytes()).is_some());
        assert!(memchr::memmem::find(&body, "x".repeat(257).as_bytes()).is_none());
    }
}
