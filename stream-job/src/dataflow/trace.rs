//! Traces so far: what only the whole trace shows, kept per trace id and corrected with every span.
//!
//! Everything in a [`TraceState`] merges in any order to the same value, so spans are summed per trace on the worker that
//! read them and only the sums travel; and a parent that comes after its children, or in another message, is no case apart.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::epochs::Epoch;
use crate::checkpoint::record::EpochRecord;
use crate::span::clean::{CleanSpan, Status, StepType};

/// A trace id as a number.
pub type TraceId = u128;

/// Where a span stands in the time order of its trace: start (µs since 1970), then span id.
pub type Place = (i64, u64);

/// The session that a trace belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionKey {
    /// `service.namespace`.
    pub namespace: String,
    /// Session id, else conversation id, else `trace:` and the trace id.
    pub session_id: String,
}

/// What a session id was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SessionSource {
    /// The session id of a span.
    Session,
    /// The conversation id of a span.
    Conversation,
    /// The trace itself, as no span names a session.
    Trace,
}

impl SessionSource {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SessionSource::Session => "session",
            SessionSource::Conversation => "conversation",
            SessionSource::Trace => "trace",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Node {
    span_id: u64,
    parent: u64,
    step_type: StepType,
}

/// One tool call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ToolCall {
    /// When and which span.
    pub place: Place,
    /// When it ended, µs since 1970.
    pub end_us: i64,
    /// The tool.
    pub tool_name: String,
    /// Hash of its arguments.
    pub args_hash: u64,
}

/// What a root span says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Root {
    /// When and which span.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// Its agent.
    pub agent: String,
    /// Whether it failed.
    pub failed: bool,
}

/// Sums over the spans of a trace or session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Spans.
    pub spans: u64,
    /// Think, act, observe and response spans.
    pub steps: u64,
    /// Think spans.
    pub llm_calls: u64,
    /// Act spans.
    pub tool_calls: u64,
    /// Spans that failed.
    pub errors: u64,
    /// Tokens in, of think spans: an agent span repeats its children's.
    pub input_tokens: u64,
    /// Tokens out, of think spans.
    pub output_tokens: u64,
    /// Cost of think spans, nano-dollars.
    pub cost_nanousd: u64,
}

impl Totals {
    fn add_span(&mut self, span: &CleanSpan<'_>) {
        self.spans += 1;
        let is = |step: StepType| u64::from(span.step_type == step);
        self.llm_calls += is(StepType::Think);
        self.tool_calls += is(StepType::Act);
        self.steps += is(StepType::Think)
            + is(StepType::Act)
            + is(StepType::Observe)
            + is(StepType::Response);
        self.errors += u64::from(span.status == Status::Error);
        if span.step_type == StepType::Think {
            self.input_tokens = self.input_tokens.saturating_add(span.input_tokens);
            self.output_tokens = self.output_tokens.saturating_add(span.output_tokens);
            self.cost_nanousd = self.cost_nanousd.saturating_add(span.cost_nanousd);
        }
    }

    /// Adds other totals.
    pub fn merge(&mut self, other: &Totals) {
        self.spans += other.spans;
        self.steps += other.steps;
        self.llm_calls += other.llm_calls;
        self.tool_calls += other.tool_calls;
        self.errors += other.errors;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_nanousd = self.cost_nanousd.saturating_add(other.cost_nanousd);
    }
}

/// A value named by a span; the one of the earliest span counts, whatever order they come in.
type Named = Option<(Place, String)>;

fn name(slot: &mut Named, place: Place, value: &str) {
    if !value.is_empty()
        && slot
            .as_ref()
            .is_none_or(|(held, text)| (*held, text.as_str()) > (place, value))
    {
        *slot = Some((place, value.to_owned()));
    }
}

fn merge_named(slot: &mut Named, other: Named) {
    if let Some((place, value)) = other {
        name(slot, place, &value);
    }
}

/// A trace so far, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceState {
    totals: Totals,
    first_us: i64,
    last_us: i64,
    session: Named,
    conversation: Named,
    user: Named,
    /// Agent and namespace of the earliest span, for a trace without a root.
    earliest: Option<(Place, String, String)>,
    root: Option<Root>,
    root_namespace: String,
    /// Sorted; most traces have one.
    agents: Vec<String>,
    nodes: Vec<Node>,
    calls: Vec<ToolCall>,
}

