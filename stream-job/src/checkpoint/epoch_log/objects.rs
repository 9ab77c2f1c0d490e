//! The log in an object store: one object an append, put only where there is none.
//!
//! ```text
//! PREFIX/00000000000000000000   header and generation 1
//! PREFIX/00000000000000000001   one frame, as in a segment; its first entry tells its writer's generation
//! ```
//!
//! A process takes the log by putting an *opener*, the header and a generation above all others, under the number after
//! the last one. From then on:
//!
//! - Each process writes the numbers in order, each only when the one before is durable. So the first number that an
//!   older process finds taken by another is the opener of a newer one: it reads it and stops. It never gets past it.
//! - That must hold for ever, so **openers are never deleted**: a number that was pruned looks free, and the late put of
//!   a process long given up must not find one. Where openers are all that is left before the first other object, there
//!   may be gaps between them; after it there is none.
//! - An opener that lost its number to an older process's last append takes that in and tries the next number. One that
//!   lost it to an opener stops: of two that start at once, one runs.
//! - A starter that was slow between listing and putting may find that all it listed, and the next number too, has been
//!   pruned by the process that it meant to take over from. So it lists once more: if its opener is not the last object, it
//!   holds nothing, and it begins again. The stray opener stays. All before it that could be pruned has been, so it
//!   stands among the openers at the beginning, where generations need not ascend; after them they do.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::checkpoint::record::Entry;
use crate::checkpoint::store::Store;

use super::pins::Pins;
use super::place::{Log, Place, Writer, writer};
use super::pruner::Pruner;
use super::{EpochLogError, NewLog, Replay, frame, identity};

/// How often a log is taken again that others take or write to.
const TAKE_ATTEMPTS: u32 = 10;
/// The log, open for writing.
#[derive(Debug)]
pub(super) struct Objects {
    place: Place,
    next: u64,
    generation: u64,
    /// What may be pruned some day, oldest first: all but the openers.
    kept: VecDeque<(u64, Pins)>,
    pruner: Pruner,
}

impl Objects {
    /// Takes the log, making it if there is none.
    pub(super) fn open(
        store: &Store,
        prefix: &str,
        new: impl FnOnce() -> std::io::Result<NewLog>,
    ) -> Result<(Objects, Replay), EpochLogError> {
        let place = Place::new(store, prefix);
        let at = place.name_of(0);
        let by = identity::this_process().map_err(EpochLogError::at(&at))?;
        let mut mint = Some(new);
        let mut minted: Option<NewLog> = None;
        for _ in 0..TAKE_ATTEMPTS {
            let mut log = place.read()?;
            if log.reader.replay.is_none()
                && let Some(mint) = mint.take()
            {
                minted = Some(mint().map_err(EpochLogError::at(&at))?);
            }
            if let Some(replay) = place.take(&mut log, minted.as_ref(), &by)? {
                let objects = Objects {
                    pruner: Pruner::start(store.clone()).map_err(EpochLogError::at(&at))?,
                    next: log.next,
                    generation: replay.generation,
                    kept: log.kept,
                    place,
                };
                return Ok((objects, replay));
            }
        }
        Err(EpochLogError::Failed(format!(
            "{} changed each of the {TAKE_ATTEMPTS} times that this process tried to take it",
            place.dir().display()
        )))
    }

    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), EpochLogError> {
        let mut all = vec![Entry::Generation {
            generation: self.generation,
            by: None,
        }];
        all.extend_from_slice(entries);
        let number = self.next;
        if !self.place.put(number, &frame::encode(&all)?)? {
            return Err(self.place.fenced_by(number, self.generation));
        }
        let mut pins = Pins::default();
        pins.add_all(entries);
        self.kept.push_back((number, pins));
        self.next += 1;
        Ok(())
    }

    /// Deletes, beside whatever else happens, what is not needed where everything up to `epoch` may go; never the newest
    /// object.
    pub(super) fn prune_below(&mut self, epoch: u64) {
        while self.kept.len() > 1
            && let Some((number, pins)) = self.kept.front()
            && pins.allow_pruning_below(epoch)
        {
            self.pruner.delete(self.place.path_of(*number));
            self.kept.pop_front();
        }
    }
}

