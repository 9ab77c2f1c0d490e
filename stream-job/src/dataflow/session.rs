//! Sessions so far: the sum of their traces. A trace that turns out to belong to another session moves there whole.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::epochs::Epoch;
use super::trace::TraceUpdate;
use super::trace_summary::{SessionKey, SessionSource, ToolCall, Totals, TraceId, TraceSummary};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{Changes, Grouped};

#[path = "session_parts.rs"]
mod parts;
#[path = "session_saved.rs"]
mod saved;
#[path = "session_settled.rs"]
mod settled;

use parts::Held;
pub use saved::group_of_session;
use settled::{Settled, Whole, settle};

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
    /// How long the traces are kept after their last span.
    pub trace_kept_us: i64,
    /// Traces of one session that are kept one by one.
    pub max_traces: usize,
}

/// A loop that was told.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Told {
    opened_us: i64,
    calls: usize,
}

struct Tracked {
    segment: Epoch,
    traces: Held,
    /// Those of many traces that change no more.
    settled: Option<Box<Settled>>,
    /// The traces that changed since the last block, where there are many.
    fresh: Option<Vec<(TraceId, Epoch)>>,
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
        let settled = self.settled.as_ref().map_or(i64::MIN, |all| all.last_us());
        self.traces.last_us().max(settled)
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
    /// The watermark at the end of the block before this one.
    block_watermark_us: i64,
    sessions: Grouped<Arc<SessionKey>, Tracked>,
    /// Those whose traces are open: they changed since the last block.
    changed: Vec<Arc<SessionKey>>,
    /// When to look at a session again.
    timers: BinaryHeap<Reverse<(i64, Arc<SessionKey>)>>,
    /// Sessions that changed or went since the last checkpoint.
    changes: Changes<Arc<SessionKey>>,
}

impl Sessions {
    /// Without any session.
    #[must_use]
    pub fn new(rules: SessionRules) -> Self {
        Self {
            rules,
            watermark_us: i64::MIN,
            block_watermark_us: i64::MIN,
            sessions: Grouped::default(),
            changed: Vec::new(),
            timers: BinaryHeap::new(),
            changes: Changes::default(),
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
            expired.retain(|session| !woken.contains(&**session));
        }
        for change in changes {
            self.take(record.epoch, change);
        }
        if record.tells_all {
            self.tell_all();
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        let mut out = Vec::new();
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for session in changed {
            self.put_out(session, &mut out);
        }
        for session in expired {
            let over =
                |tracked: &Tracked| self.rules.ends_us(tracked.last_us()) <= self.watermark_us;
            if self.sessions.get(&session).is_some_and(over) {
                self.sessions.remove(&session);
                self.changes.note(session);
            }
        }
        self.block_watermark_us = self.watermark_us;
        out
    }

    /// Has every session, and every loop that it still has, told of again.
    fn tell_all(&mut self) {
        for (session, tracked) in self.sessions.iter_mut() {
            self.changed.push(session.clone());
            tracked.loops.values_mut().for_each(|told| told.calls = 0);
        }
    }

    fn take(&mut self, epoch: Epoch, change: SessionChange) {
        let SessionChange {
            session,
            trace_id,
            trace_segment,
            summary,
        } = change;
        let part = (trace_id, trace_segment);
        if summary.is_some() && self.sessions.get(&session).is_none() {
            let new = Tracked {
                segment: epoch,
                traces: Held::default(),
                settled: None,
                fresh: None,
                shown: None,
                shown_last_us: 0,
                next_look_us: i64::MAX,
                loops: BTreeMap::new(),
            };
            self.sessions.insert(Arc::new(session.clone()), new);
        }
        let Some((key, tracked)) = self.sessions.get_key_value_mut(&session) else {
            return;
        };
        let was_packed = tracked.traces.is_packed();
        let parts = tracked.traces.open();
        if was_packed {
            self.changed.push(Arc::clone(key));
            tracked.fresh = (parts.len() > self.rules.max_traces).then(Vec::new);
        }
        if let Some(fresh) = &mut tracked.fresh {
            fresh.push(part);
        }
        match summary {
            Some(summary) => parts.insert(part, summary),
            None => parts.remove(&part),
        };
    }

    /// Fires the timers up to the watermark; returns the sessions whose time is over.
    fn advance(&mut self) -> Vec<Arc<SessionKey>> {
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
                let whole = Whole {
                    parts: &tracked.traces.read(),
                    settled: tracked.settled.as_deref(),
                };
                let state = whole.state(&self.rules, self.watermark_us);
                if tracked.shown != Some(state) && tracked.traces.is_packed() {
                    tracked.traces.open();
                    self.changed.push(session.clone());
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

    fn put_out(&mut self, session: Arc<SessionKey>, out: &mut Vec<SessionOut>) {
        self.changes.note(session.clone());
        let Some(tracked) = self.sessions.get_mut(&session) else {
            return;
        };
        let parts = tracked.traces.open();
        let whole = Whole {
            parts,
            settled: tracked.settled.as_deref(),
        };
        if whole.is_empty() {
            let (segment, shown, last_us) = (tracked.segment, tracked.shown, tracked.shown_last_us);
            self.sessions.remove(&session);
            if shown.is_some() {
                out.push(SessionOut::Gone {
                    session: (*session).clone(),
                    segment,
                    last_us,
                });
            }
            return;
        }
        let state = whole.state(&self.rules, self.watermark_us);
        let (found, max_repeat) = whole.longest_run();
        let is_loop = max_repeat >= self.rules.loop_min_repeats as usize;
        let summary = whole.summarize(&session, tracked.segment, state, max_repeat, is_loop);
        if let Some(mut fresh) = tracked.fresh.take() {
            fresh.sort_unstable();
            // A trace whose time was over a block ago has been forgotten by now, unless it came back.
            let (rules, before_us) = (self.rules, self.block_watermark_us);
            let is_over = |last_us: i64| last_us.saturating_add(rules.trace_kept_us) <= before_us;
            settle(parts, &mut tracked.settled, max_repeat, |part, summary| {
                is_over(summary.last_us) && fresh.binary_search(part).is_err()
            });
        }
        tracked.traces.pack();
        tracked.shown = Some(state);
        tracked.shown_last_us = summary.last_us;
        let idles_us = self.rules.idles_us(summary.last_us);
        if idles_us < tracked.next_look_us {
            tracked.next_look_us = idles_us;
            self.timers.push(Reverse((idles_us, session.clone())));
        }
        let is_longest = is_loop && found.calls.len() == max_repeat;
        if is_longest && let Some(first) = found.calls.first() {
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
                    session: (*session).clone(),
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

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
