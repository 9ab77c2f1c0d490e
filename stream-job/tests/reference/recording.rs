//! Makes recordings like what agents send: traces split over messages and partitions, children before their parents,
//! copies, late spans, orphans, sessions that are named late, documents that come again longer, and records that
//! cannot be read. One seed, one recording.

use std::path::Path;

use stream_job::decode::encode::request;
use stream_job::source::recording::{RecordedTopic, RecordingWriter};
use stream_job::source::{Record, TopicPartition};
use stream_job::span::view::{ResourceView, ScopeView, SpanView};

use super::metrics;
use super::steps::{Made, duration, encode, id, steps, twins};

pub const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;

/// What a recording is to hold.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Event times begin here, s since 1970.
    pub base_s: i64,
    /// Event times spread over this long.
    pub minutes: i64,
    pub traces: u64,
    pub documents: u64,
    /// Processes that send metrics, five at most.
    pub processes: usize,
    /// Per cent of the messages that come minutes after their time.
    pub late: u64,
    /// Per cent of the messages that come twice.
    pub copied: u64,
    /// Whether a copy may take another partition, and a trace several of them.
    pub scattered: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            seed: 1,
            base_s: 1_760_000_000,
            minutes: 30,
            traces: 260,
            documents: 24,
            processes: 5,
            late: 6,
            copied: 8,
            scattered: true,
        }
    }
}

/// Numbers from a seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn chance(&mut self, per_cent: u64) -> bool {
        self.below(100) < per_cent
    }

    pub fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    pub fn time(&mut self, up_to_us: i64) -> i64 {
        self.below(up_to_us as u64) as i64
    }
}

pub struct Message {
    pub sent_us: i64,
    pub topic: &'static str,
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub payload: Option<Vec<u8>>,
}

const SPANS: &str = "otlp_spans";
const DOCUMENTS: &str = "agent.conversations";
const SPAN_PARTITIONS: i32 = 6;
const DOCUMENT_PARTITIONS: i32 = 3;
const AGENTS: [(&str, &str); 4] = [
    ("", "planner"),
    ("", "coder"),
    ("shop", "support"),
    ("", "unknown_service:python"),
];

/// Writes the recording of a plan to a folder.
pub fn write(folder: &Path, plan: &Plan) {
    let topic = |name: &str, partitions| RecordedTopic {
        name: name.to_owned(),
        topic_id: String::new(),
        partitions,
    };
    let topics = [
        topic(SPANS, SPAN_PARTITIONS),
        topic(DOCUMENTS, DOCUMENT_PARTITIONS),
        topic(metrics::METRICS, metrics::PARTITIONS),
    ];
    let mut writer = RecordingWriter::create(folder, &topics).unwrap();
    let mut dice = Dice::new(plan.seed);
    let mut messages = Vec::new();
    for number in 0..plan.traces {
        trace(&mut dice, plan, number, &mut messages);
    }
    for number in 0..plan.documents {
        document(&mut dice, plan, number, &mut messages);
    }
    for _ in 0..plan.traces / 20 {
        messages.push(unreadable(&mut dice, plan));
    }
    copies(&mut dice, plan, &mut messages);
    metrics::messages(plan, &mut messages);
    messages.sort_by_key(|message| message.sent_us);
    let mut offsets = std::collections::BTreeMap::new();
    for message in messages {
        let partition = TopicPartition {
            topic: message.topic.into(),
            partition: message.partition,
        };
        // Transactions and compaction leave gaps.
        let gap = i64::from(dice.chance(5)) * 3;
        let next = offsets.entry(partition.clone()).or_insert(0);
        let record = Record {
            offset: *next + gap,
            timestamp_ms: message.sent_us / 1_000,
            key: message.key,
            headers: message.headers,
            payload: message.payload,
        };
        *next = record.offset + 1;
        writer.append(&partition, &record).unwrap();
    }
    writer.finish().unwrap();
}

fn trace(dice: &mut Dice, plan: &Plan, number: u64, messages: &mut Vec<Message>) {
    let mut trace_id = [0; 16];
    trace_id[..8].copy_from_slice(&id(dice));
    trace_id[8..].copy_from_slice(&id(dice));
    let (namespace, service) = *dice.one_of(&AGENTS);
    let begin_us = plan.base_s * SECOND_US + dice.time(plan.minutes * MINUTE_US);
    let mut spans = steps(dice, trace_id, begin_us);
    let end_us = spans.iter().map(|span| span.end_us).max().unwrap();
    let root_id = id(dice);
    for span in spans.iter_mut().filter(|span| span.parent.is_none()) {
        span.parent = Some(root_id);
    }
    let mut root = Made {
        trace: trace_id,
        id: root_id,
        parent: None,
        name: "invoke_agent".to_owned(),
        start_us: begin_us,
        end_us: end_us + duration(dice).min(SECOND_US),
        texts: vec![("agent.step.type", "session".to_owned())],
        numbers: vec![("gen_ai.usage.input_tokens", 99)],
        cost_usd: 0.0,
        status: if dice.chance(10) { 2 } else { 0 },
        exception: false,
    };
    // Who the trace belongs to may be said by its first span, by its last one, or by none.
    let session = format!("session-{}", number / 3);
    match dice.below(5) {
        0 => {}
        1 => spans[0].texts.push(("session.id", session)),
        2 => spans[0]
            .texts
            .push(("gen_ai.conversation.id", format!("talk-{}", number / 4))),
        _ => root.texts.push(("session.id", session)),
    }
    if dice.chance(60) {
        root.texts.push(("user.id", format!("user-{}", number % 7)));
    }
    if number.is_multiple_of(9) {
        // The first step knows another user than the root, which comes before it in time.
        spans[0]
            .texts
            .push(("user.id", format!("guest-{}", number % 4)));
    }
    if service.starts_with("unknown_service") && dice.chance(70) {
        root.texts
            .push(("gen_ai.agent.name", "nameless".to_owned()));
    }
    if dice.chance(93) {
        spans.push(root);
    }
    if spans.len() > 3 && dice.chance(8) {
        spans.remove(1);
    }
    twins(dice, &mut spans);
    send(dice, plan, (namespace, service), spans, messages);
}

