//! What the sessions keep over a restart: an entry a session, its traces packed as they are in memory.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Held, SessionState, Sessions, Told, Tracked, owner_hash};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Bytes, Entry, KeyedState, StateError, StateWriter, key_group, read_version, save_rewritten,
};
use crate::dataflow::epochs::Epoch;
use crate::dataflow::trace_summary::SessionKey;

/// The group of a session.
#[must_use]
pub fn group_of_session(session: &SessionKey) -> u16 {
    key_group(owner_hash(session))
}

#[derive(Serialize, Deserialize)]
struct Saved<'a> {
    segment: Epoch,
    shown: Option<SessionState>,
    shown_last_us: i64,
    next_look_us: i64,
    loops: Cow<'a, BTreeMap<(String, u64), Told>>,
    #[serde(borrow)]
    packed: Bytes<'a>,
}

fn saved(tracked: &Tracked) -> Saved<'_> {
    let Held::Packed(packed) = &tracked.traces else {
        unreachable!("a checkpoint is taken where a block ends, and there all is packed")
    };
    Saved {
        segment: tracked.segment,
        shown: tracked.shown,
        shown_last_us: tracked.shown_last_us,
        next_look_us: tracked.next_look_us,
        loops: Cow::Borrowed(&tracked.loops),
        packed: Bytes(packed),
    }
}

impl KeyedState for Sessions {
    const UID: &'static str = "sessions";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        let Sessions {
            sessions, changes, ..
        } = self;
        let group_of = |session: &Arc<SessionKey>| group_of_session(session);
        changes.save_noted(out, group_of, |session| sessions.get(session).map(saved));
        let all = sessions.iter().map(|(key, tracked)| (key, saved(tracked)));
        save_rewritten(out, group_of, all);
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (session, saved) = read_version::<Self, SessionKey, Saved<'_>>(version, entry)?;
        let session = Arc::new(session);
        if saved.next_look_us < i64::MAX {
            let timer = (saved.next_look_us, session.clone());
            self.timers.push(Reverse(timer));
        }
        let tracked = Tracked {
            segment: saved.segment,
            traces: Held::Packed(saved.packed.0.into()),
            shown: saved.shown,
            shown_last_us: saved.shown_last_us,
            next_look_us: saved.next_look_us,
            loops: saved.loops.into_owned(),
        };
        self.sessions.insert(session, tracked);
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.watermark_us = record.watermark_us;
    }
}
