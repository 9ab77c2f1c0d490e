//! Latency sketches: integer counts in logarithmic buckets.
//!
//! Buckets grow by γ = 1.02, so that a bucket's value is at most 1 % away from what it counts. Counts add, subtract
//! and merge in any order to the same bytes. The bounds come from repeated multiplication in `f64`, which is exact to
//! the last bit everywhere; the scheme is DDSketch's (Masson, Rim, Lee, VLDB 2019) with integer bounds.

use std::sync::LazyLock;

/// Growth from one bucket to the next.
const GAMMA: f64 = 1.02;
/// The bucket of zero.
const ZERO_BUCKET: i16 = -1;
/// Guesses per power of two: a step of 1/32 is at most two buckets wide.
const GUESS_BITS: u32 = 5;

struct Scheme {
    /// Largest integer of every bucket.
    bounds: Vec<u64>,
    /// The integer that stands for every bucket.
    values: Vec<u64>,
    /// First bucket that can hold a number, by its highest bits.
    guesses: Vec<u16>,
}

static SCHEME: LazyLock<Scheme> = LazyLock::new(Scheme::new);

impl Scheme {
    fn new() -> Scheme {
        let (mut bounds, mut values) = (Vec::new(), Vec::new());
        let mut growth = 1.0_f64;
        loop {
            // A float too large for u64 saturates: the last bucket ends at u64::MAX.
            let bound = growth.floor() as u64;
            bounds.push(bound);
            values.push((2.0 * growth / (GAMMA + 1.0)).round() as u64);
            if bound == u64::MAX {
                break;
            }
            growth *= GAMMA;
        }
        let guesses = (0..64 << GUESS_BITS)
            .map(|slot| {
                let least = least_of_guess_slot(slot);
                bounds.partition_point(|&bound| bound < least) as u16
            })
            .collect();
        Scheme {
            bounds,
            values,
            guesses,
        }
    }
}

/// Which guess a number from 1 on has: its exponent and the bits after the highest one.
fn guess_slot(x: u64) -> usize {
    let exponent = 63 - x.leading_zeros();
    let mantissa = (x << (63 - exponent) << 1) >> (64 - GUESS_BITS);
    ((exponent as usize) << GUESS_BITS) | mantissa as usize
}

/// At most the smallest number that has this guess.
fn least_of_guess_slot(slot: u32) -> u64 {
    let (exponent, mantissa) = (slot >> GUESS_BITS, slot & ((1 << GUESS_BITS) - 1));
    let step = (u128::from(mantissa) << exponent) >> GUESS_BITS;
    (1_u64 << exponent) + step as u64
}

/// The bucket of a duration in µs: -1 for 0, else the first whose bound is not below it.
#[must_use]
pub fn bucket_of(us: u64) -> i16 {
    if us == 0 {
        return ZERO_BUCKET;
    }
    let scheme = &*SCHEME;
    let mut bucket = scheme.guesses[guess_slot(us)] as usize;
    while scheme.bounds[bucket] < us {
        bucket += 1;
    }
    bucket as i16
}

/// The duration in µs that stands for a bucket. Buckets beyond the last one count as the last.
#[must_use]
pub fn value_of(bucket: i16) -> u64 {
    let values = &SCHEME.values;
    match usize::try_from(bucket) {
        Err(_) => 0,
        Ok(index) => values[index.min(values.len() - 1)],
    }
}

/// Counts by bucket, ascending, without zeros.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Buckets(Vec<(i16, u64)>);

impl Buckets {
    /// No counts.
    #[must_use]
    pub const fn new() -> Buckets {
        Buckets(Vec::new())
    }

    /// Counts one duration in µs.
    #[inline]
    pub fn add(&mut self, us: u64) {
        self.add_to(bucket_of(us), 1);
    }

