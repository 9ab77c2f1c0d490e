#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::dws_step::StepRow;
use super::*;
use crate::sink::block::{self, Block};
use crate::span::clean::{CleanSpan, Convention, Status, StepType};
use crate::span::view::{Attr, EventView, LinkView, Value};

pub(crate) const STAMP: Stamp = Stamp {
    epoch: 1_700_000_000_500,
    shard: 1,
    ingest_ms: 1_700_000_001_000,
};

pub(crate) fn origin(offset: i64) -> Origin<'static> {
    Origin {
        topic: "otlp_spans",
        partition: 3,
        offset,
    }
}

pub(crate) fn attr<'a>(key: &'a str, value: Value<'a>) -> Attr<'a> {
    Attr {
        key: Cow::Borrowed(key),
        value,
    }
}

pub(crate) fn text(value: &str) -> Value<'_> {
    Value::Str(Cow::Borrowed(value))
}

pub(crate) fn span<'a>(number: u8, agent: &'a str, attributes: &'a [Attr<'a>]) -> CleanSpan<'a> {
    CleanSpan {
        index: u32::from(number),
        trace_id: [number / 8; 16],
        span_id: [number; 8],
        parent_span_id: [number % 2; 8],
        trace_ref: "".into(),
        span_ref: "".into(),
        parent_span_ref: "".into(),
        start_us: 1_700_000_000_000_000 + i64::from(number) * 7_000_000,
        end_us: 1_700_000_000_250_000 + i64::from(number) * 7_000_000,
        duration_us: 250_000,
        namespace: "".into(),
        agent: agent.into(),
        agent_name: "planner".into(),
        service_name: agent.into(),
        name: "chat gpt".into(),
        kind: "client",
        scope: "openinference".into(),
        scope_version: "1.0".into(),
        session_id: "session-1".into(),
        conversation_id: "".into(),
        user_id: "用户".into(),
        step_type: StepType::Think,
        step_no: 2,
        convention: Convention::OpenInference,
        model: "gpt-x".into(),
        provider: "openai".into(),
        tool_name: "".into(),
        status: Status::Error,
        status_message: "boom".into(),
        error_type: "Timeout".into(),
        error_message: "too slow".into(),
        error_stack: "at main".into(),
        input_tokens: 100,
        output_tokens: 20,
        cache_read_tokens: 5,
        cost_nanousd: 1_250_000,
        args_hash: 42,
        input: "".into(),
        output: "".into(),
        attributes,
        resource: &[],
        trace_state: "".into(),
        events: &[],
        links: &[],
    }
}

pub(crate) fn step_row(agent: &str, window_start: u32, rev: u64) -> StepRow {
    StepRow {
        agent: agent.to_owned(),
        step_type: "think".to_owned(),
        window_start,
        window_end: window_start + 60,
        count: rev,
        rev,
        ..StepRow::default()
    }
}

fn whole_body(block: &Block) -> Vec<u8> {
    block.body.concat()
}

#[test]
fn builders_write_the_columns_that_the_migrations_declare() {
    for table in every_table() {
        let written: BTreeSet<(String, String)> = (table.columns().iter())
            .map(|&(name, data_type)| (name.to_owned(), data_type.to_owned()))
            .collect();
        let declared: BTreeSet<(String, String)> = warehouse::schema::columns(table.name())
            .iter()
            .map(|column| (column.name.clone(), column.data_type.clone()))
            .collect();
        assert!(!declared.is_empty(), "{}", table.name());
        assert_eq!(written, declared, "{}", table.name());
    }
}

#[test]
fn a_block_does_not_depend_on_the_order_of_arrival() {
    let attributes = [attr("k", text("v")), attr("n", Value::Int(-7))];
    let numbers: Vec<u8> = (0..40).collect();
    let block_of = |numbers: &[u8], before: &str| {
        let (mut spans, mut contents) = (DwdSpan::default(), DwdContent::default());
        contents.start(STAMP);
        // Something else was built with the same buffers before.
        spans.push(
            &span(99, before, &[]),
            &origin(1),
            1,
            false,
            &STAMP,
            &mut contents,
        );
        spans.clear();
        for &number in numbers {
            let agent = ["b", "a", "ab"][usize::from(number) % 3];
            let span = span(number, agent, &attributes);
            // Every fifth is there twice: only their origins tell them apart.
            spans.push(&span, &origin(1), 7, false, &STAMP, &mut contents);
            if number % 5 == 0 {
                spans.push(&span, &origin(2), 7, false, &STAMP, &mut contents);
            }
        }
        block::cut(&mut spans, 1, 5)
    };
    let forward = block_of(&numbers, "zzz");
    let backward = block_of(&numbers.iter().rev().copied().collect::<Vec<_>>(), "b");
    assert_eq!(forward.len(), 1);
    assert_eq!(forward[0].rows, 48);
    assert_eq!(forward, backward);
    assert_eq!(forward[0].token("t1"), "t1/dwd_span/1/5/0");
}

