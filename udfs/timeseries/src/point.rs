//! Points, and what many of them come to.

use serde::{Deserialize, Serialize};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Milliseconds since 1970, UTC.
    pub at_ms: i64,
    /// What was measured.
    pub value: f64,
}

/// What a run of points comes to: enough for every window function but percentiles and rates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Points.
    pub count: u64,
    /// The earliest.
    pub first: Point,
    /// The latest.
    pub last: Point,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Sum of the values.
    pub sum: f64,
    /// Sum of the squared distances from the mean (Welford), from which the deviation comes without cancellation.
    pub squares: f64,
}

impl Summary {
    /// Of one point.
    pub fn one(point: Point) -> Self {
        let Point { value, .. } = point;
        Summary { count: 1, first: point, last: point, min: value, max: value, sum: value, squares: 0.0 }
    }

    /// Of points in time order; none for none.
    pub fn of(points: &[Point]) -> Option<Self> {
        let (first, rest) = points.split_first()?;
        let mut summary = Summary::one(*first);
        rest.iter().for_each(|point| summary.add(*point));
        Some(summary)
    }

    /// Takes in a point that is later than all before.
    pub fn add(&mut self, point: Point) {
        let before = self.mean();
        self.count += 1;
        self.sum += point.value;
        self.squares += (point.value - before) * (point.value - self.mean());
        self.min = self.min.min(point.value);
        self.max = self.max.max(point.value);
        self.last = point;
    }

    /// Takes in another run of points, earlier or later (Chan et al.).
    pub fn merge(&mut self, other: &Summary) {
        let distance = other.mean() - self.mean();
        let (a, b) = (self.count as f64, other.count as f64);
        self.squares += other.squares + distance * distance * a * b / (a + b);
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first.at_ms < self.first.at_ms {
            self.first = other.first;
        }
        if other.last.at_ms > self.last.at_ms {
            self.last = other.last;
        }
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Standard deviation of the points themselves (divided by their number).
    pub fn deviation(&self) -> f64 {
        (self.squares / self.count as f64).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_merge_to_the_whole() {
        let points: Vec<Point> =
            (0..1_000).map(|n| Point { at_ms: n, value: 1e9 + f64::from((n * 7_919 % 1_000) as i32) }).collect();
        let whole = Summary::of(&points).expect("points");
        let mean = points.iter().map(|point| point.value).sum::<f64>() / 1_000.0;
        let exact = (points.iter().map(|point| (point.value - mean).powi(2)).sum::<f64>() / 1_000.0).sqrt();
        assert!((whole.deviation() - exact).abs() < 1e-6, "{} and {exact}", whole.deviation());
        for cut in [1, 333, 999] {
            let (early, late) = points.split_at(cut);
            let (mut a, mut b) = (Summary::of(early).expect("points"), Summary::of(late).expect("points"));
            b.merge(&a.clone());
            a.merge(&Summary::of(late).expect("points"));
            for half in [a, b] {
                assert_eq!((half.count, half.first, half.last), (whole.count, whole.first, whole.last));
                assert_eq!((half.min, half.max), (whole.min, whole.max));
                assert!((half.deviation() - exact).abs() < 1e-6 && (half.mean() - mean).abs() < 1e-6);
            }
        }
        assert_eq!(Summary::of(&[]), None);
    }
}
