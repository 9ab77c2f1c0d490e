//! What a step is, and which convention says so.

use super::facts::Facts;
use super::keys::Key;
use super::name::NameHint;
use crate::span::clean::{Convention, StepType};

/// The step type, and the convention that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) step_type: StepType,
    pub(crate) convention: Convention,
}

/// What decides besides the attributes.
pub(crate) struct Circumstances<H> {
    /// The span has no parent.
    pub(crate) root: bool,
    /// The span is a session document's.
    pub(crate) document: bool,
    /// What the span's name and kind say; asked for only where no attribute decides.
    pub(crate) hint: H,
}

/// Decides by the first convention whose kind key has a value that we know, in the order of precedence:
/// `agent.*`, OpenInference, OTel GenAI, OpenLLMetry, the span's name and kind, and last what its attributes imply.
/// A kind key with an unknown value names the convention of a step of type other, if nothing else decides.
pub(crate) fn decide<'a>(
    facts: &Facts<'_>,
    about: Circumstances<impl FnOnce() -> Option<NameHint<'a>>>,
) -> Decision {
    let decided = by_kind_key(facts, about.root)
        .or_else(|| (about.hint)().map(|hint| by_name(facts, &hint)))
        .or_else(|| by_attributes(facts))
        .unwrap_or(Decision {
            step_type: StepType::Other,
            convention: convention_of_unknown(facts),
        });
    if about.document {
        return Decision {
            convention: Convention::Document,
            ..decided
        };
    }
    decided
}

type Reader = fn(&str, bool) -> Option<StepType>;

/// The kind keys in the order of precedence.
const KIND_KEYS: [(Key, Convention, Reader); 5] = [
    (Key::AgentStepType, Convention::Agent, |kind, _| {
        step_type_named(kind)
    }),
    (Key::OiSpanKind, Convention::OpenInference, openinference),
    (Key::GenAiOperation, Convention::GenAi, |operation, _| {
        gen_ai_operation(operation)
    }),
    (Key::TlSpanKind, Convention::OpenLlmetry, |kind, _| {
        traceloop_kind(kind)
    }),
    (Key::TlRequestType, Convention::OpenLlmetry, |kind, _| {
        llm_request_type(kind)
    }),
];

fn by_kind_key(facts: &Facts<'_>, root: bool) -> Option<Decision> {
    KIND_KEYS.iter().find_map(|&(key, convention, reader)| {
        let step_type = reader(facts.str(key)?.trim(), root)?;
        Some(Decision {
            step_type,
            convention: dialect(facts, convention),
        })
    })
}

/// OpenLLMetry's packages write `gen_ai.operation.name` too. Such a span counts as theirs where it has something
/// that only they write, unless `traceloop.span.kind` is there to be outranked.
fn dialect(facts: &Facts<'_>, convention: Convention) -> Convention {
    if convention == Convention::GenAi && facts.openllmetry && !facts.has(Key::TlSpanKind) {
        Convention::OpenLlmetry
    } else {
        convention
    }
}

fn by_name(facts: &Facts<'_>, hint: &NameHint<'_>) -> Decision {
    Decision {
        step_type: hint.step_type,
        convention: convention_of_unknown(facts),
    }
}

/// What a span without a kind key and a telling name shows by what it carries.
fn by_attributes(facts: &Facts<'_>) -> Option<Decision> {
    const IMPLIED: [(&[Key], StepType); 5] = [
        (&[Key::OiEmbeddingModel], StepType::Embedding),
        (&[Key::OiRerankerModel], StepType::Rerank),
        (
            &[
                Key::GenAiToolArguments,
                Key::GenAiToolResult,
                Key::GenAiToolName,
                Key::AgentToolName,
            ],
            StepType::Act,
        ),
        (&[Key::OiToolName], StepType::Act),
        (
            &[
                Key::GenAiResponseModel,
                Key::GenAiTokensIn,
                Key::GenAiTokensOut,
                Key::GenAiOldTokensIn,
                Key::GenAiOldTokensOut,
                Key::OiModel,
                Key::OiTokensIn,
                Key::OiTokensOut,
                Key::TlResponseModel,
                Key::TlTokensTotal,
            ],
            StepType::Think,
        ),
    ];
    IMPLIED
        .iter()
        .find(|(keys, _)| keys.iter().any(|&key| facts.has(key)))
        .map(|&(_, step_type)| Decision {
            step_type,
            convention: convention_of_unknown(facts),
        })
}

