//! The traces that a worker owns: kept per trace id, corrected with every span, and told at the end of each block.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};

use super::edge::{EdgeChanges, EdgePartial};
use super::epochs::Epoch;
use super::trace_state::TraceState;
use super::trace_summary::{SessionKey, TraceId, TraceSummary, TraceUser};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{Changes, Grouped};
use crate::span::clean::CleanSpan;

#[path = "trace_saved.rs"]
mod saved;

pub use saved::group_of_trace;

/// A part of a trace from one worker and epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePartial {
    /// The trace.
    pub trace_id: TraceId,
    /// Its part.
    pub state: TraceState,
}

/// Sums spans per trace before anything is exchanged.
#[derive(Default)]
pub struct PreTrace {
    partials: Vec<TracePartial>,
    /// Where in `partials` each trace stands.
    places: HashMap<TraceId, usize>,
}

impl PreTrace {
    /// Takes in one span.
    pub fn add(&mut self, span: &CleanSpan<'_>) {
        let trace_id = u128::from_be_bytes(span.trace_id);
        // Spans of one trace mostly come one after the other.
        if let Some(last) = self.partials.last_mut()
            && last.trace_id == trace_id
        {
            last.state.add_span(span);
            return;
        }
        let next = self.partials.len();
        let at = *self.places.entry(trace_id).or_insert(next);
        if at == next {
            self.partials.push(TracePartial {
                trace_id,
                state: TraceState::default(),
            });
        }
        self.partials[at].state.add_span(span);
    }

    /// Takes what came since the last call.
    pub fn take(&mut self) -> Vec<TracePartial> {
        self.places.clear();
        std::mem::take(&mut self.partials)
    }
}

/// A trace as it stands at the end of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceUpdate {
    /// The trace.
    pub trace_id: TraceId,
    /// The epoch its state was opened at.
    pub segment: Epoch,
    /// The session that it belongs to now.
    pub session: SessionKey,
    /// The session that it belonged to when last told, where that was another one.
    pub moved_from: Option<SessionKey>,
    /// Whose it was said to be when last told, and when it had ended.
    pub user_before: Option<TraceUser>,
    /// What it says.
    pub summary: Arc<TraceSummary>,
}

impl TraceUpdate {
    /// Whose it is now, where a span names a user.
    #[must_use]
    pub fn user(&self) -> Option<TraceUser> {
        let (_, user_id) = self.summary.user_id.as_ref()?;
        Some(TraceUser {
            namespace: self.session.namespace.clone(),
            user_id: user_id.clone(),
            last_us: self.summary.last_us,
        })
    }
}

/// A trace with a user that was forgotten: nothing that it has said changes any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceForgotten {
    /// The trace.
    pub trace_id: TraceId,
    /// The epoch its state was opened at.
    pub segment: Epoch,
    /// Whose it was said to be.
    pub user: TraceUser,
}

/// A trace that has changed since it was told of.
struct Open {
    segment: Epoch,
    state: TraceState,
    /// The session that it was said to belong to; `None` where it was never told of.
    told: Option<SessionKey>,
    /// Whose it was said to be.
    told_user: Option<TraceUser>,
    /// Parents that had not come when the grace time was over, and have not come since.
    missing: BTreeSet<u64>,
    /// When the trace is looked at next; its timers for other times are void.
    next_look_us: i64,
}

/// A trace that has been told of as it stands.
struct Kept {
    segment: Epoch,
    next_look_us: i64,
    /// [`TraceState::pack`].
    packed: Arc<[u8]>,
}

impl Open {
    fn new(segment: Epoch, state: TraceState) -> Self {
        Self {
            segment,
            state,
            told: None,
            told_user: None,
            missing: BTreeSet::new(),
            next_look_us: i64::MAX,
        }
    }
}

impl Kept {
    fn last_us(&self) -> i64 {
        TraceState::packed_last_us(&self.packed)
    }

    /// Takes its transitions back, until it is told of again.
    fn open(&self, trace_id: TraceId, edges: &mut EdgeChanges) -> Box<Open> {
        let (state, missing) = TraceState::unpack(&self.packed);
        state.each_edge(|edge, sums| edges.take_back(&edge, &sums));
        Box::new(Open {
            segment: self.segment,
            told: Some(state.session_key(trace_id)),
            told_user: state.user(),
            state,
            missing,
            next_look_us: self.next_look_us,
        })
    }
}

