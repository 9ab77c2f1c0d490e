//! Who is measured, and one run of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::jars;
use super::windows::Windows;
use crate::cost::Cost;
use crate::job::{Job, JobOptions};
use crate::process::Process;
use crate::wait;

const TOPIC: &str = "otlp_spans";
/// How often a process is looked at: what it spends after its last look counts for nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a job is asked what it has counted: it is the job that pays for the answer, and Flink is not asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Both run on two threads and write a checkpoint this often.
pub(super) const PARALLELISM: u16 = 2;
pub(super) const CHECKPOINT_SECONDS: u32 = 3;
/// What the job is asked with: it never gets so far as to use the warehouse.
const NO_WAREHOUSE: &str = "http://127.0.0.1:1";

/// One of the programs that compute the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    /// The stream job.
    Ours,
    /// Flink, decoding with OpenTelemetry's protobuf classes.
    Proto,
    /// Flink, reading only what is needed and summing before the shuffle.
    Selective,
}

impl Contender {
    pub(super) const ALL: [Contender; 3] =
        [Contender::Ours, Contender::Proto, Contender::Selective];

    pub(super) fn name(self) -> &'static str {
        match self {
            Contender::Ours => "ours",
            Contender::Proto => "proto",
            Contender::Selective => "selective",
        }
    }
}

/// What all runs have in common.
pub(super) struct Stage {
    /// Every run has a folder of its own in this one.
    pub(super) folder: PathBuf,
    pub(super) bootstrap: String,
    /// Of Flink and its job.
    pub(super) class_path: String,
    pub(super) spans: u64,
}

/// One run: all of it from the start of the process until the windows are in a file.
pub(super) struct Run {
    pub(super) wall: Duration,
    /// From the start of the process until its first record was decoded.
    pub(super) start: Duration,
    pub(super) cost: Cost,
    /// Checkpoints that were complete by then; of ours, those that are kept.
    pub(super) checkpoints: u64,
    pub(super) windows: Windows,
}

impl Stage {
    /// Runs one of them from an empty folder; `heap_mib` is for the JVM.
    pub(super) fn run(&self, contender: Contender, heap_mib: u32, limit: Duration) -> Result<Run> {
        let folder = self.folder.join("run");
        // A run that failed has left its own, which may hold a result.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let run = match contender {
            Contender::Ours => self.ours(&folder, limit),
            Contender::Proto | Contender::Selective => {
                self.flink(contender, &folder, heap_mib, limit)
            }
        };
        run.with_context(|| format!("run of {}", contender.name()))
    }

    fn ours(&self, folder: &Path, limit: Duration) -> Result<Run> {
        let result = folder.join("windows.jsonl");
        let settings = [
            ("layers", "windows".to_owned()),
            ("workers", PARALLELISM.to_string()),
            ("checkpoint_interval", format!("{CHECKPOINT_SECONDS}s")),
            ("windows_file", result.display().to_string()),
        ];
        let began = Instant::now();
        let mut job = Job::start_unready(JobOptions {
            state: folder.join("state"),
            logs: folder.join("logs"),
            port: None,
            bootstrap: self.bootstrap.clone(),
            warehouse_url: NO_WAREHOUSE.to_owned(),
            settings: settings
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<BTreeMap<_, _>>(),
            environment: BTreeMap::new(),
            supervised: false,
        })?;
        let start = until(&began, limit, "no span was counted", || {
            job.process().check_alive()?;
            let spans = job.metric("spanflow_spans_in_total")?.unwrap_or(0.0);
            Ok((spans > 0.0).then(|| began.elapsed()))
        })?;
        let left = limit.saturating_sub(began.elapsed());
        wait::until("not all spans were counted", left, ASK_EVERY, || {
            job.process().check_alive()?;
            let metric = |name: &str| job.metric(name).map(|value| value.unwrap_or(0.0));
            let counted = metric("spanflow_spans_in_total")? >= self.spans as f64;
            Ok((counted && metric("spanflow_epochs_in_flight")? == 0.0).then_some(()))
        })?;
        // It would read on for ever.
        job.process().signal(libc::SIGTERM);
        let (wall, cost) = measure(job.process(), &began, &result, limit)?;
        let checkpoints = checkpoints(&folder.join("state"), our_checkpoint).len() as u64;
        Ok(Run {
            wall,
            start,
            cost,
            checkpoints,
            windows: Windows::read(&result)?,
        })
    }

    fn flink(
        &self,
        contender: Contender,
        folder: &Path,
        heap_mib: u32,
        limit: Duration,
    ) -> Result<Run> {
        let result = folder.join("windows.jsonl");
        let mut command = jars::java(&self.class_path, heap_mib);
        command
            .args([contender.name(), &self.bootstrap, TOPIC])
            .arg(PARALLELISM.to_string())
            .arg(CHECKPOINT_SECONDS.to_string())
            .arg(folder);
        let (began, began_at) = (Instant::now(), SystemTime::now());
        let mut process = Process::start("Flink", command, &folder.join("flink.log"))?;
        let (wall, cost) = measure(&mut process, &began, &result, limit)?;
        let last = checkpoints(&folder.join("checkpoints"), flink_checkpoint).pop_last();
        // What is left is to wait for a last checkpoint, and to take the cluster down.
        process.kill();
        Ok(Run {
            wall,
            start: first_record(&folder.join("first-record"), began_at)?,
            cost,
            checkpoints: last.unwrap_or(0),
            windows: Windows::read(&result)?,
        })
    }
}

