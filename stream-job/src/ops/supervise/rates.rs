//! Shares of time over the last seconds, from counters of seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How far back a share looks.
const WINDOW: Duration = Duration::from_secs(10);

/// Sums of seconds by name, as they were at some times.
#[derive(Debug, Default)]
pub(super) struct Rates {
    samples: VecDeque<(Instant, BTreeMap<String, f64>)>,
}

impl Rates {
    /// Adds what the sums are now. Sums that fell belong to a process that was started anew: what was before is dropped.
    pub(super) fn push(&mut self, at: Instant, sums: BTreeMap<String, f64>) {
        let fell = |(_, last): &(Instant, BTreeMap<String, f64>)| {
            let lower = |(name, &sum): (&String, &f64)| last.get(name).is_some_and(|&l| sum < l);
            sums.iter().any(lower)
        };
        if self.samples.back().is_some_and(fell) {
            self.samples.clear();
        }
        self.samples.push_back((at, sums));
        while self.samples.len() > 2 && at - self.samples[1].0 >= WINDOW {
            self.samples.pop_front();
        }
    }

    /// Seconds a second, by name; empty until there are two samples.
    pub(super) fn shares(&self) -> BTreeMap<String, f64> {
        let (Some((since, first)), Some((until, last))) =
            (self.samples.front(), self.samples.back())
        else {
            return BTreeMap::new();
        };
        let seconds = (*until - *since).as_secs_f64();
        if seconds <= 0.0 {
            return BTreeMap::new();
        }
        last.iter()
            .map(|(name, sum)| {
                let before = first.get(name).copied().unwrap_or(0.0);
                (name.clone(), (sum - before) / seconds)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(busy: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([("busy".to_owned(), busy)])
    }

    #[test]
    fn a_share_is_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut rates = Rates::default();
        assert!(rates.shares().is_empty());
        // Busy all the time for 20 s, then half of it.
        let mut busy = 0.0;
        for second in 0..=30 {
            rates.push(start + Duration::from_secs(second), sums(busy));
            busy += if second < 20 { 1.0 } else { 0.5 };
        }
        assert!((rates.shares()["busy"] - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_process_that_was_started_anew_begins_anew() {
        let start = Instant::now();
        let mut rates = Rates::default();
        rates.push(start, sums(100.0));
        rates.push(start + Duration::from_secs(1), sums(0.0));
        rates.push(start + Duration::from_secs(2), sums(0.25));
        assert!((rates.shares()["busy"] - 0.25).abs() < 1e-9);
    }
}
