//! Traces so far: what only the whole trace shows, kept per trace id and corrected with every span.
//!
//! Everything in a [`TraceState`] merges in any order to the same value, so spans are summed per trace on the worker that
//! read them and only the sums travel; and a parent that comes after its children, or in another message, is no case apart.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use hashbrown::HashMap;
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
    agents: BTreeSet<String>,
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
            agents: BTreeSet::new(),
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
        if !self.agents.contains(&*span.agent) {
            self.agents.insert(span.agent.to_string());
        }
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
        self.agents.extend(other.agents);
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

    /// How many spans name a parent that has not come.
    fn missing_parents(&self) -> u64 {
        let ids: hashbrown::HashSet<u64> = self.nodes.iter().map(|node| node.span_id).collect();
        self.nodes
            .iter()
            .filter(|node| node.parent != 0 && !ids.contains(&node.parent))
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
        let parents: HashMap<u64, &Node> =
            self.nodes.iter().map(|node| (node.span_id, node)).collect();
        let outermost = |node: &&Node| {
            let mut above = parents.get(&node.parent);
            // A forged cycle of parents must not hold us: no path is longer than the trace.
            for _ in 0..self.nodes.len() {
                match above {
                    Some(parent) if parent.step_type == StepType::Session => return false,
                    Some(parent) => above = parents.get(&parent.parent),
                    None => return true,
                }
            }
            true
        };
        self.nodes
            .iter()
            .filter(|node| node.step_type == StepType::Session)
            .filter(outermost)
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
            agents: self.agents.iter().cloned().collect(),
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
    pub summary: TraceSummary,
}

struct Tracked {
    segment: Epoch,
    state: TraceState,
    session: Option<SessionKey>,
    /// Spans that are orphans for good as far as the grace time tells.
    orphans: u64,
}

/// How long traces are kept and waited for, µs.
#[derive(Clone, Copy, Debug)]
pub struct TraceTimes {
    /// How long a span's parent is waited for after the trace's last span.
    pub orphan_grace_us: i64,
    /// How long a trace is kept after its last span.
    pub trace_ttl_us: i64,
}

/// The traces that one worker owns.
pub struct Traces {
    times: TraceTimes,
    watermark_us: i64,
    traces: HashMap<TraceId, Tracked>,
    changed: BTreeSet<TraceId>,
    /// When to look at a trace again. A timer is not moved by a new span: it looks, and is set again.
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
        let first_look = state.last_us.saturating_add(self.times.orphan_grace_us);
        let tracked = self.traces.entry(trace_id).or_insert_with(|| {
            self.timers.push(Reverse((first_look, trace_id)));
            Tracked {
                segment: epoch,
                state: TraceState::default(),
                session: None,
                orphans: 0,
            }
        });
        tracked.state.merge(state);
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
            let Some(tracked) = self.traces.get_mut(&trace_id) else {
                continue;
            };
            let settles = tracked
                .state
                .last_us
                .saturating_add(self.times.orphan_grace_us);
            let ends = tracked
                .state
                .last_us
                .saturating_add(self.times.trace_ttl_us)
                .max(settles);
            if settles <= self.watermark_us {
                let orphans = tracked.state.missing_parents();
                if orphans != tracked.orphans {
                    tracked.orphans = orphans;
                    self.changed.insert(trace_id);
                }
            }
            if ends <= self.watermark_us {
                expired.push(trace_id);
                again.push(Reverse((ends, trace_id)));
            } else {
                again.push(Reverse((
                    if settles > self.watermark_us {
                        settles
                    } else {
                        ends
                    },
                    trace_id,
                )));
            }
        }
        self.timers.extend(again);
        expired
    }

    /// Drops the traces whose time is over, now that their last row is out. One that a span of this epoch has woken stays.
    /// Timers of dropped traces find nothing to look at.
    fn forget(&mut self, expired: &[TraceId]) {
        for trace_id in expired {
            let over = |tracked: &Tracked| {
                tracked
                    .state
                    .last_us
                    .saturating_add(self.times.trace_ttl_us.max(self.times.orphan_grace_us))
                    <= self.watermark_us
            };
            if self.traces.get(trace_id).is_some_and(over) {
                self.traces.remove(trace_id);
            }
        }
    }

    fn update(&mut self, trace_id: TraceId) -> Option<TraceUpdate> {
        let tracked = self.traces.get_mut(&trace_id)?;
        if tracked.orphans > 0 {
            // A parent that comes after the grace time takes its children out of the orphans.
            tracked.orphans = tracked.state.missing_parents();
        }
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
            summary: tracked.state.summary(tracked.orphans, trace_id),
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
    let mut longest: Vec<&ToolCall> = Vec::new();
    let mut run: Vec<&ToolCall> = Vec::new();
    for call in calls {
        let same = run.last().is_some_and(|last| {
            last.args_hash == call.args_hash && last.tool_name == call.tool_name
        });
        if !same {
            run.clear();
        }
        run.push(call);
        if run.len() > longest.len() {
            longest.clone_from(&run);
        }
    }
    longest
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
