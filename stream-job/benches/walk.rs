//! Spans per CPU-second of the walk alone, and of the walk with fingerprints and validation, from memory.
//!
//! `cargo bench -p stream-job --bench walk`: 512 spans of about 1 kB with 6 to 15 attributes, 64 a message; medians
//! of 5 runs of at least 0.4 s of the thread's CPU time each, so that a busy machine disturbs them less.

use std::hint::black_box;
use std::time::Duration;

use stream_job::decode::encode::{self, attr, text_attr};
use stream_job::decode::protobuf::{WalkOptions, Walker};
use stream_job::span::validate::Limits;
use stream_job::span::view::{ResourceView, ScopeView, SpanView, Value};
use stream_job::span::{fingerprint, validate};

const START_NS: u64 = 1_760_000_000_000_000_000;
const NOW_MS: i64 = 1_760_000_100_000;
const RUNS: usize = 5;
const RUN: Duration = Duration::from_millis(400);

fn main() {
    let messages: Vec<Vec<u8>> = (0..8).map(message).collect();
    let bytes: usize = messages.iter().map(Vec::len).sum();
    println!("{} B a span", bytes / (8 * 64));

    report("walk", &messages, |walker, message| {
        let mut attributes = 0;
        let spans = walker.walk(message, false, |_, _, span| {
            attributes += span.attributes.len()
        });
        black_box(attributes);
        spans.unwrap_or(0)
    });
    report("walk + fingerprint", &messages, |walker, message| {
        let mut sum = 0u128;
        let spans = walker.walk(message, false, |_, _, span| sum ^= fingerprint(span));
        black_box(sum);
        spans.unwrap_or(0)
    });
    report(
        "walk + validate + fingerprint",
        &messages,
        |walker, message| {
            let (mut sum, mut good) = (0u128, 0);
            let limits = Limits::default();
            let spans = walker.walk(message, false, |_, _, span| {
                good += usize::from(validate(span, &limits, NOW_MS).is_ok());
                sum ^= fingerprint(span);
            });
            black_box((sum, good));
            spans.unwrap_or(0)
        },
    );
}

fn report(what: &str, messages: &[Vec<u8>], run: impl Fn(&mut Walker, &[u8]) -> u32) {
    let mut walker = Walker::new(WalkOptions::default());
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let (start, mut spans) = (cpu_time(), 0u64);
            while cpu_time() - start < RUN {
                for message in messages {
                    spans += u64::from(run(&mut walker, black_box(message)));
                }
            }
            spans as f64 / (cpu_time() - start).as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "{what}: {:.2} M spans per CPU-second (median of {RUNS}, {:.2} to {:.2})",
        rates[RUNS / 2] / 1e6,
        rates[0] / 1e6,
        rates[RUNS - 1] / 1e6
    );
}

/// CPU time that this thread has used.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "Linux has had this clock since 2.6.12");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// A message of 64 spans: think steps with 15 attributes and long texts, act steps with 10, others with 6.
fn message(seed: u8) -> Vec<u8> {
    let question =
        "What does the forecast say about rain in the valley tomorrow morning? ".repeat(5);
    let answer = "The forecast says there will be light rain before nine, then sun. ".repeat(5);
    let ids: Vec<[u8; 16]> = (0..64u8)
        .map(|i| [seed, i, 7, i, 1, 2, 3, 4, i, 9, 9, 9, 5, 5, i, 1])
        .collect();
    let spans: Vec<SpanView<'_>> = (0..64usize)
        .map(|i| {
            let mut attributes = vec![
                text_attr("session.id", "4f6f2d0a-7d9b-4c39-9f0e-6f0a8e3f1c55"),
                text_attr("user.id", "user-1842"),
                text_attr("agent.step.type", "think"),
                text_attr("gen_ai.operation.name", "chat"),
                text_attr("input.value", &question),
                text_attr("output.value", &answer),
            ];
            if i % 3 != 0 {
                attributes.extend([
                    text_attr("gen_ai.tool.name", "weather_forecast"),
                    text_attr("gen_ai.tool.call.id", "call_2f9c1d77ab"),
                    attr("retry", Value::Bool(false)),
                    attr("agent.step.index", Value::Int(3)),
                ]);
            }
            if i % 3 == 2 {
                attributes.extend([
                    text_attr("gen_ai.request.model", "gpt-4o-mini"),
                    text_attr("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
                    attr("gen_ai.usage.input_tokens", Value::Int(1834)),
                    attr("gen_ai.usage.output_tokens", Value::Int(212)),
                    attr("agent.cost_usd", Value::Double(0.000_402)),
                ]);
            }
            SpanView {
                trace_id: &ids[i / 8],
                span_id: &ids[i][..8],
                parent_span_id: &ids[i / 8 * 8][..8],
                name: "chat gpt-4o-mini".into(),
                kind: 1,
                start_time_unix_nano: START_NS + i as u64 * 1_000_000,
                end_time_unix_nano: START_NS + i as u64 * 1_500_000,
                attributes,
                ..SpanView::default()
            }
        })
        .collect();
    let resource = ResourceView {
        attributes: vec![
            text_attr("service.name", "weather-agent"),
            text_attr("telemetry.sdk.language", "python"),
        ],
    };
    let scope = ScopeView {
        name: "agent_probe".into(),
        version: "0.1.0".into(),
    };
    encode::request(&resource, &scope, &spans)
}
