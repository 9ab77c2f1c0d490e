//! What a flag says: its id, how severe it is, what it rests on, and its sentence.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{AnomalyRules, Detector};
use crate::dataflow::detector::{Verdict, rounded};
use crate::dataflow::session::Loop;
use crate::dataflow::trace_summary::SessionKey;
use crate::dataflow::window::{FiredWindow, MINUTE_S, StepKey};

/// A flag whose score is this many times the threshold is critical.
const CRITICAL_FACTOR: f64 = 2.0;

/// Where a flag stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagState {
    /// New.
    Open,
    /// Seen again in a later window, or corrected.
    Updated,
    /// Over, or taken back by late spans.
    Resolved,
}

impl FlagState {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FlagState::Open => "open",
            FlagState::Updated => "updated",
            FlagState::Resolved => "resolved",
        }
    }
}

/// One flag as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flag {
    /// Hash of detector, key and opening window, lowercase hex.
    pub anomaly_id: String,
    /// `error_rate`, `latency_p95` or `loop`.
    pub detector: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// The key; only agent and tool for a loop.
    pub key: StepKey,
    /// Session of a loop.
    pub session_id: String,
    /// Trace of a loop's first call, lowercase hex.
    pub trace_id: String,
    /// Start of the first window, s since 1970.
    pub window_start_s: i64,
    /// End of the last window, s since 1970.
    pub window_end_s: i64,
    /// What was seen: a share, µs, or calls.
    pub value: f64,
    /// What was expected, in the same unit.
    pub expected: f64,
    /// How unlikely it is.
    pub score: f64,
    /// What it rests on.
    pub evidence: Vec<String>,
    /// One sentence.
    pub message: String,
    /// Where it stands.
    pub state: FlagState,
}

/// A flag that opens with a window.
pub(super) fn new_flag(
    rules: &AnomalyRules,
    detector: Detector,
    window: &FiredWindow,
    verdict: Verdict,
    behind: usize,
) -> Flag {
    let key = window.key.as_ref();
    let (value, expected, score) = (
        rounded(verdict.value),
        rounded(verdict.expected),
        rounded(verdict.score),
    );
    let what = step_name(key);
    let sums = &window.sums;
    let (threshold, message) = match detector {
        Detector::ErrorRate => (
            rules.error_score,
            format!(
                "{what} failed in {} of {} calls ({:.1} %) within one minute; {:.1} % is usual over its last {behind} windows.",
                sums.errors,
                sums.count,
                100.0 * value,
                100.0 * expected,
            ),
        ),
        Detector::LatencyP95 => (
            rules.latency_score,
            format!(
                "{what} took {:.3} s at the 95th percentile within one minute; {:.3} s is usual over its last {behind} windows.",
                value / 1e6,
                expected / 1e6,
            ),
        ),
    };
    let evidence = vec![
        format!("count={}", sums.count),
        format!("errors={}", sums.errors),
        format!("p95_us={}", sums.buckets.quantile(0.95)),
        format!("baseline_windows={behind}"),
        format!("threshold={threshold}"),
    ];
    Flag {
        anomaly_id: flag_id(detector.as_str(), key, "", window.start_s),
        detector: detector.as_str().to_owned(),
        severity: severity(score, threshold),
        key: key.clone(),
        session_id: String::new(),
        trace_id: String::new(),
        window_start_s: window.start_s,
        window_end_s: window.start_s + MINUTE_S,
        value,
        expected,
        score,
        evidence,
        message,
        state: FlagState::Open,
    }
}

/// The flag of a loop; told again with the same id as the loop grows. Its id holds the start of the first call as it
/// was first told (`opened_us`), and no agent: which one is the session's may turn out later.
#[must_use]
pub fn loop_flag(
    session: &SessionKey,
    agent: &str,
    found: &Loop,
    min_repeats: u32,
    opened_us: i64,
    is_first: bool,
) -> Option<Flag> {
    let (first, last) = (found.calls.first()?, found.calls.last()?);
    let key = StepKey {
        agent: agent.to_owned(),
        step_type: "act".to_owned(),
        tool_name: first.tool_name.clone(),
        model: String::new(),
    };
    let scope = format!(
        "{}\0{}\0{:016x}",
        session.namespace, session.session_id, first.args_hash
    );
    #[allow(clippy::cast_precision_loss)]
    let repeats = found.calls.len() as f64;
    let opened = StepKey {
        agent: String::new(),
        ..key.clone()
    };
    let score = repeats / f64::from(min_repeats.max(1));
    let evidence = found
        .calls
        .iter()
        .take(10)
        .map(|call| format!("span_id={:016x}", call.place.1))
        .collect();
    Some(Flag {
        anomaly_id: flag_id("loop", &opened, &scope, opened_us),
        detector: "loop".to_owned(),
        severity: severity(score, 1.0),
        session_id: session.session_id.clone(),
        trace_id: format!("{:032x}", found.trace_id),
        window_start_s: first.place.0.div_euclid(1_000_000),
        window_end_s: last.end_us.div_euclid(1_000_000) + 1,
        value: repeats,
        expected: 1.0,
        score: rounded(score),
        evidence,
        message: format!(
            "{agent} called {} {} times in a row with equal arguments in session {}.",
            if first.tool_name.is_empty() {
                "a tool"
            } else {
                &first.tool_name
            },
            found.calls.len(),
            session.session_id,
        ),
        state: if is_first {
            FlagState::Open
        } else {
            FlagState::Updated
        },
        key,
    })
}

fn severity(score: f64, threshold: f64) -> String {
    if score >= CRITICAL_FACTOR * threshold {
        "critical"
    } else {
        "warning"
    }
    .to_owned()
}

fn step_name(key: &StepKey) -> String {
    let detail = [&key.tool_name, &key.model]
        .into_iter()
        .find(|name| !name.is_empty());
    match detail {
        Some(name) => format!("{}'s {} {name}", key.agent, key.step_type),
        None => format!("{}'s {}", key.agent, key.step_type),
    }
}

/// `opening` is the start of the opening window in s; of a loop, of its first call in µs.
fn flag_id(detector: &str, key: &StepKey, scope: &str, opening: i64) -> String {
    let named = [
        detector,
        &key.agent,
        &key.step_type,
        &key.tool_name,
        &key.model,
        scope,
    ]
    .join("\u{1f}");
    format!(
        "{:032x}",
        xxh3_128(format!("{named}\u{1f}{opening}").as_bytes())
    )
}