impl Default for TraceState {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            first_us: i64::MAX,
            last_us: i64::MIN,
            session: None,
            conversation: None,
            user: None,
            earliest: None,
            root: None,
            root_namespace: String::new(),
            agents: Vec::new(),
            nodes: Vec::new(),
            calls: Vec::new(),
        }
    }
}

impl TraceState {
    /// Takes in one span.
    pub fn add_span(&mut self, span: &CleanSpan<'_>) {
        let span_id = u64::from_be_bytes(span.span_id);
        let parent = u64::from_be_bytes(span.parent_span_id);
        let place = (span.start_us, span_id);
        self.totals.add_span(span);
        self.first_us = self.first_us.min(span.start_us);
        self.last_us = self.last_us.max(span.end_us);
        name(&mut self.session, place, &span.session_id);
        name(&mut self.conversation, place, &span.conversation_id);
        name(&mut self.user, place, &span.user_id);
        if self
            .earliest
            .as_ref()
            .is_none_or(|(held, agent, namespace)| {
                (*held, agent.as_str(), namespace.as_str())
                    > (place, &*span.agent, &*span.namespace)
            })
        {
            self.earliest = Some((place, span.agent.to_string(), span.namespace.to_string()));
        }
        if parent == 0 {
            let root = Root {
                place,
                name: span.name.to_string(),
                agent: span.agent.to_string(),
                failed: span.status == Status::Error,
            };
            self.take_root(root, &span.namespace);
        }
        self.take_agent(&span.agent);
        self.nodes.push(Node {
            span_id,
            parent,
            step_type: span.step_type,
        });
        if span.step_type == StepType::Act {
            self.calls.push(ToolCall {
                place,
                end_us: span.end_us,
                tool_name: span.tool_name.to_string(),
                args_hash: span.args_hash,
            });
        }
    }

    fn take_root(&mut self, root: Root, namespace: &str) {
        if self
            .root
            .as_ref()
            .is_none_or(|held| (&root, namespace) < (held, self.root_namespace.as_str()))
        {
            self.root = Some(root);
            namespace.clone_into(&mut self.root_namespace);
        }
    }

    fn take_agent(&mut self, agent: &str) {
        if let Err(at) = self
            .agents
            .binary_search_by(|held| held.as_str().cmp(agent))
        {
            self.agents.insert(at, agent.to_owned());
        }
    }

    /// Takes in another part of the same trace.
    pub fn merge(&mut self, other: TraceState) {
        self.totals.merge(&other.totals);
        self.first_us = self.first_us.min(other.first_us);
        self.last_us = self.last_us.max(other.last_us);
        merge_named(&mut self.session, other.session);
        merge_named(&mut self.conversation, other.conversation);
        merge_named(&mut self.user, other.user);
        if let Some(theirs) = other.earliest
            && self.earliest.as_ref().is_none_or(|held| *held > theirs)
        {
            self.earliest = Some(theirs);
        }
        if let Some(root) = other.root {
            self.take_root(root, &other.root_namespace);
        }
        other.agents.iter().for_each(|agent| self.take_agent(agent));
        self.nodes.extend(other.nodes);
        self.calls.extend(other.calls);
    }

    fn session_key(&self, trace_id: TraceId) -> (SessionKey, SessionSource) {
        let namespace = match (&self.root, &self.earliest) {
            (Some(_), _) => self.root_namespace.clone(),
            (None, Some((_, _, namespace))) => namespace.clone(),
            (None, None) => String::new(),
        };
        let (session_id, source) = match (&self.session, &self.conversation) {
            (Some((_, id)), _) => (id.clone(), SessionSource::Session),
            (None, Some((_, id))) => (id.clone(), SessionSource::Conversation),
            (None, None) => (format!("trace:{trace_id:032x}"), SessionSource::Trace),
        };
        (
            SessionKey {
                namespace,
                session_id,
            },
            source,
        )
    }

    /// The parents that spans name and that have not come.
    fn missing_parents(&self) -> BTreeSet<u64> {
        let ids: HashSet<u64> = self.nodes.iter().map(|node| node.span_id).collect();
        self.nodes
            .iter()
            .map(|node| node.parent)
            .filter(|parent| *parent != 0 && !ids.contains(parent))
            .collect()
    }

    /// How many spans have one of these parents.
    fn children_of(&self, parents: &BTreeSet<u64>) -> u64 {
        self.nodes
            .iter()
            .filter(|node| parents.contains(&node.parent))
            .count() as u64
    }

