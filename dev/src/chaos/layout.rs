//! How many processes the job has, and how many workers each of them.

use std::fmt;
use std::str::FromStr;

/// Processes × workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Processes.
    pub processes: u16,
    /// Worker threads of each.
    pub workers: u16,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.processes, self.workers)
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|&number: &u16| number > 0);
        let layout = text.split_once('x').and_then(|(processes, workers)| {
            Some(Self {
                processes: number(processes)?,
                workers: number(workers)?,
            })
        });
        layout.ok_or_else(|| format!("{text:?} is no layout: write processes x workers, as in 2x2"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_layout_is_read_as_it_is_written() {
        let layout: Layout = "2x4".parse().unwrap();
        assert_eq!((layout.processes, layout.workers), (2, 4));
        assert_eq!(layout.to_string(), "2x4");
        for bad in ["", "4", "0x1", "1x0", "axb", "1x2x3"] {
            assert!(bad.parse::<Layout>().is_err(), "{bad}");
        }
    }
}
