//! The traces of a large session that change no more, as sums; and what all its traces say together.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::parts::{Parts, last_us};
use super::{Loop, SessionRules, SessionState, SessionSummary};
use crate::dataflow::epochs::Epoch;
use crate::dataflow::trace_state::MAX_AGENTS;
use crate::dataflow::trace_summary::{
    Root, SessionKey, SessionSource, ToolCall, Totals, TraceId, TraceSummary, flags, longest_run,
};

/// Calls kept of traces that change no more, for a loop that goes on: the latest.
const CALLS_OF_SETTLED: usize = 1000;

/// Traces that change no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settled {
    /// What they say together, but for their calls.
    sum: TraceSummary,
    /// How many they are; one that went on after it was forgotten counts again.
    traces: u64,
    /// How many of them have no root.
    without_root: u64,
    last_root: Option<Root>,
    /// Their latest calls, in order.
    calls: Vec<(ToolCall, TraceId)>,
    /// The longest run of one tool with equal arguments in the session when calls were last let go.
    max_repeat: usize,
}

impl Settled {
    pub(super) fn last_us(&self) -> i64 {
        self.sum.last_us
    }

    #[cfg(test)]
    pub(super) fn calls_kept(&self) -> usize {
        self.calls.len()
    }

    fn of(summary: &TraceSummary) -> Self {
        Self {
            sum: TraceSummary {
                totals: Totals::default(),
                turns: 0,
                agents: Vec::new(),
                calls: Vec::new(),
                orphans: 0,
                truncated: false,
                ..summary.clone()
            },
            traces: 0,
            without_root: 0,
            last_root: None,
            calls: Vec::new(),
            max_repeat: 0,
        }
    }

    /// Takes in a segment of a trace.
    fn add(&mut self, trace_id: TraceId, summary: &TraceSummary) {
        let sum = &mut self.sum;
        sum.totals.merge(&summary.totals);
        sum.turns += summary.turns;
        if (summary.first_us, &summary.agent) < (sum.first_us, &sum.agent) {
            sum.agent.clone_from(&summary.agent);
        }
        sum.first_us = sum.first_us.min(summary.first_us);
        sum.last_us = sum.last_us.max(summary.last_us);
        sum.session_source = sum.session_source.min(summary.session_source);
        let users = [sum.user_id.take(), summary.user_id.clone()];
        sum.user_id = users.into_iter().flatten().min();
        let roots = [sum.root.take(), summary.root.clone()];
        sum.root = roots.into_iter().flatten().min();
        self.last_root = self.last_root.take().max(summary.root.clone());
        let agents: BTreeSet<String> = (sum.agents.drain(..))
            .chain(summary.agents.iter().cloned())
            .collect();
        sum.agents = agents.into_iter().take(MAX_AGENTS).collect();
        sum.orphans += summary.orphans;
        sum.truncated |= summary.truncated;
        let calls = summary.calls.iter().map(|call| (call.clone(), trace_id));
        self.calls.extend(calls);
    }
}

/// The traces of a session: those that may change, and the others where there are many.
#[derive(Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) parts: &'a Parts,
    pub(super) settled: Option<&'a Settled>,
}

/// How many different traces there are among these, which are in order.
fn distinct(trace_ids: impl Iterator<Item = TraceId>) -> u64 {
    let mut last = None;
    trace_ids
        .filter(|trace_id| last.replace(*trace_id) != Some(*trace_id))
        .count() as u64
}

/// How many different traces there are, and how many of them have no root.
fn count<'a>(parts: impl Iterator<Item = (TraceId, &'a TraceSummary)> + Clone) -> (u64, u64) {
    // A later segment of a trace has no root of its own. Segments of one trace stand together.
    let rooted = parts.clone().filter(|(_, part)| part.root.is_some());
    let traces = distinct(parts.map(|(trace_id, _)| trace_id));
    (
        traces,
        traces - distinct(rooted.map(|(trace_id, _)| trace_id)),
    )
}

impl<'a> Whole<'a> {
    fn open(self) -> impl Iterator<Item = (TraceId, &'a TraceSummary)> + Clone {
        (self.parts.iter()).map(|((trace_id, _), part)| (*trace_id, &**part))
    }

