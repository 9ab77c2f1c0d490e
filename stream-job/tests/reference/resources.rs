//! What processes take by minute, from all their points at once, however they came.

use std::collections::BTreeMap;

use stream_job::metric::{CleanPoint, Temporality};
use stream_job::ops::settings::Settings;

use super::micros;
use super::tables::{Tables, put, row};

/// What the windows know of a point that is not late.
#[derive(Clone, Debug)]
pub struct Point {
    process: (String, String),
    name: String,
    /// Of a cumulative counter, when it began and for what.
    counter: Option<(i64, String)>,
    at_us: i64,
    value: f64,
}

impl Point {
    pub fn of(point: &CleanPoint<'_>) -> Point {
        let attributes = point.point.attributes.iter();
        let of: Vec<String> = attributes
            .map(|attr| format!("{}={}", attr.key, attr.value.text()))
            .collect();
        let is_cumulative = point.metric.temporality == Temporality::Cumulative;
        Point {
            process: (point.agent.to_string(), point.instance.to_string()),
            name: point.metric.name.to_string(),
            counter: is_cumulative.then(|| (point.start_us, of.join(","))),
            at_us: point.time_us,
            value: point.value(),
        }
    }

    fn minute_s(&self) -> i64 {
        self.at_us.div_euclid(60_000_000) * 60
    }

    fn cpu_us(&self) -> u64 {
        (self.value * 1e6).round() as u64
    }
}

pub struct Resources {
    lateness_us: i64,
    memory_us: i64,
    final_us: i64,
    points: Vec<Point>,
}

impl Resources {
    pub fn new(settings: &Settings) -> Self {
        let lateness_us = micros(settings.allowed_lateness);
        Self {
            lateness_us,
            memory_us: micros(settings.session_ttl) + lateness_us + 60_000_000,
            final_us: i64::MIN,
            points: Vec::new(),
        }
    }

    pub fn add(&mut self, points: &[Point]) {
        let counts = |point: &&Point| {
            let names = [
                "process.cpu.time",
                "process.memory.usage",
                "process.thread.count",
            ];
            names.contains(&point.name.as_str()) && point.value >= 0.0
        };
        self.points.extend(points.iter().filter(counts).cloned());
    }

    pub fn end_block(&mut self, watermark_us: i64, tables: &mut Tables) {
        let final_us = match watermark_us {
            i64::MAX => i64::MAX,
            watermark_us => watermark_us.saturating_sub(self.lateness_us),
        };
        let mut minutes: BTreeMap<(i64, &(String, String)), Vec<&Point>> = BTreeMap::new();
        for point in &self.points {
            let minute = (point.minute_s(), &point.process);
            minutes.entry(minute).or_default().push(point);
        }
        for ((minute_s, process), points) in minutes {
            let end_us = (minute_s + 60) * 1_000_000;
            if end_us <= self.final_us {
                continue;
            }
            let of = |name: &str| {
                let points = points.iter().filter(move |point| point.name == name);
                points.map(|point| point.value as u64).collect::<Vec<_>>()
            };
            let memory = of("process.memory.usage");
            let row = row! {
                "agent": &process.0, "instance": &process.1, "window_start": minute_s, "window_end": minute_s + 60,
                "samples": memory.len() as u64, "cpu_time_us": self.cpu_us(process, minute_s, &points),
                "memory_sum_bytes": memory.iter().sum::<u64>(),
                "memory_max_bytes": memory.iter().max().copied().unwrap_or(0),
                "threads_max": of("process.thread.count").into_iter().max().unwrap_or(0),
                "final": end_us <= final_us, "is_deleted": false,
            };
            put(tables, "dws_resource_1m", row);
        }
        self.final_us = final_us.max(self.final_us);
        self.forget(watermark_us);
    }

    fn cpu_us(&self, process: &(String, String), minute_s: i64, points: &[&Point]) -> u64 {
        let cpu = points
            .iter()
            .filter(|point| point.name == "process.cpu.time");
        let (mut used_us, mut greatest) = (0, BTreeMap::new());
        for point in cpu {
            match &point.counter {
                None => used_us += point.cpu_us(),
                Some(counter) => {
                    let held = greatest.entry(counter).or_insert(0);
                    *held = point.cpu_us().max(*held);
                }
            }
        }
        for (counter, value_us) in greatest {
            let earlier = (self.points.iter())
                .filter(|point| {
                    point.process == *process && point.counter.as_ref() == Some(counter)
                })
                .filter(|point| point.minute_s() < minute_s)
                .map(|point| (point.minute_s(), point.cpu_us()))
                .max();
            used_us += match earlier {
                Some((_, before_us)) => value_us.saturating_sub(before_us),
                None if counter.0 >= (minute_s - 60) * 1_000_000 => value_us,
                None => 0,
            };
        }
        used_us
    }

    /// A process, or a counter of it, of which nothing has come for long is not known any more.
    fn forget(&mut self, watermark_us: i64) {
        let Some(oldest_us) = watermark_us.checked_sub(self.memory_us) else {
            return;
        };
        let oldest_s = oldest_us.div_euclid(1_000_000);
        let (mut of_process, mut of_counter) = (BTreeMap::new(), BTreeMap::new());
        for point in &self.points {
            let newest = of_process.entry(point.process.clone()).or_insert(i64::MIN);
            *newest = point.minute_s().max(*newest);
            let counter = (point.process.clone(), point.counter.clone());
            let newest = of_counter.entry(counter).or_insert(i64::MIN);
            *newest = point.minute_s().max(*newest);
        }
        self.points.retain(|point| {
            let counter = (point.process.clone(), point.counter.clone());
            of_process[&point.process] >= oldest_s
                && (point.counter.is_none() || of_counter[&counter] >= oldest_s)
        });
    }
}
