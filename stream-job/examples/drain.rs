//! What the dataflow alone costs: a recording through all layers (or `windows`) into nothing, in one process on one
//! worker. No broker, no warehouse, so that two builds can be told apart.
//!
//! `cargo run --release --example drain -p stream-job -- RECORDING [LAYERS] [RECORDS] [EPOCHS]`, where an epoch is so many
//! RECORDS of each partition, and a checkpoint is taken after so many EPOCHS, or none. Says every ten seconds what it holds.
//! Prints CPU time, the largest resident memory, and one hash for each table's blocks: equal hashes, equal rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use stream_job::checkpoint::record::AckTime;
use stream_job::checkpoint::store::Store;
use stream_job::dataflow::{
    epochs::Epoch,
    harness::{HarnessOptions, run_recording},
    output::Output,
};
use stream_job::ops::allocator::keep_freed_memory;
use stream_job::ops::metrics::Metrics;
use stream_job::ops::settings::{Layers, SettingValue, Settings};
use stream_job::sink::tables::EpochRow;
use stream_job::sink::{block::Block, dead_letter::DeadLetter};
use stream_job::source::wall_ms;

/// Lands everything at once and keeps what tells one run from another.
#[derive(Default)]
struct Nothing {
    landed: AtomicU64,
    spans: AtomicU64,
    tables: Mutex<BTreeMap<&'static str, (u64, u128)>>,
    closed: Mutex<Vec<Epoch>>,
}

impl Output for Nothing {
    fn block(&self, block: Block) {
        // Delays are of this run alone.
        let is_same = block.table != "ads_freshness";
        if let Ok(mut tables) = self.tables.lock()
            && is_same
        {
            let (rows, hash) = tables.entry(block.table).or_default();
            *rows += block.rows;
            *hash ^= block.hash;
        }
    }
    fn dead_letter(&self, _epoch: Epoch, _letter: DeadLetter) {}
    fn counted(&self, row: EpochRow) {
        self.spans.fetch_add(row.spans_landed, SeqCst);
    }
    fn raw_closed(&self, _epoch: Epoch) {}
    fn closed(&self, epoch: Epoch, _ends_run: bool) {
        self.landed.store(epoch, SeqCst);
        if let Ok(mut closed) = self.closed.lock() {
            closed.push(epoch);
        }
    }
    fn landed(&self) -> Epoch {
        self.landed.load(SeqCst)
    }
    fn landed_whole(&self) -> Epoch {
        self.landed()
    }
    fn take_acks(&self, into: &mut Vec<AckTime>) {
        if let Ok(mut closed) = self.closed.lock() {
            let acked_ms = wall_ms();
            into.extend(closed.drain(..).map(|epoch| AckTime { epoch, acked_ms }));
        }
    }
}

fn main() -> anyhow::Result<()> {
    keep_freed_memory();
    let mut arguments = std::env::args().skip(1);
    let recording = arguments.next().context("which recording?")?;
    let layers = arguments.next().unwrap_or_else(|| "all".to_owned());
    let records = arguments.next().unwrap_or_else(|| "500".to_owned());
    let epochs: u32 = arguments.next().map_or(Ok(0), |epochs| epochs.parse())?;
    let settings = Settings {
        recording,
        layers: Layers::parse(&layers).map_err(anyhow::Error::msg)?,
        epoch_records: records.parse()?,
        workers: 1,
        ..Settings::default()
    };
    let settings = Settings {
        checkpoint_interval: settings.epoch_interval * epochs,
        ..settings
    };
    let output = Arc::new(Nothing::default());
    let log = PathBuf::from(format!(
        "{}/drain-{}",
        std::env::temp_dir().display(),
        std::process::id()
    ));
    let given = output.clone();
    let metrics = Arc::new(Metrics::default());
    watch(metrics.clone());
    let store = Store::open(&format!("{}/checkpoints", log.display()))?;
    run_recording(
        Arc::new(settings),
        &log.join("log"),
        HarnessOptions {
            store: (epochs > 0).then_some(&store),
            metrics: Some(&metrics),
            ..HarnessOptions::default()
        },
        move |first| {
            given.landed.store(first - 1, SeqCst);
            given
        },
    )?;
    std::fs::remove_dir_all(&log)?;
    let (seconds, resident) = used();
    let spans = output.spans.load(SeqCst);
    println!(
        "{spans} spans, {seconds:.2} s of CPU, {:.0} k spans per core-second, {} MiB",
        spans as f64 / seconds / 1e3,
        resident >> 10
    );
    let pauses = metrics.render();
    let pauses = pauses
        .lines()
        .filter(|line| line.contains("checkpoint_pause_seconds") && !line.contains('#'));
    pauses
        .filter(|_| epochs > 0)
        .for_each(|line| println!("{line}"));
    if let Ok(tables) = output.tables.lock() {
        for (table, (rows, hash)) in tables.iter() {
            println!("{table:16} {rows:9} {hash:032x}");
        }
    }
    Ok(())
}

/// Says every ten seconds what is resident and how many keys are held.
fn watch(metrics: Arc<Metrics>) {
    const EVERY: Duration = Duration::from_secs(10);
    // It ends with the process.
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(EVERY);
            let text = metrics.render();
            let keys = text.lines().filter_map(|line| {
                line.strip_prefix("spanflow_state_keys{state=\"")?
                    .split_once("\"} ")
            });
            let keys: Vec<_> = keys
                .map(|(state, count)| format!("{count} {state}"))
                .collect();
            eprintln!("{} MiB resident; {}", resident_kib() >> 10, keys.join(", "));
        }
    });
}

/// Resident memory of this process, KiB; 0 where the system does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0)
}

/// CPU seconds and the largest resident memory in KiB of this process.
fn used() -> (f64, i64) {
    // SAFETY: the struct is plain numbers, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (
        seconds(usage.ru_utime) + seconds(usage.ru_stime),
        usage.ru_maxrss,
    )
}
