//! What the job counts about itself. Every name, unit and help text is declared here once; docs/operations.md lists
//! them, and a test holds the two equal.
//!
//! Workers keep an `Arc<Metrics>` and update it with relaxed atomics, once an epoch or block rather than once a span.

mod health;
mod process;
mod registry;

pub use health::Health;
pub use registry::{Counter, Family, Gauge, Histogram, Metric, Seconds, Timing};

pub(crate) use process::resident_bytes;
pub(crate) use registry::head;

/// Name and help text of one metric, for the documentation and its test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricSpec {
    /// Name in the exposition, with its unit.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! declare_metrics {
    (
        single { $(#[doc = $doc:literal] $field:ident: $kind:ty = $name:literal;)+ }
        family { $(#[doc = $fdoc:literal] $ffield:ident: $fkind:ty = $fname:literal [$($label:literal),+];)+ }
        scrape { $($sname:literal, $skind:literal, $shelp:literal;)+ }
    ) => {
        /// Every metric of the job.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $doc] pub $field: $kind,)+
            $(#[doc = $fdoc] pub $ffield: Family<$fkind>,)+
            /// What the health checks and the status tell besides numbers.
            pub health: Health,
        }

        impl Default for Metrics {
            fn default() -> Self {
                Metrics {
                    $($field: <$kind>::default(),)+
                    $($ffield: Family::new(&[$($label),+]),)+
                    health: Health::default(),
                }
            }
        }

        /// Every metric in the order of the exposition.
        pub const METRICS: &[MetricSpec] = &[
            $(MetricSpec { name: $name, kind: <$kind as Metric>::TYPE, labels: &[], help: $doc },)+
            $(MetricSpec { name: $fname, kind: <$fkind as Metric>::TYPE, labels: &[$($label),+], help: $fdoc },)+
            $(MetricSpec { name: $sname, kind: $skind, labels: &[], help: $shelp },)+
        ];

        impl Metrics {
            /// The exposition, but for what is measured at the scrape.
            fn render_declared(&self) -> String {
                let mut out = String::with_capacity(16 << 10);
                $(
                    registry::head(&mut out, $name, <$kind as Metric>::TYPE, $doc.trim());
                    self.$field.render($name, "", &mut out);
                )+
                $(
                    registry::head(&mut out, $fname, <$fkind as Metric>::TYPE, $fdoc.trim());
                    self.$ffield.render($fname, &mut out);
                )+
                out
            }
        }
    };
}

declare_metrics! {
    single {
        /// Bytes of the values of all records read.
        record_bytes: Counter = "spanflow_record_bytes_total";
        /// Spans found in the records read, before any was dropped.
        spans_in: Counter = "spanflow_spans_in_total";
        /// Spans whose rows the warehouse has acknowledged.
        spans_landed: Counter = "spanflow_spans_landed_total";
        /// Spans dropped as copies of one that was there before.
        spans_duplicate: Counter = "spanflow_spans_duplicate_total";
        /// Spans rejected one by one; those of an undecodable record are not known and not counted.
        spans_rejected: Counter = "spanflow_spans_rejected_total";
        /// Spans beyond the allowed lateness: in DWD, not in the windows.
        spans_late: Counter = "spanflow_spans_late_total";
        /// Metric points found in the records read, before any was dropped.
        points_in: Counter = "spanflow_points_in_total";
        /// Metric points dropped as copies of one that was there before.
        points_duplicate: Counter = "spanflow_points_duplicate_total";
        /// Metric points rejected one by one.
        points_rejected: Counter = "spanflow_points_rejected_total";
        /// Metric points beyond the allowed lateness: in DWD, not in the windows.
        points_late: Counter = "spanflow_points_late_total";
        /// Epochs cut.
        epochs: Counter = "spanflow_epochs_total";
        /// The newest epoch cut.
        epoch: Gauge = "spanflow_epoch";
        /// The epoch up to which everything has landed.
        landed_epoch: Gauge = "spanflow_landed_epoch";
        /// Epochs cut and not yet landed.
        epochs_in_flight: Gauge = "spanflow_epochs_in_flight";
        /// The job's watermark in milliseconds since 1970; 0 before the first.
        watermark_ms: Gauge = "spanflow_watermark_timestamp_milliseconds";
        /// The epoch of the newest complete checkpoint; 0 before the first.
        checkpoint_epoch: Gauge = "spanflow_checkpoint_epoch";
        /// Bytes of all state files that the newest checkpoint needs.
        checkpoint_bytes: Gauge = "spanflow_checkpoint_bytes";
        /// When the newest checkpoint was completed, in milliseconds since 1970; 0 before the first.
        checkpoint_ms: Gauge = "spanflow_checkpoint_timestamp_milliseconds";
        /// How long a worker stood still to save its operators' state, once a checkpoint and worker.
        checkpoint_pause_seconds: Histogram = "spanflow_checkpoint_pause_seconds";
        /// Time from sending an insert to its acknowledgement, retries left out.
        insert_seconds: Histogram = "spanflow_insert_seconds";
        /// Inserts sent again after a failure.
        insert_retries: Counter = "spanflow_insert_retries_total";
        /// Bytes of blocks that were built and are not yet acknowledged.
        in_flight_bytes: Gauge = "spanflow_in_flight_bytes";
    }
    family {
        /// Records read, by topic.
        records: Counter = "spanflow_records_total" ["topic"];
        /// Rejected records, spans and metric points, by error code.
        dead_letters: Counter = "spanflow_dead_letters_total" ["error_code"];
        /// Flags sent to the topic of alerts, by state: open, updated, resolved.
        alerts: Counter = "spanflow_alerts_total" ["state"];
        /// Offset of the next record to read.
        partition_offset: Gauge = "spanflow_partition_offset" ["topic", "partition"];
        /// Records between the position and the partition's end.
        partition_lag: Gauge = "spanflow_partition_lag_records" ["topic", "partition"];
        /// 1 while a partition is idle and does not hold the watermark back.
        partition_idle: Gauge = "spanflow_partition_idle" ["topic", "partition"];
        /// 1 while a partition is so far ahead of the slowest that it is not read.
        partition_paused: Gauge = "spanflow_partition_paused" ["topic", "partition"];
        /// Records that were deleted before they were read, where `on_data_loss` lets the job go on; at most, as offsets have gaps.
        records_lost: Counter = "spanflow_records_lost_total" ["topic", "partition"];
        /// Blocks acknowledged, by table.
        blocks: Counter = "spanflow_blocks_total" ["table"];
        /// Rows acknowledged, by table.
        rows: Counter = "spanflow_rows_total" ["table"];
        /// Keys in state: windows, traces, sessions, edges (an agent's minutes), processes, users (a user's days), fingerprints.
        state_keys: Gauge = "spanflow_state_keys" ["state"];
        /// Time that workers spent in an operator's logic; waits for room at the sink count for who waits.
        operator_busy: Seconds = "spanflow_operator_busy_seconds_total" ["operator"];
        /// Time that the source held records back for want of an epoch, and that blocks waited for room at the sink.
        operator_blocked: Seconds = "spanflow_operator_blocked_seconds_total" ["operator"];
    }
    scrape {
        "spanflow_watermark_delay_seconds", "gauge", "How far the watermark is behind the wall clock; absent before the first watermark.";
        "spanflow_ready", "gauge", "1 while the source is assigned and the warehouse proven, as /readyz says.";
        "process_resident_memory_bytes", "gauge", "Resident memory of this process.";
        "process_start_time_seconds", "gauge", "When this process started, in seconds since 1970.";
    }
}

impl Metrics {
    /// The whole exposition, as `/metrics` gives it.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = self.render_declared();
        for spec in METRICS {
            let value = match spec.name {
                "spanflow_watermark_delay_seconds" => self.watermark_delay_ms().map(|ms| {
                    #[allow(clippy::cast_precision_loss)]
                    let seconds = ms as f64 / 1e3;
                    seconds.to_string()
                }),
                "spanflow_ready" => Some(u8::from(self.health.is_ready()).to_string()),
                "process_resident_memory_bytes" => {
                    process::resident_bytes("self").map(|b| b.to_string())
                }
                "process_start_time_seconds" => Some((self.health.started_ms() / 1000).to_string()),
                _ => continue,
            };
            if let Some(value) = value {
                registry::head(&mut out, spec.name, spec.kind, spec.help);
                out.push_str(&format!("{} {value}\n", spec.name));
            }
        }
        out
    }

    /// How far the watermark is behind the wall clock, `None` before the first.
    #[must_use]
    pub fn watermark_delay_ms(&self) -> Option<i64> {
        match self.watermark_ms.get() {
            0 => None,
            watermark => Some(crate::source::wall_ms() - watermark),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_operations_page_lists_every_metric_with_its_help() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let page = std::fs::read_to_string(path).unwrap();
        let listed: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `spanflow_") || line.starts_with("| `process_"))
            .collect();
        let declared: Vec<String> = METRICS
            .iter()
            .chain(crate::ops::supervise::METRICS)
            .map(|m| {
                let labels = if m.labels.is_empty() {
                    "–".to_owned()
                } else {
                    format!("`{}`", m.labels.join("` `"))
                };
                format!(
                    "| `{}` | {} | {labels} | {} |",
                    m.name,
                    m.kind,
                    m.help.trim()
                )
            })
            .collect();
        assert_eq!(
            listed,
            declared,
            "docs/operations.md should list:\n{}\n",
            declared.join("\n")
        );
    }

    #[test]
    fn the_exposition_has_every_metric_once_and_in_base_form() {
        let metrics = Metrics::default();
        metrics.watermark_ms.set(1);
        for spec in METRICS.iter().filter(|spec| !spec.labels.is_empty()) {
            assert!(spec.help.trim().ends_with('.'), "{}", spec.name);
        }
        metrics.rows.with(&["dwd_span"]).add(3);
        metrics.partition_lag.with(&["otlp_spans", "0"]).set(7);
        let text = metrics.render();
        for spec in METRICS {
            let types = text
                .matches(&format!("# TYPE {} {}\n", spec.name, spec.kind))
                .count();
            assert_eq!(types, 1, "{} in\n{text}", spec.name);
            assert_eq!(
                spec.kind == "counter",
                spec.name.ends_with("_total"),
                "{}",
                spec.name
            );
        }
        assert!(
            text.contains("\nspanflow_rows_total{table=\"dwd_span\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "\nspanflow_partition_lag_records{topic=\"otlp_spans\",partition=\"0\"} 7\n"
            ),
            "{text}"
        );
    }
}
