//! Global deduplication: the first span with a fingerprint stays, by (epoch, topic, partition, offset, index).
//!
//! Only 40 bytes a span travel to the fingerprint's owner, and only verdicts on duplicates come back.
//!
//! A span's event time is part of its fingerprint, so all copies of a span fall into the same slice of event time: one
//! slice is looked up a span, and a whole slice is dropped once the watermark has left it behind.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;

use super::epochs::{Epoch, EpochTable, PerEpoch};
use super::keeper::Keeper;
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::KEY_GROUPS;

#[path = "dedup_saved.rs"]
mod saved;

use saved::group_of;
pub use saved::owner_of;

/// Length of a slice of event time.
const SLICE_US: i64 = 60_000_000;

/// A span that asks whether it is the first of its kind. Ordered by where it stands within its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// Index of the partition in the job's sorted list.
    pub slot: u32,
    /// Index of the record in its batch.
    pub record: u32,
    /// Index of the span in its record.
    pub span: u32,
    /// The worker that asks.
    pub worker: u32,
    /// Event time in minutes since 1970.
    pub minute: i32,
    /// Whether it is of a session document, which may come again for as long as its session lives.
    pub of_document: bool,
    /// The span's fingerprint.
    pub fingerprint: u128,
}

/// How far behind the watermark fingerprints are remembered, µs.
#[derive(Clone, Copy, Debug)]
pub struct Horizons {
    /// Of OTLP spans.
    pub spans_us: i64,
    /// Of the spans of session documents.
    pub documents_us: i64,
}

/// A span that is a copy of an earlier one. Ordered as [`Candidate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Duplicate {
    /// Index of the partition in the job's sorted list.
    pub slot: u32,
    /// Index of the record in its batch.
    pub record: u32,
    /// Index of the span in its record.
    pub span: u32,
    /// The worker that asked.
    pub worker: u32,
}

/// The minute that an event time falls into.
#[must_use]
pub fn minute_of(event_us: i64) -> i32 {
    i32::try_from(event_us.div_euclid(SLICE_US)).unwrap_or(if event_us < 0 {
        i32::MIN
    } else {
        i32::MAX
    })
}

/// A fingerprint is a hash already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only u128 keys are hashed");
    }
    fn write_u128(&mut self, value: u128) {
        #[allow(clippy::cast_possible_truncation)]
        {
            // The high half chose the worker; the low half spreads within it.
            self.0 = value as u64;
        }
    }
}

type Fingerprints = HashSet<u128, BuildHasherDefault<Ready>>;

/// Key groups whose fingerprints are held in one set: a checkpoint that rewrites some groups looks at few others.
const GROUPS_OF_SET: u16 = 16;

/// The fingerprints of a slice of event time, in sets by key group.
type Slice = [Fingerprints; (KEY_GROUPS / GROUPS_OF_SET) as usize];

/// Fingerprints by slice of event time.
#[derive(Default)]
struct Slices {
    slices: BTreeMap<i32, Box<Slice>>,
    len: usize,
}

impl Slices {
    fn forget_before(&mut self, oldest: i32) {
        while let Some(first) = self.slices.first_entry()
            && *first.key() < oldest
        {
            self.len -= first.remove().iter().map(HashSet::len).sum::<usize>();
        }
    }

    /// Whether it was not there before.
    fn remember(&mut self, minute: i32, fingerprint: u128) -> bool {
        let new = || Box::new(std::array::from_fn(|_| Fingerprints::default()));
        let slice = self.slices.entry(minute).or_insert_with(new);
        let set = usize::from(group_of(fingerprint) / GROUPS_OF_SET);
        let is_new = slice[set].insert(fingerprint);
        self.len += usize::from(is_new);
        is_new
    }

    /// Those of some key groups, with their slices.
    fn of_groups(&self, groups: Range<u16>) -> impl Iterator<Item = (i32, u128)> {
        let sets = usize::from(groups.start / GROUPS_OF_SET)
            ..usize::from(groups.end.div_ceil(GROUPS_OF_SET));
        let held = self.slices.iter().flat_map(move |(&minute, slice)| {
            let sets = slice[sets.clone()].iter();
            sets.flatten().map(move |&held| (minute, held))
        });
        held.filter(move |(_, held)| groups.contains(&group_of(*held)))
    }
}

/// Fingerprints by whether they are of documents, and slice of event time.
type Fresh = BTreeMap<(bool, i32), Vec<u128>>;

/// The fingerprints that one worker owns.
pub struct Dedup {
    horizons: Horizons,
    spans: Slices,
    documents: Slices,
    /// What came since the last checkpoint.
    fresh: Fresh,
}

impl Dedup {
    /// Remembers fingerprints until the watermark is a horizon ahead of their event time.
    #[must_use]
    pub fn new(horizons: Horizons) -> Self {
        Self {
            horizons,
            spans: Slices::default(),
            documents: Slices::default(),
            fresh: Fresh::new(),
        }
    }

