//! Pass 2, after the verdicts: spans and metric points become rows of ODS and DWD, and partial sums for everything above.
//!
//! The rows of a sink shard are built where its partitions were read. Only partial sums leave the worker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::dedup::Duplicate;
use super::epochs::{Epoch, EpochCursor, EpochTable, least_time, stash_at};
use super::freshness::EpochCounts;
use super::plan::owner_of;
use super::points::{PointCounts, PointPass};
use super::replays::WHOLE_RECORD;
use super::resource::{PreResource, ResourcePartial};
use super::scan::{ScanRules, ScannedBatch, ScannedRecord};
use super::top_n::{PreTop, TopPartial};
use super::trace::{PreTrace, TracePartial};
use super::window::{PreAggregate, StepPartial};
use super::windowing::Lifecycle;
use crate::checkpoint::record::EpochRecord;
use crate::decode::protobuf::Walker;
use crate::decode::{Encoding, metrics};
use crate::sink::block::{Block, cut};
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::{
    Contents, DwdContent, DwdEvent, DwdMetricPoint, DwdSpan, OdsDeadLetter, OdsRecord, Origin,
    Outcome, RecordOutcome, Stamp, Table,
};
use crate::source::buffer::RecordRef;
use crate::span::view::{ResourceView, ScopeView, SpanView};
use crate::span::{CleanSettings, clean, validate};

/// `encoding` of a record that was rejected whole.
const UNDECODABLE: &str = "undecodable";

/// Where pass 2 puts what leaves the dataflow.
pub(super) trait RawSink {
    /// A block of an ODS or DWD table.
    fn block(&self, block: Block);
    /// A copy of a dead letter for the topic.
    fn dead_letter(&self, epoch: Epoch, letter: DeadLetter);
    /// What one worker counted in one epoch.
    fn counts(&self, counts: &EpochCounts, points: PointCounts);
}

/// The rules of pass 2.
#[derive(Clone, Debug)]
pub(super) struct AdmitRules {
    /// Those of pass 1, which must come out the same again.
    pub scan: ScanRules,
    /// How a span is cleaned.
    pub clean: CleanSettings,
    /// Sink shards.
    pub shards: u16,
    /// Beyond this behind the watermark a span is late, µs.
    pub allowed_lateness_us: i64,
    /// Candidates kept a top list.
    pub top_n: usize,
    /// Whether ODS and DWD are written, or only windows computed.
    pub writes_raw: bool,
}

/// The sink shard of a partition. It never depends on the workers.
#[must_use]
pub fn shard_of(partition: i32, shards: u16) -> u16 {
    u16::try_from(partition.rem_euclid(i32::from(shards.max(1)))).unwrap_or(0)
}

#[derive(Default)]
pub(super) struct ShardTables {
    records: OdsRecord,
    dead_letters: OdsDeadLetter,
    spans: DwdSpan,
    events: DwdEvent,
    contents: DwdContent,
    pub points: DwdMetricPoint,
}

impl ShardTables {
    fn all(&mut self) -> [&mut dyn Table; 6] {
        [
            &mut self.records,
            &mut self.dead_letters,
            &mut self.spans,
            &mut self.events,
            &mut self.contents,
            &mut self.points,
        ]
    }
}

/// The partial sums of one epoch.
pub(super) struct Partials {
    windows: PreAggregate,
    traces: PreTrace,
    top: PreTop,
    pub resources: PreResource,
    counts: EpochCounts,
    pub points: PointCounts,
}

struct Admission {
    rules: AdmitRules,
    walker: Walker,
    shards: BTreeMap<u16, ShardTables>,
    partials: Partials,
    sink: Rc<dyn RawSink>,
    /// This worker, and how many there are.
    place: (usize, usize),
}

