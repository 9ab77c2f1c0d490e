//! The whole dataflow on small recordings, with an output that keeps everything in memory.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
#[path = "harness_align_tests.rs"]
mod align;
#[path = "harness_checkpoint_tests.rs"]
mod checkpoints;
#[path = "harness_overflow_tests.rs"]
mod overflow;
#[path = "harness_replay_tests.rs"]
mod replay;
#[path = "harness_replays_tests.rs"]
mod replays;
use crate::checkpoint::record::AckTime;
use crate::decode::encode;
use crate::sink::block::Block;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::EpochRow;
use crate::sink::tables::ads_anomaly::AnomalyRow;
use crate::source::recording::{RecordedTopic, RecordingWriter};
use crate::source::{Record, TopicPartition, wall_ms};
use crate::span::view::{ResourceView, ScopeView, SpanView};

const SPANS: &str = "otlp_spans";
const DOCUMENTS: &str = "agent.conversations";
const PARTITIONS: i32 = 4;
const SECOND_NS: u64 = 1_000_000_000;

/// Rows and hash of every block, by table, shard, epoch and number.
type Outcome = BTreeMap<(&'static str, u16, u64, u16), (u64, u128)>;

/// An output in memory; rows are visible as soon as their epoch is closed.
#[derive(Default)]
struct Memory {
    landed: AtomicU64,
    blocks: Mutex<Vec<Block>>,
    letters: Mutex<Vec<DeadLetter>>,
    alerts: Mutex<Vec<AnomalyRow>>,
    epochs: Mutex<Vec<EpochRow>>,
    acks: Mutex<Vec<AckTime>>,
}

impl Output for Memory {
    fn block(&self, block: Block) {
        self.blocks.lock().unwrap().push(block);
    }

    fn dead_letter(&self, _epoch: Epoch, letter: DeadLetter) {
        self.letters.lock().unwrap().push(letter);
    }

    fn alert(&self, epoch: Epoch, flag: &AnomalyRow) {
        assert!(epoch > self.landed(), "epoch {epoch} is closed already");
        assert_eq!(flag.rev, epoch);
        self.alerts.lock().unwrap().push(flag.clone());
    }

    fn counted(&self, row: EpochRow) {
        self.epochs.lock().unwrap().push(row);
    }

    fn raw_closed(&self, _epoch: Epoch) {}

    fn closed(&self, epoch: Epoch, _ends_run: bool) {
        let before = self.landed.swap(epoch, Ordering::SeqCst);
        assert_eq!(before + 1, epoch, "epochs close in order");
        let acked_ms = wall_ms();
        self.acks.lock().unwrap().push(AckTime { epoch, acked_ms });
    }

    fn landed(&self) -> Epoch {
        self.landed.load(Ordering::SeqCst)
    }

    fn landed_whole(&self) -> Epoch {
        self.landed()
    }

    fn take_acks(&self, into: &mut Vec<AckTime>) {
        into.append(&mut self.acks.lock().unwrap());
    }
}

impl Memory {
    fn rows(&self, table: &str) -> u64 {
        let blocks = self.blocks.lock().unwrap();
        let of_table = blocks.iter().filter(|block| block.table == table);
        of_table.map(|block| block.rows).sum()
    }

    /// Whether a text stands in any block of a table.
    fn says(&self, table: &str, text: &str) -> bool {
        let blocks = self.blocks.lock().unwrap();
        let mut of_table = blocks.iter().filter(|block| block.table == table);
        of_table.any(|block| {
            let body = block.body.concat();
            body.windows(text.len()).any(|at| at == text.as_bytes())
        })
    }

    /// The sums over all epochs: records, landed, duplicate, rejected, late.
    fn counted(&self) -> [u64; 5] {
        let mut sums = [0; 5];
        for row in self.epochs.lock().unwrap().iter() {
            let counts = [
                row.records,
                row.spans_landed,
                row.spans_duplicate,
                row.spans_rejected,
                row.spans_late,
            ];
            sums.iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| *sum += count);
        }
        sums
    }

    /// Letters as `id unit code`, sorted.
    fn buried(&self) -> Vec<String> {
        let letters = self.letters.lock().unwrap();
        let mut told: Vec<_> = letters
            .iter()
            .map(|letter| format!("{} {} {}", letter.id(), letter.unit(), letter.error_code))
            .collect();
        told.sort();
        told
    }

    /// The alerts, sorted.
    fn alerts(&self) -> Vec<AnomalyRow> {
        let mut alerts = self.alerts.lock().unwrap().clone();
        alerts.sort();
        alerts
    }

    /// What was written.
    fn outcome(&self) -> Outcome {
        let blocks = self.blocks.lock().unwrap();
        let outcome: Outcome = blocks
            .iter()
            .map(|block| {
                let id = (block.table, block.shard, block.epoch, block.n);
                (id, (block.rows, block.hash))
            })
            .collect();
        assert_eq!(outcome.len(), blocks.len(), "no block comes twice");
        outcome
    }
}

