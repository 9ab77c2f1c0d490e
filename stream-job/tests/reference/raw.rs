//! ODS and DWD: every record of an epoch, decoded, judged and cleaned, in the order of partitions and offsets. What a
//! record of metrics gives is in `points`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use stream_job::checkpoint::epoch_log::Replay;
use stream_job::checkpoint::record::EpochRecord;
use stream_job::decode::protobuf::Walker;
use stream_job::decode::{DecodeOptions, Encoding, metrics, span_bytes};
use stream_job::metric;
use stream_job::ops::settings::Settings;
use stream_job::sink::tables::EpochRow;
use stream_job::source::recording::RecordingReader;
use stream_job::source::{Record, TopicPartition};
use stream_job::span::clean::{CleanSpan, Status, StepType};
use stream_job::span::validate::Limits;
use stream_job::span::view::{Attr, Value};
use stream_job::span::{CleanSettings, clean, fingerprint, validate};
use xxhash_rust::xxh3::xxh3_128;

use super::micros;
use super::points;
use super::resources::Point;
use super::tables::{Tables, put, row};

/// What the layers above DWD know of a span.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: u128,
    pub id: u64,
    pub parent: u64,
    pub start_us: i64,
    pub end_us: i64,
    pub duration_us: u64,
    pub namespace: String,
    pub agent: String,
    pub name: String,
    pub session_id: String,
    pub conversation_id: String,
    pub user_id: String,
    pub step: StepType,
    pub tool_name: String,
    pub model: String,
    pub failed: bool,
    pub has_output: bool,
    pub status: &'static str,
    pub error_type: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_nanousd: u64,
    pub args_hash: u64,
    pub late: bool,
}

/// What became of a record's spans, or of its points.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub landed: u64,
    pub duplicate: u64,
    pub rejected: u64,
    /// Of those that landed.
    pub late: u64,
}

pub(super) struct Found {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub shard: u16,
}

/// What lands of an epoch, and in no window if it is late.
#[derive(Default)]
struct Landed {
    spans: Vec<Span>,
    points: Vec<Point>,
}

/// The raw layers so far.
pub struct Raw {
    records: BTreeMap<(String, i32), Vec<Record>>,
    positions: Vec<i64>,
    options: DecodeOptions,
    walker: Walker,
    shards: u16,
    lateness_us: i64,
    /// How long fingerprints are remembered: of OTLP spans, and of documents, which come again for as long as a session lives.
    horizon_us: [i64; 2],
    /// Event time by fingerprint.
    seen: HashMap<u128, i64>,
}

impl Raw {
    pub fn new(settings: &Settings, recording: &Path, log: &Replay) -> Self {
        let reader = RecordingReader::open(recording).unwrap();
        let mut records = BTreeMap::new();
        for partition in reader.partitions() {
            let from = reader.first_offset(partition).unwrap();
            let all = reader.read_partition(partition, from).unwrap();
            let all: Vec<Record> = all.map(Result::unwrap).collect();
            let TopicPartition { topic, partition } = partition.clone();
            records.insert((topic.to_string(), partition), all);
        }
        let options = DecodeOptions {
            documents_topic: stream_job::source::TopicFilter::of(&settings.documents_topic),
            max_record_bytes: usize::try_from(settings.max_record_bytes.0).unwrap(),
            ..DecodeOptions::default()
        };
        let horizon = micros(settings.dedup_horizon);
        Self {
            records,
            positions: log.positions.iter().map(|p| p.next_offset).collect(),
            walker: Walker::new(options.walk),
            options,
            shards: settings.sink_shards,
            lateness_us: micros(settings.allowed_lateness),
            horizon_us: [horizon, horizon.max(micros(settings.session_ttl))],
            seen: HashMap::new(),
        }
    }

