//! Which record an operation goes to: uniform, zipfian (scrambled) or latest.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus as Prng;

/// Skew of YCSB's zipfian.
pub const ZIPFIAN_THETA: f64 = 0.99;

/// How keys are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Every record alike.
    Uniform,
    /// A few records get most of it (theta 0.99), scattered over the key space.
    Zipfian,
    /// The most recently inserted get most of it.
    Latest,
}

/// Exact zipfian ranks 0 to n-1 by rejection-inversion (Hörmann and Derflinger 1996): one logarithm and one
/// exponential for most samples, whatever n is, and no table that would take the node's place in the cache.
#[derive(Debug, Clone)]
pub struct Zipfian {
    n: f64,
    theta: f64,
    /// The integral at 3/2, less one.
    upper: f64,
    /// The integral at n + 1/2.
    lower: f64,
    accept_within: f64,
}

impl Zipfian {
    /// Ranks 0 to `n - 1` with weight `1 / (rank + 1)^theta`; `n` of 0 counts as 1.
    pub fn new(n: u64, theta: f64) -> Self {
        let mut zipfian = Zipfian { n: n.max(1) as f64, theta, upper: 0.0, lower: 0.0, accept_within: 0.0 };
        zipfian.upper = zipfian.integral(1.5) - 1.0;
        zipfian.lower = zipfian.integral(zipfian.n + 0.5);
        zipfian.accept_within = 2.0 - zipfian.inverse(zipfian.integral(2.5) - zipfian.weight(2.0));
        zipfian
    }