/// A recording in the making.
struct Tape {
    folder: tempfile::TempDir,
    writer: RecordingWriter,
    next: BTreeMap<TopicPartition, i64>,
}

impl Tape {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topics = [SPANS, DOCUMENTS].map(|name| RecordedTopic {
            name: name.to_owned(),
            topic_id: String::new(),
            partitions: PARTITIONS,
        });
        let writer = RecordingWriter::create(&folder.path().join("tape"), &topics).unwrap();
        Self {
            folder,
            writer,
            next: BTreeMap::new(),
        }
    }

    fn put(&mut self, topic: &str, partition: i32, payload: Option<Vec<u8>>) {
        self.put_with(topic, partition, Vec::new(), payload);
    }

    fn put_with(
        &mut self,
        topic: &str,
        partition: i32,
        headers: Vec<(String, Option<Vec<u8>>)>,
        payload: Option<Vec<u8>>,
    ) {
        let partition = TopicPartition {
            topic: topic.into(),
            partition,
        };
        let next = self.next.entry(partition.clone()).or_default();
        let record = Record {
            offset: *next,
            timestamp_ms: -1,
            key: None,
            headers,
            payload,
        };
        self.writer.append(&partition, &record).unwrap();
        *next += 1;
    }

    fn put_spans(&mut self, partition: i32, agent: &str, spans: &[SpanView<'_>]) {
        self.put(SPANS, partition, Some(message(agent, spans)));
    }

    fn finish(self) -> Recorded {
        self.writer.finish().unwrap();
        Recorded {
            folder: self.folder,
        }
    }
}

struct Recorded {
    folder: tempfile::TempDir,
}

impl Recorded {
    fn run(
        &self,
        name: &str,
        follow: Option<&Replay>,
        change: impl FnOnce(&mut Settings),
    ) -> (Replay, Arc<Memory>) {
        let options = HarnessOptions {
            follow,
            ..HarnessOptions::default()
        };
        self.run_with(name, options, change)
    }

    fn run_with(
        &self,
        name: &str,
        options: HarnessOptions<'_>,
        change: impl FnOnce(&mut Settings),
    ) -> (Replay, Arc<Memory>) {
        let mut settings = Settings::default();
        settings.recording = self.folder.path().join("tape").display().to_string();
        settings.workers = 2;
        settings.dws_block_interval = settings.epoch_interval;
        change(&mut settings);
        let memory = Arc::new(Memory::default());
        let output = memory.clone();
        let log = self.folder.path().join(name);
        let replay = run_recording(Arc::new(settings), &log, options, move |first_epoch| {
            output.landed.store(first_epoch - 1, Ordering::SeqCst);
            output
        });
        (replay.unwrap(), memory)
    }

    fn run_once(&self) -> Arc<Memory> {
        self.run("log", None, |_| ()).1
    }
}

