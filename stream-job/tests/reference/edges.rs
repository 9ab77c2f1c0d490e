//! `dws_edge_1m`: the way through every trace, walked again at the end of every block.

use std::collections::{BTreeMap, BTreeSet};

use stream_job::ops::settings::Settings;
use stream_job::span::clean::StepType;

use super::micros;
use super::raw::Span;
use super::tables::{Cell, Row, Tables, edge_key, put, row};

/// Agent, start of the minute, step before, step after.
type Key = (String, i64, String, String);

/// Count, derived, errors, gaps, durations.
type Sums = [i64; 5];

/// The transitions of a trace with its agent and what is known of its root.
pub fn of_trace(agent: &str, has_root: bool, spans: &[Span]) -> Vec<(Key, Sums)> {
    // Start, end, derived, span, name, failed.
    let mut way: Vec<(i64, i64, bool, u64, String, bool)> = Vec::new();
    let has = |step| spans.iter().any(|span| span.step == step);
    for span in spans {
        let name = match span.step {
            StepType::Think => "think".to_owned(),
            StepType::Act => format!("act:{}", span.tool_name),
            StepType::Observe => "observe".to_owned(),
            StepType::Response => "response".to_owned(),
            _ => continue,
        };
        way.push((
            span.start_us,
            span.end_us,
            false,
            span.id,
            name,
            span.failed,
        ));
        if span.step == StepType::Act && span.has_output && !has(StepType::Observe) {
            let thinks = spans.iter().filter(|other| other.step == StepType::Think);
            let after = thinks
                .map(|other| other.start_us)
                .filter(|start| *start >= span.end_us);
            if let Some(next) = after.min() {
                way.push((
                    span.end_us,
                    next,
                    true,
                    span.id,
                    "observe".to_owned(),
                    false,
                ));
            }
        }
    }
    if has_root && !has(StepType::Response) {
        let answers = spans
            .iter()
            .filter(|span| span.step == StepType::Think && span.has_output);
        if let Some((end, id)) = answers.map(|span| (span.end_us, span.id)).max() {
            way.push((end, end, true, id, "response".to_owned(), false));
        }
    }
    // Of two spans with one id and one time, the kind, the tool and the outcome decide.
    let place = |step: &(i64, i64, bool, u64, String, bool)| (step.0, step.1, step.2, step.3);
    way.sort_by(|a, b| (place(a), rank(&a.4), a.5).cmp(&(place(b), rank(&b.4), b.5)));
    let minute = |end: i64| end.div_euclid(60_000_000) * 60;
    let mut edges = Vec::new();
    for (at, (start, end, derived, _, name, failed)) in way.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| &way[at]);
        let from = before.map_or("start", |before| before.4.as_str());
        let derived = *derived || before.is_some_and(|before| before.2);
        let gap = before.map_or(0, |before| (start - before.1).max(0));
        let key = (
            agent.to_owned(),
            minute(*end),
            from.to_owned(),
            name.clone(),
        );
        edges.push((
            key,
            [1, i64::from(derived), i64::from(*failed), gap, end - start],
        ));
    }
    if let Some((_, end, derived, _, name, _)) = way.last() {
        let key = (
            agent.to_owned(),
            minute(*end),
            name.clone(),
            "end".to_owned(),
        );
        edges.push((key, [1, i64::from(*derived), 0, 0, 0]));
    }
    edges
}

pub struct Edges {
    lateness_us: i64,
    max_edges: usize,
    /// Windows that end here or before were told of as final.
    final_us: i64,
    /// What each trace says, and what it said last of the windows that are final.
    traces: BTreeMap<(u128, u64), Vec<(Key, Sums)>>,
    /// The sums at the last block.
    before: BTreeMap<Key, Sums>,
    /// The transitions that are counted by themselves, by agent and minute.
    admitted: BTreeMap<(String, i64), BTreeSet<(String, String)>>,
}

/// In which order steps are admitted.
fn rank(name: &str) -> (usize, &str) {
    let kinds = ["start", "think", "act:", "observe", "response", "end"];
    let at = kinds
        .iter()
        .position(|kind| name.starts_with(kind))
        .unwrap();
    (at, name)
}

