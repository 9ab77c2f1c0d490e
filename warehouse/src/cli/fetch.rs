//! `warehouse fetch`: installs the engine.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use warehouse::embedded::cache_folder;
use warehouse::fetch::{FetchOptions, Step, fetch};

/// Without a terminal, a line of progress so often.
const LINE_EVERY: Duration = Duration::from_secs(5);
const MB: u64 = 1_000_000;

/// Download the ClickHouse engine (178 MB, 566 MB on disk) into the cache; does nothing when it is there
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    /// The cache folder; default: ~/.cache/spanflow
    #[arg(long, env = "SPANFLOW_CACHE")]
    cache: Option<PathBuf>,
    /// Install from this tgz of the npm package instead of downloading it
    #[arg(long)]
    from: Option<PathBuf>,
    /// Install again even when it is there
    #[arg(long)]
    force: bool,
}

impl Fetch {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let cache = self.cache.unwrap_or_else(cache_folder);
        let mut display = Display::new();
        let installed = fetch(
            &FetchOptions {
                cache,
                from: self.from,
                force: self.force,
            },
            &mut |step| display.show(&step),
        );
        display.end();
        println!("{}", installed?.display());
        Ok(())
    }
}

/// One line that is written over on a terminal, a line now and then elsewhere.
struct Display {
    terminal: bool,
    shown: Option<Instant>,
    last: String,
}

impl Display {
    fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            shown: None,
            last: String::new(),
        }
    }

    fn show(&mut self, step: &Step) {
        let (name, text) = match step {
            Step::Downloading {
                bytes,
                total,
                seconds,
            } => (
                "download",
                format!(
                    "downloading the engine: {} of {} MB, {seconds} s",
                    bytes / MB,
                    total / MB
                ),
            ),
            Step::Checking => ("check", "checking the download".to_owned()),
            Step::Extracting => ("extract", "extracting the engine (566 MB)".to_owned()),
        };
        let due = self.last != name || self.shown.is_none_or(|shown| shown.elapsed() >= LINE_EVERY);
        if self.terminal {
            eprint!("\r{text}\x1b[K");
            // A terminal that is gone is no reason to stop.
            let _ = std::io::stderr().flush();
            self.shown = Some(Instant::now());
        } else if due {
            eprintln!("{text}");
            self.shown = Some(Instant::now());
        }
        name.clone_into(&mut self.last);
    }

    fn end(&self) {
        if self.terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}
