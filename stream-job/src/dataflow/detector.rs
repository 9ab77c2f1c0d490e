//! What makes a window anomalous: two tests of it against the key's own past. Pure functions.
//!
//! - **Error rate.** Under the past, the number of errors in a window of n steps follows a beta-binomial distribution:
//!   the past's errors and successes, with a weak prior of 0.5 errors in 10 steps. The score is −log₁₀ of the
//!   probability of seeing this many errors or more, so a baseline of few steps is not over-trusted.
//! - **p95 latency.** The score is the distance of ln p95 from the median of the past's ln p95, in units of their
//!   median absolute deviation (scaled to a standard deviation). Median and deviation are those of the past as it was,
//!   outliers included: they bear up to half of them. The deviation is at least 0.1, which is 10 % of the latency, and at
//!   least the sampling error of ln p95 in a window of n steps, as a few windows may lie close together by chance.

use serde::{Deserialize, Serialize};

/// Errors and steps of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ErrorCount {
    /// Steps that failed.
    pub errors: u64,
    /// Steps.
    pub count: u64,
}

/// What a detector says of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// What was seen.
    pub value: f64,
    /// What the past led to expect.
    pub expected: f64,
    /// How unlikely it is.
    pub score: f64,
}

const PRIOR_ERRORS: f64 = 0.5;
const PRIOR_SUCCESSES: f64 = 9.5;
/// More steps than this are scaled down to it: the probability is far below any threshold by then.
const MOST_STEPS: u64 = 2_000;
/// Scores end here; the probability has left the range of numbers.
const BEST_SCORE: f64 = 300.0;
const LEAST_LOG_DEVIATION: f64 = 0.1;
/// The sampling error of ln p95 in n steps is 1.285 ln(p95 / p50) / √n where latencies are log-normal: 1.285 is
/// √(q(1 − q)) / (φ(z) z) with q = 0.95 and z its normal quantile, 1.645. The rest allows for the errors of the past's
/// median and spread: with it, a score of 6 comes about less than once in a million windows in which nothing is wrong.
const SAMPLING_ERROR: f64 = 1.5;
/// A median absolute deviation times this is the standard deviation of a normal distribution.
const MAD_TO_SIGMA: f64 = 1.4826;

/// Judges a window's error rate against the past.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub(super) fn error_rate(window: ErrorCount, past: impl Iterator<Item = ErrorCount>) -> Verdict {
    let (errors, count) = past.fold((0, 0), |(errors, count), one| {
        (errors + one.errors, count + one.count)
    });
    let (a, b) = (
        errors as f64 + PRIOR_ERRORS,
        (count - errors) as f64 + PRIOR_SUCCESSES,
    );
    let (mut x, mut n) = (window.errors, window.count);
    if n > MOST_STEPS {
        x = (u128::from(x) * u128::from(MOST_STEPS) / u128::from(n)) as u64;
        n = MOST_STEPS;
    }
    Verdict {
        value: window.errors as f64 / window.count.max(1) as f64,
        expected: a / (a + b),
        score: -upper_tail_log10(x, n, a, b),
    }
}

/// log₁₀ P(X ≥ x) for X beta-binomial with n trials. The terms are built from P(X = n) downwards by their ratios:
/// P(X = k) / P(X = k + 1) = (k + 1)(b + n − k − 1) / ((n − k)(a + k)).
#[allow(clippy::cast_precision_loss)]
fn upper_tail_log10(x: u64, n: u64, a: f64, b: f64) -> f64 {
    if x == 0 {
        return 0.0;
    }
    let log_all: f64 = (0..n)
        .map(|i| ((a + i as f64) / (a + b + i as f64)).ln())
        .sum();
    let mut log_term = log_all;
    let mut log_sum = log_all;
    for k in (x..n).rev() {
        let (k, n) = (k as f64, n as f64);
        log_term += ((k + 1.0) * (b + n - k - 1.0) / ((n - k) * (a + k))).ln();
        let (high, low) = if log_term > log_sum {
            (log_term, log_sum)
        } else {
            (log_sum, log_term)
        };
        log_sum = high + (low - high).exp().ln_1p();
    }
    (log_sum / std::f64::consts::LN_10).clamp(-BEST_SCORE, 0.0)
}

/// The latencies of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latency {
    /// Median, µs.
    pub p50_us: u64,
    /// 95th percentile, µs.
    pub p95_us: u64,
}