    /// Reads one epoch: writes its ODS and DWD rows, and returns the spans that land, and the points that count.
    pub fn epoch(
        &mut self,
        record: &EpochRecord,
        tables: &mut Tables,
    ) -> (Vec<Span>, Vec<Point>, EpochRow) {
        let mut counts = EpochRow {
            epoch: record.epoch,
            generation: record.generation,
            wall_ms: record.wall_ms,
            watermark_us: record.watermark_us,
            ..EpochRow::default()
        };
        let mut landed = Landed::default();
        for (slot, position) in record.positions.iter().enumerate() {
            let from = std::mem::replace(&mut self.positions[slot], position.next_offset);
            let key = (position.topic.clone(), position.partition);
            let within = |r: &&Record| (from..position.next_offset).contains(&r.offset);
            let records: Vec<Record> = self.records[&key].iter().filter(within).cloned().collect();
            for kafka in records {
                let found = Found {
                    topic: position.topic.clone(),
                    partition: position.partition,
                    offset: kafka.offset,
                    shard: u16::try_from(position.partition).unwrap() % self.shards,
                };
                self.record(record, &found, &kafka, tables, &mut landed, &mut counts);
            }
        }
        (landed.spans, landed.points, counts)
    }

    fn record(
        &mut self,
        epoch: &EpochRecord,
        found: &Found,
        kafka: &Record,
        tables: &mut Tables,
        landed: &mut Landed,
        counts: &mut EpochRow,
    ) {
        let payload = kafka.payload.as_deref().unwrap_or_default();
        let (encoding, bytes) = span_bytes(&found.topic, &kafka.headers, payload, &self.options);
        let seen = &mut self.seen;
        let horizon_us = self.horizon_us[usize::from(encoding == Encoding::Document)];
        let late_before = epoch.watermark_us.saturating_sub(self.lateness_us);
        let (mut good, mut spans) = (Vec::new(), Tally::default());
        let mut letters = Vec::new();
        let mut rows = Tables::new();
        // Fingerprints of a record count only if all of it can be decoded.
        let mut asked = Vec::new();
        let mut points = Tally::default();
        let walked = bytes.and_then(|bytes| {
            if encoding.is_metrics() {
                let mut pass = points::Pass {
                    epoch,
                    found,
                    late_before,
                    tally: &mut points,
                    letters: &mut letters,
                    rows: &mut rows,
                    counted: Vec::new(),
                };
                let options = &self.options.walk;
                let walked = metrics::walk(
                    &bytes.bytes,
                    bytes.transcoded,
                    options,
                    |resource, scope, metric, point| {
                        let fingerprint = metric::fingerprint(resource, scope, metric, point);
                        let at_us = (point.time_unix_nano / 1_000).cast_signed();
                        let is_copy = is_copy(
                            seen,
                            &asked,
                            fingerprint,
                            at_us,
                            epoch.watermark_us,
                            horizon_us,
                        );
                        if pass.see(resource, metric, point, fingerprint, is_copy) {
                            asked.push((fingerprint, at_us));
                        }
                    },
                );
                if walked.is_ok() {
                    landed.points.append(&mut pass.counted);
                }
                return walked;
            }
            self.walker
                .walk(&bytes.bytes, bytes.transcoded, |resource, scope, span| {
                    if let Err(reject) = validate(span, &Limits::default(), epoch.wall_ms) {
                        spans.rejected += 1;
                        letters.push((span.index, reject.code, span.raw.to_vec()));
                        return;
                    }
                    let fingerprint = fingerprint(span);
                    let clean = clean(resource, scope, span, &CleanSettings::default());
                    if is_copy(
                        seen,
                        &asked,
                        fingerprint,
                        clean.end_us,
                        epoch.watermark_us,
                        horizon_us,
                    ) {
                        spans.duplicate += 1;
                        return;
                    }
                    asked.push((fingerprint, clean.end_us));
                    spans.landed += 1;
                    let late = clean.end_us < late_before;
                    spans.late += u64::from(late);
                    span_rows(&clean, epoch, found, late, &mut rows);
                    good.push(owned(&clean, late));
                })
        });
        counts.records += 1;
        let mut stated_encoding = encoding.as_str();
        if let Err(error) = walked {
            (spans, points) = (Tally::default(), Tally::default());
            letters = vec![(0, error.code(), payload.to_vec())];
            stated_encoding = "undecodable";
            letter_rows("record", &letters, kafka, encoding, epoch, found, tables);
        } else {
            seen.extend(asked);
            landed.spans.append(&mut good);
            let unit = match encoding {
                Encoding::OtlpMetrics => "point",
                _ => "span",
            };
            letter_rows(unit, &letters, kafka, encoding, epoch, found, tables);
            for (table, rows) in rows {
                // A long text may be in several spans of a block.
                let held = tables.entry(table).or_default();
                for (key, row) in rows {
                    assert!(held.insert(key, row).is_none() || table == "dwd_content");
                }
            }
        }
        counts.spans_landed += spans.landed;
        counts.spans_duplicate += spans.duplicate;
        counts.spans_rejected += spans.rejected;
        counts.spans_late += spans.late;
        put(
            tables,
            "ods_record",
            row! {
                "topic": &found.topic, "partition": found.partition, "offset": found.offset,
                "timestamp": kafka.timestamp_ms.max(0), "key": kafka.key.as_deref().unwrap_or_default(),
                "encoding": stated_encoding, "payload": payload,
                "spans": spans.landed + spans.duplicate + spans.rejected, "spans_landed": spans.landed,
                "spans_duplicate": spans.duplicate, "spans_rejected": spans.rejected,
                "points": points.landed + points.duplicate + points.rejected, "points_landed": points.landed,
                "points_duplicate": points.duplicate, "points_rejected": points.rejected,
                "_epoch": epoch.epoch, "_shard": found.shard, "ingest_time": epoch.wall_ms,
            },
        );
    }
}

