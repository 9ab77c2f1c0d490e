//! The traces of one session: in full while they change, packed while nobody looks, and what they say together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Loop, SessionRules, SessionState, SessionSummary};
use crate::dataflow::epochs::Epoch;
use crate::dataflow::packing::{Packer, Unpacker};
use crate::dataflow::trace_summary::{
    SessionKey, SessionSource, ToolCall, Totals, TraceId, TraceSummary, longest_run,
};

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
    let mut from = Unpacker::new(packed);
    from.signed();
    let mut parts = Parts::new();
    while !from.is_done() {
        let part = (TraceId::from_le_bytes(from.raw()), from.number());
        parts.insert(part, Arc::new(TraceSummary::unpack(&mut from)));
    }
    parts
}

pub(super) fn last_us(parts: &Parts) -> i64 {
    let ends = parts.values().map(|part| part.last_us);
    ends.max().unwrap_or(i64::MIN)
}

/// How many different traces there are among these, which are in order.
fn distinct(trace_ids: impl Iterator<Item = TraceId>) -> u64 {
    let mut last = None;
    trace_ids
        .filter(|trace_id| last.replace(*trace_id) != Some(*trace_id))
        .count() as u64
}

pub(super) fn state_of(parts: &Parts, rules: &SessionRules, watermark_us: i64) -> SessionState {
    let roots = || {
        parts
            .iter()
            .filter_map(|((trace_id, _), part)| Some((trace_id, part.root.as_ref()?)))
    };
    // A later segment of a trace has no root of its own. Segments of one trace stand together.
    let rooted = distinct(roots().map(|(trace_id, _)| *trace_id));
    let is_whole = rooted == distinct(parts.keys().map(|(trace_id, _)| *trace_id));
    match roots().map(|(_, root)| root).max() {
        Some(root) if is_whole && root.failed => SessionState::Failed,
        Some(_) if is_whole => SessionState::Done,
        _ if rules.idles_us(last_us(parts)) <= watermark_us => SessionState::Idle,
        _ => SessionState::Open,
    }
}

pub(super) fn loop_of(parts: &Parts) -> Loop {
    let mut calls: Vec<(&ToolCall, TraceId)> = parts
        .iter()
        .flat_map(|((trace_id, _), summary)| summary.calls.iter().map(|call| (call, *trace_id)))
        .collect();
    calls.sort_unstable();
    let run = longest_run(calls.iter().map(|(call, _)| *call));
    let first = run.first().copied();
    let trace_id = calls
        .iter()
        .find(|(call, _)| Some(*call) == first)
        .map_or(0, |(_, trace_id)| *trace_id);
    Loop {
        calls: run.into_iter().cloned().collect(),
        trace_id,
    }
}

pub(super) fn summarize(
    session: &SessionKey,
    segment: Epoch,
    traces: &Parts,
    state: SessionState,
    max_repeat: usize,
    is_loop: bool,
) -> SessionSummary {
    let parts = || traces.values();
    let mut totals = Totals::default();
    parts().for_each(|part| totals.merge(&part.totals));
    let first_us = parts().map(|part| part.first_us).min().unwrap_or_default();
    let first_root = parts().filter_map(|part| part.root.as_ref()).min();
    let earliest = parts().min_by_key(|part| (part.first_us, &part.agent));
    let agent = first_root
        .map(|root| &root.agent)
        .or(earliest.map(|part| &part.agent));
    let agents: BTreeSet<&String> = parts().flat_map(|part| &part.agents).collect();
    let user = parts().filter_map(|part| part.user_id.as_ref()).min();
    let has_orphans = parts().any(|part| part.orphans > 0);
    let flags = [(is_loop, "loop"), (has_orphans, "orphans")];
    SessionSummary {
        session: session.clone(),
        segment,
        source: parts()
            .map(|part| part.session_source)
            .min()
            .unwrap_or(SessionSource::Trace),
        agent: agent.cloned().unwrap_or_default(),
        agents: agents.into_iter().cloned().collect(),
        user_id: user.map(|(_, user)| user.clone()).unwrap_or_default(),
        first_us,
        last_us: last_us(traces),
        state,
        traces: distinct(traces.keys().map(|(trace_id, _)| *trace_id)),
        turns: parts().map(|part| part.turns).sum(),
        totals,
        max_repeat: u32::try_from(max_repeat).unwrap_or(u32::MAX),
        flags: flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, flag)| (*flag).to_owned())
            .collect(),
    }
}
