//! The traces of one session: in full while they change, packed while nobody looks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataflow::epochs::Epoch;
use crate::dataflow::packing::{Packer, Unpacker};
use crate::dataflow::trace_summary::{TraceId, TraceSummary};

/// What the traces of a session say, by trace and segment.
pub(super) type Parts = BTreeMap<(TraceId, Epoch), Arc<TraceSummary>>;

/// The traces of a session: in full since it changed, packed once it is told of.
pub(super) enum Held {
    Open(Parts),
    Packed(Arc<[u8]>),
}

impl Default for Held {
    /// Without any trace.
    fn default() -> Self {
        Held::Packed(pack(&Parts::new()))
    }
}

impl Held {
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Held::Packed(_))
    }

    pub(super) fn read(&self) -> Cow<'_, Parts> {
        match self {
            Held::Open(parts) => Cow::Borrowed(parts),
            Held::Packed(packed) => Cow::Owned(unpack(packed)),
        }
    }

    pub(super) fn open(&mut self) -> &mut Parts {
        if let Held::Packed(packed) = self {
            *self = Held::Open(unpack(packed));
        }
        match self {
            Held::Open(parts) => parts,
            Held::Packed(_) => unreachable!("it was opened"),
        }
    }

    pub(super) fn pack(&mut self) {
        if let Held::Open(parts) = self {
            *self = Held::Packed(pack(parts));
        }
    }

    pub(super) fn last_us(&self) -> i64 {
        match self {
            Held::Open(parts) => last_us(parts),
            Held::Packed(packed) => Unpacker::new(packed).signed(),
        }
    }
}

pub(super) fn pack(parts: &Parts) -> Arc<[u8]> {
    let mut out = Packer::new();
    out.signed(last_us(parts));
    for ((trace_id, segment), summary) in parts {
        out.raw(trace_id.to_le_bytes());
        out.number(*segment);
        summary.pack(&mut out);
    }
    out.finish()
}

pub(super) fn unpack(packed: &[u8]) -> Parts {
    unpack_with(packed, TraceSummary::unpack)
}

/// As the first version of the state has it.
pub(super) fn unpack_v1(packed: &[u8]) -> Parts {
    unpack_with(packed, TraceSummary::unpack_v1)
}

fn unpack_with(packed: &[u8], summary: fn(&mut Unpacker<'_>) -> TraceSummary) -> Parts {
    let mut from = Unpacker::new(packed);
    from.signed();
    let mut parts = Parts::new();
    while !from.is_done() {
        let part = (TraceId::from_le_bytes(from.raw()), from.number());
        parts.insert(part, Arc::new(summary(&mut from)));
    }
    parts
}

pub(super) fn last_us(parts: &Parts) -> i64 {
    let ends = parts.values().map(|part| part.last_us);
    ends.max().unwrap_or(i64::MIN)
}