fn until<T>(
    began: &Instant,
    limit: Duration,
    what: &str,
    ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait::until(what, limit.saturating_sub(began.elapsed()), LOOK_EVERY, ask)
}

/// Looks at a process until its result is there.
fn measure(
    process: &mut Process,
    began: &Instant,
    result: &Path,
    limit: Duration,
) -> Result<(Duration, Cost)> {
    let mut last = None;
    until(began, limit, "there was no result", || {
        // Looked for first: a process may end as soon as its result is there.
        let is_done = result.exists();
        match Cost::of(process.pid()) {
            Ok(cost) => last = Some(cost),
            Err(_) if is_done => {}
            Err(error) => {
                process.check_alive()?;
                return Err(error);
            }
        }
        Ok(last.filter(|_| is_done).map(|cost| (began.elapsed(), cost)))
    })
}

fn first_record(path: &Path, began: SystemTime) -> Result<Duration> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let ms = text
        .trim()
        .parse()
        .with_context(|| format!("{text:?} in {} is no time", path.display()))?;
    let first = UNIX_EPOCH + Duration::from_millis(ms);
    // The file's time is cut to the millisecond.
    Ok(first.duration_since(began).unwrap_or_default())
}

/// Flink numbers its checkpoints from 1 and keeps the last: `chk-3/_metadata`.
fn flink_checkpoint(path: &Path) -> Option<u64> {
    let is_complete = path.file_name()? == "_metadata";
    let folder = path.parent()?.file_name()?.to_str()?;
    let number = folder.strip_prefix("chk-").filter(|_| is_complete)?;
    number.parse().ok()
}

/// A manifest of ours begins with its epoch: `checkpoints/00000000001784102400-g1.json`.
fn our_checkpoint(path: &Path) -> Option<u64> {
    let is_manifest = path.extension()? == "json" && path.parent()?.file_name()? == "checkpoints";
    let name = path.file_stem()?.to_str()?.strip_prefix('e')?;
    name.split('-').next()?.parse().ok().filter(|_| is_manifest)
}

/// The numbers of the checkpoints under a folder, in which others come and go.
fn checkpoints(folder: &Path, number_of: fn(&Path) -> Option<u64>) -> BTreeSet<u64> {
    let (mut numbers, mut folders) = (BTreeSet::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            numbers.extend(number_of(&path));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_complete_checkpoints_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "job/chk-1/_metadata",
            "job/chk-12/_metadata",
            "job/chk-13/part",
            "job/shared/_metadata",
            "00000001/checkpoints/e00000000000000000007-g1.json",
            "00000001/checkpoints/e00000000000000000009-g2.json.tmp",
            "timelines/00000001.json",
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(checkpoints(folder.path(), flink_checkpoint), [1, 12].into());
        assert_eq!(checkpoints(folder.path(), our_checkpoint), [7].into());
        assert!(checkpoints(&folder.path().join("none"), our_checkpoint).is_empty());
    }

    #[test]
    fn the_first_records_time_is_counted_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first-record");
        fs::write(&path, "1700000002500").unwrap();
        let began = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let start = first_record(&path, began).unwrap();
        assert_eq!(start, Duration::from_millis(2_500));
        fs::write(&path, "soon").unwrap();
        assert!(first_record(&path, began).is_err());
    }
}
