//! Which histories a store holds, and which of them goes on.
//!
//! ```text
//! LOCK                         local only: held by the one process that leads; says who
//! timelines/00000001.json      one a timeline; the newest number counts
//! 00000001/log/                its epoch log
//! ```
//!
//! Nothing is ever overwritten or renamed: a new timeline is the next number.

use std::path::Path;

use serde::{Deserialize, Serialize};
use warehouse::FileLock;

use super::epoch_log::{self, EpochLog, EpochLogError, NewLog, Replay};
use super::record::ForkPoint;
use super::store::{Store, StoreError};

const FOLDER: &str = "timelines";

/// One unbroken history, as the store tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its place among those of the store, from 1.
    #[serde(skip)]
    pub number: u32,
    /// Its id, part of every insert token.
    pub timeline: String,
    /// Its first epoch.
    pub first_epoch: u64,
    /// Where it left another one.
    pub forked_from: Option<ForkPoint>,
    /// Version of the code that began it.
    pub code_version: String,
    /// When it was begun, ms since 1970.
    pub begun_ms: i64,
}

impl Timeline {
    /// Its folder in the store.
    #[must_use]
    pub fn folder(&self) -> String {
        folder(self.number)
    }

    /// The folder of its epoch log.
    #[must_use]
    pub fn log_folder(&self) -> String {
        log_folder(self.number)
    }
}

/// Why a store's timelines could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The epoch log did.
    #[error(transparent)]
    Log(#[from] EpochLogError),
    /// An entry cannot be read.
    #[error(
        "{path} in {store} is damaged: {reason}. Restore it from a backup, or move the whole store away and start with \
         --new-timeline"
    )]
    Damaged {
        /// The store.
        store: String,
        /// The entry.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A folder as it was before there were timelines.
    #[error(
        "{0} holds an epoch log directly, as versions wrote it that knew no timelines. Let that version finish what it has read, \
         then give this one an empty state_dir and start it with --new-timeline; the rows that landed stay"
    )]
    OldLayout(String),
    /// Another process began one at the same time, or has since this process started.
    #[error(
        "timeline {number} of {store} was begun by another process meanwhile; stop one of the two"
    )]
    Overtaken {
        /// The store.
        store: String,
        /// The timeline's number.
        number: u32,
    },
}

/// The timelines of a store, for the process that leads.
#[derive(Debug)]
pub struct Timelines {
    store: Store,
    lock: Option<FileLock>,
    newest: Option<Timeline>,
}

impl Timelines {
    /// Takes the lock of a local store, deletes what a crash left unfinished in it, and reads which timeline is the
    /// newest.
    ///
    /// # Errors
    /// If another process leads, or the store cannot be read.
    pub fn open(store: Store) -> Result<Timelines, TimelineError> {
        let lock = match store.local_dir() {
            Some(dir) => {
                refuse_old_layout(dir)?;
                let lock = epoch_log::lock_dir(dir)?;
                store.sweep()?;
                Some(lock)
            }
            None => None,
        };
        let newest = newest(&store)?;
        Ok(Timelines {
            store,
            lock,
            newest,
        })
    }

    /// The newest timeline, if there is any yet.
    #[must_use]
    pub fn newest(&self) -> Option<&Timeline> {
        self.newest.as_ref()
    }

