//! The fast generator for benchmarks: sessions are encoded once as OTLP protobuf, in three conventions, and ids, times and
//! texts are written into those bytes at known places for every trace. A trace is one turn of an agent, of eight spans,
//! sent as agent-probe sends: in messages of a trace's spans, with the trace id as key. Realism of sessions is the
//! simulator's job; this one's is to be faster than what is measured.

mod output;
mod template;
mod trace;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::cost::Cost;
use output::{KafkaOutput, Output, RecordingOutput};
use trace::{Traces, When};

/// Spans of every trace.
pub const SPANS_PER_TRACE: u64 = template::SPANS as u64;

/// Where messages go.
#[derive(Clone, Debug)]
pub enum Target {
    /// The topic `otlp_spans` of a broker.
    Kafka(String),
    /// A new recording in a folder.
    Recording(PathBuf),
}

/// What is generated.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Where messages go.
    pub target: Target,
    /// Spans in all, rounded up to whole traces.
    pub spans: u64,
    /// Sessions at a time.
    pub sessions: u64,
    /// Spans of a message: 1, 2, 4 or 8.
    pub per_message: usize,
    /// Whether traces consist of their root alone; a message then holds one span.
    pub roots_only: bool,
    /// Equal seeds (and starts, unless live) give equal messages.
    pub seed: u64,
    /// Start of the first trace, ns since 1970. Ignored when live.
    pub start_unix_nano: u64,
    /// Spans per second: of event time, and when live also of real time.
    pub rate: u64,
    /// Spans end when they are sent, and are sent at the rate, instead of as fast as possible.
    pub live: bool,
    /// Threads, each with a producer of its own.
    pub threads: u64,
}

/// What was generated.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Spans handed over and acknowledged.
    pub spans: u64,
    /// Messages handed over and acknowledged.
    pub messages: u64,
    /// Bytes of their values, uncompressed.
    pub bytes: u64,
    /// Messages that the broker did not take.
    pub failed: u64,
    /// Wall time, s.
    pub seconds: f64,
    /// Spans per second of wall time.
    pub spans_per_second: f64,
    /// CPU time that this process has used so far, s; with a producer, compression included.
    pub cpu_seconds: f64,
    /// How far sending was ever behind its plan, ms; only when live.
    pub behind_ms: u64,
}