    /// Judges all candidates of one epoch.
    pub fn judge(&mut self, watermark_us: i64, mut candidates: Vec<Candidate>) -> Vec<Duplicate> {
        let (oldest_span, oldest_of_document) = self.forget(watermark_us);
        candidates.sort_unstable();
        let mut duplicates = Vec::new();
        for c in candidates {
            let (oldest, slices) = if c.of_document {
                (oldest_of_document, &mut self.documents)
            } else {
                (oldest_span, &mut self.spans)
            };
            // Behind the horizon its copies may be forgotten already: it passes, and is outside the promise.
            if c.minute < oldest {
                continue;
            }
            if slices.remember(c.minute, c.fingerprint) {
                let slice = (c.of_document, c.minute);
                self.fresh.entry(slice).or_default().push(c.fingerprint);
            } else {
                duplicates.push(Duplicate {
                    slot: c.slot,
                    record: c.record,
                    span: c.span,
                    worker: c.worker,
                });
            }
        }
        duplicates
    }

    /// Forgets what the watermark has left behind; returns the oldest slices that are kept.
    fn forget(&mut self, watermark_us: i64) -> (i32, i32) {
        let oldest_of = |horizon_us: i64| minute_of(watermark_us.saturating_sub(horizon_us));
        let oldest = (
            oldest_of(self.horizons.spans_us),
            oldest_of(self.horizons.documents_us),
        );
        self.spans.forget_before(oldest.0);
        self.documents.forget_before(oldest.1);
        oldest
    }

    /// Number of fingerprints held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len + self.documents.len
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Finds the duplicates of a stream of candidates.
pub(super) trait FindDuplicates<'scope> {
    /// Sends each candidate to the owner of its fingerprint; emits the duplicates once their epoch is complete.
    /// `on_size` is told the number of fingerprints held after every epoch.
    fn find_duplicates(
        self,
        epochs: &EpochTable,
        keeper: &Keeper,
        horizons: Horizons,
        on_size: impl Fn(usize) + 'static,
    ) -> StreamVec<'scope, Epoch, Duplicate>;
}

impl<'scope> FindDuplicates<'scope> for StreamVec<'scope, Epoch, Candidate> {
    fn find_duplicates(
        self,
        epochs: &EpochTable,
        keeper: &Keeper,
        horizons: Horizons,
        on_size: impl Fn(usize) + 'static,
    ) -> StreamVec<'scope, Epoch, Duplicate> {
        let mut dedup = Dedup::new(horizons);
        keeper.restore(&mut dedup);
        let keeper = keeper.clone();
        let workers = self.scope().peers();
        let owner = Exchange::new(move |c: &Candidate| owner_of(c.fingerprint, workers) as u64);
        self.per_epoch(
            owner,
            "dedup",
            epochs,
            move |record: &EpochRecord, candidates| {
                let duplicates = dedup.judge(record.watermark_us, candidates);
                keeper.save(record, &mut dedup);
                on_size(dedup.len());
                duplicates
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: i64 = 60_000_000;
    const HORIZONS: Horizons = Horizons {
        spans_us: 10 * MINUTE_US,
        documents_us: 60 * MINUTE_US,
    };

    fn candidate(slot: u32, record: u32, fingerprint: u128, minute: i32) -> Candidate {
        Candidate {
            slot,
            record,
            span: 0,
            worker: 0,
            minute,
            of_document: false,
            fingerprint,
        }
    }

    #[test]
    fn the_first_by_partition_and_offset_stays_in_whatever_order_they_arrive() {
        let mut dedup = Dedup::new(HORIZONS);
        let found = dedup.judge(
            0,
            vec![
                candidate(2, 0, 9, 5),
                candidate(0, 7, 9, 5),
                candidate(1, 0, 9, 5),
            ],
        );
        assert_eq!(
            found.iter().map(|d| (d.slot, d.record)).collect::<Vec<_>>(),
            vec![(1, 0), (2, 0)]
        );
    }

    #[test]
    fn a_copy_in_a_later_epoch_is_a_duplicate() {
        let mut dedup = Dedup::new(HORIZONS);
        assert!(dedup.judge(0, vec![candidate(0, 0, 9, 5)]).is_empty());
        assert_eq!(dedup.judge(MINUTE_US, vec![candidate(0, 0, 9, 5)]).len(), 1);
    }

    #[test]
    fn a_copy_behind_the_horizon_passes_and_memory_is_given_back() {
        let mut dedup = Dedup::new(HORIZONS);
        assert!(dedup.judge(0, vec![candidate(0, 0, 9, 5)]).is_empty());
        assert_eq!(
            dedup
                .judge(15 * MINUTE_US, vec![candidate(0, 1, 9, 5)])
                .len(),
            1,
            "at the horizon it is known"
        );
        assert!(
            dedup
                .judge(16 * MINUTE_US, vec![candidate(0, 2, 9, 5)])
                .is_empty()
        );
        assert!(dedup.is_empty());
    }

    #[test]
    fn a_document_that_comes_again_within_its_sessions_life_brings_nothing_twice() {
        let mut dedup = Dedup::new(HORIZONS);
        let of_document = Candidate {
            of_document: true,
            ..candidate(0, 0, 9, 5)
        };
        assert!(dedup.judge(0, vec![of_document]).is_empty());
        assert_eq!(dedup.judge(65 * MINUTE_US, vec![of_document]).len(), 1);
        assert!(dedup.judge(66 * MINUTE_US, vec![of_document]).is_empty());
    }

    #[test]
    fn times_before_1970_fall_into_a_slice_of_their_own() {
        assert_eq!(minute_of(-1), -1);
        assert_eq!(minute_of(0), 0);
    }
}