    /// One rank; 0 is the most frequent.
    pub fn sample(&self, rng: &mut Prng) -> u64 {
        loop {
            let u = self.lower + rng.random::<f64>() * (self.upper - self.lower);
            let x = self.inverse(u);
            let rank = x.round().clamp(1.0, self.n);
            if rank - x <= self.accept_within || u >= self.integral(rank + 0.5) - self.weight(rank) {
                return rank as u64 - 1;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// `(x^(1-theta) - 1) / (1-theta)`, and its limit `ln x` at theta 1.
    fn integral(&self, x: f64) -> f64 {
        let (ln, rest) = (x.ln(), 1.0 - self.theta);
        if rest.abs() < 1e-12 { ln } else { (rest * ln).exp_m1() / rest }
    }

    fn inverse(&self, y: f64) -> f64 {
        let rest = 1.0 - self.theta;
        if rest.abs() < 1e-12 { y.exp() } else { ((rest * y).max(-1.0).ln_1p() / rest).exp() }
    }
}

/// A bijection of 0..n that scatters neighbours: the hottest records must not be the first loaded ones, which lie side
/// by side on the device.
#[derive(Debug, Clone, Copy)]
pub struct Scramble {
    n: u64,
    factor: u64,
}

impl Scramble {
    /// A bijection of `0..n`.
    pub fn new(n: u64) -> Self {
        let n = n.max(1);
        // Near the golden section, so that multiples spread evenly; coprime to n, so that none collide.
        let mut factor = ((n as f64 * 0.618_033_988_749_895) as u64).max(1);
        while gcd(factor, n) != 1 {
            factor += 1;
        }
        Scramble { n, factor }
    }

    /// Where `rank` goes.
    pub fn apply(&self, rank: u64) -> u64 {
        match rank.checked_mul(self.factor) {
            Some(product) => product % self.n,
            None => (u128::from(rank) * u128::from(self.factor) % u128::from(self.n)) as u64,
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Inserts of one connection: every connection has numbers of its own (one in `stride`), so none has to be agreed on,
/// and only acknowledged ones are read.
#[derive(Debug, Clone)]
pub struct Inserts {
    first: u64,
    stride: u64,
    next: u64,
    /// All sequence numbers below are acknowledged.
    acked: u64,
    /// Acknowledged ones above `acked`, lowest bit first.
    window: std::collections::VecDeque<bool>,
    /// Failed ones, to be tried again before a new one is taken: no hole may stay.
    failed: Vec<u64>,
}

impl Inserts {
    /// Of connection `place` among `stride`, above `records` loaded ones.
    pub fn new(records: u64, place: u64, stride: u64) -> Self {
        let window = std::collections::VecDeque::new();
        Inserts { first: records + place, stride: stride.max(1), next: 0, acked: 0, window, failed: Vec::new() }
    }

    /// A record number to insert.
    pub fn begin(&mut self) -> u64 {
        let sequence = self.failed.pop().unwrap_or_else(|| {
            self.window.push_back(false);
            self.next += 1;
            self.next - 1
        });
        self.first + sequence * self.stride
    }

    /// What became of a number from [`Inserts::begin`].
    pub fn end(&mut self, number: u64, done: bool) {
        let sequence = number.saturating_sub(self.first) / self.stride;
        if !done {
            self.failed.push(sequence);
            return;
        }
        if let Some(place) = sequence.checked_sub(self.acked)
            && let Some(flag) = self.window.get_mut(place as usize)
        {
            *flag = true;
        }
        while self.window.front() == Some(&true) {
            self.window.pop_front();
            self.acked += 1;
        }
    }

    /// The record that was inserted `rank` before the latest acknowledged one; loaded ones come after the inserted.
    pub fn latest(&self, rank: u64, records: u64) -> u64 {
        match self.acked.checked_sub(rank + 1) {
            Some(sequence) => self.first + sequence * self.stride,
            None => records.saturating_sub(1).saturating_sub(rank - self.acked),
        }
    }
}

/// Chooses records by a [`Distribution`].
#[derive(Debug, Clone)]
pub enum Chooser {
    /// See [`Distribution::Uniform`].
    Uniform {
        /// Loaded records.
        records: u64,
    },
    /// See [`Distribution::Zipfian`].
    Zipfian {
        /// Ranks.
        ranks: Zipfian,
        /// Where ranks go.
        scramble: Scramble,
    },
    /// See [`Distribution::Latest`].
    Latest {
        /// Ranks.
        ranks: Zipfian,
        /// Loaded records.
        records: u64,
    },
}

impl Chooser {
    /// Among `records` loaded ones.
    pub fn new(distribution: Distribution, records: u64, theta: f64) -> Self {
        let records = records.max(1);
        let ranks = Zipfian::new(records, theta);
        match distribution {
            Distribution::Uniform => Chooser::Uniform { records },
            Distribution::Zipfian => Chooser::Zipfian { ranks, scramble: Scramble::new(records) },
            Distribution::Latest => Chooser::Latest { ranks, records },
        }
    }

    /// The next record's number.
    pub fn choose(&self, rng: &mut Prng, inserts: &Inserts) -> u64 {
        match self {
            Chooser::Uniform { records } => rng.random_range(0..*records),
            Chooser::Zipfian { ranks, scramble } => scramble.apply(ranks.sample(rng)),
            Chooser::Latest { ranks, records } => inserts.latest(ranks.sample(rng), *records),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn zipfian_frequencies_pass_a_chi_square_test_against_the_exact_ones() {
        const SAMPLES: usize = 200_000;
        for (n, theta) in [(10_u64, 0.99), (50, 0.99), (20, 0.5), (20, 1.0), (20, 1.3)] {
            let mut rng = Prng::seed_from_u64(7);
            let zipfian = Zipfian::new(n, theta);
            let mut seen = vec![0_f64; n as usize];
            for _ in 0..SAMPLES {
                seen[zipfian.sample(&mut rng) as usize] += 1.0;
            }
            let weights: Vec<f64> = (1..=n).map(|rank| (rank as f64).powf(-theta)).collect();
            let sum: f64 = weights.iter().sum();
            let chi_square: f64 = seen
                .iter()
                .zip(&weights)
                .map(|(seen, weight)| (weight / sum * SAMPLES as f64, seen))
                .map(|(expected, seen)| (seen - expected).powi(2) / expected)
                .sum();
            // n - 1 degrees of freedom; mean + 5 standard deviations is far beyond the 99.9th percentile.
            let degrees = (n - 1) as f64;
            assert!(chi_square < degrees + 5.0 * (2.0 * degrees).sqrt(), "n {n} theta {theta}: {chi_square}");
        }
    }

    #[test]
    fn a_wrong_theta_fails_the_same_test() {
        let mut rng = Prng::seed_from_u64(7);
        let zipfian = Zipfian::new(10, 0.9);
        let first = (0..200_000).filter(|_| zipfian.sample(&mut rng) == 0).count() as f64;
        let sum: f64 = (1..=10).map(|rank| f64::from(rank).powf(-0.99)).sum();
        assert!((first - 200_000.0 / sum).abs() > 2_000.0, "the test above can tell 0.9 from 0.99");
    }

    #[test]
    fn scrambling_is_a_bijection() {
        for n in [1_u64, 2, 7, 10, 1_000, 4_096, 65_537] {
            let scramble = Scramble::new(n);
            let mut seen = vec![false; n as usize];
            (0..n).for_each(|rank| seen[scramble.apply(rank) as usize] = true);
            assert!(seen.iter().all(|seen| *seen), "{n}");
        }
        assert!(Scramble::new(u64::MAX).apply(u64::MAX - 1) < u64::MAX);
    }

    #[test]
    fn latest_reads_only_what_was_acknowledged_and_retries_what_failed() {
        let mut inserts = Inserts::new(100, 1, 4);
        assert_eq!(inserts.latest(0, 100), 99);
        let (a, b, c) = (inserts.begin(), inserts.begin(), inserts.begin());
        assert_eq!((a, b, c), (101, 105, 109));
        inserts.end(b, true);
        assert_eq!(inserts.latest(0, 100), 99, "a is still under way");
        inserts.end(a, true);
        assert_eq!((inserts.latest(0, 100), inserts.latest(1, 100), inserts.latest(2, 100)), (105, 101, 99));
        inserts.end(c, false);
        assert_eq!(inserts.latest(0, 100), 105);
        assert_eq!(inserts.begin(), c, "the hole is filled first");
        inserts.end(c, true);
        assert_eq!(inserts.latest(0, 100), 109);
    }

    #[test]
    fn every_choice_is_a_loaded_record() {
        let mut rng = Prng::seed_from_u64(1);
        let inserts = Inserts::new(3, 0, 1);
        for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
            let chooser = Chooser::new(distribution, 3, ZIPFIAN_THETA);
            let mut seen = [0; 3];
            (0..1_000).for_each(|_| seen[chooser.choose(&mut rng, &inserts) as usize] += 1);
            assert!(seen.iter().all(|count| *count > 0), "{distribution:?}: {seen:?}");
        }
    }
}
