//! The graph of operators on one worker.

use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concatenate;
use timely::worker::Worker;

use super::admit::{self, RawSink};
use super::anomaly::Anomalies;
use super::collect::{self, Collected, Row};
use super::control::ControlLink;
use super::dedup::FindDuplicates;
use super::epochs::{Epoch, EpochTable, PerEpoch};
use super::fatal::Fatal;
use super::freshness::{EpochCounts, Freshness};
use super::keeper::Keeper;
use super::keyed::{Operators, rows_of, state_gauge};
use super::output::Output;
use super::points::PointCounts;
use super::replays;
use super::resource::{ResourcePartial, Resources};
use super::rows;
use super::rules::Rules;
use super::scan::{self, Scanned};
use super::source::{self, SourceParts};
use super::top_n::TopN;
use super::window::{MINUTE_S, StepPartial, Windows, group_of_agent};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::service::CheckpointService;
use crate::cluster::Shape;
use crate::ops::metrics::Metrics;
use crate::ops::settings::Layers;
use crate::sink::block::Block;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::EpochRow;

#[path = "build_traces.rs"]
mod of_traces;

/// What the operators share.
#[derive(Clone)]
pub(super) struct Shared {
    pub rules: Rules,
    pub output: Arc<dyn Output>,
    pub metrics: Arc<Metrics>,
    /// Where checkpoints are made durable; `None` takes none.
    pub checkpoints: Option<CheckpointService>,
    /// Processes and workers.
    pub shape: Shape,
}

impl Shared {
    /// Whether a worker is the one that closes the epochs of its process.
    fn is_first(&self, worker: usize) -> bool {
        self.shape.first_worker(self.shape.process_of(worker)) == worker
    }
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

    fn counts(&self, counts: &EpochCounts, points: PointCounts) {
        let metrics = &self.0.metrics;
        metrics.spans_in.add(counts.spans);
        metrics.spans_duplicate.add(counts.duplicate);
        metrics.spans_rejected.add(counts.rejected);
        metrics.spans_late.add(counts.late);
        let all = points.landed + points.duplicate + points.rejected;
        metrics.points_in.add(all);
        metrics.points_duplicate.add(points.duplicate);
        metrics.points_rejected.add(points.rejected);
        metrics.points_late.add(points.late);
    }
}

/// Builds the dataflow that carries the spans.
pub(super) fn build(
    worker: &mut Worker,
    parts: SourceParts,
    link: ControlLink,
    shared: &Shared,
    keeper: &Keeper,
    fatal: Fatal,
) {
    let epochs = EpochTable::timed(shared.metrics.clone());
    worker.dataflow_named::<Epoch, _, _>("spans", |scope| {
        let event_times = parts.event_times.clone();
        let batches = source::build(scope, parts, link, epochs.clone(), fatal);
        let rules = shared.rules.clone();
        let Scanned {
            batches,
            candidates,
            claims,
        } = scan::scan(
            batches,
            epochs.clone(),
            rules.admit.scan.clone(),
            event_times,
        );
        let tell = state_gauge(shared, "fingerprints");
        let duplicates = candidates.find_duplicates(&epochs, keeper, rules.dedup, tell);
        let tell = state_gauge(shared, "replays");
        let late = replays::find_late(claims, &epochs, keeper, rules.replay_memory_ms, tell);
        let duplicates = scope.concatenate([duplicates, late]);
        let sink: Rc<dyn RawSink> = Rc::new(ToOutput(shared.clone()));
        let admitted = admit::admit(
            batches,
            duplicates,
            epochs.clone(),
            rules.admit.clone(),
            sink,
        );

        let operators = Operators {
            epochs: &epochs,
            shared,
            keeper,
        };
        let freshness = freshness(admitted.counts, operators);
        let (steps, mut rows) = windows(admitted.windows, operators);
        rows.push(freshness);
        rows.push(steps);
        if rules.layers == Layers::All {
            rows.extend(of_traces::traces(admitted.traces, operators));
            rows.push(resources(admitted.resources, operators));
            let ranks =
                (admitted.top).top_n(&epochs, keeper, rules.top_n, rules.allowed_lateness_us);
            rows.push(ranks.per_epoch(
                Pipeline,
                "top_rows",
                &epochs,
                |record: &EpochRecord, changes| {
                    changes
                        .into_iter()
                        .map(|change| rows::top_row(change, record.epoch))
                        .collect()
                },
            ));
        }
        collect_rows(scope.concatenate(rows), operators);
    });
}

