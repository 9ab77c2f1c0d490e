//! Two processes of a job over one object store: as threads here, as a store in memory is this process's alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stream_job::checkpoint::store::Store;
use stream_job::checkpoint::timelines;
use stream_job::dataflow;
use stream_job::ops::job::{Outcome, RunOptions, Shutdown};
use stream_job::ops::metrics::Metrics;
use stream_job::ops::settings::{Inputs, Loaded, Settings};

use crate::reference::recording::Plan;
use crate::runs::{PATIENCE, free_port};
use crate::stage::{self, Stage, compare};

const STATE: &str = "memory:two-processes";
/// Where the whole of its epoch log is kept, which the job shortens.
const WHOLE: &str = "memory:two-processes-whole";

#[test]
fn two_processes_share_an_object_store_and_other_layouts_go_on_from_it() {
    let plan = Plan {
        seed: 91,
        traces: 300,
        ..Plan::default()
    };
    let stage = Stage::new("in_object_store", plan);
    let whole = WholeLog::start();
    for _ in 0..2 {
        let two = Run::start(&stage, 2, 2);
        two.stop_after(8);
        let log = timelines::read(STATE.as_ref()).unwrap();
        assert!(!log.epochs.last().unwrap().end_of_input, "stopped too late");
    }
    let one = Run::start(&stage, 1, 3);
    assert!(one.end().iter().all(|outcome| outcome.end_of_input));
    whole.end();
    let log = timelines::read(WHOLE.as_ref()).unwrap();
    assert_eq!((log.generation, log.checkpoints.is_empty()), (3, false));

    let undisturbed = Settings {
        clickhouse_database: "out_of_object_store".to_owned(),
        state_dir: stage.path("followed").display().to_string(),
        ..settings(&stage, 1, 2)
    };
    let options = RunOptions {
        epoch_log: Some(WHOLE.into()),
        ..RunOptions::default()
    };
    let follows = start(undisturbed, options, &Shutdown::default(), &Arc::default());
    end_of(follows);
    compare(&stage, "in_object_store", "out_of_object_store");
}

/// All processes of one run.
struct Run {
    processes: Vec<JoinHandle<anyhow::Result<Outcome>>>,
    shutdown: Shutdown,
    leader: Arc<Metrics>,
}

impl Run {
    fn start(stage: &Stage, processes: u16, workers: u16) -> Run {
        let settings = settings(stage, processes, workers);
        let (shutdown, leader) = (Shutdown::default(), Arc::<Metrics>::default());
        let start = |process: usize| {
            let options = RunOptions {
                process,
                ..RunOptions::default()
            };
            let metrics = match process {
                0 => leader.clone(),
                _ => Arc::default(),
            };
            start(settings.clone(), options, &shutdown, &metrics)
        };
        let processes = (0..usize::from(processes)).map(start).collect();
        Run {
            processes,
            shutdown,
            leader,
        }
    }

    /// Stops it once it has cut so many epochs.
    fn stop_after(self, epochs: u64) {
        let since = Instant::now();
        while self.leader.epochs.get() < epochs {
            assert!(since.elapsed() < PATIENCE, "no {epochs} epochs");
            assert!(
                !self.processes.iter().any(JoinHandle::is_finished),
                "{:?}",
                self.end()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        self.shutdown.request();
        self.end();
    }

    fn end(self) -> Vec<Outcome> {
        self.processes.into_iter().map(end_of).collect()
    }
}

fn end_of(process: JoinHandle<anyhow::Result<Outcome>>) -> Outcome {
    let since = Instant::now();
    while !process.is_finished() {
        assert!(since.elapsed() < PATIENCE, "a process does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    process.join().unwrap().unwrap()
}

/// Copies what appears in the epoch log before it is deleted there.
struct WholeLog {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl WholeLog {
    fn start() -> WholeLog {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (from, to) = (Store::open(STATE).unwrap(), Store::open(WHOLE).unwrap());
            let mut copied = BTreeSet::new();
            loop {
                let is_last = stopped.load(Ordering::Relaxed);
                for folder in ["timelines", "00000001/log"] {
                    for entry in from.list(folder).unwrap() {
                        if let Some(bytes) = from.get(&entry.path).unwrap()
                            && copied.insert(entry.path.clone())
                        {
                            to.put_new(&entry.path, &bytes).unwrap();
                        }
                    }
                }
                if is_last {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        WholeLog { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn start(
    settings: Settings,
    options: RunOptions,
    shutdown: &Shutdown,
    metrics: &Arc<Metrics>,
) -> JoinHandle<anyhow::Result<Outcome>> {
    let (shutdown, metrics) = (shutdown.clone(), metrics.clone());
    std::thread::spawn(move || dataflow::run(Arc::new(settings), options, shutdown, metrics))
}

fn settings(stage: &Stage, processes: u16, workers: u16) -> Settings {
    let flags = stage::SETTINGS.iter().map(|&flag| flag.to_owned());
    let read = Loaded::read(&Inputs {
        flags: flags.collect(),
        ..Inputs::default()
    });
    Settings {
        recording: stage.path("recording").display().to_string(),
        clickhouse_url: stage.target.url.clone(),
        clickhouse_database: stage.target.database.clone(),
        state_dir: STATE.to_owned(),
        checkpoint_interval: Duration::from_millis(500),
        checkpoints_kept: 100,
        processes,
        workers,
        cluster_port: free_port(),
        cluster_secret: "a secret of the test of stores".to_owned(),
        ..read.unwrap().settings
    }
}
