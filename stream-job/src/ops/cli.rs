//! The command line of `stream-job`.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use super::background::in_background;
use super::bounds::{self, BoundsArgs};
use super::control::JobControl;
use super::http;
use super::job::{JobError, RunOptions};
use super::metrics::Metrics;
use super::process_api::{LISTENING, ProcessApi};
use super::record::{self, RecordArgs};
use super::remote::{self, CancelArgs, HandOver, ListArgs, LogsArgs, SavepointArgs, StatusArgs};
use super::replay::{self, ReplayArgs};
use super::settings::{self, Inputs, Loaded, Settings};
use super::supervise::{self, Submission};
use crate::checkpoint::{epoch_log, timelines};
use crate::dataflow::graph::{Format, Graph};

/// Spanflow's dataflow job: spans from Kafka or a recording to the warehouse, exactly once.
#[derive(Debug, Parser)]
#[command(name = "stream-job", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Supervise the job's processes in the foreground, or hand a running job over to another program.
    Submit(SubmitArgs),
    /// List the jobs beside the state folder, and whether a supervisor answers.
    List(ListArgs),
    /// Print how a running job is.
    Status(StatusArgs),
    /// Make a savepoint of a running job.
    Savepoint(SavepointArgs),
    /// End a running job: what was read lands first.
    Cancel(CancelArgs),
    /// Print what a running job's processes write.
    Logs(LogsArgs),
    /// Print the dataflow that the settings lead to.
    Graph(GraphArgs),
    /// Run one process of the job until its input ends or a signal stops it.
    Run(RunArgs),
    /// Copy topics from Kafka into a recording.
    Record(RecordArgs),
    /// Send dead letters again, to the topics that they came from. Each lands once.
    ReplayDeadLetters(ReplayArgs),
    /// Print the reference of all settings as Markdown.
    Settings(SettingsArgs),
    /// Print an epoch log: its timeline and settings, every epoch with its blocks, and what is not acknowledged.
    EpochLog {
        /// The state (setting `state_dir`, folder or URL), whose newest timeline is printed; or the folder of a log, or one
        /// of its files. A job may be running on it.
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
    /// The settings of the file and the environment alone: those of the job as it usually runs.
    pub(crate) fn without_flags(&self) -> Result<Settings, settings::SettingsError> {
        let inputs = Inputs::from_process(self.settings.clone(), Vec::new());
        Loaded::read(&inputs).map(|loaded| loaded.settings)
    }

    /// Settings given by flags alone.
    #[cfg(test)]
    pub(crate) fn of(set: impl IntoIterator<Item = String>) -> Self {
        Self {
            settings: None,
            set: set.into_iter().collect(),
        }
    }

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
    /// Go back to a savepoint (`savepoints/NAME`), or to a checkpoint by the path of its manifest in the store: a new
    /// timeline that deletes what was written since.
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["new_timeline", "epoch_log"])]
    from: Option<String>,
    /// Processes that run the job together (setting `processes`).
    #[arg(long, value_name = "N")]
    processes: Option<u16>,
    /// Which of them this one is, from 0. It serves HTTP on the port of `http_listen` plus this.
    #[arg(long, value_name = "I", default_value_t = 0)]
    process: u16,
    /// Where each process listens for the others (setting `hosts`).
    #[arg(long, value_name = "HOST:PORT,…")]
    hosts: Option<String>,
    /// Begin a new timeline on a database that already holds this job's rows.
    #[arg(long)]
    new_timeline: bool,
    #[command(flatten)]
    bounds: BoundsArgs,
}