fn message(agent: &str, spans: &[SpanView<'_>]) -> Vec<u8> {
    let resource = ResourceView {
        attributes: vec![encode::text_attr("service.name", agent)],
    };
    encode::request(&resource, &ScopeView::default(), spans)
}

/// Ten hours ago, on the full hour, in ns: late spans need a past, and the future moves no watermark.
fn base_ns() -> u64 {
    let hours = wall_ms() as u64 / 3_600_000 - 10;
    hours * 3_600 * SECOND_NS
}

/// A think span with the ids given that ends `end_s` after [`base_ns`].
fn span<'a>(trace_id: &'a [u8], span_id: &'a [u8], end_s: u64) -> SpanView<'a> {
    let end = base_ns() + end_s * SECOND_NS;
    SpanView {
        trace_id,
        span_id,
        name: "chat".into(),
        start_time_unix_nano: end - SECOND_NS,
        end_time_unix_nano: end,
        attributes: vec![encode::text_attr("gen_ai.operation.name", "chat")],
        ..SpanView::default()
    }
}

#[test]
fn a_dead_letter_says_where_it_came_from_and_why() {
    let mut tape = Tape::new();
    let good = span(&[1; 16], &[1; 8], 0);
    let whole = message("shop", std::slice::from_ref(&good));
    let torn = whole[..whole.len() - 3].to_vec();
    tape.put(SPANS, 0, Some(whole));
    tape.put(SPANS, 0, None);
    tape.put(SPANS, 1, Some(b"what is this".to_vec()));
    tape.put(SPANS, 2, Some(torn));
    tape.put(SPANS, 3, Some(br#"{"resourceSpans": 7}"#.to_vec()));
    tape.put(DOCUMENTS, 0, Some(br#"{"session_id": 7}"#.to_vec()));
    let at = |end_s| span(&[2; 16], &[2; 8], end_s);
    let spans = [
        good.clone(),
        SpanView {
            trace_id: &[0; 16],
            ..good.clone()
        },
        SpanView {
            span_id: &[7; 3],
            ..good.clone()
        },
        SpanView {
            parent_span_id: &[7; 9],
            ..good
        },
        SpanView {
            end_time_unix_nano: 5,
            ..at(0)
        },
        at(0),
    ];
    tape.put_spans(3, "shop", &spans);
    let memory = tape.finish().run_once();
    let expected = [
        "agent.conversations/0/0 record bad_document",
        "otlp_spans/0/1 record empty_payload",
        "otlp_spans/1/0 record unknown_encoding",
        "otlp_spans/2/0 record truncated",
        "otlp_spans/3/0 record bad_json",
        "otlp_spans/3/1/1 span bad_trace_id",
        "otlp_spans/3/1/2 span bad_span_id",
        "otlp_spans/3/1/3 span bad_parent_span_id",
        "otlp_spans/3/1/4 span time_out_of_range",
    ];
    assert_eq!(memory.buried(), expected);
    // The good span came twice: in the record of its own, and among the bad ones.
    assert_eq!(memory.counted(), [7, 2, 1, 4, 0]);
    let rows = ["ods_record", "ods_dead_letter", "dwd_span"].map(|table| memory.rows(table));
    assert_eq!(rows, [7, 9, 2]);
}

#[test]
fn of_a_span_that_comes_again_one_stays_wherever_it_comes_from() {
    let mut tape = Tape::new();
    let one = span(&[1; 16], &[1; 8], 0);
    let two = span(&[1; 16], &[2; 8], 1);
    let other = SpanView {
        name: "another".into(),
        ..one.clone()
    };
    // The same message twice; the same span in another partition and message; one with its id that says something else.
    tape.put_spans(0, "shop", &[one.clone(), two.clone()]);
    tape.put_spans(0, "shop", &[one.clone(), two]);
    tape.put_spans(3, "collector", &[one.clone(), other]);
    tape.put_spans(3, "shop", &[one.clone(), one]);
    let recorded = tape.finish();
    // In one epoch, and in four.
    for (name, epoch_records) in [("one", 100), ("four", 1)] {
        let (_, memory) = recorded.run(name, None, |s| s.epoch_records = epoch_records);
        assert_eq!(memory.counted(), [4, 3, 5, 0, 0], "{name}");
        assert_eq!(memory.rows("dwd_span"), 3, "{name}");
        assert_eq!(memory.rows("ods_record"), 4, "{name}");
    }
}

#[test]
fn a_late_span_is_in_dwd_and_its_trace_but_in_no_window() {
    let mut tape = Tape::new();
    let hours = |at: u64| at * 3_600;
    tape.put_spans(0, "early-agent", &[span(&[1; 16], &[1; 8], 0)]);
    tape.put_spans(0, "early-agent", &[span(&[1; 16], &[2; 8], hours(5))]);
    tape.put_spans(
        0,
        "corrected-agent",
        &[span(&[2; 16], &[3; 8], hours(4) + 60)],
    );
    tape.put_spans(0, "late-agent", &[span(&[3; 16], &[4; 8], hours(1))]);
    let (_, memory) = tape.finish().run("log", None, |s| s.epoch_records = 1);
    assert_eq!(memory.counted(), [4, 4, 0, 0, 1]);
    for table in ["dwd_span", "dws_trace", "dws_session"] {
        assert!(memory.says(table, "late-agent"), "{table}");
    }
    for table in ["dws_step_1m", "dws_step_5m", "dws_step_1h", "ads_top_slow"] {
        assert!(memory.says(table, "corrected-agent"), "{table}");
        assert!(!memory.says(table, "late-agent"), "{table}");
    }
}

#[test]
fn a_span_of_the_future_moves_no_watermark() {
    let mut tape = Tape::new();
    let in_hours = |hours: u64| {
        let end = wall_ms() as u64 * 1_000_000 + hours * 3_600 * SECOND_NS;
        SpanView {
            start_time_unix_nano: end,
            end_time_unix_nano: end,
            ..span(&[9; 16], &[9; 8], 0)
        }
    };
    tape.put_spans(0, "a", &[in_hours(20)]);
    tape.put_spans(0, "a", &[span(&[1; 16], &[1; 8], 0)]);
    tape.put_spans(0, "a", &[span(&[1; 16], &[2; 8], 60)]);
    let (_, memory) = tape.finish().run("log", None, |s| s.epoch_records = 1);
    assert_eq!(memory.counted(), [3, 3, 0, 0, 0], "nothing is late");
}
