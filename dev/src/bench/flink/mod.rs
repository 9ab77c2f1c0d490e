//! `dev bench flink`: the windows alone, computed from the same topic by the stream job and by Apache Flink in turn; the
//! results are held against each other, row by row.

mod contender;
mod jars;
mod report;
mod windows;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{BenchOptions, scratch, throughput};
use crate::kafka::{Broker, BrokerOptions};
use contender::{Contender, Run, Stage};

/// How long one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(600);
/// How much longer than with heap enough a run may take before it counts as failed.
const STUCK: u32 = 5;
/// The heaps that the sweep tries, MiB.
const HEAPS_MIB: [u32; 5] = [1024, 768, 512, 384, 256];
/// How many differences are printed.
const SHOWN: usize = 5;

/// The runs of each.
type Runs = BTreeMap<Contender, Vec<Run>>;

/// The runs of one Flink variant with one heap.
struct HeapRuns {
    contender: Contender,
    heap_mib: u32,
    runs: Vec<Run>,
    /// A run failed with it.
    failed: bool,
}

/// Measures, prints, and compares.
///
/// # Errors
/// When a part does not start, a run does not end in time, or any window of any run is not what the others say it is.
pub(super) fn run(options: &BenchOptions) -> Result<()> {
    let class_path = jars::class_path()?;
    let folder = scratch()?;
    let broker = Broker::start(BrokerOptions {
        quick_start: false,
        ..BrokerOptions::in_folder(folder.path().join("kafka"), folder.path().join("logs"))
    })?;
    broker.create_topics()?;
    // One thread: partitions are in the order of event time then, and nobody meets a late span.
    let spans = throughput::fill(options, &broker, 1)?;
    let stage = Stage {
        folder: folder.path().to_path_buf(),
        bootstrap: broker.bootstrap(),
        class_path,
        spans,
    };
    let runs = rounds(options, &stage)?;
    report::rounds(options, spans, &runs);
    let heaps = if options.heap_sweep {
        sweep(options, &stage, &runs)?
    } else {
        Vec::new()
    };
    report::heaps(options, &runs, &heaps);
    compare(spans, &runs, &heaps)
}

/// One after the other, so that what else the machine does meets all of them alike.
fn rounds(options: &BenchOptions, stage: &Stage) -> Result<Runs> {
    let mut runs = Runs::new();
    for round in 1..=options.runs {
        for contender in Contender::ALL {
            let run = stage.run(contender, options.heap_mib, RUN_LIMIT)?;
            report::progress(
                &format!("{round}/{} {}", options.runs, contender.name()),
                &run,
            );
            runs.entry(contender).or_default().push(run);
        }
    }
    Ok(runs)
}

/// Flink with heap enough and with less and less of it, in turn. A run that fails, or takes [`STUCK`] times as long as
/// the longest so far, ends that heap.
fn sweep(options: &BenchOptions, stage: &Stage, runs: &Runs) -> Result<Vec<HeapRuns>> {
    let mut heaps = Vec::new();
    for contender in [Contender::Proto, Contender::Selective] {
        for heap_mib in [options.heap_mib].into_iter().chain(HEAPS_MIB) {
            heaps.push(HeapRuns {
                contender,
                heap_mib,
                runs: Vec::new(),
                failed: false,
            });
        }
    }
    let longest = runs.values().flatten().map(|run| run.wall).max();
    let limit = longest.map_or(RUN_LIMIT, |longest| (longest * STUCK).min(RUN_LIMIT));
    for round in 1..=options.runs {
        for heap in heaps.iter_mut().filter(|heap| !heap.failed) {
            let name = format!("{} with {} MiB", heap.contender.name(), heap.heap_mib);
            match stage.run(heap.contender, heap.heap_mib, limit) {
                Ok(run) => {
                    report::progress(&format!("{round}/{} {name}", options.runs), &run);
                    heap.runs.push(run);
                }
                Err(error) if crate::wait::interrupted() => return Err(error),
                Err(error) => {
                    let why = format!("{error:#}");
                    eprintln!("  {name}: failed: {}", why.lines().next().unwrap_or(""));
                    heap.failed = true;
                }
            }
        }
    }
    Ok(heaps)
}

/// Holds every run's windows against those of the first run of ours.
fn compare(spans: u64, runs: &Runs, heaps: &[HeapRuns]) -> Result<()> {
    let Some(expected) = runs[&Contender::Ours].first().map(|run| &run.windows) else {
        bail!("there was no run");
    };
    if expected.spans() != spans {
        bail!(
            "{spans} spans were sent, and the windows of ours hold {}: no number counts",
            expected.spans()
        );
    }
    let in_rounds = runs
        .iter()
        .flat_map(|(contender, runs)| runs.iter().map(|run| (*contender, &run.windows)));
    let in_sweep = heaps
        .iter()
        .flat_map(|heap| heap.runs.iter().map(|run| (heap.contender, &run.windows)));
    let (mut rows, mut count, mut different) = (0, 0, 0);
    for (contender, found) in in_rounds.chain(in_sweep).skip(1) {
        let differences = expected.differences(found);
        for difference in differences.iter().take(SHOWN) {
            println!("DIFFERENT in {}: {difference}", contender.name());
        }
        (rows, count) = (rows + found.len(), count + 1);
        different += differences.len();
    }
    println!(
        "\ncompared  {count} runs with the first of ours, {rows} rows of {} windows a run: {different} differences",
        expected.len()
    );
    if different > 0 {
        bail!("{different} windows differ: no number counts");
    }
    Ok(())
}
