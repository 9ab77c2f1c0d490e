//! Pass 1 over the records: find the encoding, walk, validate and fingerprint every span and metric point; keep nothing
//! decoded.
//!
//! A record that cannot be decoded is rejected whole, which is known only after its last byte: so its spans or points ask
//! for their verdicts only once its walk has ended well.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::dedup::{Candidate, minute_of};
use super::epochs::{Epoch, EpochTable, least_time};
use super::replays::{Claim, replayed_letter};
use super::source::{EventTimes, PartitionBatch};
use super::window::Steps;
use crate::decode::protobuf::Walker;
use crate::decode::{DecodeOptions, Encoding, RecordError, metrics, span_bytes};
use crate::metric::{self, PointView};
use crate::span::validate::Limits;
use crate::span::{CleanSettings, clean, fingerprint, validate};

/// What pass 1 found in a record.
#[derive(Debug)]
pub(super) struct ScannedRecord {
    /// How it is encoded.
    pub encoding: Encoding,
    /// Its spans as protobuf where they had to be transcoded.
    pub transcoded: Option<Vec<u8>>,
    /// Why it is rejected whole.
    pub error: Option<RecordError>,
    /// Its spans or points, valid or not.
    pub units: u32,
    /// Fingerprints of the valid ones start here in [`ScannedBatch::fingerprints`].
    pub first_fingerprint: usize,
}

/// One partition's records of one epoch, with what pass 1 found.
#[derive(Debug)]
pub(super) struct ScannedBatch {
    /// The records.
    pub batch: PartitionBatch,
    /// What was found in each.
    pub records: Vec<ScannedRecord>,
    /// Fingerprints of all valid spans and points, in order.
    pub fingerprints: Vec<u128>,
    /// Steps of all valid spans, in order, where nothing but windows is made of them.
    pub steps: Steps,
}

/// The rules of pass 1.
#[derive(Clone, Debug)]
pub(super) struct ScanRules {
    /// How records are decoded.
    pub decode: DecodeOptions,
    /// Bounds of a span.
    pub limits: Limits,
    /// How spans are cleaned where nothing but windows is made of them: then they are not walked again.
    pub only_windows: Option<CleanSettings>,
    /// An event time further ahead of the record's wall clock never moves a watermark, µs.
    pub max_future_skew_us: i64,
}

struct Scanner {
    rules: ScanRules,
    walker: Walker,
    worker: u32,
}

impl Scanner {
    /// Scans a batch; returns it with the candidates for deduplication, the records that stand for dead letters, and the
    /// largest event time that may move the watermark.
    fn scan(
        &mut self,
        batch: PartitionBatch,
        wall_ms: i64,
    ) -> (ScannedBatch, Vec<Candidate>, Vec<Claim>, Option<i64>) {
        let mut scanned = ScannedBatch {
            records: Vec::with_capacity(batch.records.len()),
            fingerprints: Vec::new(),
            steps: Steps::default(),
            batch,
        };
        let mut candidates = Vec::new();
        let mut claims = Vec::new();
        let mut max_event_us = None;
        let latest_us = wall_ms
            .saturating_mul(1_000)
            .saturating_add(self.rules.max_future_skew_us);
        let records = scanned.batch.records.clone();
        for (at, record) in (0u32..).zip(records.records()) {
            let first_fingerprint = scanned.fingerprints.len();
            let first_candidate = candidates.len();
            let payload = record.payload().unwrap_or_default();
            let topic = &scanned.batch.partition.topic;
            let (encoding, bytes) =
                span_bytes(topic, record.headers(), payload, &self.rules.decode);
            let mut record_max_us: Option<i64> = None;
            let slot = scanned.batch.slot;
            let worker = self.worker;
            let (fingerprints, steps) = (&mut scanned.fingerprints, &mut scanned.steps);
            // A span or point that is valid.
            let mut keep = |unit, time_unix_nano: u64, fingerprint| {
                let event_us = (time_unix_nano / 1_000).cast_signed();
                fingerprints.push(fingerprint);
                candidates.push(Candidate {
                    slot,
                    record: at,
                    span: unit,
                    worker,
                    minute: minute_of(event_us),
                    of_document: encoding == Encoding::Document,
                    fingerprint,
                });
                if event_us <= latest_us {
                    record_max_us = record_max_us.max(Some(event_us));
                }
            };
            let limits = &self.rules.limits;
            let walked = bytes.and_then(|bytes| {
                let units = if encoding.is_metrics() {
                    let options = &self.rules.decode.walk;
                    let visit = |resource: &_, scope: &_, metric: &_, point: &PointView<'_>| {
                        if metric::validate(metric, point, limits, wall_ms).is_ok() {
                            let fingerprint = metric::fingerprint(resource, scope, metric, point);
                            keep(point.index, point.time_unix_nano, fingerprint);
                        }
                    };
                    metrics::walk(&bytes.bytes, bytes.transcoded, options, visit)?
                } else {
                    let only_windows = self.rules.only_windows.as_ref();
                    let visit = |resource: &_, scope: &_, span: &_| {
                        if validate(span, limits, wall_ms).is_ok() {
                            keep(span.index, span.end_time_unix_nano, fingerprint(span));
                            if let Some(settings) = only_windows {
                                steps.push(&clean(resource, scope, span, settings));
                            }
                        }
                    };
                    (self.walker).walk(&bytes.bytes, bytes.transcoded, visit)?
                };
                let transcoded = bytes.transcoded.then(|| bytes.bytes.into_owned());
                Ok((units, transcoded))
            });
            let (error, units, transcoded) = match walked {
                Ok((units, transcoded)) => {
                    max_event_us = max_event_us.max(record_max_us);
                    let has_valid = scanned.fingerprints.len() > first_fingerprint;
                    let letter = replayed_letter(record.headers()).filter(|_| has_valid);
                    claims.extend(letter.map(|letter| Claim {
                        slot,
                        record: at,
                        worker,
                        letter,
                    }));
                    (None, units, transcoded)
                }
                Err(error) => {
                    scanned.fingerprints.truncate(first_fingerprint);
                    scanned.steps.steps.truncate(first_fingerprint);
                    candidates.truncate(first_candidate);
                    (Some(error), 0, None)
                }
            };
            scanned.records.push(ScannedRecord {
                encoding,
                transcoded,
                error,
                units,
                first_fingerprint,
            });
        }
        (scanned, candidates, claims, max_event_us)
    }
}

