//! Counters, gauges and histograms that worker threads update with one relaxed atomic operation, and their text form.
//!
//! The text is Prometheus's exposition format 0.0.4: `# HELP`, `# TYPE`, then `name{label="value"} number`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A kind of metric.
pub trait Metric: Default {
    /// What `# TYPE` says.
    const TYPE: &'static str;

    /// Writes the samples of one set of labels (`a="b",c="d"`, or empty).
    fn render(&self, name: &str, labels: &str, out: &mut String);
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Moves it up to a sum that is kept elsewhere; it never goes down.
    pub fn raise_to(&self, sum: u64) {
        self.0.fetch_max(sum, Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Counter {
    const TYPE: &'static str = "counter";

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        sample(out, name, labels, &self.get().to_string());
    }
}

/// Time that only grows; kept in nanoseconds, shown in seconds.
#[derive(Debug, Default)]
pub struct Seconds(AtomicU64);

impl Seconds {
    /// Adds a duration.
    pub fn add(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(ns, Relaxed);
    }

    /// Adds the time from now until the guard is dropped.
    #[must_use]
    pub fn time(self: &Arc<Self>) -> Timing {
        Timing {
            sum: Arc::clone(self),
            since: Instant::now(),
        }
    }

    /// The sum so far, in seconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn get(&self) -> f64 {
        self.0.load(Relaxed) as f64 / 1e9
    }
}

/// Time that is running; see [`Seconds::time`].
#[derive(Debug)]
pub struct Timing {
    sum: Arc<Seconds>,
    since: Instant,
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.sum.add(self.since.elapsed());
    }
}

impl Metric for Seconds {
    const TYPE: &'static str = "counter";

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        sample(out, name, labels, &self.get().to_string());
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Sets it to a count; one beyond `i64` shows as `i64::MAX`.
    pub fn set_count(&self, value: u64) {
        self.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Moves it by `by`, for what several threads share, such as bytes in flight.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Gauge {
    const TYPE: &'static str = "gauge";

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        sample(out, name, labels, &self.get().to_string());
    }
}

/// Upper bounds of the histogram's buckets, in µs: 1 ms to 60 s.
const BOUNDS_US: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Durations counted in buckets; shown in seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The upper bound of the bucket that the quantile `q` (0 to 1) falls into, `None` while nothing was counted.
    /// What is beyond the last bound gives the last bound.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((q * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_US) {
            seen += bucket.load(Relaxed);
            if seen >= rank {
                return Some(Duration::from_micros(bound));
            }
        }
        (count > 0).then(|| Duration::from_micros(BOUNDS_US[BOUNDS_US.len() - 1]))
    }
}

impl Metric for Histogram {
    const TYPE: &'static str = "histogram";

    #[allow(clippy::cast_precision_loss)]
    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
        let mut seen = 0;
        for (bucket, bound) in self.buckets.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            seen += bucket.load(Relaxed);
            let labels = format!("{labels}{comma}le=\"{bound}\"");
            sample(out, &format!("{name}_bucket"), &labels, &seen.to_string());
        }
        let sum = self.sum_us.load(Relaxed) as f64 / 1e6;
        sample(out, &format!("{name}_sum"), labels, &sum.to_string());
        sample(out, &format!("{name}_count"), labels, &seen.to_string());
    }
}

/// One metric for each set of label values. Take the metric out once with [`Family::with`] and keep it: looking it up
/// takes a lock.
#[derive(Debug)]
pub struct Family<M> {
    labels: &'static [&'static str],
    members: RwLock<BTreeMap<Vec<String>, Arc<M>>>,
}

impl<M: Metric> Family<M> {
    /// A family with these label names.
    pub(super) fn new(labels: &'static [&'static str]) -> Self {
        Family {
            labels,
            members: RwLock::default(),
        }
    }

    /// The member with these label values, in the order of the label names.
    ///
    /// # Panics
    /// There are more or fewer values than names.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Arc<M> {
        assert_eq!(
            values.len(),
            self.labels.len(),
            "one value for each of {:?}",
            self.labels
        );
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(members.entry(key).or_default())
    }

    /// Every member with its label values, sorted.
    #[must_use]
    pub fn members(&self) -> Vec<(Vec<String>, Arc<M>)> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members
            .iter()
            .map(|(key, member)| (key.clone(), Arc::clone(member)))
            .collect()
    }

    pub(super) fn render(&self, name: &str, out: &mut String) {
        for (values, member) in self.members() {
            let labels: Vec<String> = self
                .labels
                .iter()
                .zip(&values)
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
                .collect();
            member.render(name, &labels.join(","), out);
        }
    }
}

/// The two comment lines before a metric's samples.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(out: &mut String, name: &str, labels: &str, value: &str) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_histogram_counts_cumulatively_and_in_seconds() {
        let histogram = Histogram::default();
        for ms in [1, 2, 700, 90_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut out = String::new();
        histogram.render("x_seconds", "", &mut out);
        assert!(
            out.starts_with(
                "x_seconds_bucket{le=\"0.001\"} 1\nx_seconds_bucket{le=\"0.0025\"} 2\n"
            ),
            "{out}"
        );
        assert!(
            out.contains("x_seconds_bucket{le=\"60\"} 3\nx_seconds_bucket{le=\"+Inf\"} 4\n"),
            "{out}"
        );
        assert!(
            out.ends_with("x_seconds_sum 90.703\nx_seconds_count 4\n"),
            "{out}"
        );
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for _ in 0..99 {
            histogram.observe(Duration::from_millis(4));
        }
        histogram.observe(Duration::from_secs(3_600));
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_millis(5)));
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_millis(5)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_secs(60)));
    }

    #[test]
    fn time_adds_up_in_seconds_until_its_guard_is_dropped() {
        let sum = Arc::new(Seconds::default());
        sum.add(Duration::from_millis(1_500));
        let mut out = String::new();
        sum.render("busy_seconds_total", "", &mut out);
        assert_eq!(out, "busy_seconds_total 1.5\n");
        let timing = sum.time();
        assert!(sum.get() < 1.5 + f64::EPSILON);
        drop(timing);
        assert!(sum.get() > 1.5);
    }

    #[test]
    fn label_values_are_escaped_and_members_sorted() {
        let family: Family<Counter> = Family::new(&["table"]);
        family.with(&["b"]).add(2);
        family.with(&["a\"\\\n"]).add(1);
        family.with(&["b"]).add(3);
        let mut out = String::new();
        family.render("rows_total", &mut out);
        assert_eq!(
            out,
            "rows_total{table=\"a\\\"\\\\\\n\"} 1\nrows_total{table=\"b\"} 5\n"
        );
    }
}
