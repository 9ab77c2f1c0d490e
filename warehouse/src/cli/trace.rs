//! `warehouse trace`: a trace as a tree.

use std::io::{ErrorKind, IsTerminal, Write, stdout};

use anyhow::Context;
use warehouse::{
    Client, ClientOptions,
    trace::{Style, find, render},
};

/// Columns where nobody says how wide the terminal is.
const DEFAULT_WIDTH: usize = 120;
/// Under this many columns there is no room for a tree beside its numbers.
const LEAST_WIDTH: usize = 60;

/// Print a trace, or all traces of a session, as a tree
#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    client: ClientOptions,
    /// A trace id, a session id, or `latest` for the newest trace that is finished
    id: String,
    /// Columns of a line [default: the terminal's, else 120]
    #[arg(long, short)]
    width: Option<usize>,
}

impl Trace {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let style = Style {
            width: self
                .width
                .or_else(terminal_width)
                .unwrap_or(DEFAULT_WIDTH)
                .max(LEAST_WIDTH),
            coloured: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let client = Client::new(&self.client);
        let traces = find(&client, &self.id).await?;
        let trees: Vec<_> = traces.iter().map(|trace| render(trace, style)).collect();
        match stdout().write_all(trees.join("\n").as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.context("can't write the tree"),
        }
    }
}

/// The columns of the terminal, where standard output is one.
fn terminal_width() -> Option<usize> {
    // SAFETY: an all-zero winsize is a valid value, and ioctl only writes into it.
    let (answer, size) = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (
            libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size),
            size,
        )
    };
    (answer == 0 && size.ws_col > 0).then(|| usize::from(size.ws_col))
}
