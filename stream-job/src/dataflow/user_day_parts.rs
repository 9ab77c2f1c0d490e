//! The traces of a user's day: those that may change by themselves, packed while nobody looks; the others as sums.

use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::dataflow::epochs::Epoch;
use crate::dataflow::packing::{Packer, Unpacker};
use crate::dataflow::trace::TraceUpdate;
use crate::dataflow::trace_summary::{Totals, TraceId};

/// What a trace says of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Hash of the session that it belongs to; the namespace is the user's.
    pub session: u128,
    /// Outermost session spans.
    pub turns: u64,
    /// The sums over its spans.
    pub totals: Totals,
    /// Earliest start, µs since 1970.
    pub first_us: i64,
    /// Latest end, µs since 1970.
    pub last_us: i64,
}

impl Said {
    pub(super) fn of(update: &TraceUpdate) -> Self {
        let summary = &update.summary;
        Self {
            session: xxh3_128(update.session.session_id.as_bytes()),
            turns: summary.turns,
            totals: summary.totals,
            first_us: summary.first_us,
            last_us: summary.last_us,
        }
    }
}

/// Sums over traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySums {
    /// Different sessions.
    pub sessions: u64,
    /// Traces; one that went on after it was forgotten counts again.
    pub traces: u64,
    /// Turns.
    pub turns: u64,
    /// The sums over their spans.
    pub totals: Totals,
    /// Earliest start, µs since 1970.
    pub first_us: i64,
    /// Latest end, µs since 1970.
    pub last_us: i64,
}

impl Default for DaySums {
    fn default() -> Self {
        Self {
            sessions: 0,
            traces: 0,
            turns: 0,
            totals: Totals::default(),
            first_us: i64::MAX,
            last_us: i64::MIN,
        }
    }
}

impl DaySums {
    /// Adds a trace, but for its session.
    fn add(&mut self, said: &Said) {
        self.traces += 1;
        self.turns += said.turns;
        self.totals.merge(&said.totals);
        self.first_us = self.first_us.min(said.first_us);
        self.last_us = self.last_us.max(said.last_us);
    }
}

/// The traces that change no more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Settled {
    sums: DaySums,
    /// Their sessions, in order.
    sessions: Vec<u128>,
}

impl Settled {
    pub(super) fn take(&mut self, said: Said) {
        self.sums.add(&said);
        if let Err(at) = self.sessions.binary_search(&said.session) {
            self.sessions.insert(at, said.session);
            self.sums.sessions += 1;
        }
    }

    /// The sums with those that may change; `None` over no trace.
    pub(super) fn with(&self, open: &Open) -> Option<DaySums> {
        let mut sums = self.sums;
        open.values().for_each(|said| sums.add(said));
        let mut sessions: Vec<u128> = open.values().map(|said| said.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions.retain(|session| self.sessions.binary_search(session).is_err());
        sums.sessions += sessions.len() as u64;
        (sums.traces > 0).then_some(sums)
    }
}

/// What the traces that may change say, by trace and segment.
pub(super) type Open = HashMap<(TraceId, Epoch), Said>;

/// The traces that may change: in full since their user's day changed, packed once it is told of.
pub(super) enum Traces {
    Open(Open),
    Packed(Arc<[u8]>),
}

impl Default for Traces {
    /// Without any trace.
    fn default() -> Self {
        Traces::Packed(Arc::default())
    }
}

impl Traces {
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Traces::Packed(_))
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Traces::Open(open) => open.is_empty(),
            Traces::Packed(packed) => packed.is_empty(),
        }
    }

    pub(super) fn open(&mut self) -> &mut Open {
        if let Traces::Packed(packed) = self {
            *self = Traces::Open(unpack(packed));
        }
        match self {
            Traces::Open(open) => open,
            Traces::Packed(_) => unreachable!("it was opened"),
        }
    }

    pub(super) fn pack(&mut self) {
        if let Traces::Open(open) = self {
            *self = Traces::Packed(pack(open));
        }
    }
}

fn pack(open: &Open) -> Arc<[u8]> {
    let mut out = Packer::new();
    for ((trace_id, segment), said) in open {
        out.raw(trace_id.to_le_bytes());
        out.number(*segment);
        out.raw(said.session.to_le_bytes());
        out.number(said.turns);
        said.totals.pack(&mut out);
        out.signed(said.first_us);
        out.signed(said.last_us.wrapping_sub(said.first_us));
    }
    out.finish()
}

fn unpack(packed: &[u8]) -> Open {
    let mut from = Unpacker::new(packed);
    let mut open = Open::new();
    while !from.is_done() {
        let trace = (TraceId::from_le_bytes(from.raw()), from.number());
        let session = u128::from_le_bytes(from.raw());
        let (turns, totals) = (from.number(), Totals::unpack(&mut from));
        let first_us = from.signed();
        let said = Said {
            session,
            turns,
            totals,
            first_us,
            last_us: first_us.wrapping_add(from.signed()),
        };
        open.insert(trace, said);
    }
    open
}
