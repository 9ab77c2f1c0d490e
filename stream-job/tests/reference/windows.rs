//! `dws_step_*`: every span that is not late, counted into its windows one by one.

use std::collections::{BTreeMap, BTreeSet};

use stream_job::dataflow::buckets::bucket_of;
use stream_job::ops::settings::Settings;

use super::micros;
use super::raw::Span;
use super::tables::{Tables, buckets, put, row};

type Key = [String; 4];

/// Length and hop of the windows, in s.
const WINDOWS: [(&str, i64, i64); 3] = [
    ("dws_step_1m", 60, 60),
    ("dws_step_5m", 300, 60),
    ("dws_step_1h", 3_600, 3_600),
];

#[derive(Default)]
struct Sums {
    count: u64,
    errors: u64,
    duration_sum_us: u64,
    duration_max_us: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_nanousd: u64,
    buckets: BTreeMap<i16, u64>,
}

pub struct Windows {
    lateness_us: i64,
    max_keys: usize,
    windows: BTreeMap<(&'static str, Key, i64, i64), Sums>,
    /// Ends of the windows that keep a key alive.
    alive: BTreeMap<Key, BTreeSet<i64>>,
}

impl Windows {
    pub fn new(settings: &Settings) -> Self {
        Self {
            lateness_us: micros(settings.allowed_lateness),
            max_keys: settings.max_keys_per_agent as usize,
            windows: BTreeMap::new(),
            alive: BTreeMap::new(),
        }
    }

    /// Counts the spans of one epoch, in the order of their keys: the first keys of an agent have a place of their own.
    pub fn add(&mut self, spans: &[Span]) {
        let mut keyed: Vec<(Key, i64, &Span)> = spans
            .iter()
            .filter(|span| !span.late)
            .map(|span| (key_of(span), span.end_us.div_euclid(1_000_000), span))
            .collect();
        keyed.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        for (key, end_s, span) in keyed {
            let key = self.place(key);
            for (table, length, hop) in WINDOWS {
                let mut start = end_s.div_euclid(hop) * hop;
                while start + length > end_s {
                    let window = (table, key.clone(), start, start + length);
                    count(self.windows.entry(window).or_default(), span);
                    let ends = self.alive.entry(key.clone()).or_default();
                    ends.insert(start + length);
                    start -= hop;
                }
            }
        }
    }

    fn place(&self, key: Key) -> Key {
        let is_mine = |other: &&Key| other[0] == key[0] && other[2] != "__overflow__";
        let places = self.alive.keys().filter(is_mine).count();
        if self.alive.contains_key(&key) || places < self.max_keys {
            return key;
        }
        let [agent, step_type, ..] = key;
        let overflow = || "__overflow__".to_owned();
        [agent, step_type, overflow(), overflow()]
    }

    fn is_final(&self, end_s: i64, watermark_us: i64) -> bool {
        end_s * 1_000_000 + self.lateness_us <= watermark_us
    }

    /// A key whose windows are all final gives up its place.
    pub fn end_block(&mut self, watermark_us: i64) {
        let mut alive = std::mem::take(&mut self.alive);
        alive.retain(|_, ends| ends.iter().any(|&end| !self.is_final(end, watermark_us)));
        self.alive = alive;
    }

    pub fn write(&self, watermark_us: i64, tables: &mut Tables) {
        for ((table, [agent, step_type, tool_name, model], start, end), sums) in &self.windows {
            put(
                tables,
                table,
                row! {
                    "agent": agent, "step_type": step_type, "tool_name": tool_name, "model": model,
                    "window_start": *start, "window_end": *end, "count": sums.count, "errors": sums.errors,
                    "duration_sum_us": sums.duration_sum_us, "duration_max_us": sums.duration_max_us,
                    "input_tokens": sums.input_tokens, "output_tokens": sums.output_tokens,
                    "cost_nanousd": sums.cost_nanousd, "duration_buckets": buckets(&sums.buckets),
                    "final": self.is_final(*end, watermark_us), "is_deleted": false,
                },
            );
        }
    }
}

fn key_of(span: &Span) -> Key {
    [
        span.agent.clone(),
        span.step.as_str().to_owned(),
        span.tool_name.clone(),
        span.model.clone(),
    ]
}

fn count(sums: &mut Sums, span: &Span) {
    sums.count += 1;
    sums.errors += u64::from(span.failed);
    sums.duration_sum_us += span.duration_us;
    sums.duration_max_us = sums.duration_max_us.max(span.duration_us);
    sums.input_tokens += span.input_tokens;
    sums.output_tokens += span.output_tokens;
    sums.cost_nanousd += span.cost_nanousd;
    *sums.buckets.entry(bucket_of(span.duration_us)).or_default() += 1;
}
