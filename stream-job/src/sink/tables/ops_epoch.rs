//! `ops_epoch`: one row an epoch, inserted when everything up to it has landed.

use super::Table;
use crate::sink::native::{Fixed, Micros, Millis, Strings};

columns! {
    struct Columns {
        epoch: Fixed<u64> = "epoch",
        timeline: Strings = "timeline",
        generation: Fixed<u64> = "generation",
        wall_time: Fixed<Millis> = "wall_time",
        landed_time: Fixed<Millis> = "landed_time",
        watermark: Fixed<Micros> = "watermark",
        records: Fixed<u64> = "records",
        spans: Fixed<u64> = "spans",
        spans_landed: Fixed<u64> = "spans_landed",
        spans_duplicate: Fixed<u64> = "spans_duplicate",
        spans_rejected: Fixed<u64> = "spans_rejected",
        spans_late: Fixed<u64> = "spans_late",
    }
}

/// What the dataflow knows of an epoch when it has closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EpochRow {
    /// The epoch.
    pub epoch: u64,
    /// Generation that the epoch's record names.
    pub generation: u64,
    /// Wall clock of the epoch's record, ms since 1970.
    pub wall_ms: i64,
    /// Watermark before the epoch's data, µs since 1970.
    pub watermark_us: i64,
    /// Records consumed.
    pub records: u64,
    /// Spans that landed.
    pub spans_landed: u64,
    /// Spans that were there already.
    pub spans_duplicate: u64,
    /// Spans that became dead letters.
    pub spans_rejected: u64,
    /// Landed spans that were late.
    pub spans_late: u64,
}

/// Last µs that ClickHouse's `DateTime64(6)` holds, 2299-12-31T23:59:59.999999: where a watermark at the end of time
/// is shown.
const END_OF_TIME_US: i64 = 10_413_791_999_999_999;

/// Builds `ops_epoch`.
#[derive(Debug, Default)]
pub struct OpsEpoch {
    columns: Columns,
}

impl OpsEpoch {
    /// Pushes one epoch, in ascending order of epochs. `landed_ms` is when its last block was acknowledged.
    pub fn push(&mut self, row: &EpochRow, timeline: &str, landed_ms: i64) {
        let columns = &mut self.columns;
        columns.epoch.push(row.epoch);
        columns.timeline.push(timeline);
        columns.generation.push(row.generation);
        columns.wall_time.push(Millis(row.wall_ms));
        columns.landed_time.push(Millis(landed_ms));
        columns
            .watermark
            .push(Micros(row.watermark_us.clamp(0, END_OF_TIME_US)));
        columns.records.push(row.records);
        columns
            .spans
            .push(row.spans_landed + row.spans_duplicate + row.spans_rejected);
        columns.spans_landed.push(row.spans_landed);
        columns.spans_duplicate.push(row.spans_duplicate);
        columns.spans_rejected.push(row.spans_rejected);
        columns.spans_late.push(row.spans_late);
    }
}

impl Table for OpsEpoch {
    table_of_columns!(Columns, "ops_epoch", epoch);

    fn order(&mut self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(|&row| self.columns.epoch.values()[row as usize]);
        order
    }

    fn clear(&mut self) {
        self.columns.clear();
    }
}
