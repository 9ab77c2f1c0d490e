//! What the epoch log holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The next position of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Topic name.
    pub topic: String,
    /// The topic's id where the broker gives one: a topic deleted and made again is another topic.
    pub topic_id: String,
    /// Partition number.
    pub partition: i32,
    /// Offset of the next record to read.
    pub next_offset: i64,
}

/// When the DWD blocks of an earlier epoch were acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckTime {
    /// The epoch whose rows became visible.
    pub epoch: u64,
    /// Wall clock of the last acknowledgement, ms since 1970.
    pub acked_ms: i64,
}

/// Everything that an epoch is a function of, besides the records themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch.
    pub epoch: u64,
    /// Id of the timeline, part of every insert token.
    pub timeline: String,
    /// Generation of the process that wrote it; fences zombies.
    pub generation: u64,
    /// Next position of every partition at the end of this epoch, sorted by topic and partition.
    pub positions: Vec<Position>,
    /// The job's watermark over all data of earlier epochs, µs since 1970: timers up to it fire before this epoch's data.
    pub watermark_us: i64,
    /// Watermark of every partition, in the order of `positions`.
    pub partition_watermarks_us: Vec<i64>,
    /// Indexes into `positions` of the partitions that are idle.
    pub idle: Vec<u32>,
    /// Wall clock, ms since 1970: the rows' `ingest_time`.
    pub wall_ms: i64,
    /// Whether the DWS and ADS blocks end with this epoch (ODS and DWD blocks end with every epoch).
    pub dws_block_ends: bool,
    /// Acknowledgements seen since the record before.
    pub ack_times: Vec<AckTime>,
    /// Hash of the settings that shape rows.
    pub settings_hash: u64,
    /// Version of the code that wrote it.
    pub code_version: String,
    /// True on the last record of a bounded source: the watermark is at the end of time.
    pub end_of_input: bool,
}

/// A promise to insert a block, durable before the block is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Table.
    pub table: String,
    /// Sink shard.
    pub shard: u16,
    /// Last epoch whose rows the block holds.
    pub epoch: u64,
    /// Number of the piece where a block had to be cut.
    pub n: u16,
    /// Rows.
    pub rows: u64,
    /// xxh3-128 of the block's bytes, lowercase hex.
    pub hash: String,
}

/// That a block is in the warehouse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ack {
    /// Table.
    pub table: String,
    /// Sink shard.
    pub shard: u16,
    /// Last epoch whose rows the block holds.
    pub epoch: u64,
    /// Number of the piece.
    pub n: u16,
    /// Wall clock of the acknowledgement, ms since 1970.
    pub acked_ms: i64,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// First entry of every log.
    Header {
        /// Format version of the log.
        version: u32,
        /// Id of the timeline.
        timeline: String,
        /// First epoch.
        first_epoch: u64,
        /// Where reading begins: the positions before the first epoch.
        positions: Vec<Position>,
        /// Settings that shape rows, by name, so that a mismatch can be named.
        settings: BTreeMap<String, String>,
    },
    /// A process took over.
    Generation {
        /// Its number.
        generation: u64,
    },
    /// An epoch was cut.
    Epoch(EpochRecord),
    /// Blocks are about to be sent.
    Intents {
        /// The blocks.
        blocks: Vec<Intent>,
    },
    /// Blocks have landed.
    Acks {
        /// The blocks.
        blocks: Vec<Ack>,
    },
}