/// What all spans or points of one record share in pass 2.
pub(super) struct InRecord<'r> {
    pub batch: &'r ScannedBatch,
    pub record: RecordRef<'r>,
    pub origin: Origin<'r>,
    pub stamp: Stamp,
    pub epoch: &'r EpochRecord,
}

impl Admission {
    fn new(rules: AdmitRules, sink: Rc<dyn RawSink>, place: (usize, usize)) -> Self {
        let partials = Partials {
            windows: PreAggregate::default(),
            traces: PreTrace::default(),
            top: PreTop::new(rules.top_n),
            resources: PreResource::default(),
            counts: EpochCounts::default(),
            points: PointCounts::default(),
        };
        Self {
            walker: Walker::new(rules.scan.decode.walk),
            rules,
            shards: BTreeMap::new(),
            partials,
            sink,
            place,
        }
    }

    /// Admits one epoch: its batches in partition order, so that rows do not depend on when a partition was polled.
    fn admit(
        &mut self,
        epoch: &EpochRecord,
        mut batches: Vec<Rc<ScannedBatch>>,
        mut duplicates: Vec<Duplicate>,
    ) {
        batches.sort_by_key(|batch| batch.batch.slot);
        duplicates.sort_unstable();
        for batch in &batches {
            let from = duplicates.partition_point(|duplicate| duplicate.slot < batch.batch.slot);
            let to = duplicates.partition_point(|duplicate| duplicate.slot <= batch.batch.slot);
            self.admit_batch(epoch, batch, &duplicates[from..to]);
        }
        self.record_gaps(epoch);
        self.close_blocks(epoch.epoch);
        self.partials.counts.compact();
        let points = std::mem::take(&mut self.partials.points);
        self.sink.counts(&self.partials.counts, points);
    }

    fn admit_batch(&mut self, epoch: &EpochRecord, batch: &ScannedBatch, duplicates: &[Duplicate]) {
        if !self.rules.writes_raw {
            self.count_steps(epoch, batch, duplicates);
            return;
        }
        let shard = shard_of(batch.batch.partition.partition, self.rules.shards);
        let tables = self.shards.entry(shard).or_default();
        // Both hold it until the epoch's blocks are cut, which is before the epoch's batches go.
        tables.records.share(batch.batch.records.clone());
        tables.contents.share(batch.batch.records.clone());
        let mut rest = duplicates;
        for ((at, scanned), record) in (0u32..)
            .zip(&batch.records)
            .zip(batch.batch.records.records())
        {
            let mine = rest.partition_point(|duplicate| duplicate.record <= at);
            let (duplicates, after) = rest.split_at(mine);
            rest = after;
            let partition = &batch.batch.partition;
            let shard = shard_of(partition.partition, self.rules.shards);
            let here = InRecord {
                batch,
                record,
                origin: Origin {
                    topic: &partition.topic,
                    partition: partition.partition,
                    offset: record.offset(),
                },
                stamp: Stamp {
                    epoch: epoch.epoch,
                    shard,
                    ingest_ms: epoch.wall_ms,
                },
                epoch,
            };
            self.admit_record(&here, scanned, duplicates);
        }
    }

    /// Counts a batch of which nothing but windows is made: pass 1 has told all that they need.
    fn count_steps(&mut self, epoch: &EpochRecord, batch: &ScannedBatch, duplicates: &[Duplicate]) {
        let lifecycle = Lifecycle::new(self.rules.allowed_lateness_us, epoch.watermark_us);
        let Partials {
            windows, counts, ..
        } = &mut self.partials;
        let keys = windows.adopt(&batch.steps);
        let starts = batch.records.iter().map(|record| record.first_fingerprint);
        let ends = starts.skip(1).chain([batch.steps.steps.len()]);
        let mut rest = duplicates;
        for ((at, scanned), end) in (0u32..).zip(&batch.records).zip(ends) {
            let mine = rest.partition_point(|duplicate| duplicate.record <= at);
            let (duplicates, after) = rest.split_at(mine);
            rest = after;
            let steps = &batch.steps.steps[scanned.first_fingerprint..end];
            counts.records += 1;
            counts.spans += u64::from(scanned.units);
            counts.rejected += u64::from(scanned.units) - steps.len() as u64;
            for step in steps {
                if is_copy(duplicates, step.index) {
                    counts.duplicate += 1;
                    continue;
                }
                counts.land(step.measure.end_us);
                if lifecycle.is_late(step.measure.end_us) {
                    counts.late += 1;
                } else {
                    windows.add_step(keys[step.key as usize], &step.measure);
                }
            }
        }
    }

