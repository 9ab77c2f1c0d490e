//! What the supervisor says about the job: what its processes say, put together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ops::status::{PartitionStatus, ProcessState, Progress, Status};

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its processes look for source and warehouse.
    #[default]
    Starting,
    /// They go again through what was cut before.
    Restoring,
    /// It works.
    Running,
    /// It lets what was read land, and then ends.
    Draining,
    /// A process has failed, and all are started again after a wait.
    Restarting,
    /// It has given up.
    Failed,
    /// It has ended as asked.
    Finished,
}

impl JobState {
    /// The word that the API uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            JobState::Starting => "starting",
            JobState::Restoring => "restoring",
            JobState::Running => "running",
            JobState::Draining => "draining",
            JobState::Restarting => "restarting",
            JobState::Failed => "failed",
            JobState::Finished => "finished",
        }
    }
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its index in the job.
    pub process: usize,
    /// Its process id.
    pub pid: u32,
    /// How far it has come; `None` while it does not answer.
    pub state: Option<ProcessState>,
    /// Time since its start, ms.
    pub uptime_ms: Option<i64>,
    /// Cores that it used over the last 10 s.
    pub cpu: Option<f64>,
    /// Resident memory, bytes.
    pub resident_memory_bytes: Option<u64>,
}

/// How an operator spent the last 10 s, as shares of its workers' time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorLoad {
    /// Name in the dataflow; `source` and `sink` are its ends.
    pub operator: String,
    /// In its logic.
    pub busy: f64,
    /// With data that it could not give on.
    pub backpressure: f64,
}

/// One time that the processes were started again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// When the failure was noticed, ms since 1970.
    pub at_ms: i64,
    /// What failed.
    pub reason: String,
    /// How long the start waited, ms.
    pub after_ms: u64,
}

/// Everything about a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub state: JobState,
    /// Why it is in that state, where that needs a reason.
    pub reason: Option<String>,
    /// Whether spans that come in now will land.
    pub ready: bool,
    /// What it waits for, if it does.
    pub waiting_for: Option<String>,
    /// Version of the program that runs.
    pub version: Option<String>,
    /// The program's path.
    pub program: String,
    /// The supervisor's process id.
    pub supervisor_pid: u32,
    /// Time since the supervisor's start, ms.
    pub uptime_ms: i64,
    /// What its processes have done.
    #[serde(flatten)]
    pub progress: Progress,
    /// Its operators.
    pub operators: Vec<OperatorLoad>,
    /// Its processes.
    pub processes: Vec<ProcessStatus>,
    /// Restarts since the supervisor's start.
    pub restarts: u64,
    /// The last of them.
    pub last_restarts: Vec<Restart>,
}

impl JobStatus {
    /// Adds what one process says.
    pub(super) fn add(&mut self, said: &Status) {
        self.waiting_for = self.waiting_for.take().or_else(|| said.waiting_for.clone());
        self.version = self.version.take().or_else(|| Some(said.version.clone()));
        self.progress.add(&said.progress);
    }
}

impl Progress {
    /// Adds that of one process. What every process knows is taken from the one that knows most.
    fn add(&mut self, said: &Progress) {
        self.timeline = self.timeline.take().or_else(|| said.timeline.clone());
        self.generation = self.generation.max(said.generation);
        self.epoch = self.epoch.max(said.epoch);
        self.landed_epoch = self.landed_epoch.max(said.landed_epoch);
        self.epochs_in_flight = self.epochs_in_flight.max(said.epochs_in_flight);
        if said.watermark_ms > self.watermark_ms {
            self.watermark_ms = said.watermark_ms;
            self.watermark_delay_ms = said.watermark_delay_ms;
        }
        if said.checkpoint.map(|c| c.epoch) > self.checkpoint.map(|c| c.epoch) {
            self.checkpoint = said.checkpoint;
        }
        for partition in &said.partitions {
            self.add_partition(partition);
        }
        self.records += said.records;
        self.record_bytes += said.record_bytes;
        self.spans.found += said.spans.found;
        self.spans.landed += said.spans.landed;
        self.spans.duplicate += said.spans.duplicate;
        self.spans.rejected += said.spans.rejected;
        self.spans.late += said.spans.late;
        add_up(&mut self.dead_letters, &said.dead_letters);
        add_up(&mut self.rows, &said.rows);
        self.blocks += said.blocks;
        self.insert.retries += said.insert.retries;
        self.insert.in_flight_bytes += said.insert.in_flight_bytes;
        self.insert.p50_ms = self.insert.p50_ms.max(said.insert.p50_ms);
        self.insert.p99_ms = self.insert.p99_ms.max(said.insert.p99_ms);
        add_up(&mut self.state_keys, &said.state_keys);
    }

