//! Event time: what moves the watermark, what closes windows, what is late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use dev::wait;
use rdkafka::producer::Producer;
use serde::Deserialize;
use stream_job::span::view::SpanView;

use crate::landed::assert_nothing_twice;
use crate::stage::Stage;
use crate::wire::{LIMIT, Outgoing, Span, now_ns, producer, request, send, send_all};

const SECOND_NS: u64 = 1_000_000_000;
const LATENESS_S: u64 = 120;
const SETTINGS: [(&str, &str); 6] = [
    ("max_out_of_orderness", "1s"),
    ("idle_timeout", "2s"),
    ("allowed_lateness", "120s"),
    ("max_future_skew", "5s"),
    ("anomaly_min_windows", "3"),
    ("anomaly_min_count", "10"),
];
/// The agent whose windows are looked at.
const AGENT: &str = "watched";

#[test]
fn idle_partitions_hold_no_window_late_spans_correct_them_and_the_future_moves_nothing() {
    let mut stage = Stage::start(&SETTINGS);
    let bootstrap = stage.system.kafka.bootstrap();
    let sender = producer(&bootstrap, &[("linger.ms", "1")]);
    let send_now = |agent: &str, partition: i32, ends_ns: &[u64], failed: bool| {
        let spans: Vec<Span> = ends_ns.iter().map(|&ns| Span::ending_at(ns)).collect();
        let views: Vec<SpanView<'_>> = spans
            .iter()
            .map(|span| SpanView {
                status_code: if failed { 2 } else { 1 },
                ..span.view()
            })
            .collect();
        send_all(&sender, &[spans_to(partition, request(agent, &views))]);
    };
    // A minute in the past, so that its windows need no waiting, only event times.
    let start_s = now_ns() / SECOND_NS / 60 * 60 - 900;
    let at = |second: u64| (start_s + second) * SECOND_NS;
    let window = |wanted: &str| {
        format!(
            "SELECT {wanted} FROM dws_step_1m_latest WHERE agent = '{AGENT}' AND window_start = toDateTime({start_s}, 'UTC')"
        )
    };

    // Five normal minutes, then one in which every step fails. Only partition 0 ever speaks: the others go idle.
    for minute in 0..5 {
        let ends: Vec<u64> = (0..20)
            .map(|n| at(n) - (minute + 1) * 60 * SECOND_NS)
            .collect();
        send_now(AGENT, 0, &ends, false);
    }
    let ends: Vec<u64> = (10..40).map(at).collect();
    send_now(AGENT, 0, &ends, true);
    let clock = Clock::start(&bootstrap, at(41));
    wait_for_watermark(&stage, at(41) - SECOND_NS);
    stage.wait_for(&window("sum(count)"), 30, LIMIT);
    assert_eq!(stage.number(&window("countIf(final)")), 0);
    // But partition 0 all are idle: the other five of spans, and those of documents and of metrics.
    assert_eq!(idle_partitions(&stage), 5.0 + 6.0 + 3.0);
    assert_eq!(
        stage.number("SELECT count() FROM ads_anomaly WHERE detector = 'error_rate'"),
        0
    );

    // The far future, from a partition that speaks and from one that does not: nothing moves.
    let future = now_ns() + 3_600 * SECOND_NS;
    send_now("future", 0, &[future], false);
    send_now("future", 1, &[future], false);
    stage.wait_for(
        "SELECT count() FROM dwd_span WHERE agent = 'future'",
        2,
        LIMIT,
    );
    clock.set(at(42));
    wait_for_watermark(&stage, at(42) - SECOND_NS);

    // The window closes, and is judged; a late span that is allowed fires it again.
    clock.set(at(130));
    wait_for_watermark(&stage, at(130) - SECOND_NS);
    let flagged = format!(
        "SELECT count() FROM ads_anomaly_latest
         WHERE detector = 'error_rate' AND agent = '{AGENT}' AND window_start = toDateTime({start_s}, 'UTC')"
    );
    stage.wait_for(&flagged, 1, LIMIT);
    let rev = stage.number(&window("max(rev)"));
    send_now(AGENT, 0, &[at(20)], true);
    stage.wait_for(&window("sum(count)"), 31, LIMIT);
    assert!(
        stage.number(&window("max(rev)")) > rev,
        "the same revision again"
    );
    assert_eq!(stage.number(&window("countIf(final)")), 0);
    assert_eq!(stage.number("SELECT countIf(late) FROM dwd_span"), 0);

    // Beyond the allowed lateness the window is final, and a span for it is late: in DWD alone.
    clock.set(at(60 + LATENESS_S + 2));
    stage.wait_for(&window("countIf(final)"), 1, LIMIT);
    send_now(AGENT, 0, &[at(21)], true);
    stage.wait_for("SELECT countIf(late) FROM dwd_span", 1, LIMIT);
    let late = stage.system.job.metric("spanflow_spans_late_total");
    assert_eq!(late.unwrap(), Some(1.0));

    // All fall silent: the wall clock closes what is left, but not the windows of the future.
    drop(clock);
    let open = format!(
        "SELECT count() FROM dws_step_1m_latest WHERE NOT final AND window_end < now() - {}",
        LATENESS_S + 30
    );
    stage.wait_for(&open, 0, LIMIT);
    assert_eq!(idle_partitions(&stage), 15.0);
    let future = "SELECT countIf(final) FROM dws_step_1m_latest WHERE agent = 'future'";
    assert_eq!(stage.number(future), 0);
    stage.drain();
    assert_eq!(
        stage.number(&window("sum(count)")),
        31,
        "the late span is in no window"
    );
    assert_nothing_twice(&stage.system.sql());
    stage.reconcile();
}

