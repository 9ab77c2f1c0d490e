//! The graph of operators on one worker.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::vec::Map;
use timely::worker::Worker;
use xxhash_rust::xxh3::xxh3_64;

use super::admit::{self, RawSink};
use super::anomaly::{Anomalies, loop_flag};
use super::collect::{self, Collected, Row};
use super::control::ControlLink;
use super::dedup::FindDuplicates;
use super::epochs::{Epoch, EpochTable, PerEpoch};
use super::fatal::Fatal;
use super::freshness::{EpochCounts, Freshness};
use super::output::Output;
use super::rules::Rules;
use super::scan;
use super::session::{SessionChange, SessionOut, Sessions};
use super::source::{self, SourceParts};
use super::top_n::TopN;
use super::trace::{TracePartial, Traces};
use super::window::{MINUTE_S, StepPartial, Windows};
use crate::checkpoint::record::EpochRecord;
use crate::ops::metrics::Metrics;
use crate::ops::settings::Layers;
use crate::sink::block::Block;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::EpochRow;

/// What the operators share.
#[derive(Clone)]
pub(super) struct Shared {
    pub rules: Rules,
    pub output: Arc<dyn Output>,
    pub metrics: Arc<Metrics>,
}

struct ToOutput(Shared);

impl RawSink for ToOutput {
    fn block(&self, block: Block) {
        self.0.output.block(block);
    }

    fn dead_letter(&self, epoch: Epoch, letter: DeadLetter) {
        self.0
            .metrics
            .dead_letters
            .with(&[letter.error_code])
            .add(1);
        self.0.output.dead_letter(epoch, letter);
    }

    fn counts(&self, counts: &EpochCounts) {
        let metrics = &self.0.metrics;
        metrics.spans_in.add(counts.spans);
        metrics.spans_duplicate.add(counts.duplicate);
        metrics.spans_rejected.add(counts.rejected);
        metrics.spans_late.add(counts.late);
    }
}

/// Builds the dataflow that carries the spans.
pub(super) fn build(
    worker: &mut Worker,
    parts: SourceParts,
    link: ControlLink,
    shared: &Shared,
    fatal: Fatal,
) {
    let epochs = EpochTable::default();
    worker.dataflow_named::<Epoch, _, _>("spans", |scope| {
        let event_times = parts.event_times.clone();
        let batches = source::build(scope, parts, link, epochs.clone(), fatal);
        let rules = shared.rules.clone();
        let (scanned, candidates) = scan::scan(
            batches,
            epochs.clone(),
            rules.admit.scan.clone(),
            event_times,
        );
        let tell = state_gauge(shared, "fingerprints");
        let duplicates = candidates.find_duplicates(&epochs, rules.dedup, tell);
        let sink: Rc<dyn RawSink> = Rc::new(ToOutput(shared.clone()));
        let admitted = admit::admit(
            scanned,
            duplicates,
            epochs.clone(),
            rules.admit.clone(),
            sink,
        );

        let freshness = freshness(admitted.counts, &epochs, shared);
        let (steps, mut rows) = windows(admitted.windows, &epochs, shared);
        rows.push(freshness);
        rows.push(steps);
        if rules.layers == Layers::All {
            rows.extend(traces(admitted.traces, &epochs, shared));
            let ranks = admitted
                .top
                .top_n(&epochs, rules.top_n, rules.allowed_lateness_us);
            rows.push(ranks.per_epoch(
                Pipeline,
                "top_rows",
                &epochs,
                |record: &EpochRecord, changes| {
                    changes
                        .into_iter()
                        .map(|change| collect::top_row(change, record.epoch))
                        .collect()
                },
            ));
        }
        collect_rows(scope.concatenate(rows), &epochs, shared);
    });
}

/// Tells how many keys of a kind this worker holds; the gauge shows the sum over workers.
fn state_gauge(shared: &Shared, state: &'static str) -> impl Fn(usize) + 'static {
    let metrics = shared.metrics.clone();
    let told = RefCell::new(0i64);
    move |size| {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let before = told.replace(size);
        metrics.state_keys.with(&[state]).add(size - before);
    }
}

/// The pipeline's own delay; on worker 0, as it is about all of them.
fn freshness<'scope>(
    counts: StreamVec<'scope, Epoch, EpochCounts>,
    epochs: &EpochTable,
    shared: &Shared,
) -> StreamVec<'scope, Epoch, Row> {
    let mut freshness = Freshness::default();
    let index = counts.scope().index();
    let output = shared.output.clone();
    counts.per_epoch(
        Exchange::new(|_: &EpochCounts| 0),
        "freshness",
        epochs,
        move |record, counts| {
            if index != 0 {
                return Vec::new();
            }
            let mut total = EpochCounts::default();
            counts.into_iter().for_each(|one| total.merge(one));
            output.counted(EpochRow {
                epoch: record.epoch,
                generation: record.generation,
                wall_ms: record.wall_ms,
                watermark_us: record.watermark_us,
                records: total.records,
                spans_landed: total.landed,
                spans_duplicate: total.duplicate,
                spans_rejected: total.rejected,
                spans_late: total.late,
            });
            output.raw_closed(record.epoch);
            let minutes = freshness.apply(record, vec![total]);
            minutes
                .into_iter()
                .map(|minute| collect::freshness_row(minute, record.epoch))
                .collect()
        },
    )
}

