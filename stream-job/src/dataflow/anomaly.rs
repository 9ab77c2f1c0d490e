//! Anomaly flags: a closed window against the key's own last windows, and loops in sessions.
//!
//! A flag opens with the first anomalous window, is updated while the windows after it are anomalous too, and resolves
//! with the first one that is not, or when its key falls silent. Its id comes from the detector, the key and the opening
//! window, so a replay gives the same flags. The baseline takes only windows that were not flagged themselves. When too
//! few of those are left, nothing is flagged until the new level has filled the baseline: it becomes normal in the end.
//!
//! A window fires again when late spans correct it and when it becomes final. It is judged again only if its numbers
//! have changed and the baseline still holds it. A correction of an older window never resolves a flag that later
//! windows carry, and one that makes an older window anomalous gives a flag that is over already.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::detector::{ErrorCount, Latency, Verdict, error_rate, latency, rounded};
use super::session::Loop;
use super::trace_summary::SessionKey;
use super::window::{FiredWindow, MINUTE_S, StepKey, WindowKind};
use crate::checkpoint::state::Changes;

#[path = "anomaly_saved.rs"]
mod saved;

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

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Past {
    errors: ErrorCount,
    latency: Latency,
    /// Whether each detector flagged it.
    flagged: [bool; 2],
}

impl Past {
    fn has_numbers_of(&self, other: &Past) -> bool {
        (self.errors, self.latency) == (other.errors, other.latency)
    }
}

/// The flags of one block by id, each as it stands in the end.
type Flags = BTreeMap<String, Flag>;

/// What is known of a key, and saved of it as it stands.
#[derive(Default, Serialize, Deserialize)]
struct KeyHistory {
    windows: BTreeMap<i64, Past>,
    /// The open flag of each detector.
    open: [Option<Flag>; 2],
}

/// The histories of the keys that one worker owns.
pub struct Anomalies {
    rules: AnomalyRules,
    keys: BTreeMap<Arc<StepKey>, KeyHistory>,
    /// Keys whose history changed or went since the last checkpoint.
    changes: Changes<Arc<StepKey>>,
    tells_all: bool,
}

impl Anomalies {
    /// Without any history.
    #[must_use]
    pub fn new(rules: AnomalyRules) -> Self {
        Self {
            rules,
            keys: BTreeMap::new(),
            changes: Changes::default(),
            tells_all: false,
        }
    }

    /// Has every open flag told of again, with the next block.
    pub fn tell_all(&mut self) {
        self.tells_all = true;
    }

    /// Judges the windows of one block that have closed, oldest first, and those that late spans have corrected. Then
    /// forgets the keys whose last window starts before `oldest_s`, which resolves their open flags. Of each flag it tells
    /// only how it stands in the end: the table keeps one row of a flag and block.
    pub fn judge(&mut self, mut fired: Vec<FiredWindow>, oldest_s: i64) -> Vec<Flag> {
        fired.retain(|window| window.kind == WindowKind::Minute && window.closed);
        fired.sort_by(|a, b| (&a.key, a.start_s).cmp(&(&b.key, b.start_s)));
        let rules = self.rules;
        let mut flags = BTreeMap::new();
        if std::mem::take(&mut self.tells_all) {
            let open = self.keys.values().flat_map(|history| &history.open);
            flags.extend(
                open.flatten()
                    .map(|flag| (flag.anomaly_id.clone(), flag.clone())),
            );
        }
        for window in fired {
            self.changes.note(window.key.clone());
            let history = self.keys.entry(window.key.clone()).or_default();
            history.judge(&rules, &window, &mut flags);
        }
        self.forget_before(oldest_s, &mut flags);
        flags.into_values().collect()
    }

    fn forget_before(&mut self, oldest_s: i64, flags: &mut Flags) {
        self.keys.retain(|key, history| {
            let last = history.windows.last_key_value();
            let is_kept = last.is_some_and(|(&start, _)| start >= oldest_s);
            if !is_kept {
                self.changes.note(key.clone());
                for mut flag in history.open.iter_mut().filter_map(Option::take) {
                    flag.state = FlagState::Resolved;
                    flags.insert(flag.anomaly_id.clone(), flag);
                }
            }
            is_kept
        });
    }
}

