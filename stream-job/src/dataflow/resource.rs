//! What the processes of agents take, by minute: CPU time, resident memory, threads.
//!
//! CPU time comes as a counter since the process began, one for each mode. What a minute used is how far each counter came
//! beyond its last value before, so only the greatest value a minute counts, and points may come in any order: one that
//! comes late corrects its minute and the one after it, until they are final.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::window::MINUTE_S;
use super::windowing::{Lifecycle, Stage};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{Changes, Grouped};
use crate::metric::{CleanPoint, MetricKind, Temporality};

#[path = "resource_saved.rs"]
mod saved;

pub use saved::group_of_process;

/// OpenTelemetry's names of what is summed up.
const CPU_TIME: &str = "process.cpu.time";
const MEMORY: &str = "process.memory.usage";
const THREADS: &str = "process.thread.count";
/// More than any process has: beyond it a number is a fault of its sender, and would drown every sum.
const MAX_CPU_S: f64 = 1e10;
const MAX_MEMORY_BYTES: f64 = 1e16;
const MAX_THREADS: f64 = 1e7;

/// A process of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// The agent.
    pub agent: String,
    /// Which process of it.
    pub instance: String,
}

/// A counter of a process: one that began anew is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Counter {
    start_us: i64,
    /// Its attributes, such as the mode.
    of: String,
}

/// What the points of one minute say by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    samples: u64,
    memory_sum_bytes: u64,
    memory_max_bytes: u64,
    threads_max: u32,
    /// CPU time that came as a difference.
    cpu_delta_us: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.samples += other.samples;
        self.memory_sum_bytes = self.memory_sum_bytes.saturating_add(other.memory_sum_bytes);
        self.memory_max_bytes = self.memory_max_bytes.max(other.memory_max_bytes);
        self.threads_max = self.threads_max.max(other.threads_max);
        self.cpu_delta_us = self.cpu_delta_us.saturating_add(other.cpu_delta_us);
    }
}

/// What one worker saw of one minute of a process in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePartial {
    process: Process,
    minute_s: i64,
    seen: Seen,
    /// The greatest value of each counter, µs.
    counters: Vec<(Counter, u64)>,
}

impl ResourcePartial {
    /// The key group that its process lies in.
    #[must_use]
    pub fn group(&self) -> u16 {
        group_of_process(&self.process.agent, &self.process.instance)
    }
}

/// Sums up points before anything is exchanged.
#[derive(Debug, Default)]
pub(super) struct PreResource(HashMap<(Process, i64), (Seen, HashMap<Counter, u64>)>);

impl PreResource {
    /// Adds a point that is not late, if it is of what is summed up.
    pub(super) fn add(&mut self, point: &CleanPoint<'_>) {
        let metric = point.metric;
        let value = point.value();
        let within = |max: f64| (0.0..=max).contains(&value);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded before"
        )]
        let whole = |value: f64| value.round() as u64;
        let mut seen = Seen::default();
        let mut counter = None;
        match (&*metric.name, metric.kind) {
            (CPU_TIME, MetricKind::Sum) if within(MAX_CPU_S) && metric.unit == "s" => {
                let used_us = whole(value * 1e6);
                if metric.temporality == Temporality::Delta {
                    seen.cpu_delta_us = used_us;
                } else {
                    let of = Counter {
                        start_us: point.start_us,
                        of: attributes_of(point),
                    };
                    counter = Some((of, used_us));
                }
            }
            (MEMORY, MetricKind::Gauge | MetricKind::Sum) if within(MAX_MEMORY_BYTES) => {
                seen.samples = 1;
                seen.memory_sum_bytes = whole(value);
                seen.memory_max_bytes = whole(value);
            }
            (THREADS, MetricKind::Gauge | MetricKind::Sum) if within(MAX_THREADS) => {
                seen.threads_max = u32::try_from(whole(value)).unwrap_or(u32::MAX);
            }
            _ => return,
        }
        let process = Process {
            agent: point.agent.to_string(),
            instance: point.instance.to_string(),
        };
        let minute_s = point.time_us.div_euclid(60_000_000) * MINUTE_S;
        let (sums, counters) = self.0.entry((process, minute_s)).or_default();
        sums.add(&seen);
        if let Some((of, used_us)) = counter {
            let held = counters.entry(of).or_default();
            *held = used_us.max(*held);
        }
    }

    /// What was added since the last call.
    pub(super) fn take(&mut self) -> Vec<ResourcePartial> {
        let partial =
            |((process, minute_s), (seen, counters)): (_, (_, HashMap<_, _>))| ResourcePartial {
                process,
                minute_s,
                seen,
                counters: counters.into_iter().collect(),
            };
        self.0.drain().map(partial).collect()
    }
}