/// The rules for traces, times in µs.
#[derive(Clone, Copy, Debug)]
pub struct TraceRules {
    /// How long a span's parent is waited for after the trace's last span.
    pub orphan_grace_us: i64,
    /// How long a trace is kept after its last span.
    pub trace_ttl_us: i64,
    /// Spans of one trace that are kept one by one.
    pub max_spans: u64,
}

impl TraceRules {
    /// When a span that is missing is missed.
    fn settles_us(&self, last_us: i64) -> i64 {
        last_us.saturating_add(self.orphan_grace_us)
    }

    /// How long a trace is kept after its latest end.
    pub(super) fn kept_us(&self) -> i64 {
        self.trace_ttl_us.max(self.orphan_grace_us)
    }

    /// When the trace is forgotten.
    fn ends_us(&self, last_us: i64) -> i64 {
        last_us.saturating_add(self.kept_us())
    }
}

impl TraceRules {
    /// When to look at a trace again after a look at `watermark_us`, and the parents that are missed if it has settled.
    fn look(&self, state: &TraceState, watermark_us: i64) -> (i64, Option<BTreeSet<u64>>) {
        let settles = self.settles_us(state.last_us);
        if settles > watermark_us {
            return (settles, None);
        }
        (self.ends_us(state.last_us), Some(state.missing_parents()))
    }
}

impl Open {
    /// What there is to tell of it now, and what is kept.
    fn tell(self, trace_id: TraceId) -> (TraceUpdate, Kept) {
        let Open {
            segment,
            state,
            told,
            told_user,
            mut missing,
            next_look_us,
        } = self;
        if !missing.is_empty() {
            // A parent that comes after the grace time takes its children out of the orphans.
            let still = state.missing_parents();
            missing.retain(|parent| still.contains(parent));
        }
        let orphans = state.children_of(&missing);
        let session = state.session_key(trace_id);
        let kept = Kept {
            segment,
            next_look_us,
            packed: state.pack(&missing),
        };
        let update = TraceUpdate {
            trace_id,
            segment,
            moved_from: told.filter(|before| *before != session),
            user_before: told_user,
            session,
            summary: Arc::new(state.summary(orphans)),
        };
        (update, kept)
    }
}

/// The traces that one worker owns.
pub struct Traces {
    rules: TraceRules,
    watermark_us: i64,
    /// Those told of. Between two blocks a trace is either here or in `open`.
    kept: Grouped<TraceId, Kept>,
    /// Those that changed since the last block.
    open: HashMap<TraceId, Box<Open>>,
    /// When to look at a trace again. A timer is not put off by a new span: it looks, and is set again.
    timers: BinaryHeap<Reverse<(i64, TraceId)>>,
    /// By what the transitions of those in `open` have changed.
    edges: EdgeChanges,
    forgotten: Vec<TraceForgotten>,
    /// Traces that changed or went since the last checkpoint.
    changes: Changes<TraceId>,
}

impl Traces {
    /// Without any trace.
    #[must_use]
    pub fn new(rules: TraceRules) -> Self {
        Self {
            rules,
            watermark_us: i64::MIN,
            kept: Grouped::default(),
            open: HashMap::new(),
            timers: BinaryHeap::new(),
            edges: EdgeChanges::default(),
            forgotten: Vec::new(),
            changes: Changes::default(),
        }
    }

