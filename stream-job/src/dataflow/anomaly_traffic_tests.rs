//! Random traffic, seeded: quiet where nothing is wrong, loud where something was planted.

use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, neither of them.
    fn share(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Standard normal (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.share().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

/// Steps of one key: their number a minute, error rate, median latency and its spread.
#[derive(Clone, Copy)]
struct Load {
    steps: u64,
    error_rate: f64,
    median_us: f64,
    sigma: f64,
}

fn traffic(random: &mut Random, tool: usize, minute: i64, load: Load) -> FiredWindow {
    let count = load.steps / 2 + random.next() % load.steps;
    let mut sums = StepSums {
        count,
        ..StepSums::default()
    };
    for _ in 0..count {
        sums.errors += u64::from(random.share() < load.error_rate);
        let us = load.median_us * (load.sigma * random.normal()).exp();
        sums.buckets.add(us as u64);
    }
    let key = StepKey {
        tool_name: format!("tool{tool}"),
        ..key()
    };
    FiredWindow {
        key: Arc::new(key),
        sums,
        ..window(minute, 0, 0, 0)
    }
}

/// Keys from rare to busy, with narrow and with wide latencies.
fn load_of(tool: usize) -> Load {
    Load {
        steps: [24, 40, 80][tool % 3],
        error_rate: 0.03,
        median_us: 400_000.0,
        sigma: [0.3, 0.6, 1.0][tool / 3 % 3],
    }
}

#[test]
fn clean_traffic_is_quiet() {
    const TOOLS: usize = 225;
    let mut random = Random(42);
    let mut anomalies = Anomalies::new(RULES);
    let mut flags = Vec::new();
    for minute in 0..500 {
        let fired = (0..TOOLS).map(|tool| traffic(&mut random, tool, minute, load_of(tool)));
        flags.extend(anomalies.judge(fired.collect(), i64::MIN));
    }
    let told: Vec<_> = flags
        .iter()
        .map(|flag| (&flag.message, flag.score))
        .collect();
    assert!(told.is_empty(), "{} false flags: {told:#?}", told.len());
}

#[test]
fn planted_incidents_are_found_and_nothing_else() {
    const TOOLS: usize = 27;
    let mut random = Random(7);
    let mut anomalies = Anomalies::new(RULES);
    let mut flags = Vec::new();
    for minute in 0..120 {
        let fired = (0..TOOLS).map(|tool| {
            let mut load = load_of(tool);
            match (tool, minute) {
                (4, 60..65) => load.error_rate = 0.6,
                (13, 80..83) => load.median_us *= 12.0,
                _ => {}
            }
            traffic(&mut random, tool, minute, load)
        });
        flags.extend(anomalies.judge(fired.collect(), i64::MIN));
    }
    let opened: Vec<_> = flags
        .iter()
        .filter(|flag| flag.state == Open)
        .map(|flag| {
            (
                flag.detector.as_str(),
                flag.key.tool_name.as_str(),
                flag.window_start_s / MINUTE_S,
            )
        })
        .collect();
    let planted = [("error_rate", "tool4", 60), ("latency_p95", "tool13", 80)];
    assert_eq!(opened, planted);
    let over: Vec<_> = flags
        .iter()
        .filter(|flag| flag.state == Resolved)
        .map(|flag| (flag.key.tool_name.as_str(), flag.window_end_s / MINUTE_S))
        .collect();
    assert_eq!(over, [("tool4", 65), ("tool13", 83)]);
}
