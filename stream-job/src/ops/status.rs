//! What one process of a job says about itself, as `GET /api/v1/process/status` gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metrics::{Counter, Family, Gauge, Metrics, resident_bytes};
use crate::source::wall_ms;

/// How far a process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It looks for its source and its warehouse, and opens its log.
    #[default]
    Starting,
    /// It goes again through what was cut before it started.
    Restoring,
    /// It works.
    Running,
    /// It lets what was read land, and then ends.
    Draining,
}

/// One partition of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the next record to release.
    pub next_offset: i64,
    /// Records between that and the partition's end; `None` until the broker has told the end.
    pub lag: Option<i64>,
    /// Whether it is idle and does not hold the watermark back.
    pub idle: bool,
    /// Whether it is so far ahead of the slowest that it is not read.
    pub paused: bool,
}

/// Spans, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanCounts {
    /// Found in the records read.
    #[serde(rename = "in")]
    pub found: u64,
    /// Acknowledged by the warehouse.
    pub landed: u64,
    /// Dropped as copies.
    pub duplicate: u64,
    /// Rejected one by one.
    pub rejected: u64,
    /// Beyond the allowed lateness.
    pub late: u64,
}

/// Inserts into the warehouse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertStatus {
    /// Sent again after a failure.
    pub retries: u64,
    /// Bytes built and not yet acknowledged.
    pub in_flight_bytes: i64,
    /// Median time to the acknowledgement, ms, as the bound of its bucket.
    pub p50_ms: Option<u64>,
    /// The same for 99 of 100.
    pub p99_ms: Option<u64>,
}

/// The newest checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// The epoch whose state it holds.
    pub epoch: i64,
    /// When it was complete, ms since 1970.
    pub completed_ms: i64,
    /// How long ago that was, ms.
    pub age_ms: i64,
    /// Bytes of all state files that it needs.
    pub bytes: i64,
}

/// What an operator did since the process started, summed over its workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorTimes {
    /// Name in the dataflow; `source` and `sink` are its ends.
    pub operator: String,
    /// Seconds in its logic.
    pub busy_seconds: f64,
    /// Seconds in which it had data and could not give it on.
    pub blocked_seconds: f64,
}

/// How far one process has come, or a job with all of its processes, and what was counted since they started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Timeline that the job writes.
    pub timeline: Option<String>,
    /// Generation of the job's processes.
    pub generation: Option<u64>,
    /// Newest epoch cut.
    pub epoch: i64,
    /// The epoch up to which everything has landed.
    pub landed_epoch: i64,
    /// Epochs cut and not yet landed.
    pub epochs_in_flight: i64,
    /// The job's watermark, ms since 1970; `None` before the first.
    pub watermark_ms: Option<i64>,
    /// How far that is behind the wall clock, ms.
    pub watermark_delay_ms: Option<i64>,
    /// The newest checkpoint; `None` before the first.
    pub checkpoint: Option<CheckpointStatus>,
    /// Its partitions.
    pub partitions: Vec<PartitionStatus>,
    /// Records read.
    pub records: u64,
    /// Bytes of their values.
    pub record_bytes: u64,
    /// Spans.
    pub spans: SpanCounts,
    /// Records and spans rejected, by code.
    pub dead_letters: BTreeMap<String, u64>,
    /// Rows acknowledged, by table.
    pub rows: BTreeMap<String, u64>,
    /// Blocks acknowledged.
    pub blocks: u64,
    /// Inserts.
    pub insert: InsertStatus,
    /// Keys in state, by kind.
    pub state_keys: BTreeMap<String, i64>,
}

