//! Tools and session documents; what is kept as it was sent.

use std::borrow::Cow;

use super::Sent;
use crate::span::clean::{Convention, StepType};
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

#[test]
fn a_tool_call_has_its_name_arguments_and_result_in_every_convention() {
    const CASES: &[(&str, &str, &str, &str, &str)] = &[
        (
            "agent.step.type",
            "act",
            "agent.tool.name",
            "agent.tool.arguments",
            "agent.tool.result",
        ),
        (
            "openinference.span.kind",
            "TOOL",
            "tool.name",
            "input.value",
            "output.value",
        ),
        (
            "gen_ai.operation.name",
            "execute_tool",
            "gen_ai.tool.name",
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.call.result",
        ),
        (
            "traceloop.span.kind",
            "tool",
            "traceloop.entity.name",
            "traceloop.entity.input",
            "traceloop.entity.output",
        ),
    ];
    for &(key, kind, name, arguments, result) in CASES {
        let sent = Sent::new("a name")
            .child()
            .with(key, kind)
            .with(name, "weather")
            .with(arguments, r#"{ "days": 3, "city": "Paris" }"#)
            .with(result, "sunny");
        let span = sent.clean();
        assert_eq!(span.step_type, StepType::Act, "{key}");
        assert_eq!(span.tool_name, "weather", "{key}");
        assert_eq!(span.input, r#"{ "days": 3, "city": "Paris" }"#, "{key}");
        assert_eq!(span.output, "sunny", "{key}");
        assert_eq!(
            span.args_hash,
            xxh3_64(br#"{"city":"Paris","days":3}"#),
            "{key}"
        );
    }
}

#[test]
fn a_tools_schema_is_not_taken_for_its_arguments() {
    let tool = |parameters| {
        Sent::new("weather")
            .child()
            .with("openinference.span.kind", "TOOL")
            .with("tool.parameters", parameters)
    };
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;
    assert_eq!(tool(schema).clean().args_hash, 0);
    assert_eq!(tool(schema).clean().input, "");
    assert_eq!(
        tool(schema).with("input.value", "Paris").clean().input,
        "Paris"
    );
    assert_eq!(
        tool(r#"{"city":"Paris"}"#).clean().input,
        r#"{"city":"Paris"}"#
    );
}

#[test]
fn an_openinference_tool_without_a_name_has_its_spans() {
    let sent = Sent::new("weather")
        .child()
        .with("openinference.span.kind", "TOOL");
    assert_eq!(sent.clean().tool_name, "weather");
    let sent = Sent::new("ChatOpenAI")
        .child()
        .with("openinference.span.kind", "LLM");
    assert_eq!(sent.clean().tool_name, "");
}

#[test]
fn an_entity_that_is_no_tool_gives_no_tool_name() {
    let sent = Sent::new("trip.workflow")
        .with("traceloop.span.kind", "workflow")
        .with("traceloop.entity.name", "trip");
    assert_eq!(sent.clean().tool_name, "");
    assert_eq!(sent.clean().args_hash, 0);
}

#[test]
fn a_documents_steps_are_read_as_its_transcoder_writes_them() {
    let step = |kind| {
        Sent::new("step")
            .document()
            .resource("service.name", "document")
            .with("agent.step.type", kind)
            .with("session.id", "s")
            .with("gen_ai.conversation.id", "c")
    };
    let sent = step("act")
        .with("input.value", "words")
        .with("gen_ai.tool.name", "search");
    let span = sent.clean();
    assert_eq!(
        (span.step_type, span.convention),
        (StepType::Act, Convention::Document)
    );
    assert_eq!((span.input.as_ref(), span.output.as_ref()), ("words", ""));
    assert_eq!(
        (span.tool_name.as_ref(), span.args_hash),
        ("search", xxh3_64(b"words"))
    );
    assert_eq!(
        (span.agent.as_ref(), span.session_id.as_ref()),
        ("document", "s")
    );
    for (kind, step_type) in [
        ("think", StepType::Think),
        ("observe", StepType::Observe),
        ("response", StepType::Response),
        ("musing", StepType::Other),
    ] {
        let sent = step(kind).with("output.value", "words");
        let span = sent.clean();
        assert_eq!(
            (span.step_type, span.convention),
            (step_type, Convention::Document)
        );
        assert_eq!((span.input.as_ref(), span.output.as_ref()), ("", "words"));
    }
}

proptest! {
    /// Whatever stands in the attributes that are parsed, a span comes out, with the text where nothing was read.
    #[test]
    fn no_attribute_can_stop_a_span(
        kind in prop::sample::select(vec!["LLM", "TOOL", "CHAIN", "AGENT"]),
        start in prop::sample::select(vec!["", "[", "{\"messages\":", "[{\"role\":", "{\"type\":\"tool\",", "[{\"parts\":[{"]),
        rest in "[\\[\\]{}:,\"a-cé0-9 .\\\\-]{0,40}",
    ) {
        let text: &'static str = Box::leak(format!("{start}{rest}").into_boxed_str());
        let mut sent = Sent::new(text).with("openinference.span.kind", kind).event("gen_ai.choice", &[("message", text)]);
        for key in [
            "input.value", "output.value", "tool.parameters", "gen_ai.input.messages", "gen_ai.output.messages",
            "llm.invocation_parameters", "llm.token_count.prompt", "llm.cost.total", "llm.input_messages.0.message.content",
        ] {
            sent = sent.with(key, text);
        }
        let span = sent.clean();
        prop_assert_eq!(span.output.is_empty(), text.is_empty());
        prop_assert_eq!(span.args_hash == 0, kind != "TOOL" || text.trim().is_empty());
    }
}

#[test]
fn text_is_borrowed_and_ids_and_times_are_kept() {
    let sent = Sent::new("weather")
        .child()
        .kind(3)
        .resource("service.name", "shop")
        .with("openinference.span.kind", "TOOL")
        .with("tool.name", "weather")
        .with("agent.step.number", 4)
        .with("input.value", "Paris");
    let span = sent.clean();
    assert_eq!(
        (span.index, span.trace_id, span.span_id),
        (3, [1; 16], [2; 8])
    );
    assert_eq!(
        (span.start_us, span.end_us),
        (1_700_000_000_000_000, 1_700_000_000_012_345)
    );
    assert_eq!(
        (span.duration_us, span.kind, span.step_no),
        (12_345, "client", 4)
    );
    for text in [&span.agent, &span.tool_name, &span.input, &span.name] {
        assert!(matches!(text, Cow::Borrowed(_)), "{text}");
    }
}
