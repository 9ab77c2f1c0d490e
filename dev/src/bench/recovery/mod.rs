//! What a job costs that keeps much state: how soon a killed one processes again, how long its checkpoints hold the
//! dataflow up, what share of its CPU time they take, and whether its memory stays level.
//!
//! A backlog of traces of one span fills the state; the job is killed under a steady load and started again; then it drains
//! a backlog beside that state. Memory is watched over a drain of its own, from nothing.

mod drain;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use stream_job::checkpoint::timelines;

use crate::generate::{self, GenerateOptions, Target};
use crate::job::Job;
use crate::paths::Home;
use crate::system::{System, SystemOptions};
use crate::wait;

use super::{BenchOptions, Spread, print_line, scratch};
use drain::{drain, print_checkpoints, print_memory};

const POLL: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const RUN_LIMIT: Duration = Duration::from_secs(3_600);
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
/// Spans per second of event time while the state is filled: a million cover 200 s, far less than any time to live.
const FILL_RATE: u64 = 5_000;
/// Event time that a drain beside much state covers: as the state's, so that no span is late.
const DRAIN_SECONDS: u64 = 200;
/// Spans per second of event time of the drain that memory is watched over: traces pass their time to live over and over.
const LEVEL_RATE: u64 = 100;
/// The load goes on for so long before the job is killed: at least one checkpoint is taken under it.
const LOAD_BEFORE_KILL: Duration = Duration::from_secs(15);
/// Turns of a generated session.
const TURNS: u64 = 6;

pub(super) fn run(options: &BenchOptions) -> Result<()> {
    let folder = scratch()?;
    let mut system = System::start(SystemOptions {
        quick_start: false,
        ..SystemOptions::in_folder(Home::at(folder.path()))
    })?;
    fill(options, &mut system)?;
    let mut recoveries = Vec::new();
    for number in 1..=options.runs {
        let recovery = kill_and_recover(options, &mut system, number as u64)?;
        eprintln!(
            "  recovery {number}/{}: {:.2} s to the first new epoch; {}",
            options.runs,
            recovery.processing.as_secs_f64(),
            recovery.told.join("; ")
        );
        recoveries.push(recovery);
    }
    print_recoveries(&recoveries);
    let rate = options.backlog.div_ceil(DRAIN_SECONDS);
    let drained = drain(options, &mut system, rate)?;
    println!("\nA backlog of {} spans beside that state", options.backlog);
    print_checkpoints(&drained);
    system.stop()?;
    drop((system, folder));
    level_memory(options)
}

/// A drain from nothing, over much event time: what comes in is soon balanced by what is forgotten.
fn level_memory(options: &BenchOptions) -> Result<()> {
    let folder = scratch()?;
    let mut system = System::start(SystemOptions {
        quick_start: false,
        ..SystemOptions::in_folder(Home::at(folder.path()))
    })?;
    let drained = drain(options, &mut system, LEVEL_RATE)?;
    println!(
        "\nA backlog of {} spans over {:.0} h of event time, from nothing",
        options.backlog,
        (options.backlog / LEVEL_RATE) as f64 / 3_600.0
    );
    print_checkpoints(&drained);
    print_memory(&drained);
    system.stop()
}

/// Fills the state with traces of one span each, and waits until a checkpoint holds them all.
fn fill(options: &BenchOptions, system: &mut System) -> Result<()> {
    let length_ns = options.keys * 1_000_000_000 / FILL_RATE;
    let report = generate::run(&GenerateOptions {
        target: Target::Kafka(system.kafka.bootstrap()),
        spans: options.keys,
        sessions: options.keys.div_ceil(TURNS),
        per_message: 1,
        roots_only: true,
        seed: options.seed,
        start_unix_nano: now_ns()?.saturating_sub(length_ns),
        rate: FILL_RATE,
        live: false,
        threads: 2,
    })?;
    system.wait_until_drained(RUN_LIMIT)?;
    let filled = system.job.metric("spanflow_epoch")?.unwrap_or(0.0);
    await_checkpoint_above(&mut system.job, filled)?;
    let bytes = system.job.metric("spanflow_checkpoint_bytes")?;
    println!(
        "state    {}; a checkpoint of {:.0} MiB",
        keys(&system.job)?.join(", "),
        bytes.unwrap_or(f64::NAN) / f64::from(1 << 20)
    );
    let traces = system
        .sql()
        .number("SELECT uniqExact(trace_id) FROM dwd_span")?;
    ensure!(
        traces == report.spans,
        "{} traces were sent and {traces} landed: no number counts",
        report.spans
    );
    Ok(())
}

