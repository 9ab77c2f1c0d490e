//! What the sessions keep over a restart: an entry a session, its traces packed as they are in memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::parts::{pack, unpack_v1};
use super::{Held, SessionState, Sessions, Settled, Told, Tracked};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Bytes, Entry, GroupKey, KeyedState, StateError, StateWriter, key_group, read_version,
};
use crate::dataflow::epochs::Epoch;
use crate::dataflow::trace_summary::SessionKey;

impl GroupKey for SessionKey {
    fn stable_hash(&self) -> u64 {
        xxh3_64(self.session_id.as_bytes()) ^ xxh3_64(self.namespace.as_bytes()).rotate_left(1)
    }
}

/// The group of a session.
#[must_use]
pub fn group_of_session(session: &SessionKey) -> u16 {
    key_group(session.stable_hash())
}

#[derive(Serialize, Deserialize)]
struct Saved {
    segment: Epoch,
    shown: Option<SessionState>,
    shown_last_us: i64,
    next_look_us: i64,
    loops: BTreeMap<(String, u64), Told>,
    packed: Bytes,
    settled: Option<Box<Settled>>,
}

/// Before traces could be settled, or truncated.
#[derive(Deserialize)]
struct SavedV1 {
    segment: Epoch,
    shown: Option<SessionState>,
    shown_last_us: i64,
    next_look_us: i64,
    loops: BTreeMap<(String, u64), Told>,
    packed: Bytes,
}

impl From<SavedV1> for Saved {
    fn from(saved: SavedV1) -> Self {
        Self {
            segment: saved.segment,
            shown: saved.shown,
            shown_last_us: saved.shown_last_us,
            next_look_us: saved.next_look_us,
            loops: saved.loops,
            packed: Bytes(pack(&unpack_v1(&saved.packed.0))),
            settled: None,
        }
    }
}

fn saved(tracked: &Tracked) -> Saved {
    let Held::Packed(packed) = &tracked.traces else {
        unreachable!("a checkpoint is taken where a block ends, and there all is packed")
    };
    Saved {
        segment: tracked.segment,
        shown: tracked.shown,
        shown_last_us: tracked.shown_last_us,
        next_look_us: tracked.next_look_us,
        loops: tracked.loops.clone(),
        packed: Bytes(packed.clone()),
        settled: tracked.settled.clone(),
    }
}

impl KeyedState for Sessions {
    const UID: &'static str = "sessions";
    const VERSION: u16 = 2;
    const READS: &'static [u16] = &[1, 2];

    fn save(&mut self, out: &mut StateWriter) {
        let Sessions {
            sessions, changes, ..
        } = self;
        sessions.save(changes, out, saved);
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (session, saved) = if version == 1 {
            let (session, saved) = entry.read::<SessionKey, SavedV1>()?;
            (session, saved.into())
        } else {
            read_version::<Self, SessionKey, Saved>(version, entry)?
        };
        let session = Arc::new(session);
        if saved.next_look_us < i64::MAX {
            let timer = (saved.next_look_us, session.clone());
            self.timers.push(Reverse(timer));
        }
        let tracked = Tracked {
            segment: saved.segment,
            traces: Held::Packed(saved.packed.0),
            settled: saved.settled,
            fresh: None,
            shown: saved.shown,
            shown_last_us: saved.shown_last_us,
            next_look_us: saved.next_look_us,
            loops: saved.loops,
        };
        self.sessions.insert(session, tracked);
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.watermark_us = record.watermark_us;
        // A checkpoint is taken where a block ends.
        self.block_watermark_us = record.watermark_us;
    }
}
