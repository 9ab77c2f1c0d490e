//! Anomaly flags: a closed window against the key's own last windows, and loops in sessions.
//!
//! A flag opens with the first anomalous window, is updated while the windows after it are anomalous too, and resolves
//! with the first one that is not. Its id comes from the detector, the key and the opening window, so a replay gives the
//! same flags. The baseline takes only windows that were not flagged themselves, unless none of the last ones was
//! normal: a new level becomes normal in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::detector::{ErrorCount, Verdict, error_rate, latency, rounded};
use super::session::Loop;
use super::trace::SessionKey;
use super::window::{FiredWindow, MINUTE_S, StepKey, WindowKind};

/// The rules of flagging.
#[derive(Clone, Copy, Debug)]
pub struct AnomalyRules {
    /// Windows of a key's past that make its baseline.
    pub baseline_windows: usize,
    /// Windows that a baseline needs.
    pub min_windows: usize,
    /// Steps that a window needs.
    pub min_count: u64,
    /// Score from which an error rate is flagged.
    pub error_score: f64,
    /// Score from which a p95 is flagged.
    pub latency_score: f64,
}

/// An error rate is flagged only when it is this much over the expected one.
const LEAST_RATE_RISE: f64 = 0.05;
/// A p95 is flagged only when it is this many times the expected one.
const LEAST_LATENCY_FACTOR: f64 = 1.5;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detector {
    ErrorRate,
    LatencyP95,
}

impl Detector {
    const ALL: [Detector; 2] = [Detector::ErrorRate, Detector::LatencyP95];

