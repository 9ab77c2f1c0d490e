//! `ads_top_*`: all candidates of a minute, sorted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use stream_job::span::clean::StepType;

use super::raw::Span;
use super::tables::{Tables, put, row};

/// Start of the minute (s) and agent.
type Window = (i64, String);

/// What a span shows on a list; ties of the measure go by the earlier fields first.
type Shown = (
    i64,
    u128,
    u64,
    String,
    String,
    &'static str,
    String,
    String,
    &'static str,
    u64,
    u64,
);

type Error = (&'static str, String, String, String);

/// Spans by what they are ranked by, greatest first.
type Ranking = BTreeMap<Window, BTreeSet<(Reverse<u64>, Shown)>>;

#[derive(Default)]
pub struct Top {
    spans: [Ranking; 2],
    errors: BTreeMap<Window, BTreeMap<Error, u64>>,
}

impl Top {
    pub fn add(&mut self, spans: &[Span]) {
        let is_step =
            |span: &&Span| !span.late && !matches!(span.step, StepType::Session | StepType::Chain);
        for span in spans.iter().filter(is_step) {
            let window = (span.end_us.div_euclid(60_000_000) * 60, span.agent.clone());
            for (list, measure) in [span.duration_us, span.cost_nanousd]
                .into_iter()
                .enumerate()
            {
                if measure > 0 {
                    let held = self.spans[list].entry(window.clone()).or_default();
                    held.insert((Reverse(measure), shown(span)));
                }
            }
            if span.failed {
                let (tool, model) = (span.tool_name.clone(), span.model.clone());
                let error = (span.step.as_str(), tool, model, span.error_type.clone());
                let held = self.errors.entry(window).or_default();
                *held.entry(error).or_default() += 1;
            }
        }
    }

    pub fn write(&self, n: usize, tables: &mut Tables) {
        for (table, lists) in ["ads_top_slow", "ads_top_cost"]
            .into_iter()
            .zip(&self.spans)
        {
            for ((start, agent), held) in lists {
                for (rank, (_, shown)) in (1_u16..).zip(held.iter().take(n)) {
                    let (start_us, trace, id, session, name, step, tool, model, status, us, cost) =
                        shown;
                    put(
                        tables,
                        table,
                        row! {
                            "window_start": *start, "agent": agent, "rank": rank, "window_end": start + 60,
                            "trace_id": format!("{trace:032x}"), "span_id": format!("{id:016x}"),
                            "session_id": session, "name": name, "step_type": *step, "tool_name": tool,
                            "model": model, "status": *status, "start_time": *start_us,
                            "duration_us": *us, "cost_nanousd": *cost, "is_deleted": false,
                        },
                    );
                }
            }
        }
        for ((start, agent), counts) in &self.errors {
            let sorted: BTreeSet<_> = counts.iter().map(|(kind, &n)| (Reverse(n), kind)).collect();
            for (rank, (Reverse(count), (step, tool, model, error))) in
                (1_u16..).zip(sorted.iter().take(n))
            {
                put(
                    tables,
                    "ads_top_error",
                    row! {
                        "window_start": *start, "agent": agent, "rank": rank, "window_end": start + 60,
                        "step_type": *step, "tool_name": tool, "model": model, "error_type": error,
                        "count": *count, "is_deleted": false,
                    },
                );
            }
        }
    }
}

fn shown(span: &Span) -> Shown {
    (
        span.start_us,
        span.trace,
        span.id,
        span.session_id.clone(),
        span.name.clone(),
        span.step.as_str(),
        span.tool_name.clone(),
        span.model.clone(),
        span.status,
        span.duration_us,
        span.cost_nanousd,
    )
}
