//! `ads_freshness`: delays by the minute of the acknowledgement that a later record tells.

use std::collections::BTreeMap;

use stream_job::checkpoint::record::EpochRecord;
use stream_job::dataflow::buckets::{bucket_of, value_of};
use stream_job::sink::tables::EpochRow;

use super::raw::Span;
use super::tables::{Tables, buckets, put, row};

#[derive(Default)]
struct Minute {
    spans: u64,
    delays: BTreeMap<i16, u64>,
    max_ms: u64,
    counts: EpochRow,
    is_final: bool,
}

#[derive(Default)]
pub struct Freshness {
    /// Counts and span ends, in steps of 10 ms, of epochs that no acknowledgement was told of.
    waiting: BTreeMap<u64, (EpochRow, Vec<i64>)>,
    minutes: BTreeMap<i64, Minute>,
}

impl Freshness {
    pub fn add(&mut self, record: &EpochRecord, counts: &EpochRow, spans: &[Span]) {
        if counts.records > 0 {
            let ends = spans.iter().map(|span| span.end_us.div_euclid(10_000) * 10);
            let waiting = (counts.clone(), ends.collect());
            self.waiting.insert(record.epoch, waiting);
        }
        for ack in &record.ack_times {
            let Some((counts, ends)) = self.waiting.remove(&ack.epoch) else {
                continue;
            };
            // What is told too late for its own minute counts in the present one.
            let last_final = self
                .minutes
                .iter()
                .filter(|(_, m)| m.is_final)
                .map(|(&start, _)| start)
                .max();
            let own = ack.acked_ms.div_euclid(60_000) * 60;
            let start = if last_final.is_some_and(|last| own <= last) {
                record.wall_ms.div_euclid(60_000) * 60
            } else {
                own
            };
            let minute = self.minutes.entry(start).or_default();
            for end_ms in ends {
                let delay = u64::try_from(ack.acked_ms - end_ms).unwrap_or(0);
                minute.spans += 1;
                minute.max_ms = minute.max_ms.max(delay);
                *minute.delays.entry(bucket_of(delay)).or_default() += 1;
            }
            minute.counts.records += counts.records;
            minute.counts.spans_landed += counts.spans_landed;
            minute.counts.spans_duplicate += counts.spans_duplicate;
            minute.counts.spans_rejected += counts.spans_rejected;
            minute.counts.spans_late += counts.spans_late;
        }
    }

    /// A minute is final a minute after its end.
    pub fn end_block(&mut self, wall_ms: i64) {
        for (start, minute) in &mut self.minutes {
            minute.is_final |= start + 120 <= wall_ms.div_euclid(1_000);
        }
    }

    pub fn write(&self, tables: &mut Tables) {
        for (start, minute) in &self.minutes {
            let quantile = |q: f64| {
                let mut sorted = minute
                    .delays
                    .iter()
                    .flat_map(|(&b, &n)| (0..n).map(move |_| b));
                let rank = ((q * minute.spans as f64).ceil() as usize).max(1);
                sorted.nth(rank - 1).map_or(0, value_of)
            };
            let counts = &minute.counts;
            put(
                tables,
                "ads_freshness",
                row! {
                    "window_start": *start, "window_end": start + 60, "spans": minute.spans,
                    "delay_p50_ms": quantile(0.5), "delay_p95_ms": quantile(0.95),
                    "delay_p99_ms": quantile(0.99), "delay_max_ms": minute.max_ms,
                    "delay_buckets": buckets(&minute.delays), "records": counts.records,
                    "spans_in": counts.spans_landed + counts.spans_duplicate + counts.spans_rejected,
                    "spans_landed": counts.spans_landed, "spans_duplicate": counts.spans_duplicate,
                    "spans_rejected": counts.spans_rejected, "spans_late": counts.spans_late,
                    "final": minute.is_final, "is_deleted": false,
                },
            );
        }
    }
}
