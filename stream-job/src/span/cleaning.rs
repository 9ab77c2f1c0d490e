//! Makes a clean span of what was sent: chooses, never changes.

use std::borrow::Cow;
use std::cell::LazyCell;

use crate::decode::document;

use super::clean::{CleanSpan, StepType};
use super::convention::content::Source;
use super::convention::facts::Facts;
use super::convention::failure::{self, SentStatus};
use super::convention::keys::Key;
use super::convention::kind::{self, Circumstances};
use super::convention::name::{self, NameHint};
use super::convention::{arguments, number};
use super::validate::clean_times;
use super::view::{ResourceView, ScopeView, SpanView};

/// Settings that cleaning depends on: the bounds beyond which a number is a fault of its sender and counts as not sent,
/// as it would drown every sum that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanSettings {
    /// More tokens than any one step can have; 10^12 by default.
    pub max_tokens: u64,
    /// More nano-dollars than any one step can cost; 10^15, a million dollars, by default.
    pub max_cost_nanousd: u64,
    /// Whether input, output and the hash of arguments are wanted: rows need them, windows do not.
    pub texts: bool,
}

impl Default for CleanSettings {
    fn default() -> Self {
        CleanSettings {
            max_tokens: 1_000_000_000_000,
            max_cost_nanousd: 1_000_000_000_000_000,
            texts: true,
        }
    }
}

const AGENT_NAME: &[Key] = &[Key::AgentName, Key::GenAiAgentName];
const SESSION: &[Key] = &[
    Key::SessionId,
    Key::GenAiConversation,
    Key::TlSession,
    Key::TlThread,
];
const CONVERSATION: &[Key] = &[Key::GenAiConversation, Key::TlConversation, Key::TlThread];
const USER: &[Key] = &[
    Key::UserId,
    Key::EndUserId,
    Key::TlUser,
    Key::TlGenAiUser,
    Key::TlLlmUser,
];
const STEP_NUMBER: &[Key] = &[Key::AgentStepNumber, Key::AgentStepNo, Key::AgentStepIndex];
const MODEL: &[Key] = &[
    Key::OiModel,
    Key::OiResponseModel,
    Key::OiRequestModel,
    Key::OiEmbeddingModel,
    Key::OiRerankerModel,
    Key::GenAiResponseModel,
    Key::GenAiRequestModel,
    Key::TlResponseModel,
    Key::TlRequestModel,
];
const PROVIDER: &[Key] = &[
    Key::OiProvider,
    Key::OiSystem,
    Key::GenAiProvider,
    Key::GenAiSystem,
];
const TOOL: &[Key] = &[
    Key::AgentToolName,
    Key::OiToolName,
    Key::OiCallName,
    Key::GenAiToolName,
];
const TOKENS_IN: &[Key] = &[
    Key::OiTokensIn,
    Key::GenAiTokensIn,
    Key::GenAiOldTokensIn,
    Key::TlTokensIn,
];
const TOKENS_OUT: &[Key] = &[
    Key::OiTokensOut,
    Key::GenAiTokensOut,
    Key::GenAiOldTokensOut,
    Key::TlTokensOut,
];
const TOKENS_TOTAL: &[Key] = &[
    Key::OiTokensTotal,
    Key::GenAiTokensTotal,
    Key::TlTokensTotal,
];
const CACHE_READ: &[Key] = &[
    Key::OiCacheRead,
    Key::GenAiCacheRead,
    Key::GenAiOldCacheRead,
    Key::GenAiDetailCacheRead,
    Key::GenAiDetailCacheReadIn,
];
const COST: &[Key] = &[Key::AgentCostUsd, Key::OiCost];
const LATER_COST: &[Key] = &[Key::GenAiCost, Key::PydanticCost];

