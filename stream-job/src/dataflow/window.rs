//! Windowed step aggregates: one minute, five minutes hopping by one, one hour.
//!
//! Spans are summed per key and minute before they leave the worker that read them; only the partial sums travel. The
//! five-minute window is never stored: it is the sum of five one-minute panes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::buckets::Buckets;
use super::windowing::{Lifecycle, Stage, start_of};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::Changes;

#[path = "window_parts.rs"]
mod parts;
#[path = "window_saved.rs"]
mod saved;

pub use parts::{PreAggregate, Step, StepKeys, StepMeasure, StepPartial, Steps};
use saved::PaneKey;
pub use saved::group_of_agent;

/// Seconds in a minute: the pane, and the hop of the five-minute window.
pub const MINUTE_S: i64 = 60;
/// Length of the five-minute window.
pub const FIVE_MINUTES_S: i64 = 300;
/// Length of the hour window.
pub const HOUR_S: i64 = 3_600;

/// What takes the place of tool and model where an agent has too many keys.
pub const OVERFLOW: &str = "__overflow__";

/// What a step is counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepKey {
    /// Agent.
    pub agent: String,
    /// Step type.
    pub step_type: String,
    /// Tool.
    pub tool_name: String,
    /// Model.
    pub model: String,
}

impl StepKey {
    /// Whether this is an agent's overflow key, which stands outside the cap on its keys, whoever has named it.
    fn is_overflow(&self) -> bool {
        self.tool_name == OVERFLOW && self.model == OVERFLOW
    }
}

/// Sums over steps. All are integers: they add in any order to the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSums {
    /// Steps.
    pub count: u64,
    /// Steps that failed.
    pub errors: u64,
    /// Sum of durations, µs.
    pub duration_sum_us: u64,
    /// Longest duration, µs.
    pub duration_max_us: u64,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Cost, nano-dollars.
    pub cost_nanousd: u64,
    /// Durations in logarithmic buckets.
    pub buckets: Buckets,
}

impl StepSums {
    /// Counts one step.
    pub fn add(&mut self, step: &StepMeasure) {
        self.count += 1;
        self.errors += u64::from(step.failed);
        self.duration_sum_us = self.duration_sum_us.saturating_add(step.duration_us);
        self.duration_max_us = self.duration_max_us.max(step.duration_us);
        self.input_tokens = self.input_tokens.saturating_add(step.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(step.output_tokens);
        self.cost_nanousd = self.cost_nanousd.saturating_add(step.cost_nanousd);
        self.buckets.add(step.duration_us);
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &StepSums) {
        self.count += other.count;
        self.errors += other.errors;
        self.duration_sum_us = self.duration_sum_us.saturating_add(other.duration_sum_us);
        self.duration_max_us = self.duration_max_us.max(other.duration_max_us);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_nanousd = self.cost_nanousd.saturating_add(other.cost_nanousd);
        self.buckets.merge(&other.buckets);
    }
}

/// Start of the window of `length_s` that holds an event time.
#[must_use]
pub fn window_start_s(event_us: i64, length_s: i64) -> i64 {
    start_of(event_us.div_euclid(1_000_000), length_s, 0)
}

/// One of the three windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WindowKind {
    /// One minute.
    Minute,
    /// Five minutes, hopping by one.
    FiveMinutes,
    /// One hour.
    Hour,
}

impl WindowKind {
    /// Its length in seconds.
    #[must_use]
    pub fn length_s(self) -> i64 {
        match self {
            WindowKind::Minute => MINUTE_S,
            WindowKind::FiveMinutes => FIVE_MINUTES_S,
            WindowKind::Hour => HOUR_S,
        }
    }

    /// Where a window of this kind stands that starts at `start_s`.
    fn stage(self, start_s: i64, lifecycle: &Lifecycle) -> Stage {
        lifecycle.stage((start_s + self.length_s()).saturating_mul(1_000_000))
    }
}

/// The starts of the five-minute windows over a minute, latest first.
fn five_minutes_over(minute_s: i64) -> impl Iterator<Item = i64> {
    (0..FIVE_MINUTES_S / MINUTE_S).map(move |back| minute_s - back * MINUTE_S)
}

/// A window as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredWindow {
    /// The key.
    pub key: Arc<StepKey>,
    /// Which window.
    pub kind: WindowKind,
    /// Its start, s since 1970.
    pub start_s: i64,
    /// The sums so far.
    pub sums: StepSums,
    /// The watermark has passed its end: only late spans can change it.
    pub closed: bool,
    /// The watermark has passed its end and the allowed lateness: nothing changes it.
    pub is_final: bool,
}

#[derive(Default)]
struct KeyWindows {
    minutes: BTreeMap<i64, StepSums>,
    hours: BTreeMap<i64, StepSums>,
    changed: BTreeSet<(WindowKind, i64)>,
}

/// The windows that one worker owns: those of all keys of its agents.
pub struct Windows {
    lifecycle: Lifecycle,
    max_keys_per_agent: usize,
    keys: BTreeMap<Arc<StepKey>, KeyWindows>,
    keys_of_agent: HashMap<String, usize>,
    /// Panes that changed or went since the last checkpoint.
    changes: Changes<PaneKey>,
}

impl Windows {
    /// Without any window.
    #[must_use]
    pub fn new(allowed_lateness_us: i64, max_keys_per_agent: usize) -> Self {
        Self {
            lifecycle: Lifecycle::new(allowed_lateness_us, i64::MIN),
            max_keys_per_agent,
            keys: BTreeMap::new(),
            keys_of_agent: HashMap::new(),
            changes: Changes::default(),
        }
    }