    /// Adds to one bucket.
    pub fn add_to(&mut self, bucket: i16, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.binary_search_by_key(&bucket, |entry| entry.0) {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.0.insert(at, (bucket, count)),
        }
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Buckets) {
        if other.0.len() <= 4 {
            for &(bucket, count) in &other.0 {
                self.add_to(bucket, count);
            }
            return;
        }
        let mine = std::mem::take(&mut self.0);
        self.0.reserve(mine.len() + other.0.len());
        let (mut left, mut right) = (mine.into_iter().peekable(), other.0.iter().peekable());
        while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
            let (bucket, count) = match l.0.cmp(&r.0) {
                std::cmp::Ordering::Less => *l,
                std::cmp::Ordering::Greater => **r,
                std::cmp::Ordering::Equal => (l.0, l.1 + r.1),
            };
            left.next_if(|entry| entry.0 == bucket);
            right.next_if(|entry| entry.0 == bucket);
            self.0.push((bucket, count));
        }
        self.0.extend(left);
        self.0.extend(right);
    }

    /// Takes all counts of `other` away.
    ///
    /// # Panics
    /// If `other` counts more than `self` in any bucket: what is taken away must have been added before.
    pub fn subtract(&mut self, other: &Buckets) {
        for &(bucket, count) in &other.0 {
            let at = (self.0)
                .binary_search_by_key(&bucket, |entry| entry.0)
                .expect("only counts that were added are taken away");
            let left = &mut self.0[at].1;
            *left = left
                .checked_sub(count)
                .expect("only counts that were added are taken away");
        }
        self.0.retain(|entry| entry.1 != 0);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|entry| entry.1).sum()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The `q`-quantile in µs: the value of the first bucket whose cumulative count reaches `max(1, ⌈q·n⌉)`; 0 when
    /// empty. The SQL function `spanflow_quantile` computes the same.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = ((q * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, count) in &self.0 {
            seen += count;
            if seen >= wanted {
                return value_of(bucket);
            }
        }
        self.0.last().map_or(0, |entry| value_of(entry.0))
    }

    /// The counts by bucket, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i16, u64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn bucket_by_definition(x: u64) -> i16 {
        if x == 0 {
            return -1;
        }
        let (mut growth, mut bucket) = (1.0_f64, 0);
        while x > growth.floor() as u64 {
            growth *= 1.02;
            bucket += 1;
        }
        bucket
    }

    #[test]
    fn every_small_duration_and_every_border_is_in_its_defined_bucket() {
        for x in 0..5_000 {
            assert_eq!(bucket_of(x), bucket_by_definition(x), "{x}");
        }
        for &bound in &SCHEME.bounds {
            for x in [bound - 1, bound, bound.saturating_add(1)] {
                assert_eq!(bucket_of(x), bucket_by_definition(x), "{x}");
            }
        }
        assert_eq!(bucket_of(u64::MAX) as usize, SCHEME.bounds.len() - 1);
    }

    #[test]
    fn a_bucket_stands_for_its_durations_within_one_percent() {
        for x in (1..3_000_000_000_u64).step_by(7_654_321).chain(100..2_000) {
            let error = value_of(bucket_of(x)).abs_diff(x) as f64;
            assert!(error <= 0.01 * x as f64 + 1.0, "{x}: off by {error}");
        }
        assert_eq!(
            (value_of(-1), value_of(0), value_of(i16::MAX)),
            (0, 1, *SCHEME.values.last().unwrap())
        );
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_durations() {
        let mut buckets = Buckets::new();
        assert_eq!(buckets.quantile(0.5), 0);
        for x in [0, 10, 1_000, 1_000_000] {
            buckets.add(x);
        }
        assert_eq!(buckets.quantile(0.0), 0);
        assert_eq!(buckets.quantile(0.5), value_of(bucket_of(10)));
        assert_eq!(buckets.quantile(0.75), value_of(bucket_of(1_000)));
        assert_eq!(buckets.quantile(1.0), value_of(bucket_of(1_000_000)));
    }

    proptest! {
        #[test]
        fn any_order_of_adding_and_merging_gives_the_same_counts(
            left in proptest::collection::vec(any::<u64>().prop_map(|x| x >> (x % 64)), 0..60),
            right in proptest::collection::vec(any::<u64>().prop_map(|x| x >> (x % 64)), 0..60),
        ) {
            let count = |xs: &[u64]| {
                let mut buckets = Buckets::new();
                xs.iter().for_each(|&x| buckets.add(x));
                buckets
            };
            let all = count(&[left.clone(), right.clone()].concat());
            let (mut merged, mut back) = (count(&left), count(&right));
            merged.merge(&count(&right));
            back.merge(&count(&left));
            prop_assert_eq!(&merged, &all);
            prop_assert_eq!(&back, &all);
            merged.subtract(&count(&right));
            prop_assert_eq!(merged, count(&left));
        }

        #[test]
        fn any_duration_is_in_its_defined_bucket(x in any::<u64>(), shift in 0_u32..64) {
            prop_assert_eq!(bucket_of(x >> shift), bucket_by_definition(x >> shift));
        }
    }
}
