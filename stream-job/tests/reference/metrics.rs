//! Messages with metrics like those of agents' processes, for a recording: counters of CPU time, memory, threads, and what
//! is wrong with some.

use super::recording::{Dice, Message, Plan, SECOND_US};

pub const METRICS: &str = "otlp_metrics";
pub const PARTITIONS: i32 = 3;
/// How often a process sends, µs.
const EVERY_US: i64 = 15 * SECOND_US;
const PROCESSES: [(&str, &str, &str); 5] = [
    ("", "planner", "i-1"),
    ("", "planner", "i-2"),
    ("shop", "support", "i-3"),
    ("", "coder", ""),
    ("", "", "i-5"),
];

/// What all processes send. It does not change the dice that the spans are thrown with.
pub fn messages(plan: &Plan, messages: &mut Vec<Message>) {
    let mut dice = Dice::new(plan.seed ^ 0x6d65_7472_6963_7321);
    for process in PROCESSES.into_iter().take(plan.processes) {
        of_process(&mut dice, plan, process, messages);
    }
    let json = br#"{"resourceMetrics":[]}"#.to_vec();
    let mut cut = request(PROCESSES[0], &[gauge("process.memory.usage", 1, 5.0)]);
    cut.truncate(cut.len() - 2);
    for payload in [json, cut, b"\xff\xff".to_vec()] {
        let sent_us = plan.base_s * SECOND_US + dice.time(plan.minutes * 60 * SECOND_US);
        messages.push(message(sent_us, 0, payload));
    }
}

fn message(sent_us: i64, partition: i32, payload: Vec<u8>) -> Message {
    Message {
        sent_us,
        topic: METRICS,
        partition,
        key: None,
        headers: Vec::new(),
        payload: Some(payload),
    }
}

fn of_process(
    dice: &mut Dice,
    plan: &Plan,
    process: (&str, &str, &str),
    messages: &mut Vec<Message>,
) {
    let begin_us = plan.base_s * SECOND_US + dice.time(120 * SECOND_US);
    // Half of the processes are older than the recording.
    let mut start_us = begin_us - i64::from(dice.chance(50)) * 7_200 * SECOND_US;
    let (mut user, mut system) = (dice.below(100) as f64, 1.0);
    let mut at_us = begin_us;
    while at_us < (plan.base_s + plan.minutes * 60) * SECOND_US {
        at_us += EVERY_US + dice.time(2 * SECOND_US);
        if dice.chance(2) {
            // It is silent for long, and forgotten if for longer.
            at_us += dice.time(900 * SECOND_US);
        }
        if dice.chance(3) {
            (start_us, user, system) = (at_us - SECOND_US, 0.0, 0.0);
        }
        user += dice.below(3_000_000) as f64 / 1e6;
        system += dice.below(300_000) as f64 / 1e6;
        let mut metrics = vec![
            sum(
                "process.cpu.time",
                2,
                start_us,
                at_us,
                &[("user", user), ("system", system)],
            ),
            gauge("process.memory.usage", at_us, dice.below(1 << 30) as f64),
            gauge("process.thread.count", at_us, dice.below(64) as f64),
            gauge("agent.sessions.active", at_us, dice.below(9) as f64),
        ];
        match dice.below(20) {
            0 => metrics.push(gauge("", at_us, 1.0)),
            1 => metrics.push(gauge("process.memory.usage", at_us, f64::NAN)),
            2 => metrics.push(gauge("process.memory.usage", 5, 1.0)),
            3 => metrics.push(gauge("process.memory.usage", at_us, -1.0)),
            4 => metrics.push(sum(
                "process.cpu.time",
                1,
                at_us - 1,
                at_us,
                &[("user", 0.125)],
            )),
            _ => {}
        }
        let delay_us = if dice.chance(plan.late) {
            dice.time(3 * 60 * SECOND_US)
        } else {
            dice.time(SECOND_US)
        };
        let partition = dice.below(PARTITIONS as u64) as i32;
        let payload = request(process, &metrics);
        if dice.chance(plan.copied) {
            let other = match plan.scattered {
                true => dice.below(PARTITIONS as u64) as i32,
                false => partition,
            };
            let again_us = at_us + delay_us + dice.time(60 * SECOND_US);
            messages.push(message(again_us, other, payload.clone()));
        }
        messages.push(message(at_us + delay_us, partition, payload));
    }
}

fn field(number: u64, wire: u64, out: &mut Vec<u8>) {
    varint(number << 3 | wire, out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    field(number, 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn fixed(number: u64, value: u64, out: &mut Vec<u8>) {
    field(number, 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn attribute(number: u64, key: &str, value: &str, out: &mut Vec<u8>) {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    bytes(1, value.as_bytes(), &mut any);
    bytes(1, key.as_bytes(), &mut pair);
    bytes(2, &any, &mut pair);
    bytes(number, &pair, out);
}

fn request((namespace, service, instance): (&str, &str, &str), metrics: &[Vec<u8>]) -> Vec<u8> {
    let mut resource = Vec::new();
    let names = [
        ("service.namespace", namespace),
        ("service.name", service),
        ("service.instance.id", instance),
        ("host.name", "host"),
    ];
    for (key, value) in names.into_iter().filter(|(_, value)| !value.is_empty()) {
        attribute(1, key, value, &mut resource);
    }
    let (mut of_scope, mut of_resource, mut request) = (Vec::new(), Vec::new(), Vec::new());
    for metric in metrics {
        bytes(2, metric, &mut of_scope);
    }
    bytes(1, &resource, &mut of_resource);
    bytes(2, &of_scope, &mut of_resource);
    bytes(1, &of_resource, &mut request);
    request
}

fn gauge(name: &str, at_us: i64, value: f64) -> Vec<u8> {
    let (mut point, mut data, mut metric) = (Vec::new(), Vec::new(), Vec::new());
    fixed(3, at_us as u64 * 1_000, &mut point);
    fixed(4, value.to_bits(), &mut point);
    bytes(1, &point, &mut data);
    bytes(1, name.as_bytes(), &mut metric);
    bytes(5, &data, &mut metric);
    metric
}

fn sum(name: &str, temporality: u64, start_us: i64, at_us: i64, values: &[(&str, f64)]) -> Vec<u8> {
    let (mut data, mut metric) = (Vec::new(), Vec::new());
    for (mode, value) in values {
        let mut point = Vec::new();
        fixed(2, start_us as u64 * 1_000, &mut point);
        fixed(3, at_us as u64 * 1_000, &mut point);
        fixed(4, value.to_bits(), &mut point);
        attribute(7, "cpu.mode", mode, &mut point);
        bytes(1, &point, &mut data);
    }
    field(2, 0, &mut data);
    varint(temporality, &mut data);
    field(3, 0, &mut data);
    varint(1, &mut data);
    bytes(1, name.as_bytes(), &mut metric);
    bytes(3, b"s", &mut metric);
    bytes(7, &data, &mut metric);
    metric
}
