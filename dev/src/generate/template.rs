//! Traces of agents, encoded once: three conventions, several agents, some with a failing tool. A trace is one turn of an
//! agent: a root with think and act steps in turn.

use super::wire::{Encoded, Piece, Slot};

/// Spans of a trace: the root, then think, act, think, act, think, act, think.
pub(super) const SPANS: usize = 8;

/// One trace, to be filled in.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Its messages, in the order in which they are sent; the root's comes last.
    pub(super) messages: Vec<Encoded>,
    /// When each span starts and ends, µs after the trace's start.
    pub(super) times_us: [(u64, u64); SPANS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Convention {
    OpenInference,
    GenAi,
    OpenLlmetry,
}

const AGENTS: [(&str, Convention); 6] = [
    ("support-desk", Convention::OpenInference),
    ("code-reviewer", Convention::GenAi),
    ("travel-planner", Convention::OpenLlmetry),
    ("data-analyst", Convention::OpenInference),
    ("ops-runbook", Convention::GenAi),
    ("research-writer", Convention::OpenLlmetry),
];
const MODELS: [&str; 3] = ["gpt-4o-mini", "claude-sonnet-4", "qwen2.5-72b-instruct"];
const TOOLS: [&str; 5] = [
    "search_web",
    "run_sql",
    "read_file",
    "http_get",
    "calculator",
];
/// Variants of each agent's trace; in the last one a tool fails.
const VARIANTS: usize = 4;

/// All templates: those of one agent lie together.
pub(super) fn all(per_message: usize) -> Vec<Template> {
    (0..AGENTS.len() * VARIANTS)
        .map(|number| template(number / VARIANTS, number % VARIANTS, per_message))
        .collect()
}

/// How many templates each agent has.
pub(super) const fn variants() -> usize {
    VARIANTS
}

fn template(agent: usize, variant: usize, per_message: usize) -> Template {
    // The root ends last, so it is sent last.
    let order: Vec<usize> = (1..SPANS).chain([0]).collect();
    let messages = order
        .chunks(per_message)
        .map(|spans| message(agent, variant, spans))
        .collect();
    Template {
        messages,
        times_us: times(variant),
    }
}

/// Think steps of 0.6 s to 1.5 s, tools of 0.08 s to 0.4 s, one after the other.
fn times(variant: usize) -> [(u64, u64); SPANS] {
    let mut times = [(0, 0); SPANS];
    let mut now = 2_000;
    for (span, time) in times.iter_mut().enumerate().skip(1) {
        let step = if span % 2 == 1 { 600_000 } else { 80_000 };
        let length = step * (10 + ((span * 7 + variant * 5) % 16) as u64) / 10;
        *time = (now, now + length);
        now += length + 1_500;
    }
    times[0] = (0, now);
    times
}

fn message(agent: usize, variant: usize, spans: &[usize]) -> Encoded {
    let (name, convention) = AGENTS[agent];
    let instance = format!("{name}-7d9f{agent}-{variant}");
    let resource = Encoded::default()
        .text_attribute(1, "service.name", &[Piece::Fixed(name)])
        .text_attribute(1, "service.instance.id", &[Piece::Fixed(&instance)])
        .text_attribute(1, "telemetry.sdk.language", &[Piece::Fixed("python")])
        .text_attribute(1, "telemetry.sdk.name", &[Piece::Fixed("opentelemetry")])
        .text_attribute(1, "telemetry.sdk.version", &[Piece::Fixed("1.38.0")]);
    let (scope, version) = match convention {
        Convention::OpenInference => ("openinference.instrumentation.openai_agents", "1.4.0"),
        Convention::GenAi => ("opentelemetry.instrumentation.openai_v2", "2.1b0"),
        Convention::OpenLlmetry => ("opentelemetry.instrumentation.langchain", "0.47.5"),
    };
    let mut scope_spans =
        Encoded::default().message(1, Encoded::default().string(1, scope).string(2, version));
    for &number in spans {
        scope_spans = scope_spans.message(2, span(agent, variant, number));
    }
    let resource_spans = Encoded::default()
        .message(1, resource)
        .message(2, scope_spans);
    Encoded::default().message(1, resource_spans)
}

/// What kind of step a span of the trace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Root,
    Think,
    Act,
}

