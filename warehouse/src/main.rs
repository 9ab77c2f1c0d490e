//! The `warehouse` command.

mod cli;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Spanflow's warehouse: the embedded ClickHouse engine and the tables of every layer
#[derive(Debug, Parser)]
#[command(name = "warehouse", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(cli::serve::Serve),
    Fetch(cli::fetch::Fetch),
    Migrate(cli::migrate::Migrate),
    Query(cli::query::Query),
    Reconcile(cli::reconcile::Reconcile),
    Tables(cli::tables::Tables),
    Trace(cli::trace::Trace),
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(serve) => serve.run().await,
        Command::Fetch(fetch) => fetch.run(),
        Command::Migrate(migrate) => migrate.run().await,
        Command::Query(query) => query.run().await,
        Command::Reconcile(reconcile) => reconcile.run().await,
        Command::Tables(tables) => tables.run(),
        Command::Trace(trace) => trace.run().await,
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: can't start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(arguments.command));
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    // Nothing can be done about a closed standard output at the very end.
    let _ = std::io::stdout().flush();
    // libchdb's exit handlers race with its own threads, so that a normal exit can crash; all that matters is on disk.
    // SAFETY: ends the process without running any handler.
    unsafe { libc::_exit(i32::from(outcome.is_err())) }
}