/// What pass 1 sends on.
pub(super) struct Scanned<'scope> {
    /// The batches, on the worker that read them.
    pub batches: StreamVec<'scope, Epoch, Rc<ScannedBatch>>,
    /// The spans that ask whether they are the first of their kind.
    pub candidates: StreamVec<'scope, Epoch, Candidate>,
    /// The records that stand for dead letters.
    pub claims: StreamVec<'scope, Epoch, Claim>,
}

/// Builds pass 1: scanned batches stay on their worker, candidates and claims go to the owners of what they ask for.
pub(super) fn scan<'scope>(
    batches: StreamVec<'scope, Epoch, PartitionBatch>,
    epochs: EpochTable,
    rules: ScanRules,
    event_times: EventTimes,
) -> Scanned<'scope> {
    let scope = batches.scope();
    #[allow(clippy::cast_possible_truncation)]
    let worker = scope.index() as u32;
    let mut scanner = Scanner {
        walker: Walker::new(rules.decode.walk),
        rules,
        worker,
    };
    let busy = epochs.busy("scan");
    let mut builder = OperatorBuilder::new("scan".to_owned(), scope);
    let mut input = builder.new_input(batches, Pipeline);
    let (scanned_out, scanned_stream) = builder.new_output();
    let (candidates_out, candidates_stream) = builder.new_output();
    let (claims_out, claims_stream) = builder.new_output();
    let mut scanned_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Rc<ScannedBatch>>>>::from(scanned_out);
    let mut candidates_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Candidate>>>::from(candidates_out);
    let mut claims_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Claim>>>::from(claims_out);
    builder.build(move |_| {
        move |_frontiers| {
            let mut scanned_out = scanned_out.activate();
            let mut candidates_out = candidates_out.activate();
            let mut claims_out = claims_out.activate();
            input.for_each(|cap, batches| {
                let _busy = busy.time();
                let epoch = least_time(cap.stamp().least());
                let Some(record) = epochs.get(epoch) else {
                    unreachable!("a record is known before its data")
                };
                for batch in batches.drain(..) {
                    let slot = batch.slot as usize;
                    let (scanned, mut candidates, mut claims, max_event_us) =
                        scanner.scan(batch, record.wall_ms);
                    let seen = &mut event_times.borrow_mut()[slot];
                    *seen = (*seen).max(max_event_us);
                    scanned_out.session(&cap).give(Rc::new(scanned));
                    candidates_out.session(&cap).give_container(&mut candidates);
                    if !claims.is_empty() {
                        claims_out.session(&cap).give_container(&mut claims);
                    }
                }
            });
        }
    });
    Scanned {
        batches: scanned_stream,
        candidates: candidates_stream,
        claims: claims_stream,
    }
}