/// Whether a span with this fingerprint was there before. Behind the horizon, in whole minutes, nothing is remembered.
fn is_copy(
    seen: &HashMap<u128, i64>,
    asked: &[(u128, i64)],
    fingerprint: u128,
    end_us: i64,
    watermark_us: i64,
    horizon_us: i64,
) -> bool {
    let minute = |us: i64| us.div_euclid(60_000_000);
    let remembered = minute(end_us) >= minute(watermark_us.saturating_sub(horizon_us));
    remembered
        && (seen.contains_key(&fingerprint) || asked.iter().any(|(other, _)| *other == fingerprint))
}

fn owned(span: &CleanSpan<'_>, late: bool) -> Span {
    Span {
        trace: u128::from_be_bytes(span.trace_id),
        id: u64::from_be_bytes(span.span_id),
        parent: u64::from_be_bytes(span.parent_span_id),
        start_us: span.start_us,
        end_us: span.end_us,
        duration_us: span.duration_us,
        namespace: span.namespace.to_string(),
        agent: span.agent.to_string(),
        name: span.name.to_string(),
        session_id: span.session_id.to_string(),
        conversation_id: span.conversation_id.to_string(),
        user_id: span.user_id.to_string(),
        step: span.step_type,
        tool_name: span.tool_name.to_string(),
        model: span.model.to_string(),
        failed: span.status == Status::Error,
        has_output: !span.output.is_empty(),
        status: span.status.as_str(),
        error_type: span.error_type.to_string(),
        input_tokens: span.input_tokens,
        output_tokens: span.output_tokens,
        cost_nanousd: span.cost_nanousd,
        args_hash: span.args_hash,
        late,
    }
}