impl RunArgs {
    /// The flags that are settings under another name.
    fn flags(&self) -> Vec<String> {
        let workers = self.workers.map(|n| n.to_string());
        let processes = self.processes.map(|n| n.to_string());
        [
            ("recording", &self.recording),
            ("clickhouse_url", &self.url),
            ("clickhouse_database", &self.database),
            ("workers", &workers),
            ("processes", &processes),
            ("hosts", &self.hosts),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")))
        .collect()
    }
}

#[derive(Debug, Args)]
struct SubmitArgs {
    /// TOML file with settings.
    #[arg(value_name = "SETTINGS")]
    settings: Option<PathBuf>,
    /// One setting, over file and environment; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The program to run [default: this one]; with --to the name of a file in that supervisor's `jobs_dir`.
    #[arg(long, value_name = "PROGRAM")]
    binary: Option<PathBuf>,
    /// Hand over the job that is supervised at this URL, rather than supervise one.
    #[arg(long, value_name = "URL", requires = "binary", conflicts_with_all = ["new_timeline", "run_flags"])]
    to: Option<String>,
    /// Begin a new timeline on a database that already holds this job's rows; at the first start alone.
    #[arg(long)]
    new_timeline: bool,
    /// Further flags of `run`, for the first start alone.
    #[arg(last = true, value_name = "FLAGS")]
    run_flags: Vec<OsString>,
}

#[derive(Debug, Args)]
struct GraphArgs {
    #[command(flatten)]
    source: SettingsSource,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
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
        Command::Submit(args) => submit(args),
        Command::List(args) => to_reader(remote::list(&args)?.write()),
        Command::Status(args) => to_reader(remote::status(&args)?.write()),
        Command::Savepoint(args) => to_reader(remote::savepoint(&args)?.write()),
        Command::Cancel(args) => to_reader(remote::cancel(&args)?.write()),
        Command::Logs(args) => remote::logs(&args),
        Command::Graph(args) => graph(&args),
        Command::Run(args) => run(&args),
        Command::Record(args) => {
            let loaded = args.source.read(Vec::new())?;
            start_log(&loaded.settings);
            in_background(None, |shutdown| {
                record::record(&args, &loaded.settings, &shutdown)
            })
        }
        Command::ReplayDeadLetters(args) => {
            let loaded = args.source.read(Vec::new())?;
            start_log(&loaded.settings);
            in_background(None, |shutdown| {
                replay::replay(&args, &loaded.settings, &shutdown)
            })
        }
        Command::EpochLog { path } => {
            let replay = timelines::read(&path)?;
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

fn submit(args: SubmitArgs) -> anyhow::Result<()> {
    let inputs = Inputs::from_process(args.settings.clone(), args.set.clone());
    let loaded = Loaded::read(&inputs)?;
    start_log(&loaded.settings);
    if let (Some(url), Some(binary)) = (args.to, args.binary.clone()) {
        let wanted = HandOver { url, binary };
        return to_reader(remote::hand_over(&wanted, &loaded.settings)?.write());
    }
    let set = args.set.into_iter();
    let new_timeline = args.new_timeline.then(|| OsString::from("--new-timeline"));
    supervise::submit(
        &loaded.settings,
        &Submission {
            settings_file: args.settings,
            flags: set.flat_map(|set| ["--set".into(), set.into()]).collect(),
            first_flags: new_timeline.into_iter().chain(args.run_flags).collect(),
            program: args.binary,
        },
    )
}

fn graph(args: &GraphArgs) -> anyhow::Result<()> {
    let graph = Graph::of(&args.source.read(Vec::new())?.settings)?;
    let text = match args.format {
        Format::Text => graph.text(),
        Format::Mermaid => graph.mermaid(),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&graph)?),
    };
    to_reader(std::io::stdout().lock().write_all(text.as_bytes()))
}

/// Takes a reader that has seen enough (`| head`) for success.
fn to_reader(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    let mut settings = args.source.read(args.flags())?.settings;
    let bounds = args.bounds.bounds()?;
    if bounds.is_some() {
        let usual = args.source.without_flags()?;
        bounds::set_apart(&mut settings, &usual, args.database.as_deref())
            .map_err(|error| JobError::Refused(error.to_string()))?;
    }
    let settings = Arc::new(settings);
    start_log(&settings);
    let metrics = Arc::new(Metrics::default());
    let mut bound = http::bind(http_address(settings.http_listen, args.process));
    if bound.is_err() && bounds.is_some() {
        // The running job has it.
        bound = http::bind((settings.http_listen.ip(), 0).into());
    }
    let listener = bound.map_err(|error| JobError::Refused(error.to_string()))?;
    let address = listener.local_addr()?;
    tracing::info!("HTTP on http://{address}");
    // For a supervisor, and for whoever asked for any free port.
    to_reader(writeln!(std::io::stdout(), "{LISTENING}{address}"))?;
    let control = JobControl::default();
    let options = RunOptions {
        epoch_log: args.epoch_log.clone(),
        from: args.from.clone(),
        new_timeline: args.new_timeline,
        process: usize::from(args.process),
        control: control.clone(),
        bounds,
    };
    let api = ProcessApi {
        metrics: Arc::clone(&metrics),
        control,
        settings: Arc::clone(&settings),
    };
    let server = (listener, api, settings.http_token.clone());
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

/// The processes of one machine have the ports that follow each other; port 0 takes a free one.
fn http_address(mut listen: SocketAddr, process: u16) -> SocketAddr {
    if listen.port() != 0 {
        listen.set_port(listen.port().saturating_add(process));
    }
    listen
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
    fn a_hand_over_names_its_program_and_changes_no_timeline() {
        let parse = |words: &[&str]| {
            let words = ["stream-job", "submit"].iter().chain(words);
            Cli::try_parse_from(words).map(drop)
        };
        parse(&["job.toml"]).unwrap();
        parse(&["--set", "workers=1", "--", "--from", "savepoints/s"]).unwrap();
        parse(&["job.toml", "--to", "http://h:1", "--binary", "new"]).unwrap();
        parse(&["job.toml", "--to", "http://h:1"]).unwrap_err();
        parse(&["--to", "http://h:1", "--binary", "new", "--new-timeline"]).unwrap_err();
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
