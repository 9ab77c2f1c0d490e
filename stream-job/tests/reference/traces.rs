//! `dws_trace`: all spans of a trace, looked at again at the end of every block.

use std::collections::{BTreeMap, BTreeSet};

use stream_job::ops::settings::Settings;
use stream_job::span::clean::StepType;

use super::micros;
use super::raw::Span;
use super::tables::{Tables, put, row, texts};

/// Start and span id: the time order within a trace.
pub type Place = (i64, u64);

/// A tool call, in time order: place, end, tool, hash of the arguments.
pub type Call = (Place, i64, String, u64);

/// A root, in time order: place, name, agent, whether it failed.
pub type Root = (Place, String, String, bool);

/// Namespace and session id.
pub type SessionKey = (String, String);

/// Sums over spans.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub spans: u64,
    pub steps: u64,
    pub llm_calls: u64,
    pub tool_calls: u64,
    pub errors: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_nanousd: u64,
}

/// What a trace says at the end of a block.
#[derive(Clone)]
pub struct Told {
    pub trace: u128,
    pub segment: u64,
    pub session: SessionKey,
    /// 0 session, 1 conversation, 2 trace.
    pub source: usize,
    pub totals: Totals,
    pub turns: u64,
    pub first_us: i64,
    pub last_us: i64,
    pub user: Option<(Place, String)>,
    pub agent: String,
    pub agents: BTreeSet<String>,
    pub root: Option<Root>,
    pub calls: Vec<Call>,
    pub orphans: u64,
    /// Too many spans.
    pub truncated: bool,
    /// Whether anything of it has changed in this block.
    pub changed: bool,
}

pub const SOURCES: [&str; 3] = ["session", "conversation", "trace"];

struct Trace {
    segment: u64,
    spans: Vec<Span>,
    /// Parents that had not come when they were waited for no longer, and have not come since.
    missed: BTreeSet<u64>,
    /// Its time was over before this epoch's data.
    over: bool,
    changed: bool,
}

pub struct Traces {
    grace_us: i64,
    ttl_us: i64,
    min_repeats: usize,
    max_spans: usize,
    traces: BTreeMap<u128, Trace>,
}

impl Traces {
    pub fn new(settings: &Settings) -> Self {
        let grace_us = micros(settings.orphan_grace);
        Self {
            grace_us,
            ttl_us: micros(settings.trace_ttl).max(grace_us),
            min_repeats: settings.loop_min_repeats as usize,
            max_spans: settings.max_spans_per_trace as usize,
            traces: BTreeMap::new(),
        }
    }

    /// Timers fire before the data of their epoch.
    pub fn before_data(&mut self, watermark_us: i64) {
        for trace in self.traces.values_mut() {
            let last_us = last_us(&trace.spans);
            if last_us + self.grace_us <= watermark_us {
                let missing = missing_parents(&trace.spans, self.max_spans);
                trace.changed |= missing != trace.missed;
                trace.missed = missing;
            }
            trace.over = last_us + self.ttl_us <= watermark_us;
        }
    }

    pub fn add(&mut self, epoch: u64, span: Span) {
        let new = || Trace {
            segment: epoch,
            spans: Vec::new(),
            missed: BTreeSet::new(),
            over: false,
            changed: true,
        };
        let trace = self.traces.entry(span.trace).or_insert_with(new);
        trace.spans.push(span);
        trace.changed = true;
    }

    /// Writes the row of every trace, and forgets those whose time is over.
    pub fn end_block(&mut self, watermark_us: i64, tables: &mut Tables) -> Vec<(Told, Vec<Span>)> {
        let mut told = Vec::new();
        for (&id, trace) in &mut self.traces {
            let missing = missing_parents(&trace.spans, self.max_spans);
            trace.missed.retain(|parent| missing.contains(parent));
            let this = tell(id, trace, self.max_spans);
            put(tables, "dws_trace", row_of(&this, self.min_repeats));
            told.push((this, trace.spans.clone()));
            trace.changed = false;
        }
        let ttl_us = self.ttl_us;
        let is_over = |trace: &Trace| trace.over && last_us(&trace.spans) + ttl_us <= watermark_us;
        self.traces.retain(|_, trace| !is_over(trace));
        told
    }
}

impl Traces {
    /// The traces that are not forgotten, with their segments.
    pub fn live(&self) -> BTreeSet<(u128, u64)> {
        let live = self.traces.iter();
        live.map(|(&id, trace)| (id, trace.segment)).collect()
    }
}

fn last_us(spans: &[Span]) -> i64 {
    spans.iter().map(|span| span.end_us).max().unwrap()
}

/// The parents that spans name and that have not come; of too many spans nobody knows.
fn missing_parents(spans: &[Span], max_spans: usize) -> BTreeSet<u64> {
    if spans.len() > max_spans {
        return BTreeSet::new();
    }
    let parents = spans.iter().map(|span| span.parent);
    let is_missing = |parent: &u64| *parent != 0 && !spans.iter().any(|span| span.id == *parent);
    parents.filter(is_missing).collect()
}

