//! What an epoch log says, read back.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::record::{Ack, Entry, EpochRecord, Intent, Position};

use super::frame::{self, Found};
use super::{EpochLogError, NewLog, VERSION, segment};

/// Which block an intent or an ack is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// Table.
    pub table: String,
    /// Sink shard.
    pub shard: u16,
    /// Last epoch whose rows the block holds.
    pub epoch: u64,
    /// Number of the piece.
    pub n: u16,
}

/// What the log says of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedBlock {
    /// Rows.
    pub rows: u64,
    /// xxh3-128 of the block's bytes, lowercase hex.
    pub hash: String,
    /// Wall clock of the acknowledgement in ms since 1970, if there was one.
    pub acked_ms: Option<i64>,
    /// How many intents of the same table were recorded before.
    pub place: u64,
}

/// A whole epoch log in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Whether the log was made just now.
    pub fresh: bool,
    /// Id of the timeline.
    pub timeline: String,
    /// First epoch.
    pub first_epoch: u64,
    /// Where reading begins: the positions before the first epoch.
    pub positions: Vec<Position>,
    /// Settings that shape rows, by name, as the log was begun.
    pub settings: BTreeMap<String, String>,
    /// This process's generation; in a log that was only read, the newest one recorded.
    pub generation: u64,
    /// The epochs recorded, ascending.
    pub epochs: Vec<EpochRecord>,
    /// The blocks recorded.
    pub blocks: BTreeMap<BlockId, RecordedBlock>,
    /// Intents recorded, by table.
    pub intents: BTreeMap<String, u64>,
    /// Bytes of a torn last frame that were left out; worth a warning if not 0.
    pub torn_bytes: u64,
}

/// Reads another log's epochs without taking it: all segments of a folder, or one segment file. A torn last frame is
/// left out.
///
/// # Errors
/// If there is no log, or it is damaged.
pub fn read(path: &Path) -> Result<Replay, EpochLogError> {
    let replay = if path.is_dir() {
        read_segments(path)?.0
    } else {
        let bytes = std::fs::read(path).map_err(EpochLogError::at(path))?;
        let mut reader = Reader::default();
        reader.read(path, &bytes, true)?;
        reader.replay
    };
    replay.ok_or_else(|| EpochLogError::Nothing(path.to_path_buf()))
}

/// Where writing goes on.
pub(super) struct Tail {
    pub(super) number: u64,
    pub(super) valid_bytes: u64,
}

/// Reads all segments of a folder; nothing if there are none, or none with a whole frame.
pub(super) fn read_segments(dir: &Path) -> Result<(Option<Replay>, Option<Tail>), EpochLogError> {
    let numbers = segment::list(dir)?;
    let mut reader = Reader::default();
    let mut tail = None;
    for &number in &numbers {
        let path = dir.join(segment::file_name(number));
        let bytes = std::fs::read(&path).map_err(EpochLogError::at(&path))?;
        let last = Some(&number) == numbers.last();
        let valid_bytes = reader.read(&path, &bytes, last)?;
        tail = Some(Tail {
            number,
            valid_bytes,
        });
    }
    Ok((reader.replay, tail))
}

impl Replay {
    pub(super) fn of_new(new: NewLog) -> Replay {
        Replay {
            timeline: new.timeline,
            first_epoch: new.first_epoch,
            positions: new.positions,
            settings: new.settings,
            ..Replay::default()
        }
    }

    pub(super) fn new_log(&self) -> NewLog {
        NewLog {
            timeline: self.timeline.clone(),
            first_epoch: self.first_epoch,
            positions: self.positions.clone(),
            settings: self.settings.clone(),
        }
    }

