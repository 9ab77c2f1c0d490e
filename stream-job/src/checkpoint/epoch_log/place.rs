//! The objects of a log: reading them all, and who wrote which.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::checkpoint::record::Entry;
use crate::checkpoint::store::{Store, StoreError};

use super::frame::{self, Found};
use super::pins::Pins;
use super::reader::Reader;
use super::{EpochLogError, Replay};

/// How often reading begins again because something was pruned meanwhile.
const READ_ATTEMPTS: u32 = 10;
/// Objects that are read at the same time.
const READERS: usize = 16;

/// Where the objects are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) prefix: String,
}

/// A log that was read, and can be read on.
pub(super) struct Log {
    pub(super) reader: Reader,
    pub(super) next: u64,
    /// The highest generation.
    pub(super) generation: u64,
    pub(super) kept: VecDeque<(u64, Pins)>,
}

/// Who wrote an object.
pub(super) struct Writer {
    pub(super) generation: u64,
    pub(super) by: Option<String>,
}

impl Log {
    pub(super) fn read_on(
        &mut self,
        place: &Place,
        number: u64,
        bytes: &[u8],
    ) -> Result<(), EpochLogError> {
        let file = place.name_of(number);
        let part = self.reader.read(&file, bytes, false)?;
        if part.valid_bytes == 0 {
            let reason = "it is empty".to_owned();
            return Err(EpochLogError::Damaged {
                file,
                at: 0,
                reason,
            });
        }
        let told = self.reader.replay.as_ref().map(|replay| replay.generation);
        self.generation = self.generation.max(told.unwrap_or_default());
        self.next = number + 1;
        if !is_opener(bytes) {
            self.kept.push_back((number, part.pins));
        }
        Ok(())
    }

    pub(super) fn finish(self, place: &Place) -> Result<Option<Replay>, EpochLogError> {
        let generation = self.generation;
        let replay = self.reader.finish(&place.first_of(&self.kept))?;
        Ok(replay.map(|replay| Replay {
            generation,
            ..replay
        }))
    }
}

impl Place {
    pub(super) fn new(store: &Store, prefix: &str) -> Place {
        Place {
            store: store.clone(),
            prefix: prefix.to_owned(),
        }
    }

    pub(super) fn path_of(&self, number: u64) -> String {
        if self.prefix.is_empty() {
            format!("{number:020}")
        } else {
            format!("{}/{number:020}", self.prefix)
        }
    }

    pub(super) fn name_of(&self, number: u64) -> PathBuf {
        format!("{}/{}", self.store, self.path_of(number)).into()
    }

    pub(super) fn dir(&self) -> PathBuf {
        format!("{}/{}", self.store, self.prefix).into()
    }

    pub(super) fn first_of(&self, kept: &VecDeque<(u64, Pins)>) -> PathBuf {
        self.name_of(kept.front().map_or(0, |(number, _)| *number))
    }

    /// The numbers that are there, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, EpochLogError> {
        let entries = self.store.list(&self.prefix)?;
        let mut numbers: Vec<u64> = (entries.iter())
            .filter_map(|entry| {
                let name = entry.path.strip_prefix(&self.prefix)?;
                let name = name.trim_start_matches('/');
                (name.len() == 20).then(|| name.parse().ok())?
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn get(&self, number: u64) -> Result<Option<Vec<u8>>, EpochLogError> {
        Ok(self.store.get(&self.path_of(number))?)
    }

    /// Whether it was put.
    pub(super) fn put(&self, number: u64, frame: &[u8]) -> Result<bool, EpochLogError> {
        match self.store.put_new(&self.path_of(number), frame) {
            Ok(()) => Ok(true),
            Err(StoreError::Exists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn writer_of(&self, number: u64) -> Result<Option<Writer>, EpochLogError> {
        let Some(bytes) = self.get(number)? else {
            return Ok(None);
        };
        writer(&bytes).map(Some).ok_or_else(|| {
            let reason = "it does not tell the generation of its writer".to_owned();
            let file = self.name_of(number);
            EpochLogError::Damaged {
                file,
                at: 0,
                reason,
            }
        })
    }

    /// Reads all that is there.
    pub(super) fn read(&self) -> Result<Log, EpochLogError> {
        for _ in 0..READ_ATTEMPTS {
            let numbers = self.numbers()?;
            if let Some(objects) = self.get_all(&numbers)? {
                return self.read_objects(&numbers, &objects);
            }
        }
        Err(EpochLogError::Failed(format!(
            "{} was pruned each of the {READ_ATTEMPTS} times that it was read",
            self.dir().display()
        )))
    }

    fn read_objects(&self, numbers: &[u64], objects: &[Vec<u8>]) -> Result<Log, EpochLogError> {
        let openers = objects.iter().take_while(|bytes| is_opener(bytes)).count();
        // Dense from the first number on, if nothing was pruned.
        let pruned = (numbers.get(openers)).is_some_and(|first| *first != openers as u64);
        let mut log = Log {
            reader: Reader::new(pruned),
            next: 0,
            generation: 0,
            kept: VecDeque::new(),
        };
        for (at, (&number, bytes)) in numbers.iter().zip(objects).enumerate() {
            if at > openers && number != log.next {
                return Err(EpochLogError::MissingSegment {
                    dir: self.dir(),
                    missing: format!("{:020}", log.next),
                });
            }
            if at <= openers
                && let Some(replay) = &mut log.reader.replay
            {
                // A stray opener may tell a higher one than those after it, who had not seen it.
                replay.generation = 0;
            }
            log.read_on(self, number, bytes)?;
        }
        Ok(log)
    }

    /// All objects, or nothing if one of them has gone since it was listed.
    fn get_all(&self, numbers: &[u64]) -> Result<Option<Vec<Vec<u8>>>, EpochLogError> {
        let share = numbers.len().div_ceil(READERS).max(1);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (numbers.chunks(share))
                .map(|numbers| {
                    scope.spawn(|| {
                        let objects = numbers.iter().map(|number| self.get(*number).transpose());
                        objects.collect::<Option<Result<Vec<_>, _>>>().transpose()
                    })
                })
                .collect();
            let mut all = Some(Vec::new());
            for reader in readers {
                let objects = reader.join().unwrap_or_else(|_| {
                    Err(EpochLogError::Failed(
                        "a thread that read it panicked".to_owned(),
                    ))
                })?;
                all = all.zip(objects).map(|(mut all, objects)| {
                    all.extend(objects);
                    all
                });
            }
            Ok(all)
        })
    }
}

pub(super) fn entries_of(bytes: &[u8]) -> Option<Vec<Entry>> {
    match frame::find(bytes) {
        Found::Frame { body, .. } => frame::entries(body).ok(),
        _ => None,
    }
}

pub(super) fn writer(bytes: &[u8]) -> Option<Writer> {
    (entries_of(bytes)?.into_iter()).find_map(|entry| match entry {
        Entry::Generation { generation, by } => Some(Writer { generation, by }),
        _ => None,
    })
}

/// Whether an object does nothing but take the log.
pub(super) fn is_opener(bytes: &[u8]) -> bool {
    let is_opening =
        |entry: &Entry| matches!(entry, Entry::Header { .. } | Entry::Generation { .. });
    entries_of(bytes).is_some_and(|entries| entries.iter().all(is_opening))
}
