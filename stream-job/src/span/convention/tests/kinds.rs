//! What a step is.

use super::PARENT;
use super::Sent;
use crate::span::clean::{Convention, StepType};

#[test]
fn every_kind_of_every_convention_gives_the_contracts_step_type() {
    use StepType::{
        Act, Chain, Embedding, Evaluate, Guardrail, Observe, Other, Rerank, Response, Retrieval,
        Session, Think,
    };
    type Kinds = &'static [(&'static str, StepType)];
    const CASES: &[(&str, Convention, Kinds)] = &[
        (
            "agent.step.type",
            Convention::Agent,
            &[
                ("session", Session),
                ("think", Think),
                ("act", Act),
                ("observe", Observe),
                ("response", Response),
                ("retrieval", Retrieval),
            ],
        ),
        (
            "openinference.span.kind",
            Convention::OpenInference,
            &[
                ("AGENT", Session),
                ("LLM", Think),
                ("TOOL", Act),
                ("CHAIN", Chain),
                ("EMBEDDING", Embedding),
                ("RETRIEVER", Retrieval),
                ("RERANKER", Rerank),
                ("GUARDRAIL", Guardrail),
                ("EVALUATOR", Evaluate),
                ("PROMPT", Other),
            ],
        ),
        (
            "gen_ai.operation.name",
            Convention::GenAi,
            &[
                ("invoke_agent", Session),
                ("invoke_workflow", Session),
                ("chat", Think),
                ("text_completion", Think),
                ("generate_content", Think),
                ("plan", Think),
                ("execute_tool", Act),
                ("embeddings", Embedding),
                ("retrieval", Retrieval),
                ("create_agent", Other),
                ("something_new", Other),
            ],
        ),
        (
            "traceloop.span.kind",
            Convention::OpenLlmetry,
            &[
                ("workflow", Session),
                ("agent", Session),
                ("tool", Act),
                ("task", Chain),
                ("unknown", Other),
            ],
        ),
        (
            "llm.request.type",
            Convention::OpenLlmetry,
            &[
                ("chat", Think),
                ("completion", Think),
                ("embedding", Embedding),
                ("rerank", Rerank),
            ],
        ),
    ];
    for &(key, convention, kinds) in CASES {
        for &(kind, step_type) in kinds {
            let sent = Sent::new("a name").child().with(key, kind);
            assert_eq!(sent.decided(), (step_type, convention), "{key} = {kind}");
        }
    }
}

#[test]
fn kinds_are_known_in_any_case_of_letters() {
    let sent = Sent::new("x")
        .child()
        .with("openinference.span.kind", "llm");
    assert_eq!(sent.decided().0, StepType::Think);
    let sent = Sent::new("x").with("agent.step.type", " Observe ");
    assert_eq!(sent.decided().0, StepType::Observe);
}

#[test]
fn a_chain_is_a_session_at_the_root_only() {
    let sent = Sent::new("LangGraph").with("openinference.span.kind", "CHAIN");
    assert_eq!(sent.decided().0, StepType::Session);
    let sent = Sent::new("LangGraph")
        .child()
        .with("openinference.span.kind", "CHAIN");
    assert_eq!(sent.decided().0, StepType::Chain);
    // Some exporters write a root's parent as zeros.
    let mut sent = Sent::new("LangGraph").with("openinference.span.kind", "CHAIN");
    sent.span.parent_span_id = &[0; 8];
    assert_eq!(sent.decided().0, StepType::Session);
}

#[test]
fn a_chain_whose_parent_never_comes_is_still_no_session() {
    let sent = Sent::new("step")
        .child()
        .with("openinference.span.kind", "CHAIN");
    let span = sent.clean();
    assert_eq!(
        (span.step_type, span.parent_span_id),
        (StepType::Chain, PARENT)
    );
}

#[test]
fn an_agent_called_by_an_agent_is_a_session_too() {
    let sent = Sent::new("x")
        .child()
        .with("openinference.span.kind", "AGENT");
    assert_eq!(sent.decided().0, StepType::Session);
    let sent = Sent::new("x")
        .child()
        .with("gen_ai.operation.name", "invoke_agent");
    assert_eq!(sent.decided().0, StepType::Session);
}

