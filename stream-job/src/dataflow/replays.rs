//! Dead letters that are sent again: each lands once, however often it is sent, for as long as dead letters are kept.
//!
//! A record with the header `spanflow-replay-of` claims to stand for the dead letter of that id. The first that brings a
//! valid span has it; the spans of all later ones are duplicates, also long after deduplication has forgotten theirs, and
//! when they were repaired in another way. One that is rejected again has claimed nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use xxhash_rust::xxh3::xxh3_128;

use super::dedup::{Duplicate, owner_of};
use super::epochs::{Epoch, EpochTable, PerEpoch};
use super::keeper::Keeper;
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Changes, Entry, KeyedState, StateError, StateWriter, key_group, read_version, save_rewritten,
};
use crate::decode::{Headers, header};

/// Header of a record that stands for a dead letter; its value is `topic/partition/offset[/index]`.
pub const REPLAY_OF: &str = "spanflow-replay-of";

/// The span index of a [`Duplicate`] that means all spans of the record.
pub const WHOLE_RECORD: u32 = u32::MAX;

/// A record that claims to stand for a dead letter. Ordered by where it stands within its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// The slot of the partition.
    pub slot: u32,
    /// Index of the record in its batch.
    pub record: u32,
    /// The worker that asks.
    pub worker: u32,
    /// Hash of the dead letter's id.
    pub letter: u128,
}

/// The hash of the id of the dead letter that a record stands for.
#[must_use]
pub fn replayed_letter(headers: &Headers) -> Option<u128> {
    // Most records have no headers at all.
    if headers.is_empty() {
        return None;
    }
    header(headers, REPLAY_OF).map(|id| xxh3_128(id.as_bytes()))
}

/// The dead letters, of those that one worker owns, that have landed by being sent again.
pub struct Replays {
    memory_ms: i64,
    /// When each landed, ms since 1970.
    landed: BTreeMap<u128, i64>,
    changes: Changes<u128>,
    cleared_ms: i64,
}

/// How often what is out of date is given back.
const CLEAR_EVERY_MS: i64 = 3_600_000;

impl Replays {
    /// Remembers for `memory_ms` of ingest time.
    #[must_use]
    pub fn new(memory_ms: i64) -> Self {
        Self {
            memory_ms,
            landed: BTreeMap::new(),
            changes: Changes::default(),
            cleared_ms: i64::MIN,
        }
    }

    /// Judges the claims of one epoch: the records that come too late.
    pub fn judge(&mut self, wall_ms: i64, mut claims: Vec<Claim>) -> Vec<Duplicate> {
        self.clear(wall_ms);
        claims.sort_unstable();
        let mut late = Vec::new();
        for claim in claims {
            let memory_ms = self.memory_ms;
            let is_kept = |landed_ms: &i64| wall_ms - landed_ms <= memory_ms;
            if self.landed.get(&claim.letter).is_some_and(is_kept) {
                late.push(Duplicate {
                    slot: claim.slot,
                    record: claim.record,
                    span: WHOLE_RECORD,
                    worker: claim.worker,
                });
            } else {
                self.landed.insert(claim.letter, wall_ms);
                self.changes.note(claim.letter);
            }
        }
        late
    }

    fn clear(&mut self, wall_ms: i64) {
        if wall_ms.saturating_sub(self.cleared_ms) < CLEAR_EVERY_MS {
            return;
        }
        self.cleared_ms = wall_ms;
        let (memory_ms, changes) = (self.memory_ms, &mut self.changes);
        self.landed.retain(|&letter, landed_ms| {
            let is_kept = wall_ms - *landed_ms <= memory_ms;
            if !is_kept {
                changes.note(letter);
            }
            is_kept
        });
    }

    /// Number of dead letters remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.landed.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.landed.is_empty()
    }
}

fn group_of(letter: &u128) -> u16 {
    // As deduplication has it, so that one function says who owns either.
    key_group((letter >> 64) as u64)
}

impl KeyedState for Replays {
    const UID: &'static str = "replays";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        let Self {
            landed, changes, ..
        } = self;
        changes.save_noted(out, group_of, |letter| landed.get(letter));
        save_rewritten(out, group_of, landed.iter());
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (letter, landed_ms) = read_version::<Self, u128, i64>(version, entry)?;
        self.landed.insert(letter, landed_ms);
        Ok(())
    }

    fn restored(&mut self, _record: &EpochRecord) {}
}

