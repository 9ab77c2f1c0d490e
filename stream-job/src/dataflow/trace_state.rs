//! A trace so far: what only the whole trace shows, in parts that merge in any order to the same value.
//!
//! So spans are summed per trace on the worker that read them and only the sums travel; and a parent that comes after its
//! children, or in another message, is no case apart.

mod edges;
mod packed;

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::trace_summary::{
    Place, Root, SessionKey, SessionSource, ToolCall, Totals, TraceId, TraceSummary, TraceUser,
};
use crate::span::clean::{CleanSpan, Status, StepType};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Node {
    span_id: u64,
    parent: u64,
    step_type: StepType,
    /// µs since 1970; kept of the four steps, else 0, as are the rest.
    start_us: i64,
    end_us: i64,
    failed: bool,
    /// Whether there is an output, of an act or a think.
    has_output: bool,
}

impl Node {
    fn of(span: &CleanSpan<'_>) -> Self {
        let is_step = span.step_type.is_step();
        let gives = matches!(span.step_type, StepType::Think | StepType::Act);
        Node {
            span_id: u64::from_be_bytes(span.span_id),
            parent: u64::from_be_bytes(span.parent_span_id),
            step_type: span.step_type,
            start_us: if is_step { span.start_us } else { 0 },
            end_us: if is_step { span.end_us } else { 0 },
            failed: is_step && span.status == Status::Error,
            has_output: gives && !span.output.is_empty(),
        }
    }
}

/// Agents named of a trace or session: the first so many in the order of their names.
pub(super) const MAX_AGENTS: usize = 256;

/// Tool calls kept of a trace with too many spans: the earliest.
const CALLS_OF_TRUNCATED: usize = 1000;

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
    pub(super) last_us: i64,
    session: Named,
    conversation: Named,
    user: Named,
    /// Agent and namespace of the earliest span, for a trace without a root.
    earliest: Option<(Place, String, String)>,
    root: Option<Root>,
    root_namespace: String,
    /// Sorted; most traces have one.
    agents: Vec<String>,
    /// One a span. Of a trace with too many spans only those of the calls that are kept; see [`TraceState::truncate`].
    nodes: Vec<Node>,
    /// One an act among the nodes, in their order.
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
        self.nodes.push(Node::of(span));
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
            self.agents.truncate(MAX_AGENTS);
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

    /// Whether its spans were too many to be kept one by one.
    fn is_truncated(&self) -> bool {
        (self.nodes.len() as u64) < self.totals.spans
    }

    /// Lets go of the spans of a trace that has more than `max_spans`, but for its earliest tool calls: what is left then
    /// depends on its spans alone, not on the order they came in. Sums stay exact; how spans hang together is not known
    /// any more.
    pub(super) fn truncate(&mut self, max_spans: u64) {
        if self.totals.spans <= max_spans {
            return;
        }
        let acts = (self.nodes.drain(..)).filter(|node| node.step_type == StepType::Act);
        let mut kept: Vec<_> = self.calls.drain(..).zip(acts).collect();
        kept.sort_unstable();
        // No more than spans were allowed: what is left of too many is always fewer than there were.
        kept.truncate(CALLS_OF_TRUNCATED.min(usize::try_from(max_spans).unwrap_or(usize::MAX)));
        (self.calls, self.nodes) = kept.into_iter().unzip();
    }

    /// Namespace of the root, else of the earliest span.
    fn namespace(&self) -> &str {
        match (&self.root, &self.earliest) {
            (Some(_), _) => &self.root_namespace,
            (None, Some((_, _, namespace))) => namespace,
            (None, None) => "",
        }
    }

    /// Whose it is as it stands, where a span names a user.
    pub(super) fn user(&self) -> Option<TraceUser> {
        let (_, user_id) = self.user.as_ref()?;
        Some(TraceUser {
            namespace: self.namespace().to_owned(),
            user_id: user_id.clone(),
            last_us: self.last_us,
        })
    }

    /// The session that it belongs to as it stands.
    pub(super) fn session_key(&self, trace_id: TraceId) -> SessionKey {
        let namespace = self.namespace().to_owned();
        let session_id = match (&self.session, &self.conversation) {
            (Some((_, id)), _) | (None, Some((_, id))) => id.clone(),
            (None, None) => format!("trace:{trace_id:032x}"),
        };
        SessionKey {
            namespace,
            session_id,
        }
    }

    /// What that session's id is.
    fn session_source(&self) -> SessionSource {
        match (&self.session, &self.conversation) {
            (Some(_), _) => SessionSource::Session,
            (None, Some(_)) => SessionSource::Conversation,
            (None, None) => SessionSource::Trace,
        }
    }

    /// The parents that spans name and that have not come.
    pub(super) fn missing_parents(&self) -> BTreeSet<u64> {
        if self.is_truncated() {
            return BTreeSet::new();
        }
        // Up to so many nodes a look at each costs less than a table of them.
        const FEW: usize = 32;
        let ids: Option<HashSet<u64>> =
            (self.nodes.len() > FEW).then(|| self.nodes.iter().map(|node| node.span_id).collect());
        let has_come = |id: u64| match &ids {
            Some(ids) => ids.contains(&id),
            None => self.nodes.iter().any(|node| node.span_id == id),
        };
        self.nodes
            .iter()
            .map(|node| node.parent)
            .filter(|parent| *parent != 0 && !has_come(*parent))
            .collect()
    }

    /// How many spans have one of these parents.
    pub(super) fn children_of(&self, parents: &BTreeSet<u64>) -> u64 {
        self.nodes
            .iter()
            .filter(|node| parents.contains(&node.parent))
            .count() as u64
    }

    /// Session spans that have no session span above them; one where a trace has steps but no session span.
    fn turns(&self) -> u64 {
        let mut sessions = (self.nodes.iter()).filter(|node| node.step_type == StepType::Session);
        let Some(first) = sessions.next() else {
            return u64::from(
                self.totals.llm_calls > 0 || self.totals.steps > self.totals.tool_calls,
            );
        };
        let has_come = |id: u64| self.nodes.iter().any(|node| node.span_id == id);
        if sessions.next().is_none() && !has_come(first.parent) {
            return 1;
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

    /// Agent of the root, else of the earliest span.
    fn agent(&self) -> &str {
        match (&self.root, &self.earliest) {
            (Some(root), _) => &root.agent,
            (None, Some((_, agent, _))) => agent,
            (None, None) => "",
        }
    }

    /// What it says as it stands.
    pub(super) fn summary(self, orphans: u64) -> TraceSummary {
        let session_source = self.session_source();
        let truncated = self.is_truncated();
        let turns = self.turns();
        let agent = self.agent().to_owned();
        let mut calls = self.calls;
        calls.sort_unstable();
        TraceSummary {
            totals: self.totals,
            turns,
            first_us: self.first_us,
            last_us: self.last_us,
            session_source,
            user_id: self.user,
            agent,
            root: self.root,
            agents: self.agents,
            calls,
            orphans,
            truncated,
        }
    }
}

#[cfg(test)]
#[path = "trace_state_tests.rs"]
mod tests;
