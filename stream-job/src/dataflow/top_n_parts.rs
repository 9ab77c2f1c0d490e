//! What a worker makes of the spans that it has read: the candidates for the top lists, and counts of errors.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::{ErrorKind, Ranked, TopItem, TopKey, TopList, TopSpan};
use crate::dataflow::window::{MINUTE_S, group_of_agent, window_start_s};
use crate::span::clean::{CleanSpan, Status, StepType};

/// A [`TopKey`] whose agent is borrowed; hashes as the key does.
#[derive(Hash)]
struct BorrowedKey<'a>(i64, &'a str, TopList);

impl hashbrown::Equivalent<TopKey> for BorrowedKey<'_> {
    fn equivalent(&self, key: &TopKey) -> bool {
        self.0 == key.window_start_s && self.2 == key.list && self.1 == key.agent
    }
}

/// What one worker and epoch bring to the lists: candidates, and counts of errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopPartial {
    /// A step that is among the top of its epoch.
    Span(TopKey, Ranked),
    /// An error and how often it came.
    Error(TopKey, ErrorKind, u64),
}

impl TopPartial {
    /// The group of its agent.
    pub(super) fn group(&self) -> u16 {
        let (TopPartial::Span(key, _) | TopPartial::Error(key, ..)) = self;
        group_of_agent(&key.agent)
    }
}

/// The top of one epoch on one worker.
pub struct PreTop {
    n: usize,
    lists: HashMap<TopKey, BTreeSet<Ranked>>,
    errors: HashMap<(TopKey, ErrorKind), u64>,
}

impl PreTop {
    /// Keeps `n` candidates a list.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self {
            n,
            lists: HashMap::new(),
            errors: HashMap::new(),
        }
    }

    /// Offers one span.
    pub fn add(&mut self, span: &CleanSpan<'_>) {
        if matches!(span.step_type, StepType::Session | StepType::Chain) {
            return;
        }
        let window_start_s = window_start_s(span.end_us, MINUTE_S);
        for (list, measure) in [
            (TopList::Slow, span.duration_us),
            (TopList::Cost, span.cost_nanousd),
        ] {
            if measure > 0 && self.may_enter(window_start_s, &span.agent, list, measure) {
                self.enter(
                    TopKey::new(window_start_s, &span.agent, list),
                    measure,
                    span,
                );
            }
        }
        if span.status == Status::Error {
            let key = TopKey::new(window_start_s, &span.agent, TopList::Error);
            *self.errors.entry((key, error_kind(span))).or_default() += 1;
        }
    }

    /// Most spans end here, and cost no allocation: the list is full of better ones.
    fn may_enter(&self, window_start_s: i64, agent: &str, list: TopList, measure: u64) -> bool {
        let held = self.lists.get(&BorrowedKey(window_start_s, agent, list));
        held.and_then(|held| {
            if held.len() < self.n {
                None
            } else {
                held.last()
            }
        })
        .is_none_or(|worst| worst.measure >= Reverse(measure))
    }

    fn enter(&mut self, key: TopKey, measure: u64, span: &CleanSpan<'_>) {
        let held = self.lists.entry(key).or_default();
        held.insert(Ranked {
            measure: Reverse(measure),
            item: TopItem::Span(top_span(span)),
        });
        if held.len() > self.n {
            held.pop_last();
        }
    }

    /// Takes what was kept since the last call.
    pub fn take(&mut self) -> Vec<TopPartial> {
        let lists = self.lists.drain();
        let spans = lists.flat_map(|(key, held)| {
            held.into_iter()
                .map(move |entry| TopPartial::Span(key.clone(), entry))
        });
        let errors = self
            .errors
            .drain()
            .map(|((key, kind), count)| TopPartial::Error(key, kind, count));
        spans.chain(errors).collect()
    }
}

fn top_span(span: &CleanSpan<'_>) -> TopSpan {
    TopSpan {
        start_us: span.start_us,
        trace_id: u128::from_be_bytes(span.trace_id),
        span_id: u64::from_be_bytes(span.span_id),
        session_id: span.session_id.to_string(),
        name: span.name.to_string(),
        step_type: span.step_type.as_str().to_owned(),
        tool_name: span.tool_name.to_string(),
        model: span.model.to_string(),
        status: span.status.as_str().to_owned(),
        duration_us: span.duration_us,
        cost_nanousd: span.cost_nanousd,
    }
}

fn error_kind(span: &CleanSpan<'_>) -> ErrorKind {
    ErrorKind {
        step_type: span.step_type.as_str().to_owned(),
        tool_name: span.tool_name.to_string(),
        model: span.model.to_string(),
        error_type: span.error_type.to_string(),
    }
}