#[test]
fn a_stronger_convention_outranks_a_weaker_one() {
    let all = || {
        Sent::new("chat gpt-4o")
            .child()
            .with("traceloop.span.kind", "workflow")
            .with("gen_ai.operation.name", "execute_tool")
            .with("openinference.span.kind", "LLM")
    };
    assert_eq!(
        all().with("agent.step.type", "observe").decided(),
        (StepType::Observe, Convention::Agent)
    );
    assert_eq!(
        all().decided(),
        (StepType::Think, Convention::OpenInference)
    );
    let mut sent = all();
    sent.span.attributes.pop();
    assert_eq!(sent.decided(), (StepType::Act, Convention::GenAi));
    sent.span.attributes.pop();
    assert_eq!(sent.decided(), (StepType::Session, Convention::OpenLlmetry));
    sent.span.attributes.pop();
    assert_eq!(sent.decided(), (StepType::Think, Convention::None));
}

#[test]
fn a_kind_that_is_not_known_leaves_the_decision_to_the_next() {
    let sent = Sent::new("x")
        .with("agent.step.type", "pondering")
        .with("openinference.span.kind", "UNKNOWN")
        .with("gen_ai.operation.name", "chat");
    assert_eq!(sent.decided(), (StepType::Think, Convention::GenAi));
}

#[test]
fn an_openllmetry_span_with_a_gen_ai_operation_is_openllmetrys() {
    let sent = Sent::new("openai.chat")
        .with("gen_ai.operation.name", "chat")
        .with("traceloop.workflow.name", "trip");
    assert_eq!(sent.decided(), (StepType::Think, Convention::OpenLlmetry));
    let sent = Sent::new("openai.chat")
        .with("gen_ai.operation.name", "chat")
        .with("llm.request.type", "chat");
    assert_eq!(sent.decided(), (StepType::Think, Convention::OpenLlmetry));
}

#[test]
fn a_name_decides_where_no_attribute_does() {
    let sent = Sent::new("chat gpt-4o").kind(3);
    let span = sent.clean();
    assert_eq!(
        (span.step_type, span.convention, span.model.as_ref()),
        (StepType::Think, Convention::None, "gpt-4o")
    );
    let sent = Sent::new("execute_tool search").with("gen_ai.system", "openai");
    let span = sent.clean();
    assert_eq!(
        (span.step_type, span.convention, span.tool_name.as_ref()),
        (StepType::Act, Convention::GenAi, "search")
    );
    assert_eq!(
        Sent::new("invoke_agent planner").clean().agent_name,
        "planner"
    );
    assert_eq!(
        Sent::new("chat gpt-4o").kind(2).decided().0,
        StepType::Other
    );
}

#[test]
fn a_span_of_no_agent_is_other_of_no_convention() {
    let sent = Sent::new("GET /orders")
        .kind(3)
        .with("http.request.method", "GET");
    assert_eq!(sent.decided(), (StepType::Other, Convention::None));
}

#[test]
fn tokens_without_a_kind_show_a_call_of_a_model() {
    let sent = Sent::new("call").with("gen_ai.usage.prompt_tokens", 5);
    assert_eq!(sent.decided(), (StepType::Think, Convention::GenAi));
    let sent = Sent::new("call").with("llm.model_name", "m");
    assert_eq!(sent.decided(), (StepType::Think, Convention::OpenInference));
    let sent = Sent::new("call").with("gen_ai.tool.call.arguments", "{}");
    assert_eq!(sent.decided(), (StepType::Act, Convention::GenAi));
}

#[test]
fn create_agent_in_a_trace_of_its_own_is_no_session_but_has_its_agent() {
    let sent = Sent::new("create_agent tutor")
        .kind(3)
        .with("gen_ai.operation.name", "create_agent")
        .with("gen_ai.agent.name", "tutor");
    let span = sent.clean();
    assert_eq!(
        (span.step_type, span.agent.as_ref()),
        (StepType::Other, "tutor")
    );
}

#[test]
fn the_same_agent_invoked_twice_gives_two_sessions() {
    let invoke = || {
        Sent::new("invoke_agent a")
            .child()
            .with("gen_ai.operation.name", "invoke_agent")
    };
    let (first, mut second) = (invoke(), invoke());
    second.span.span_id = &[9; 8];
    assert_eq!(first.clean().step_type, StepType::Session);
    assert_eq!(second.clean().step_type, StepType::Session);
    assert_ne!(first.clean().span_id, second.clean().span_id);
}

#[test]
fn an_agent_span_keeps_the_total_of_its_children_in_its_row_but_is_no_think() {
    let sent = Sent::new("invoke_agent a")
        .with("gen_ai.operation.name", "invoke_agent")
        .with("gen_ai.usage.input_tokens", 300)
        .with("gen_ai.usage.output_tokens", 40);
    let span = sent.clean();
    assert_eq!(span.step_type, StepType::Session);
    assert_eq!((span.input_tokens, span.output_tokens), (300, 40));
}
