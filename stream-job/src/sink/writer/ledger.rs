//! What the epoch log says of blocks, against what a replay computes: decisions without I/O.

use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, HashMap};

use super::dispatch::OPS_EPOCH;
use crate::checkpoint::epoch_log::{BlockId, RecordedBlock, Replay};
use crate::checkpoint::record::Intent;
use crate::sink::block::Block;

/// A replay computed another block than was promised: code, settings or the Kafka log are not what they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the replay diverges at {id}: it has {rows} rows with hash {hash}, but {recorded_rows} rows with hash \
     {recorded_hash} were recorded. Nothing was written. Replay with the code, settings and Kafka log of the first \
     run, or start a new timeline"
)]
pub struct DivergenceError {
    /// The block.
    pub id: BlockId,
    /// Rows now.
    pub rows: u64,
    /// xxh3-128 now.
    pub hash: String,
    /// Rows recorded.
    pub recorded_rows: u64,
    /// xxh3-128 recorded.
    pub recorded_hash: String,
}

/// What to do with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is new, or another process promised it: its intent must be durable in this process's log before it is sent,
    /// and, as in `SendUnlessThere`, an old one is asked for.
    Promise {
        /// What becomes durable.
        intent: Intent,
        /// See `SendUnlessThere`.
        rows_if_there: Option<u64>,
    },
    /// Its intent is recorded: send it.
    Send,
    /// Its intent is so old that the warehouse may have forgotten its token: ask first. If the warehouse holds this
    /// many rows of its epoch and shard, or more, the block is there.
    SendUnlessThere {
        /// Rows of the pieces before it and its own.
        rows_if_there: u64,
    },
    /// It has landed.
    Skip {
        /// When, ms since 1970.
        acked_ms: i64,
    },
}

/// The recorded blocks that a replay has not come to yet.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    recorded: BTreeMap<BlockId, RecordedBlock>,
    old: HashMap<BlockId, u64>,
    /// How many recorded blocks of each epoch have not been computed again.
    awaited: BTreeMap<u64, usize>,
    /// `ops_epoch` was promised up to here: by then all blocks had been.
    complete_through: u64,
}

impl Ledger {
    /// Takes over what the log says. `window` is the number of inserts per table whose tokens the warehouse remembers.
    pub(super) fn new(replay: &mut Replay, window: u64) -> Ledger {
        let recorded = std::mem::take(&mut replay.blocks);
        let is_old = |(id, block): &(&BlockId, &RecordedBlock)| {
            let all = replay.intents.get(&id.table).copied().unwrap_or_default();
            block.acked_ms.is_none() && all - block.place > window / 2
        };
        let with_rows = |(id, block): (&BlockId, &RecordedBlock)| {
            let first = BlockId { n: 0, ..id.clone() };
            let before: u64 = recorded
                .range(first..id.clone())
                .map(|(_, piece)| piece.rows)
                .sum();
            (id.clone(), before + block.rows)
        };
        let old = recorded.iter().filter(is_old).map(with_rows).collect();
        let mut awaited = BTreeMap::new();
        for id in recorded.keys().filter(|id| id.table != OPS_EPOCH) {
            *awaited.entry(id.epoch).or_default() += 1;
        }
        let complete = recorded.keys().filter(|id| id.table == OPS_EPOCH);
        let complete_through = complete.map(|id| id.epoch).max().unwrap_or(0);
        Ledger {
            recorded,
            old,
            awaited,
            complete_through,
        }
    }