fn letter_rows(
    unit: &str,
    letters: &[(u32, &'static str, Vec<u8>)],
    kafka: &Record,
    encoding: Encoding,
    epoch: &EpochRecord,
    found: &Found,
    tables: &mut Tables,
) {
    for (index, code, payload) in letters {
        put(
            tables,
            "ods_dead_letter",
            row! {
                "topic": &found.topic, "partition": found.partition, "offset": found.offset, "index": *index,
                "unit": unit, "error_code": *code, "payload": payload.as_slice(), "encoding": encoding.as_str(),
                "timestamp": kafka.timestamp_ms.max(0), "key": kafka.key.as_deref().unwrap_or_default(),
                "spans": u32::from(unit == "span"),
                "_epoch": epoch.epoch, "_shard": found.shard, "ingest_time": epoch.wall_ms,
            },
        );
    }
}

fn span_rows(
    span: &CleanSpan<'_>,
    epoch: &EpochRecord,
    found: &Found,
    late: bool,
    tables: &mut Tables,
) {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let (trace_id, span_id) = (hex(&span.trace_id), hex(&span.span_id));
    let parent = if span.parent_span_id == [0; 8] {
        String::new()
    } else {
        hex(&span.parent_span_id)
    };
    put(
        tables,
        "dwd_span",
        row! {
            "topic": &found.topic, "partition": found.partition, "offset": found.offset, "index": span.index,
            "trace_id": &trace_id, "span_id": &span_id, "parent_span_id": parent,
            "trace_ref": &*span.trace_ref, "span_ref": &*span.span_ref, "parent_span_ref": &*span.parent_span_ref,
            "start_time": span.start_us, "end_time": span.end_us, "duration_us": span.duration_us,
            "namespace": &*span.namespace, "agent": &*span.agent, "name": &*span.name,
            "session_id": &*span.session_id, "conversation_id": &*span.conversation_id, "user_id": &*span.user_id,
            "step_type": span.step_type.as_str(), "late": late, "convention": span.convention.as_str(),
            "model": &*span.model, "tool_name": &*span.tool_name, "status": span.status.as_str(),
            "error_type": &*span.error_type, "error_message": &*span.error_message,
            "input_tokens": span.input_tokens, "output_tokens": span.output_tokens,
            "cost_nanousd": span.cost_nanousd, "args_hash": span.args_hash,
            "input_preview": head(&span.input), "output_preview": head(&span.output),
            "_epoch": epoch.epoch, "_shard": found.shard, "ingest_time": epoch.wall_ms,
        },
    );
    for (event_index, event) in (0_u32..).zip(span.events) {
        put(
            tables,
            "dwd_event",
            row! {
                "topic": &found.topic, "partition": found.partition, "offset": found.offset, "index": span.index,
                "event_index": event_index, "trace_id": &trace_id, "span_id": &span_id, "name": &*event.name,
                "time": event.time_unix_nano / 1_000, "agent": &*span.agent,
                "_epoch": epoch.epoch, "_shard": found.shard, "ingest_time": epoch.wall_ms,
            },
        );
    }
    for text in long_texts(span) {
        let hash = format!("{:032x}", xxh3_128(text.as_bytes()));
        put_content(tables, &hash, &text, epoch, found.shard);
    }
}

fn put_content(tables: &mut Tables, hash: &str, text: &str, epoch: &EpochRecord, shard: u16) {
    let row = row! {
        "hash": hash, "content": text,
        "_epoch": epoch.epoch, "_shard": shard, "ingest_time": epoch.wall_ms,
    };
    let key = super::tables::key_of("dwd_content", &row);
    tables.entry("dwd_content").or_default().insert(key, row);
}

fn head(text: &str) -> String {
    text.chars().take(256).collect()
}

/// Every text of a span's rows that is over 256 characters.
fn long_texts(span: &CleanSpan<'_>) -> BTreeSet<String> {
    let attributes = span.attributes.iter().chain(span.resource);
    let of_events = span.events.iter().flat_map(|event| &event.attributes);
    let text = |attr: &Attr<'_>| match &attr.value {
        Value::Str(text) => text.to_string(),
        other => other.text().into_owned(),
    };
    let texts = attributes.chain(of_events).map(text);
    texts
        .chain([span.input.to_string(), span.output.to_string()])
        .filter(|text| text.chars().count() > 256)
        .collect()
}