/// Finds the records that stand for a dead letter which has landed already.
pub(super) fn find_late<'scope>(
    claims: StreamVec<'scope, Epoch, Claim>,
    epochs: &EpochTable,
    keeper: &Keeper,
    memory_ms: i64,
    on_size: impl Fn(usize) + 'static,
) -> StreamVec<'scope, Epoch, Duplicate> {
    let mut replays = Replays::new(memory_ms);
    keeper.restore(&mut replays);
    let keeper = keeper.clone();
    let workers = claims.scope().peers();
    let owner = Exchange::new(move |claim: &Claim| owner_of(claim.letter, workers) as u64);
    claims.per_epoch(owner, "replays", epochs, move |record, claims| {
        let late = replays.judge(record.wall_ms, claims);
        keeper.save(record, &mut replays);
        on_size(replays.len());
        late
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::record::Rewrite;

    const DAY_MS: i64 = 86_400_000;

    fn claim(slot: u32, record: u32, letter: u128) -> Claim {
        Claim {
            slot,
            record,
            worker: 0,
            letter,
        }
    }

    fn judged(replays: &mut Replays, wall_ms: i64, claims: &[Claim]) -> Vec<(u32, u32)> {
        let late = replays.judge(wall_ms, claims.to_vec());
        late.iter().map(|late| (late.slot, late.record)).collect()
    }

    #[test]
    fn of_all_records_that_stand_for_a_letter_the_first_lands() {
        let mut replays = Replays::new(30 * DAY_MS);
        let claims = [claim(1, 0, 7), claim(0, 5, 7), claim(0, 6, 8)];
        assert_eq!(judged(&mut replays, 0, &claims), [(1, 0)]);
        assert_eq!(
            judged(&mut replays, 29 * DAY_MS, &[claim(0, 9, 7)]),
            [(0, 9)]
        );
    }

    #[test]
    fn a_letter_is_remembered_for_as_long_as_it_is_said_and_memory_is_given_back() {
        let mut replays = Replays::new(30 * DAY_MS);
        judged(&mut replays, 0, &[claim(0, 0, 7)]);
        assert_eq!(
            judged(&mut replays, 30 * DAY_MS, &[claim(0, 1, 7)]),
            [(0, 1)]
        );
        let at = 30 * DAY_MS + 1;
        assert!(judged(&mut replays, at, &[claim(0, 2, 7)]).is_empty());
        assert_eq!(judged(&mut replays, at + 1, &[claim(0, 3, 7)]), [(0, 3)]);
        judged(&mut replays, 100 * DAY_MS, &[]);
        assert!(replays.is_empty());
    }

    #[test]
    fn what_is_saved_is_what_is_remembered() {
        let all = Rewrite {
            from: 0,
            to: crate::checkpoint::state::KEY_GROUPS,
        };
        let none = Rewrite { from: 0, to: 0 };
        let entries = |replays: &mut Replays, rewrite| {
            let mut out = StateWriter::new(1, rewrite);
            replays.save(&mut out);
            out.close::<Replays>().finish(&mut Vec::new()).0
        };
        let mut replays = Replays::new(DAY_MS);
        judged(&mut replays, 0, &[claim(0, 0, 7), claim(0, 1, 8)]);
        assert_eq!(entries(&mut replays, none), 2, "both are new");
        assert_eq!(entries(&mut replays, none), 0, "nothing has changed");
        assert_eq!(entries(&mut replays, all), 2);
        judged(&mut replays, 3 * DAY_MS, &[]);
        assert_eq!(entries(&mut replays, none), 2, "both are gone");
    }

    #[test]
    fn a_record_without_the_header_stands_for_nothing() {
        let header = |name: &str, value: &[u8]| vec![(name.to_owned(), Some(value.to_vec()))];
        assert_eq!(replayed_letter(&[]), None);
        assert_eq!(replayed_letter(&header("content-type", b"x")), None);
        assert_eq!(replayed_letter(&header(REPLAY_OF, b"")), None);
        let letter = replayed_letter(&header(REPLAY_OF, b"otlp_spans/0/7"));
        assert_eq!(letter, Some(xxh3_128(b"otlp_spans/0/7")));
    }
}