    fn admit_record(
        &mut self,
        here: &InRecord<'_>,
        scanned: &ScannedRecord,
        duplicates: &[Duplicate],
    ) {
        let mut outcome = RecordOutcome::default();
        let tables = self.shards.entry(here.stamp.shard).or_default();
        tables.contents.start(here.stamp);
        if let Some(error) = &scanned.error {
            let letter =
                DeadLetter::of_record(&here.record, &here.origin, scanned.encoding.as_str(), error);
            bury(tables, &here.stamp, &*self.sink, letter);
        } else if scanned.encoding == Encoding::OtlpMetrics {
            let mut points = PointPass {
                here,
                duplicates,
                next_fingerprint: scanned.first_fingerprint,
                outcome: &mut outcome.points,
                tables,
                partials: &mut self.partials,
                rules: &self.rules,
                sink: &*self.sink,
            };
            let bytes = here.record.payload().unwrap_or_default();
            let options = &self.rules.scan.decode.walk;
            let walked = metrics::walk(bytes, options, |resource, _, metric, point| {
                points.see(resource, metric, point);
            });
            debug_assert!(walked.is_ok(), "what pass 1 could walk can be walked again");
        } else {
            let mut spans = SpanPass {
                here,
                scanned,
                duplicates,
                next_fingerprint: scanned.first_fingerprint,
                outcome: &mut outcome.spans,
                tables,
                partials: &mut self.partials,
                rules: &self.rules,
                sink: &*self.sink,
            };
            let (bytes, is_transcoded) = match &scanned.transcoded {
                Some(bytes) => (bytes.as_slice(), true),
                None => (here.record.payload().unwrap_or_default(), false),
            };
            let walked = self
                .walker
                .walk(bytes, is_transcoded, |resource, scope, span| {
                    spans.see(resource, scope, span)
                });
            debug_assert!(walked.is_ok(), "what pass 1 could walk can be walked again");
        }
        let counts = &mut self.partials.counts;
        counts.records += 1;
        counts.duplicate += u64::from(outcome.spans.duplicate);
        counts.rejected += u64::from(outcome.spans.rejected);
        counts.spans += u64::from(outcome.spans.all());
        // What a record claimed to be is in its dead letter.
        let encoding = if scanned.error.is_some() {
            UNDECODABLE
        } else {
            scanned.encoding.as_str()
        };
        tables
            .records
            .push(here.record, &here.origin, encoding, outcome, &here.stamp);
    }

    /// Puts down what was gone before it could be read, in the partitions of this worker.
    fn record_gaps(&mut self, epoch: &EpochRecord) {
        if !self.rules.writes_raw {
            return;
        }
        let (worker, workers) = self.place;
        for gap in &epoch.gaps {
            let of = &epoch.positions[gap.slot as usize];
            if owner_of(of.partition, workers, self.rules.shards) != worker {
                continue;
            }
            let stamp = Stamp {
                epoch: epoch.epoch,
                shard: shard_of(of.partition, self.rules.shards),
                ingest_ms: epoch.wall_ms,
            };
            let tables = self.shards.entry(stamp.shard).or_default();
            let letter = DeadLetter::of_gap(&of.topic, of.partition, gap.from, gap.to);
            bury(tables, &stamp, &*self.sink, letter);
        }
    }

