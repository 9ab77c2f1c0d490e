//! What a worker makes of the spans that it has read: sums per key and minute, the keys of a batch by number.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::{MINUTE_S, StepKey, StepSums, window_start_s};
use crate::span::clean::{CleanSpan, Status};

/// What is summed of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepMeasure {
    /// Event time, µs since 1970.
    pub end_us: i64,
    /// Duration, µs.
    pub duration_us: u64,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Cost, nano-dollars.
    pub cost_nanousd: u64,
    /// Whether it failed.
    pub failed: bool,
}

impl StepMeasure {
    /// That of a span.
    #[must_use]
    pub fn of(span: &CleanSpan<'_>) -> StepMeasure {
        StepMeasure {
            end_us: span.end_us,
            duration_us: span.duration_us,
            input_tokens: span.input_tokens,
            output_tokens: span.output_tokens,
            cost_nanousd: span.cost_nanousd,
            failed: span.status == Status::Error,
        }
    }
}

/// The sums of one key and minute from one worker and epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPartial {
    /// The key.
    pub key: StepKey,
    /// Start of the minute, s since 1970.
    pub minute_s: i64,
    /// The sums.
    pub sums: StepSums,
}

/// A key as a span has it: hashed, and equal, as the [`StepKey`] of it.
#[derive(Hash, PartialEq, Eq)]
struct BorrowedKey<'a> {
    agent: &'a str,
    step_type: &'a str,
    tool_name: &'a str,
    model: &'a str,
}

impl<'a> BorrowedKey<'a> {
    fn of(span: &'a CleanSpan<'_>) -> Self {
        Self {
            agent: &span.agent,
            step_type: span.step_type.as_str(),
            tool_name: &span.tool_name,
            model: &span.model,
        }
    }

    fn to_owned(&self) -> StepKey {
        StepKey {
            agent: self.agent.to_owned(),
            step_type: self.step_type.to_owned(),
            tool_name: self.tool_name.to_owned(),
            model: self.model.to_owned(),
        }
    }
}

impl hashbrown::Equivalent<StepKey> for BorrowedKey<'_> {
    fn equivalent(&self, key: &StepKey) -> bool {
        self.agent == key.agent
            && self.tool_name == key.tool_name
            && self.model == key.model
            && self.step_type == key.step_type
    }
}

/// Keys by number, for as long as one epoch is read.
#[derive(Debug, Default)]
pub struct StepKeys {
    numbers: HashMap<StepKey, u32>,
    keys: Vec<StepKey>,
}

impl StepKeys {
    /// The number of a span's key; allocates only for one that is new.
    fn number(&mut self, span: &CleanSpan<'_>) -> u32 {
        let key = BorrowedKey::of(span);
        match self.numbers.get(&key) {
            Some(&number) => number,
            None => self.append(key.to_owned()),
        }
    }

    fn append(&mut self, key: StepKey) -> u32 {
        let number = self.keys.len() as u32;
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }

    /// The number of each key of others.
    fn adopt(&mut self, others: &StepKeys) -> Vec<u32> {
        let own = |key: &StepKey| match self.numbers.get(key) {
            Some(&number) => number,
            None => self.append(key.clone()),
        };
        others.keys.iter().map(own).collect()
    }
}

/// A step of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Index of its span in the record.
    pub index: u32,
    /// Number of its key in the batch.
    pub key: u32,
    /// What is summed of it.
    pub measure: StepMeasure,
}

/// The steps of one batch, where nothing but windows is made of them.
#[derive(Debug, Default)]
pub struct Steps {
    keys: StepKeys,
    /// In the order of the batch.
    pub steps: Vec<Step>,
}

impl Steps {
    /// Adds that of a span.
    pub fn push(&mut self, span: &CleanSpan<'_>) {
        self.steps.push(Step {
            index: span.index,
            key: self.keys.number(span),
            measure: StepMeasure::of(span),
        });
    }
}

/// Sums spans per key and minute before anything is exchanged.
#[derive(Default)]
pub struct PreAggregate {
    keys: StepKeys,
    sums: HashMap<(u32, i64), StepSums>,
}

impl PreAggregate {
    /// Counts one span.
    pub fn add(&mut self, span: &CleanSpan<'_>) {
        let number = self.keys.number(span);
        self.add_step(number, &StepMeasure::of(span));
    }

    /// The numbers here of a batch's keys.
    pub fn adopt(&mut self, batch: &Steps) -> Vec<u32> {
        self.keys.adopt(&batch.keys)
    }

    /// Counts one step of the key with this number.
    pub fn add_step(&mut self, number: u32, step: &StepMeasure) {
        let minute_s = window_start_s(step.end_us, MINUTE_S);
        self.sums.entry((number, minute_s)).or_default().add(step);
    }

    /// Takes what was summed since the last call.
    pub fn take(&mut self) -> Vec<StepPartial> {
        let keys = std::mem::take(&mut self.keys);
        self.sums
            .drain()
            .map(|((number, minute_s), sums)| StepPartial {
                key: keys.keys[number as usize].clone(),
                minute_s,
                sums,
            })
            .collect()
    }
}