    /// Begins the next timeline. Those before it stay as they are, and nobody goes on with them.
    ///
    /// # Errors
    /// If another process begins one at the same time, or the store fails.
    pub fn begin(&mut self, new: &NewLog) -> Result<(), TimelineError> {
        let number = self.newest.as_ref().map_or(0, |newest| newest.number) + 1;
        let timeline = Timeline {
            number,
            timeline: new.timeline.clone(),
            first_epoch: new.first_epoch,
            forked_from: new.forked_from.clone(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            begun_ms: crate::source::wall_ms(),
        };
        let text = serde_json::to_vec_pretty(&timeline).expect("a timeline has only text keys");
        match self.store.put_new(&entry_path(number), &text) {
            Ok(()) => {}
            Err(StoreError::Exists { .. }) => return Err(self.overtaken(number)),
            Err(error) => return Err(error.into()),
        }
        self.newest = Some(timeline);
        Ok(())
    }

    /// Opens the epoch log of the newest timeline. If there is no timeline, one is begun as `new` tells. If there is one
    /// whose log was not begun, it takes positions and settings from `new`.
    ///
    /// # Errors
    /// As [`EpochLog::open`]; and if another process has begun a timeline since.
    pub fn open_log(
        mut self,
        new: impl FnOnce() -> std::io::Result<NewLog>,
    ) -> Result<(EpochLog, Replay, Timeline), TimelineError> {
        let mut mint = Mint::Later(new);
        if self.newest.is_none() {
            let minted = mint.now().map_err(|error| self.not_minted(error))?;
            self.begin(&minted)?;
            mint = Mint::Minted(minted);
        }
        let Some(timeline) = self.newest.take() else {
            unreachable!("a timeline was begun just now");
        };
        self.seal_before(&timeline)?;
        let as_begun = || {
            mint.now().map(|new| NewLog {
                timeline: timeline.timeline.clone(),
                first_epoch: timeline.first_epoch,
                forked_from: timeline.forked_from.clone(),
                ..new
            })
        };
        let lock = self.lock.take();
        let (log, replay) = EpochLog::open_in(&self.store, &timeline.log_folder(), lock, as_begun)?;
        if replay.timeline != timeline.timeline {
            return Err(self.damaged(
                &entry_path(timeline.number),
                &format!(
                    "it tells of timeline {}, and {} is the log of {}",
                    timeline.timeline,
                    timeline.log_folder(),
                    replay.timeline
                ),
            ));
        }
        // Who began a timeline meanwhile has sealed the log before we took it, or will after.
        match newest(&self.store)? {
            Some(newest) if newest.number > timeline.number => Err(self.overtaken(newest.number)),
            _ => Ok((log, replay, timeline)),
        }
    }

    /// Before a timeline's log is begun, whoever still writes to the one before it is made to stop.
    fn seal_before(&self, timeline: &Timeline) -> Result<(), TimelineError> {
        if timeline.number == 1 || self.store.local_dir().is_some() {
            return Ok(());
        }
        if self.store.list(&timeline.log_folder())?.is_empty() {
            epoch_log::seal(&self.store, &log_folder(timeline.number - 1))?;
        }
        Ok(())
    }

    fn overtaken(&self, number: u32) -> TimelineError {
        TimelineError::Overtaken {
            store: self.store.to_string(),
            number,
        }
    }

    fn damaged(&self, path: &str, reason: &str) -> TimelineError {
        TimelineError::Damaged {
            store: self.store.to_string(),
            path: path.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn not_minted(&self, source: std::io::Error) -> TimelineError {
        let path = self.store.to_string().into();
        EpochLogError::Io { path, source }.into()
    }
}

/// Reads the log of the newest timeline of a store, by folder or URL; or a log folder, or one of its segments. Takes
/// nothing: a job may be running on it.
///
/// # Errors
/// If there is no log, or it is damaged.
pub fn read(place: &Path) -> Result<Replay, TimelineError> {
    let is_store = |store: &Store| newest(store).map(|newest| newest.map(|it| it.log_folder()));
    match place.to_str() {
        Some(url) if url.contains("://") || url.starts_with("memory:") => {
            let store = Store::open(url)?;
            let folder = is_store(&store)?.unwrap_or_default();
            Ok(epoch_log::read_in(&store, &folder)?)
        }
        _ if place.join(FOLDER).is_dir() => {
            let store = Store::open_dir(place)?;
            match is_store(&store)? {
                Some(folder) => Ok(epoch_log::read_in(&store, &folder)?),
                None => Err(EpochLogError::Nothing(place.to_path_buf()).into()),
            }
        }
        _ => Ok(epoch_log::read(place)?),
    }
}

/// The newest epoch that the newest timeline of a store has recorded, if any.
///
/// # Errors
/// If the store cannot be read, or the log is damaged.
pub fn read_newest_epoch(store: &Store) -> Result<Option<u64>, TimelineError> {
    let Some(newest) = newest(store)? else {
        return Ok(None);
    };
    if store.list(&newest.log_folder())?.is_empty() {
        return Ok(None);
    }
    let replay = epoch_log::read_in(store, &newest.log_folder())?;
    let cut = replay.epochs.last().map(|record| record.epoch);
    Ok(cut.max(replay.newest_checkpoint()))
}

/// A new log that is minted when it is needed, once.
enum Mint<F> {
    Later(F),
    Minted(NewLog),
}

impl<F: FnOnce() -> std::io::Result<NewLog>> Mint<F> {
    fn now(self) -> std::io::Result<NewLog> {
        match self {
            Mint::Later(mint) => mint(),
            Mint::Minted(minted) => Ok(minted),
        }
    }
}

fn folder(number: u32) -> String {
    format!("{number:08}")
}

fn log_folder(number: u32) -> String {
    format!("{number:08}/log")
}

fn entry_path(number: u32) -> String {
    format!("{FOLDER}/{number:08}.json")
}

fn newest(store: &Store) -> Result<Option<Timeline>, TimelineError> {
    let entries = store.list(FOLDER)?;
    let number = (entries.iter())
        .filter_map(|entry| {
            let name = entry.path.strip_prefix(FOLDER)?.strip_prefix('/')?;
            name.strip_suffix(".json")?.parse::<u32>().ok()
        })
        .max();
    let Some(number) = number else {
        return Ok(None);
    };
    let path = entry_path(number);
    let damaged = |reason: String| TimelineError::Damaged {
        store: store.to_string(),
        path: path.clone(),
        reason,
    };
    let text = (store.get(&path)?).ok_or_else(|| damaged("it was deleted".to_owned()))?;
    let timeline: Timeline =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(Timeline { number, ..timeline }))
}

fn refuse_old_layout(dir: &Path) -> Result<(), TimelineError> {
    if dir.join("epochs-00000001.log").exists() {
        return Err(TimelineError::OldLayout(dir.display().to_string()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "timelines_tests.rs"]
mod tests;