    /// All blocks up to this epoch have been decided on, but for those of `ops_epoch`, which are made from them.
    ///
    /// # Errors
    /// If one was promised that the replay has not computed.
    pub(super) fn close(&mut self, epoch: u64) -> Result<(), DivergenceError> {
        let has_come = |entry: &OccupiedEntry<'_, u64, usize>| *entry.key() <= epoch;
        while let Some(entry) = self.awaited.first_entry().filter(has_come) {
            let (closed, awaited) = entry.remove_entry();
            if awaited == 0 {
                continue;
            }
            let is_missing = |id: &&BlockId| id.epoch == closed && id.table != OPS_EPOCH;
            let missing = self.recorded.keys().find(is_missing).cloned();
            if let Some((id, recorded)) = missing.and_then(|id| self.recorded.remove_entry(&id)) {
                return Err(DivergenceError {
                    id,
                    rows: 0,
                    hash: "none".to_owned(),
                    recorded_rows: recorded.rows,
                    recorded_hash: recorded.hash,
                });
            }
        }
        Ok(())
    }

    pub(super) fn decide(&mut self, block: &Block) -> Result<Decision, DivergenceError> {
        let id = id_of(block);
        let hash = format!("{:032x}", block.hash);
        let Some(recorded) = self.recorded.remove(&id) else {
            if id.epoch <= self.complete_through {
                return Err(DivergenceError {
                    id,
                    rows: block.rows,
                    hash,
                    recorded_rows: 0,
                    recorded_hash: "none".to_owned(),
                });
            }
            return Ok(Decision::Promise {
                intent: intent_of(block, hash),
                rows_if_there: None,
            });
        };
        if let Some(awaited) = self.awaited.get_mut(&id.epoch)
            && id.table != OPS_EPOCH
        {
            *awaited -= 1;
        }
        if (recorded.rows, &recorded.hash) != (block.rows, &hash) {
            return Err(DivergenceError {
                id,
                rows: block.rows,
                hash,
                recorded_rows: recorded.rows,
                recorded_hash: recorded.hash,
            });
        }
        Ok(match (recorded.acked_ms, self.old.remove(&id)) {
            (Some(acked_ms), _) => Decision::Skip { acked_ms },
            (None, rows_if_there) if recorded.elsewhere => Decision::Promise {
                intent: intent_of(block, hash),
                rows_if_there,
            },
            (None, Some(rows_if_there)) => Decision::SendUnlessThere { rows_if_there },
            (None, None) => Decision::Send,
        })
    }
}

fn intent_of(block: &Block, hash: String) -> Intent {
    Intent {
        table: block.table.to_owned(),
        shard: block.shard,
        epoch: block.epoch,
        n: block.n,
        rows: block.rows,
        hash,
    }
}