/// A counter's attributes in one text, whatever order they came in.
fn attributes_of(point: &CleanPoint<'_>) -> String {
    let mut all: Vec<_> = (point.point.attributes.iter())
        .map(|attr| format!("{}={}", attr.key, attr.value.text()))
        .collect();
    all.sort_unstable();
    all.join("\n")
}

/// A counter's values: the greatest of each open minute, and of the last one before them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Values {
    before: Option<(i64, u64)>,
    by_minute: BTreeMap<i64, u64>,
}

impl Values {
    /// How far the counter came in a minute.
    fn used_in(&self, minute_s: i64, start_us: i64) -> u64 {
        let Some(&value) = self.by_minute.get(&minute_s) else {
            return 0;
        };
        let earlier = self.by_minute.range(..minute_s).next_back();
        match earlier
            .map(|(_, &value)| value)
            .or(self.before.map(|(_, value)| value))
        {
            Some(before) => value.saturating_sub(before),
            // The first that is known of it: all of it is of this minute, or nobody knows when it was used.
            None if start_us >= (minute_s - MINUTE_S) * 1_000_000 => value,
            None => 0,
        }
    }
}

/// A minute of a process as it stands at the end of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUpdate {
    /// The process.
    pub process: Process,
    /// Start of the minute, s since 1970.
    pub minute_s: i64,
    /// Points of memory.
    pub samples: u64,
    /// CPU time used, µs.
    pub cpu_time_us: u64,
    /// Sum of the resident memory of the points, bytes.
    pub memory_sum_bytes: u64,
    /// Highest resident memory, bytes.
    pub memory_max_bytes: u64,
    /// Most threads.
    pub threads_max: u32,
    /// Nothing changes it any more.
    pub is_final: bool,
}

/// What is held of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Held {
    /// The newest minute that it had a point in.
    newest_s: i64,
    minutes: BTreeMap<i64, Seen>,
    counters: BTreeMap<Counter, Values>,
}

impl Held {
    fn update(&self, process: &Process, minute_s: i64, is_final: bool) -> Option<ResourceUpdate> {
        let seen = self.minutes.get(&minute_s)?;
        let used = (self.counters.iter()).map(|(of, values)| values.used_in(minute_s, of.start_us));
        Some(ResourceUpdate {
            process: process.clone(),
            minute_s,
            samples: seen.samples,
            cpu_time_us: used.fold(seen.cpu_delta_us, u64::saturating_add),
            memory_sum_bytes: seen.memory_sum_bytes,
            memory_max_bytes: seen.memory_max_bytes,
            threads_max: seen.threads_max,
            is_final,
        })
    }

    /// Lets a final minute go: its counters are what later ones start from.
    fn close(&mut self, minute_s: i64) {
        self.minutes.remove(&minute_s);
        for values in self.counters.values_mut() {
            if let Some(value) = values.by_minute.remove(&minute_s) {
                let before = values.before.map_or(0, |(_, before)| before);
                values.before = Some((minute_s, value.max(before)));
            }
        }
    }

    /// Forgets counters that nothing came of for so long: they began anew under another start.
    fn forget_before(&mut self, oldest_s: i64) {
        self.counters.retain(|_, values| {
            let newest = values
                .by_minute
                .last_key_value()
                .map(|(&minute_s, _)| minute_s);
            let newest = newest.or(values.before.map(|(minute_s, _)| minute_s));
            newest.is_some_and(|minute_s| minute_s >= oldest_s)
        });
    }
}

/// The processes that one worker owns.
pub struct Resources {
    memory_us: i64,
    now: Lifecycle,
    processes: Grouped<Process, Held>,
    /// All open minutes in the order of time.
    open: BTreeSet<(i64, Process)>,
    /// All processes in the order of their newest minutes.
    newest: BTreeSet<(i64, Process)>,
    /// Minutes that have changed since the last block.
    changed: BTreeSet<(i64, Process)>,
    /// The minute before which counters have been forgotten.
    forgotten_to_s: i64,
    /// Processes that changed or went since the last checkpoint.
    changes: Changes<Process>,
}