    /// The leader knows a partition's position, the process that reads it its lag, and whether it is paused.
    fn add_partition(&mut self, said: &PartitionStatus) {
        let key = |p: &PartitionStatus| (p.topic.clone(), p.partition);
        match self.partitions.binary_search_by_key(&key(said), key) {
            Ok(at) => {
                let known = &mut self.partitions[at];
                known.next_offset = known.next_offset.max(said.next_offset);
                known.lag = known.lag.max(said.lag);
                known.idle |= said.idle;
                known.paused |= said.paused;
            }
            Err(at) => self.partitions.insert(at, said.clone()),
        }
    }
}

fn add_up<N: Copy + std::ops::AddAssign + Default>(
    sums: &mut BTreeMap<String, N>,
    said: &BTreeMap<String, N>,
) {
    for (name, count) in said {
        *sums.entry(name.clone()).or_default() += *count;
    }
}

/// What processes that are up say together.
pub(super) fn state_of(processes: &[Option<Status>]) -> JobState {
    let least = processes
        .iter()
        .map(|said| {
            said.as_ref()
                .map_or(ProcessState::Starting, |said| said.state)
        })
        .min();
    match least.unwrap_or_default() {
        ProcessState::Starting => JobState::Starting,
        ProcessState::Restoring => JobState::Restoring,
        ProcessState::Running => JobState::Running,
        ProcessState::Draining => JobState::Draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32, next_offset: i64, lag: Option<i64>) -> PartitionStatus {
        PartitionStatus {
            topic: "otlp_spans".to_owned(),
            partition,
            next_offset,
            lag,
            idle: false,
            paused: false,
        }
    }

    #[test]
    fn counts_add_up_and_epochs_do_not() {
        let one = Progress {
            epoch: 7,
            landed_epoch: 6,
            watermark_ms: Some(5),
            watermark_delay_ms: Some(1),
            records: 10,
            rows: BTreeMap::from([("dwd_span".to_owned(), 2)]),
            partitions: vec![partition(1, 40, None), partition(0, 30, Some(3))],
            ..Progress::default()
        };
        let two = Progress {
            epoch: 7,
            landed_epoch: 5,
            watermark_ms: None,
            records: 1,
            rows: BTreeMap::from([("dwd_span".to_owned(), 3)]),
            partitions: vec![PartitionStatus {
                paused: true,
                ..partition(1, 0, Some(9))
            }],
            ..Progress::default()
        };
        let mut job = Progress::default();
        job.add(&one);
        job.add(&two);
        assert_eq!((job.epoch, job.landed_epoch, job.records), (7, 6, 11));
        assert_eq!(
            (job.watermark_ms, job.watermark_delay_ms),
            (Some(5), Some(1))
        );
        assert_eq!(job.rows["dwd_span"], 5);
        let paused = PartitionStatus {
            paused: true,
            ..partition(1, 40, Some(9))
        };
        assert_eq!(job.partitions, [partition(0, 30, Some(3)), paused]);
    }

    #[test]
    fn a_job_is_as_far_as_its_last_process() {
        let said = |state| {
            Some(Status {
                state,
                ..Status::default()
            })
        };
        let running = || said(ProcessState::Running);
        assert_eq!(state_of(&[running(), running()]), JobState::Running);
        assert_eq!(state_of(&[running(), None]), JobState::Starting);
        assert_eq!(
            state_of(&[running(), said(ProcessState::Restoring)]),
            JobState::Restoring
        );
        assert_eq!(
            state_of(&[said(ProcessState::Draining)]),
            JobState::Draining
        );
    }
}
