//! What the processes keep over a restart: an entry a process.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Held, Process, Resources};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Entry, GroupKey, KeyedState, StateError, StateWriter, key_group, read_version,
};

fn hash_of_process(agent: &str, instance: &str) -> u64 {
    xxh3_64_with_seed(instance.as_bytes(), xxh3_64(agent.as_bytes()))
}

/// The group of a process.
#[must_use]
pub fn group_of_process(agent: &str, instance: &str) -> u16 {
    key_group(hash_of_process(agent, instance))
}

impl GroupKey for Process {
    fn stable_hash(&self) -> u64 {
        hash_of_process(&self.agent, &self.instance)
    }
}

impl KeyedState for Resources {
    const UID: &'static str = "process-resources";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        debug_assert!(
            self.changed.is_empty(),
            "a checkpoint is taken where a block ends"
        );
        let Resources {
            processes, changes, ..
        } = self;
        processes.save(changes, out, Held::clone);
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (process, held) = read_version::<Self, Process, Held>(version, entry)?;
        let open = held.minutes.keys().map(|&at| (at, process.clone()));
        self.open.extend(open);
        self.newest.insert((held.newest_s, process.clone()));
        self.processes.insert(process, held);
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.now.advance(record.watermark_us);
    }
}