/// Makes the clean span of a span that has passed validation.
///
/// Costs about a microsecond for a span with a dozen attributes; what can be borrowed from the record is.
#[must_use]
pub fn clean<'a>(
    resource: &'a ResourceView<'a>,
    scope: &'a ScopeView<'a>,
    span: &'a SpanView<'a>,
    settings: &CleanSettings,
) -> CleanSpan<'a> {
    let of_resource = Facts::read(&resource.attributes);
    let facts = Facts::read(&span.attributes);
    let document = scope.name == document::SCOPE;
    let hint = LazyCell::new(|| name::read(&span.name, span.kind));
    let decision = kind::decide(
        &facts,
        Circumstances {
            root: is_zero(span.parent_span_id),
            document,
            hint: || *hint,
        },
    );
    let step_type = decision.step_type;
    let hint = || hint.filter(|hint| hint.step_type == step_type);
    let failure = failure::read(
        &facts,
        &span.events,
        &SentStatus {
            code: span.status_code,
            message: &span.status_message,
        },
    );
    let source = Source {
        facts: &facts,
        events: &span.events,
        step_type,
    };
    let input = if settings.texts {
        source.input()
    } else {
        Cow::default()
    };
    let args_hash = match step_type {
        StepType::Act => arguments::hash(&input),
        _ => 0,
    };
    let (input_tokens, output_tokens) = tokens(&facts, settings.max_tokens);
    let namespace = of_resource.text(Key::ServiceNamespace).unwrap_or_default();
    let service_name = of_resource.text(Key::ServiceName).unwrap_or_default();
    let agent_name = agent_name(&facts, &hint);
    let identity = |keys: &[Key]| {
        facts
            .first_text(keys)
            .or_else(|| of_resource.first_text(keys))
            .unwrap_or_default()
    };
    let times = clean_times(span);
    CleanSpan {
        index: span.index,
        trace_id: fixed(span.trace_id),
        span_id: fixed(span.span_id),
        parent_span_id: fixed(span.parent_span_id),
        trace_ref: Cow::Borrowed(&span.refs.trace_ref),
        span_ref: Cow::Borrowed(&span.refs.span_ref),
        parent_span_ref: Cow::Borrowed(&span.refs.parent_span_ref),
        start_us: times.start_us,
        end_us: times.end_us,
        duration_us: times.duration_us,
        agent: agent(&namespace, &service_name, &agent_name),
        namespace,
        agent_name,
        service_name,
        name: Cow::Borrowed(&span.name),
        kind: kind_name(span.kind),
        scope: Cow::Borrowed(&scope.name),
        scope_version: Cow::Borrowed(&scope.version),
        session_id: identity(SESSION),
        conversation_id: identity(CONVERSATION),
        user_id: identity(USER),
        step_type,
        step_no: step_number(&facts),
        convention: decision.convention,
        model: model(&facts, &hint),
        provider: facts.first_text(PROVIDER).unwrap_or_default(),
        tool_name: tool_name(&facts, span, step_type, &hint),
        status: failure.status,
        status_message: Cow::Borrowed(&span.status_message),
        error_type: failure.error_type,
        error_message: failure.message,
        error_stack: failure.stack,
        input_tokens,
        output_tokens,
        cache_read_tokens: number::tokens(&facts, CACHE_READ, settings.max_tokens).unwrap_or(0),
        cost_nanousd: cost(&facts, settings.max_cost_nanousd),
        args_hash,
        input,
        output: if settings.texts {
            source.output()
        } else {
            Cow::default()
        },
        attributes: &span.attributes,
        resource: &resource.attributes,
        trace_state: Cow::Borrowed(&span.trace_state),
        events: &span.events,
        links: &span.links,
    }
}

fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|&byte| byte == 0)
}

/// An id of its prescribed length; validation has refused all others, but for a parent's, which may be empty.
fn fixed<const N: usize>(id: &[u8]) -> [u8; N] {
    id.try_into().unwrap_or([0; N])
}

fn kind_name(kind: i32) -> &'static str {
    match kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "unspecified",
    }
}

/// `service.name` unless it is missing or an SDK's stand-in for it, else the span's agent name, else `unknown`; behind
/// the namespace where there is one. A document's transcoder has written its service name.
pub(crate) fn agent<'a>(
    namespace: &Cow<'a, str>,
    service_name: &Cow<'a, str>,
    agent_name: &Cow<'a, str>,
) -> Cow<'a, str> {
    let agent = if !service_name.is_empty() && !service_name.starts_with("unknown_service") {
        service_name.clone()
    } else if !agent_name.is_empty() {
        agent_name.clone()
    } else {
        Cow::Borrowed("unknown")
    };
    if namespace.is_empty() {
        agent
    } else {
        Cow::Owned(format!("{namespace}/{agent}"))
    }
}

