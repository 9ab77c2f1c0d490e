//! Nanoseconds that one span costs to map from its convention to a clean span, on one core and from memory.
//!
//! `cargo bench -p stream-job --bench clean`: for each kind of span the median of 5 runs of at least 0.3 s. The aim is
//! at most 1 µs for a span of about 12 attributes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use stream_job::decode::encode::{attr, text_attr};
use stream_job::span::view::{Attr, ResourceView, ScopeView, SpanView, Value};
use stream_job::span::{CleanSettings, clean};

const RUNS: usize = 5;
const RUN: Duration = Duration::from_millis(300);

fn main() {
    report("GenAI chat, no messages", "chat gpt-4o", genai_chat());
    report(
        "GenAI chat, messages of 600 B",
        "chat gpt-4o",
        with_messages(genai_chat()),
    );
    report("GenAI tool call", "execute_tool search", genai_tool());
    report(
        "OpenInference LLM, 3 messages",
        "ChatCompletion",
        openinference_llm(),
    );
    report("agent.* think", "think", probe_think());
    report("not an agent's", "GET /orders", http());
}

fn report(what: &str, name: &'static str, attributes: Vec<Attr<'static>>) {
    let resource = ResourceView {
        attributes: vec![
            text_attr("service.name", "weather-agent"),
            text_attr("telemetry.sdk.language", "python"),
            text_attr("telemetry.sdk.name", "opentelemetry"),
        ],
    };
    let scope = ScopeView::default();
    let settings = CleanSettings::default();
    let count = attributes.len();
    let span = SpanView {
        name: name.into(),
        kind: 1,
        start_time_unix_nano: 1_760_000_000_000_000_000,
        end_time_unix_nano: 1_760_000_000_500_000_000,
        attributes,
        ..SpanView::default()
    };
    let mut costs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let (start, mut spans) = (Instant::now(), 0u32);
            while start.elapsed() < RUN {
                for _ in 0..1000 {
                    let clean = clean(black_box(&resource), &scope, black_box(&span), &settings);
                    black_box(&clean);
                }
                spans += 1000;
            }
            start.elapsed().as_nanos() as f64 / f64::from(spans)
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    println!("{what:32} {count:3} attributes {:7.0} ns", costs[RUNS / 2]);
}

fn genai_chat() -> Vec<Attr<'static>> {
    vec![
        text_attr("gen_ai.operation.name", "chat"),
        text_attr("gen_ai.provider.name", "openai"),
        text_attr("gen_ai.request.model", "gpt-4o"),
        text_attr("gen_ai.response.model", "gpt-4o-2024-08-06"),
        text_attr("gen_ai.response.id", "chatcmpl-1"),
        attr("gen_ai.request.temperature", Value::Double(0.2)),
        attr("gen_ai.request.max_tokens", Value::Int(512)),
        attr("gen_ai.usage.input_tokens", Value::Int(812)),
        attr("gen_ai.usage.output_tokens", Value::Int(64)),
        text_attr("gen_ai.conversation.id", "5f0c4a9e"),
        text_attr("user.id", "user-1"),
        text_attr("server.address", "api.openai.com"),
    ]
}

fn with_messages(mut attributes: Vec<Attr<'static>>) -> Vec<Attr<'static>> {
    const INPUT: &str = r#"[{"role":"system","parts":[{"type":"text","content":"You are a helpful travel agent. Answer in one short sentence and use the tools where they help."}]},{"role":"user","parts":[{"type":"text","content":"What is the weather in Paris tomorrow, and do I need a coat?"}]},{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{"city":"Paris","day":"tomorrow"}}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"call_1","response":"sunny, 21 degrees, light wind from the west"}]}]"#;
    const OUTPUT: &str = r#"[{"role":"assistant","parts":[{"type":"text","content":"It will be sunny, 21 degrees: no coat."}],"finish_reason":"stop"}]"#;
    attributes.push(text_attr("gen_ai.input.messages", INPUT));
    attributes.push(text_attr("gen_ai.output.messages", OUTPUT));
    attributes
}

fn genai_tool() -> Vec<Attr<'static>> {
    vec![
        text_attr("gen_ai.operation.name", "execute_tool"),
        text_attr("gen_ai.tool.name", "search"),
        text_attr("gen_ai.tool.call.id", "call_1"),
        text_attr("gen_ai.tool.type", "function"),
        text_attr(
            "gen_ai.tool.call.arguments",
            r#"{"query":"weather in Paris","limit":5,"lang":"en"}"#,
        ),
        text_attr("gen_ai.tool.call.result", "sunny, 21 degrees"),
        text_attr("gen_ai.conversation.id", "5f0c4a9e"),
    ]
}

fn openinference_llm() -> Vec<Attr<'static>> {
    vec![
        text_attr("openinference.span.kind", "LLM"),
        text_attr("llm.system", "openai"),
        text_attr("llm.model_name", "gpt-4o"),
        text_attr("input.value", r#"{"messages":[],"model":"gpt-4o"}"#),
        text_attr("input.mime_type", "application/json"),
        text_attr("session.id", "session-1"),
        text_attr("user.id", "user-1"),
        attr("llm.token_count.prompt", Value::Int(812)),
        attr("llm.token_count.completion", Value::Int(64)),
        text_attr("llm.input_messages.0.message.role", "system"),
        text_attr("llm.input_messages.0.message.content", "Be brief."),
        text_attr("llm.input_messages.1.message.role", "user"),
        text_attr(
            "llm.input_messages.1.message.content",
            "What is the weather in Paris?",
        ),
        text_attr("llm.output_messages.0.message.role", "assistant"),
        text_attr("llm.output_messages.0.message.content", "Sunny."),
    ]
}

fn probe_think() -> Vec<Attr<'static>> {
    vec![
        text_attr("agent.step.type", "think"),
        attr("agent.step.number", Value::Int(3)),
        text_attr("agent.name", "weather"),
        text_attr("session.id", "session-1"),
        text_attr("user.id", "user-1"),
        text_attr("gen_ai.response.model", "gpt-4o"),
        text_attr("gen_ai.provider.name", "openai"),
        attr("gen_ai.usage.input_tokens", Value::Int(812)),
        attr("gen_ai.usage.output_tokens", Value::Int(64)),
        attr("agent.cost_usd", Value::Double(0.0012)),
        text_attr("agent.input", "What is the weather in Paris?"),
        text_attr("agent.output", "I should look it up."),
    ]
}

fn http() -> Vec<Attr<'static>> {
    vec![
        text_attr("http.request.method", "GET"),
        text_attr("url.full", "https://example.org/orders"),
        text_attr("server.address", "example.org"),
        attr("server.port", Value::Int(443)),
        attr("http.response.status_code", Value::Int(200)),
        text_attr("network.protocol.version", "1.1"),
        text_attr("user_agent.original", "python-requests"),
    ]
}
