//! Intents and acks of the processes that follow: each keeps a log of its own beside the leader's epoch log, one for
//! every generation, so that nobody ever writes to another one's file.
//!
//! The leader reads all of them when it starts, together with its own log, and hands each process what is recorded of
//! the blocks that it now builds.

use std::collections::BTreeSet;

use super::epoch_log::{self, EpochLog, EpochLogError, NewLog, Replay};
use super::store::{Store, StoreError};

/// Beside each ledger lies an object of its name and this ending, made by the leader of its generation.
const PLACE: &str = ".place";

/// Why the ledgers are of no use.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// One cannot be read or written.
    #[error(transparent)]
    Log(#[from] EpochLogError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The leader has not made a place for this process where it looks.
    #[error(
        "{path} is not in {store}: all processes of a job must see one state_dir, on every machine"
    )]
    NotShared {
        /// What it looked for.
        path: String,
        /// Where.
        store: String,
    },
    /// Two processes promised different bytes for one block.
    #[error("{block} was promised with other bytes in {ledger} than elsewhere")]
    Contradiction {
        /// Which.
        block: String,
        /// One of the two ledgers.
        ledger: String,
    },
}

/// The ledgers of one timeline.
#[derive(Clone, Debug)]
pub struct Ledgers {
    store: Store,
    folder: String,
}

impl Ledgers {
    /// Those beside the log of the timeline in this folder of the store.
    #[must_use]
    pub fn new(store: Store, timeline_folder: &str) -> Ledgers {
        Ledgers {
            store,
            folder: format!("{timeline_folder}/ledger"),
        }
    }