/// Judges the p95 of a window of `count` steps against the past's.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub(super) fn latency(window: Latency, count: u64, past: impl Iterator<Item = Latency>) -> Verdict {
    let ln = |us: u64| (us.max(1) as f64).ln();
    let (mut logs, mut spreads): (Vec<f64>, Vec<f64>) = past
        .map(|one| (ln(one.p95_us), ln(one.p95_us) - ln(one.p50_us)))
        .unzip();
    let center = median(&mut logs);
    let mut distances: Vec<f64> = logs.iter().map(|log| (log - center).abs()).collect();
    let sampling = SAMPLING_ERROR * median(&mut spreads) / (count.max(1) as f64).sqrt();
    let deviation = (MAD_TO_SIGMA * median(&mut distances))
        .max(LEAST_LOG_DEVIATION)
        .max(sampling);
    let p95_us = window.p95_us;
    Verdict {
        value: p95_us as f64,
        expected: center.exp().round(),
        score: ((ln(p95_us) - center) / deviation).clamp(-BEST_SCORE, BEST_SCORE),
    }
}

/// The middle value, the lower one of two; 0 where there is none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

/// Rounded to six significant digits, so that the last bits of a logarithm never show in a table.
#[must_use]
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 5 - value.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(errors: u64, count: u64, windows: usize) -> impl Iterator<Item = ErrorCount> {
        std::iter::repeat_n(ErrorCount { errors, count }, windows)
    }

    #[test]
    fn an_error_rate_like_the_past_scores_low_and_an_outage_high() {
        let usual = error_rate(
            ErrorCount {
                errors: 2,
                count: 40,
            },
            past(1, 40, 30),
        );
        assert!(usual.score < 2.0, "{usual:?}");
        let outage = error_rate(
            ErrorCount {
                errors: 30,
                count: 40,
            },
            past(1, 40, 30),
        );
        assert!(outage.score > 20.0, "{outage:?}");
        assert!((outage.value - 0.75).abs() < 1e-9);
    }

    #[test]
    fn a_short_past_is_not_trusted_as_a_long_one() {
        let window = ErrorCount {
            errors: 6,
            count: 20,
        };
        let short = error_rate(window, past(0, 20, 1)).score;
        let long = error_rate(window, past(0, 20, 30)).score;
        assert!(short < long, "{short} {long}");
    }

    #[test]
    fn the_tail_equals_a_sum_over_all_outcomes() {
        // With a = b = 1 every outcome of 0..=n has probability 1 / (n + 1).
        let tail = upper_tail_log10(8, 9, 1.0, 1.0);
        assert!((tail - (2.0f64 / 10.0).log10()).abs() < 1e-9, "{tail}");
        assert!(upper_tail_log10(0, 9, 1.0, 1.0).abs() < 1e-12);
    }

    #[test]
    fn many_steps_neither_overflow_nor_take_long() {
        let verdict = error_rate(
            ErrorCount {
                errors: 1_000_000,
                count: 2_000_000,
            },
            past(10, 2_000_000, 30),
        );
        assert!(verdict.score >= BEST_SCORE - 1.0, "{verdict:?}");
    }

    #[test]
    fn a_tenfold_latency_stands_out_and_usual_noise_does_not() {
        let of = |p95_us| Latency {
            p50_us: 900_000,
            p95_us,
        };
        let past = || (0..30).map(|i| of(1_000_000 + (i % 7) * 60_000));
        assert!(latency(of(10_000_000), 20, past()).score > 10.0);
        assert!(latency(of(1_300_000), 20, past()).score < 3.0);
    }

    #[test]
    fn few_steps_of_widely_spread_latencies_are_not_trusted_as_many() {
        let of = |p95_us| Latency {
            p50_us: 100_000,
            p95_us,
        };
        // The past's p95 lie close together by chance.
        let past = || std::iter::repeat_n(of(500_000), 10);
        let few = latency(of(1_500_000), 20, past()).score;
        let many = latency(of(1_500_000), 2_000, past()).score;
        assert!(few < 3.0 && many > 10.0, "{few} {many}");
    }

    #[test]
    fn rounding_keeps_six_digits() {
        assert!((rounded(123_456_789.0) - 123_457_000.0).abs() < 1e-6);
        assert!((rounded(0.000_123_456_78) - 0.000_123_457).abs() < 1e-12);
        assert_eq!(rounded(0.0), 0.0);
    }
}
