//! A latency histogram of relaxed counters: exact below 8 us, then eight steps to each power of two, up to 67 s.

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps to each power of two.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// The highest power of two that is told apart.
const TOP_BIT: u32 = 25;
/// Buckets, the last one for everything slower.
const BUCKETS: usize = (STEPS as usize) * (TOP_BIT - STEP_BITS + 2) as usize + 1;

/// Latencies of one verb in one worker.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// The bucket of a latency.
fn bucket_of(latency_us: u64) -> usize {
    if latency_us < STEPS {
        return latency_us as usize;
    }
    let top = 63 - latency_us.leading_zeros();
    let place = u64::from(top - STEP_BITS + 1) * STEPS + ((latency_us >> (top - STEP_BITS)) & (STEPS - 1));
    (place as usize).min(BUCKETS - 1)
}

/// Microseconds below which a bucket's latencies lie; `None` for the last.
fn upper_bound_us(bucket: usize) -> Option<u64> {
    let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    match (bucket, octave) {
        (last, _) if last == BUCKETS - 1 => None,
        (_, 0) => Some(step + 1),
        _ => Some((STEPS + step + 1) << (octave - 1)),
    }
}

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }

    /// Counts one; `add` says how a counter is raised.
    pub(super) fn record(&self, latency_us: u64, add: impl Fn(&AtomicU64, u64)) {
        add(&self.buckets[bucket_of(latency_us)], 1);
        add(&self.sum_us, latency_us);
    }
}

/// Several histograms added up.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl Snapshot {
    pub(super) fn empty() -> Self {
        Snapshot { buckets: [0; BUCKETS], sum_us: 0 }
    }

    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.sum_us = self.sum_us.wrapping_add(histogram.sum_us.load(Ordering::Relaxed));
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Microseconds that this share of latencies doesn't exceed, to an eighth; 0 without any.
    pub(super) fn quantile_us(&self, share: f64) -> u64 {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound_us(place).unwrap_or(1 << (TOP_BIT + 1));
            }
        }
        0
    }

    /// Buckets as Prometheus gets them: two to each power of two, upper bounds in seconds, not yet cumulative.
    pub(super) fn coarse(&self) -> Vec<(f64, u64)> {
        let mut coarse = Vec::with_capacity(BUCKETS / 4 + 8);
        let mut count = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            count += bucket;
            match upper_bound_us(place) {
                // Below a whole power or its half: 1, 2, 3, 4, 6, 8, 12, 16 …
                Some(bound)
                    if bound < 4
                        || bound & (bound - 1) == 0
                        || (bound / 3) * 3 == bound && (bound / 3).is_power_of_two() =>
                {
                    coarse.push((bound as f64 / 1e6, count));
                    count = 0;
                }
                Some(_) => {}
                None => coarse.push((f64::INFINITY, count)),
            }
        }
        coarse
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(latencies: &[u64]) -> Snapshot {
        let histogram = Histogram::new();
        for latency in latencies {
            histogram.record(*latency, |cell, by| _ = cell.fetch_add(by, Ordering::Relaxed));
        }
        let mut snapshot = Snapshot::empty();
        snapshot.add(&histogram);
        snapshot
    }

    #[test]
    fn bounds_rise_and_meet() {
        let mut below = 0;
        for bucket in 0..BUCKETS - 1 {
            let bound = upper_bound_us(bucket).expect("only the last has none");
            assert!(bound > below);
            assert_eq!(bucket_of(below), bucket, "the first of bucket {bucket}");
            assert_eq!(bucket_of(bound - 1), bucket, "the last of bucket {bucket}");
            below = bound;
        }
        assert_eq!(below, 1 << (TOP_BIT + 1));
        assert_eq!(bucket_of(below), BUCKETS - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let snapshot = filled(&(1..=10_000).collect::<Vec<u64>>());
        for (share, exact) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let told = snapshot.quantile_us(share) as f64;
            assert!((exact..=exact * 1.13).contains(&told), "{share}: {told}");
        }
        assert_eq!(filled(&[]).quantile_us(0.5), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(latencies in proptest::collection::vec(0_u64..1 << 40, 0..200)) {
            let snapshot = filled(&latencies);
            prop_assert_eq!(snapshot.count(), latencies.len() as u64);
            prop_assert_eq!(snapshot.sum_us(), latencies.iter().sum::<u64>());
            let coarse = snapshot.coarse();
            let mut below = 0.0;
            for (bound, count) in &coarse {
                let inside = latencies.iter().filter(|us| (below..*bound).contains(&(**us as f64 / 1e6))).count();
                prop_assert_eq!(*count, inside as u64);
                below = *bound;
            }
            prop_assert_eq!(below, f64::INFINITY);
        }
    }
}