/// The agent that the span itself names: by attribute, as the entity of an OpenLLMetry agent, or as in
/// `invoke_agent planner`.
fn agent_name<'a>(facts: &Facts<'a>, hint: &impl Fn() -> Option<NameHint<'a>>) -> Cow<'a, str> {
    let entity = || match facts.str(Key::TlSpanKind) {
        Some("agent") => facts.text(Key::TlEntityName),
        _ => None,
    };
    let named = || {
        hint()
            .filter(|hint| ["invoke_agent", "create_agent", "agent"].contains(&hint.word))
            .map(|hint| Cow::Borrowed(hint.subject))
    };
    facts
        .first_text(AGENT_NAME)
        .or_else(entity)
        .or_else(named)
        .unwrap_or_default()
}

fn model<'a>(facts: &Facts<'a>, hint: &impl Fn() -> Option<NameHint<'a>>) -> Cow<'a, str> {
    const OF_MODELS: [StepType; 3] = [StepType::Think, StepType::Embedding, StepType::Rerank];
    let named = || {
        hint()
            .filter(|hint| OF_MODELS.contains(&hint.step_type))
            .map(|hint| Cow::Borrowed(hint.subject))
    };
    facts
        .first_text(MODEL)
        .or_else(|| arguments::model(facts).map(Cow::Owned))
        .or_else(named)
        .unwrap_or_default()
}

/// The tool: by attribute, as the entity of an OpenLLMetry tool, as in `execute_tool search`, or the name of an
/// OpenInference TOOL span, which is the tool's.
fn tool_name<'a>(
    facts: &Facts<'a>,
    span: &'a SpanView<'a>,
    step_type: StepType,
    hint: &impl Fn() -> Option<NameHint<'a>>,
) -> Cow<'a, str> {
    let entity = || match facts.str(Key::TlSpanKind) {
        Some("tool") => facts.text(Key::TlEntityName),
        _ => None,
    };
    let named = || {
        if step_type != StepType::Act {
            return None;
        }
        let of_name = hint()
            .map(|hint| hint.subject)
            .filter(|subject| !subject.is_empty());
        of_name
            .or_else(|| facts.has(Key::OiSpanKind).then_some(span.name.as_ref()))
            .map(Cow::Borrowed)
    };
    facts
        .first_text(TOOL)
        .or_else(entity)
        .or_else(named)
        .unwrap_or_default()
}

/// Tokens in and out. Where only the total and one of them are known, the other is what remains; a total alone counts
/// as input, as it is where it comes alone (embeddings).
fn tokens(facts: &Facts<'_>, max: u64) -> (u64, u64) {
    let input = number::tokens(facts, TOKENS_IN, max);
    let output = number::tokens(facts, TOKENS_OUT, max);
    if let (Some(input), Some(output)) = (input, output) {
        return (input, output);
    }
    let total = number::tokens(facts, TOKENS_TOTAL, max);
    let rest = |known: u64| total.map_or(0, |total| total.saturating_sub(known));
    match (input, output) {
        (Some(input), _) => (input, rest(input)),
        (None, Some(output)) => (rest(output), output),
        (None, None) => (total.unwrap_or(0), 0),
    }
}

/// Cost in nano-dollars; OpenInference's total, else the sum of its parts.
fn cost(facts: &Facts<'_>, max: u64) -> u64 {
    let parts = || {
        let input = number::nanousd(facts, &[Key::OiCostIn], max);
        let output = number::nanousd(facts, &[Key::OiCostOut], max);
        (input.is_some() || output.is_some()).then(|| input.unwrap_or(0) + output.unwrap_or(0))
    };
    number::nanousd(facts, COST, max)
        .or_else(parts)
        .or_else(|| number::nanousd(facts, LATER_COST, max))
        .unwrap_or(0)
}

fn step_number(facts: &Facts<'_>) -> u32 {
    number::tokens(facts, STEP_NUMBER, u32::MAX.into())
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}
