//! A backlog and its drain: pauses for checkpoints, CPU time, resident memory over time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::bench::{BenchOptions, Spread, print_line};
use crate::cost::{self, Cost};
use crate::generate::{self, GenerateOptions, Target};
use crate::system::System;
use crate::wait;

use super::{RUN_LIMIT, metrics, now_ns, value};

const SAMPLE: Duration = Duration::from_millis(250);

/// A backlog, from the start of a process to its last span landed.
pub(super) struct Drain {
    wall: Duration,
    cpu: Duration,
    /// Of the thread that encodes and writes state files.
    cpu_of_files: Duration,
    /// Workers' pauses together, and how many.
    paused: Duration,
    pauses: u64,
    /// Pauses by upper bound in seconds, cumulative.
    buckets: Vec<(f64, u64)>,
    spans: u64,
    /// Resident memory from the first span landed on, bytes, evenly in time.
    resident: Vec<u64>,
}

/// Puts a backlog into the broker while the job is stopped, and has the job drain it.
pub(super) fn drain(options: &BenchOptions, system: &mut System, event_rate: u64) -> Result<Drain> {
    if !system.job.stop() {
        bail!("the stream job did not stop in time and was killed");
    }
    let length_ns = options.backlog * 1_000_000_000 / event_rate;
    let report = generate::run(&GenerateOptions {
        target: Target::Kafka(system.kafka.bootstrap()),
        spans: options.backlog,
        sessions: options.sessions,
        per_message: 8,
        roots_only: false,
        // Other spans than those of the fill.
        seed: options.seed + 1_000,
        start_unix_nano: now_ns()?.saturating_sub(length_ns),
        rate: event_rate,
        live: false,
        threads: 2,
    })?;
    let before = system.sql().number("SELECT count() FROM dwd_span")?;
    let began = Instant::now();
    let job = &mut system.job;
    job.restart_unready()?;
    let mut resident = Vec::new();
    let (wall, cost, cpu_of_files, text) =
        wait::until("the backlog was not drained", RUN_LIMIT, SAMPLE, || {
            job.process().check_alive()?;
            let wall = began.elapsed();
            let cost = Cost::of(job.pid())?;
            let cpu_of_files = cost::cpu_of_threads(job.pid(), "checkpoint")?;
            let text = metrics(job)?;
            let landed = value(&text, "spanflow_spans_landed_total").unwrap_or(0.0);
            if landed > 0.0 {
                resident.push(cost::resident(job.pid())?);
            }
            Ok((landed >= report.spans as f64).then_some((wall, cost, cpu_of_files, text)))
        })?;
    system.wait_until_drained(RUN_LIMIT)?;
    let landed = system.sql().number("SELECT count() FROM dwd_span")? - before;
    ensure!(
        landed == report.spans,
        "{} spans were sent and {landed} landed: no number counts",
        report.spans
    );
    let pause = |part: &str| value(&text, &format!("spanflow_checkpoint_pause_seconds_{part}"));
    Ok(Drain {
        wall,
        cpu: cost.cpu,
        cpu_of_files,
        paused: Duration::from_secs_f64(pause("sum").unwrap_or(0.0)),
        pauses: pause("count").unwrap_or(0.0) as u64,
        buckets: buckets(&text),
        spans: report.spans,
        resident,
    })
}

pub(super) fn print_checkpoints(drain: &Drain) {
    let seconds = drain.wall.as_secs_f64();
    println!(
        "  {:.0} spans/s by the clock, {:.0} k spans per core-second, {} pauses",
        drain.spans as f64 / seconds,
        drain.spans as f64 / drain.cpu.as_secs_f64() / 1e3,
        drain.pauses
    );
    if drain.pauses == 0 {
        println!("  no checkpoint was taken: choose a longer backlog");
        return;
    }
    let mean_ms = drain.paused.as_secs_f64() * 1e3 / drain.pauses as f64;
    println!("  a worker's pause for a checkpoint: mean {mean_ms:.0} ms");
    let mut below = 0;
    for &(bound, upto) in &drain.buckets {
        if upto > below {
            println!("    up to {:>6} ms: {}", bound * 1e3, upto - below);
        }
        below = upto;
    }
    let share = |part: Duration| 100.0 * part.as_secs_f64() / drain.cpu.as_secs_f64();
    println!(
        "  of the job's CPU time: saving {:.1} %, files {:.1} %",
        share(drain.paused),
        share(drain.cpu_of_files)
    );
}

pub(super) fn print_memory(drain: &Drain) {
    let resident = &drain.resident;
    let quarter = resident.len().div_ceil(4);
    let mib = |samples: &[u64]| {
        let samples = samples
            .iter()
            .map(|&bytes| bytes as f64 / f64::from(1 << 20));
        Spread::of(samples)
    };
    let (first, last) = (&resident[..quarter], &resident[resident.len() - quarter..]);
    print_line("resident memory, first quarter", mib(first), "MiB");
    print_line("resident memory, last quarter", mib(last), "MiB");
}

/// The histogram of pauses.
fn buckets(text: &str) -> Vec<(f64, u64)> {
    let buckets = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("spanflow_checkpoint_pause_seconds_bucket{le=\"")?;
        let (bound, count) = rest.split_once("\"} ")?;
        let bound = bound.replace("+Inf", "inf").parse().ok()?;
        Some((bound, count.parse().ok()?))
    });
    buckets.collect()
}

#[cfg(test)]
mod tests {
    use super::buckets;

    #[test]
    fn a_histogram_is_read_with_its_bounds() {
        let text = "spanflow_checkpoint_pause_seconds_bucket{le=\"0.1\"} 2\n\
            spanflow_checkpoint_pause_seconds_bucket{le=\"+Inf\"} 3\n\
            spanflow_checkpoint_pause_seconds_sum 0.2\n";
        assert_eq!(buckets(text), [(0.1, 2), (f64::INFINITY, 3)]);
    }
}