    /// Takes in one entry that is not a header.
    fn apply(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Header { .. } => Ok(()),
            Entry::Generation { generation } if generation < self.generation => Err(format!(
                "generation {generation} after generation {}: an old process wrote on",
                self.generation
            )),
            Entry::Generation { generation } => {
                self.generation = generation;
                Ok(())
            }
            Entry::Epoch(record) => self.apply_epoch(record),
            Entry::Intents { blocks } => blocks
                .into_iter()
                .try_for_each(|intent| self.apply_intent(intent)),
            Entry::Acks { blocks } => blocks.into_iter().try_for_each(|ack| self.apply_ack(ack)),
        }
    }

    fn apply_epoch(&mut self, record: EpochRecord) -> Result<(), String> {
        match self.epochs.last() {
            Some(last) if last.epoch >= record.epoch => {
                return Err(format!("epoch {} after epoch {}", record.epoch, last.epoch));
            }
            _ if record.timeline != self.timeline => {
                return Err(format!(
                    "epoch {} is of timeline {}",
                    record.epoch, record.timeline
                ));
            }
            _ => self.epochs.push(record),
        }
        Ok(())
    }

    fn apply_intent(&mut self, intent: Intent) -> Result<(), String> {
        let place = self.intents.entry(intent.table.clone()).or_default();
        let id = BlockId::of_intent(&intent);
        let recorded = RecordedBlock {
            rows: intent.rows,
            hash: intent.hash,
            acked_ms: None,
            place: *place,
        };
        *place += 1;
        match self.blocks.insert(id.clone(), recorded) {
            None => Ok(()),
            Some(_) => Err(format!("a second intent for {id}")),
        }
    }

    fn apply_ack(&mut self, ack: Ack) -> Result<(), String> {
        let id = BlockId {
            table: ack.table,
            shard: ack.shard,
            epoch: ack.epoch,
            n: ack.n,
        };
        let Some(recorded) = self.blocks.get_mut(&id) else {
            return Err(format!("an acknowledgement of {id}, which has no intent"));
        };
        // Sent again after a crash between insert and ack, a block is acknowledged a second time: the first counts.
        recorded.acked_ms.get_or_insert(ack.acked_ms);
        Ok(())
    }
}

impl BlockId {
    fn of_intent(intent: &Intent) -> BlockId {
        BlockId {
            table: intent.table.clone(),
            shard: intent.shard,
            epoch: intent.epoch,
            n: intent.n,
        }
    }
}

impl std::fmt::Display for BlockId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BlockId {
            table,
            shard,
            epoch,
            n,
        } = self;
        write!(
            f,
            "block {n} of {table}, shard {shard}, up to epoch {epoch}"
        )
    }
}

#[derive(Default)]
struct Reader {
    replay: Option<Replay>,
}

impl Reader {
    /// Reads one segment and returns how many of its bytes are whole frames.
    fn read(&mut self, path: &Path, bytes: &[u8], last: bool) -> Result<u64, EpochLogError> {
        let mut rest = bytes;
        loop {
            let at = (bytes.len() - rest.len()) as u64;
            match frame::find(rest) {
                Found::End => return Ok(at),
                Found::Frame { body, rest: after } => {
                    self.read_body(path, at, body)?;
                    rest = after;
                }
                Found::Broken(reason) => {
                    if !last || frame::any_frame_follows(rest) {
                        let file = path.to_path_buf();
                        return Err(EpochLogError::Damaged { file, at, reason });
                    }
                    if let Some(replay) = &mut self.replay {
                        replay.torn_bytes = rest.len() as u64;
                    }
                    return Ok(at);
                }
            }
        }
    }

    fn read_body(&mut self, path: &Path, at: u64, body: &[u8]) -> Result<(), EpochLogError> {
        let contradiction = |reason| EpochLogError::Contradiction {
            file: path.to_path_buf(),
            at,
            reason,
        };
        for entry in frame::entries(body).map_err(contradiction)? {
            if let Entry::Header { version, .. } = entry
                && version != VERSION
            {
                return Err(EpochLogError::Version {
                    file: path.to_path_buf(),
                    found: version,
                    known: VERSION,
                });
            }
            self.apply(at, entry).map_err(contradiction)?;
        }
        Ok(())
    }

    fn apply(&mut self, at: u64, entry: Entry) -> Result<(), String> {
        match (&mut self.replay, entry) {
            (_, Entry::Header { timeline, .. }) if at != 0 => Err(format!(
                "a header (timeline {timeline}) that is not at a segment's start"
            )),
            (
                None,
                Entry::Header {
                    timeline,
                    first_epoch,
                    positions,
                    settings,
                    ..
                },
            ) => {
                self.replay = Some(Replay::of_new(NewLog {
                    timeline,
                    first_epoch,
                    positions,
                    settings,
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
            (Some(replay), entry) => replay.apply(entry),
        }
    }
}
