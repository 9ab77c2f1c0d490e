//! The numbers of the live summary, from the warehouse and the job.

use anyhow::Result;
use serde::Deserialize;

use crate::job::Job;
use crate::sql::Sql;

/// What the warehouse says in one question.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Summary {
    /// Spans in all epochs that have landed, the dropped and rejected ones included.
    spans: u64,
    spans_landed: u64,
    spans_duplicate: u64,
    spans_late: u64,
    errors: u64,
    windows: u64,
    sessions: u64,
    anomalies: u64,
    dead_letters: u64,
    /// Spans that the two delays are taken from.
    delay_spans: u64,
    delay_p50_ms: f64,
    delay_p95_ms: f64,
    /// Spans that the job has read and that have not landed yet; not from the warehouse.
    #[serde(default)]
    in_flight: u64,
}

/// The delays are those of `ads_freshness`: from a span's end to the acknowledgement of its rows, in the last minute or
/// two. `dws_step_1m_latest` is one row a window and key; its errors leave out what is late, as its counts do.
const QUESTION: &str = "
WITH recent AS
(
    SELECT sumMap(delay_buckets) AS delays, sum(spans) AS spans
    FROM ads_freshness_latest
    WHERE window_start > now('UTC') - INTERVAL 2 MINUTE
)
SELECT
    (SELECT sum(spans) FROM ops_epoch) AS spans,
    (SELECT sum(spans_landed) FROM ops_epoch) AS spans_landed,
    (SELECT sum(spans_duplicate) FROM ops_epoch) AS spans_duplicate,
    (SELECT sum(spans_late) FROM ops_epoch) AS spans_late,
    (SELECT sum(errors) FROM dws_step_1m_latest) AS errors,
    (SELECT count() FROM dws_step_1m_latest) AS windows,
    (SELECT count() FROM dws_session_latest) AS sessions,
    (SELECT count() FROM ads_anomaly_latest) AS anomalies,
    (SELECT count() FROM ods_dead_letter) AS dead_letters,
    recent.spans AS delay_spans,
    spanflow_quantile(0.5, recent.delays) AS delay_p50_ms,
    spanflow_quantile(0.95, recent.delays) AS delay_p95_ms
FROM recent";

impl Summary {
    /// Asks the warehouse and the job.
    pub(super) fn ask(sql: &Sql, job: &Job) -> Result<Self> {
        let mut summary: Self = sql.row(QUESTION)?;
        // The job's counters start anew with it, their difference is right all the same. It may be starting just now.
        summary.in_flight = in_flight(job).unwrap_or(0);
        Ok(summary)
    }

    /// As lines; `before` is an earlier summary and how many seconds ago it was.
    pub(super) fn lines(&self, before: Option<(&Self, f64)>, elapsed_s: u64) -> Vec<String> {
        let rate = before.map_or(0.0, |(before, seconds)| {
            (self.spans_in() as f64 - before.spans_in() as f64).max(0.0) / seconds
        });
        let delay = if self.delay_spans == 0 {
            "no span in the last 30 s".to_owned()
        } else {
            format!(
                "p50 {} ms  p95 {} ms  from span end to row visible",
                grouped(self.delay_p50_ms as u64),
                grouped(self.delay_p95_ms as u64)
            )
        };
        vec![
            format!(
                "{elapsed_s:>4} s  spans in {}  ({}/s)  landed {}  duplicate {}  late {}",
                grouped(self.spans_in()),
                grouped(rate as u64),
                grouped(self.spans_landed),
                grouped(self.spans_duplicate),
                grouped(self.spans_late)
            ),
            format!("        delay {delay}"),
            format!(
                "        windows {}  errors {}  dead letters {}  sessions {}  anomalies {}",
                grouped(self.windows),
                grouped(self.errors),
                grouped(self.dead_letters),
                grouped(self.sessions),
                grouped(self.anomalies)
            ),
        ]
    }

    fn spans_in(&self) -> u64 {
        self.spans + self.in_flight
    }
}

fn in_flight(job: &Job) -> Option<u64> {
    let metric = |name: &str| job.metric(name).ok().flatten();
    let read = metric("spanflow_spans_in_total")?;
    let done = metric("spanflow_spans_landed_total")?
        + metric("spanflow_spans_duplicate_total")?
        + metric("spanflow_spans_rejected_total")?;
    Some((read - done).max(0.0) as u64)
}

/// A number with a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let numbers = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_rate_is_of_spans_in_and_in_flight_ones_are_in() {
        let before = Summary {
            spans: 900,
            ..Summary::default()
        };
        let now = Summary {
            spans: 1_000,
            in_flight: 100,
            ..Summary::default()
        };
        let lines = now.lines(Some((&before, 2.0)), 5);
        assert!(lines[0].contains("spans in 1,100  (100/s)"), "{}", lines[0]);
    }
}
