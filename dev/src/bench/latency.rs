//! A steady load on everything at once: how soon a span is visible, and whether one is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::cost::Cost;
use crate::generate::{self, GenerateOptions, Target};
use crate::paths::Home;
use crate::system::{System, SystemOptions};

use super::{BenchOptions, Spread, print_line, scratch};

const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// One run.
#[derive(Clone, Debug)]
struct Run {
    sent: u64,
    delay: Delay,
    cores: BTreeMap<&'static str, f64>,
    peak_resident_mib: f64,
}

/// How long the acknowledgements of the last epochs may take to reach `ads_freshness`.
const TOLD_LIMIT: Duration = Duration::from_secs(15);

/// From a span's end to the acknowledgement of its rows, ms: what `ads_freshness` says.
#[derive(Clone, Debug, Deserialize)]
struct Delay {
    landed: u64,
    /// Spans whose delay is told.
    told: u64,
    p50: f64,
    p99: f64,
    greatest: f64,
}

const DELAY: &str = "
SELECT
    (SELECT count() FROM dwd_span) AS landed,
    sum(spans) AS told,
    spanflow_quantile(0.5, sumMap(delay_buckets)) AS p50,
    spanflow_quantile(0.99, sumMap(delay_buckets)) AS p99,
    max(delay_max_ms) AS greatest
FROM ads_freshness_latest";

pub(super) fn run(options: &BenchOptions) -> Result<()> {
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = one_run(options, number as u64)?;
        eprintln!(
            "  latency {number}/{}: p50 {} ms, p99 {} ms",
            options.runs, run.delay.p50, run.delay.p99
        );
        runs.push(run);
    }
    print(options, &runs);
    let lost: u64 = runs
        .iter()
        .map(|run| run.sent - run.delay.landed.min(run.sent))
        .sum();
    if lost > 0 {
        bail!("{lost} spans were lost");
    }
    Ok(())
}

fn one_run(options: &BenchOptions, number: u64) -> Result<Run> {
    let folder = scratch()?;
    let mut system = System::start(SystemOptions {
        quick_start: false,
        ..SystemOptions::in_folder(Home::at(folder.path()))
    })?;
    let before = costs(&system)?;
    let report = generate::run(&GenerateOptions {
        target: Target::Kafka(system.kafka.bootstrap()),
        spans: options.rate * options.seconds,
        sessions: options.sessions,
        per_message: 8,
        roots_only: false,
        seed: options.seed + number,
        start_unix_nano: 0,
        rate: options.rate,
        live: true,
        // One is enough for the rate, and leaves the other core to what is measured.
        threads: 1,
    })?;
    let after = costs(&system)?;
    if report.behind_ms > 100 {
        eprintln!(
            "  NOTE: sending was up to {} ms behind its plan: the machine is busy with something else",
            report.behind_ms
        );
    }
    system.wait_until_drained(DRAIN_LIMIT)?;
    let delay = delay(&system)?;
    let cores = before
        .iter()
        .zip(&after)
        .map(|((name, before), (_, after))| {
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            (*name, cpu / report.seconds)
        });
    let run = Run {
        sent: report.spans,
        delay,
        cores: cores.collect(),
        peak_resident_mib: Cost::of(system.job.pid())?.peak_resident as f64 / f64::from(1 << 20),
    };
    system.stop()?;
    Ok(run)
}

/// Asks until the delay of every span that landed is told.
fn delay(system: &System) -> Result<Delay> {
    let since = Instant::now();
    loop {
        let delay: Delay = system.sql().row(DELAY)?;
        if delay.told >= delay.landed || since.elapsed() > TOLD_LIMIT {
            return Ok(delay);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn costs(system: &System) -> Result<Vec<(&'static str, Cost)>> {
    Ok(vec![
        ("stream job", Cost::of(system.job.pid())?),
        ("warehouse", Cost::of(system.warehouse.pid())?),
        ("Kafka", Cost::of(system.kafka.pid())?),
        ("generator", Cost::of(std::process::id())?),
    ])
}

fn print(options: &BenchOptions, runs: &[Run]) {
    let of = |number: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(number));
    println!(
        "\n{} sessions, {} spans/s for {} s, everything on this machine (median of {}, least to greatest)",
        options.sessions,
        options.rate,
        options.seconds,
        runs.len()
    );
    print_line(
        "spans lost",
        of(&|run| run.sent as f64 - run.delay.landed as f64),
        "",
    );
    print_line(
        "delay, span end to row visible, p50",
        of(&|run| run.delay.p50),
        "ms",
    );
    print_line(
        "delay, span end to row visible, p99",
        of(&|run| run.delay.p99),
        "ms",
    );
    print_line(
        "delay, span end to row visible, most",
        of(&|run| run.delay.greatest),
        "ms",
    );
    print_line(
        "largest resident memory of the job",
        of(&|run| run.peak_resident_mib),
        "MiB",
    );
    for name in ["stream job", "warehouse", "Kafka", "generator"] {
        let cores = of(&|run| run.cores.get(name).copied().unwrap_or(f64::NAN));
        print_line(&format!("CPU of: {name}"), cores, "cores");
    }
}
