//! A backlog: spans per core-second of the job's own process, Kafka to windows alone and Kafka to all layers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use crate::cost::Cost;
use crate::generate::{self, GenerateOptions, Target};
use crate::job::{Job, JobOptions};
use crate::kafka::{Broker, BrokerOptions};
use crate::wait;
use crate::warehouse::{Warehouse, WarehouseOptions};

use super::{BenchOptions, Spread, print_line, scratch};

const RUN_LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);
/// Spans per second of event time: a backlog of 2 M spans covers 400 s, so 7 windows of a minute.
const EVENT_RATE: u64 = 5_000;

/// One run.
struct Run {
    wall: Duration,
    cost: Cost,
}

pub(super) fn run(options: &BenchOptions) -> Result<()> {
    let folder = scratch()?;
    let broker = Broker::start(BrokerOptions {
        quick_start: false,
        ..BrokerOptions::in_folder(folder.path().join("kafka"), folder.path().join("logs"))
    })?;
    broker.create_topics()?;
    let spans = fill(options, &broker, 2)?;
    for (layers, title) in [
        ("windows", "Kafka to windows alone"),
        ("all", "Kafka to all layers, exactly once"),
    ] {
        let mut runs = Vec::new();
        for number in 1..=options.runs {
            let run_folder = folder.path().join(format!("{layers}-{number}"));
            let run = one_run(&run_folder, &broker, layers, spans)?;
            eprintln!(
                "  {layers} {number}/{}: {:.1} s, {:.1} s of CPU",
                options.runs,
                run.wall.as_secs_f64(),
                run.cost.cpu.as_secs_f64()
            );
            runs.push(run);
            // The next run's disk is the last one's.
            std::fs::remove_dir_all(&run_folder)?;
        }
        print(title, spans, &runs);
    }
    Ok(())
}

/// Puts the backlog into the broker.
pub(super) fn fill(options: &BenchOptions, broker: &Broker, threads: u64) -> Result<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64);
    let length_ns = (options.backlog / EVENT_RATE + 30) * 1_000_000_000;
    let report = generate::run(&GenerateOptions {
        target: Target::Kafka(broker.bootstrap()),
        spans: options.backlog,
        sessions: options.sessions,
        per_message: 8,
        roots_only: false,
        seed: options.seed,
        start_unix_nano: now - length_ns,
        rate: EVENT_RATE,
        live: false,
        threads,
    })?;
    println!(
        "backlog  {} spans in {} messages, {} bytes a span; generated at {:.0} spans/s",
        report.spans,
        report.messages,
        report.bytes / report.spans,
        report.spans_per_second
    );
    Ok(report.spans)
}

fn one_run(folder: &Path, broker: &Broker, layers: &str, spans: u64) -> Result<Run> {
    let warehouse = Warehouse::start(WarehouseOptions {
        folder: folder.join("warehouse"),
        logs: folder.join("logs"),
        port: None,
    })?;
    warehouse.migrate()?;
    let began = Instant::now();
    // Unready: what it costs until then is part of what it costs.
    let mut job = Job::start_unready(JobOptions {
        state: folder.join("job"),
        logs: folder.join("logs"),
        port: None,
        bootstrap: broker.bootstrap(),
        warehouse_url: warehouse.url(),
        settings: BTreeMap::from([("layers".to_owned(), layers.to_owned())]),
        environment: BTreeMap::new(),
        supervised: false,
    })?;
    let run = wait::until("the backlog was not done", RUN_LIMIT, POLL, || {
        job.process().check_alive()?;
        // Read first: what comes after the last span is not its cost.
        let run = Run {
            wall: began.elapsed(),
            cost: Cost::of(job.pid())?,
        };
        Ok(is_done(&job, layers, spans)?.then_some(run))
    })?;
    if !job.stop() {
        bail!("the stream job did not stop in time and was killed");
    }
    if layers == "all" {
        let landed = warehouse.sql().number("SELECT count() FROM dwd_span")?;
        if landed != spans {
            bail!("{spans} spans were sent and {landed} landed: no number counts");
        }
    }
    Ok(run)
}

fn is_done(job: &Job, layers: &str, spans: u64) -> Result<bool> {
    let metric = |name: &str| -> Result<f64> { Ok(job.metric(name)?.unwrap_or(0.0)) };
    let counted = match layers {
        "all" => "spanflow_spans_landed_total",
        // Nothing lands: done is what was read and is no longer in flight.
        _ => "spanflow_spans_in_total",
    };
    Ok(metric(counted)? >= spans as f64 && metric("spanflow_epochs_in_flight")? == 0.0)
}

fn print(title: &str, spans: u64, runs: &[Run]) {
    let of = |number: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(number));
    let spans = spans as f64;
    println!("\n{title} (median of {}, least to greatest)", runs.len());
    print_line(
        "throughput, by the job's own CPU time",
        of(&|run| spans / run.cost.cpu.as_secs_f64() / 1e3),
        "k spans per core-second",
    );
    print_line(
        "throughput, by the clock",
        of(&|run| spans / run.wall.as_secs_f64() / 1e3),
        "k spans/s",
    );
    print_line(
        "largest resident memory of the job",
        of(&|run| run.cost.peak_resident as f64 / f64::from(1 << 20)),
        "MiB",
    );
}
