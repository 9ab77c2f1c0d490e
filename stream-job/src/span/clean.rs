//! A clean span: what one row of `dwd_span` says. Borrowed from the record wherever nothing had to be changed.

use std::borrow::Cow;

use super::view::{Attr, EventView, LinkView};

/// What a step is. The discriminant is stable: it is part of hashes and state.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[repr(u8)]
pub enum StepType {
    /// A whole turn or run of an agent.
    Session = 0,
    /// A call of a language model.
    Think = 1,
    /// A tool call.
    Act = 2,
    /// What a tool gave back, read by the agent.
    Observe = 3,
    /// The answer given.
    Response = 4,
    /// An embedding call.
    Embedding = 5,
    /// A retrieval.
    Retrieval = 6,
    /// A rerank.
    Rerank = 7,
    /// A guardrail check.
    Guardrail = 8,
    /// An evaluation.
    Evaluate = 9,
    /// A chain or task within a run.
    Chain = 10,
    /// Anything else.
    Other = 11,
}

impl StepType {
    /// All of them, in the order of their discriminants.
    pub const ALL: [StepType; 12] = [
        StepType::Session,
        StepType::Think,
        StepType::Act,
        StepType::Observe,
        StepType::Response,
        StepType::Embedding,
        StepType::Retrieval,
        StepType::Rerank,
        StepType::Guardrail,
        StepType::Evaluate,
        StepType::Chain,
        StepType::Other,
    ];

    /// Whether it is a step on the way of a trace: think, act, observe or response.
    #[must_use]
    pub fn is_step(self) -> bool {
        matches!(
            self,
            StepType::Think | StepType::Act | StepType::Observe | StepType::Response
        )
    }

    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StepType::Session => "session",
            StepType::Think => "think",
            StepType::Act => "act",
            StepType::Observe => "observe",
            StepType::Response => "response",
            StepType::Embedding => "embedding",
            StepType::Retrieval => "retrieval",
            StepType::Rerank => "rerank",
            StepType::Guardrail => "guardrail",
            StepType::Evaluate => "evaluate",
            StepType::Chain => "chain",
            StepType::Other => "other",
        }
    }
}

/// Which convention decided the step type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// Our own `agent.*` attributes.
    Agent,
    /// OpenInference.
    OpenInference,
    /// OpenTelemetry's GenAI semantic conventions.
    GenAi,
    /// OpenLLMetry (Traceloop).
    OpenLlmetry,
    /// A session document.
    Document,
    /// None of them.
    None,
}

impl Convention {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Convention::Agent => "agent",
            Convention::OpenInference => "openinference",
            Convention::GenAi => "genai",
            Convention::OpenLlmetry => "openllmetry",
            Convention::Document => "document",
            Convention::None => "none",
        }
    }
}

/// The status in effect: an exception event or `error.type` makes it an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing was said.
    Unset,
    /// Success was said.
    Ok,
    /// It failed.
    Error,
}

impl Status {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Unset => "unset",
            Status::Ok => "ok",
            Status::Error => "error",
        }
    }
}

/// One clean span. Strings are empty where nothing is known; times are µs since 1970.
#[derive(Clone, Debug)]
pub struct CleanSpan<'a> {
    /// Position of the span in its record.
    pub index: u32,
    /// Trace id.
    pub trace_id: [u8; 16],
    /// Span id.
    pub span_id: [u8; 8],
    /// Parent's span id, all zero at a root.
    pub parent_span_id: [u8; 8],
    /// A session document's own reference of the trace.
    pub trace_ref: Cow<'a, str>,
    /// A session document's own reference of the span.
    pub span_ref: Cow<'a, str>,
    /// A session document's own reference of the parent.
    pub parent_span_ref: Cow<'a, str>,
    /// Start, µs since 1970.
    pub start_us: i64,
    /// End, µs since 1970; the span's event time.
    pub end_us: i64,
    /// Duration in µs, from the nanoseconds sent.
    pub duration_us: u64,
    /// `service.namespace`.
    pub namespace: Cow<'a, str>,
    /// The agent: see the contract for how it is chosen.
    pub agent: Cow<'a, str>,
    /// The span's own agent name.
    pub agent_name: Cow<'a, str>,
    /// `service.name` as sent.
    pub service_name: Cow<'a, str>,
    /// Span name.
    pub name: Cow<'a, str>,
    /// Span kind: unspecified, internal, server, client, producer, consumer.
    pub kind: &'static str,
    /// Instrumentation scope.
    pub scope: Cow<'a, str>,
    /// Instrumentation scope's version.
    pub scope_version: Cow<'a, str>,
    /// Session id, as the span itself says.
    pub session_id: Cow<'a, str>,
    /// Conversation id, as the span itself says.
    pub conversation_id: Cow<'a, str>,
    /// User id, as the span itself says.
    pub user_id: Cow<'a, str>,
    /// What the step is.
    pub step_type: StepType,
    /// Step number as sent, else 0.
    pub step_no: u32,
    /// Which convention decided.
    pub convention: Convention,
    /// Model.
    pub model: Cow<'a, str>,
    /// Model provider.
    pub provider: Cow<'a, str>,
    /// Tool.
    pub tool_name: Cow<'a, str>,
    /// Status in effect.
    pub status: Status,
    /// Status message as sent.
    pub status_message: Cow<'a, str>,
    /// Kind of the error.
    pub error_type: Cow<'a, str>,
    /// Message of the error.
    pub error_message: Cow<'a, str>,
    /// Stack of the error.
    pub error_stack: Cow<'a, str>,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Tokens in that came from a cache.
    pub cache_read_tokens: u64,
    /// Cost in nano-dollars.
    pub cost_nanousd: u64,
    /// Hash of the tool's arguments, canonical where they are JSON; 0 where there are none.
    pub args_hash: u64,
    /// The input's full text.
    pub input: Cow<'a, str>,
    /// The output's full text.
    pub output: Cow<'a, str>,
    /// All attributes in the order sent.
    pub attributes: &'a [Attr<'a>],
    /// All resource attributes in the order sent.
    pub resource: &'a [Attr<'a>],
    /// W3C trace state.
    pub trace_state: Cow<'a, str>,
    /// Events in the order sent.
    pub events: &'a [EventView<'a>],
    /// Links in the order sent.
    pub links: &'a [LinkView<'a>],
}