/// Generates and waits until all is acknowledged.
///
/// # Errors
/// When an option is out of range, the target can't be written, or the broker refused a message.
pub fn run(options: &GenerateOptions) -> Result<Report> {
    check(options)?;
    let traces = options.spans.div_ceil(spans_per_trace(options));
    let words = trace::words(options.seed);
    let began = Instant::now();
    let threads = match options.target {
        Target::Kafka(_) => options.threads.min(traces),
        // Offsets of a recording are given in order.
        Target::Recording(_) => 1,
    };
    let reports: Result<Vec<Report>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let source = Traces::new(
                    options.seed,
                    options.sessions,
                    options.per_message,
                    Arc::clone(&words),
                );
                scope.spawn(move || {
                    let mine = (worker..traces).step_by(threads as usize);
                    generate(options, source, mine, began)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut total = Report::default();
    for report in reports? {
        total.spans += report.spans;
        total.messages += report.messages;
        total.bytes += report.bytes;
        total.failed += report.failed;
        total.behind_ms = total.behind_ms.max(report.behind_ms);
    }
    total.seconds = began.elapsed().as_secs_f64();
    total.cpu_seconds = Cost::of(std::process::id())?.cpu.as_secs_f64();
    total.spans_per_second = total.spans as f64 / total.seconds;
    if total.failed > 0 {
        bail!("the broker did not take {} messages", total.failed);
    }
    Ok(total)
}

fn spans_per_trace(options: &GenerateOptions) -> u64 {
    if options.roots_only {
        1
    } else {
        SPANS_PER_TRACE
    }
}

fn check(options: &GenerateOptions) -> Result<()> {
    if options.roots_only && options.per_message != 1 {
        bail!("traces of their root alone are sent one span a message");
    }
    if !matches!(options.per_message, 1 | 2 | 4 | 8) {
        bail!(
            "{} spans a message: choose 1, 2, 4 or 8, which divide a trace of {SPANS_PER_TRACE}",
            options.per_message
        );
    }
    for (name, value) in [
        ("spans", options.spans),
        ("sessions", options.sessions),
        ("rate", options.rate),
        ("threads", options.threads),
    ] {
        if value == 0 {
            bail!("{name} must be 1 or more");
        }
    }
    if options.live && matches!(options.target, Target::Recording(_)) {
        bail!("live pacing is for Kafka: a recording has no now");
    }
    Ok(())
}

/// The part of one thread.
fn generate(
    options: &GenerateOptions,
    mut source: Traces,
    numbers: impl Iterator<Item = u64>,
    began: Instant,
) -> Result<Report> {
    let mut output: Box<dyn Output> = match &options.target {
        Target::Kafka(bootstrap) => Box::new(KafkaOutput::connect(bootstrap, options.live)?),
        Target::Recording(folder) => Box::new(RecordingOutput::create(folder)?),
    };
    let mut report = Report::default();
    let spans = spans_per_trace(options);
    for number in numbers {
        // From the number alone: the same however many threads there are.
        let offset_ns = u128::from(number * spans) * 1_000_000_000 / u128::from(options.rate);
        let offset = Duration::from_nanos(u64::try_from(offset_ns)?);
        if options.live {
            let behind = pace(began + offset, output.as_mut());
            report.behind_ms = report.behind_ms.max(behind.as_millis() as u64);
        }
        let key = source.key(number);
        let parts = source.messages(number);
        // The root's message comes last.
        let first = if options.roots_only { parts - 1 } else { 0 };
        for part in first..parts {
            let when = if options.live {
                When::Ends(now_ns())
            } else {
                When::Starts(options.start_unix_nano + offset.as_nanos() as u64)
            };
            let message = source.message(number, part, when);
            report.messages += 1;
            report.bytes += message.len() as u64;
            output.send(&key, message)?;
        }
        report.spans += spans;
    }
    report.failed = output.finish()?;
    Ok(report)
}

/// Sleeps until the plan's instant; returns how far behind it was.
fn pace(plan: Instant, output: &mut dyn Output) -> Duration {
    loop {
        let now = Instant::now();
        if now >= plan {
            return now - plan;
        }
        output.poll();
        thread::sleep((plan - now).min(Duration::from_millis(1)));
    }
}

fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(folder: &std::path::Path, seed: u64) -> GenerateOptions {
        GenerateOptions {
            target: Target::Recording(folder.to_path_buf()),
            spans: 4_000,
            sessions: 20,
            per_message: 4,
            roots_only: false,
            seed,
            start_unix_nano: 1_780_000_000_000_000_000,
            rate: 1_000,
            live: false,
            threads: 2,
        }
    }

    fn bytes(folder: &std::path::Path) -> Vec<Vec<u8>> {
        (0..6)
            .map(|p| std::fs::read(folder.join(format!("otlp_spans/{p}.log"))).unwrap())
            .collect()
    }

    #[test]
    fn equal_seeds_give_equal_recordings_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let report = run(&options(&path("a"), 7)).unwrap();
        run(&options(&path("b"), 7)).unwrap();
        run(&options(&path("c"), 8)).unwrap();
        assert_eq!((report.spans, report.messages), (4_000, 1_000));
        assert!(bytes(&path("a")) == bytes(&path("b")));
        assert!(bytes(&path("a")) != bytes(&path("c")));
        assert!(
            bytes(&path("a"))
                .iter()
                .all(|partition| !partition.is_empty())
        );
    }

    #[test]
    fn a_trace_of_its_root_alone_is_one_message_of_one_span() {
        let folder = tempfile::tempdir().unwrap();
        let report = run(&GenerateOptions {
            roots_only: true,
            per_message: 1,
            spans: 1_001,
            ..options(folder.path(), 7)
        });
        let report = report.unwrap();
        assert_eq!((report.spans, report.messages), (1_001, 1_001));
        let refused = run(&GenerateOptions {
            roots_only: true,
            ..options(folder.path(), 7)
        });
        assert!(refused.is_err());
    }

    #[test]
    fn a_span_is_about_as_large_as_an_agents_span() {
        let folder = tempfile::tempdir().unwrap();
        let report = run(&options(folder.path(), 7)).unwrap();
        let each = report.bytes / report.spans;
        assert!((1_050..1_130).contains(&each), "{each} bytes a span");
    }
}
