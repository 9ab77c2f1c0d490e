//! Sessions so far: the sum of their traces. A trace that turns out to belong to another session moves there whole.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::epochs::Epoch;
use super::trace::{
    SessionKey, SessionSource, ToolCall, Totals, TraceId, TraceSummary, TraceUpdate, longest_run,
};
use crate::checkpoint::record::EpochRecord;

/// What happens to a session: one of its traces changed or left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionChange {
    /// The session.
    pub session: SessionKey,
    /// The trace.
    pub trace_id: TraceId,
    /// The segment of the trace.
    pub trace_segment: Epoch,
    /// What the trace says now; `None` where it left.
    pub summary: Option<Arc<TraceSummary>>,
}

impl SessionChange {
    /// The changes that a trace's update means.
    pub fn of(update: &TraceUpdate) -> impl Iterator<Item = SessionChange> {
        let change = |session: &SessionKey, summary: Option<Arc<TraceSummary>>| SessionChange {
            session: session.clone(),
            trace_id: update.trace_id,
            trace_segment: update.segment,
            summary,
        };
        let left = update
            .moved_from
            .as_ref()
            .map(|before| change(before, None));
        left.into_iter().chain(std::iter::once(change(
            &update.session,
            Some(Arc::clone(&update.summary)),
        )))
    }

    /// Which worker owns the session.
    #[must_use]
    pub fn owner(&self) -> u64 {
        xxh3_64(self.session.session_id.as_bytes())
            ^ xxh3_64(self.session.namespace.as_bytes()).rotate_left(1)
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionState {
    /// A trace of it has not shown its root yet.
    Open,
    /// Open, and silent for `session_idle`.
    Idle,
    /// All traces have their roots, and the last root succeeded.
    Done,
    /// All traces have their roots, and the last root failed.
    Failed,
}

impl SessionState {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SessionState::Open => "open",
            SessionState::Idle => "idle",
            SessionState::Done => "done",
            SessionState::Failed => "failed",
        }
    }
}

/// A loop: one tool called with equal arguments again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loop {
    /// The calls, oldest first.
    pub calls: Vec<ToolCall>,
    /// The trace of the first call.
    pub trace_id: TraceId,
}

/// A session as it stands at the end of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// The session.
    pub session: SessionKey,
    /// The epoch its state was opened at.
    pub segment: Epoch,
    /// Where its id came from.
    pub source: SessionSource,
    /// Agent of the first root, else of the earliest trace.
    pub agent: String,
    /// All agents, sorted.
    pub agents: Vec<String>,
    /// The user that the earliest span names.
    pub user_id: String,
    /// Earliest start, µs since 1970.
    pub first_us: i64,
    /// Latest end, µs since 1970.
    pub last_us: i64,
    /// Where it stands.
    pub state: SessionState,
    /// Traces.
    pub traces: u64,
    /// Turns.
    pub turns: u64,
    /// The sums.
    pub totals: Totals,
    /// Longest run of one tool with equal arguments.
    pub max_repeat: u32,
    /// What is remarkable: `loop`, `orphans`.
    pub flags: Vec<String>,
}

/// What a session's change puts out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionOut {
    /// The session's row.
    Row(SessionSummary),
    /// The session's row is taken back: all of its traces left.
    Gone {
        /// The session.
        session: SessionKey,
        /// The segment of the row.
        segment: Epoch,
        /// The latest end that the row says, µs since 1970: what takes it back has to live as long.
        last_us: i64,
    },
    /// A loop in it. It is told again when it has grown or shrunk.
    Loop {
        /// The session.
        session: SessionKey,
        /// Its agent.
        agent: String,
        /// The calls.
        found: Loop,
        /// Start of the first call when the loop was first told, µs since 1970: a call that comes late may be earlier.
        opened_us: i64,
        /// Whether the loop was not told before.
        is_first: bool,
    },
}

/// The rules for sessions, times in µs.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// Silence after which an open session is idle.
    pub idle_us: i64,
    /// How long a session is kept after its last span.
    pub ttl_us: i64,
    /// Equal calls in a row that make a loop.
    pub loop_min_repeats: u32,
}

/// A loop that was told.
#[derive(Clone, Copy)]
struct Told {
    opened_us: i64,
    calls: usize,
}

