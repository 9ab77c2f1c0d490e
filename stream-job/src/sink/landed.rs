//! Which epochs have landed whole: decisions without I/O.
//!
//! DWS and ADS blocks hold the rows of a run of epochs. `ops_epoch` says "everything up to here has landed", so the
//! epochs of a run become complete together, once the blocks at its end have landed too.

use std::collections::{BTreeMap, VecDeque};

use super::tables::EpochRow;

/// All rows of an epoch have been handed to the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochClose {
    /// What `ops_epoch` will say of it.
    pub row: EpochRow,
    /// How many blocks end with this epoch, over all tables, shards and pieces.
    pub blocks: u64,
    /// Whether the run of epochs ends here: DWS and ADS blocks do.
    pub ends_run: bool,
}

/// A run of epochs of which everything has landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LandedRun {
    /// Its epochs, ascending.
    pub rows: Vec<EpochRow>,
    /// When the last of its blocks was acknowledged, ms since 1970; if it had none, the wall clock of its last epoch.
    pub landed_ms: i64,
}

/// The dataflow and the warehouse disagree about an epoch's blocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MiscountError {
    /// Epochs close in ascending order.
    #[error("epoch {epoch} was closed after epoch {last}")]
    OutOfOrder {
        /// The epoch.
        epoch: u64,
        /// The one closed before.
        last: u64,
    },
    /// More blocks landed than were announced.
    #[error("{landed} blocks of epoch {epoch} landed, but it was closed with {announced}")]
    TooMany {
        /// The epoch.
        epoch: u64,
        /// Blocks that landed.
        landed: u64,
        /// Blocks announced.
        announced: u64,
    },
}

#[derive(Debug, Default)]
struct Landed {
    blocks: u64,
    last_ms: i64,
}

/// Counts landed blocks against announced ones.
#[derive(Debug, Default)]
pub struct Tracker {
    closed: VecDeque<EpochClose>,
    landed: BTreeMap<u64, Landed>,
    last_closed: Option<u64>,
}

impl Tracker {
    /// A block that ends with this epoch has landed.
    pub fn landed(&mut self, epoch: u64, acked_ms: i64) {
        let landed = self.landed.entry(epoch).or_default();
        landed.blocks += 1;
        landed.last_ms = landed.last_ms.max(acked_ms);
    }

    /// An epoch is closed: its number of blocks is known. Blocks may have landed before, and may land after.
    ///
    /// # Errors
    /// If epochs are not closed in ascending order.
    pub fn close(&mut self, close: EpochClose) -> Result<(), MiscountError> {
        let epoch = close.row.epoch;
        match self.last_closed {
            Some(last) if last >= epoch => Err(MiscountError::OutOfOrder { epoch, last }),
            _ => {
                self.last_closed = Some(epoch);
                self.closed.push_back(close);
                Ok(())
            }
        }
    }

    /// The next run that has become complete, in order, and does not end after epoch `through`.
    ///
    /// # Errors
    /// If more blocks landed than were announced.
    pub fn next_run(&mut self, through: u64) -> Result<Option<LandedRun>, MiscountError> {
        let Some(length) = self.complete_run(through)? else {
            return Ok(None);
        };
        let mut run = LandedRun {
            rows: Vec::with_capacity(length),
            landed_ms: 0,
        };
        for close in self.closed.drain(..length) {
            let landed = self.landed.remove(&close.row.epoch).unwrap_or_default();
            run.landed_ms = run.landed_ms.max(landed.last_ms);
            run.rows.push(close.row);
        }
        if run.landed_ms == 0 {
            run.landed_ms = run.rows.last().map_or(0, |row| row.wall_ms);
        }
        Ok(Some(run))
    }

    /// Whether epochs were closed whose run is not complete.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.closed.is_empty()
    }

    fn complete_run(&self, through: u64) -> Result<Option<usize>, MiscountError> {
        for (at, close) in self.closed.iter().enumerate() {
            let epoch = close.row.epoch;
            let landed = self.landed.get(&epoch).map_or(0, |landed| landed.blocks);
            let announced = close.blocks;
            if landed > announced {
                return Err(MiscountError::TooMany {
                    epoch,
                    landed,
                    announced,
                });
            }
            if landed < announced || epoch > through {
                return Ok(None);
            }
            if close.ends_run {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn close(epoch: u64, blocks: u64, ends_run: bool) -> EpochClose {
        let row = EpochRow {
            epoch,
            wall_ms: 7,
            ..EpochRow::default()
        };
        EpochClose {
            row,
            blocks,
            ends_run,
        }
    }

    fn epochs(run: Option<LandedRun>) -> Vec<u64> {
        run.map_or(Vec::new(), |run| {
            run.rows.iter().map(|row| row.epoch).collect()
        })
    }

    #[test]
    fn a_run_is_complete_when_the_blocks_at_its_end_have_landed() {
        let mut tracker = Tracker::default();
        tracker.close(close(1, 1, false)).unwrap();
        tracker.landed(1, 10);
        assert!(epochs(tracker.next_run(u64::MAX).unwrap()).is_empty());
        tracker.landed(2, 30);
        tracker.close(close(2, 2, true)).unwrap();
        tracker.close(close(3, 0, false)).unwrap();
        assert!(epochs(tracker.next_run(u64::MAX).unwrap()).is_empty());
        tracker.landed(2, 20);
        let run = tracker.next_run(u64::MAX).unwrap().unwrap();
        assert_eq!(run.landed_ms, 30);
        assert_eq!(epochs(Some(run)), [1, 2]);
        assert!(tracker.is_waiting());
        tracker.close(close(5, 0, true)).unwrap();
        assert_eq!(tracker.next_run(u64::MAX).unwrap().unwrap().landed_ms, 7);
        assert!(!tracker.is_waiting());
    }

    #[test]
    fn a_later_run_waits_for_an_earlier_one() {
        let mut tracker = Tracker::default();
        for epoch in [1, 2] {
            tracker.close(close(epoch, 1, true)).unwrap();
        }
        tracker.landed(2, 1);
        assert!(epochs(tracker.next_run(u64::MAX).unwrap()).is_empty());
        tracker.landed(1, 2);
        assert_eq!(epochs(tracker.next_run(u64::MAX).unwrap()), [1]);
        assert_eq!(epochs(tracker.next_run(u64::MAX).unwrap()), [2]);
        assert!(epochs(tracker.next_run(u64::MAX).unwrap()).is_empty());
    }

    #[test]
    fn a_complete_run_waits_for_who_else_has_to_land_it() {
        let mut tracker = Tracker::default();
        tracker.close(close(1, 0, false)).unwrap();
        tracker.close(close(2, 0, true)).unwrap();
        assert!(epochs(tracker.next_run(1).unwrap()).is_empty());
        assert_eq!(epochs(tracker.next_run(2).unwrap()), [1, 2]);
    }

    #[test]
    fn miscounts_are_errors() {
        let mut tracker = Tracker::default();
        tracker.close(close(2, 1, true)).unwrap();
        assert!(tracker.close(close(2, 1, true)).is_err());
        tracker.landed(2, 1);
        tracker.landed(2, 1);
        let error = tracker.next_run(u64::MAX).unwrap_err().to_string();
        assert_eq!(
            error,
            "2 blocks of epoch 2 landed, but it was closed with 1"
        );
    }
}