/// Reads a log without taking it; nothing if there is none.
pub(super) fn read(store: &Store, prefix: &str) -> Result<Option<Replay>, EpochLogError> {
    let place = Place::new(store, prefix);
    place.read()?.finish(&place)
}

/// Takes a log that nobody will go on with, so that who still writes to it stops.
pub(super) fn seal(store: &Store, prefix: &str) -> Result<(), EpochLogError> {
    let place = Place::new(store, prefix);
    let at = place.name_of(0);
    let by = identity::this_process().map_err(EpochLogError::at(&at))?;
    for _ in 0..TAKE_ATTEMPTS {
        let Some(last) = place.numbers()?.pop() else {
            return Ok(());
        };
        let Some(writer) = place.writer_of(last)? else {
            continue;
        };
        let opener = frame::encode(&[Entry::Generation {
            generation: writer.generation + 1,
            by: Some(by.clone()),
        }])?;
        if place.put(last + 1, &opener)? && place.numbers()?.last() == Some(&(last + 1)) {
            return Ok(());
        }
    }
    Err(EpochLogError::Failed(format!(
        "{} is still being written to by another process; stop that one",
        place.dir().display()
    )))
}

impl Place {
    /// Why our number is taken.
    fn fenced_by(&self, number: u64, ours: u64) -> EpochLogError {
        let at = self.name_of(number);
        match self.writer_of(number) {
            Ok(Some(writer)) if writer.generation >= ours => fenced(at, ours, writer),
            Ok(writer) => EpochLogError::NotKept {
                at,
                theirs: writer.map_or(0, |writer| writer.generation),
                ours,
            },
            Err(error) => error,
        }
    }

    /// Puts our opener after what was read; nothing if that has to be read again.
    fn take(
        &self,
        log: &mut Log,
        minted: Option<&NewLog>,
        by: &str,
    ) -> Result<Option<Replay>, EpochLogError> {
        let fresh = log.reader.replay.is_none();
        loop {
            log.reader.check(&self.first_of(&log.kept))?;
            let known = log.reader.replay.as_ref().map(Replay::new_log);
            let Some(new) = known.as_ref().or(minted) else {
                return Ok(None);
            };
            let (number, generation) = (log.next, log.generation + 1);
            let opener = frame::encode(&[
                new.header(),
                Entry::Generation {
                    generation,
                    by: Some(by.to_owned()),
                },
            ])?;
            if self.put(number, &opener)? {
                return self.hold(log, number, generation, &opener, fresh);
            }
            let Some(bytes) = self.get(number)? else {
                return Ok(None);
            };
            match writer(&bytes) {
                Some(writer) if writer.generation >= generation => {
                    return Err(fenced(self.name_of(number), generation, writer));
                }
                // The last words of an older process.
                _ => log.read_on(self, number, &bytes)?,
            }
        }
    }

    /// Looks whether our opener is the last object, with which the log is ours.
    fn hold(
        &self,
        log: &mut Log,
        number: u64,
        generation: u64,
        opener: &[u8],
        fresh: bool,
    ) -> Result<Option<Replay>, EpochLogError> {
        let last = self.numbers()?.pop().unwrap_or(number);
        if last > number {
            return match self.writer_of(last)? {
                Some(writer) if writer.generation >= generation => {
                    Err(fenced(self.name_of(last), generation, writer))
                }
                _ => Ok(None),
            };
        }
        log.read_on(self, number, opener)?;
        Ok(log.reader.replay.take().map(|replay| Replay {
            fresh,
            generation,
            ..replay
        }))
    }
}

fn fenced(at: PathBuf, ours: u64, writer: Writer) -> EpochLogError {
    EpochLogError::Fenced {
        at,
        ours,
        theirs: writer.generation,
        who: writer.by.unwrap_or_else(|| "another process".to_owned()),
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
