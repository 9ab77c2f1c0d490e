//! The command line of `stream-job`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::http;
use super::job::{JobError, RunOptions, Shutdown, exit};
use super::metrics::Metrics;
use super::record::{self, RecordArgs};
use super::settings::{self, Inputs, Loaded, Settings};
use crate::checkpoint::epoch_log;

/// Spanflow's dataflow job: spans from Kafka or a recording to the warehouse, exactly once.
#[derive(Debug, Parser)]
#[command(name = "stream-job", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the job until its input ends or a signal stops it.
    Run(RunArgs),
    /// Copy topics from Kafka into a recording.
    Record(RecordArgs),
    /// Print the reference of all settings as Markdown.
    Settings(SettingsArgs),
    /// Print an epoch log: its timeline and settings, every epoch with its blocks, and what is not acknowledged.
    EpochLog {
        /// The log's folder (setting `state_dir`), or one of its files. A job may be running on it.
        path: PathBuf,
    },
}

/// Where settings come from, for every command that reads them.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsSource {
    /// TOML file with settings.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// One setting, over file and environment; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl SettingsSource {
    /// Reads the settings, with `flags` as further `name=value` pairs over all.
    ///
    /// # Errors
    /// A setting is unknown or its value is wrong.
    pub(crate) fn read(&self, flags: Vec<String>) -> Result<Loaded, settings::SettingsError> {
        let flags = self.set.iter().cloned().chain(flags).collect();
        Loaded::read(&Inputs::from_process(self.settings.clone(), flags))
    }
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    source: SettingsSource,
    /// Read this recording instead of Kafka (setting `recording`).
    #[arg(long, value_name = "DIR")]
    recording: Option<String>,
    /// Follow this epoch log instead of cutting epochs, and end with it.
    #[arg(long, value_name = "FILE")]
    epoch_log: Option<PathBuf>,
    /// Warehouse address (setting `clickhouse_url`).
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Database (setting `clickhouse_database`).
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Worker threads (setting `workers`).
    #[arg(long, value_name = "N")]
    workers: Option<u16>,
    /// Begin a new timeline on a database that already holds this job's rows.
    #[arg(long)]
    new_timeline: bool,
}

impl RunArgs {
    /// The flags that are settings under another name.
    fn flags(&self) -> Vec<String> {
        let workers = self.workers.map(|n| n.to_string());
        [
            ("recording", &self.recording),
            ("clickhouse_url", &self.url),
            ("clickhouse_database", &self.database),
            ("workers", &workers),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")))
        .collect()
    }
}

#[derive(Debug, Args)]
struct SettingsArgs {
    #[command(flatten)]
    source: SettingsSource,
    /// Print a TOML file with every default instead.
    #[arg(long, conflicts_with = "effective")]
    example: bool,
    /// Print the values in effect and where each was written; secrets are hidden.
    #[arg(long)]
    effective: bool,
}

/// Runs the command and returns when it is done.
///
/// # Errors
/// What went wrong; [`super::job::exit_code`] gives its exit code.
pub fn main(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(args) => run(&args),
        Command::Record(args) => {
            let loaded = args.source.read(Vec::new())?;
            start_log(&loaded.settings);
            in_background(None, |shutdown| {
                record::record(&args, &loaded.settings, &shutdown)
            })
        }
        Command::EpochLog { path } => {
            let replay = epoch_log::read(&path)?;
            to_reader(epoch_log::print(&replay, &mut std::io::stdout().lock()))
        }
        Command::Settings(args) => {
            let text = match (args.example, args.effective) {
                (true, _) => settings::example(),
                (_, true) => settings::effective(&args.source.read(Vec::new())?),
                _ => settings::reference(),
            };
            to_reader(std::io::stdout().lock().write_all(text.as_bytes()))
        }
    }
}

/// Takes a reader that has seen enough (`| head`) for success.
fn to_reader(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    let loaded = args.source.read(args.flags())?;
    let settings = Arc::new(loaded.settings);
    start_log(&settings);
    let metrics = Arc::new(Metrics::default());
    let listener =
        http::bind(settings.http_listen).map_err(|error| JobError::Refused(error.to_string()))?;
    tracing::info!("HTTP on http://{}", listener.local_addr()?);
    let options = RunOptions {
        epoch_log: args.epoch_log.clone(),
        new_timeline: args.new_timeline,
    };
    let server = (listener, Arc::clone(&metrics), settings.http_token.clone());
    in_background(Some(server), |shutdown| {
        let outcome = crate::dataflow::run(settings, options, shutdown, metrics)?;
        let why = if outcome.end_of_input {
            "the input has ended"
        } else {
            "stopped as asked"
        };
        tracing::info!(
            "{why}: landed up to epoch {}, {} records, {} spans, {} dead letters",
            outcome.landed_epoch,
            outcome.records,
            outcome.spans,
            outcome.dead_letters
        );
        Ok(())
    })
}

type Server = (std::net::TcpListener, Arc<Metrics>, String);

/// Runs `work` on this thread, with signals and HTTP on another that ends when the work does.
fn in_background(
    server: Option<Server>,
    work: impl FnOnce(Shutdown) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("ops")
        .enable_all()
        .build()
        .context("start the thread for HTTP and signals")?;
    let shutdown = Shutdown::default();
    let signals = {
        // Signal handlers are in place before any work begins.
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    runtime.spawn(watch_signals(
        signals,
        server.as_ref().map(|s| Arc::clone(&s.1)),
        shutdown.clone(),
    ));
    if let Some((listener, metrics, token)) = server {
        runtime.spawn(async move {
            if let Err(error) = http::serve(listener, metrics, &token).await {
                tracing::error!("the HTTP server ended: {error}");
            }
        });
    }
    let result = work(shutdown);
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn watch_signals(
    (mut interrupt, mut terminate): (tokio::signal::unix::Signal, tokio::signal::unix::Signal),
    metrics: Option<Arc<Metrics>>,
    shutdown: Shutdown,
) {
    let mut wait = async || {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    };
    let name = wait().await;
    tracing::info!("{name}: draining, then ending; a second signal ends at once");
    if let Some(metrics) = metrics {
        metrics.health.set_stopping();
    }
    shutdown.request();
    let name = wait().await;
    tracing::warn!("{name} again: ending at once");
    std::process::exit(exit::INTERRUPTED.into());
}

/// One line an event on standard error. `RUST_LOG` goes before the setting `log`.
fn start_log(settings: &Settings) {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| settings.log.clone());
    let (filter, bad) = match EnvFilter::try_new(&directives) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color);
    // A second call, as in tests, keeps the first subscriber.
    let _ = subscriber.try_init();
    if let Some(error) = bad {
        tracing::warn!("log directives `{directives}`: {error}; logging at info");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_run_go_over_set() {
        let cli = Cli::try_parse_from([
            "stream-job",
            "run",
            "--set",
            "workers=1",
            "--workers",
            "3",
            "--database",
            "d",
            "--url",
            "http://h:1",
        ]);
        let Command::Run(args) = cli.unwrap().command else {
            panic!("not run")
        };
        let settings = args.source.read(args.flags()).unwrap().settings;
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.clickhouse_database, "d");
        assert_eq!(settings.clickhouse_url, "http://h:1");
    }
}
