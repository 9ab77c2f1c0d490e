//! One row of every table, and many spans.

use stream_job::dataflow::buckets::Buckets;
use stream_job::metric::{
    CleanPoint, Distribution, MetricKind, MetricView, PointValue, PointView, Temporality,
};
use stream_job::sink::block::{self, Block};
use stream_job::sink::landed::EpochClose;
use stream_job::sink::tables::ads_anomaly::{AnomalyRow, Real, anomalies};
use stream_job::sink::tables::ods_dead_letter::{Reason, Rejected};
use stream_job::sink::tables::*;
use stream_job::source::Record;
use stream_job::span::clean::{CleanSpan, Convention, Status, StepType};
use stream_job::span::view::{Attr, EventView, LinkView, ResourceView, Value};

pub(crate) const EPOCH: u64 = 1_700_000_000_500;
/// All times are in 2096: the tables' TTLs cut what is old.
pub(crate) const STAMP: Stamp = Stamp {
    epoch: EPOCH,
    shard: 1,
    ingest_ms: 4_000_000_000_123,
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
        key: key.into(),
        value,
    }
}

pub(crate) fn span<'a>(number: u64, attributes: &'a [Attr<'a>]) -> CleanSpan<'a> {
    CleanSpan {
        index: 5,
        trace_id: u128::from(number).to_be_bytes(),
        span_id: (number + 1).to_be_bytes(),
        parent_span_id: [0; 8],
        trace_ref: "conversation 1".into(),
        span_ref: "s1".into(),
        parent_span_ref: "s0".into(),
        start_us: 3_999_999_999_000_001,
        end_us: 4_000_000_000_000_002,
        duration_us: 1_000_001,
        namespace: "shop".into(),
        agent: "shop/agent".into(),
        agent_name: "planner".into(),
        service_name: "agent".into(),
        name: "chat gpt".into(),
        kind: "client",
        scope: "openinference".into(),
        scope_version: "1.0".into(),
        session_id: "session-1".into(),
        conversation_id: "conversation-1".into(),
        user_id: "用户".into(),
        step_type: StepType::Think,
        step_no: 2,
        convention: Convention::OpenInference,
        model: "gpt-x".into(),
        provider: "openai".into(),
        tool_name: "search".into(),
        status: Status::Error,
        status_message: "boom".into(),
        error_type: "Timeout".into(),
        error_message: "too slow".into(),
        error_stack: "at main".into(),
        input_tokens: 100,
        output_tokens: 20,
        cache_read_tokens: 5,
        cost_nanousd: 1_250_000,
        args_hash: u64::MAX,
        input: "in".into(),
        output: "out".into(),
        attributes,
        resource: &[],
        trace_state: "a=b".into(),
        events: &[],
        links: &[],
    }
}

pub(crate) fn contents() -> DwdContent {
    let mut contents = DwdContent::default();
    contents.start(STAMP);
    contents
}

pub(crate) fn record() -> Record {
    Record {
        offset: 8,
        timestamp_ms: 4_000_000_000_001,
        key: Some(vec![0xff, 0x00]),
        headers: vec![
            (
                "content-type".to_owned(),
                Some(b"application/json".to_vec()),
            ),
            ("empty".to_owned(), None),
        ],
        payload: Some(vec![1, 2, 0, 255]),
    }
}

pub(crate) fn close(epoch: u64, blocks: u64) -> EpochClose {
    EpochClose {
        row: EpochRow {
            epoch,
            generation: 1,
            wall_ms: 4_000_000_000_123,
            watermark_us: i64::MAX,
            records: 4,
            spans_landed: 3,
            spans_duplicate: 2,
            spans_rejected: 1,
            spans_late: 1,
        },
        blocks,
        ends_run: true,
    }
}

/// One block of every table that takes decoded spans.
pub(crate) fn span_blocks() -> Vec<Block> {
    let long = "数".repeat(300);
    let nested = [0x0a, 0x03, 0x0a, 0x01, b'x'];
    let attributes = [
        attr("text", Value::Str("v".into())),
        attr("long", Value::Str(long.as_str().into())),
        attr("int", Value::Int(-7)),
        attr("double", Value::Double(0.5)),
        attr("bool", Value::Bool(true)),
        attr("list", Value::Array(&nested)),
    ];
    let resource = [attr("service.name", Value::Str("agent".into()))];
    let events = [EventView {
        time_unix_nano: 4_000_000_000_000_001_999,
        name: "exception".into(),
        attributes: vec![attr("exception.type", Value::Str("KeyError".into()))],
    }];
    let links = [LinkView {
        trace_id: &[0xab; 16],
        span_id: &[1; 8],
        trace_state: "".into(),
        attributes: vec![],
    }];
    let mut one = span(1, &attributes);
    one.resource = &resource;
    one.events = &events;
    one.links = &links;
    one.input = long.as_str().into();
    let (mut spans, mut rows, mut contents) = (DwdSpan::default(), DwdEvent::default(), contents());
    spans.push(&one, &origin(8), u128::MAX - 1, true, &STAMP, &mut contents);
    rows.push(&one, &origin(8), u128::MAX - 1, &STAMP, &mut contents);
    let tables: [&mut dyn Table; 3] = [&mut spans, &mut rows, &mut contents];
    tables
        .into_iter()
        .flat_map(|table| block::cut(table, 1, EPOCH))
        .collect()
}

pub(crate) fn record_blocks() -> Vec<Block> {
    let (mut records, mut letters) = (OdsRecord::default(), OdsDeadLetter::default());
    let outcome = RecordOutcome {
        spans: Outcome {
            landed: 3,
            duplicate: 2,
            rejected: 1,
        },
        points: Outcome::default(),
    };
    records.push(&record(), &origin(8), "json", outcome, &STAMP);
    let rejected = Rejected::Span {
        index: 4,
        trace_id: "00",
        span_id: "",
        raw: &[9, 9],
    };
    let reason = Reason {
        code: "trace_id_invalid",
        message: "a trace id of 1 byte",
    };
    letters.push(&record(), &origin(8), "json", rejected, reason, &STAMP);
    let tables: [&mut dyn Table; 2] = [&mut records, &mut letters];
    tables
        .into_iter()
        .flat_map(|table| block::cut(table, 1, EPOCH))
        .collect()
}

pub(crate) fn aggregate_blocks() -> Vec<Block> {
    let mut buckets = Buckets::new();
    [0, 1_000, 1_000_000]
        .into_iter()
        .for_each(|us| buckets.add(us));
    let step = dws_step::StepRow {
        agent: "a".to_owned(),
        window_start: 4_000_000_080,
        window_end: 4_000_000_140,
        count: 3,
        duration_buckets: buckets.clone(),
        is_final: true,
        rev: EPOCH,
        ..dws_step::StepRow::default()
    };
    let mut tables: Vec<Box<dyn Table>> = Vec::new();
    for mut table in [
        dws_step::one_minute(),
        dws_step::five_minutes(),
        dws_step::one_hour(),
    ] {
        table.push(step.clone());
        tables.push(Box::new(table));
    }
    let mut traces = dws_trace::traces();
    traces.push(dws_trace::TraceRow {
        trace_id: "ab".repeat(16),
        agents: vec!["a".to_owned(), "b".to_owned()],
        first_time: 4_000_000_000_000_001,
        last_time: 4_000_000_001_000_001,
        max_repeat: 4,
        rev: EPOCH,
        ..Default::default()
    });
    let mut sessions = dws_session::sessions();
    sessions.push(dws_session::SessionRow {
        session_id: "s".to_owned(),
        segment: EPOCH,
        last_time: 4_000_000_001_000_001,
        flags: vec!["loop".to_owned()],
        rev: EPOCH,
        ..Default::default()
    });
    let mut flags = anomalies();
    flags.push(AnomalyRow {
        anomaly_id: "x".to_owned(),
        window_start: 4_000_000_080,
        value: Real(0.25),
        evidence: vec!["one".to_owned()],
        rev: EPOCH,
        ..Default::default()
    });
    let mut slow = ads_top::slowest();
    let mut dear = ads_top::dearest();
    let top = ads_top::TopSpanRow {
        window_start: 4_000_000_080,
        rank: 1,
        start_time: 4_000_000_001_000_001,
        rev: EPOCH,
        ..Default::default()
    };
    slow.push(top.clone());
    dear.push(top);
    let mut errors = ads_top::errors();
    errors.push(ads_top::TopErrorRow {
        window_start: 4_000_000_080,
        rank: 300,
        count: 7,
        rev: EPOCH,
        ..Default::default()
    });
    let mut freshness = ads_freshness::freshness();
    freshness.push(ads_freshness::FreshnessRow {
        window_start: 4_000_000_080,
        delay_buckets: buckets,
        rev: EPOCH,
        ..Default::default()
    });
    let mut edges = dws_edge::edges();
    edges.push(dws_edge::EdgeRow {
        agent: "planner".into(),
        window_start: 4_000_000_080,
        window_end: 4_000_000_140,
        from: "think".into(),
        to: "act:search".into(),
        count: 3,
        derived: 1,
        errors: 2,
        gap_sum_us: u64::MAX,
        duration_sum_us: 7,
        is_final: true,
        rev: EPOCH,
        ..Default::default()
    });
    let mut resources = dws_resource::resources();
    resources.push(dws_resource::ResourceRow {
        agent: "planner".into(),
        instance: "i-1".into(),
        window_start: 4_000_000_080,
        window_end: 4_000_000_140,
        samples: 6,
        cpu_time_us: u64::MAX,
        memory_sum_bytes: 12,
        memory_max_bytes: 3,
        threads_max: u32::MAX,
        rev: EPOCH,
        ..Default::default()
    });
    let mut users = dws_user::users();
    users.push(dws_user::UserRow {
        day: 46_296,
        namespace: "shop".into(),
        user_id: "用户".into(),
        segment: EPOCH,
        sessions: 2,
        cost_nanousd: u64::MAX,
        last_time: 4_000_000_001_000_001,
        rev: EPOCH,
        ..Default::default()
    });
    let others: [Box<dyn Table>; 11] = [
        Box::new(metric_point()),
        Box::new(resources),
        Box::new(traces),
        Box::new(sessions),
        Box::new(flags),
        Box::new(slow),
        Box::new(dear),
        Box::new(errors),
        Box::new(freshness),
        Box::new(edges),
        Box::new(users),
    ];
    tables.extend(others);
    tables
        .iter_mut()
        .flat_map(|table| block::cut(&mut **table, 0, EPOCH))
        .collect()
}

/// Spans whose labels and attributes differ from Native block to Native block.
pub(crate) fn many_spans(rows: u64) -> Vec<Block> {
    let (mut spans, mut contents) = (DwdSpan::default(), contents());
    for number in 0..rows {
        let (key, value) = (format!("key-{}", number / 1000), number.to_string());
        let attributes = [
            attr(&key, Value::Str(value.as_str().into())),
            attr("n", Value::Int(number as i64)),
        ];
        let taken = if number % 3 == 0 {
            &attributes[..0]
        } else {
            &attributes[..]
        };
        let mut one = span(number, taken);
        one.name = format!("name-{}", number / 10).into();
        one.tool_name = format!("tool-{}", number % 7).into();
        spans.push(
            &one,
            &origin(number as i64),
            u128::from(number),
            false,
            &STAMP,
            &mut contents,
        );
    }
    block::cut(&mut spans, 1, EPOCH)
}

fn metric_point() -> DwdMetricPoint {
    let resource = ResourceView {
        attributes: vec![attr("service.name", Value::Str("planner".into()))],
    };
    let metric = MetricView {
        name: "duration".into(),
        unit: "s".into(),
        kind: MetricKind::Histogram,
        temporality: Temporality::Delta,
        monotonic: false,
    };
    let point = PointView {
        index: 5,
        start_time_unix_nano: 4_000_000_000_000_001_000,
        time_unix_nano: 4_000_000_060_000_001_999,
        attributes: vec![attr("op", Value::Str("chat".into()))],
        value: PointValue::Distribution(Distribution {
            count: 6,
            sum: 9.5,
            bounds: vec![0.5, f64::MAX],
            bucket_counts: vec![1, 2, u64::MAX],
            quantile_values: vec![0.25],
        }),
        problem: "".into(),
        raw: b"",
    };
    let mut points = DwdMetricPoint::default();
    let clean = CleanPoint::of(&resource, &metric, &point);
    points.push(&clean, &origin(0), u128::MAX - 1, true, &STAMP);
    points
}