impl Resources {
    /// Without any process. One is remembered for `memory_us` after its last minute is final.
    #[must_use]
    pub fn new(allowed_lateness_us: i64, memory_us: i64) -> Self {
        let final_after_us = allowed_lateness_us.saturating_add(MINUTE_S * 1_000_000);
        Self {
            memory_us: memory_us.saturating_add(final_after_us),
            now: Lifecycle::new(allowed_lateness_us, i64::MIN),
            processes: Grouped::default(),
            open: BTreeSet::new(),
            newest: BTreeSet::new(),
            changed: BTreeSet::new(),
            forgotten_to_s: i64::MIN,
            changes: Changes::default(),
        }
    }

    /// Takes in an epoch; where it ends a block, gives the minutes that changed or became final.
    pub fn apply(
        &mut self,
        record: &EpochRecord,
        partials: Vec<ResourcePartial>,
    ) -> Vec<ResourceUpdate> {
        self.now.advance(record.watermark_us);
        for partial in partials {
            self.add(partial);
        }
        if record.tells_all {
            self.changed.extend(self.open.iter().cloned());
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        let is_final = |minute_s: i64| {
            let end_us = (minute_s + MINUTE_S).saturating_mul(1_000_000);
            self.now.stage(end_us) == Stage::Final
        };
        let ended: Vec<_> = (self.open.iter())
            .take_while(|(minute_s, _)| is_final(*minute_s))
            .cloned()
            .collect();
        self.changed.extend(ended.iter().cloned());
        let updates = (self.changed.iter())
            .filter_map(|(minute_s, process)| {
                let held = self.processes.get(process)?;
                held.update(process, *minute_s, is_final(*minute_s))
            })
            .collect();
        self.changed.clear();
        for minute in ended {
            self.open.remove(&minute);
            if let Some(held) = self.processes.get_mut(&minute.1) {
                held.close(minute.0);
            }
            self.changes.note(minute.1);
        }
        self.forget();
        updates
    }

    fn add(&mut self, partial: ResourcePartial) {
        let ResourcePartial {
            process,
            minute_s,
            seen,
            counters,
        } = partial;
        if self.processes.get(&process).is_none() {
            let held = Held {
                newest_s: minute_s,
                ..Held::default()
            };
            self.processes.insert(process.clone(), held);
            self.newest.insert((minute_s, process.clone()));
        }
        let Some(held) = self.processes.get_mut(&process) else {
            unreachable!("it was put there")
        };
        if minute_s > held.newest_s {
            self.newest.remove(&(held.newest_s, process.clone()));
            self.newest.insert((minute_s, process.clone()));
            held.newest_s = minute_s;
        }
        held.minutes.entry(minute_s).or_default().add(&seen);
        for (of, used_us) in counters {
            let values = held.counters.entry(of).or_default();
            let value = values.by_minute.entry(minute_s).or_default();
            *value = used_us.max(*value);
            // The next minute that it has a value in starts from this one.
            let next = values.by_minute.range(minute_s + 1..).next();
            let next = next.map(|(&next_s, _)| (next_s, process.clone()));
            self.changed.extend(next);
        }
        self.open.insert((minute_s, process.clone()));
        self.changed.insert((minute_s, process.clone()));
        self.changes.note(process);
    }

    /// Forgets the processes that have been silent for long, and the counters that went with a start of theirs. Their
    /// minutes are final by then.
    fn forget(&mut self) {
        let Some(oldest_us) = self.now.watermark_us().checked_sub(self.memory_us) else {
            return;
        };
        // What is compared with it starts minutes, so there is nothing to do between two of them.
        let oldest_s = (oldest_us.div_euclid(1_000_000) + MINUTE_S - 1).div_euclid(MINUTE_S);
        let oldest_s = oldest_s * MINUTE_S;
        if oldest_s <= self.forgotten_to_s {
            return;
        }
        self.forgotten_to_s = oldest_s;
        while let Some((newest_s, _)) = self.newest.first()
            && *newest_s < oldest_s
            && let Some((_, process)) = self.newest.pop_first()
        {
            self.processes.remove(&process);
            self.changes.note(process);
        }
        for (process, held) in self.processes.iter_mut() {
            let before = held.counters.len();
            held.forget_before(oldest_s);
            if held.counters.len() != before {
                self.changes.note(process.clone());
            }
        }
    }

    /// Number of processes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }
}

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;
