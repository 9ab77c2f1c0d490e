//! What the coordinator is told and what it answers.

use serde::{Deserialize, Serialize};

use crate::checkpoint::manifest::{Layer, StateRef};
use crate::checkpoint::record::EpochRecord;
use crate::dataflow::epochs::Epoch;

/// What a worker says of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// The partition's slot: its index in a record's positions.
    pub slot: u32,
    /// Offset up to which everything has been read.
    pub position: i64,
    /// Largest event time that may move the watermark, µs since 1970; over released data only.
    pub max_event_us: Option<i64>,
    /// Silent, and confirmed to be at its end.
    pub idle: bool,
    /// Ended for good: a bounded source.
    pub ended: bool,
    /// Offsets that were gone, `from..to`, and that no released epoch has gone beyond yet.
    pub gaps: Vec<(i64, i64)>,
}

/// What a worker says of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The worker.
    pub worker: usize,
    /// The last epoch that the worker has released: a report about older ones is out of date.
    pub released: Epoch,
    /// The worker reads no further until an epoch is cut.
    pub full: bool,
    /// Its partitions.
    pub partitions: Vec<PartitionReport>,
    /// The newest state file that the worker has written.
    pub saved: Option<StateRef>,
}

/// How far what was released has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last epoch whose raw and clean rows are all in the warehouse.
    pub landed: Epoch,
    /// The last epoch of which everything is in the warehouse.
    pub landed_whole: Epoch,
    /// The epoch of the newest complete checkpoint.
    pub published: Epoch,
    /// Too much is on its way to the warehouse for another epoch to begin.
    pub is_full: bool,
}

/// When epochs are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// By the clock, and sooner when a worker is full.
    Interval {
        /// Length of an epoch, ms.
        epoch_ms: i64,
        /// Length of a DWS block, ms.
        block_ms: i64,
    },
    /// When every worker is full or at its end: a bounded source, cut by record counts.
    Count {
        /// Epochs in a DWS block.
        epochs_per_block: u64,
    },
}

/// The time rules of the job, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// `max_out_of_orderness`.
    pub max_out_of_orderness_us: i64,
    /// `idle_timeout`.
    pub idle_timeout_us: i64,
    /// `max_watermark_drift`; 0 aligns nothing.
    pub max_watermark_drift_us: i64,
}

/// What stays the same in all records that one process writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Timeline id.
    pub timeline: String,
    /// Generation of this process.
    pub generation: u64,
    /// Hash of the settings that shape rows.
    pub settings_hash: u64,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Release this epoch again: its record is in the log already.
    Replay(EpochRecord),
    /// Release this epoch, once its record is durable.
    Cut(EpochRecord),
    /// All of a checkpoint is there, and everything up to its epoch has landed: complete it.
    Checkpoint(EpochRecord, Layer),
    /// Nothing comes any more.
    Stop,
}