    fn close_blocks(&mut self, epoch: Epoch) {
        if !self.rules.writes_raw {
            return;
        }
        for (&shard, tables) in &mut self.shards {
            for table in tables.all() {
                for block in cut(table, shard, epoch) {
                    self.sink.block(block);
                }
            }
        }
    }
}

/// The spans of one record in pass 2.
struct SpanPass<'r> {
    here: &'r InRecord<'r>,
    scanned: &'r ScannedRecord,
    duplicates: &'r [Duplicate],
    next_fingerprint: usize,
    outcome: &'r mut Outcome,
    tables: &'r mut ShardTables,
    partials: &'r mut Partials,
    rules: &'r AdmitRules,
    sink: &'r dyn RawSink,
}

impl SpanPass<'_> {
    fn see(&mut self, resource: &ResourceView<'_>, scope: &ScopeView<'_>, span: &SpanView<'_>) {
        if let Err(reject) = validate(span, &self.rules.scan.limits, self.here.epoch.wall_ms) {
            self.outcome.rejected += 1;
            let encoding = self.scanned.encoding.as_str();
            let letter = DeadLetter::of_span(
                &self.here.record,
                &self.here.origin,
                encoding,
                span,
                &reject,
            );
            bury(self.tables, &self.here.stamp, self.sink, letter);
            return;
        }
        let fingerprint = self.here.batch.fingerprints[self.next_fingerprint];
        self.next_fingerprint += 1;
        if is_copy(self.duplicates, span.index) {
            self.outcome.duplicate += 1;
            return;
        }
        self.outcome.landed += 1;
        let clean = clean(resource, scope, span, &self.rules.clean);
        let lateness_us = self.rules.allowed_lateness_us;
        let is_late =
            Lifecycle::new(lateness_us, self.here.epoch.watermark_us).is_late(clean.end_us);
        self.partials.counts.land(clean.end_us);
        if is_late {
            self.partials.counts.late += 1;
        } else {
            self.partials.windows.add(&clean);
            self.partials.top.add(&clean);
        }
        self.partials.traces.add(&clean);
        let (origin, stamp) = (&self.here.origin, &self.here.stamp);
        let contents: &mut dyn Contents = &mut self.tables.contents;
        self.tables
            .spans
            .push(&clean, origin, fingerprint, is_late, stamp, contents);
        self.tables
            .events
            .push(&clean, origin, fingerprint, stamp, contents);
    }
}

/// Whether the span or point at `index` of a record is among the record's duplicates.
pub(super) fn is_copy(duplicates: &[Duplicate], index: u32) -> bool {
    duplicates
        .iter()
        .any(|duplicate| duplicate.span == index || duplicate.span == WHOLE_RECORD)
}

pub(super) fn bury(
    tables: &mut ShardTables,
    stamp: &Stamp,
    sink: &dyn RawSink,
    letter: DeadLetter,
) {
    let origin = letter.origin();
    tables.dead_letters.push(
        &letter.record,
        &origin,
        letter.encoding,
        letter.rejected(),
        letter.reason(),
        stamp,
    );
    sink.dead_letter(stamp.epoch, letter);
}

/// What pass 2 sends on.
pub(super) struct Admitted<'scope> {
    /// Sums per step key and minute.
    pub windows: StreamVec<'scope, Epoch, StepPartial>,
    /// Sums per trace.
    pub traces: StreamVec<'scope, Epoch, TracePartial>,
    /// Candidates for the top lists.
    pub top: StreamVec<'scope, Epoch, TopPartial>,
    /// Sums per process and minute.
    pub resources: StreamVec<'scope, Epoch, ResourcePartial>,
    /// What was counted.
    pub counts: StreamVec<'scope, Epoch, EpochCounts>,
}