impl Edges {
    pub fn new(settings: &Settings) -> Self {
        Self {
            lateness_us: micros(settings.allowed_lateness),
            max_edges: settings.max_keys_per_agent as usize,
            final_us: i64::MIN,
            traces: BTreeMap::new(),
            before: BTreeMap::new(),
            admitted: BTreeMap::new(),
        }
    }

    /// What a trace says now takes the place of what it said, but in windows that are final.
    pub fn told(&mut self, trace: u128, segment: u64, edges: Vec<(Key, Sums)>) {
        let final_us = self.final_us;
        let is_final = |(key, _): &(Key, Sums)| (key.1 + 60) * 1_000_000 <= final_us;
        let held = self.traces.entry((trace, segment)).or_default();
        held.retain(&is_final);
        held.extend(edges.into_iter().filter(|edge| !is_final(edge)));
    }

    /// The sums as they stand, where a window has too many transitions the last ones together.
    fn counted(&mut self) -> BTreeMap<Key, Sums> {
        let mut now: BTreeMap<Key, Sums> = BTreeMap::new();
        for (key, sums) in self.traces.values().flatten() {
            let held = now.entry(key.clone()).or_default();
            held.iter_mut()
                .zip(sums)
                .for_each(|(held, sum)| *held += sum);
        }
        let none = Sums::default();
        let keys = now.keys().chain(self.before.keys());
        let of = |sums: &BTreeMap<Key, Sums>, key: &Key| *sums.get(key).unwrap_or(&none);
        let mut changed: Vec<Key> = keys
            .filter(|key| of(&now, key) != of(&self.before, key))
            .cloned()
            .collect();
        changed.sort_by(|a, b| {
            let by = |key: &Key| (key.0.clone(), key.1);
            (by(a), rank(&a.2), rank(&a.3)).cmp(&(by(b), rank(&b.2), rank(&b.3)))
        });
        for (agent, minute, from, to) in changed {
            let admitted = self.admitted.entry((agent, minute)).or_default();
            if admitted.len() < self.max_edges {
                admitted.insert((from, to));
            }
        }
        let mut counted: BTreeMap<Key, Sums> = BTreeMap::new();
        for (window, ends) in &self.admitted {
            for (from, to) in ends {
                counted.insert((window.0.clone(), window.1, from.clone(), to.clone()), none);
            }
        }
        for (key, sums) in &now {
            let overflow = || "__overflow__".to_owned();
            let by_itself = counted.contains_key(key);
            let key = match by_itself {
                true => key.clone(),
                false => (key.0.clone(), key.1, overflow(), overflow()),
            };
            let held = counted.entry(key).or_default();
            held.iter_mut()
                .zip(sums)
                .for_each(|(held, sum)| *held += sum);
        }
        self.before = now;
        counted
    }

    pub fn end_block(&mut self, watermark_us: i64, tables: &mut Tables) {
        let now_final_us = match watermark_us {
            i64::MAX => i64::MAX,
            watermark_us => watermark_us.saturating_sub(self.lateness_us),
        };
        let mut counted = self.counted();
        let rows = tables.entry("dws_edge_1m").or_default();
        let is_live = |(_, row): &(&Vec<Cell>, &Row)| row["is_deleted"] == false.into();
        let live = rows.iter().filter(is_live).map(|(key, _)| edge_key(key));
        let shown: BTreeSet<Key> = live.collect();
        for key in &shown {
            counted.entry(key.clone()).or_default();
        }
        counted.retain(|key, sums| sums[0] > 0 || shown.contains(key));
        for (key, [count, derived, errors, gaps, durations]) in counted {
            let row = row! {
                "agent": &key.0, "window_start": key.1, "window_end": key.1 + 60, "from": &key.2, "to": &key.3,
                "count": count, "derived": derived, "errors": errors, "gap_sum_us": gaps, "duration_sum_us": durations,
                "final": (key.1 + 60) * 1_000_000 <= now_final_us, "is_deleted": count == 0,
            };
            put(tables, "dws_edge_1m", row);
        }
        self.final_us = now_final_us.max(self.final_us);
    }
}