fn span(agent: usize, variant: usize, number: usize) -> Encoded {
    let (agent_name, convention) = AGENTS[agent];
    let step = match number {
        0 => Step::Root,
        odd if odd % 2 == 1 => Step::Think,
        _ => Step::Act,
    };
    let model = MODELS[(agent + variant) % MODELS.len()];
    let tool = TOOLS[(agent + number / 2) % TOOLS.len()];
    let name = match (convention, step) {
        (Convention::GenAi, Step::Root) => format!("invoke_agent {agent_name}"),
        (Convention::GenAi, Step::Think) => format!("chat {model}"),
        (Convention::GenAi, Step::Act) => format!("execute_tool {tool}"),
        (_, Step::Root) => agent_name.to_owned(),
        (Convention::OpenInference, Step::Think) => "ChatCompletion".to_owned(),
        (_, Step::Think) => "openai.chat".to_owned(),
        (_, Step::Act) => tool.to_owned(),
    };
    let kind = if step == Step::Think { 3 } else { 1 };
    let mut span = Encoded::default()
        .open_bytes(1, Slot::TraceId)
        .open_bytes(2, Slot::SpanId(number));
    if step != Step::Root {
        span = span.open_bytes(4, Slot::SpanId(0));
    }
    span = span
        .string(5, &name)
        .number(6, kind)
        .open_fixed64(7, Slot::Start(number))
        .open_fixed64(8, Slot::End(number));
    let tokens = 180 + 61 * number as u64 + 17 * variant as u64;
    span = match convention {
        Convention::OpenInference => open_inference(span, step, model, tool, tokens),
        Convention::GenAi => gen_ai(span, step, agent_name, model, tool, tokens),
        Convention::OpenLlmetry => open_llmetry(span, step, agent_name, model, tool, tokens),
    };
    if step == Step::Act && number == 4 && variant == VARIANTS - 1 {
        return failed(span, number);
    }
    span.message(15, Encoded::default().number(3, 1))
}

fn failed(span: Encoded, number: usize) -> Encoded {
    let message = "the upstream service did not answer within 30 s";
    let event = Encoded::default()
        .open_fixed64(1, Slot::End(number))
        .string(2, "exception")
        .text_attribute(3, "exception.type", &[Piece::Fixed("TimeoutError")])
        .text_attribute(3, "exception.message", &[Piece::Fixed(message)]);
    span.message(11, event)
        .message(15, Encoded::default().string(2, message).number(3, 2))
}