struct Tracked {
    segment: Epoch,
    traces: BTreeMap<(TraceId, Epoch), Arc<TraceSummary>>,
    /// The state that its row shows, once it has one.
    shown: Option<SessionState>,
    /// The latest end that its row shows, µs since 1970.
    shown_last_us: i64,
    /// When the session is looked at next; its timers for other times are void.
    next_look_us: i64,
    /// The loops that were told, by tool and hash of the arguments.
    loops: BTreeMap<(String, u64), Told>,
}

impl Tracked {
    fn last_us(&self) -> i64 {
        let ends = self.traces.values().map(|part| part.last_us);
        ends.max().unwrap_or(i64::MIN)
    }

    fn state(&self, rules: &SessionRules, watermark_us: i64) -> SessionState {
        let roots = || {
            self.traces
                .iter()
                .filter_map(|((trace_id, _), part)| Some((trace_id, part.root.as_ref()?)))
        };
        // A later segment of a trace has no root of its own.
        let rooted: BTreeSet<_> = roots().map(|(trace_id, _)| trace_id).collect();
        let is_whole = (self.traces.keys()).all(|(trace_id, _)| rooted.contains(trace_id));
        match roots().map(|(_, root)| root).max() {
            Some(root) if is_whole && root.failed => SessionState::Failed,
            Some(_) if is_whole => SessionState::Done,
            _ if rules.idles_us(self.last_us()) <= watermark_us => SessionState::Idle,
            _ => SessionState::Open,
        }
    }
}

impl SessionRules {
    /// When a session that is open becomes idle.
    fn idles_us(&self, last_us: i64) -> i64 {
        last_us.saturating_add(self.idle_us)
    }

    /// When a session is forgotten.
    fn ends_us(&self, last_us: i64) -> i64 {
        last_us.saturating_add(self.ttl_us.max(self.idle_us))
    }
}

/// The sessions that one worker owns.
pub struct Sessions {
    rules: SessionRules,
    watermark_us: i64,
    sessions: BTreeMap<SessionKey, Tracked>,
    changed: BTreeSet<SessionKey>,
    /// When to look at a session again.
    timers: BinaryHeap<Reverse<(i64, SessionKey)>>,
}

impl Sessions {
    /// Without any session.
    #[must_use]
    pub fn new(rules: SessionRules) -> Self {
        Self {
            rules,
            watermark_us: i64::MIN,
            sessions: BTreeMap::new(),
            changed: BTreeSet::new(),
            timers: BinaryHeap::new(),
        }
    }

