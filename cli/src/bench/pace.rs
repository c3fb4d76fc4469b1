//! When requests are sent: closed loop (a reply lets the next one go) or open loop (a schedule that no stall delays).

use rand::rngs::Xoshiro256PlusPlus as Prng;
use rand_distr::{Distribution as _, Exp1};

/// Spacing of an open loop's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Evenly spaced.
    Fixed,
    /// Independent of one another, as many users are: exponential gaps.
    Poisson,
}

/// How a connection's requests are paced.
#[derive(Debug)]
pub enum Pacer {
    /// As many under way as allowed, always.
    Closed,
    /// By a schedule.
    Open(Schedule),
}

/// Intended start times of one connection. It is arithmetic only: a stall of any length takes no memory, and no
/// request is ever left out because an earlier one was slow, which is what coordinated omission means.
#[derive(Debug)]
pub struct Schedule {
    start_ns: f64,
    interval_ns: f64,
    /// Requests handed out so far.
    issued: u64,
    next_ns: f64,
    arrivals: Arrivals,
    rng: Prng,
}

impl Schedule {
    /// `rate_per_sec` requests from `start_ns` on; `phase` (0 to 1) of an interval shifts connections against one
    /// another, so that all together are as even as one would be.
    pub fn new(start_ns: u64, rate_per_sec: f64, phase: f64, arrivals: Arrivals, rng: Prng) -> Self {
        let interval_ns = 1e9 / rate_per_sec;
        let start_ns = start_ns as f64 + phase * interval_ns;
        Schedule { start_ns, interval_ns, issued: 0, next_ns: start_ns, arrivals, rng }
    }

    /// When the next request is due.
    pub fn next_ns(&self) -> u64 {
        self.next_ns as u64
    }

    fn advance(&mut self) {
        self.issued += 1;
        self.next_ns = match self.arrivals {
            // Multiplied, not summed: a sum of rounded intervals drifts.
            Arrivals::Fixed => self.start_ns + self.issued as f64 * self.interval_ns,
            Arrivals::Poisson => {
                let gap: f64 = Exp1.sample(&mut self.rng);
                self.next_ns + gap * self.interval_ns
            }
        };
    }
}

impl Pacer {
    /// The intended start of a request that may go now, if one is due; takes it from the schedule.
    pub fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        match self {
            Pacer::Closed => Some(now_ns),
            Pacer::Open(schedule) => {
                let intended_ns = schedule.next_ns();
                (intended_ns <= now_ns).then(|| {
                    schedule.advance();
                    intended_ns
                })
            }
        }
    }

    /// When the next one is due; `None` for a closed loop, where it always is.
    pub fn next_ns(&self) -> Option<u64> {
        match self {
            Pacer::Closed => None,
            Pacer::Open(schedule) => Some(schedule.next_ns()),
        }
    }

    /// Requests that were due before `until_ns` and haven't been taken.
    pub fn backlog(&mut self, until_ns: u64) -> u64 {
        let mut count = 0;
        if let Pacer::Open(schedule) = self {
            while schedule.next_ns() < until_ns {
                schedule.advance();
                count += 1;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn open(rate_per_sec: f64, arrivals: Arrivals) -> Pacer {
        Pacer::Open(Schedule::new(1_000, rate_per_sec, 0.0, arrivals, Prng::seed_from_u64(3)))
    }

    #[test]
    fn a_fixed_schedule_doesnt_drift() {
        let mut pacer = open(3.0, Arrivals::Fixed);
        let mut last = 0;
        for _ in 0..=3_000_000 {
            last = pacer.take_due(u64::MAX).expect("due");
        }
        assert_eq!(last, 1_000 + 1_000_000 * 1_000_000_000, "3,000,000 intervals of 1/3 s");
    }

    #[test]
    fn nothing_is_due_early_and_nothing_is_dropped_late() {
        let mut pacer = open(1_000.0, Arrivals::Fixed);
        assert_eq!(pacer.take_due(999), None);
        assert_eq!(pacer.take_due(1_000), Some(1_000));
        assert_eq!(pacer.take_due(1_000), None);
        // 100 ms late: all hundred are due, each at the time that it was meant for.
        let late = 1_000 + 100_000_000;
        let due: Vec<u64> = std::iter::from_fn(|| pacer.take_due(late)).collect();
        assert_eq!(due.len(), 100);
        assert_eq!((due[0], due[99]), (1_000 + 1_000_000, late));
        assert_eq!(pacer.backlog(late + 5_000_000), 4);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_poisson() {
        let mut pacer = open(1_000.0, Arrivals::Poisson);
        let mut counts = vec![0_f64; 2_000];
        while let Some(at) = pacer.take_due(2_000 * 10_000_000) {
            if let Some(count) = counts.get_mut((at / 10_000_000) as usize) {
                *count += 1.0;
            }
        }
        let mean = counts.iter().sum::<f64>() / 2_000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 2_000.0;
        assert!((mean - 10.0).abs() < 0.4, "10 in each 10 ms: {mean}");
        assert!((variance - 10.0).abs() < 1.5, "the variance of a Poisson process is its mean: {variance}");
    }
}
