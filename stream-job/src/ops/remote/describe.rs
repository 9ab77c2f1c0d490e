//! A job's status in words.

use std::fmt::Write as _;

use crate::ops::supervise::JobStatus;
use crate::source::wall_ms;

/// What a person wants to know first, a line each.
pub(super) fn describe(job: &JobStatus) -> String {
    let mut text = String::new();
    let done = &job.progress;
    let seconds = |ms: i64| format!("{:.1} s", ms as f64 / 1e3);
    let _ = write!(text, "{}: {}", job.name, job.state.word());
    if let Some(reason) = &job.reason {
        let _ = write!(text, ", {reason}");
    }
    let _ = writeln!(text, ", up {}", seconds(job.uptime_ms));
    if let Some(waits_for) = &job.waiting_for {
        let _ = writeln!(text, "waiting for    {waits_for}");
    }
    let _ = writeln!(
        text,
        "timeline       {}, generation {}",
        done.timeline.as_deref().unwrap_or("none yet"),
        done.generation
            .map_or_else(|| "none yet".to_owned(), |n| n.to_string())
    );
    let _ = writeln!(
        text,
        "epoch          {}, landed {}, {} in flight",
        done.epoch, done.landed_epoch, done.epochs_in_flight
    );
    let _ = writeln!(
        text,
        "watermark      {}",
        done.watermark_delay_ms.map_or_else(
            || "none yet".to_owned(),
            |delay| format!("{} behind the clock", seconds(delay))
        )
    );
    let _ = writeln!(
        text,
        "checkpoint     {}",
        done.checkpoint.map_or_else(
            || "none".to_owned(),
            |c| format!(
                "epoch {}, {} ago, {} bytes",
                c.epoch,
                seconds(c.age_ms),
                c.bytes
            )
        )
    );
    let _ = writeln!(
        text,
        "spans          {} in, {} landed, {} duplicate, {} rejected, {} late",
        done.spans.found,
        done.spans.landed,
        done.spans.duplicate,
        done.spans.rejected,
        done.spans.late
    );
    for partition in &done.partitions {
        let lag = partition
            .lag
            .map_or_else(|| "unknown".to_owned(), |lag| lag.to_string());
        let idle = if partition.idle { ", idle" } else { "" };
        let paused = if partition.paused { ", paused" } else { "" };
        let _ = writeln!(
            text,
            "partition      {}/{} at {}, lag {lag}{idle}{paused}",
            partition.topic, partition.partition, partition.next_offset
        );
    }
    for one in &job.operators {
        let _ = writeln!(
            text,
            "operator       {:12} busy {:3.0} %  back-pressure {:3.0} %",
            one.operator,
            one.busy * 100.0,
            one.backpressure * 100.0
        );
    }
    for one in &job.processes {
        let mib = one.resident_memory_bytes.unwrap_or(0) >> 20;
        let _ = writeln!(
            text,
            "process        {}, pid {}, {:.2} cores, {mib} MiB",
            one.process,
            one.pid,
            one.cpu.unwrap_or(0.0)
        );
    }
    let _ = writeln!(text, "restarts       {}", job.restarts);
    for restart in &job.last_restarts {
        let ago = seconds(wall_ms() - restart.at_ms);
        let _ = writeln!(text, "restart        {ago} ago: {}", restart.reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::{PartitionStatus, Progress};
    use crate::ops::supervise::{JobState, OperatorLoad, Restart};

    #[test]
    fn a_status_is_told_in_words() {
        let job = JobStatus {
            name: "agents".to_owned(),
            state: JobState::Restarting,
            reason: Some("process 0 was killed (SIGKILL)".to_owned()),
            restarts: 1,
            last_restarts: vec![Restart {
                at_ms: wall_ms(),
                reason: "process 0 was killed (SIGKILL)".to_owned(),
                after_ms: 500,
            }],
            operators: vec![OperatorLoad {
                operator: "source".to_owned(),
                busy: 0.25,
                backpressure: 0.5,
            }],
            progress: Progress {
                partitions: vec![PartitionStatus {
                    topic: "otlp_spans".to_owned(),
                    partition: 3,
                    next_offset: 42,
                    paused: true,
                    ..PartitionStatus::default()
                }],
                ..Progress::default()
            },
            ..JobStatus::default()
        };
        let text = describe(&job);
        assert!(
            text.starts_with("agents: restarting, process 0 was killed (SIGKILL), up"),
            "{text}"
        );
        assert!(
            text.contains("otlp_spans/3 at 42, lag unknown, paused\n"),
            "{text}"
        );
        assert!(
            text.contains("source       busy  25 %  back-pressure  50 %"),
            "{text}"
        );
        assert!(
            text.contains("watermark      none yet") && text.contains("ago: process 0"),
            "{text}"
        );
    }
}
