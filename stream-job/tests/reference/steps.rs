//! The spans of made traces: what agents do, and what their spans say.

use stream_job::decode::encode::{attr, request, text_attr};
use stream_job::span::view::{Attr, EventView, ResourceView, ScopeView, SpanView, Value};

use super::recording::{Dice, SECOND_US};

pub(super) struct Made {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: String,
    pub start_us: i64,
    pub end_us: i64,
    pub texts: Vec<(&'static str, String)>,
    pub numbers: Vec<(&'static str, i64)>,
    pub cost_usd: f64,
    pub status: i32,
    pub exception: bool,
}

pub(super) fn id(dice: &mut Dice) -> [u8; 8] {
    (dice.next() | 1).to_be_bytes()
}

/// A duration in µs, from none to some ten seconds.
pub(super) fn duration(dice: &mut Dice) -> i64 {
    let magnitude = dice.below(25);
    let within = dice.below(1 << magnitude);
    within as i64
}

/// The steps below a root; `parent` is `None` where it is the root.
pub(super) fn steps(dice: &mut Dice, trace: [u8; 16], begin_us: i64) -> Vec<Made> {
    let mut spans: Vec<Made> = Vec::new();
    let mut at_us = begin_us;
    // Some agents call one tool with equal arguments again and again.
    let stuck = dice.chance(15);
    for step in 0..2 + dice.below(8) {
        at_us += dice.time(SECOND_US);
        let parent = spans.last().filter(|_| dice.chance(25)).map(|span| span.id);
        let mut span = Made {
            trace,
            id: id(dice),
            parent,
            name: String::new(),
            start_us: at_us,
            end_us: at_us + duration(dice),
            texts: Vec::new(),
            numbers: Vec::new(),
            cost_usd: 0.0,
            status: if dice.chance(12) {
                2
            } else {
                dice.below(2) as i32
            },
            exception: dice.chance(5),
        };
        let kind = if stuck { 1 } else { dice.below(8) };
        match kind {
            0..=2 if kind == 1 || !stuck && kind == 2 => act(dice, stuck, &mut span),
            5 => other(dice, &mut span),
            6 if step > 2 => nested(&mut span),
            _ => think(dice, &mut span),
        }
        at_us = at_us.max(span.end_us.min(at_us + SECOND_US));
        spans.push(span);
    }
    spans
}

fn act(dice: &mut Dice, stuck: bool, span: &mut Made) {
    let tool = if stuck {
        "search"
    } else {
        *dice.one_of(&["search", "fetch", "write"])
    };
    let arguments = if stuck { 0 } else { dice.below(3) };
    span.name = format!("execute_tool {tool}");
    span.texts.push(("agent.step.type", "act".to_owned()));
    span.texts.push(("gen_ai.tool.name", tool.to_owned()));
    let arguments = format!("{{\"query\": \"{arguments}\"}}");
    span.texts.push(("gen_ai.tool.call.arguments", arguments));
    if dice.chance(30) {
        let size = 200 + dice.below(200) as usize;
        let result = "结果 result ".repeat(size / 10);
        span.texts.push(("gen_ai.tool.call.result", result));
    }
}

fn think(dice: &mut Dice, span: &mut Made) {
    let model = *dice.one_of(&["gpt-x", "qwen-y", ""]);
    span.name = format!("chat {model}");
    span.texts
        .push(("gen_ai.operation.name", "chat".to_owned()));
    if !model.is_empty() {
        span.texts.push(("gen_ai.request.model", model.to_owned()));
    }
    let tokens = |dice: &mut Dice| dice.below(5_000) as i64;
    span.numbers
        .push(("gen_ai.usage.input_tokens", tokens(dice)));
    span.numbers
        .push(("gen_ai.usage.output_tokens", tokens(dice)));
    span.cost_usd = dice.below(90_000) as f64 / 1e6;
}

fn other(dice: &mut Dice, span: &mut Made) {
    let kind = *dice.one_of(&["EMBEDDING", "RETRIEVER", "CHAIN", "GUARDRAIL"]);
    span.name = kind.to_lowercase();
    span.texts
        .push(("openinference.span.kind", kind.to_owned()));
}

fn nested(span: &mut Made) {
    span.name = "invoke_agent helper".to_owned();
    span.texts.push(("agent.step.type", "session".to_owned()));
}

/// Spans with the id of another one, and other content; some differ in an attribute only.
pub(super) fn twins(dice: &mut Dice, spans: &mut Vec<Made>) {
    if !dice.chance(10) {
        return;
    }
    let original = dice.one_of(spans);
    let mut twin = Made {
        trace: original.trace,
        id: original.id,
        parent: original.parent,
        name: original.name.clone(),
        start_us: original.start_us,
        end_us: original.end_us,
        texts: original.texts.clone(),
        numbers: original.numbers.clone(),
        cost_usd: original.cost_usd,
        status: original.status,
        exception: original.exception,
    };
    twin.texts.push(("twin", "yes".to_owned()));
    if dice.chance(50) {
        twin.texts.insert(0, ("agent.step.type", "act".to_owned()));
        twin.parent = Some(id(dice));
    }
    spans.push(twin);
}

pub(super) fn encode(dice: &mut Dice, namespace: &str, service: &str, spans: &[Made]) -> Vec<u8> {
    let mut resource = vec![text_attr("service.name", service)];
    if !namespace.is_empty() {
        resource.push(text_attr("service.namespace", namespace));
    }
    let resource = ResourceView {
        attributes: resource,
    };
    let scope = ScopeView {
        name: "made".into(),
        version: "1".into(),
    };
    let mut views: Vec<SpanView<'_>> = spans.iter().map(view).collect();
    if dice.chance(4) {
        // A span that is rejected while the rest of its record lands.
        let mut bad = view(&spans[0]);
        match dice.below(3) {
            0 => bad.trace_id = &[0; 16],
            1 => bad.span_id = &[1; 3],
            _ => bad.end_time_unix_nano = 1_000,
        }
        let place = dice.below(views.len() as u64 + 1) as usize;
        views.insert(place, bad);
    }
    request(&resource, &scope, &views)
}

fn view(span: &Made) -> SpanView<'_> {
    let nanos = |us: i64| (us * 1_000) as u64;
    let texts = span.texts.iter().map(|(key, text)| text_attr(key, text));
    let numbers = span
        .numbers
        .iter()
        .map(|(key, number)| attr(key, Value::Int(*number)));
    let mut attributes: Vec<Attr<'_>> = texts.chain(numbers).collect();
    if span.cost_usd > 0.0 {
        attributes.push(attr("gen_ai.usage.cost", Value::Double(span.cost_usd)));
    }
    let exception = EventView {
        time_unix_nano: nanos(span.end_us),
        name: "exception".into(),
        attributes: vec![
            text_attr("exception.type", "Timeout"),
            text_attr("exception.message", "too slow"),
        ],
    };
    SpanView {
        trace_id: &span.trace,
        span_id: &span.id,
        parent_span_id: span.parent.as_ref().map_or(&[], |parent| parent),
        name: span.name.as_str().into(),
        kind: 1,
        start_time_unix_nano: nanos(span.start_us),
        end_time_unix_nano: nanos(span.end_us),
        attributes,
        events: if span.exception {
            vec![exception]
        } else {
            Vec::new()
        },
        status_code: span.status,
        ..SpanView::default()
    }
}