    /// Session spans that have no session span above them; one where a trace has steps but no session span.
    fn turns(&self) -> u64 {
        if !self
            .nodes
            .iter()
            .any(|node| node.step_type == StepType::Session)
        {
            return u64::from(
                self.totals.llm_calls > 0 || self.totals.steps > self.totals.tool_calls,
            );
        }
        // Of two spans with one id, the one that sorts first counts, whichever came first.
        let mut parents: HashMap<u64, (StepType, u64)> = HashMap::new();
        for node in &self.nodes {
            let said = (node.step_type, node.parent);
            let held = parents.entry(node.span_id).or_insert(said);
            *held = said.min(*held);
        }
        // Whether an id is that of a session span or lies below one. A forged cycle of parents lies below none.
        let mut within: HashMap<u64, bool> = HashMap::new();
        let mut is_within = |id: u64| {
            let (mut at, mut path) = (id, Vec::new());
            let found = loop {
                if let Some(&known) = within.get(&at) {
                    break known;
                }
                match parents.get(&at) {
                    None => break false,
                    Some((StepType::Session, _)) => break true,
                    Some((_, parent)) => {
                        within.insert(at, false);
                        path.push(at);
                        at = *parent;
                    }
                }
            };
            within.extend(path.into_iter().map(|below| (below, found)));
            found
        };
        self.nodes
            .iter()
            .filter(|node| node.step_type == StepType::Session && !is_within(node.parent))
            .count() as u64
    }

    fn summary(&self, orphans: u64, trace_id: TraceId) -> TraceSummary {
        let (_, session_source) = self.session_key(trace_id);
        let agent = match (&self.root, &self.earliest) {
            (Some(root), _) => root.agent.clone(),
            (None, Some((_, agent, _))) => agent.clone(),
            (None, None) => String::new(),
        };
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        TraceSummary {
            totals: self.totals,
            turns: self.turns(),
            first_us: self.first_us,
            last_us: self.last_us,
            session_source,
            user_id: self.user.clone(),
            agent,
            root: self.root.clone(),
            agents: self.agents.clone(),
            calls,
            orphans,
        }
    }
}

/// What a trace adds to its session, and what its own row says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// The sums.
    pub totals: Totals,
    /// Outermost session spans.
    pub turns: u64,
    /// Earliest start, µs since 1970.
    pub first_us: i64,
    /// Latest end, µs since 1970.
    pub last_us: i64,
    /// Where the session id came from.
    pub session_source: SessionSource,
    /// The user that the earliest span names.
    pub user_id: Option<(Place, String)>,
    /// Agent of the root, else of the earliest span.
    pub agent: String,
    /// The first root.
    pub root: Option<Root>,
    /// All agents, sorted.
    pub agents: Vec<String>,
    /// All tool calls in time order.
    pub calls: Vec<ToolCall>,
    /// Spans whose parent did not come within the grace time.
    pub orphans: u64,
}

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
    traces: HashMap<TraceId, TraceState>,
}

impl PreTrace {
    /// Takes in one span.
    pub fn add(&mut self, span: &CleanSpan<'_>) {
        self.traces
            .entry(u128::from_be_bytes(span.trace_id))
            .or_default()
            .add_span(span);
    }

    /// Takes what came since the last call.
    pub fn take(&mut self) -> Vec<TracePartial> {
        self.traces
            .drain()
            .map(|(trace_id, state)| TracePartial { trace_id, state })
            .collect()
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
    /// What it says.
    pub summary: Arc<TraceSummary>,
}

struct Tracked {
    segment: Epoch,
    state: TraceState,
    session: Option<SessionKey>,
    /// Parents that had not come when the grace time was over, and have not come since.
    missing: BTreeSet<u64>,
    /// When the trace is looked at next; its timers for other times are void.
    next_look_us: i64,
}

/// How long traces are kept and waited for, µs.
#[derive(Clone, Copy, Debug)]
pub struct TraceTimes {
    /// How long a span's parent is waited for after the trace's last span.
    pub orphan_grace_us: i64,
    /// How long a trace is kept after its last span.
    pub trace_ttl_us: i64,
}

impl TraceTimes {
    /// When a span that is missing is missed.
    fn settles_us(&self, state: &TraceState) -> i64 {
        state.last_us.saturating_add(self.orphan_grace_us)
    }

