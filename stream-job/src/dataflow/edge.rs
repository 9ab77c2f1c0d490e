//! Transitions between steps by agent and minute: what the flow chart of an agent is drawn from.
//!
//! A trace that changes takes its old transitions back and adds its new ones, so that windows are right whatever came late,
//! until they are final.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::window::{MINUTE_S, OVERFLOW};
use super::windowing::{Lifecycle, Stage};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{Changes, Grouped};

#[path = "edge_saved.rs"]
mod saved;

pub use saved::group_of_window;

/// What stands at an end of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StepKind {
    /// Before the first step.
    Start,
    /// A think.
    Think,
    /// An act, with its tool.
    Act,
    /// An observe.
    Observe,
    /// A response.
    Response,
    /// After the last step.
    End,
    /// Any step of an agent that has too many kinds of transitions.
    Overflow,
}

/// A transition of a trace; hashed, and equal, as the [`EdgeKey`] of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Edge<'a> {
    pub agent: &'a str,
    pub minute_s: i64,
    pub from: (StepKind, &'a str),
    pub to: (StepKind, &'a str),
}

/// A kind of step, and the tool of an act.
type End = (StepKind, String);

/// What transitions are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeKey {
    agent: String,
    minute_s: i64,
    from: End,
    to: End,
}

impl From<&Edge<'_>> for EdgeKey {
    fn from(edge: &Edge<'_>) -> Self {
        let owned = |(kind, tool): (StepKind, &str)| (kind, tool.to_owned());
        EdgeKey {
            agent: edge.agent.to_owned(),
            minute_s: edge.minute_s,
            from: owned(edge.from),
            to: owned(edge.to),
        }
    }
}

impl hashbrown::Equivalent<EdgeKey> for Edge<'_> {
    fn equivalent(&self, key: &EdgeKey) -> bool {
        let same = |(kind, tool): (StepKind, &str), end: &End| kind == end.0 && tool == end.1;
        self.minute_s == key.minute_s
            && self.agent == key.agent
            && same(self.from, &key.from)
            && same(self.to, &key.to)
    }
}

/// Sums over transitions, or what they change by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSums {
    /// Transitions.
    pub count: i64,
    /// Of them with a derived step at either end.
    pub derived: i64,
    /// Of them whose later step failed.
    pub errors: i64,
    /// Sum of the times between the steps, µs.
    pub gap_sum_us: i64,
    /// Sum of the durations of the later steps, µs.
    pub duration_sum_us: i64,
}

impl EdgeSums {
    fn add(&mut self, other: &EdgeSums, sign: i64) {
        self.count += sign * other.count;
        self.derived += sign * other.derived;
        self.errors += sign * other.errors;
        self.gap_sum_us = self.gap_sum_us.wrapping_add(sign * other.gap_sum_us);
        self.duration_sum_us = (self.duration_sum_us).wrapping_add(sign * other.duration_sum_us);
    }
}

/// By what one worker's traces change the sums of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgePartial {
    /// The key.
    pub key: EdgeKey,
    /// The change.
    pub sums: EdgeSums,
}

impl EdgePartial {
    /// The key group that its window lies in.
    #[must_use]
    pub fn group(&self) -> u16 {
        group_of_window(&self.key.agent, self.key.minute_s)
    }
}

/// Sums what traces change before anything is exchanged.
#[derive(Debug, Default)]
pub(super) struct EdgeChanges(HashMap<EdgeKey, EdgeSums>);

impl EdgeChanges {
    pub(super) fn add(&mut self, edge: &Edge<'_>, sums: &EdgeSums) {
        self.0.entry_ref(edge).or_default().add(sums, 1);
    }

    pub(super) fn take_back(&mut self, edge: &Edge<'_>, sums: &EdgeSums) {
        self.0.entry_ref(edge).or_default().add(sums, -1);
    }

    /// What has changed since the last call.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = EdgePartial> + '_ {
        let changed = |sums: &EdgeSums| *sums != EdgeSums::default();
        (self.0.drain())
            .filter(move |(_, sums)| changed(sums))
            .map(|(key, sums)| EdgePartial { key, sums })
    }
}

/// An agent's minute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct EdgeWindow {
    minute_s: i64,
    agent: String,
}

/// The sums of one transition, and whether a row shows it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counted {
    sums: EdgeSums,
    is_shown: bool,
}

/// The transitions of one window. None is let go before the window is: what does not fit now never did.
type Counts = BTreeMap<(End, End), Counted>;

/// A transition as it stands at the end of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeUpdate {
    /// Agent.
    pub agent: String,
    /// Start of the minute, s since 1970.
    pub minute_s: i64,
    /// The step before, as the table names it.
    pub from: String,
    /// The step after, as the table names it.
    pub to: String,
    /// The sums; with a count of 0 the row is taken back.
    pub sums: EdgeSums,
    /// Nothing changes it any more.
    pub is_final: bool,
}