/// Builds pass 2.
pub(super) fn admit<'scope>(
    scanned: StreamVec<'scope, Epoch, Rc<ScannedBatch>>,
    duplicates: StreamVec<'scope, Epoch, Duplicate>,
    epochs: EpochTable,
    rules: AdmitRules,
    sink: Rc<dyn RawSink>,
) -> Admitted<'scope> {
    let busy = epochs.busy("admit");
    let scope = scanned.scope();
    let place = (scope.index(), scope.peers());
    let mut builder = OperatorBuilder::new("admit".to_owned(), scope);
    let mut scanned_in = builder.new_input(scanned, Pipeline);
    let to_worker = Exchange::new(|duplicate: &Duplicate| u64::from(duplicate.worker));
    let mut duplicates_in = builder.new_input(duplicates, to_worker);
    let (windows_out, windows) = builder.new_output();
    let (traces_out, traces) = builder.new_output();
    let (top_out, top) = builder.new_output();
    let (resources_out, resources) = builder.new_output();
    let (counts_out, counts) = builder.new_output();
    let mut windows_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<StepPartial>>>::from(windows_out);
    let mut traces_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<TracePartial>>>::from(traces_out);
    let mut top_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<TopPartial>>>::from(top_out);
    let mut resources_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<ResourcePartial>>>::from(resources_out);
    let mut counts_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<EpochCounts>>>::from(counts_out);
    builder.build(move |caps| {
        // One cursor a port: each holds its own right to send.
        let mut cursors: Vec<EpochCursor> = caps
            .into_iter()
            .map(|cap| EpochCursor::new(epochs.clone(), cap))
            .collect();
        let mut admission = Admission::new(rules, sink, place);
        let scanned_stash: RefCell<BTreeMap<Epoch, Vec<Rc<ScannedBatch>>>> = RefCell::default();
        let duplicates_stash: RefCell<BTreeMap<Epoch, Vec<Duplicate>>> = RefCell::default();
        move |frontiers| {
            scanned_in.for_each(|cap, data| {
                stash_at(
                    &mut scanned_stash.borrow_mut(),
                    least_time(cap.stamp().least()),
                    data,
                );
            });
            duplicates_in.for_each(|cap, data| {
                stash_at(
                    &mut duplicates_stash.borrow_mut(),
                    least_time(cap.stamp().least()),
                    data,
                );
            });
            let complete = |at: usize| frontiers[at].frontier();
            while let Some(first) = cursors[0].next_within(complete(0), complete(1)) {
                let _busy = busy.time();
                let (record, windows_cap) = first;
                let batches = scanned_stash
                    .borrow_mut()
                    .remove(&record.epoch)
                    .unwrap_or_default();
                let duplicates = duplicates_stash
                    .borrow_mut()
                    .remove(&record.epoch)
                    .unwrap_or_default();
                admission.admit(&record, batches, duplicates);
                let mut rest = cursors[1..]
                    .iter_mut()
                    .filter_map(|cursor| cursor.advance_to(&record));
                let (Some(traces_cap), Some(top_cap), Some(resources_cap), Some(counts_cap)) =
                    (rest.next(), rest.next(), rest.next(), rest.next())
                else {
                    unreachable!("the cursors of all ports move together");
                };
                let partials = &mut admission.partials;
                windows_out
                    .activate()
                    .session(&windows_cap)
                    .give_container(&mut partials.windows.take());
                traces_out
                    .activate()
                    .session(&traces_cap)
                    .give_container(&mut partials.traces.take());
                top_out
                    .activate()
                    .session(&top_cap)
                    .give_container(&mut partials.top.take());
                resources_out
                    .activate()
                    .session(&resources_cap)
                    .give_container(&mut partials.resources.take());
                counts_out
                    .activate()
                    .session(&counts_cap)
                    .give(std::mem::take(&mut partials.counts));
            }
            for cursor in &mut cursors {
                cursor.finish(complete(0), complete(1));
            }
        }
    });
    Admitted {
        windows,
        traces,
        top,
        resources,
        counts,
    }
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
