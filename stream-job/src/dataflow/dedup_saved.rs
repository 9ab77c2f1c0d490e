//! What deduplication keeps over a restart: the fingerprints of a slice and key group that came between two checkpoints are
//! one entry.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::{Candidate, Dedup};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Bytes, Entry, KeyedState, StateError, StateWriter, key_group, owner, read_version,
};

/// Which worker, of so many, owns a fingerprint. It is a hash already.
#[must_use]
pub fn owner_of(fingerprint: u128, workers: usize) -> usize {
    owner(group_of(fingerprint), workers)
}

pub(super) fn group_of(fingerprint: u128) -> u16 {
    key_group((fingerprint >> 64) as u64)
}

/// A fingerprint that was not there at the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fresh {
    of_document: bool,
    minute: i32,
    fingerprint: u128,
}

impl Fresh {
    pub(super) fn of(candidate: &Candidate) -> Fresh {
        Fresh {
            of_document: candidate.of_document,
            minute: candidate.minute,
            fingerprint: candidate.fingerprint,
        }
    }
}

/// Which fingerprints an entry holds. With the epoch in it no entry replaces another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Piece {
    group: u16,
    of_document: bool,
    minute: i32,
    epoch: u64,
}

fn write_pieces(out: &mut StateWriter, kept: &[Fresh]) {
    let mut pieces: HashMap<Piece, Vec<u8>> = HashMap::new();
    let epoch = out.epoch();
    for fresh in kept {
        let piece = Piece {
            group: group_of(fresh.fingerprint),
            of_document: fresh.of_document,
            minute: fresh.minute,
            epoch,
        };
        let bytes = fresh.fingerprint.to_le_bytes();
        pieces.entry(piece).or_default().extend_from_slice(&bytes);
    }
    for (piece, fingerprints) in pieces {
        out.put(piece.group, &piece, &Bytes(fingerprints.into()));
    }
}

impl KeyedState for Dedup {
    const UID: &'static str = "dedup";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        let mut kept = std::mem::take(&mut self.fresh);
        kept.retain(|fresh| !out.rewrites(group_of(fresh.fingerprint)));
        for (slices, of_document) in [(&self.spans, false), (&self.documents, true)] {
            let rewritten = slices.of_groups(out.rewritten_groups());
            kept.extend(rewritten.map(|(minute, fingerprint)| Fresh {
                of_document,
                minute,
                fingerprint,
            }));
        }
        out.later(move |out| write_pieces(out, &kept));
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (piece, fingerprints) = read_version::<Self, Piece, Bytes>(version, entry)?;
        let slices = if piece.of_document {
            &mut self.documents
        } else {
            &mut self.spans
        };
        let (fingerprints, _) = fingerprints.0.as_chunks();
        for fingerprint in fingerprints.iter().copied().map(u128::from_le_bytes) {
            slices.remember(piece.minute, fingerprint);
        }
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.forget(record.watermark_us);
    }
}