/// Windows, and the flags on them. Keys go by agent: one owner sees all keys of an agent, and can cap them.
fn windows<'scope>(
    partials: StreamVec<'scope, Epoch, StepPartial>,
    epochs: &EpochTable,
    shared: &Shared,
) -> (
    StreamVec<'scope, Epoch, Row>,
    Vec<StreamVec<'scope, Epoch, Row>>,
) {
    let rules = &shared.rules;
    let mut windows = Windows::new(rules.allowed_lateness_us, rules.max_keys_per_agent);
    let tell = state_gauge(shared, "windows");
    let by_agent = Exchange::new(|partial: &StepPartial| xxh3_64(partial.key.agent.as_bytes()));
    let fired = partials.per_epoch(by_agent, "windows", epochs, move |record, partials| {
        let fired = windows.apply(record, partials);
        tell(windows.len());
        fired
    });
    let mut anomalies = Anomalies::new(rules.anomalies);
    let memory_s = (rules.anomalies.baseline_windows as i64 + 60) * MINUTE_S;
    let flags = fired
        .clone()
        .per_epoch(Pipeline, "anomalies", epochs, move |record, fired| {
            if !record.dws_block_ends {
                return Vec::new();
            }
            // At the end of the input the flags stay as they are.
            let oldest_s = match record.watermark_us {
                i64::MAX => i64::MIN,
                watermark_us => (watermark_us / 1_000_000).saturating_sub(memory_s),
            };
            let flags = anomalies.judge(fired, oldest_s);
            flags
                .into_iter()
                .map(|flag| collect::anomaly_row(flag, record.epoch))
                .collect()
        });
    let rows = fired.per_epoch(
        Pipeline,
        "step_rows",
        epochs,
        |record: &EpochRecord, fired| {
            fired
                .into_iter()
                .map(|window| collect::step_row(window, record.epoch))
                .collect()
        },
    );
    (rows, vec![flags])
}

/// Traces and the sessions that they make up, and the flags on sessions.
fn traces<'scope>(
    partials: StreamVec<'scope, Epoch, TracePartial>,
    epochs: &EpochTable,
    shared: &Shared,
) -> [StreamVec<'scope, Epoch, Row>; 2] {
    let rules = &shared.rules;
    let mut traces = Traces::new(rules.traces);
    let tell = state_gauge(shared, "traces");
    #[allow(clippy::cast_possible_truncation)]
    let by_trace = Exchange::new(|partial: &TracePartial| {
        (partial.trace_id ^ (partial.trace_id >> 64)) as u64
    });
    let updates = partials.per_epoch(by_trace, "traces", epochs, move |record, partials| {
        let updates = traces.apply(record, partials);
        tell(traces.len());
        updates
    });
    let loop_min_repeats = rules.sessions.loop_min_repeats;
    let trace_rows = updates.clone().per_epoch(
        Pipeline,
        "trace_rows",
        epochs,
        move |record: &EpochRecord, updates| {
            updates
                .into_iter()
                .map(|update| collect::trace_row(update, loop_min_repeats, record.epoch))
                .collect()
        },
    );
    let mut sessions = Sessions::new(rules.sessions);
    let tell = state_gauge(shared, "sessions");
    let changes = updates.flat_map(|update| SessionChange::of(&update).collect::<Vec<_>>());
    let by_session = Exchange::new(SessionChange::owner);
    let session_rows = changes.per_epoch(by_session, "sessions", epochs, move |record, changes| {
        let out = sessions.apply(record, changes);
        tell(sessions.len());
        out.into_iter()
            .filter_map(|out| session_out(out, loop_min_repeats, record.epoch))
            .collect()
    });
    [trace_rows, session_rows]
}

fn session_out(out: SessionOut, loop_min_repeats: u32, rev: Epoch) -> Option<Row> {
    match out {
        SessionOut::Row(summary) => Some(collect::session_row(summary, rev)),
        SessionOut::Gone {
            session,
            segment,
            last_us,
        } => Some(collect::session_gone(session, segment, last_us, rev)),
        SessionOut::Loop {
            session,
            agent,
            found,
            opened_us,
            is_first,
        } => loop_flag(
            &session,
            &agent,
            &found,
            loop_min_repeats,
            opened_us,
            is_first,
        )
        .map(|flag| collect::anomaly_row(flag, rev)),
    }
}

/// Sends each row to the owner of its table, and closes the blocks.
fn collect_rows(rows: StreamVec<'_, Epoch, Row>, epochs: &EpochTable, shared: &Shared) {
    let index = rows.scope().index();
    let mut collected = Collected::default();
    let output = shared.output.clone();
    let writes = shared.rules.layers == Layers::All;
    let closed = rows.per_epoch(
        Exchange::new(Row::table),
        "collect",
        epochs,
        move |record, rows| {
            if writes {
                collected.add(rows);
            }
            if record.dws_block_ends && writes {
                collected
                    .close(record.epoch)
                    .into_iter()
                    .for_each(|block| output.block(block));
            }
            Vec::<()>::new()
        },
    );
    let output = shared.output.clone();
    let table = epochs.clone();
    closed.per_epoch(
        Exchange::new(|(): &()| 0),
        "close",
        epochs,
        move |record, _| {
            if index == 0 {
                output.closed(record.epoch, record.dws_block_ends);
            }
            // Everything upstream has left this epoch behind, on every worker.
            table.forget_below(record.epoch);
            Vec::<()>::new()
        },
    );
}
