//! What takes the rows that leave the dataflow: the warehouse's writer, or memory in tests.

use super::collect::Row;
use super::epochs::Epoch;
use crate::checkpoint::record::AckTime;
use crate::sink::block::Block;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::EpochRow;
use crate::sink::tables::ads_anomaly::AnomalyRow;

/// Takes blocks and learns when they are complete. Called from all worker threads.
pub trait Output: Send + Sync {
    /// Takes a block. May wait until there is room.
    fn block(&self, block: Block);

    /// Takes a copy of a dead letter for the topic.
    fn dead_letter(&self, epoch: Epoch, letter: DeadLetter);

    /// Takes a copy of a flag of an epoch for the topic of alerts, before [`Output::closed`] of the same epoch.
    fn alert(&self, _epoch: Epoch, _flag: &AnomalyRow) {}

    /// Takes rows of DWS and ADS tables that go into no block, as nothing is written (`layers = windows`).
    fn unwritten(&self, _rows: Vec<Row>) {}

    /// What was counted in an epoch. Comes in the order of epochs, before [`Output::raw_closed`] of the same epoch.
    fn counted(&self, row: EpochRow);

    /// Every ODS and DWD block of this epoch, and of those before, has been given.
    fn raw_closed(&self, epoch: Epoch);

    /// Every block of every table of this epoch has been given, and every alert; `ends_run` says that its DWS blocks ended. Comes in the
    /// order of epochs.
    fn closed(&self, epoch: Epoch, ends_run: bool);

    /// The last epoch of which all ODS and DWD rows, and those of the epochs before, are in the warehouse.
    fn landed(&self) -> Epoch;

    /// The last epoch of which everything, DWS and ADS rows too, is in the warehouse.
    fn landed_whole(&self) -> Epoch;

    /// When the last of what [`Output::landed_whole`] tells of was acknowledged, ms since 1970.
    fn landed_whole_ms(&self) -> i64 {
        0
    }

    /// The other processes have landed everything of their own up to this epoch, the last of it at `acked_ms`.
    fn others_landed(&self, through: Epoch, acked_ms: i64) {
        let _ = (through, acked_ms);
    }

    /// Whether few enough bytes are on their way for another epoch to begin. Once it says no, it says yes again when some
    /// have landed.
    fn has_room(&self) -> bool {
        true
    }

    /// Moves the acknowledgements that came since the last call into `into`.
    fn take_acks(&self, into: &mut Vec<AckTime>);
}
