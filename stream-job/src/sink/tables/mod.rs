//! One builder per table: columns as the migrations declare them, and the order of the table's key.
//!
//! - ODS and DWD builders take one row at a time from borrowed data and keep it by column.
//! - DWS, ADS and `ops_epoch` rows are plain structs (they travel between workers); a [`RowTable`] collects them.
//!
//! Ties of the key are broken by where a row came from, so a block's bytes depend on the set of its rows alone.

#[macro_use]
mod declare;
mod attributes;
mod links;
mod rows;
mod span_order;

pub mod ads_anomaly;
pub mod ads_freshness;
pub mod ads_top;
pub mod dwd_content;
pub mod dwd_event;
pub mod dwd_metric_point;
pub mod dwd_span;
pub mod dws_edge;
pub mod dws_resource;
pub mod dws_session;
pub mod dws_step;
pub mod dws_trace;
pub mod dws_user;
pub mod ods_dead_letter;
pub mod ods_record;
pub mod ops_epoch;

pub use attributes::trace_hash;
pub use dwd_content::{Contents, DwdContent};
pub use dwd_event::DwdEvent;
pub use dwd_metric_point::DwdMetricPoint;
pub use dwd_span::DwdSpan;
pub use ods_dead_letter::OdsDeadLetter;
pub use ods_record::{OdsRecord, Outcome, RecordOutcome};
pub use ops_epoch::{EpochRow, OpsEpoch};
pub use rows::{Keyed, RowTable};

use span_order::SpanOrder;

/// An empty builder of every table that the job writes.
#[must_use]
pub fn every_table() -> Vec<Box<dyn Table>> {
    vec![
        Box::new(OdsRecord::default()),
        Box::new(OdsDeadLetter::default()),
        Box::new(DwdSpan::default()),
        Box::new(DwdEvent::default()),
        Box::new(DwdContent::default()),
        Box::new(DwdMetricPoint::default()),
        Box::new(dws_step::one_minute()),
        Box::new(dws_step::five_minutes()),
        Box::new(dws_step::one_hour()),
        Box::new(dws_trace::traces()),
        Box::new(dws_session::sessions()),
        Box::new(ads_anomaly::anomalies()),
        Box::new(ads_top::slowest()),
        Box::new(ads_top::dearest()),
        Box::new(ads_top::errors()),
        Box::new(ads_freshness::freshness()),
        Box::new(dws_edge::edges()),
        Box::new(dws_resource::resources()),
        Box::new(dws_user::users()),
        Box::new(OpsEpoch::default()),
    ]
}

/// A table under construction.
pub trait Table {
    /// The table's name.
    fn name(&self) -> &'static str;

    /// Names and types of the columns, as written.
    fn columns(&self) -> &'static [(&'static str, &'static str)];

    /// Rows pushed.
    fn len(&self) -> usize;

    /// Whether no row was pushed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Encoded size of what was pushed, in bytes, about; in constant time for ODS and DWD tables.
    fn total_bytes(&self) -> usize;

    /// Makes ready for writing: the rows to write in the order of the table's key.
    fn order(&mut self) -> Vec<u32>;

    /// Encoded size of one row named by [`Table::order`], rounded up.
    fn row_bytes(&self, row: u32) -> usize;

    /// Writes one Native block with rows named by [`Table::order`].
    fn write_native(&mut self, rows: &[u32], out: &mut Vec<u8>);

    /// Forgets all rows and keeps the buffers.
    fn clear(&mut self);
}

/// Where a span, point or record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
}

/// What all ODS and DWD rows of one epoch and sink shard share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The epoch.
    pub epoch: u64,
    /// The sink shard.
    pub shard: u16,
    /// Wall clock of the epoch's record, ms since 1970.
    pub ingest_ms: i64,
}

#[cfg(test)]
pub(crate) mod tests;