const SESSION: [Piece<'static>; 2] = [Piece::Fixed("session-"), Piece::Open(Slot::SessionDigits)];
const USER: [Piece<'static>; 2] = [Piece::Fixed("user-"), Piece::Open(Slot::UserDigits)];

fn text(length: usize) -> Piece<'static> {
    Piece::Open(Slot::Text(length))
}

fn open_inference(span: Encoded, step: Step, model: &str, tool: &str, tokens: u64) -> Encoded {
    let kind = match step {
        Step::Root => "AGENT",
        Step::Think => "LLM",
        Step::Act => "TOOL",
    };
    let span = span
        .text_attribute(9, "openinference.span.kind", &[Piece::Fixed(kind)])
        .text_attribute(9, "session.id", &SESSION)
        .text_attribute(9, "user.id", &USER);
    match step {
        Step::Root => span
            .text_attribute(9, "input.value", &[text(265)])
            .text_attribute(9, "output.value", &[text(445)]),
        Step::Think => span
            .text_attribute(9, "llm.model_name", &[Piece::Fixed(model)])
            .number_attribute(9, "llm.token_count.prompt", tokens * 4)
            .number_attribute(9, "llm.token_count.completion", tokens)
            .text_attribute(
                9,
                "llm.input_messages.0.message.role",
                &[Piece::Fixed("user")],
            )
            .text_attribute(9, "llm.input_messages.0.message.content", &[text(325)])
            .text_attribute(9, "output.value", &[text(315)]),
        Step::Act => span
            .text_attribute(9, "tool.name", &[Piece::Fixed(tool)])
            .text_attribute(9, "input.value", &json("query", 180))
            .text_attribute(9, "output.value", &[text(505)]),
    }
}

fn gen_ai(span: Encoded, step: Step, agent: &str, model: &str, tool: &str, tokens: u64) -> Encoded {
    let operation = match step {
        Step::Root => "invoke_agent",
        Step::Think => "chat",
        Step::Act => "execute_tool",
    };
    let span = span
        .text_attribute(9, "gen_ai.operation.name", &[Piece::Fixed(operation)])
        .text_attribute(9, "gen_ai.provider.name", &[Piece::Fixed("openai")])
        .text_attribute(9, "gen_ai.conversation.id", &SESSION)
        .text_attribute(9, "user.id", &USER);
    match step {
        Step::Root => span
            .text_attribute(9, "gen_ai.agent.name", &[Piece::Fixed(agent)])
            .text_attribute(9, "gen_ai.input.messages", &messages("user", 255))
            .text_attribute(9, "gen_ai.output.messages", &messages("assistant", 385)),
        Step::Think => span
            .text_attribute(9, "gen_ai.request.model", &[Piece::Fixed(model)])
            .text_attribute(9, "gen_ai.response.model", &[Piece::Fixed(model)])
            .number_attribute(9, "gen_ai.usage.input_tokens", tokens * 4)
            .number_attribute(9, "gen_ai.usage.output_tokens", tokens)
            .text_attribute(9, "gen_ai.input.messages", &messages("user", 275))
            .text_attribute(9, "gen_ai.output.messages", &messages("assistant", 275)),
        Step::Act => span
            .text_attribute(9, "gen_ai.tool.name", &[Piece::Fixed(tool)])
            .text_attribute(9, "gen_ai.tool.call.arguments", &json("query", 180))
            .text_attribute(9, "gen_ai.tool.call.result", &[text(485)]),
    }
}

fn open_llmetry(
    span: Encoded,
    step: Step,
    agent: &str,
    model: &str,
    tool: &str,
    tokens: u64,
) -> Encoded {
    let span = span
        .text_attribute(9, "traceloop.workflow.name", &[Piece::Fixed(agent)])
        .text_attribute(9, "traceloop.association.properties.session_id", &SESSION)
        .text_attribute(9, "traceloop.association.properties.user_id", &USER);
    match step {
        Step::Root => span
            .text_attribute(9, "traceloop.span.kind", &[Piece::Fixed("workflow")])
            .text_attribute(9, "traceloop.entity.name", &[Piece::Fixed(agent)])
            .text_attribute(9, "traceloop.entity.input", &[text(265)])
            .text_attribute(9, "traceloop.entity.output", &[text(425)]),
        Step::Think => span
            .text_attribute(9, "gen_ai.operation.name", &[Piece::Fixed("chat")])
            .text_attribute(9, "gen_ai.system", &[Piece::Fixed("OpenAI")])
            .text_attribute(9, "gen_ai.response.model", &[Piece::Fixed(model)])
            .number_attribute(9, "gen_ai.usage.prompt_tokens", tokens * 4)
            .number_attribute(9, "gen_ai.usage.completion_tokens", tokens)
            .text_attribute(9, "gen_ai.prompt.0.role", &[Piece::Fixed("user")])
            .text_attribute(9, "gen_ai.prompt.0.content", &[text(295)])
            .text_attribute(9, "gen_ai.completion.0.content", &[text(295)]),
        Step::Act => span
            .text_attribute(9, "traceloop.span.kind", &[Piece::Fixed("tool")])
            .text_attribute(9, "traceloop.entity.name", &[Piece::Fixed(tool)])
            .text_attribute(9, "traceloop.entity.input", &json("query", 190))
            .text_attribute(9, "traceloop.entity.output", &[text(475)]),
    }
}

fn json(key: &'static str, length: usize) -> [Piece<'static>; 5] {
    [
        Piece::Fixed("{\""),
        Piece::Fixed(key),
        Piece::Fixed("\":\""),
        text(length),
        Piece::Fixed("\"}"),
    ]
}

fn messages(role: &'static str, length: usize) -> [Piece<'static>; 5] {
    [
        Piece::Fixed("[{\"role\":\""),
        Piece::Fixed(role),
        Piece::Fixed("\",\"parts\":[{\"type\":\"text\",\"content\":\""),
        text(length),
        Piece::Fixed("\"}]}]"),
    ]
}