#[test]
fn spans_are_ordered_by_agent_minute_trace_span_and_content() {
    let mut spans = DwdSpan::default();
    let mut contents = DwdContent::default();
    contents.start(STAMP);
    let pushed = [
        (9, "b", 1),
        (8, "b", 2),
        (8, "b", 1),
        (40, "a", 1),
        (8, "é", 1),
        (8, "Z", 1),
    ];
    for (number, agent, content) in pushed {
        spans.push(
            &span(number, agent, &[]),
            &origin(1),
            content,
            false,
            &STAMP,
            &mut contents,
        );
    }
    // "Z" < "a" < "b" < "é" bytewise; 8 before 9 in one minute and trace.
    assert_eq!(spans.order(), [5, 3, 2, 1, 0, 4]);
}

#[test]
fn only_the_newest_rev_of_a_key_is_written() {
    let mut table = dws_step::one_minute();
    table.extend([
        step_row("b", 60, 1),
        step_row("a", 120, 3),
        step_row("a", 60, 2),
        step_row("a", 60, 4),
        StepRow {
            is_deleted: true,
            ..step_row("a", 60, 4)
        },
    ]);
    let blocks = block::cut(&mut table, 0, 4);
    assert_eq!(blocks[0].rows, 3);
    let mut expected = dws_step::one_minute();
    expected.extend([
        step_row("a", 60, 4),
        step_row("a", 120, 3),
        step_row("b", 60, 1),
    ]);
    assert_eq!(block::cut(&mut expected, 0, 4), blocks);
    assert!(
        block::cut(&mut table, 0, 5).is_empty(),
        "a cut table is empty"
    );
}

#[test]
fn long_texts_leave_a_preview_and_land_once_in_content() {
    let long = "数".repeat(257);
    let exact = "é".repeat(256);
    let attributes = [
        attr("long", text(&long)),
        attr("exact", text(&exact)),
        attr("again", text(&long)),
    ];
    let mut one = span(1, "a", &attributes);
    one.input = Cow::Borrowed(&long);
    one.output = Cow::Owned(long.clone());
    let (mut spans, mut contents) = (DwdSpan::default(), DwdContent::default());
    contents.start(STAMP);
    spans.push(&one, &origin(1), 1, false, &STAMP, &mut contents);
    assert_eq!(contents.len(), 1);
    let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(long.as_bytes()));
    let body = whole_body(&block::cut(&mut spans, 0, 1)[0]);
    let count = |needle: &[u8]| memchr::memmem::find_iter(&body, needle).count();
    // Both hash columns, and twice in attribute_hashes.
    assert_eq!(count(hash.as_bytes()), 4);
    assert_eq!(count(long.as_bytes()), 0);
    assert_eq!(count("数".repeat(256).as_bytes()), 4);
    assert_eq!(count(exact.as_bytes()), 1);
    let content = whole_body(&block::cut(&mut contents, 0, 1)[0]);
    assert_eq!(
        memchr::memmem::find_iter(&content, long.as_bytes()).count(),
        1
    );
}

#[test]
fn different_rendered_values_of_one_length_are_told_apart() {
    // Both are rendered into the same buffer.
    let (one, two) = ([1_u8; 400], [2_u8; 400]);
    let attributes = [
        attr("one", Value::Bytes(&one)),
        attr("two", Value::Bytes(&two)),
    ];
    let (mut spans, mut contents) = (DwdSpan::default(), DwdContent::default());
    contents.start(STAMP);
    spans.push(
        &span(1, "a", &attributes),
        &origin(1),
        1,
        false,
        &STAMP,
        &mut contents,
    );
    assert_eq!(contents.len(), 2);
}

#[test]
fn links_are_compact_json_and_events_are_rows() {
    let events = [EventView {
        time_unix_nano: 1_700_000_000_000_001_999,
        name: "exception".into(),
        attributes: vec![attr("exception.type", text("KeyError"))],
    }];
    let links = [LinkView {
        trace_id: &[0xab; 16],
        span_id: &[1; 8],
        trace_state: "".into(),
        attributes: vec![attr("n", Value::Int(1))],
    }];
    let mut one = span(1, "a", &[]);
    one.events = &events;
    one.links = &links;
    let (mut spans, mut rows, mut contents) = (
        DwdSpan::default(),
        DwdEvent::default(),
        DwdContent::default(),
    );
    contents.start(STAMP);
    spans.push(&one, &origin(1), 1, false, &STAMP, &mut contents);
    rows.push(&one, &origin(1), 1, &STAMP, &mut contents);
    assert_eq!(rows.len(), 1);
    let body = whole_body(&block::cut(&mut spans, 0, 1)[0]);
    let json = format!(
        r#"[{{"trace_id":"{}","span_id":"{}","attributes":{{"n":1}}}}]"#,
        "ab".repeat(16),
        "01".repeat(8),
    );
    assert!(memchr::memmem::find(&body, json.as_bytes()).is_some());
    let body = whole_body(&block::cut(&mut rows, 0, 1)[0]);
    assert!(memchr::memmem::find(&body, &1_700_000_000_000_001_i64.to_le_bytes()).is_some());
}