/// The windows of transitions that one worker owns.
pub struct Edges {
    max_edges: usize,
    now: Lifecycle,
    /// As of the last block: what was final there is gone, and changes no more.
    told: Lifecycle,
    windows: Grouped<EdgeWindow, Counts>,
    /// All windows in the order of time.
    minutes: BTreeSet<EdgeWindow>,
    /// What has changed since the last block.
    changed: BTreeSet<(EdgeWindow, (End, End))>,
    /// Windows that changed or went since the last checkpoint.
    changes: Changes<EdgeWindow>,
}

impl Edges {
    /// Without any window. A window has at most `max_edges` kinds of transitions.
    #[must_use]
    pub fn new(allowed_lateness_us: i64, max_edges: usize) -> Self {
        let beginning = Lifecycle::new(allowed_lateness_us, i64::MIN);
        Self {
            max_edges,
            now: beginning,
            told: beginning,
            windows: Grouped::default(),
            minutes: BTreeSet::new(),
            changed: BTreeSet::new(),
            changes: Changes::default(),
        }
    }

    /// Takes in one epoch. Returns what changed or became final since the last block where the record ends a block.
    pub fn apply(
        &mut self,
        record: &EpochRecord,
        mut partials: Vec<EdgePartial>,
    ) -> Vec<EdgeUpdate> {
        self.now.advance(record.watermark_us);
        // Which transitions were first must not depend on who sent them, nor on how many did.
        partials.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        for of_key in partials.chunk_by(|a, b| a.key == b.key) {
            let mut sums = EdgeSums::default();
            of_key.iter().for_each(|partial| sums.add(&partial.sums, 1));
            if sums != EdgeSums::default() {
                self.add(of_key[0].key.clone(), &sums);
            }
        }
        if record.tells_all {
            for (window, counts) in self.windows.iter_mut() {
                let all = counts.keys().map(|ends| (window.clone(), ends.clone()));
                self.changed.extend(all);
            }
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        let ended = self.ended();
        for window in &ended {
            let counts = self.windows.get(window).into_iter().flatten();
            let all = counts.map(|(ends, _)| (window.clone(), ends.clone()));
            self.changed.extend(all);
        }
        let changed = std::mem::take(&mut self.changed);
        let updates = changed
            .into_iter()
            .filter_map(|(window, ends)| self.tell(window, ends))
            .collect();
        for window in ended {
            self.minutes.remove(&window);
            self.windows.remove(&window);
            self.changes.note(window);
        }
        self.told = self.now;
        updates
    }

    fn add(&mut self, key: EdgeKey, sums: &EdgeSums) {
        if stage(&self.told, key.minute_s) == Stage::Final {
            return;
        }
        let window = EdgeWindow {
            minute_s: key.minute_s,
            agent: key.agent,
        };
        if self.windows.get(&window).is_none() {
            self.windows.insert(window.clone(), Counts::new());
            self.minutes.insert(window.clone());
        }
        let Some(counts) = self.windows.get_mut(&window) else {
            unreachable!("it was put there")
        };
        let mut ends = (key.from, key.to);
        if !counts.contains_key(&ends) && counts.len() >= self.max_edges {
            let overflow = || (StepKind::Overflow, String::new());
            ends = (overflow(), overflow());
        }
        counts.entry(ends.clone()).or_default().sums.add(sums, 1);
        self.changes.note(window.clone());
        self.changed.insert((window, ends));
    }

    /// The windows that are final by now.
    fn ended(&self) -> Vec<EdgeWindow> {
        let ended = |window: &&EdgeWindow| stage(&self.now, window.minute_s) == Stage::Final;
        self.minutes.iter().take_while(ended).cloned().collect()
    }

    fn tell(&mut self, window: EdgeWindow, ends: (End, End)) -> Option<EdgeUpdate> {
        let counted = self.windows.get_mut(&window)?.get_mut(&ends)?;
        let was_shown = std::mem::replace(&mut counted.is_shown, counted.sums.count > 0);
        if !was_shown && !counted.is_shown {
            return None;
        }
        self.changes.note(window.clone());
        Some(EdgeUpdate {
            is_final: stage(&self.now, window.minute_s) == Stage::Final,
            agent: window.agent,
            minute_s: window.minute_s,
            from: label(&ends.0),
            to: label(&ends.1),
            sums: counted.sums,
        })
    }

    /// Number of windows held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

fn stage(at: &Lifecycle, minute_s: i64) -> Stage {
    at.stage((minute_s + MINUTE_S).saturating_mul(1_000_000))
}

/// The name in the table.
fn label((kind, tool): &End) -> String {
    match kind {
        StepKind::Start => "start".to_owned(),
        StepKind::Think => "think".to_owned(),
        StepKind::Act => format!("act:{tool}"),
        StepKind::Observe => "observe".to_owned(),
        StepKind::Response => "response".to_owned(),
        StepKind::End => "end".to_owned(),
        StepKind::Overflow => OVERFLOW.to_owned(),
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