/// Session spans with no session span above them; one where there are model calls or answers but no session span.
fn turns(spans: &[Span], totals: &Totals, truncated: bool) -> u64 {
    let is_session = |span: &&Span| span.step == StepType::Session;
    if truncated || !spans.iter().any(|span| is_session(&span)) {
        return u64::from(totals.llm_calls > 0 || totals.steps > totals.tool_calls);
    }
    let parent_of = |id: u64| {
        let named = spans.iter().filter(|span| span.id == id);
        named.min_by_key(|span| (span.step, span.parent))
    };
    let is_outermost = |span: &&Span| {
        let mut parent = span.parent;
        for _ in 0..=spans.len() {
            match parent_of(parent) {
                Some(above) if above.step == StepType::Session => return false,
                Some(above) => parent = above.parent,
                None => return true,
            }
        }
        true
    };
    let outermost = spans.iter().filter(is_session).filter(is_outermost);
    outermost.count() as u64
}

fn earliest(spans: &[Span], value: impl Fn(&Span) -> &String) -> Option<(Place, String)> {
    let named = spans.iter().filter(|span| !value(span).is_empty());
    named
        .map(|span| ((span.start_us, span.id), value(span).clone()))
        .min()
}

fn tell(id: u128, trace: &Trace, max_spans: usize) -> Told {
    let spans = &trace.spans;
    let truncated = spans.len() > max_spans;
    let mut totals = Totals::default();
    for span in spans {
        let is_think = span.step == StepType::Think;
        totals.spans += 1;
        totals.steps += u64::from(matches!(
            span.step,
            StepType::Think | StepType::Act | StepType::Observe | StepType::Response
        ));
        totals.llm_calls += u64::from(is_think);
        totals.tool_calls += u64::from(span.step == StepType::Act);
        totals.errors += u64::from(span.failed);
        if is_think {
            totals.input_tokens += span.input_tokens;
            totals.output_tokens += span.output_tokens;
            totals.cost_nanousd += span.cost_nanousd;
        }
    }
    let place = |span: &Span| (span.start_us, span.id);
    let roots = spans.iter().filter(|span| span.parent == 0).map(|span| {
        let root = (
            place(span),
            span.name.clone(),
            span.agent.clone(),
            span.failed,
        );
        (root, span.namespace.clone())
    });
    let root = roots.min();
    let first = spans
        .iter()
        .map(|span| (place(span), span.agent.clone(), span.namespace.clone()))
        .min()
        .unwrap();
    let (agent, namespace) = match &root {
        Some((root, namespace)) => (root.2.clone(), namespace.clone()),
        None => (first.1, first.2),
    };
    let by_session = earliest(spans, |span| &span.session_id);
    let by_conversation = earliest(spans, |span| &span.conversation_id);
    let (source, session_id) = match (by_session, by_conversation) {
        (Some((_, id)), _) => (0, id),
        (None, Some((_, id))) => (1, id),
        (None, None) => (2, format!("trace:{id:032x}")),
    };
    let acts = spans.iter().filter(|span| span.step == StepType::Act);
    let mut calls: Vec<Call> = acts
        .map(|span| {
            (
                place(span),
                span.end_us,
                span.tool_name.clone(),
                span.args_hash,
            )
        })
        .collect();
    calls.sort();
    if truncated {
        calls.truncate(1000.min(max_spans));
    }
    Told {
        trace: id,
        segment: trace.segment,
        session: (namespace, session_id),
        source,
        totals,
        turns: turns(spans, &totals, truncated),
        first_us: spans.iter().map(|span| span.start_us).min().unwrap(),
        last_us: last_us(spans),
        user: earliest(spans, |span| &span.user_id),
        agent,
        agents: spans.iter().map(|span| span.agent.clone()).collect(),
        root: root.map(|(root, _)| root),
        calls,
        orphans: spans
            .iter()
            .filter(|span| trace.missed.contains(&span.parent))
            .count() as u64,
        truncated,
        changed: trace.changed,
    }
}

/// Start and length of the first longest run of equal calls.
pub fn longest_run(calls: &[Call]) -> (usize, usize) {
    let mut longest = (0, 0);
    for start in 0..calls.len() {
        let same = |call: &&Call| (&call.2, call.3) == (&calls[start].2, calls[start].3);
        let length = calls[start..].iter().take_while(same).count();
        if length > longest.1 {
            longest = (start, length);
        }
    }
    longest
}

fn row_of(told: &Told, min_repeats: usize) -> super::tables::Row {
    let max_repeat = longest_run(&told.calls).1;
    let flags = [
        (max_repeat >= min_repeats, "loop"),
        (told.orphans > 0, "orphans"),
        (told.truncated, "truncated"),
    ];
    let state = match &told.root {
        None => "open",
        Some((.., true)) => "failed",
        Some(_) => "done",
    };
    let totals = told.totals;
    row! {
        "trace_id": format!("{:032x}", told.trace), "segment": told.segment, "namespace": &told.session.0,
        "session_id": &told.session.1, "session_source": SOURCES[told.source], "agent": &told.agent,
        "agents": texts(&told.agents), "user_id": told.user.clone().unwrap_or_default().1,
        "first_time": told.first_us, "last_time": told.last_us, "state": state, "traces": 1_u64,
        "turns": told.turns, "steps": totals.steps, "llm_calls": totals.llm_calls,
        "tool_calls": totals.tool_calls, "errors": totals.errors, "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens, "cost_nanousd": totals.cost_nanousd,
        "max_repeat": max_repeat as u32, "flags": texts(flags.iter().filter(|f| f.0).map(|f| f.1)),
        "root_name": told.root.as_ref().map_or("", |root| root.1.as_str()),
        "duration_us": told.last_us - told.first_us, "orphans": told.orphans, "spans": totals.spans,
        "is_deleted": false,
    }
}
