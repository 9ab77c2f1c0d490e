//! Pass 2, after the verdicts: spans and metric points become rows of ODS and DWD, and partial sums for everything above.
//!
//! The rows of a sink shard are built where its partitions were read. Only partial sums leave the worker.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::dedup::Duplicate;
use super::epochs::Epoch;
use super::freshness::EpochCounts;
use super::pass::RecordPass;
use super::plan::owner_of;
use super::points::PointCounts;
use super::replays::WHOLE_RECORD;
use super::resource::PreResource;
use super::scan::{ScanRules, ScannedBatch, ScannedRecord};
use super::top_n::PreTop;
use super::trace::PreTrace;
use super::window::PreAggregate;
use super::windowing::Lifecycle;
use crate::checkpoint::record::EpochRecord;
use crate::decode::metrics;
use crate::decode::protobuf::Walker;
use crate::sink::block::{Block, cut};
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::{
    DwdContent, DwdEvent, DwdMetricPoint, DwdSpan, OdsDeadLetter, OdsRecord, Origin, Outcome,
    RecordOutcome, Stamp, Table,
};
use crate::source::buffer::RecordRef;
use crate::span::CleanSettings;

#[path = "admit_ports.rs"]
mod ports;

pub(super) use ports::admit;

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
    pub spans: DwdSpan,
    pub events: DwdEvent,
    pub contents: DwdContent,
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
    pub windows: PreAggregate,
    pub traces: PreTrace,
    pub top: PreTop,
    pub resources: PreResource,
    pub counts: EpochCounts,
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
        } else {
            let mut pass = RecordPass {
                here,
                encoding: scanned.encoding.as_str(),
                duplicates,
                next_fingerprint: scanned.first_fingerprint,
                outcome: Outcome::default(),
                tables,
                partials: &mut self.partials,
                rules: &self.rules,
                sink: &*self.sink,
            };
            let (bytes, is_transcoded) = match &scanned.transcoded {
                Some(bytes) => (bytes.as_slice(), true),
                None => (here.record.payload().unwrap_or_default(), false),
            };
            let walked = if scanned.encoding.is_metrics() {
                let options = &self.rules.scan.decode.walk;
                let see = |resource: &_, _: &_, metric: &_, point: &_| {
                    pass.see_point(resource, metric, point);
                };
                let walked = metrics::walk(bytes, is_transcoded, options, see);
                outcome.points = pass.outcome;
                walked
            } else {
                let walker = &mut self.walker;
                let walked = walker.walk(bytes, is_transcoded, |resource, scope, span| {
                    pass.see_span(resource, scope, span);
                });
                outcome.spans = pass.outcome;
                walked
            };
            debug_assert!(walked.is_ok(), "what pass 1 could walk can be walked again");
        }
        self.partials.points.add(outcome.points);
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

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
