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

/// Key groups that a checkpoint writes whole: from `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// First group.
    pub from: u16,
    /// First group after them.
    pub to: u16,
}

impl Rewrite {
    /// Whether a group is among them.
    #[must_use]
    pub fn contains(self, group: u16) -> bool {
        (self.from..self.to).contains(&group)
    }
}

/// Offsets of a partition that the source did not have any more when they were to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Index of the partition in [`EpochRecord::positions`].
    pub slot: u32,
    /// The offset that was wanted.
    pub from: i64,
    /// The first offset that was there.
    pub to: i64,
}

/// Everything that an epoch is a function of, besides the records themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch.
    pub epoch: u64,
    /// Id of the timeline, part of every insert token.
    pub timeline: String,
    /// Generation of the process that wrote it; fences zombies.
    pub generation: u64,
    /// Next position of every partition at the end of this epoch. A partition's index in it is its *slot*, for the whole
    /// timeline: those found while running come after those there were, and the first record that has one says where it
    /// begins.
    pub positions: Vec<Position>,
    /// The job's watermark over all data of earlier epochs, µs since 1970: timers up to it fire before this epoch's data.
    pub watermark_us: i64,
    /// Watermark of every partition, in the order of `positions`.
    pub partition_watermarks_us: Vec<i64>,
    /// Indexes into `positions` of the partitions that are idle.
    pub idle: Vec<u32>,
    /// Offsets that were gone before they could be read; this epoch goes on behind them.
    #[serde(default)]
    pub gaps: Vec<Gap>,
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
    /// Set where a checkpoint is taken at the end of this epoch; all blocks end here then. Written even where it is not:
    /// a record goes to the other processes in a format without names, where nothing may be left out.
    #[serde(default)]
    pub checkpoint: Option<Rewrite>,
    /// Set on the first record of a fork whose warehouse had gone further: all that is open is told of again.
    #[serde(default)]
    pub tells_all: bool,
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

/// A checkpoint that can be gone back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRef {
    /// The state is that after this epoch.
    pub epoch: u64,
    /// Path of its manifest in the store.
    pub manifest: String,
    /// CRC-32C of the manifest.
    pub crc32c: u32,
    /// Bytes of the manifest.
    pub bytes: u64,
}

/// Where a timeline left another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// Id of the timeline that was left.
    pub timeline: String,
    /// The last epoch that both have.
    pub epoch: u64,
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
        /// Where the timeline left another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forked_from: Option<ForkPoint>,
    },
    /// A process took over.
    Generation {
        /// Its number.
        generation: u64,
        /// Who it is, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
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
    /// A checkpoint is complete: its manifest and all that it names are durable. See [`CheckpointRef`].
    Checkpoint {
        /// The state is that after this epoch.
        epoch: u64,
        /// Path of its manifest in the store.
        manifest: String,
        /// CRC-32C of the manifest.
        crc32c: u32,
        /// Bytes of the manifest.
        bytes: u64,
    },
}