    /// Takes in one epoch. Returns the traces that changed since the last block where the record ends a block.
    pub fn apply(&mut self, record: &EpochRecord, partials: Vec<TracePartial>) -> Vec<TraceUpdate> {
        self.watermark_us = self.watermark_us.max(record.watermark_us);
        let expired = self.advance();
        for partial in partials {
            self.add(record.epoch, partial);
        }
        if record.tells_all {
            for (id, kept) in std::mem::take(&mut self.kept).drain() {
                let open = kept.open(id, &mut self.edges);
                self.open.insert(id, open);
            }
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_unstable_by_key(|(trace_id, _)| *trace_id);
        let updates = open
            .into_iter()
            .map(|(trace_id, mut open)| {
                open.state.truncate(self.rules.max_spans);
                (open.state).each_edge(|edge, sums| self.edges.add(&edge, &sums));
                let (update, kept) = open.tell(trace_id);
                self.changes.note(trace_id);
                self.kept.insert(trace_id, kept);
                update
            })
            .collect();
        self.forget(&expired);
        updates
    }

    fn add(&mut self, epoch: Epoch, partial: TracePartial) {
        let TracePartial { trace_id, state } = partial;
        let open = match self.open.entry(trace_id) {
            Entry::Occupied(open) => {
                let open = open.into_mut();
                open.state.merge(state);
                open
            }
            Entry::Vacant(vacant) => vacant.insert(match self.kept.remove(&trace_id) {
                Some(kept) => {
                    let mut open = kept.open(trace_id, &mut self.edges);
                    open.state.merge(state);
                    open
                }
                None => Box::new(Open::new(epoch, state)),
            }),
        };
        let settles = self.rules.settles_us(open.state.last_us);
        if settles < open.next_look_us {
            open.next_look_us = settles;
            self.timers.push(Reverse((settles, trace_id)));
        }
    }

    /// Fires the timers up to the watermark; returns the traces whose time is over.
    fn advance(&mut self) -> Vec<TraceId> {
        let mut expired = Vec::new();
        let mut again = Vec::new();
        while let Some(&Reverse((at, trace_id))) = self.timers.peek() {
            if at > self.watermark_us {
                break;
            }
            self.timers.pop();
            if let Some(next_look_us) = self.look(trace_id, at) {
                if next_look_us <= self.watermark_us {
                    // Should the block not end here, the timer finds the trace again in the next epoch.
                    expired.push(trace_id);
                }
                again.push(Reverse((next_look_us, trace_id)));
            }
        }
        self.timers.extend(again);
        expired
    }

    /// Looks at a trace whose timer for `at` has come: whether parents are missed now. Returns when to look again, in the
    /// past where its time is over; `None` where the timer is void.
    fn look(&mut self, trace_id: TraceId, at: i64) -> Option<i64> {
        let rules = self.rules;
        let watermark_us = self.watermark_us;
        if let Some(open) = self.open.get_mut(&trace_id) {
            if open.next_look_us != at {
                return None;
            }
            let (next, missing) = rules.look(&open.state, watermark_us);
            open.next_look_us = next;
            open.missing = missing.unwrap_or(std::mem::take(&mut open.missing));
            return Some(next);
        }
        let kept = self.kept.get_mut(&trace_id)?;
        if kept.next_look_us != at {
            return None;
        }
        if rules.settles_us(kept.last_us()) > watermark_us {
            kept.next_look_us = rules.settles_us(kept.last_us());
            return Some(kept.next_look_us);
        }
        let (state, missed) = TraceState::unpack(&kept.packed);
        let (next, missing) = rules.look(&state, watermark_us);
        kept.next_look_us = next;
        if let Some(missing) = missing.filter(|missing| *missing != missed) {
            let kept = self.kept.remove(&trace_id)?;
            let mut open = kept.open(trace_id, &mut self.edges);
            open.missing = missing;
            self.open.insert(trace_id, open);
        }
        Some(next)
    }

    /// Drops the traces whose time is over, now that their last row is out. One that a span of this epoch has woken stays.
    /// Timers of dropped traces find nothing to look at.
    fn forget(&mut self, expired: &[TraceId]) {
        for trace_id in expired {
            let over = |kept: &Kept| self.rules.ends_us(kept.last_us()) <= self.watermark_us;
            if !self.kept.get(trace_id).is_some_and(over) {
                continue;
            }
            self.changes.note(*trace_id);
            let forgotten = self.kept.remove(trace_id).and_then(|kept| {
                Some(TraceForgotten {
                    trace_id: *trace_id,
                    segment: kept.segment,
                    user: TraceState::packed_user(&kept.packed)?,
                })
            });
            self.forgotten.extend(forgotten);
        }
    }

    /// By what the transitions of the traces that were told of have changed since the last call.
    pub fn take_edges(&mut self) -> impl Iterator<Item = EdgePartial> + '_ {
        self.edges.drain()
    }

    /// The traces with a user that were forgotten since the last call.
    pub fn take_forgotten(&mut self) -> impl Iterator<Item = TraceForgotten> + '_ {
        self.forgotten.drain(..)
    }

    /// Number of traces held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len() + self.open.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.open.is_empty()
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