/// The pipeline's own delay; on worker 0, as it is about all of them. Each process learns here that its raw blocks of an
/// epoch are complete.
fn freshness<'scope>(
    counts: StreamVec<'scope, Epoch, EpochCounts>,
    operators: Operators<'_>,
) -> StreamVec<'scope, Epoch, Row> {
    let Operators {
        epochs,
        shared,
        keeper,
    } = operators;
    let mut freshness = Freshness::default();
    keeper.restore(&mut freshness);
    let keeper = keeper.clone();
    let index = counts.scope().index();
    let is_first = shared.is_first(index);
    let output = shared.output.clone();
    counts.per_epoch(
        Exchange::new(|_: &EpochCounts| 0),
        "freshness",
        epochs,
        move |record, counts| {
            if index != 0 {
                // The counts of all workers have come, so this process's have given all their blocks too.
                if is_first {
                    output.raw_closed(record.epoch);
                }
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
            keeper.save(record, &mut freshness);
            minutes
                .into_iter()
                .map(|minute| rows::freshness_row(minute, record.epoch))
                .collect()
        },
    )
}

/// Windows, and the flags on them. Keys go by agent: one owner sees all keys of an agent, and can cap them.
fn windows<'scope>(
    partials: StreamVec<'scope, Epoch, StepPartial>,
    operators: Operators<'_>,
) -> (
    StreamVec<'scope, Epoch, Row>,
    Vec<StreamVec<'scope, Epoch, Row>>,
) {
    let Operators {
        epochs,
        shared,
        keeper,
    } = operators;
    let rules = &shared.rules;
    let fired = operators.keyed(
        partials,
        "windows",
        Windows::new(rules.allowed_lateness_us, rules.max_keys_per_agent),
        |partial: &StepPartial| group_of_agent(&partial.key.agent),
        Windows::len,
        Windows::apply,
    );
    let mut anomalies = Anomalies::new(rules.anomalies);
    keeper.restore(&mut anomalies);
    let saves = keeper.clone();
    let memory_s = (rules.anomalies.baseline_windows as i64 + 60) * MINUTE_S;
    let flags = fired
        .clone()
        .per_epoch(Pipeline, "anomalies", epochs, move |record, fired| {
            if record.tells_all {
                anomalies.tell_all();
            }
            if !record.dws_block_ends {
                return Vec::new();
            }
            // At the end of the input the flags stay as they are.
            let oldest_s = match record.watermark_us {
                i64::MAX => i64::MIN,
                watermark_us => (watermark_us / 1_000_000).saturating_sub(memory_s),
            };
            let flags = anomalies.judge(fired, oldest_s);
            saves.save(record, &mut anomalies);
            flags
                .into_iter()
                .map(|flag| rows::anomaly_row(flag, record.epoch))
                .collect()
        });
    let rows = fired.per_epoch(
        Pipeline,
        "step_rows",
        epochs,
        |record: &EpochRecord, fired| {
            fired
                .into_iter()
                .map(|window| rows::step_row(window, record.epoch))
                .collect()
        },
    );
    (rows, vec![flags])
}

/// What the processes of agents take, by minute.
fn resources<'scope>(
    partials: StreamVec<'scope, Epoch, ResourcePartial>,
    operators: Operators<'_>,
) -> StreamVec<'scope, Epoch, Row> {
    let rules = &operators.shared.rules;
    operators.keyed(
        partials,
        "processes",
        Resources::new(rules.allowed_lateness_us, rules.sessions.ttl_us),
        ResourcePartial::group,
        Resources::len,
        rows_of(Resources::apply, rows::resource_row),
    )
}

/// Sends each row to the owner of its table, which gives the flags for their topic and closes the blocks.
fn collect_rows(rows: StreamVec<'_, Epoch, Row>, operators: Operators<'_>) {
    let Operators {
        epochs,
        shared,
        keeper,
    } = operators;
    let index = rows.scope().index();
    let mut collected = Collected::default();
    let output = shared.output.clone();
    let writes = shared.rules.layers == Layers::All;
    let (keeper, checkpoints) = (keeper.clone(), shared.checkpoints.clone());
    let metrics = shared.metrics.clone();
    let closed = rows.per_epoch(
        Exchange::new(Row::table),
        "collect",
        epochs,
        move |record, rows| {
            if writes {
                collect::flags(&rows).for_each(|flag| output.alert(record.epoch, flag));
                collected.add(rows);
            } else {
                output.unwritten(rows);
            }
            if record.dws_block_ends && writes {
                collected
                    .close(record.epoch)
                    .into_iter()
                    .for_each(|block| output.block(block));
            }
            if let Some(rewrite) = record.checkpoint {
                // Everything upstream has applied this epoch, on every worker.
                let saved = keeper.take(record.epoch);
                if let Some(checkpoints) = &checkpoints {
                    metrics.checkpoint_pause_seconds.observe(saved.took);
                    checkpoints.save(record.epoch, index, rewrite, saved.sections);
                }
            }
            Vec::<()>::new()
        },
    );
    let output = shared.output.clone();
    let is_first = shared.is_first(index);
    let table = epochs.clone();
    closed.per_epoch(
        Exchange::new(|(): &()| 0),
        "close",
        epochs,
        move |record, _| {
            if is_first {
                output.closed(record.epoch, record.dws_block_ends);
            }
            // Everything upstream has left this epoch behind, on every worker.
            table.forget_below(record.epoch);
            Vec::<()>::new()
        },
    );
}
