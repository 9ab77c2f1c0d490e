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

use super::detector::{ErrorCount, Latency, Verdict, error_rate, latency};
use super::window::{FiredWindow, MINUTE_S, StepKey, WindowKind};
use crate::checkpoint::state::Changes;

#[path = "anomaly_flag.rs"]
mod flag;
#[path = "anomaly_saved.rs"]
mod saved;

use flag::new_flag;
pub use flag::{Flag, FlagState, loop_flag};

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

#[cfg(test)]
#[path = "anomaly_tests.rs"]
mod tests;
