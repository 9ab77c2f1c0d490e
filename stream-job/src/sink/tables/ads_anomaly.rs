//! `ads_anomaly`: what the detectors flag.

use std::cmp::Ordering;

use super::RowTable;
use crate::sink::native::{Append, Fixed, LowCardinality, Seconds, StringArray, Strings};

/// A float with the total order of IEEE 754, so that rows can be sorted and hashed.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Real {}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Append<Real> for Fixed<f64> {
    fn append(&mut self, value: &Real) {
        self.push(value.0);
    }
}

row_table! {
    /// One flag.
    pub struct AnomalyRow => Columns, key (anomaly_id) {
        /// Hash of detector, key and opening window, hex.
        anomaly_id: String => Strings = "anomaly_id",
        /// Detector that flagged it.
        detector: String => LowCardinality = "detector",
        /// Severity: info, warning or critical.
        severity: String => LowCardinality = "severity",
        /// Agent.
        agent: String => LowCardinality = "agent",
        /// Step type, empty where it has no meaning.
        step_type: String => LowCardinality = "step_type",
        /// Tool, empty where it has no meaning.
        tool_name: String => LowCardinality = "tool_name",
        /// Model, empty where it has no meaning.
        model: String => LowCardinality = "model",
        /// Session, empty for a window.
        session_id: String => Strings = "session_id",
        /// Trace, empty for a window.
        trace_id: String => Strings = "trace_id",
        /// Start of the window, s since 1970, inclusive.
        window_start: u32 => Fixed<Seconds> = "window_start",
        /// End of the window, s since 1970, exclusive.
        window_end: u32 => Fixed<Seconds> = "window_end",
        /// What was seen.
        value: Real => Fixed<f64> = "value",
        /// What was expected, in the same unit.
        expected: Real => Fixed<f64> = "expected",
        /// How far it is out.
        score: Real => Fixed<f64> = "score",
        /// Ids of spans, traces or windows that show it.
        evidence: Vec<String> => StringArray = "evidence",
        /// One sentence for people.
        message: String => Strings = "message",
        /// State: open, updated or resolved.
        state: String => LowCardinality = "state",
    }
}

/// Builds `ads_anomaly`.
#[must_use]
pub fn anomalies() -> RowTable<AnomalyRow> {
    RowTable::named("ads_anomaly")
}