pub(super) fn id_of(block: &Block) -> BlockId {
    BlockId {
        table: block.table.to_owned(),
        shard: block.shard,
        epoch: block.epoch,
        n: block.n,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn block(epoch: u64, n: u16) -> Block {
        Block {
            table: "dwd_span",
            columns: &[],
            shard: 0,
            epoch,
            n,
            rows: 3,
            body: Vec::new(),
            hash: 0xab,
        }
    }

    fn replay(blocks: &[(u64, u16, Option<i64>)]) -> Replay {
        let mut replay = Replay::default();
        for (place, &(epoch, n, acked_ms)) in (0..).zip(blocks) {
            let recorded = RecordedBlock {
                rows: 3,
                hash: format!("{:032x}", 0xab),
                acked_ms,
                place,
                elsewhere: false,
            };
            replay.blocks.insert(id_of(&block(epoch, n)), recorded);
        }
        replay
            .intents
            .insert("dwd_span".to_owned(), blocks.len() as u64);
        replay
    }

    #[test]
    fn a_replay_skips_what_was_acknowledged_and_sends_the_rest() {
        let mut replay = replay(&[(1, 0, Some(5)), (2, 0, None)]);
        let mut ledger = Ledger::new(&mut replay, 100);
        assert_eq!(
            ledger.decide(&block(1, 0)).unwrap(),
            Decision::Skip { acked_ms: 5 }
        );
        assert_eq!(ledger.decide(&block(2, 0)).unwrap(), Decision::Send);
        assert!(matches!(
            ledger.decide(&block(3, 0)).unwrap(),
            Decision::Promise { .. }
        ));
    }

    #[test]
    fn a_block_that_another_process_promised_is_promised_again_and_held_against_its_hash() {
        let mut replay = replay(&[(1, 0, Some(5)), (1, 1, None), (2, 0, None), (3, 0, None)]);
        replay
            .blocks
            .values_mut()
            .for_each(|block| block.elsewhere = true);
        let mut ledger = Ledger::new(&mut replay, 4);
        let skip = Decision::Skip { acked_ms: 5 };
        assert_eq!(ledger.decide(&block(1, 0)).unwrap(), skip);
        let promised = |decision| match decision {
            Decision::Promise { rows_if_there, .. } => rows_if_there,
            other => panic!("{other:?}"),
        };
        let old = ledger.decide(&block(1, 1)).unwrap();
        assert_eq!(promised(old), Some(6), "an old one is asked for");
        let recent = ledger.decide(&block(2, 0)).unwrap();
        assert_eq!(promised(recent), None);
        let changed = Block {
            hash: 0xac,
            ..block(3, 0)
        };
        assert!(ledger.decide(&changed).is_err());
    }

    #[test]
    fn other_bytes_or_rows_than_promised_stop_the_replay_even_when_acknowledged() {
        for acked in [None, Some(1)] {
            for (rows, hash) in [(3, 0xac), (4, 0xab)] {
                let mut ledger = Ledger::new(&mut replay(&[(1, 0, acked)]), 100);
                let changed = Block {
                    rows,
                    hash,
                    ..block(1, 0)
                };
                let error = ledger.decide(&changed).unwrap_err().to_string();
                assert!(
                    error.contains("block 0 of dwd_span, shard 0, up to epoch 1"),
                    "{error}"
                );
                assert!(
                    error.contains("000000ab") && error.contains(&format!("{hash:032x}")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_promised_block_that_the_replay_does_not_compute_stops_it() {
        let mut ledger = Ledger::new(&mut replay(&[(1, 0, Some(1)), (2, 0, None)]), 100);
        ledger.decide(&block(1, 0)).unwrap();
        ledger.close(1).unwrap();
        let error = ledger.close(2).unwrap_err().to_string();
        assert!(
            error.contains("dwd_span, shard 0, up to epoch 2: it has 0 rows"),
            "{error}"
        );
    }

    #[test]
    fn a_block_that_was_never_promised_stops_the_replay_of_a_complete_epoch() {
        let mut replay = replay(&[(1, 0, Some(1))]);
        let of_epochs = BlockId {
            table: OPS_EPOCH.to_owned(),
            ..id_of(&block(2, 0))
        };
        let recorded = replay.blocks.values().next().unwrap().clone();
        replay.blocks.insert(of_epochs, recorded);
        let mut ledger = Ledger::new(&mut replay, 100);
        ledger.decide(&block(1, 0)).unwrap();
        let error = ledger.decide(&block(2, 0)).unwrap_err().to_string();
        assert!(error.contains("but 0 rows with hash none"), "{error}");
        assert!(matches!(
            ledger.decide(&block(3, 0)).unwrap(),
            Decision::Promise { .. }
        ));
    }

    #[test]
    fn a_block_beyond_the_deduplication_window_is_asked_for_first() {
        let mut replay = replay(&[
            (1, 0, Some(1)),
            (1, 1, None),
            (2, 0, None),
            (3, 0, None),
            (4, 0, None),
        ]);
        let mut ledger = Ledger::new(&mut replay, 6);
        // The piece before it has 3 rows, it has 3.
        let asked = Decision::SendUnlessThere { rows_if_there: 6 };
        assert_eq!(ledger.decide(&block(1, 1)).unwrap(), asked);
        assert_eq!(ledger.decide(&block(2, 0)).unwrap(), Decision::Send);
    }
}
