//! The windows of many keys: what each holds, and what of it has to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

use serde::{Deserialize, Serialize};

use super::assign::{Assigner, TimeWindow};
use super::lifecycle::{LateRule, Lifecycle, Stage};

/// What a window holds. Merging must give the same in any order.
pub trait Accumulator: Clone {
    /// Adds another one.
    fn merge(&mut self, other: &Self);
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<K, A> {
    /// The key.
    pub key: K,
    /// When, µs since 1970.
    pub time_us: i64,
    /// What it adds to its windows.
    pub value: A,
}

/// What is told of windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told<K, A> {
    /// A window as it stands. It replaces what was told of it before.
    Fired {
        /// The key.
        key: K,
        /// The window.
        window: TimeWindow,
        /// All that it holds so far.
        value: A,
        /// Where it stands.
        stage: Stage,
    },
    /// A window that was told is no more: it was merged into another one.
    Gone {
        /// The key.
        key: K,
        /// The window.
        window: TimeWindow,
    },
    /// An event that came too late for any window.
    Late(Event<K, A>),
}

#[derive(Clone, Debug)]
struct Held<A> {
    value: A,
    /// Whether a firing of it went out, so that it must be taken back when it is merged away.
    told: bool,
}

/// What the end of the block has to tell of a window.
#[derive(Clone, Debug)]
enum Due<A> {
    Changed,
    Final(A),
    Gone,
}

/// The windows of the keys that one worker owns.
///
/// They fire at the ends of blocks: early while they are open, when they close, after each late change, and a last time
/// when they are final, which ends their life here.
#[derive(Clone, Debug)]
pub struct KeyedWindows<K, A> {
    assigner: Assigner,
    late_rule: LateRule,
    lifecycle: Lifecycle,
    /// The windows that are not final. Those of one key never touch each other where they merge.
    keys: BTreeMap<K, BTreeMap<TimeWindow, Held<A>>>,
    /// The same windows by their ends.
    by_end: BTreeMap<i64, BTreeSet<(K, i64)>>,
    due: BTreeMap<(K, TimeWindow), Due<A>>,
}

