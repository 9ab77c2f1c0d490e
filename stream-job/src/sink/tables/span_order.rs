//! The order of `dwd_span` and `dwd_event`: agent, minute of the start, trace hash, span id, content hash.

use crate::sink::native::{LowCardinality, Micros};

/// The columns that rows are ordered by; those after the content hash only break ties between copies of one span.
pub(super) struct SpanOrder<'c> {
    pub(super) agent: &'c LowCardinality,
    pub(super) start_time: &'c [Micros],
    pub(super) trace_hash: &'c [u64],
    /// Big-endian, so that they order as their hex digits do.
    pub(super) span_ids: &'c [u64],
    pub(super) content_hash: &'c [u128],
    pub(super) topic: &'c LowCardinality,
    pub(super) partition: &'c [i32],
    pub(super) offset: &'c [i64],
    pub(super) index: &'c [u32],
}

impl SpanOrder<'_> {
    /// All rows in order; `within_span` orders the rows of one span.
    pub(super) fn rows(&self, within_span: impl Fn(usize) -> u32) -> Vec<u32> {
        let agents = self.agent.row_ranks();
        let topics = self.topic.row_ranks();
        // Agent, minute and trace decide nearly always: one number to compare.
        let mut keyed: Vec<(u128, u32)> = (0..self.trace_hash.len())
            .map(|row| {
                let agent = u128::from(agents[row]) << 96;
                let minute = u128::from(minute_order(self.start_time[row])) << 64;
                (
                    agent | minute | u128::from(self.trace_hash[row]),
                    row as u32,
                )
            })
            .collect();
        let rest = |row: u32| {
            let row = row as usize;
            let span = (self.span_ids[row], self.content_hash[row], within_span(row));
            let origin = (
                topics[row],
                self.partition[row],
                self.offset[row],
                self.index[row],
            );
            (span, origin)
        };
        keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(&rest(b.1))));
        keyed.into_iter().map(|(_, row)| row).collect()
    }
}

/// Minutes since 1970, shifted so that they order as unsigned 32-bit numbers.
fn minute_order(start: Micros) -> u32 {
    const MINUTE_US: i64 = 60_000_000;
    let minute = start.0.div_euclid(MINUTE_US);
    let clamped = minute.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    (clamped as u32) ^ (1 << 31)
}
