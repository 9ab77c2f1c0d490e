#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use super::*;
use crate::dataflow::fixtures::record as epoch_record;
use crate::dataflow::rules::Rules;
use crate::dataflow::source::PartitionBatch;
use crate::dataflow::window::Steps;
use crate::decode::{Encoding, RecordError, encode};
use crate::ops::settings::{Layers, Settings};
use crate::source::TopicPartition;
use crate::source::buffer::Batch;
use crate::span::clean;
use crate::span::view::{ResourceView, ScopeView, SpanView};

/// 2025-10-09T08:53:20Z.
const NOW_MS: i64 = 1_760_000_000_000;
const NOW_US: i64 = NOW_MS * 1_000;

/// What left pass 2: rows by table and shard, and the letters' ids.
#[derive(Default)]
struct Kept {
    rows: RefCell<BTreeMap<(&'static str, u16), u64>>,
    letters: RefCell<Vec<String>>,
}

impl RawSink for Kept {
    fn block(&self, block: Block) {
        let at = (block.table, block.shard);
        *self.rows.borrow_mut().entry(at).or_default() += block.rows;
    }

    fn dead_letter(&self, _epoch: Epoch, letter: DeadLetter) {
        let told = format!("{} {}", letter.id(), letter.error_code);
        self.letters.borrow_mut().push(told);
    }

    fn counts(&self, _counts: &EpochCounts, _points: PointCounts) {}
}

fn span(id: u8, end_us: i64) -> SpanView<'static> {
    let end_ns = end_us as u64 * 1_000;
    let id: &'static [u8] = Box::leak(Box::new([id; 8]));
    SpanView {
        trace_id: &[1; 16],
        span_id: id,
        name: "chat".into(),
        start_time_unix_nano: end_ns - 1_000_000,
        end_time_unix_nano: end_ns,
        ..SpanView::default()
    }
}