fn await_checkpoint_above(job: &mut Job, epoch: f64) -> Result<()> {
    wait::until(
        "no checkpoint was completed",
        RECOVERY_LIMIT,
        Duration::from_millis(100),
        || {
            job.process().check_alive()?;
            let newest = job.metric("spanflow_checkpoint_epoch")?;
            Ok(newest.is_some_and(|newest| newest > epoch).then_some(()))
        },
    )
}

/// Keys of each state, as text.
fn keys(job: &Job) -> Result<Vec<String>> {
    let text = metrics(job)?;
    let keys = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("spanflow_state_keys{state=\"")?;
        let (state, count) = rest.split_once("\"} ")?;
        (count != "0").then(|| format!("{count} {state}"))
    });
    Ok(keys.collect())
}

/// One kill and what came after it. Times are from the start of the process.
struct Recovery {
    ready: Duration,
    /// The first epoch beyond the log was cut.
    processing: Duration,
    /// An epoch beyond the log has landed.
    landed: Duration,
    /// Epoch of the checkpoint that it went on from.
    checkpoint: u64,
    /// Epochs of the log beyond it.
    replayed: u64,
    /// What the job said about the parts of its start.
    told: Vec<String>,
}

/// What was written since a checkpoint, and what it was due for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Written {
    traces: u64,
    traces_changed: u64,
    sessions: u64,
    sessions_changed: u64,
}

fn kill_and_recover(options: &BenchOptions, system: &mut System, number: u64) -> Result<Recovery> {
    let load = GenerateOptions {
        target: Target::Kafka(system.kafka.bootstrap()),
        spans: options.rate * options.seconds,
        sessions: options.sessions,
        per_message: 8,
        roots_only: false,
        seed: options.seed + number,
        start_unix_nano: 0,
        rate: options.rate,
        live: true,
        threads: 1,
    };
    let recovery = std::thread::scope(|scope| {
        let load = scope.spawn(move || generate::run(&load));
        // Time itself is wanted here: the load shall have gone on for so long.
        std::thread::sleep(LOAD_BEFORE_KILL);
        let recovery = recover(system);
        load.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        recovery
    })?;
    system.wait_until_drained(RUN_LIMIT)?;
    check_written(system, recovery.checkpoint)?;
    Ok(recovery)
}

/// Kills the job and starts it again.
fn recover(system: &mut System) -> Result<Recovery> {
    system.job.kill();
    let log = timelines::read(&system.home().job()).context("read the epoch log")?;
    let checkpoint = log.checkpoints.last().context("there is no checkpoint")?;
    let checkpoint = checkpoint.epoch;
    let newest = log.epochs.last().map_or(checkpoint, |record| record.epoch);
    let job = &mut system.job;
    let began = Instant::now();
    job.restart_unready()?;
    let (mut ready, mut processing) = (None, None);
    let landed = wait::until("the job did not recover", RECOVERY_LIMIT, POLL, || {
        job.process().check_alive()?;
        let is_ready = job.server().get("/readyz", ANSWER_LIMIT)?.status == 200;
        let text = metrics(job)?;
        let is_beyond = |name: &str| value(&text, name).is_some_and(|epoch| epoch > newest as f64);
        let now = began.elapsed();
        if is_ready {
            ready.get_or_insert(now);
        }
        if is_beyond("spanflow_epoch") {
            processing.get_or_insert(now);
        }
        Ok(is_beyond("spanflow_landed_epoch").then_some(now))
    })?;
    let told = job.process().output();
    Ok(Recovery {
        ready: ready.unwrap_or(landed),
        processing: processing.unwrap_or(landed),
        landed,
        checkpoint,
        replayed: newest - checkpoint,
        told: told.lines().filter_map(part_of_start).collect(),
    })
}

