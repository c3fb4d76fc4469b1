//! Pauses between attempts: doubling, bounded, with jitter. The client's one room with randomness.

use std::time::Duration;

/// The pauses of one request or one connection.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    /// Pauses from about `first` up to about `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Backoff { next: first, most }
    }

    /// The next pause: between half and the whole of the current step, so that many callers spread out.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        let micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX).max(2);
        Duration::from_micros(rand::random_range(micros / 2..=micros))
    }
}

/// A number to begin a rotation at, so that many clients don't all begin at the same place.
pub(crate) fn random_start() -> usize {
    usize::from(rand::random::<u16>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_never_pass_it() {
        let mut backoff = Backoff::new(Duration::from_millis(4), Duration::from_millis(10));
        for step_ms in [4, 8, 10, 10, 10] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(step_ms) / 2 && pause <= Duration::from_millis(step_ms),
                "{pause:?}"
            );
        }
    }
}
