//! What was said.

use std::borrow::Cow;

use super::Sent;
use crate::decode::encode::{self, text_attr};
use crate::span::view::Value;

#[test]
fn openinference_messages_are_read_where_the_value_is_raw_json() {
    let sent = Sent::new("ChatCompletion")
        .child()
        .with("openinference.span.kind", "LLM")
        .with("input.value", r#"{"messages": [], "model": "gpt-4o"}"#)
        .with("llm.input_messages.1.message.content", "Weather in Paris?")
        .with("llm.input_messages.1.message.role", "user")
        .with("llm.input_messages.0.message.role", "system")
        .with("llm.input_messages.0.message.content", "Be brief.")
        .with("llm.output_messages.0.message.role", "assistant")
        .with(
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments",
            "{}",
        )
        .with(
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name",
            "weather",
        );
    let span = sent.clean();
    assert_eq!(span.input, "system: Be brief.\nuser: Weather in Paris?");
    assert_eq!(span.output, "weather({})");
    let sent = Sent::new("x")
        .with("openinference.span.kind", "LLM")
        .with("input.value", "Weather in Paris?")
        .with("llm.input_messages.0.message.content", "something else");
    assert!(matches!(
        sent.clean().input,
        Cow::Borrowed("Weather in Paris?")
    ));
}

#[test]
fn openinference_parts_of_a_message_are_read_in_order() {
    let sent = Sent::new("x")
        .with("openinference.span.kind", "LLM")
        .with("llm.input_messages.0.message.role", "user")
        .with(
            "llm.input_messages.0.message.contents.1.message_content.type",
            "image",
        )
        .with(
            "llm.input_messages.0.message.contents.0.message_content.type",
            "text",
        )
        .with(
            "llm.input_messages.0.message.contents.0.message_content.text",
            "What is this?",
        );
    assert_eq!(sent.clean().input, "What is this?\n[image]");
}

#[test]
fn gen_ai_messages_are_read_from_their_json() {
    let sent = Sent::new("chat m")
        .with("gen_ai.operation.name", "chat")
        .with(
            "gen_ai.input.messages",
            r#"[{"role":"system","parts":[{"type":"text","content":"Be brief."}]},
                {"role":"user","parts":[{"type":"text","content":"Weather?"}]},
                {"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"weather","arguments":{"city":"Paris"}}]},
                {"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":"sunny"}]}]"#,
        )
        .with(
            "gen_ai.output.messages",
            r#"[{"role":"assistant","parts":[{"type":"text","content":"It is sunny."}],"finish_reason":"stop"}]"#,
        );
    let span = sent.clean();
    assert_eq!(
        span.input,
        "system: Be brief.\nuser: Weather?\nassistant: weather({\"city\":\"Paris\"})\ntool: sunny"
    );
    assert_eq!(span.output, "It is sunny.");
}

#[test]
fn messages_that_are_no_json_stay_as_they_were_sent() {
    for text in ["Hello", "[{\"role\":", "{}", "[1, 2]"] {
        let sent = Sent::new("x").with("gen_ai.input.messages", text);
        assert_eq!(sent.clean().input, text);
    }
}

