//! A job's pace: when its next record may begin, and how many a second there were lately.

use std::time::Duration;

use tokio::time::Instant;

/// A job that fell behind may catch up with so much of its time at once.
const CATCH_UP: Duration = Duration::from_millis(100);
/// The rate is told as of so long ago.
const WINDOW: Duration = Duration::from_secs(1);

/// Deals out the moments at which records may begin.
#[derive(Debug)]
pub struct Pace {
    interval: Option<Duration>,
    next: Instant,
}

impl Pace {
    /// So many records a second; 0: no limit.
    pub fn new(records_per_sec: u32, now: Instant) -> Self {
        let interval = (records_per_sec > 0).then(|| Duration::from_secs(1) / records_per_sec);
        Pace { interval, next: now }
    }

    /// When the next record may begin; `None`: now.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        (self.interval.is_some() && self.next > now).then_some(self.next)
    }

    /// A record begins.
    pub fn begin(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            self.next = self.next.max(earliest) + interval;
        }
    }
}

/// Records a second over the last window.
#[derive(Debug)]
pub struct Rate {
    since: Instant,
    count: u64,
    rate: f64,
}

impl Rate {
    /// Nothing so far.
    pub fn new(now: Instant) -> Self {
        Rate { since: now, count: 0, rate: 0.0 }
    }

    /// Another record.
    pub fn count(&mut self, now: Instant) {
        self.count += 1;
        self.roll(now);
    }

    /// Records a second, as of now: before the first window is over, those since the beginning.
    pub fn per_sec(&mut self, now: Instant) -> f64 {
        self.roll(now);
        if self.rate > 0.0 { self.rate } else { self.over(now) }
    }

    fn over(&self, now: Instant) -> f64 {
        let secs = now.duration_since(self.since).as_secs_f64();
        if secs > 0.0 { self.count as f64 / secs } else { 0.0 }
    }

    fn roll(&mut self, now: Instant) {
        if now.duration_since(self.since) >= WINDOW {
            self.rate = self.over(now);
            (self.since, self.count) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn records_begin_no_faster_than_they_may() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000, start);
        let mut now = start;
        for _ in 0..5_000 {
            now = pace.due(now).unwrap_or(now);
            pace.begin(now);
        }
        assert_eq!(now.duration_since(start), Duration::from_millis(4_999));
        // A pause of a minute isn't caught up with in one go.
        now += Duration::from_secs(60);
        let mut at_once = 0;
        while pace.due(now).is_none() {
            pace.begin(now);
            at_once += 1;
        }
        assert!((100..=102).contains(&at_once), "{at_once}");
        let mut free = Pace::new(0, start);
        free.begin(start);
        assert_eq!(free.due(start), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_second() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        for _ in 0..2_000 {
            now += Duration::from_millis(2);
            rate.count(now);
        }
        assert!((499.0..=501.0).contains(&rate.per_sec(now)), "{rate:?}");
        now += Duration::from_secs(10);
        assert!(rate.per_sec(now) < 1.0, "nothing happens any more");
    }
}
