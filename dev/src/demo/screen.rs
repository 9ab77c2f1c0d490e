//! The terminal: lines that stay, and below them a block that is drawn anew each second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the block is written where it can't be drawn in place.
const PLAIN_INTERVAL: Duration = Duration::from_millis(4_800);

/// Writes to standard output.
#[derive(Debug)]
pub(super) struct Screen {
    in_place: bool,
    drawn_lines: usize,
    last_plain: Option<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let stdout = std::io::stdout();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            in_place: stdout.is_terminal() && !dumb,
            drawn_lines: 0,
            last_plain: None,
        }
    }

    /// Writes lines that stay, above the block.
    pub(super) fn say(&mut self, text: &str) {
        let erase = self.erase();
        self.drawn_lines = 0;
        write(&format!("{erase}{}\n", text.trim_end()));
    }

    /// Draws the block: in place on a terminal, else as one line every few seconds.
    pub(super) fn draw(&mut self, lines: &[String]) {
        if self.in_place {
            let erase = self.erase();
            self.drawn_lines = lines.len();
            write(&format!("{erase}{}\n", lines.join("\n")));
            return;
        }
        let due = self
            .last_plain
            .is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL);
        if due {
            self.last_plain = Some(Instant::now());
            let line: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
            write(&format!("{}\n", line.join(" | ")));
        }
    }

    /// Moves to the block's first line and clears from there on.
    fn erase(&self) -> String {
        match self.drawn_lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

fn write(text: &str) {
    // Nobody may be reading any more; that is no reason to leave processes behind.
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}
