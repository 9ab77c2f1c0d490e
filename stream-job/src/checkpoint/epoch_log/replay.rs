//! What an epoch log says, read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::record::{
    Ack, CheckpointRef, Entry, EpochRecord, ForkPoint, Intent, Position,
};

use super::NewLog;

/// Which block an intent or an ack is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockId {
    /// Table.
    pub table: String,
    /// Sink shard.
    pub shard: u16,
    /// Last epoch whose rows the block holds.
    pub epoch: u64,
    /// Number of the piece.
    pub n: u16,
}

/// What the log says of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedBlock {
    /// Rows.
    pub rows: u64,
    /// xxh3-128 of the block's bytes, lowercase hex.
    pub hash: String,
    /// Wall clock of the acknowledgement in ms since 1970, if there was one.
    pub acked_ms: Option<i64>,
    /// How many intents of the same table were recorded before.
    pub place: u64,
    /// Whether its intent is in another log than this process writes to: that of a process that built it before.
    #[serde(default)]
    pub elsewhere: bool,
}

/// A whole epoch log in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Whether the log was made just now.
    pub fresh: bool,
    /// Id of the timeline.
    pub timeline: String,
    /// First epoch.
    pub first_epoch: u64,
    /// Where reading begins: the positions before the first epoch.
    pub positions: Vec<Position>,
    /// Settings that shape rows, by name, as the log was begun.
    pub settings: BTreeMap<String, String>,
    /// Where this timeline left another one.
    pub forked_from: Option<ForkPoint>,
    /// This process's generation; in a log that was only read, the newest one recorded.
    pub generation: u64,
    /// Who took the newest generation recorded, where it says so.
    pub writer: Option<String>,
    /// The epochs recorded, ascending. Those that were pruned are missing at the beginning.
    pub epochs: Vec<EpochRecord>,
    /// The checkpoints recorded, newest last.
    pub checkpoints: Vec<CheckpointRef>,
    /// The blocks recorded.
    pub blocks: BTreeMap<BlockId, RecordedBlock>,
    /// Intents recorded, by table.
    pub intents: BTreeMap<String, u64>,
    /// Bytes of a torn last frame that were left out; worth a warning if not 0.
    pub torn_bytes: u64,
}

impl Replay {
    pub(super) fn of_new(new: NewLog) -> Replay {
        Replay {
            timeline: new.timeline,
            first_epoch: new.first_epoch,
            positions: new.positions,
            settings: new.settings,
            forked_from: new.forked_from,
            ..Replay::default()
        }
    }

    pub(super) fn new_log(&self) -> NewLog {
        NewLog {
            timeline: self.timeline.clone(),
            first_epoch: self.first_epoch,
            positions: self.positions.clone(),
            settings: self.settings.clone(),
            forked_from: self.forked_from.clone(),
        }
    }

    pub(crate) fn newest_checkpoint(&self) -> Option<u64> {
        self.checkpoints
            .iter()
            .map(|checkpoint| checkpoint.epoch)
            .max()
    }

    /// Takes in one entry that is neither header nor acks.
    pub(super) fn apply(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            // The reader's part: what they mean depends on where they stand.
            Entry::Header { .. } | Entry::Acks { .. } => Ok(()),
            Entry::Generation { generation, .. } if generation < self.generation => Err(format!(
                "generation {generation} after generation {}: an old process wrote on",
                self.generation
            )),
            Entry::Generation { generation, by } => {
                self.generation = generation;
                if by.is_some() {
                    self.writer = by;
                }
                Ok(())
            }
            Entry::Epoch(record) => self.apply_epoch(record),
            Entry::Intents { blocks } => blocks
                .into_iter()
                .try_for_each(|intent| self.apply_intent(intent)),
            Entry::Checkpoint {
                epoch,
                manifest,
                crc32c,
                bytes,
            } => self.apply_checkpoint(CheckpointRef {
                epoch,
                manifest,
                crc32c,
                bytes,
            }),
        }
    }

    fn apply_epoch(&mut self, record: EpochRecord) -> Result<(), String> {
        match self.epochs.last() {
            Some(last) if last.epoch >= record.epoch => {
                return Err(format!("epoch {} after epoch {}", record.epoch, last.epoch));
            }
            _ if record.timeline != self.timeline => {
                return Err(format!(
                    "epoch {} is of timeline {}",
                    record.epoch, record.timeline
                ));
            }
            _ => self.epochs.push(record),
        }
        Ok(())
    }

    fn apply_intent(&mut self, intent: Intent) -> Result<(), String> {
        let place = self.intents.entry(intent.table.clone()).or_default();
        let id = BlockId::of_intent(&intent);
        let recorded = RecordedBlock {
            rows: intent.rows,
            hash: intent.hash,
            acked_ms: None,
            place: *place,
            elsewhere: false,
        };
        *place += 1;
        match self.blocks.insert(id.clone(), recorded) {
            None => Ok(()),
            Some(_) => Err(format!("a second intent for {id}")),
        }
    }

    /// Takes in a checkpoint that was appended to the log just now.
    pub(crate) fn note_checkpoint(&mut self, checkpoint: CheckpointRef) {
        self.checkpoints.push(checkpoint);
    }

    fn apply_checkpoint(&mut self, checkpoint: CheckpointRef) -> Result<(), String> {
        if let Some(last) = self.epochs.last()
            && last.epoch < checkpoint.epoch
        {
            return Err(format!(
                "a checkpoint of epoch {}, which was not cut: the last one is {}",
                checkpoint.epoch, last.epoch
            ));
        }
        self.checkpoints.push(checkpoint);
        Ok(())
    }

    /// Takes in one acknowledgement, or tells its block if that has no intent.
    pub(super) fn acknowledge(&mut self, ack: Ack) -> Result<(), BlockId> {
        let id = BlockId {
            table: ack.table,
            shard: ack.shard,
            epoch: ack.epoch,
            n: ack.n,
        };
        let Some(recorded) = self.blocks.get_mut(&id) else {
            return Err(id);
        };
        // Sent again after a crash between insert and ack, a block is acknowledged a second time: the first counts.
        recorded.acked_ms.get_or_insert(ack.acked_ms);
        Ok(())
    }
}

impl BlockId {
    fn of_intent(intent: &Intent) -> BlockId {
        BlockId {
            table: intent.table.clone(),
            shard: intent.shard,
            epoch: intent.epoch,
            n: intent.n,
        }
    }
}

impl std::fmt::Display for BlockId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BlockId {
            table,
            shard,
            epoch,
            n,
        } = self;
        write!(
            f,
            "block {n} of {table}, shard {shard}, up to epoch {epoch}"
        )
    }
}