/// Sends spans in one to three messages, each when its last span has ended.
fn send(
    dice: &mut Dice,
    plan: &Plan,
    (namespace, service): (&str, &str),
    mut spans: Vec<Made>,
    messages: &mut Vec<Message>,
) {
    for at in (1..spans.len()).rev() {
        let other = dice.below(at as u64 + 1) as usize;
        spans.swap(at, other);
    }
    let own_partition = dice.below(SPAN_PARTITIONS as u64) as i32;
    let is_scattered = plan.scattered && dice.chance(40);
    let pieces = 1 + dice.below(3) as usize;
    let size = spans.len().div_ceil(pieces);
    for piece in spans.chunks(size) {
        let ended_us = piece.iter().map(|span| span.end_us).max().unwrap();
        let delay_us = if dice.chance(plan.late) {
            MINUTE_US + dice.time(7 * MINUTE_US)
        } else {
            dice.time(3 * SECOND_US)
        };
        let partition = if is_scattered {
            dice.below(SPAN_PARTITIONS as u64) as i32
        } else {
            own_partition
        };
        let key = (!is_scattered).then(|| hex(&piece[0].trace).into_bytes());
        messages.push(Message {
            sent_us: ended_us + delay_us,
            topic: SPANS,
            partition,
            key,
            headers: vec![(
                "content-type".to_owned(),
                Some(b"application/x-protobuf".to_vec()),
            )],
            payload: Some(encode(dice, namespace, service, piece)),
        });
    }
}

/// A session document that comes several times, each time longer.
fn document(dice: &mut Dice, plan: &Plan, number: u64, messages: &mut Vec<Message>) {
    let mut at_us = plan.base_s * SECOND_US + dice.time(plan.minutes * MINUTE_US);
    let mut spans: Vec<serde_json::Value> = Vec::new();
    let partition = dice.below(DOCUMENT_PARTITIONS as u64 - 1) as i32;
    for turn in 0..2 + dice.below(3) {
        for step in ["think", "act", "response"] {
            let end_us = at_us + dice.time(2 * SECOND_US);
            let parent = if spans.is_empty() { "" } else { "0" };
            spans.push(serde_json::json!({
                "span_id": spans.len().to_string(), "parent_span_id": parent, "name": format!("{step} {turn}"),
                "start_time": iso(at_us), "end_time": iso(end_us),
                "attributes": {
                    "step_type": step, "content": format!("turn {turn} of {number}"), "tool_name": "lookup",
                    "status": if dice.chance(10) { "error" } else { "success" },
                },
            }));
            at_us = end_us + dice.time(SECOND_US);
        }
        let document = serde_json::json!({
            "session_id": format!("document-{}", number / 2), "conversation_id": format!("c{number}"),
            "user_id": "reader", "timestamp": iso(at_us), "spans": spans,
        });
        messages.push(Message {
            sent_us: at_us + dice.time(SECOND_US),
            topic: DOCUMENTS,
            partition,
            key: None,
            headers: vec![("service.name".to_owned(), Some(b"chat".to_vec()))],
            payload: Some(document.to_string().into_bytes()),
        });
        // The next turn comes after minutes: its copies are older than the horizon of OTLP spans.
        at_us += dice.time(5 * MINUTE_US);
    }
}

fn iso(us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(us).unwrap();
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn unreadable(dice: &mut Dice, plan: &Plan) -> Message {
    let payload = match dice.below(5) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(b"{\"resourceSpans\": 7}".to_vec()),
        3 => Some(b"not a request".to_vec()),
        _ => {
            let span = view_of_nothing();
            let mut bytes = request(&ResourceView::default(), &ScopeView::default(), &[span]);
            bytes.truncate(bytes.len() - 3);
            Some(bytes)
        }
    };
    let topic = *dice.one_of(&[SPANS, DOCUMENTS]);
    Message {
        sent_us: plan.base_s * SECOND_US + dice.time(plan.minutes * MINUTE_US),
        topic,
        partition: dice.below(2) as i32,
        key: Some(vec![0xff, dice.below(256) as u8]),
        headers: Vec::new(),
        payload,
    }
}

fn view_of_nothing() -> SpanView<'static> {
    SpanView {
        trace_id: &[7; 16],
        span_id: &[7; 8],
        start_time_unix_nano: 1_760_000_000_000_000_000,
        end_time_unix_nano: 1_760_000_000_000_000_001,
        ..SpanView::default()
    }
}

/// Sends some messages again: at once or minutes later, in their partition or in another one.
fn copies(dice: &mut Dice, plan: &Plan, messages: &mut Vec<Message>) {
    for at in 0..messages.len() {
        if !dice.chance(plan.copied) || messages[at].topic != SPANS {
            continue;
        }
        let after_us = *dice.one_of(&[1, SECOND_US, 40 * SECOND_US, 9 * MINUTE_US]);
        let original = &messages[at];
        let partition = if plan.scattered && dice.chance(50) {
            dice.below(SPAN_PARTITIONS as u64) as i32
        } else {
            original.partition
        };
        let copy = Message {
            sent_us: original.sent_us + after_us,
            topic: original.topic,
            partition,
            key: original.key.clone(),
            headers: original.headers.clone(),
            payload: original.payload.clone(),
        };
        messages.push(copy);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