/// A day in steps of 20 s.
const RECORDS: u64 = 24 * 180;

#[test]
fn a_partition_hours_ahead_waits_and_the_windows_of_the_slow_one_take_their_spans() {
    let settings = [
        ("max_watermark_drift", "1h"),
        ("epoch_max_bytes", "64KiB"),
        ("workers", "2"),
        ("idle_timeout", "1s"),
    ];
    let mut stage = Stage::start(&settings);
    let bootstrap = stage.system.kafka.bootstrap();
    let sender = producer(&bootstrap, &[("linger.ms", "1")]);
    let start_ns = now_ns() / SECOND_NS / 60 * 60 * SECOND_NS - 30 * 3_600 * SECOND_NS;
    let step_ns = 20 * SECOND_NS;
    // One is at its beginning and never idle, the other holds a day.
    let clock = Clock::start(&bootstrap, start_ns);
    wait_for_watermark(&stage, start_ns - 10 * SECOND_NS);
    let day: Vec<Outgoing> = (0..RECORDS)
        .map(|number| {
            let span = Span::ending_at(start_ns + number * step_ns);
            spans_to(1, request("ahead", &[span.view()]))
        })
        .collect();
    send_all(&sender, &day);
    let paused = |job: &dev::job::Job| job.metric("spanflow_partition_paused").unwrap();
    wait::until("it is paused", LIMIT, LIMIT / 300, || {
        Ok((paused(&stage.system.job) == Some(1.0)).then_some(()))
    })
    .unwrap();
    let status = stage.system.job.status().unwrap();
    let partitions = status["partitions"].as_array().unwrap().iter();
    let paused = partitions.filter(|partition| partition["paused"] == true);
    assert_eq!(paused.count(), 1, "{status}");
    // Epochs go on; it does not.
    let ahead = "SELECT count() FROM dwd_span WHERE agent = 'ahead'";
    let epochs = stage.number("SELECT max(epoch) FROM ops_epoch");
    wait_for_epoch(&stage, epochs + 5);
    let read = stage.number(ahead);
    assert!(
        (180..3_000).contains(&read),
        "{read} of {RECORDS} were read"
    );
    wait_for_epoch(&stage, epochs + 15);
    assert_eq!(stage.number(ahead), read, "it is read while it is paused");

    clock.set(start_ns + RECORDS * step_ns);
    stage.wait_for(ahead, RECORDS, LIMIT);
    drop(clock);
    stage.drain();
    assert_eq!(stage.number("SELECT countIf(late) FROM dwd_span"), 0);
    stage.reconcile();
}

fn wait_for_epoch(stage: &Stage, epoch: u64) {
    wait::until("epochs go on", LIMIT, LIMIT / 300, || {
        let newest = stage
            .system
            .sql()
            .number("SELECT max(epoch) FROM ops_epoch")?;
        Ok((newest >= epoch).then_some(()))
    })
    .unwrap();
}

fn spans_to(partition: i32, payload: Vec<u8>) -> Outgoing {
    Outgoing {
        topic: "otlp_spans",
        partition,
        payload: Some(payload),
        ..Outgoing::default()
    }
}

/// Sends a span to partition 0 again and again, so that it is never idle; its event time is what the test says, and a
/// little more each time.
struct Clock {
    next_ns: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    fn start(bootstrap: &str, at_ns: u64) -> Self {
        let (next_ns, stop) = (
            Arc::new(AtomicU64::new(at_ns)),
            Arc::new(AtomicBool::new(false)),
        );
        let (next, stopped) = (next_ns.clone(), stop.clone());
        let producer = producer(bootstrap, &[("linger.ms", "1")]);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let span = Span::ending_at(next.fetch_add(1_000_000, Relaxed));
                send(&producer, &spans_to(0, request("clock", &[span.view()])));
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(200));
            }
            producer.flush(LIMIT).unwrap();
        });
        Self {
            next_ns,
            stop,
            thread: Some(thread),
        }
    }

    fn set(&self, at_ns: u64) {
        self.next_ns.store(at_ns, Relaxed);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking());
    }
}

/// Waits until the watermark is this one or at most half a second more, as the job's newest epoch says.
fn wait_for_watermark(stage: &Stage, wanted_ns: u64) {
    #[derive(Deserialize)]
    struct Row {
        watermark_ms: i64,
    }
    let wanted_ms = i64::try_from(wanted_ns / 1_000_000).unwrap();
    let mut last = 0;
    let reached = wait::until("the watermark is there", LIMIT, LIMIT / 150, || {
        let row: Row = stage.system.sql().row(
            "SELECT toUnixTimestamp64Milli(toDateTime64(argMax(watermark, epoch), 3)) AS watermark_ms FROM ops_epoch",
        )?;
        last = row.watermark_ms - wanted_ms;
        Ok((0..=2_000).contains(&last).then_some(()))
    });
    assert!(
        reached.is_ok(),
        "the watermark is {last} ms further than expected"
    );
}

fn idle_partitions(stage: &Stage) -> f64 {
    let idle = stage.system.job.metric("spanflow_partition_idle");
    idle.unwrap().unwrap()
}