/// What a process says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// How far it has come.
    pub state: ProcessState,
    /// Whether spans that come in now will land.
    pub ready: bool,
    /// What it waits for, if it does.
    pub waiting_for: Option<String>,
    /// Whether every partition has its position and is being read.
    pub source_assigned: bool,
    /// Whether the warehouse has shown that it drops a block that comes twice.
    pub warehouse_proven: bool,
    /// Whether it is draining and will end.
    pub stopping: bool,
    /// Time since its start, ms.
    pub uptime_ms: i64,
    /// What it has done.
    #[serde(flatten)]
    pub progress: Progress,
    /// Its operators.
    pub operators: Vec<OperatorTimes>,
    /// Resident memory, bytes.
    pub resident_memory_bytes: Option<u64>,
}

impl Metrics {
    /// The status as of now.
    #[must_use]
    pub fn status(&self) -> Status {
        let health = &self.health;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.process_state(),
            ready: health.is_ready(),
            waiting_for: health.waiting_for(),
            source_assigned: health.source_assigned(),
            warehouse_proven: health.warehouse_proven(),
            stopping: health.stopping(),
            uptime_ms: wall_ms() - health.started_ms(),
            progress: self.progress(),
            operators: self.operators(),
            resident_memory_bytes: resident_bytes("self"),
        }
    }

    fn progress(&self) -> Progress {
        let health = &self.health;
        let watermark = self.watermark_ms.get();
        let quantile = |q: f64| {
            let bound = self.insert_seconds.quantile(q);
            bound.map(|bound: Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX))
        };
        Progress {
            timeline: health.timeline().map(str::to_owned),
            generation: health.generation(),
            epoch: self.epoch.get(),
            landed_epoch: self.landed_epoch.get(),
            epochs_in_flight: self.epochs_in_flight.get(),
            watermark_ms: (watermark != 0).then_some(watermark),
            watermark_delay_ms: self.watermark_delay_ms(),
            checkpoint: self.checkpoint(),
            partitions: self.partitions(),
            records: by_label(&self.records).values().sum(),
            record_bytes: self.record_bytes.get(),
            spans: SpanCounts {
                found: self.spans_in.get(),
                landed: self.spans_landed.get(),
                duplicate: self.spans_duplicate.get(),
                rejected: self.spans_rejected.get(),
                late: self.spans_late.get(),
            },
            dead_letters: by_label(&self.dead_letters),
            rows: by_label(&self.rows),
            blocks: by_label(&self.blocks).values().sum(),
            insert: InsertStatus {
                retries: self.insert_retries.get(),
                in_flight_bytes: self.in_flight_bytes.get(),
                p50_ms: quantile(0.5),
                p99_ms: quantile(0.99),
            },
            state_keys: (self.state_keys.members().into_iter())
                .map(|(labels, gauge)| (labels.join("/"), gauge.get()))
                .collect(),
        }
    }

    fn checkpoint(&self) -> Option<CheckpointStatus> {
        let completed_ms = self.checkpoint_ms.get();
        (completed_ms != 0).then(|| CheckpointStatus {
            epoch: self.checkpoint_epoch.get(),
            completed_ms,
            age_ms: wall_ms() - completed_ms,
            bytes: self.checkpoint_bytes.get(),
        })
    }

    fn process_state(&self) -> ProcessState {
        let health = &self.health;
        let restored = u64::try_from(self.epoch.get()).unwrap_or(0) >= health.restores_up_to();
        if health.stopping() {
            ProcessState::Draining
        } else if !(health.source_assigned() && health.warehouse_proven()) {
            ProcessState::Starting
        } else if restored {
            ProcessState::Running
        } else {
            ProcessState::Restoring
        }
    }

    fn operators(&self) -> Vec<OperatorTimes> {
        let mut times: BTreeMap<String, OperatorTimes> = BTreeMap::new();
        for (labels, busy) in self.operator_busy.members() {
            times.entry(labels.join("/")).or_default().busy_seconds = busy.get();
        }
        for (labels, blocked) in self.operator_blocked.members() {
            times.entry(labels.join("/")).or_default().blocked_seconds = blocked.get();
        }
        let named = times.into_iter();
        named
            .map(|(operator, times)| OperatorTimes { operator, ..times })
            .collect()
    }

    /// The process that leads knows the positions of all partitions, and each process the rest of those that it reads.
    fn partitions(&self) -> Vec<PartitionStatus> {
        let values = |family: &Family<Gauge>| -> BTreeMap<Vec<String>, i64> {
            let members = family.members().into_iter();
            members
                .map(|(labels, gauge)| (labels, gauge.get()))
                .collect()
        };
        let (offsets, lags) = (values(&self.partition_offset), values(&self.partition_lag));
        let (idle, paused) = (values(&self.partition_idle), values(&self.partition_paused));
        let known: BTreeSet<&Vec<String>> = [&offsets, &lags, &paused]
            .into_iter()
            .flat_map(BTreeMap::keys)
            .collect();
        let partitions = known.into_iter().map(|labels| PartitionStatus {
            topic: labels[0].clone(),
            partition: labels[1].parse().unwrap_or(-1),
            next_offset: offsets.get(labels).copied().unwrap_or(0),
            lag: lags.get(labels).copied(),
            idle: idle.get(labels) == Some(&1),
            paused: paused.get(labels) == Some(&1),
        });
        partitions.collect()
    }
}