    /// What the traces say, those that change no more in one.
    fn said(self) -> impl Iterator<Item = &'a TraceSummary> {
        let settled = self.settled.map(|settled| &settled.sum);
        self.open().map(|(_, part)| part).chain(settled)
    }

    pub(super) fn is_empty(self) -> bool {
        self.parts.is_empty() && self.settled.is_none()
    }

    pub(super) fn last_us(self) -> i64 {
        last_us(self.parts).max(self.settled.map_or(i64::MIN, |settled| settled.sum.last_us))
    }

    pub(super) fn state(self, rules: &SessionRules, watermark_us: i64) -> SessionState {
        let (_, without_root) = count(self.open());
        let settled = self.settled.map_or(0, |settled| settled.without_root);
        let roots = self.open().filter_map(|(_, part)| part.root.as_ref());
        let last_root = self.settled.and_then(|settled| settled.last_root.as_ref());
        match roots.chain(last_root).max() {
            Some(root) if without_root + settled == 0 && root.failed => SessionState::Failed,
            Some(_) if without_root + settled == 0 => SessionState::Done,
            _ if rules.idles_us(self.last_us()) <= watermark_us => SessionState::Idle,
            _ => SessionState::Open,
        }
    }

    /// The longest run of calls, and how long the longest was that there ever was.
    pub(super) fn longest_run(self) -> (Loop, usize) {
        let settled = self.settled.map_or(&[][..], |settled| &settled.calls);
        let open = self
            .open()
            .flat_map(|(trace_id, part)| part.calls.iter().map(move |call| (call, trace_id)));
        let mut calls: Vec<(&ToolCall, TraceId)> = open
            .chain(settled.iter().map(|(call, trace_id)| (call, *trace_id)))
            .collect();
        calls.sort_unstable();
        let run = longest_run(calls.iter().map(|(call, _)| *call));
        let first = run.first().copied();
        let trace_id = calls
            .iter()
            .find(|(call, _)| Some(*call) == first)
            .map_or(0, |(_, trace_id)| *trace_id);
        let before = self.settled.map_or(0, |settled| settled.max_repeat);
        let max_repeat = run.len().max(before);
        let found = Loop {
            calls: run.into_iter().cloned().collect(),
            trace_id,
        };
        (found, max_repeat)
    }

    pub(super) fn summarize(
        self,
        session: &SessionKey,
        segment: Epoch,
        state: SessionState,
        max_repeat: usize,
        is_loop: bool,
    ) -> SessionSummary {
        let mut totals = Totals::default();
        self.said().for_each(|part| totals.merge(&part.totals));
        let first_us = self.said().map(|part| part.first_us).min();
        let first_root = self.said().filter_map(|part| part.root.as_ref()).min();
        let earliest = self.said().min_by_key(|part| (part.first_us, &part.agent));
        let agent = first_root
            .map(|root| &root.agent)
            .or(earliest.map(|part| &part.agent));
        let agents: BTreeSet<&String> = self.said().flat_map(|part| &part.agents).collect();
        let user = self.said().filter_map(|part| part.user_id.as_ref()).min();
        let has_orphans = self.said().any(|part| part.orphans > 0);
        let is_truncated = self.said().any(|part| part.truncated);
        let settled = self.settled.map_or(0, |settled| settled.traces);
        SessionSummary {
            session: session.clone(),
            segment,
            source: self
                .said()
                .map(|part| part.session_source)
                .min()
                .unwrap_or(SessionSource::Trace),
            agent: agent.cloned().unwrap_or_default(),
            agents: agents.into_iter().take(MAX_AGENTS).cloned().collect(),
            user_id: user.map(|(_, user)| user.clone()).unwrap_or_default(),
            first_us: first_us.unwrap_or_default(),
            last_us: self.last_us(),
            state,
            traces: count(self.open()).0 + settled,
            turns: self.said().map(|part| part.turns).sum(),
            totals,
            max_repeat: u32::try_from(max_repeat).unwrap_or(u32::MAX),
            flags: flags(is_loop, has_orphans, is_truncated),
        }
    }
}

/// Moves the traces that change no more into the sums. `max_repeat` is the longest run of calls, theirs included.
pub(super) fn settle(
    parts: &mut Parts,
    settled: &mut Option<Box<Settled>>,
    max_repeat: usize,
    changes_no_more: impl Fn(&(TraceId, Epoch), &TraceSummary) -> bool,
) {
    let over: Parts = parts
        .extract_if(.., |part, summary| changes_no_more(part, summary))
        .collect();
    let Some(first) = over.values().next() else {
        return;
    };
    let settled = settled.get_or_insert_with(|| Box::new(Settled::of(first)));
    for ((trace_id, _), summary) in &over {
        settled.add(*trace_id, summary);
    }
    let (traces, without_root) = count(over.iter().map(|((id, _), part)| (*id, &**part)));
    settled.traces += traces;
    settled.without_root += without_root;
    settled.calls.sort_unstable();
    let too_many = settled.calls.len().saturating_sub(CALLS_OF_SETTLED);
    if too_many > 0 {
        settled.calls.drain(..too_many);
        settled.max_repeat = max_repeat;
    }
}
