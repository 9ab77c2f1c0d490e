//! What a checkpoint consists of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{AckTime, EpochRecord, Rewrite};
use super::state::KEY_GROUPS;

/// Version of the manifest's format.
pub const VERSION: u32 = 1;

/// A state file that has been written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRef {
    /// The epoch of the checkpoint that it was written for.
    pub epoch: u64,
    /// The worker that wrote it.
    pub worker: u32,
    /// Its path in the store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
    /// Bytes of entries in it whose groups were rewritten.
    pub rewritten_bytes: u64,
    /// The operators in it, with the versions of their formats.
    pub operators: BTreeMap<String, u16>,
}

/// The state files of one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its epoch.
    pub epoch: u64,
    /// The groups that it wrote whole.
    pub rewrite: Rewrite,
    /// One file a worker.
    pub files: Vec<StateRef>,
}

impl Layer {
    /// Bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// The timeline.
    pub timeline: String,
    /// Generation of the process that wrote it.
    pub generation: u64,
    /// Version of the program that wrote it.
    pub code_version: String,
    /// Settings that shape rows, by name.
    pub settings: BTreeMap<String, String>,
    /// Record of the epoch at whose end the checkpoint was taken: positions, watermark, clock.
    pub record: EpochRecord,
    /// Acknowledgements of that epoch and earlier ones that no record up to it tells of.
    pub acks: Vec<AckTime>,
    /// The state files, newest first: every group is rewritten in at least one of the layers.
    pub layers: Vec<Layer>,
    /// When it was written, ms since 1970.
    pub written_ms: i64,
    /// Set on the first checkpoint of a fork if the timeline that it left had gone further: then rows of that time are
    /// deleted, and all that is open is told of again.
    #[serde(default)]
    pub tells_all: bool,
}

impl Manifest {
    /// The epoch at whose end it was taken.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.record.epoch
    }

    /// Bytes of all state files that it needs.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.layers.iter().map(Layer::bytes).sum()
    }

    /// Paths of the state files that it needs.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let files = self.layers.iter().flat_map(|layer| &layer.files);
        files.map(|file| file.path.as_str())
    }
}

/// The layers that a restore needs once `newest` is written over `older` (newest first): down to the one with which every
/// group has been rewritten. `None` if some group never was.
#[must_use]
pub fn live_layers(newest: Layer, older: &[Layer]) -> Option<Vec<Layer>> {
    let mut is_open = [true; KEY_GROUPS as usize];
    let mut open = is_open.len();
    let mut live = Vec::new();
    for layer in std::iter::once(&newest).chain(older) {
        if open == 0 {
            break;
        }
        live.push(layer.clone());
        for group in layer.rewrite.from..layer.rewrite.to {
            if std::mem::take(&mut is_open[usize::from(group)]) {
                open -= 1;
            }
        }
    }
    (open == 0).then_some(live)
}

/// Which groups each checkpoint rewrites: ranges that go round, as wide as makes the bytes rewritten about as many as those
/// of the changes. So all files together stay about twice the state, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    next: u16,
    width: u16,
}

impl Rotation {
    /// The least and the first width: all groups are rewritten within 64 checkpoints.
    const LEAST_WIDTH: u16 = KEY_GROUPS / 64;

    /// Goes on behind a range.
    #[must_use]
    pub fn after(rewrite: Rewrite) -> Rotation {
        Rotation {
            next: rewrite.to % KEY_GROUPS,
            width: Self::LEAST_WIDTH,
        }
    }

    /// The next range.
    #[must_use]
    pub fn next(self) -> Rewrite {
        Rewrite {
            from: self.next,
            to: (self.next + self.width).min(KEY_GROUPS),
        }
    }

    /// Moves behind the range that a layer rewrote, and learns from its sizes.
    #[must_use]
    pub fn learn(self, layer: &Layer) -> Rotation {
        let groups = u64::from(layer.rewrite.to - layer.rewrite.from);
        let rewritten: u64 = layer.files.iter().map(|file| file.rewritten_bytes).sum();
        let changed = layer.bytes() - rewritten;
        let width = match rewritten {
            0 => u64::from(self.width),
            _ => changed.saturating_mul(groups) / rewritten,
        };
        let width = width.clamp(u64::from(Self::LEAST_WIDTH), u64::from(KEY_GROUPS));
        Rotation {
            width: width as u16,
            ..Self::after(layer.rewrite)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layer(epoch: u64, from: u16, to: u16, bytes: u64, rewritten_bytes: u64) -> Layer {
        Layer {
            epoch,
            rewrite: Rewrite { from, to },
            files: vec![StateRef {
                epoch,
                worker: 0,
                path: format!("e{epoch}"),
                bytes,
                crc32c: 0,
                rewritten_bytes,
                operators: BTreeMap::new(),
            }],
        }
    }

    #[test]
    fn a_layer_lives_until_all_groups_were_rewritten_after_it() {
        let first = vec![layer(1, 0, 1024, 9, 9)];
        let second = live_layers(layer(2, 0, 512, 9, 9), &first).unwrap();
        assert_eq!(second.len(), 2);
        let third = live_layers(layer(3, 512, 1024, 9, 9), &second).unwrap();
        let epochs: Vec<u64> = third.iter().map(|layer| layer.epoch).collect();
        assert_eq!(epochs, [3, 2]);
        assert_eq!(live_layers(layer(2, 0, 1023, 9, 9), &[]), None);
    }

    #[test]
    fn ranges_go_round_and_are_as_wide_as_the_changes_are_many() {
        let all = layer(1, 0, 1024, 1_024_000, 1_024_000);
        let rotation = Rotation::after(all.rewrite).learn(&all);
        assert_eq!(rotation.next(), Rewrite { from: 0, to: 16 });
        // A group is 1,000 bytes; 100,000 bytes of changes are worth 100 groups.
        let next = rotation.learn(&layer(2, 0, 16, 116_000, 16_000));
        assert_eq!(next.next(), Rewrite { from: 16, to: 116 });
        let end = next.learn(&layer(3, 1000, 1024, 10_000_000, 24_000));
        assert_eq!(end.next(), Rewrite { from: 0, to: 1024 });
    }
}