    /// Takes in one epoch. Returns the windows that fire: all that changed, closed or became final since the last block,
    /// where the record ends a block, else none.
    pub fn apply(
        &mut self,
        record: &EpochRecord,
        mut partials: Vec<StepPartial>,
    ) -> Vec<FiredWindow> {
        self.advance(record.watermark_us);
        partials.sort_unstable_by(|a, b| (&a.key, a.minute_s).cmp(&(&b.key, b.minute_s)));
        for partial in partials {
            self.add(partial);
        }
        if record.tells_all {
            for windows in self.keys.values_mut() {
                let live = windows.live();
                windows.changed.extend(live);
            }
        }
        if record.dws_block_ends {
            self.fire()
        } else {
            Vec::new()
        }
    }

    fn add(&mut self, partial: StepPartial) {
        let key = self.admitted(partial.key);
        let minute = partial.minute_s;
        let hour = start_of(minute, HOUR_S, 0);
        for (is_hour, start_s) in [(false, minute), (true, hour)] {
            let key = key.clone();
            self.changes.note(PaneKey {
                key,
                is_hour,
                start_s,
            });
        }
        let windows = self.keys.entry(key).or_default();
        windows
            .minutes
            .entry(minute)
            .or_default()
            .merge(&partial.sums);
        windows.hours.entry(hour).or_default().merge(&partial.sums);
        windows.changed.insert((WindowKind::Minute, minute));
        windows.changed.insert((WindowKind::Hour, hour));
        windows
            .changed
            .extend(five_minutes_over(minute).map(|start_s| (WindowKind::FiveMinutes, start_s)));
    }

    /// The key itself, or its agent's overflow key where the agent has too many. Partials come in (epoch, key) order, so
    /// which keys were first does not depend on who sent them.
    fn admitted(&mut self, key: StepKey) -> Arc<StepKey> {
        let key = Arc::new(key);
        if key.is_overflow() || self.keys.contains_key(&key) {
            return key;
        }
        let count = self.keys_of_agent.entry(key.agent.clone()).or_default();
        if *count < self.max_keys_per_agent {
            *count += 1;
            return key;
        }
        Arc::new(StepKey {
            agent: key.agent.clone(),
            step_type: key.step_type.clone(),
            tool_name: OVERFLOW.to_owned(),
            model: OVERFLOW.to_owned(),
        })
    }

    /// Marks the windows that the watermark closes or makes final on its way to `watermark_us`.
    fn advance(&mut self, watermark_us: i64) {
        let Some(before) = self.lifecycle.advance(watermark_us) else {
            return;
        };
        let now = self.lifecycle;
        // Every window ends at a full minute, so between two of them there is nothing to look for.
        let minutes = |at: &Lifecycle| {
            [at.closed_up_to(), at.final_up_to()].map(|us| us.div_euclid(MINUTE_S * 1_000_000))
        };
        if minutes(&before) == minutes(&now) {
            return;
        }
        for windows in self.keys.values_mut() {
            for (kind, start_s) in windows.live() {
                if kind.stage(start_s, &before) != kind.stage(start_s, &now) {
                    windows.changed.insert((kind, start_s));
                }
            }
        }
    }

    fn fire(&mut self) -> Vec<FiredWindow> {
        let mut fired = Vec::new();
        let mut keys = std::mem::take(&mut self.keys);
        let mut changes = std::mem::take(&mut self.changes);
        for (key, windows) in &mut keys {
            for (kind, start_s) in std::mem::take(&mut windows.changed) {
                let stage = kind.stage(start_s, &self.lifecycle);
                fired.push(FiredWindow {
                    key: key.clone(),
                    kind,
                    start_s,
                    sums: windows.sums(kind, start_s),
                    closed: stage >= Stage::Closed,
                    is_final: stage == Stage::Final,
                });
            }
            // A pane is needed until the last five-minute window over it, which starts with it, is final.
            let mut lives = |kind: WindowKind, start_s: i64| {
                let lives = kind.stage(start_s, &self.lifecycle) < Stage::Final;
                if !lives {
                    changes.note(PaneKey {
                        key: key.clone(),
                        is_hour: kind == WindowKind::Hour,
                        start_s,
                    });
                }
                lives
            };
            let minutes = &mut windows.minutes;
            minutes.retain(|&start_s, _| lives(WindowKind::FiveMinutes, start_s));
            let hours = &mut windows.hours;
            hours.retain(|&start_s, _| lives(WindowKind::Hour, start_s));
        }
        self.changes = changes;
        keys.retain(|key, windows| {
            let alive = !windows.minutes.is_empty() || !windows.hours.is_empty();
            if !alive
                && !key.is_overflow()
                && let Some(count) = self.keys_of_agent.get_mut(&key.agent)
            {
                *count = count.saturating_sub(1);
            }
            alive
        });
        self.keys_of_agent.retain(|_, count| *count > 0);
        self.keys = keys;
        fired
    }

    /// Number of keys held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl KeyWindows {
    /// Every window that holds something.
    fn live(&self) -> BTreeSet<(WindowKind, i64)> {
        let mut live: BTreeSet<_> = self
            .hours
            .keys()
            .map(|&start| (WindowKind::Hour, start))
            .collect();
        for &minute in self.minutes.keys() {
            live.insert((WindowKind::Minute, minute));
            live.extend(
                five_minutes_over(minute).map(|start_s| (WindowKind::FiveMinutes, start_s)),
            );
        }
        live
    }

    fn sums(&self, kind: WindowKind, start_s: i64) -> StepSums {
        let panes = match kind {
            WindowKind::Hour => self.hours.range(start_s..start_s + 1),
            WindowKind::Minute | WindowKind::FiveMinutes => {
                self.minutes.range(start_s..start_s + kind.length_s())
            }
        };
        let mut total = StepSums::default();
        panes.for_each(|(_, sums)| total.merge(sums));
        total
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
