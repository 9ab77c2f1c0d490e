//! What the runs say, printed.

use std::time::Duration;

use super::contender::{CHECKPOINT_SECONDS, Contender, PARALLELISM, Run};
use super::{HeapRuns, Runs};
use crate::bench::{BenchOptions, Spread, print_line};

/// A heap slows Flink when a run costs this much more CPU: what it collects. The clock is other people's too.
const SLOWED: f64 = 1.1;
/// What is aimed at, ours to Flink's: work per core, and the other way round memory.
const AIMS: [(Contender, f64); 2] = [(Contender::Proto, 3.0), (Contender::Selective, 1.6)];
const MEMORY_AIM: f64 = 5.0;

/// The medians of some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Medians {
    cpu_s: f64,
    wall_s: f64,
    resident_mib: f64,
}

fn spread(runs: &[Run], number: impl Fn(&Run) -> f64) -> Spread {
    Spread::of(runs.iter().map(number))
}

fn cpu_s(run: &Run) -> f64 {
    run.cost.cpu.as_secs_f64()
}

fn wall_s(run: &Run) -> f64 {
    run.wall.as_secs_f64()
}

fn resident_mib(run: &Run) -> f64 {
    run.cost.peak_resident as f64 / f64::from(1 << 20)
}

fn medians(runs: &[Run]) -> Medians {
    Medians {
        cpu_s: spread(runs, cpu_s).median,
        wall_s: spread(runs, wall_s).median,
        resident_mib: spread(runs, resident_mib).median,
    }
}

/// One line to see that it goes on.
pub(super) fn progress(name: &str, run: &Run) {
    eprintln!(
        "  {name}: {:.1} s, {:.1} s of CPU, {:.0} MiB, {} checkpoints",
        wall_s(run),
        cpu_s(run),
        resident_mib(run),
        run.checkpoints
    );
}

/// What each of them did, and how ours stands to the others.
pub(super) fn rounds(options: &BenchOptions, spans: u64, runs: &Runs) {
    println!(
        "\n{PARALLELISM} threads each, a checkpoint every {CHECKPOINT_SECONDS} s, Flink with -Xmx{}m; all from the start of the process until the \
         windows are in a file",
        options.heap_mib
    );
    let spans = spans as f64;
    for (contender, runs) in runs {
        println!(
            "{} (median of {}, least to greatest)",
            title(*contender),
            runs.len()
        );
        let line =
            |what, number: &dyn Fn(&Run) -> f64, unit| print_line(what, spread(runs, number), unit);
        line(
            "throughput, by the process's own CPU time",
            &|run| spans / cpu_s(run) / 1e3,
            "k spans per core-second",
        );
        line(
            "throughput, by the clock",
            &|run| spans / wall_s(run) / 1e3,
            "k spans/s",
        );
        line(
            "process start to first record decoded",
            &|run| secs(run.start),
            "s",
        );
        line("largest resident memory", &resident_mib, "MiB");
        line(
            "checkpoints complete by the end",
            &|run| run.checkpoints as f64,
            "",
        );
    }
    for (contender, runs) in runs {
        if runs.iter().any(|run| run.checkpoints == 0) {
            println!(
                "NOTE: {} has ended without a checkpoint: it writes none, or the backlog is too short for one.",
                contender.name()
            );
        }
    }
    let ours = &runs[&Contender::Ours];
    for (contender, aim) in AIMS {
        let ratio = medians(&runs[&contender]).cpu_s / medians(ours).cpu_s;
        println!(
            "ours does {ratio:.2} times the work per core of {} (aim: {aim}; {})",
            contender.name(),
            verdict(ratio >= aim)
        );
    }
}

/// Which heap each variant needs, and how our memory stands to it.
pub(super) fn heaps(options: &BenchOptions, runs: &Runs, heaps: &[HeapRuns]) {
    if heaps.is_empty() {
        println!(
            "memory is not compared: --heap-sweep looks for the smallest heap that does not slow Flink"
        );
        return;
    }
    let ours = medians(&runs[&Contender::Ours]).resident_mib;
    for contender in [Contender::Proto, Contender::Selective] {
        let tried: Vec<(u32, Option<Medians>)> = heaps
            .iter()
            .filter(|heap| heap.contender == contender)
            .map(|heap| (heap.heap_mib, (!heap.failed).then(|| medians(&heap.runs))))
            .collect();
        println!(
            "{}, by heap (medians of {}, against {} MiB of heap)",
            title(contender),
            options.runs,
            options.heap_mib
        );
        // The first that is tried is the heap that is enough.
        match tried.first() {
            Some((_, Some(base))) => one_variant(base, &tried, ours),
            _ => println!("  fails with {} MiB too", options.heap_mib),
        }
    }
}

fn one_variant(base: &Medians, tried: &[(u32, Option<Medians>)], ours_mib: f64) {
    for (heap_mib, found) in tried {
        match found {
            None => println!("  {heap_mib:>5} MiB: fails"),
            Some(found) => println!(
                "  {heap_mib:>5} MiB: {:+.0} % CPU, {:+.0} % time, {:.0} MiB resident{}",
                (found.cpu_s / base.cpu_s - 1.0) * 100.0,
                (found.wall_s / base.wall_s - 1.0) * 100.0,
                found.resident_mib,
                if is_slowed(base, found) {
                    ": slowed"
                } else {
                    ""
                }
            ),
        }
    }
    if let Some((heap_mib, found)) = smallest_unslowed(base, tried) {
        let ratio = found.resident_mib / ours_mib;
        println!(
            "  {heap_mib} MiB is the smallest that does not slow it: {:.0} MiB resident, {ratio:.1} times ours (aim: {MEMORY_AIM}; {})",
            found.resident_mib,
            verdict(ratio >= MEMORY_AIM)
        );
    }
}

fn title(contender: Contender) -> &'static str {
    match contender {
        Contender::Ours => "ours",
        Contender::Proto => "Flink, proto: OpenTelemetry's protobuf classes",
        Contender::Selective => "Flink, selective: a selective parse, and sums before the shuffle",
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "NOT met" }
}

fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn is_slowed(base: &Medians, found: &Medians) -> bool {
    found.cpu_s > base.cpu_s * SLOWED
}

/// The smallest heap that neither fails nor slows.
fn smallest_unslowed(base: &Medians, tried: &[(u32, Option<Medians>)]) -> Option<(u32, Medians)> {
    tried
        .iter()
        .filter_map(|&(heap_mib, found)| Some((heap_mib, found?)))
        .filter(|(_, found)| !is_slowed(base, found))
        .min_by_key(|&(heap_mib, _)| heap_mib)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(cpu_s: f64, wall_s: f64) -> Medians {
        Medians {
            cpu_s,
            wall_s,
            resident_mib: 100.0,
        }
    }

    #[test]
    fn the_smallest_heap_that_neither_fails_nor_slows_is_found() {
        let base = took(10.0, 5.0);
        let tried = [
            (2048, Some(base)),
            (512, Some(took(10.9, 5.4))),
            (384, Some(took(10.2, 9.0))),
            (320, Some(took(11.1, 5.0))),
            (256, None),
        ];
        let found = smallest_unslowed(&base, &tried);
        assert_eq!(found, Some((384, took(10.2, 9.0))));
        assert_eq!(smallest_unslowed(&base, &tried[3..]), None);
    }
}
