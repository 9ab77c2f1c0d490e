//! A flag as an alert: the columns of its row in `ads_anomaly`, as JSON.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::sink::tables::ads_anomaly::AnomalyRow;

/// The value of an alert. `is_deleted` is left out: no flag is ever taken back, it resolves.
#[derive(Serialize)]
struct Alert<'a> {
    anomaly_id: &'a str,
    detector: &'a str,
    severity: &'a str,
    agent: &'a str,
    step_type: &'a str,
    tool_name: &'a str,
    model: &'a str,
    session_id: &'a str,
    trace_id: &'a str,
    window_start: String,
    window_end: String,
    value: f64,
    expected: f64,
    score: f64,
    evidence: &'a [String],
    message: &'a str,
    state: &'a str,
    rev: u64,
}

/// Names one change of a flag: `anomaly_id/rev`.
pub(super) fn id(flag: &AnomalyRow) -> String {
    format!("{}/{}", flag.anomaly_id, flag.rev)
}

/// `agent`, or `agent/session_id` where the flag is on a session.
pub(super) fn key(flag: &AnomalyRow) -> String {
    match flag.session_id.as_str() {
        "" => flag.agent.clone(),
        session_id => format!("{}/{session_id}", flag.agent),
    }
}

/// The JSON.
pub(super) fn value(flag: &AnomalyRow) -> Vec<u8> {
    let alert = Alert {
        anomaly_id: &flag.anomaly_id,
        detector: &flag.detector,
        severity: &flag.severity,
        agent: &flag.agent,
        step_type: &flag.step_type,
        tool_name: &flag.tool_name,
        model: &flag.model,
        session_id: &flag.session_id,
        trace_id: &flag.trace_id,
        window_start: rfc_3339(flag.window_start),
        window_end: rfc_3339(flag.window_end),
        value: flag.value.0,
        expected: flag.expected.0,
        score: flag.score.0,
        evidence: &flag.evidence,
        message: &flag.message,
        state: &flag.state,
        rev: flag.rev,
    };
    serde_json::to_vec(&alert).expect("texts, numbers and a list of texts are JSON")
}

/// A time in s since 1970 as UTC; every `u32` is one.
fn rfc_3339(s: u32) -> String {
    DateTime::from_timestamp(i64::from(s), 0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::sink::tables::Table;
    use crate::sink::tables::ads_anomaly::{Real, anomalies};

    fn flag() -> AnomalyRow {
        AnomalyRow {
            anomaly_id: "ab12".to_owned(),
            detector: "loop".to_owned(),
            severity: "critical".to_owned(),
            agent: "booker".to_owned(),
            step_type: "act".to_owned(),
            tool_name: "search".to_owned(),
            session_id: "s 1/2".to_owned(),
            trace_id: "07".repeat(16),
            window_start: 1_700_000_000,
            window_end: 1_700_000_060,
            value: Real(6.0),
            expected: Real(1.0),
            score: Real(1.2),
            evidence: vec!["span_id=01".to_owned()],
            message: "booker called \"search\" 6 times".to_owned(),
            state: "open".to_owned(),
            rev: 17,
            ..AnomalyRow::default()
        }
    }

    #[test]
    fn an_alert_has_the_columns_of_its_row_with_times_in_utc() {
        let value: Value = serde_json::from_slice(&value(&flag())).unwrap();
        let wanted = json!({
            "anomaly_id": "ab12", "detector": "loop", "severity": "critical", "agent": "booker", "step_type": "act",
            "tool_name": "search", "model": "", "session_id": "s 1/2", "trace_id": "07".repeat(16),
            "window_start": "2023-11-14T22:13:20Z", "window_end": "2023-11-14T22:14:20Z",
            "value": 6.0, "expected": 1.0, "score": 1.2, "evidence": ["span_id=01"],
            "message": "booker called \"search\" 6 times", "state": "open", "rev": 17,
        });
        assert_eq!(value, wanted);
    }

    #[test]
    fn no_column_of_the_table_is_missing_in_an_alert() {
        let value: Value = serde_json::from_slice(&value(&flag())).unwrap();
        let fields: BTreeSet<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let table = anomalies();
        let columns = table.columns().iter().map(|&(name, _)| name);
        let wanted: BTreeSet<&str> = columns.filter(|&name| name != "is_deleted").collect();
        assert_eq!(fields, wanted);
    }

    #[test]
    fn an_alert_is_keyed_by_its_agent_and_by_the_session_where_there_is_one() {
        assert_eq!(key(&flag()), "booker/s 1/2");
        let of_a_window = AnomalyRow {
            session_id: String::new(),
            ..flag()
        };
        assert_eq!(key(&of_a_window), "booker");
        assert_eq!(id(&of_a_window), "ab12/17");
    }
}