/// A batch of records with these spans each, as pass 1 leaves it. Spans with an id of zeros are not valid.
fn scanned(slot: u32, partition: i32, records: &[&[SpanView<'static>]]) -> Rc<ScannedBatch> {
    let mut batch = Batch::default();
    let (mut of_records, mut fingerprints) = (Vec::new(), Vec::new());
    let mut steps = Steps::default();
    for (offset, spans) in (0..).zip(records) {
        let payload = encode::request(&ResourceView::default(), &ScopeView::default(), spans);
        batch.push(offset, -1, None, Vec::new(), Some(&payload));
        of_records.push(ScannedRecord {
            encoding: Encoding::OtlpProtobuf,
            transcoded: None,
            error: None,
            units: spans.len() as u32,
            first_fingerprint: fingerprints.len(),
        });
        let valid = spans.iter().filter(|span| span.span_id != [0; 8]);
        for (index, span) in (0u32..).zip(spans.iter()) {
            if span.span_id != [0; 8] {
                let span = SpanView {
                    index,
                    ..span.clone()
                };
                let (resource, scope) = (ResourceView::default(), ScopeView::default());
                steps.push(&clean(&resource, &scope, &span, &CleanSettings::default()));
            }
        }
        fingerprints.extend(valid.map(|span| u128::from(span.span_id[0])));
    }
    let partition = TopicPartition {
        topic: "otlp_spans".into(),
        partition,
    };
    Rc::new(ScannedBatch {
        batch: PartitionBatch {
            slot,
            partition,
            records: Rc::new(batch),
        },
        records: of_records,
        fingerprints,
        steps,
    })
}

fn admission(settings: &Settings) -> (Admission, Rc<Kept>) {
    let kept = Rc::new(Kept::default());
    let rules = Rules::of(settings).admit;
    (Admission::new(rules, kept.clone(), (0, 1)), kept)
}

fn at(watermark_us: i64) -> EpochRecord {
    EpochRecord {
        wall_ms: NOW_MS,
        ..epoch_record(7, watermark_us)
    }
}

fn rows(kept: &Kept, table: &str) -> u64 {
    let rows = kept.rows.borrow();
    let of_table = rows.iter().filter(|((name, _), _)| *name == table);
    of_table.map(|(_, rows)| rows).sum()
}

#[test]
fn a_span_is_late_only_beyond_the_allowed_lateness_and_then_is_in_no_window() {
    let settings = Settings::default();
    let (mut admission, kept) = admission(&settings);
    let hour_us = 3_600_000_000;
    let spans = [span(1, NOW_US - hour_us), span(2, NOW_US - hour_us - 1)];
    admission.admit(&at(NOW_US), vec![scanned(0, 0, &[&spans])], vec![]);
    let counts = std::mem::take(&mut admission.partials.counts);
    assert_eq!((counts.landed, counts.late), (2, 1));
    let windows = admission.partials.windows.take();
    assert_eq!(windows.iter().map(|one| one.sums.count).sum::<u64>(), 1);
    assert_eq!(admission.partials.top.take().len(), 1);
    // DWD has both, and so has their trace.
    assert_eq!(rows(&kept, "dwd_span"), 2);
    assert_eq!(admission.partials.traces.take().len(), 1);
}

#[test]
fn nothing_is_late_before_there_is_a_watermark() {
    let (mut admission, _) = admission(&Settings::default());
    let old = span(1, NOW_US - 86_400_000_000);
    admission.admit(&at(i64::MIN), vec![scanned(0, 0, &[&[old]])], vec![]);
    assert_eq!(admission.partials.counts.late, 0);
}

#[test]
fn a_verdict_falls_on_the_span_it_names_and_no_other() {
    let (mut admission, kept) = admission(&Settings::default());
    let bad = span(0, NOW_US);
    let first = [span(1, NOW_US), bad.clone(), span(2, NOW_US)];
    let second = [bad, span(3, NOW_US), span(4, NOW_US)];
    let batches = vec![
        scanned(5, 1, &[&first, &second]),
        scanned(4, 0, &[&first[..1]]),
    ];
    let duplicate = |slot, record, span| Duplicate {
        slot,
        record,
        span,
        worker: 0,
    };
    // In no order: the last span of each record of slot 5.
    let verdicts = vec![duplicate(5, 1, 2), duplicate(5, 0, 2)];
    admission.admit(&at(NOW_US), batches, verdicts);
    let counts = &admission.partials.counts;
    assert_eq!((counts.records, counts.spans), (3, 7));
    assert_eq!(
        (counts.landed, counts.duplicate, counts.rejected),
        (3, 2, 2)
    );
    let letters = kept.letters.borrow();
    let expected = [
        "otlp_spans/1/0/1 bad_span_id",
        "otlp_spans/1/1/0 bad_span_id",
    ];
    assert_eq!(*letters, expected);
}

#[test]
fn rows_go_to_the_shard_of_their_partition() {
    let (mut admission, kept) = admission(&Settings::default());
    let batches =
        (0..5).map(|partition| scanned(partition as u32, partition, &[&[span(1, NOW_US)]]));
    admission.admit(&at(NOW_US), batches.collect(), vec![]);
    let rows = kept.rows.borrow();
    assert_eq!((rows[&("dwd_span", 0)], rows[&("dwd_span", 1)]), (3, 2));
    assert_eq!((rows[&("ods_record", 0)], rows[&("ods_record", 1)]), (3, 2));
    assert_eq!(shard_of(-1, 4), 3, "never negative");
    assert_eq!(shard_of(7, 0), 0, "no shards are one");
}

#[test]
fn a_record_that_cannot_be_decoded_is_buried_whole() {
    let (mut admission, kept) = admission(&Settings::default());
    let mut batch = Rc::try_unwrap(scanned(0, 2, &[&[span(1, NOW_US)]])).unwrap();
    batch.records[0].error = Some(RecordError::EmptyPayload);
    batch.records[0].units = 0;
    batch.fingerprints.clear();
    admission.admit(&at(NOW_US), vec![Rc::new(batch)], vec![]);
    let counts = &admission.partials.counts;
    assert_eq!((counts.records, counts.spans, counts.rejected), (1, 0, 0));
    assert_eq!(*kept.letters.borrow(), ["otlp_spans/2/0 empty_payload"]);
    let all = ["ods_record", "ods_dead_letter", "dwd_span"].map(|table| rows(&kept, table));
    assert_eq!(all, [1, 1, 0]);
}

#[test]
fn the_windows_alone_write_no_row_and_count_the_same() {
    let mut settings = Settings::default();
    let spans = [
        span(1, NOW_US),
        span(0, NOW_US),
        span(2, NOW_US),
        span(3, NOW_US),
    ];
    let others = [span(4, NOW_US - 86_400_000_000), span(5, NOW_US)];
    let copy = |record, span| Duplicate {
        slot: 0,
        record,
        span,
        worker: 0,
    };
    let mut of = |layers| {
        settings.layers = layers;
        let (mut admission, kept) = admission(&settings);
        let batch = scanned(0, 0, &[&spans, &others]);
        admission.admit(&at(NOW_US), vec![batch], vec![copy(0, 2), copy(1, 1)]);
        let windows = admission.partials.windows.take();
        let counts = std::mem::take(&mut admission.partials.counts);
        (windows, counts, admission, kept)
    };
    let (windows, counts, ..) = of(Layers::All);
    let (only_windows, same_counts, mut admission, kept) = of(Layers::Windows);
    assert_eq!((only_windows.len(), &only_windows), (1, &windows));
    assert_eq!(same_counts, counts);
    assert_eq!(
        (counts.spans, counts.duplicate, counts.rejected, counts.late),
        (6, 2, 1, 1)
    );
    assert!(kept.rows.borrow().is_empty() && kept.letters.borrow().is_empty());
    assert!(admission.partials.traces.take().is_empty());
}