/// What a line of the job's log says about a part of its start.
fn part_of_start(line: &str) -> Option<String> {
    let (_, said) = line.split_once("stream_job::")?;
    let (_, said) = said.split_once(": ")?;
    let parts = ["of state read in", "restored in", "read again up to"];
    let is_part = parts.iter().any(|part| said.contains(part));
    is_part.then(|| said.to_owned())
}

/// Nothing times out meanwhile: rows are due for what has had spans since the checkpoint, and for nothing else.
fn check_written(system: &mut System, checkpoint: u64) -> Result<()> {
    let drained = system.job.metric("spanflow_epoch")?.unwrap_or(0.0);
    // Whose blocks have landed.
    await_checkpoint_above(&mut system.job, drained)?;
    let written: Written = system.sql().row(&format!(
        "SELECT
            (SELECT uniqExact(trace_id) FROM dws_trace WHERE rev > {checkpoint}) AS traces,
            (SELECT uniqExact(trace_id) FROM dwd_span WHERE _epoch > {checkpoint}) AS traces_changed,
            (SELECT uniqExact(namespace, session_id) FROM dws_session WHERE rev > {checkpoint}) AS sessions,
            (SELECT uniqExact(namespace, session_id) FROM dws_trace WHERE rev > {checkpoint}) AS sessions_changed"
    ))?;
    ensure!(
        written.traces == written.traces_changed && written.sessions == written.sessions_changed,
        "what was written since the checkpoint is not what has changed since: {written:?}"
    );
    Ok(())
}

fn print_recoveries(recoveries: &[Recovery]) {
    let of = |time: &dyn Fn(&Recovery) -> f64| Spread::of(recoveries.iter().map(time));
    println!(
        "\nKilled under a steady load and started again (median of {}, least to greatest)",
        recoveries.len()
    );
    print_line(
        "epochs of the log beyond the checkpoint",
        of(&|run| run.replayed as f64),
        "",
    );
    print_line(
        "process start to ready",
        of(&|run| run.ready.as_secs_f64()),
        "s",
    );
    print_line(
        "process start to the first new epoch",
        of(&|run| run.processing.as_secs_f64()),
        "s",
    );
    print_line(
        "process start to a new epoch landed",
        of(&|run| run.landed.as_secs_f64()),
        "s",
    );
}

fn metrics(job: &Job) -> Result<String> {
    let response = job.server().get("/metrics", ANSWER_LIMIT)?;
    ensure!(
        response.status == 200,
        "{}/metrics answered {}",
        job.url(),
        response.status
    );
    Ok(response.text())
}

/// The value of a metric without labels.
fn value(text: &str, name: &str) -> Option<f64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.into_iter().find(|(found, _)| *found == name)?;
    value.parse().ok()
}

fn now_ns() -> Result<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(u64::try_from(now.as_nanos())?)
}

#[cfg(test)]
mod tests {
    use super::{part_of_start, value};

    #[test]
    fn a_metric_is_told_from_its_namesakes() {
        let text = "spanflow_epochs_total 3\nspanflow_epoch 12\n";
        assert_eq!(value(text, "spanflow_epoch"), Some(12.0));
        assert_eq!(value(text, "spanflow_epo"), None);
    }

    #[test]
    fn the_parts_of_a_start_are_found_among_the_other_lines() {
        let line = "2026-01-01T00:00:00Z  INFO stream_job::dataflow::keeper: worker 0: 7 entries restored in 0.100 s";
        let said = "worker 0: 7 entries restored in 0.100 s";
        assert_eq!(part_of_start(line).as_deref(), Some(said));
        assert_eq!(part_of_start(&line.replace("restored", "seen")), None);
    }
}
