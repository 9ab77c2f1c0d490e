//! What a trace says of itself: to its own row, and to its session.

mod packed;

use serde::{Deserialize, Serialize};

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

/// Whose a trace is, and when it last ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceUser {
    /// `service.namespace`.
    pub namespace: String,
    /// The user.
    pub user_id: String,
    /// Latest end, µs since 1970.
    pub last_us: i64,
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
    /// Counts one span.
    pub(super) fn add_span(&mut self, span: &CleanSpan<'_>) {
        self.spans += 1;
        let is = |step: StepType| u64::from(span.step_type == step);
        self.llm_calls += is(StepType::Think);
        self.tool_calls += is(StepType::Act);
        self.steps += u64::from(span.step_type.is_step());
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
    /// It has too many spans: its turns, orphans and transitions are not known, and of its calls the earliest only.
    pub truncated: bool,
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

/// What is remarkable about a trace or session: the names in the tables, in order.
#[must_use]
pub fn flags(is_loop: bool, has_orphans: bool, is_truncated: bool) -> Vec<String> {
    let all = [
        (is_loop, "loop"),
        (has_orphans, "orphans"),
        (is_truncated, "truncated"),
    ];
    let set = all.iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, flag)| (*flag).to_owned()).collect()
}