    /// Takes in one epoch. Puts out what changed since the last block where the record ends a block.
    pub fn apply(
        &mut self,
        record: &EpochRecord,
        mut changes: Vec<SessionChange>,
    ) -> Vec<SessionOut> {
        self.watermark_us = self.watermark_us.max(record.watermark_us);
        let mut expired = self.advance();
        // A trace that moves from session to session within an epoch ends where its newest update says.
        changes.sort_by_key(|change| (change.trace_id, change.trace_segment));
        if !expired.is_empty() {
            // The trace of a change is alive. What it says next must replace what it says now, not come beside it.
            let woken: BTreeSet<_> = changes.iter().map(|change| &change.session).collect();
            expired.retain(|session| !woken.contains(session));
        }
        for change in changes {
            self.take(record.epoch, change);
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        let mut out = Vec::new();
        for session in std::mem::take(&mut self.changed) {
            self.put_out(session, &mut out);
        }
        for session in expired {
            let over =
                |tracked: &Tracked| self.rules.ends_us(tracked.last_us()) <= self.watermark_us;
            if self.sessions.get(&session).is_some_and(over) {
                self.sessions.remove(&session);
            }
        }
        out
    }

    fn take(&mut self, epoch: Epoch, change: SessionChange) {
        let SessionChange {
            session,
            trace_id,
            trace_segment,
            summary,
        } = change;
        let part = (trace_id, trace_segment);
        match summary {
            Some(summary) => {
                let tracked = self
                    .sessions
                    .entry(session.clone())
                    .or_insert_with(|| Tracked {
                        segment: epoch,
                        traces: BTreeMap::new(),
                        shown: None,
                        shown_last_us: 0,
                        next_look_us: i64::MAX,
                        loops: BTreeMap::new(),
                    });
                tracked.traces.insert(part, summary);
            }
            None => {
                let Some(tracked) = self.sessions.get_mut(&session) else {
                    return;
                };
                tracked.traces.remove(&part);
            }
        }
        self.changed.insert(session);
    }

    /// Fires the timers up to the watermark; returns the sessions whose time is over.
    fn advance(&mut self) -> Vec<SessionKey> {
        let mut expired = Vec::new();
        let mut again = Vec::new();
        while let Some(next) = self.timers.peek_mut() {
            if next.0.0 > self.watermark_us {
                break;
            }
            let Reverse((at, session)) = PeekMut::pop(next);
            let Some(tracked) = self
                .sessions
                .get_mut(&session)
                .filter(|tracked| tracked.next_look_us == at)
            else {
                continue;
            };
            let last_us = tracked.last_us();
            tracked.next_look_us = self.rules.idles_us(last_us);
            if tracked.next_look_us <= self.watermark_us {
                if tracked.shown != Some(tracked.state(&self.rules, self.watermark_us)) {
                    self.changed.insert(session.clone());
                }
                tracked.next_look_us = self.rules.ends_us(last_us);
                if tracked.next_look_us <= self.watermark_us {
                    // Should the block not end here, the timer finds the session again in the next epoch.
                    expired.push(session.clone());
                }
            }
            again.push(Reverse((tracked.next_look_us, session)));
        }
        self.timers.extend(again);
        expired
    }

    fn put_out(&mut self, session: SessionKey, out: &mut Vec<SessionOut>) {
        let Some(tracked) = self.sessions.get_mut(&session) else {
            return;
        };
        if tracked.traces.is_empty() {
            let (segment, shown, last_us) = (tracked.segment, tracked.shown, tracked.shown_last_us);
            self.sessions.remove(&session);
            if shown.is_some() {
                out.push(SessionOut::Gone {
                    session,
                    segment,
                    last_us,
                });
            }
            return;
        }
        let state = tracked.state(&self.rules, self.watermark_us);
        tracked.shown = Some(state);
        tracked.shown_last_us = tracked.last_us();
        let idles_us = self.rules.idles_us(tracked.last_us());
        if idles_us < tracked.next_look_us {
            tracked.next_look_us = idles_us;
            self.timers.push(Reverse((idles_us, session.clone())));
        }
        let found = loop_of(tracked);
        let max_repeat = found.calls.len();
        let is_loop = max_repeat >= self.rules.loop_min_repeats as usize;
        let summary = summarize(&session, tracked, state, max_repeat, is_loop);
        if is_loop && let Some(first) = found.calls.first() {
            let kind = (first.tool_name.clone(), first.args_hash);
            let before = tracked.loops.get(&kind).copied();
            let opened_us = before.map_or(first.place.0, |told| told.opened_us);
            if before.is_none_or(|told| told.calls != max_repeat) {
                let told = Told {
                    opened_us,
                    calls: max_repeat,
                };
                tracked.loops.insert(kind, told);
                out.push(SessionOut::Loop {
                    session,
                    agent: summary.agent.clone(),
                    found,
                    opened_us,
                    is_first: before.is_none(),
                });
            }
        }
        out.push(SessionOut::Row(summary));
    }

    /// Number of sessions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

fn loop_of(tracked: &Tracked) -> Loop {
    let mut calls: Vec<(&ToolCall, TraceId)> = tracked
        .traces
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

fn summarize(
    session: &SessionKey,
    tracked: &Tracked,
    state: SessionState,
    max_repeat: usize,
    is_loop: bool,
) -> SessionSummary {
    let parts = || tracked.traces.values();
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
    let ids: BTreeSet<TraceId> = tracked
        .traces
        .keys()
        .map(|(trace_id, _)| *trace_id)
        .collect();
    let has_orphans = parts().any(|part| part.orphans > 0);
    let flags = [(is_loop, "loop"), (has_orphans, "orphans")];
    SessionSummary {
        session: session.clone(),
        segment: tracked.segment,
        source: parts()
            .map(|part| part.session_source)
            .min()
            .unwrap_or(SessionSource::Trace),
        agent: agent.cloned().unwrap_or_default(),
        agents: agents.into_iter().cloned().collect(),
        user_id: user.map(|(_, user)| user.clone()).unwrap_or_default(),
        first_us,
        last_us: tracked.last_us(),
        state,
        traces: ids.len() as u64,
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

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
