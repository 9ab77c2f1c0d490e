//! What building and encoding `dwd_span` and `ods_record` costs: blocks of 40,000 rows, spans of 12 attributes.
//!
//! `cargo run --release --example sink_cost -p stream-job`

use std::time::{Duration, Instant};

use stream_job::sink::block;
use stream_job::sink::tables::{Contents, DwdSpan, OdsRecord, Origin, RecordOutcome, Stamp, Table};
use stream_job::source::Record;
use stream_job::span::clean::{CleanSpan, Convention, Status, StepType};
use stream_job::span::view::{Attr, Value};

const SPANS: u64 = 40_000;
const ROUNDS: usize = 9;
const STAMP: Stamp = Stamp {
    epoch: 1,
    shard: 0,
    ingest_ms: 1_700_000_000_000,
};

fn text<'a>(key: &'a str, value: &'a str) -> Attr<'a> {
    Attr {
        key: key.into(),
        value: Value::Str(value.into()),
    }
}

fn attributes<'a>(input: &'a str, output: &'a str) -> Vec<Attr<'a>> {
    let number = |key: &'a str, value| Attr {
        key: key.into(),
        value: Value::Int(value),
    };
    vec![
        text("agent.step.type", "think"),
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4.1-mini"),
        text("gen_ai.response.model", "gpt-4.1-mini-2025-04-14"),
        number("gen_ai.usage.input_tokens", 1_234),
        number("gen_ai.usage.output_tokens", 321),
        text("session.id", "0a1b2c3d-session-0001"),
        text("user.id", "user-4711"),
        text("input.value", input),
        text("output.value", output),
        number("agent.step.no", 3),
    ]
}

fn span<'a>(number: u64, attributes: &'a [Attr<'a>], resource: &'a [Attr<'a>]) -> CleanSpan<'a> {
    let texts = ["input.value", "output.value"].map(|key| {
        let found = attributes.iter().find(|attr| attr.key == key);
        match found.map(|attr| &attr.value) {
            Some(Value::Str(text)) => text.as_ref(),
            _ => "",
        }
    });
    CleanSpan {
        index: (number % 20) as u32,
        trace_id: u128::from(number / 8 * 0x9e37_79b9_7f4a_7c15).to_be_bytes(),
        span_id: number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(),
        parent_span_id: number.to_be_bytes(),
        trace_ref: "".into(),
        span_ref: "".into(),
        parent_span_ref: "".into(),
        start_us: 1_700_000_000_000_000 + number as i64 * 20,
        end_us: 1_700_000_000_900_000 + number as i64 * 20,
        duration_us: 900_000,
        namespace: "".into(),
        agent: ["planner", "coder", "support", "analyst"][number as usize % 4].into(),
        agent_name: "planner".into(),
        service_name: "agents".into(),
        name: ["chat gpt-4.1-mini", "execute_tool search", "invoke_agent"][number as usize % 3]
            .into(),
        kind: "client",
        scope: "agent_probe".into(),
        scope_version: "0.1.0".into(),
        session_id: "0a1b2c3d-session-0001".into(),
        conversation_id: "".into(),
        user_id: "user-4711".into(),
        step_type: StepType::ALL[number as usize % 3],
        step_no: 3,
        convention: Convention::Agent,
        model: "gpt-4.1-mini-2025-04-14".into(),
        provider: "openai".into(),
        tool_name: "".into(),
        status: Status::Ok,
        status_message: "".into(),
        error_type: "".into(),
        error_message: "".into(),
        error_stack: "".into(),
        input_tokens: 1_234,
        output_tokens: 321,
        cache_read_tokens: 0,
        cost_nanousd: 1_000,
        args_hash: 0,
        input: texts[0].into(),
        output: texts[1].into(),
        attributes,
        resource,
        trace_state: "".into(),
        events: &[],
        links: &[],
    }
}

struct NoContents;

impl Contents for NoContents {
    fn offer(&mut self, _: u128, _: &str) {}
}

fn report(what: &str, mut rounds: Vec<(Duration, Duration)>, bytes: usize) {
    rounds.sort();
    let (build, cut) = rounds[rounds.len() / 2];
    let each = |time: Duration| time.as_secs_f64() * 1e6 / SPANS as f64;
    println!(
        "{what}: build {:.2} µs + sort and encode {:.2} µs = {:.2} µs a row, {} bytes a row",
        each(build),
        each(cut),
        each(build + cut),
        bytes / SPANS as usize
    );
}

/// Medians of several rounds of building and cutting.
fn measure<T: Table>(what: &str, table: &mut T, mut push: impl FnMut(&mut T, u64)) {
    let mut bytes = 0;
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        (0..SPANS).for_each(|number| push(table, number));
        let built = start.elapsed();
        bytes = block::cut(table, 0, 1)
            .iter()
            .map(block::Block::bytes)
            .sum();
        (built, start.elapsed() - built)
    });
    let rounds = rounds.collect();
    report(what, rounds, bytes);
}

fn main() {
    let resource = [
        text("service.name", "agents"),
        text("service.instance.id", "host-1:4711"),
        text("telemetry.sdk.language", "python"),
    ];
    let origin = |number| Origin {
        topic: "otlp_spans",
        partition: 1,
        offset: number as i64,
    };
    for (what, length) in [
        ("dwd_span, texts of 100 characters", 100),
        ("dwd_span, texts of 600", 600),
    ] {
        let (input, output) = ("i".repeat(length), "o".repeat(length));
        let attributes = attributes(&input, &output);
        measure(what, &mut DwdSpan::default(), |spans, number| {
            let span = span(number, &attributes, &resource);
            let fingerprint = u128::from(number);
            spans.push(
                &span,
                &origin(number),
                fingerprint,
                false,
                &STAMP,
                &mut NoContents,
            );
        });
    }
    let record = Record {
        offset: 0,
        timestamp_ms: 1_700_000_000_000,
        key: None,
        headers: Vec::new(),
        payload: Some(vec![7; 1_090]),
    };
    measure(
        "ods_record of 1,090 bytes",
        &mut OdsRecord::default(),
        |records, number| {
            records.push(
                &record,
                &origin(number),
                "protobuf",
                RecordOutcome::default(),
                &STAMP,
            );
        },
    );
}
