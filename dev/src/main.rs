//! `dev`: the demo, the generator and the benchmarks of Spanflow on one machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use dev::bench::{self, BenchOptions, Measure};
use dev::chaos::{self, ChaosOptions, Layout};
use dev::demo::{self, DemoOptions, Outcome};
use dev::generate::{self, GenerateOptions, Target};
use dev::oracle::{self, OracleOptions};
use dev::paths::Home;

/// Starts Spanflow's parts on one machine, and measures them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole product on this machine, with simulated agents, until Ctrl-C.
    Demo(DemoArgs),
    /// Sends spans as fast as possible, or at a rate as they end (--live).
    Generate(GenerateArgs),
    /// Measures throughput, memory and delay on this machine.
    Bench(BenchArgs),
    /// Holds our windows against Apache Flink's, on random transcripts (a JDK 17 is needed).
    Oracle(OracleArgs),
    /// Kills every part again and again under load, and holds all tables against an undisturbed run.
    Chaos(ChaosArgs),
    /// Removes what a local system keeps in its folder.
    Clean,
}

#[derive(Args)]
struct DemoArgs {
    /// End by itself after so many seconds, and hold what landed against what was sent.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Agents' sessions at a time; 0 starts no agents.
    #[arg(long, default_value_t = 40)]
    agents: u32,
    /// Seed of the agents [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct GenerateArgs {
    /// Brokers to send to.
    #[arg(
        long,
        env = "KAFKA_BOOTSTRAP_SERVERS",
        default_value = "127.0.0.1:9092"
    )]
    bootstrap: String,
    /// Write a new recording in this folder instead.
    #[arg(long, value_name = "DIR")]
    recording: Option<PathBuf>,
    /// Spans in all, rounded up to whole traces of 8.
    #[arg(long, default_value_t = 2_000_000)]
    spans: u64,
    /// Sessions at a time.
    #[arg(long, default_value_t = 1_000)]
    sessions: u64,
    /// Spans of a message: 1, 2, 4 or 8.
    #[arg(long, default_value_t = 8)]
    per_message: usize,
    /// Traces of their root alone; needs --per-message 1.
    #[arg(long)]
    roots_only: bool,
    /// Equal seeds and starts give equal messages.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start of the first trace, in seconds since 1970 [default: so that the last trace is now]
    #[arg(long, value_name = "SECONDS")]
    start: Option<u64>,
    /// Spans per second of event time; with --live also of real time.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Send at the rate, each span as it ends.
    #[arg(long)]
    live: bool,
    /// Threads, each with a producer of its own.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

#[derive(Args)]
struct BenchArgs {
    /// What to measure.
    #[arg(value_enum, default_value_t = Measured::All)]
    measure: Measured,
    /// Runs of each measurement; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Spans of the backlog.
    #[arg(long, default_value_t = 2_000_000)]
    backlog: u64,
    /// Sessions at a time.
    #[arg(long, default_value_t = 1_000)]
    sessions: u64,
    /// Spans per second of the steady load.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Seconds of the steady load.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Open traces in the state that a killed job recovers.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Seed of the generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Heap of Flink's JVM, MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    heap_mib: u32,
    /// Look for the smallest heap that does not slow Flink.
    #[arg(long)]
    heap_sweep: bool,
}

#[derive(Args)]
struct OracleArgs {
    /// Transcripts, each run by both rules of what is late.
    #[arg(long, default_value_t = 1_000)]
    transcripts: u64,
    /// Seed of the transcripts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the first so many, with Flink's answers, into the corpus that the tests read.
    #[arg(long, value_name = "COUNT")]
    record: Option<usize>,
}

#[derive(Args)]
struct ChaosArgs {
    /// Kills in all.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Seed of what is struck [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Processes x workers that the job is started with by turns, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1x1,1x4,2x2")]
    layouts: Vec<Layout>,
    /// Spans per second of the agents.
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Measured {
    /// Spans per core-second for a backlog.
    Throughput,
    /// Delay from a span's end to its row being visible.
    Latency,
    /// Throughput and latency.
    All,
    /// The windows alone, beside the same in Apache Flink, and whether both say the same.
    Flink,
    /// With much state: recovery after a kill, pauses and CPU time of checkpoints, memory over a drain.
    Recovery,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(args) => return demo(args),
        Command::Generate(args) => generate(args)?,
        Command::Bench(args) => bench(args)?,
        Command::Oracle(args) => oracle::run(&OracleOptions {
            transcripts: args.transcripts,
            seed: args.seed,
            record: args.record,
        })?,
        Command::Chaos(args) => chaos::run(&ChaosOptions {
            kills: args.kills,
            seed: args.seed.unwrap_or_else(|| std::process::id().into()),
            layouts: args.layouts,
            rate: args.rate,
        })?,
        Command::Clean => clean()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn demo(args: DemoArgs) -> Result<ExitCode> {
    let outcome = demo::run(&DemoOptions {
        home: Home::from_env(),
        duration: args.duration.map(Duration::from_secs),
        agents: args.agents,
        seed: args.seed,
    })?;
    Ok(match outcome {
        // Ctrl-C is how a demo without a duration ends: nothing went wrong.
        Outcome::Agreed => ExitCode::SUCCESS,
        Outcome::Interrupted if args.duration.is_none() => ExitCode::SUCCESS,
        Outcome::Interrupted => ExitCode::from(130),
        Outcome::Disagreed => ExitCode::FAILURE,
    })
}

fn generate(args: GenerateArgs) -> Result<()> {
    let target = match args.recording {
        Some(folder) => Target::Recording(folder),
        None => Target::Kafka(args.bootstrap),
    };
    let start = match args.start {
        Some(start) => start,
        None => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .context("the clock is before 1970")?;
            now.as_secs()
                .saturating_sub(args.spans / args.rate.max(1) + 10)
        }
    };
    let report = generate::run(&GenerateOptions {
        target,
        spans: args.spans,
        sessions: args.sessions,
        per_message: args.per_message,
        roots_only: args.roots_only,
        seed: args.seed,
        start_unix_nano: start * 1_000_000_000,
        rate: args.rate,
        live: args.live,
        threads: args.threads,
    })?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn bench(args: BenchArgs) -> Result<()> {
    bench::run(&BenchOptions {
        measure: match args.measure {
            Measured::Throughput => Measure::Throughput,
            Measured::Latency => Measure::Latency,
            Measured::All => Measure::All,
            Measured::Flink => Measure::Flink,
            Measured::Recovery => Measure::Recovery,
        },
        runs: args.runs.max(1),
        backlog: args.backlog,
        sessions: args.sessions,
        rate: args.rate,
        seconds: args.seconds,
        keys: args.keys,
        seed: args.seed,
        heap_mib: args.heap_mib,
        heap_sweep: args.heap_sweep,
    })
}

fn clean() -> Result<()> {
    let home = Home::from_env();
    let there = home.path().exists();
    home.remove()?;
    let path = home.path().display();
    if there {
        println!("removed what a local system kept in {path}");
    } else {
        println!("nothing to remove: {path} is not there");
    }
    Ok(())
}
