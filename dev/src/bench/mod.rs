//! `dev bench`: what this machine does with a backlog, and how soon a span is visible under a steady load. Every number
//! is the median of several runs, each with a job and a warehouse of its own, so that no run profits from another.

mod flink;
mod latency;
mod machine;
mod recovery;
mod throughput;

use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::paths;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Spans per core-second for a backlog.
    Throughput,
    /// Delay from a span's end to its row being visible.
    Latency,
    /// Throughput and latency.
    All,
    /// The windows alone, beside Apache Flink's.
    Flink,
    /// Recovery after a kill, and what checkpoints cost.
    Recovery,
}

/// How it is measured.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// What is measured.
    pub measure: Measure,
    /// Runs of each; their median counts.
    pub runs: usize,
    /// Spans of the backlog.
    pub backlog: u64,
    /// Sessions at a time under the steady load.
    pub sessions: u64,
    /// Spans per second of the steady load.
    pub rate: u64,
    /// Seconds of the steady load.
    pub seconds: u64,
    /// Open traces in the state that a killed job recovers.
    pub keys: u64,
    /// Seed of the generator.
    pub seed: u64,
    /// Heap of Flink's JVM, MiB.
    pub heap_mib: u32,
    /// Whether to look for the smallest heap that does not slow Flink.
    pub heap_sweep: bool,
}

/// Measures and prints.
///
/// # Errors
/// When a part does not start, or a run does not end in time.
pub fn run(options: &BenchOptions) -> Result<()> {
    for name in ["warehouse", "stream-job"] {
        paths::binary(name)?;
    }
    println!("{}", machine::facts());
    if cfg!(debug_assertions) {
        println!("NOTE: a debug build; its numbers say nothing. Build with --release.");
    }
    match options.measure {
        Measure::Throughput => throughput::run(options),
        Measure::Latency => latency::run(options),
        Measure::All => {
            throughput::run(options)?;
            latency::run(options)
        }
        Measure::Flink => flink::run(options),
        Measure::Recovery => recovery::run(options),
    }
}

/// A folder on the checkout's disk: the system's folder for temporary files may be in memory.
fn scratch() -> Result<TempDir> {
    let parent: PathBuf = paths::checkout().join("target");
    std::fs::create_dir_all(&parent)
        .with_context(|| format!("make the folder {}", parent.display()))?;
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("make a folder in {}", parent.display()))
}

/// Middle, least and greatest of some numbers; the middle is the mean of the two middle ones of an even count.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self {
            median: (at(last / 2) + at(sorted.len() / 2)) / 2.0,
            least: at(0),
            greatest: at(last),
        }
    }
}

/// One line of a table: what, the median and the spread, the unit.
fn print_line(what: &str, spread: Spread, unit: &str) {
    let digits = if spread.greatest >= 100.0 { 0 } else { 2 };
    println!(
        "  {what:<46} {:>10.digits$}  ({:.digits$} to {:.digits$}) {unit}",
        spread.median, spread.least, spread.greatest
    );
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_of_the_sorted_numbers() {
        let odd = Spread::of([9.0, 1.0, 3.0]);
        assert_eq!((odd.median, odd.least, odd.greatest), (3.0, 1.0, 9.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]).median, 3.0);
        assert!(Spread::of([]).median.is_nan());
    }
}