    /// When the trace is forgotten.
    fn ends_us(&self, state: &TraceState) -> i64 {
        let kept_us = self.trace_ttl_us.max(self.orphan_grace_us);
        state.last_us.saturating_add(kept_us)
    }
}

/// The traces that one worker owns.
pub struct Traces {
    times: TraceTimes,
    watermark_us: i64,
    traces: HashMap<TraceId, Tracked>,
    changed: BTreeSet<TraceId>,
    /// When to look at a trace again. A timer is not put off by a new span: it looks, and is set again.
    timers: BinaryHeap<Reverse<(i64, TraceId)>>,
}

impl Traces {
    /// Without any trace.
    #[must_use]
    pub fn new(times: TraceTimes) -> Self {
        Self {
            times,
            watermark_us: i64::MIN,
            traces: HashMap::new(),
            changed: BTreeSet::new(),
            timers: BinaryHeap::new(),
        }
    }

    /// Takes in one epoch. Returns the traces that changed since the last block where the record ends a block.
    pub fn apply(&mut self, record: &EpochRecord, partials: Vec<TracePartial>) -> Vec<TraceUpdate> {
        self.watermark_us = self.watermark_us.max(record.watermark_us);
        let expired = self.advance();
        for partial in partials {
            self.add(record.epoch, partial);
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        let updates = std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|trace_id| self.update(trace_id))
            .collect();
        self.forget(&expired);
        updates
    }

    fn add(&mut self, epoch: Epoch, partial: TracePartial) {
        let TracePartial { trace_id, state } = partial;
        let tracked = self.traces.entry(trace_id).or_insert_with(|| Tracked {
            segment: epoch,
            state: TraceState::default(),
            session: None,
            missing: BTreeSet::new(),
            next_look_us: i64::MAX,
        });
        tracked.state.merge(state);
        let settles = self.times.settles_us(&tracked.state);
        if settles < tracked.next_look_us {
            tracked.next_look_us = settles;
            self.timers.push(Reverse((settles, trace_id)));
        }
        self.changed.insert(trace_id);
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
            let Some(tracked) = self
                .traces
                .get_mut(&trace_id)
                .filter(|tracked| tracked.next_look_us == at)
            else {
                continue;
            };
            let settles = self.times.settles_us(&tracked.state);
            if settles > self.watermark_us {
                tracked.next_look_us = settles;
            } else {
                let missing = tracked.state.missing_parents();
                if missing != tracked.missing {
                    tracked.missing = missing;
                    self.changed.insert(trace_id);
                }
                tracked.next_look_us = self.times.ends_us(&tracked.state);
                if tracked.next_look_us <= self.watermark_us {
                    // Should the block not end here, the timer finds the trace again in the next epoch.
                    expired.push(trace_id);
                }
            }
            again.push(Reverse((tracked.next_look_us, trace_id)));
        }
        self.timers.extend(again);
        expired
    }

    /// Drops the traces whose time is over, now that their last row is out. One that a span of this epoch has woken stays.
    /// Timers of dropped traces find nothing to look at.
    fn forget(&mut self, expired: &[TraceId]) {
        for trace_id in expired {
            let over = |tracked: &Tracked| self.times.ends_us(&tracked.state) <= self.watermark_us;
            if self.traces.get(trace_id).is_some_and(over) {
                self.traces.remove(trace_id);
            }
        }
    }

    fn update(&mut self, trace_id: TraceId) -> Option<TraceUpdate> {
        let tracked = self.traces.get_mut(&trace_id)?;
        if !tracked.missing.is_empty() {
            // A parent that comes after the grace time takes its children out of the orphans.
            let missing = tracked.state.missing_parents();
            tracked.missing.retain(|parent| missing.contains(parent));
        }
        let orphans = tracked.state.children_of(&tracked.missing);
        let (session, _) = tracked.state.session_key(trace_id);
        let moved_from = tracked
            .session
            .replace(session.clone())
            .filter(|before| *before != session);
        Some(TraceUpdate {
            trace_id,
            segment: tracked.segment,
            session,
            moved_from,
            summary: Arc::new(tracked.state.summary(orphans, trace_id)),
        })
    }

    /// Number of traces held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }
}

/// The longest run of calls of one tool with equal arguments, by time: its calls, oldest first.
#[must_use]
pub fn longest_run<'a>(calls: impl Iterator<Item = &'a ToolCall>) -> Vec<&'a ToolCall> {
    let calls: Vec<&ToolCall> = calls.collect();
    calls
        .chunk_by(|a, b| a.args_hash == b.args_hash && a.tool_name == b.tool_name)
        .rev()
        .max_by_key(|run| run.len())
        .map_or(Vec::new(), <[_]>::to_vec)
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