fn by_label(family: &Family<Counter>) -> BTreeMap<String, u64> {
    let members = family.members().into_iter();
    members
        .map(|(labels, counter)| (labels.join("/"), counter.get()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_shows_partitions_counts_and_operators() {
        let metrics = Metrics::default();
        metrics.partition_offset.with(&["otlp_spans", "3"]).set(42);
        metrics.partition_lag.with(&["otlp_spans", "3"]).set(8);
        metrics.records.with(&["otlp_spans"]).add(42);
        metrics.records.with(&["agent.conversations"]).add(1);
        metrics.dead_letters.with(&["zero_trace_id"]).add(2);
        let tenth = Duration::from_millis(100);
        metrics.operator_busy.with(&["source"]).add(tenth);
        metrics.operator_blocked.with(&["source"]).add(tenth);
        let status = metrics.status();
        assert_eq!(status.progress.records, 43);
        assert_eq!(status.progress.dead_letters["zero_trace_id"], 2);
        let partition = &status.progress.partitions[0];
        assert_eq!((partition.next_offset, partition.lag), (42, Some(8)));
        assert!(!partition.idle && status.progress.watermark_ms.is_none());
        assert_eq!(status.progress.checkpoint, None);
        metrics.checkpoint_epoch.set(7);
        metrics.checkpoint_ms.set(wall_ms() - 5_000);
        let newest = metrics.status().progress.checkpoint.unwrap_or_default();
        assert!(newest.epoch == 7 && newest.age_ms >= 5_000, "{newest:?}");
        let source = &status.operators[0];
        assert_eq!((source.busy_seconds, source.blocked_seconds), (0.1, 0.1));
    }

    #[test]
    fn a_process_that_does_not_lead_tells_of_the_partitions_that_it_reads() {
        let metrics = Metrics::default();
        metrics.partition_lag.with(&["otlp_spans", "3"]).set(8);
        metrics.partition_paused.with(&["otlp_spans", "3"]).set(1);
        let partitions = metrics.status().progress.partitions;
        let expected = PartitionStatus {
            topic: "otlp_spans".to_owned(),
            partition: 3,
            lag: Some(8),
            paused: true,
            ..PartitionStatus::default()
        };
        assert_eq!(partitions, [expected]);
    }

    #[test]
    fn a_process_starts_restores_runs_and_drains() {
        let metrics = Metrics::default();
        assert_eq!(metrics.status().state, ProcessState::Starting);
        metrics.health.set_source_assigned(true);
        metrics.health.set_warehouse_proven(true);
        metrics.health.set_restores_up_to(Some(10));
        metrics.epoch.set(9);
        assert_eq!(metrics.status().state, ProcessState::Restoring);
        metrics.epoch.set(10);
        assert_eq!(metrics.status().state, ProcessState::Running);
        metrics.health.set_stopping();
        assert_eq!(metrics.status().state, ProcessState::Draining);
    }
}