impl<K: Ord + Clone, A: Accumulator> KeyedWindows<K, A> {
    /// Without any window.
    #[must_use]
    pub fn new(assigner: Assigner, allowed_lateness_us: i64, late_rule: LateRule) -> Self {
        Self {
            assigner,
            late_rule,
            lifecycle: Lifecycle::new(allowed_lateness_us, i64::MIN),
            keys: BTreeMap::new(),
            by_end: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    /// Takes in one epoch: first its watermark, then its events, whose order does not matter. Returns those that are late
    /// and, where a block ends, all windows that changed, closed, became final or were merged away since the last one.
    pub fn apply(
        &mut self,
        watermark_us: i64,
        mut events: Vec<Event<K, A>>,
        block_ends: bool,
    ) -> Vec<Told<K, A>> {
        self.advance(watermark_us);
        // By window, whether an event is late can depend on the sessions that those before it have opened.
        events.sort_by(|a, b| (&a.key, a.time_us).cmp(&(&b.key, b.time_us)));
        let late = events.into_iter().filter_map(|event| self.add(event));
        let mut told: Vec<_> = late.map(Told::Late).collect();
        if block_ends {
            self.tell(&mut told);
        }
        told
    }

    fn advance(&mut self, watermark_us: i64) {
        let Some(before) = self.lifecycle.advance(watermark_us) else {
            return;
        };
        let closes = (
            Excluded(before.closed_up_to()),
            Included(self.lifecycle.closed_up_to()),
        );
        for (&end_us, ends) in self.by_end.range(closes) {
            for (key, start_us) in ends {
                let window = TimeWindow {
                    start_us: *start_us,
                    end_us,
                };
                self.due.insert((key.clone(), window), Due::Changed);
            }
        }
        while let Some(entry) = self.by_end.first_entry() {
            let end_us = *entry.key();
            if self.lifecycle.stage(end_us) != Stage::Final {
                break;
            }
            for (key, start_us) in entry.remove() {
                let window = TimeWindow { start_us, end_us };
                if let Some(held) = take(&mut self.keys, &key, &window) {
                    self.due.insert((key, window), Due::Final(held.value));
                }
            }
        }
    }

    /// Puts an event into its windows. Returns it when it is late.
    fn add(&mut self, event: Event<K, A>) -> Option<Event<K, A>> {
        if self.late_rule == LateRule::ByEvent && self.lifecycle.is_late(event.time_us) {
            return Some(event);
        }
        let mut is_in_one = false;
        for window in self.assigner.windows(event.time_us) {
            let touched = self.touched(&event.key, &window);
            let window = touched.iter().fold(window, |all, one| all.cover(one));
            if self.lifecycle.stage(window.end_us) == Stage::Final {
                continue;
            }
            is_in_one = true;
            self.merge_into(&event.key, window, &touched);
            self.put(&event.key, window, &event.value);
        }
        let is_late = !is_in_one && self.lifecycle.is_late(event.time_us);
        is_late.then_some(event)
    }

    /// The windows of a key that become one with `window`.
    fn touched(&self, key: &K, window: &TimeWindow) -> Vec<TimeWindow> {
        let Some(windows) = self.keys.get(key).filter(|_| self.assigner.merges()) else {
            return Vec::new();
        };
        // They do not touch each other, so their ends are in the order of their starts.
        let last = TimeWindow {
            start_us: window.end_us,
            end_us: i64::MAX,
        };
        let before = windows.range(..=last).rev().map(|(held, _)| *held);
        before.take_while(|held| held.touches(window)).collect()
    }

    /// Makes `parts` one window.
    fn merge_into(&mut self, key: &K, window: TimeWindow, parts: &[TimeWindow]) {
        for part in parts.iter().filter(|&&part| part != window) {
            let Some(held) = take(&mut self.keys, key, part) else {
                continue;
            };
            if let Some(ends) = self.by_end.get_mut(&part.end_us) {
                ends.remove(&(key.clone(), part.start_us));
                if ends.is_empty() {
                    self.by_end.remove(&part.end_us);
                }
            }
            let due = (key.clone(), *part);
            if held.told {
                self.due.insert(due, Due::Gone);
            } else {
                self.due.remove(&due);
            }
            self.put(key, window, &held.value);
        }
    }

    fn put(&mut self, key: &K, window: TimeWindow, value: &A) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.clone(), BTreeMap::new());
        }
        let Some(windows) = self.keys.get_mut(key) else {
            return;
        };
        if let Some(held) = windows.get_mut(&window) {
            held.value.merge(value);
        } else {
            let held = Held {
                value: value.clone(),
                told: false,
            };
            windows.insert(window, held);
            let ends = self.by_end.entry(window.end_us).or_default();
            ends.insert((key.clone(), window.start_us));
        }
        self.due.insert((key.clone(), window), Due::Changed);
    }

    fn tell(&mut self, told: &mut Vec<Told<K, A>>) {
        for ((key, window), due) in std::mem::take(&mut self.due) {
            let stage = self.lifecycle.stage(window.end_us);
            let value = match due {
                Due::Gone => {
                    told.push(Told::Gone { key, window });
                    continue;
                }
                Due::Final(value) => value,
                Due::Changed => {
                    let windows = self.keys.get_mut(&key);
                    let Some(held) = windows.and_then(|windows| windows.get_mut(&window)) else {
                        unreachable!("a window that changed is held until it is final or gone");
                    };
                    held.told = true;
                    held.value.clone()
                }
            };
            told.push(Told::Fired {
                key,
                window,
                value,
                stage,
            });
        }
    }

    /// Number of windows held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.values().map(BTreeMap::len).sum()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Takes a window from its key, and the key with its last one.
fn take<K: Ord, A>(
    keys: &mut BTreeMap<K, BTreeMap<TimeWindow, Held<A>>>,
    key: &K,
    window: &TimeWindow,
) -> Option<Held<A>> {
    let windows = keys.get_mut(key)?;
    let held = windows.remove(window);
    if windows.is_empty() {
        keys.remove(key);
    }
    held
}