    fn as_str(self) -> &'static str {
        match self {
            Detector::ErrorRate => "error_rate",
            Detector::LatencyP95 => "latency_p95",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Past {
    errors: ErrorCount,
    p95_us: u64,
    /// Whether each detector flagged it.
    flagged: [bool; 2],
}

#[derive(Default)]
struct KeyHistory {
    windows: BTreeMap<i64, Past>,
    /// The open flag of each detector.
    open: [Option<Flag>; 2],
}

/// The histories of the keys that one worker owns.
pub struct Anomalies {
    rules: AnomalyRules,
    keys: BTreeMap<Arc<StepKey>, KeyHistory>,
}

impl Anomalies {
    /// Without any history.
    #[must_use]
    pub fn new(rules: AnomalyRules) -> Self {
        Self {
            rules,
            keys: BTreeMap::new(),
        }
    }

    /// Judges the windows of one block that have closed, oldest first, and those that late spans have corrected.
    pub fn judge(&mut self, mut fired: Vec<FiredWindow>) -> Vec<Flag> {
        fired.retain(|window| window.kind == WindowKind::Minute && window.closed);
        fired.sort_by(|a, b| (&a.key, a.start_s).cmp(&(&b.key, b.start_s)));
        let rules = self.rules;
        let mut flags = Vec::new();
        for window in fired {
            let history = self.keys.entry(window.key.clone()).or_default();
            history.judge(&rules, &window, &mut flags);
        }
        flags
    }

    /// Forgets keys whose last window lies further back than the baseline reaches.
    pub fn forget_before(&mut self, start_s: i64) {
        self.keys.retain(|_, history| {
            let last = history
                .windows
                .last_key_value()
                .map_or(i64::MIN, |(&start, _)| start);
            last >= start_s || history.open.iter().any(Option::is_some)
        });
    }
}

impl KeyHistory {
    fn judge(&mut self, rules: &AnomalyRules, window: &FiredWindow, flags: &mut Vec<Flag>) {
        let sums = &window.sums;
        let mut seen = Past {
            errors: ErrorCount {
                errors: sums.errors,
                count: sums.count,
            },
            p95_us: sums.buckets.quantile(0.95),
            flagged: [false; 2],
        };
        let is_newest = self
            .windows
            .last_key_value()
            .is_none_or(|(&last, _)| last <= window.start_s);
        for (at, detector) in Detector::ALL.into_iter().enumerate() {
            let judged = self.test(rules, detector, at, window.start_s, &seen);
            seen.flagged[at] = judged.is_some();
            self.follow(rules, detector, at, window, is_newest, judged, flags);
        }
        self.windows.insert(window.start_s, seen);
        while self.windows.len() > rules.baseline_windows + 1 {
            self.windows.pop_first();
        }
    }

    /// The verdict where the window is anomalous, with the number of windows behind it.
    fn test(
        &self,
        rules: &AnomalyRules,
        detector: Detector,
        at: usize,
        start_s: i64,
        seen: &Past,
    ) -> Option<(Verdict, usize)> {
        let recent = || {
            self.windows
                .range(..start_s)
                .rev()
                .take(rules.baseline_windows)
                .map(|(_, past)| past)
        };
        let normal: Vec<&Past> = recent().filter(|past| !past.flagged[at]).collect();
        let past = if normal.is_empty() {
            recent().collect()
        } else {
            normal
        };
        if past.len() < rules.min_windows || seen.errors.count < rules.min_count {
            return None;
        }
        let verdict = match detector {
            Detector::ErrorRate => error_rate(seen.errors, past.iter().map(|past| past.errors)),
            Detector::LatencyP95 => latency(seen.p95_us, past.iter().map(|past| past.p95_us)),
        };
        let stands_out = match detector {
            Detector::ErrorRate => {
                verdict.score >= rules.error_score
                    && verdict.value - verdict.expected >= LEAST_RATE_RISE
            }
            Detector::LatencyP95 => {
                verdict.score >= rules.latency_score
                    && verdict.value >= LEAST_LATENCY_FACTOR * verdict.expected
            }
        };
        stands_out.then_some((verdict, past.len()))
    }

    /// Opens, updates or resolves the detector's flag.
    #[allow(clippy::too_many_arguments)]
    fn follow(
        &mut self,
        rules: &AnomalyRules,
        detector: Detector,
        at: usize,
        window: &FiredWindow,
        is_newest: bool,
        judged: Option<(Verdict, usize)>,
        flags: &mut Vec<Flag>,
    ) {
        let end_s = window.start_s + MINUTE_S;
        let belongs = |flag: &Flag| {
            flag.window_start_s <= window.start_s && window.start_s <= flag.window_end_s
        };
        let open = self.open[at].take();
        let (flag, still_open) = match (open, judged) {
            (None, None) => return,
            (Some(flag), _) if !is_newest && !belongs(&flag) => {
                // A correction of a window long past leaves a later flag alone.
                self.open[at] = Some(flag);
                return;
            }
            (None, Some((verdict, behind))) => {
                (new_flag(rules, detector, window, verdict, behind), true)
            }
            (Some(mut flag), Some((verdict, behind))) => {
                let fresh = new_flag(rules, detector, window, verdict, behind);
                flag.window_end_s = flag.window_end_s.max(end_s);
                flag.state = FlagState::Updated;
                if fresh.score >= flag.score || flag.window_end_s == end_s {
                    (flag.value, flag.expected, flag.score) =
                        (fresh.value, fresh.expected, fresh.score);
                    (flag.severity, flag.evidence, flag.message) =
                        (fresh.severity, fresh.evidence, fresh.message);
                }
                (flag, true)
            }
            (Some(mut flag), None) => {
                flag.state = FlagState::Resolved;
                (flag, false)
            }
        };
        if still_open {
            self.open[at] = Some(flag.clone());
        }
        flags.push(flag);
    }
}

fn new_flag(
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

/// The flag of a loop; told again with the same id as the loop grows.
#[must_use]
pub fn loop_flag(
    session: &SessionKey,
    agent: &str,
    found: &Loop,
    min_repeats: u32,
    is_first: bool,
) -> Option<Flag> {
    let (first, last) = (found.calls.first()?, found.calls.last()?);
    let key = StepKey {
        agent: agent.to_owned(),
        step_type: "act".to_owned(),
        tool_name: first.tool_name.clone(),
        model: String::new(),
    };
    let start_s = first.place.0.div_euclid(1_000_000);
    let scope = format!(
        "{}\0{}\0{:016x}",
        session.namespace, session.session_id, first.args_hash
    );
    #[allow(clippy::cast_precision_loss)]
    let repeats = found.calls.len() as f64;
    let score = repeats / f64::from(min_repeats.max(1));
    let evidence = found
        .calls
        .iter()
        .take(10)
        .map(|call| format!("span_id={:016x}", call.place.1))
        .collect();
    Some(Flag {
        anomaly_id: flag_id("loop", &key, &scope, start_s),
        detector: "loop".to_owned(),
        severity: severity(score, 1.0),
        session_id: session.session_id.clone(),
        trace_id: format!("{:032x}", found.trace_id),
        window_start_s: start_s,
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

fn flag_id(detector: &str, key: &StepKey, scope: &str, opening_s: i64) -> String {
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
        xxh3_128(format!("{named}\u{1f}{opening_s}").as_bytes())
    )
}

#[cfg(test)]
#[path = "anomaly_tests.rs"]
mod tests;