    /// Makes the places that the followers of a generation write to; that they find them proves that they see the same
    /// store as the leader.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn make_places(&self, generation: u64, processes: usize) -> Result<(), LedgerError> {
        for process in 1..processes {
            let place = format!("{}{PLACE}", self.name(generation, process));
            match self.store.put_new(&place, b"") {
                // Left by a start of this generation that came no further.
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Opens the ledger of a follower, for writing by it alone.
    ///
    /// # Errors
    /// If the leader has not made a place for it, or it cannot be written.
    pub fn open(
        &self,
        generation: u64,
        process: usize,
        timeline: &str,
        first_epoch: u64,
    ) -> Result<EpochLog, LedgerError> {
        let name = self.name(generation, process);
        let place = format!("{name}{PLACE}");
        if self.store.get(&place)?.is_none() {
            return Err(LedgerError::NotShared {
                path: place,
                store: self.store.to_string(),
            });
        }
        let new = || {
            Ok(NewLog {
                timeline: timeline.to_owned(),
                first_epoch,
                positions: Vec::new(),
                settings: Default::default(),
                forked_from: None,
            })
        };
        let (ledger, _) = match self.store.local_dir() {
            Some(dir) => EpochLog::open(&dir.join(name), new)?,
            None => EpochLog::open_in(&self.store, &name, None, new)?,
        };
        Ok(ledger)
    }

    /// Adds what the ledgers of all generations say to what the leader's own log says.
    ///
    /// # Errors
    /// If one cannot be read, or two contradict each other.
    pub fn add_all(&self, replay: &mut Replay) -> Result<(), LedgerError> {
        for name in self.names()? {
            if let Some(ledger) = self.read(&name)? {
                add(replay, ledger, &name)?;
            }
        }
        Ok(())
    }

    /// Deletes the ledgers of earlier generations all of whose blocks end at or below an epoch that nobody goes back
    /// before. What cannot be deleted is left to the next start.
    pub fn forget(&self, oldest: u64) {
        let forgotten = || -> Result<(), LedgerError> {
            for name in self.names()? {
                let ledger = self.read(&name)?;
                let last = ledger.and_then(|ledger| ledger.blocks.keys().map(|id| id.epoch).max());
                if last.is_none_or(|epoch| epoch <= oldest) {
                    self.delete(&name)?;
                }
            }
            Ok(())
        };
        if let Err(error) = forgotten() {
            tracing::warn!("ledgers that are no longer needed could not be deleted: {error}");
        }
    }

    fn name(&self, generation: u64, process: usize) -> String {
        format!("{}/g{generation}-p{process}", self.folder)
    }

    fn names(&self) -> Result<BTreeSet<String>, LedgerError> {
        let found = self.store.list(&self.folder)?;
        let places = found
            .iter()
            .filter_map(|entry| entry.path.strip_suffix(PLACE));
        Ok(places.map(str::to_owned).collect())
    }

    /// `None` of a process that has written nothing.
    fn read(&self, name: &str) -> Result<Option<Replay>, LedgerError> {
        match epoch_log::read_in(&self.store, name) {
            Ok(ledger) => Ok(Some(ledger)),
            Err(EpochLogError::Nothing(_)) => Ok(None),
            Err(EpochLogError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The place last: what is half deleted is found again.
    fn delete(&self, name: &str) -> Result<(), LedgerError> {
        for entry in self.store.list(name)? {
            self.store.delete(&entry.path)?;
        }
        Ok(self.store.delete(&format!("{name}{PLACE}"))?)
    }
}

fn add(replay: &mut Replay, ledger: Replay, name: &str) -> Result<(), LedgerError> {
    if ledger.timeline != replay.timeline {
        return Ok(());
    }
    for (table, intents) in ledger.intents {
        *replay.intents.entry(table).or_default() += intents;
    }
    for (id, mut block) in ledger.blocks {
        block.elsewhere = true;
        // Its place counts only what this ledger holds before it: that makes a block older than it is, never younger,
        // and an old one is asked for before it is sent.
        match replay.blocks.get_mut(&id) {
            None => drop(replay.blocks.insert(id, block)),
            Some(known) if (known.rows, &known.hash) == (block.rows, &block.hash) => {
                known.acked_ms = known.acked_ms.or(block.acked_ms);
                known.place = known.place.min(block.place);
            }
            Some(_) => {
                return Err(LedgerError::Contradiction {
                    block: id.to_string(),
                    ledger: name.to_owned(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::checkpoint::record::{Ack, Entry, Intent};

    fn intent(shard: u16, epoch: u64, hash: &str) -> Intent {
        Intent {
            table: "dwd_span".to_owned(),
            shard,
            epoch,
            n: 0,
            rows: 3,
            hash: hash.to_owned(),
        }
    }

    fn ack(shard: u16, epoch: u64, acked_ms: i64) -> Ack {
        Ack {
            table: "dwd_span".to_owned(),
            shard,
            epoch,
            n: 0,
            acked_ms,
        }
    }

    fn write(ledgers: &Ledgers, generation: u64, process: usize, entries: &[Entry]) {
        ledgers.make_places(generation, process + 1).unwrap();
        let mut ledger = ledgers.open(generation, process, "t", 7).unwrap();
        ledger.append(entries).unwrap();
    }

    fn replay(timeline: &str) -> Replay {
        Replay {
            timeline: timeline.to_owned(),
            ..Replay::default()
        }
    }

    fn known(ledgers: &Ledgers) -> Replay {
        let mut known = replay("t");
        ledgers.add_all(&mut known).unwrap();
        known
    }

    /// A local folder and an object store.
    fn each(name: &str, test: impl Fn(Ledgers)) {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("memory:ledgers-{name}");
        for store in [
            Store::open_dir(dir.path()).unwrap(),
            Store::open(&url).unwrap(),
        ] {
            test(Ledgers::new(store, "00000001"));
        }
    }

    #[test]
    fn what_the_followers_of_all_generations_promised_is_known_to_the_next_leader() {
        each("known", |ledgers| {
            assert!(known(&ledgers).blocks.is_empty());
            let (blocks, acks) = (
                vec![intent(0, 7, "a"), intent(0, 8, "b")],
                vec![ack(0, 7, 70)],
            );
            write(
                &ledgers,
                1,
                1,
                &[Entry::Intents { blocks }, Entry::Acks { blocks: acks }],
            );
            // A later process promised and landed the second one again, as the leader had not read of it yet.
            let (blocks, acks) = (vec![intent(0, 8, "b")], vec![ack(0, 8, 80)]);
            write(
                &ledgers,
                2,
                2,
                &[Entry::Intents { blocks }, Entry::Acks { blocks: acks }],
            );
            let known = known(&ledgers);
            let acked: Vec<_> = known
                .blocks
                .iter()
                .map(|(id, block)| (id.epoch, block.acked_ms))
                .collect();
            assert_eq!(acked, [(7, Some(70)), (8, Some(80))]);
            assert!(known.blocks.values().all(|block| block.elsewhere));
            assert_eq!(known.intents["dwd_span"], 3);
        });
    }

    #[test]
    fn a_ledger_is_forgotten_when_no_checkpoint_goes_back_before_its_last_block() {
        each("forgotten", |ledgers| {
            for (generation, epoch) in [(1, 7), (2, 9)] {
                let blocks = vec![intent(0, epoch, "a")];
                write(&ledgers, generation, 1, &[Entry::Intents { blocks }]);
            }
            ledgers.make_places(3, 2).unwrap();
            ledgers.forget(8);
            let epochs: Vec<u64> = known(&ledgers).blocks.keys().map(|id| id.epoch).collect();
            assert_eq!(epochs, [9]);
            let left: Vec<String> = ledgers.names().unwrap().into_iter().collect();
            assert_eq!(
                left,
                [ledgers.name(2, 1)],
                "nothing was promised in the third"
            );
        });
    }

    #[test]
    fn two_promises_of_other_bytes_are_refused_and_other_timelines_left_out() {
        each("contradicting", |ledgers| {
            for (process, hash) in [(1, "a"), (2, "b")] {
                let blocks = vec![intent(0, 7, hash)];
                write(&ledgers, 1, process, &[Entry::Intents { blocks }]);
            }
            let error = ledgers.add_all(&mut replay("t")).unwrap_err().to_string();
            assert!(
                error.contains("block 0 of dwd_span, shard 0, up to epoch 7"),
                "{error}"
            );
            let mut other = replay("u");
            ledgers.add_all(&mut other).unwrap();
            assert!(other.blocks.is_empty());
        });
    }

    #[test]
    fn a_follower_that_sees_another_store_than_the_leader_is_refused() {
        let (leader, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |dir: &tempfile::TempDir| {
            Ledgers::new(Store::open_dir(dir.path()).unwrap(), "00000001")
        };
        at(&leader).make_places(3, 2).unwrap();
        at(&leader).open(3, 1, "t", 7).unwrap();
        let error = at(&other).open(3, 1, "t", 7).unwrap_err().to_string();
        assert!(error.contains("must see one state_dir"), "{error}");
    }
}
