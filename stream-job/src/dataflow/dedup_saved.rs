//! What deduplication keeps over a restart: the fingerprints of a slice and key group that came between two checkpoints are
//! one entry.

use serde::{Deserialize, Serialize};

use super::{Dedup, Fresh};
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

/// Which fingerprints an entry holds. With the epoch in it no entry replaces another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    group: u16,
    of_document: bool,
    minute: i32,
    epoch: u64,
}

fn write_pieces(out: &mut StateWriter, kept: Fresh) {
    let epoch = out.epoch();
    for ((of_document, minute), mut fingerprints) in kept {
        fingerprints.sort_unstable_by_key(|held| group_of(*held));
        for of_group in fingerprints.chunk_by(|a, b| group_of(*a) == group_of(*b)) {
            let piece = Piece {
                group: group_of(of_group[0]),
                of_document,
                minute,
                epoch,
            };
            let bytes: Vec<u8> = of_group
                .iter()
                .flat_map(|held| held.to_le_bytes())
                .collect();
            out.put(piece.group, &piece, &Bytes(bytes.into()));
        }
    }
}

impl KeyedState for Dedup {
    const UID: &'static str = "dedup";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        let mut kept = std::mem::take(&mut self.fresh);
        if !out.rewritten_groups().is_empty() {
            for fingerprints in kept.values_mut() {
                fingerprints.retain(|held| !out.rewrites(group_of(*held)));
            }
        }
        for (slices, of_document) in [(&self.spans, false), (&self.documents, true)] {
            for (minute, held) in slices.of_groups(out.rewritten_groups()) {
                kept.entry((of_document, minute)).or_default().push(held);
            }
        }
        out.later(move |out| write_pieces(out, kept));
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