impl KeyHistory {
    fn judge(&mut self, rules: &AnomalyRules, window: &FiredWindow, flags: &mut Flags) {
        let sums = &window.sums;
        let mut seen = Past {
            errors: ErrorCount {
                errors: sums.errors,
                count: sums.count,
            },
            latency: Latency {
                p50_us: sums.buckets.quantile(0.5),
                p95_us: sums.buckets.quantile(0.95),
            },
            flagged: [false; 2],
        };
        let before = self.windows.get(&window.start_s).copied();
        if self.is_forgotten(rules, window.start_s)
            || before.is_some_and(|before| before.has_numbers_of(&seen))
        {
            return;
        }
        let is_newest = self
            .windows
            .last_key_value()
            .is_none_or(|(&last, _)| last <= window.start_s);
        for (at, detector) in Detector::ALL.into_iter().enumerate() {
            let judged = self.test(rules, detector, at, window.start_s, &seen);
            seen.flagged[at] = judged.is_some();
            let fresh =
                judged.map(|(verdict, behind)| new_flag(rules, detector, window, verdict, behind));
            let was_flagged = before.is_some_and(|before| before.flagged[at]);
            let told = if is_newest {
                self.follow(at, window.start_s + MINUTE_S, fresh)
            } else {
                self.correct(at, window.start_s, was_flagged, fresh)
            };
            flags.extend(told.map(|flag| (flag.anomaly_id.clone(), flag)));
        }
        self.windows.insert(window.start_s, seen);
        while self.windows.len() > rules.baseline_windows + 1 {
            self.windows.pop_first();
        }
    }

    /// Whether a window lies before those that the baseline holds.
    fn is_forgotten(&self, rules: &AnomalyRules, start_s: i64) -> bool {
        self.windows.len() > rules.baseline_windows
            && self
                .windows
                .first_key_value()
                .is_some_and(|(&first, _)| start_s < first)
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
        let recent = self.windows.range(..start_s).rev();
        let past: Vec<&Past> = recent
            .take(rules.baseline_windows)
            .map(|(_, past)| past)
            .filter(|past| !past.flagged[at])
            .collect();
        if past.len() < rules.min_windows || seen.errors.count < rules.min_count {
            return None;
        }
        let verdict = match detector {
            Detector::ErrorRate => error_rate(seen.errors, past.iter().map(|past| past.errors)),
            Detector::LatencyP95 => latency(
                seen.latency,
                seen.errors.count,
                past.iter().map(|past| past.latency),
            ),
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

    /// Opens, updates or resolves the detector's flag by its newest window, which ends at `end_s`.
    fn follow(&mut self, at: usize, end_s: i64, fresh: Option<Flag>) -> Option<Flag> {
        let (open, fresh) = match (self.open[at].take(), fresh) {
            (None, fresh) => {
                self.open[at].clone_from(&fresh);
                return fresh;
            }
            (Some(mut flag), None) => {
                flag.state = FlagState::Resolved;
                return Some(flag);
            }
            (Some(open), Some(fresh)) => (open, fresh),
        };
        let flag = Flag {
            anomaly_id: open.anomaly_id,
            window_start_s: open.window_start_s,
            window_end_s: end_s,
            state: FlagState::Updated,
            ..fresh
        };
        self.open[at] = Some(flag.clone());
        Some(flag)
    }

    /// Takes in a correction of a window that is not the newest one.
    fn correct(
        &self,
        at: usize,
        start_s: i64,
        was_flagged: bool,
        fresh: Option<Flag>,
    ) -> Option<Flag> {
        let is_open = self.open[at]
            .as_ref()
            .is_some_and(|open| open.window_start_s <= start_s);
        if was_flagged || is_open {
            return None;
        }
        fresh.map(|flag| Flag {
            state: FlagState::Resolved,
            ..flag
        })
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

#[cfg(test)]
#[path = "anomaly_tests.rs"]
mod tests;
