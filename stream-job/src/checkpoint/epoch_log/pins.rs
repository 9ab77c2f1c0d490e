//! What of a log must be kept.

use crate::checkpoint::record::Entry;

/// Until when a part of the log is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pins {
    /// The part may go once a checkpoint of this epoch or a later one is the oldest that is kept.
    needed_below: Option<u64>,
}

impl Pins {
    pub(super) fn add(&mut self, entry: &Entry) {
        let needed_below = match entry {
            Entry::Epoch(record) => Some(record.epoch),
            Entry::Intents { blocks } => blocks.iter().map(|intent| intent.epoch).max(),
            // A checkpoint is known only as long as its entry is there.
            Entry::Checkpoint { epoch, .. } => epoch.checked_add(1),
            // An ack is of no use without its intent, which pins what comes after it too, as pruning starts at the oldest.
            Entry::Header { .. } | Entry::Generation { .. } | Entry::Acks { .. } => None,
        };
        self.needed_below = self.needed_below.max(needed_below);
    }

    pub(super) fn add_all(&mut self, entries: &[Entry]) {
        entries.iter().for_each(|entry| self.add(entry));
    }

    /// Whether nothing of it is needed where everything up to `epoch` may go.
    pub(super) fn allow_pruning_below(self, epoch: u64) -> bool {
        self.needed_below.is_none_or(|needed| needed <= epoch)
    }
}
