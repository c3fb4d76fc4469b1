//! The values of a group, for percentiles: as they are as long as they are few, as a t-digest beyond.

use serde::{Deserialize, Serialize};
use tdigests::{Centroid, TDigest};

/// Values that are kept as they are, at most.
pub const EXACT_MAX: usize = 1_024;
/// Centroids of a digest.
const CENTROIDS_MAX: usize = 200;

/// The values so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Spread {
    /// Values that are in no centroid.
    values: Vec<f64>,
    /// Mean and weight of each centroid.
    centroids: Vec<(f64, f64)>,
}

impl Spread {
    /// Takes a value in; how many bytes the state grew by. Infinities count; what isn't a number doesn't.
    pub fn add(&mut self, value: f64) -> usize {
        if value.is_nan() {
            return 0;
        }
        self.values.push(value);
        if self.values.len() <= EXACT_MAX {
            return size_of::<f64>();
        }
        self.press();
        0
    }

    /// Takes in the values of another.
    pub fn merge(&mut self, other: Spread) -> usize {
        let before = self.bytes();
        self.centroids.extend(other.centroids);
        self.values.extend(other.values);
        if self.values.len() > EXACT_MAX || self.centroids.len() > CENTROIDS_MAX {
            self.press();
        }
        self.bytes().saturating_sub(before)
    }

    fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice()) + size_of_val(self.centroids.as_slice())
    }

    fn digest(&self) -> Option<TDigest> {
        let values = self.values.iter().map(|value| Centroid::new(*value, 1.0));
        let centroids = self.centroids.iter().map(|(mean, weight)| Centroid::new(*mean, *weight));
        // An infinite mean makes its neighbours' means none at all.
        let bounded =
            |centroid: Centroid| Centroid::new(centroid.mean.clamp(f64::MIN / 4.0, f64::MAX / 4.0), centroid.weight);
        let all: Vec<Centroid> = values.chain(centroids).map(bounded).collect();
        (!all.is_empty()).then(|| TDigest::from_centroids(all))
    }

    fn press(&mut self) {
        let Some(mut digest) = self.digest() else { return };
        digest.compress(CENTROIDS_MAX);
        self.centroids = digest.centroids().iter().map(|centroid| (centroid.mean, centroid.weight)).collect();
        self.values = Vec::new();
    }

    /// A percentile, 0 to 100, and whether it is exact (then interpolated between the two nearest values).
    pub fn percentile(&self, percent: f64) -> Option<(f64, bool)> {
        if !self.centroids.is_empty() {
            return self.digest().map(|digest| (digest.estimate_quantile(percent / 100.0), false));
        }
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let place = percent / 100.0 * last as f64;
        let (below, above) = (sorted[place as usize], sorted[(place as usize + 1).min(last)]);
        let fraction = place.fract();
        let between = if fraction == 0.0 || below == above { below } else { below + (above - below) * fraction };
        Some((between, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_exact_and_many_are_close() {
        let mut spread = Spread::default();
        assert_eq!(spread.percentile(50.0), None);
        for value in [4.0, 1.0, f64::NAN, 3.0, 2.0] {
            spread.add(value);
        }
        assert_eq!(spread.percentile(50.0), Some((2.5, true)));
        assert_eq!((spread.percentile(0.0), spread.percentile(100.0)), (Some((1.0, true)), Some((4.0, true))));
        let mut shares = vec![Spread::default(); 5];
        for n in 0..100_000_u32 {
            shares[n as usize % 5].add(f64::from(n.wrapping_mul(2_654_435_761) >> 12));
        }
        let merged = shares.into_iter().reduce(|mut a, b| {
            a.merge(b);
            a
        });
        let merged = merged.expect("shares");
        for percent in [1.0, 25.0, 50.0, 90.0, 99.0] {
            let (found, exact) = merged.percentile(percent).expect("values");
            let wrong = (found / f64::from(1 << 20) * 100.0 - percent).abs();
            assert!(!exact && wrong < 0.5, "{percent}: {found} is off by {wrong} percent of all values");
        }
    }
}