/// Whose attributes a span has, where no kind key decided.
fn convention_of_unknown(facts: &Facts<'_>) -> Convention {
    const AGENT: &[Key] = &[Key::AgentStepType, Key::AgentToolName, Key::AgentCostUsd];
    const OPENINFERENCE: &[Key] = &[
        Key::OiSpanKind,
        Key::OiModel,
        Key::OiEmbeddingModel,
        Key::OiRerankerModel,
        Key::OiTokensIn,
        Key::OiTokensOut,
        Key::OiInput,
        Key::OiOutput,
    ];
    let any = |keys: &[Key]| keys.iter().any(|&key| facts.has(key));
    if any(AGENT) {
        Convention::Agent
    } else if any(OPENINFERENCE) {
        Convention::OpenInference
    } else if facts.openllmetry {
        Convention::OpenLlmetry
    } else if facts
        .attributes
        .iter()
        .any(|a| a.key.starts_with("gen_ai."))
    {
        Convention::GenAi
    } else {
        Convention::None
    }
}

/// A step type by our own name of it.
pub(crate) fn step_type_named(name: &str) -> Option<StepType> {
    StepType::ALL
        .into_iter()
        .find(|step_type| name.trim().eq_ignore_ascii_case(step_type.as_str()))
}

/// The step type that a table of names gives, in any case of letters.
fn look_up(table: &[(&str, StepType)], name: &str) -> Option<StepType> {
    table
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map(|&(_, step_type)| step_type)
}

/// `openinference.span.kind`. An agent is a session wherever it stands, as `invoke_agent` is; a chain is one only at
/// the root, where it is the whole run.
fn openinference(kind: &str, root: bool) -> Option<StepType> {
    const KINDS: &[(&str, StepType)] = &[
        ("LLM", StepType::Think),
        ("TOOL", StepType::Act),
        ("AGENT", StepType::Session),
        ("CHAIN", StepType::Chain),
        ("EMBEDDING", StepType::Embedding),
        ("RETRIEVER", StepType::Retrieval),
        ("RERANKER", StepType::Rerank),
        ("GUARDRAIL", StepType::Guardrail),
        ("EVALUATOR", StepType::Evaluate),
    ];
    match look_up(KINDS, kind) {
        Some(StepType::Chain) if root => Some(StepType::Session),
        step_type => step_type,
    }
}

/// `gen_ai.operation.name`; `completion` and `rerank` are older spellings, those from
/// `execute_task` on are OpenLLMetry's own.
pub(crate) fn gen_ai_operation(operation: &str) -> Option<StepType> {
    const OPERATIONS: &[(&str, StepType)] = &[
        ("chat", StepType::Think),
        ("text_completion", StepType::Think),
        ("generate_content", StepType::Think),
        ("plan", StepType::Think),
        ("completion", StepType::Think),
        ("execute_tool", StepType::Act),
        ("invoke_agent", StepType::Session),
        ("invoke_workflow", StepType::Session),
        ("embeddings", StepType::Embedding),
        ("retrieval", StepType::Retrieval),
        ("rerank", StepType::Rerank),
        ("create_agent", StepType::Other),
        ("execute_task", StepType::Chain),
        ("llm_request", StepType::Think),
        ("vector_db_retrieve", StepType::Retrieval),
        ("guardrail.run", StepType::Guardrail),
        ("guard", StepType::Guardrail),
    ];
    look_up(OPERATIONS, operation)
}

/// `traceloop.span.kind`.
fn traceloop_kind(kind: &str) -> Option<StepType> {
    const KINDS: &[(&str, StepType)] = &[
        ("workflow", StepType::Session),
        ("agent", StepType::Session),
        ("tool", StepType::Act),
        ("task", StepType::Chain),
        ("execute_task", StepType::Chain),
    ];
    look_up(KINDS, kind)
}

/// `llm.request.type`, of OpenLLMetry before it took up `gen_ai.operation.name`.
fn llm_request_type(kind: &str) -> Option<StepType> {
    const KINDS: &[(&str, StepType)] = &[
        ("chat", StepType::Think),
        ("completion", StepType::Think),
        ("embedding", StepType::Embedding),
        ("rerank", StepType::Rerank),
    ];
    look_up(KINDS, kind)
}
