//! Reads the parts of a log, which are segments or objects, in order.

use std::path::{Path, PathBuf};

use crate::checkpoint::record::Entry;

use super::frame::{self, Found};
use super::pins::Pins;
use super::replay::BlockId;
use super::{EpochLogError, NewLog, Replay, VERSION};

/// What was found in one part.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Bytes of whole frames.
    pub(super) valid_bytes: u64,
    /// Version in its header.
    pub(super) version: Option<u32>,
    /// What keeps it from being pruned.
    pub(super) pins: Pins,
}

/// An acknowledgement without an intent, to be judged when all has been read.
#[derive(Debug)]
struct Orphan {
    file: PathBuf,
    at: u64,
    block: BlockId,
}

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) replay: Option<Replay>,
    pruned: bool,
    orphans: Vec<Orphan>,
}

impl Reader {
    /// For a log, or one of which parts before the first one were deleted.
    pub(super) fn new(pruned: bool) -> Reader {
        Reader {
            replay: None,
            pruned,
            orphans: Vec::new(),
        }
    }

    /// Reads one part. Only of the last segment of a folder may the last frame be torn.
    pub(super) fn read(
        &mut self,
        path: &Path,
        bytes: &[u8],
        may_be_torn: bool,
    ) -> Result<Part, EpochLogError> {
        let mut part = Part::default();
        let mut rest = bytes;
        loop {
            let at = (bytes.len() - rest.len()) as u64;
            part.valid_bytes = at;
            match frame::find(rest) {
                Found::End => return Ok(part),
                Found::Frame { body, rest: after } => {
                    self.read_body(path, at, body, &mut part)?;
                    rest = after;
                }
                Found::Broken(reason) => {
                    let followed = frame::any_frame_follows(rest);
                    if !may_be_torn || followed {
                        let file = path.to_path_buf();
                        return Err(EpochLogError::Damaged { file, at, reason });
                    }
                    if let Some(replay) = &mut self.replay {
                        replay.torn_bytes = rest.len() as u64;
                    }
                    return Ok(part);
                }
            }
        }
    }

    fn read_body(
        &mut self,
        path: &Path,
        at: u64,
        body: &[u8],
        part: &mut Part,
    ) -> Result<(), EpochLogError> {
        let contradiction = |reason| EpochLogError::Contradiction {
            file: path.to_path_buf(),
            at,
            reason,
        };
        for entry in frame::entries(body).map_err(contradiction)? {
            if let Entry::Header { version, .. } = entry {
                if version == 0 || version > VERSION {
                    return Err(EpochLogError::Version {
                        file: path.to_path_buf(),
                        found: version,
                        known: VERSION,
                    });
                }
                part.version = Some(version);
            }
            part.pins.add(&entry);
            self.apply(path, at, entry).map_err(contradiction)?;
        }
        Ok(())
    }

    fn apply(&mut self, path: &Path, at: u64, entry: Entry) -> Result<(), String> {
        match (&mut self.replay, entry) {
            (_, Entry::Header { timeline, .. }) if at != 0 => Err(format!(
                "a header (timeline {timeline}) that is not at a segment's start"
            )),
            (
                None,
                Entry::Header {
                    version: _,
                    timeline,
                    first_epoch,
                    positions,
                    settings,
                    forked_from,
                },
            ) => {
                self.replay = Some(Replay::of_new(NewLog {
                    timeline,
                    first_epoch,
                    positions,
                    settings,
                    forked_from,
                }));
                Ok(())
            }
            (None, _) => Err("the log does not start with a header".to_owned()),
            (Some(replay), Entry::Header { timeline, .. }) if timeline != replay.timeline => {
                Err(format!(
                    "a segment of timeline {timeline} after one of timeline {}",
                    replay.timeline
                ))
            }
            (Some(replay), Entry::Acks { blocks }) => {
                for ack in blocks {
                    let Err(block) = replay.acknowledge(ack) else {
                        continue;
                    };
                    if !self.pruned {
                        return Err(without_intent(&block));
                    }
                    let file = path.to_path_buf();
                    self.orphans.push(Orphan { file, at, block });
                }
                Ok(())
            }
            (Some(replay), entry) => replay.apply(entry),
        }
    }

    /// What was read, once nothing follows.
    pub(super) fn finish(self, first: &Path) -> Result<Option<Replay>, EpochLogError> {
        self.check(first)?;
        Ok(self.replay)
    }

    /// What a pruned log lacks must be what a checkpoint stands for.
    pub(super) fn check(&self, first: &Path) -> Result<(), EpochLogError> {
        if !self.pruned {
            return Ok(());
        }
        let Some(replay) = &self.replay else {
            return Err(EpochLogError::NoBeginning(first.to_path_buf()));
        };
        let covered = replay.newest_checkpoint();
        let first_kept = replay.epochs.first().map(|record| record.epoch);
        match (covered, first_kept) {
            (Some(covered), Some(kept)) if kept <= covered.saturating_add(1) => {}
            (Some(_), None) => {}
            _ => return Err(EpochLogError::NoBeginning(first.to_path_buf())),
        }
        let stands_for = |epoch| Some(epoch) < first_kept || Some(epoch) <= covered;
        match (self.orphans.iter()).find(|orphan| !stands_for(orphan.block.epoch)) {
            None => Ok(()),
            Some(orphan) => Err(EpochLogError::Contradiction {
                file: orphan.file.clone(),
                at: orphan.at,
                reason: without_intent(&orphan.block),
            }),
        }
    }
}

fn without_intent(block: &BlockId) -> String {
    format!("an acknowledgement of {block}, which has no intent")
}