#[test]
fn gen_ai_messages_are_read_from_events_of_older_conventions() {
    let sent = Sent::new("chat m")
        .with("gen_ai.operation.name", "chat")
        .event("gen_ai.system.message", &[("content", "Be brief.")])
        .event("gen_ai.user.message", &[("content", "Weather?")])
        .event(
            "gen_ai.choice",
            &[
                ("index", "0"),
                ("message", r#"{"role":"assistant","content":"Sunny."}"#),
            ],
        );
    let span = sent.clean();
    assert_eq!(span.input, "system: Be brief.\nuser: Weather?");
    assert_eq!(span.output, "Sunny.");
    let sent = Sent::new("chat m")
        .event(
            "gen_ai.content.prompt",
            &[("gen_ai.prompt", r#"[{"role":"user","content":"Hi"}]"#)],
        )
        .event(
            "gen_ai.content.completion",
            &[("gen_ai.completion", "Hello.")],
        );
    let span = sent.clean();
    assert_eq!(
        (span.input.as_ref(), span.output.as_ref()),
        ("Hi", "Hello.")
    );
}

#[test]
fn openllmetrys_numbered_prompts_are_read() {
    let sent = Sent::new("openai.chat")
        .with("llm.request.type", "chat")
        .with("gen_ai.prompt.0.role", "user")
        .with(
            "gen_ai.prompt.0.content",
            r#"[{"type":"text","text":"Weather?"}]"#,
        )
        .with("gen_ai.completion.0.role", "assistant")
        .with("gen_ai.completion.0.finish_reason", "tool_calls")
        .with("gen_ai.completion.0.tool_calls.0.name", "weather")
        .with(
            "gen_ai.completion.0.tool_calls.0.arguments",
            r#"{"city":"Paris"}"#,
        );
    let span = sent.clean();
    assert_eq!(span.input, "Weather?");
    assert_eq!(span.output, r#"weather({"city":"Paris"})"#);
}

#[test]
fn a_message_number_without_bounds_costs_nothing() {
    let sent = Sent::new("x")
        .with("llm.request.type", "chat")
        .with("gen_ai.prompt.4294967295.content", "far")
        .with("gen_ai.prompt.99999999999999999999.content", "too far")
        .with("gen_ai.prompt..content", "nowhere");
    assert_eq!(sent.clean().input, "far");
}

#[test]
fn an_entitys_output_is_given_without_its_quotes() {
    let sent = Sent::new("trip.workflow")
        .with("traceloop.span.kind", "workflow")
        .with(
            "traceloop.entity.input",
            r#"{"args":["Paris"],"kwargs":{}}"#,
        )
        .with("traceloop.entity.output", r#""Take a \"coat\".""#);
    let span = sent.clean();
    assert_eq!(span.input, r#"{"args":["Paris"],"kwargs":{}}"#);
    assert_eq!(span.output, r#"Take a "coat"."#);
}

#[test]
fn a_run_that_gives_its_whole_conversation_has_the_question_in_and_the_answer_out() {
    let sent = Sent::new("LangGraph")
        .with("openinference.span.kind", "CHAIN")
        .with(
            "input.value",
            r#"{"messages": [{"role": "user", "content": "Weather?"}]}"#,
        )
        .with(
            "output.value",
            r#"{"messages": [{"type": "human", "data": {"content": "Weather?"}},
                             {"type": "ai", "data": {"content": "Sunny."}}]}"#,
        );
    let span = sent.clean();
    assert_eq!(
        (span.input.as_ref(), span.output.as_ref()),
        ("Weather?", "Sunny.")
    );
}

#[test]
fn a_langchain_tools_result_is_taken_out_of_its_message() {
    let sent = Sent::new("weather")
        .child()
        .with("openinference.span.kind", "TOOL")
        .with(
            "output.value",
            r#"{"type": "tool", "data": {"content": "sunny", "id": null}}"#,
        );
    assert_eq!(sent.clean().output, "sunny");
}

#[test]
fn json_that_is_no_conversation_stays_as_it_was_sent() {
    for text in [
        r#"{"type": "tool", "city": "Paris"}"#,
        r#"{"messages": []}"#,
        r#"{"messages": [1, 2]}"#,
        r#"{"messages": ["#,
        r#"[{"role": "user"}]"#,
        r#"{"é": "éééééééééééééé"}"#,
    ] {
        let sent = Sent::new("x")
            .with("openinference.span.kind", "CHAIN")
            .with("output.value", text);
        assert_eq!(sent.clean().output, text);
    }
}

#[test]
fn a_call_that_failed_has_its_model_from_its_parameters() {
    let sent = Sent::new("ChatCompletion")
        .with("openinference.span.kind", "LLM")
        .with(
            "llm.invocation_parameters",
            r#"{"model": "gpt-4o", "temperature": 0}"#,
        );
    assert_eq!(sent.clean().model, "gpt-4o");
}

#[test]
fn gen_ai_messages_are_read_where_they_were_sent_as_structured_values() {
    let part = encode::kv_list(&[text_attr("type", "text"), text_attr("content", "Weather?")]);
    let parts = encode::array(&[Value::KvList(&part)]);
    let message = encode::kv_list(&[
        text_attr("role", "user"),
        encode::attr("parts", Value::Array(&parts)),
    ]);
    let messages = encode::array(&[Value::KvList(&message)]).leak();
    let mut sent = Sent::new("chat m").with("gen_ai.operation.name", "chat");
    let value = Value::Array(messages);
    sent.span
        .attributes
        .push(encode::attr("gen_ai.input.messages", value));
    assert_eq!(sent.clean().input, "Weather?");
}
