//! Busy polling: looking for the next frame for some microseconds before the worker's thread goes to sleep.
//!
//! On a virtual machine a sleeping thread takes some 35 us to run again, which is more than many requests take in all. A
//! lane whose frames have been coming close together is likely to get its next one within less: its worker looks for it,
//! and lets everything else of the worker run between two looks. A lane whose frames come far apart sleeps at once, so an
//! idle node costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A gap counts for this much at most, so that one long pause is soon forgotten.
const GAP_MAX: Duration = Duration::from_millis(1);

/// An eighth of each new gap goes into the average.
const WEIGHT: u32 = 8;

/// Looks of one wait, at most: where time stands still, as in a simulation, looking has to end all the same.
const LOOKS_MAX: usize = 2_000;

/// One worker's place to look from: one lane at a time has it, or lanes would look in turns and delay one another.
#[derive(Debug, Clone, Default)]
pub struct PollPlace(Arc<AtomicBool>);

impl PollPlace {
    fn take(&self) -> Option<Looking<'_>> {
        // One thread asks, so nothing is ordered by this.
        (!self.0.swap(true, Ordering::Relaxed)).then_some(Looking(&self.0))
    }
}

struct Looking<'a>(&'a AtomicBool);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// One lane's habits.
#[derive(Debug)]
pub struct BusyPoll {
    place: PollPlace,
    /// How long to look; zero: never.
    time: Duration,
    /// Average time from when the lane had nothing left to do until its next frame came.
    gap: Duration,
}

impl BusyPoll {
    /// For a lane of the worker that `place` belongs to.
    pub fn new(place: PollPlace, time: Duration) -> Self {
        BusyPoll { place, time, gap: GAP_MAX }
    }

    /// Whether a look is likely to be worth it.
    pub fn is_worth_it(&self) -> bool {
        !self.time.is_zero() && self.gap <= self.time
    }

    /// Notes how long the lane had nothing to do.
    pub fn note(&mut self, gap: Duration) {
        self.gap = (self.gap * (WEIGHT - 1) + gap.min(GAP_MAX)) / WEIGHT;
    }

    /// Looks until `look` finds something or the time is up; `None`: nothing came, or another lane is looking.
    pub async fn look<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let _looking = self.place.take()?;
        let until = Instant::now() + self.time;
        for _ in 0..LOOKS_MAX {
            if let Some(found) = look() {
                return Some(found);
            }
            if Instant::now() >= until {
                return None;
            }
            // Everything else that is ready runs, and the runtime asks the kernel for news.
            tokio::task::yield_now().await;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_50_us() -> BusyPoll {
        BusyPoll::new(PollPlace::default(), Duration::from_micros(50))
    }

    #[test]
    fn a_lane_is_looked_at_once_its_frames_have_come_close_together() {
        let mut poll = of_50_us();
        assert!(!poll.is_worth_it(), "nothing is known of a new lane");
        (0..100).for_each(|_| poll.note(Duration::from_micros(20)));
        assert!(poll.is_worth_it());
        poll.note(Duration::from_secs(3_600));
        assert!(!poll.is_worth_it(), "a pause says that the bunch is over");
        (0..30).for_each(|_| poll.note(Duration::from_micros(20)));
        assert!(poll.is_worth_it(), "and is forgotten after some frames");
    }

    #[test]
    fn no_time_to_look_is_never_worth_it() {
        let mut poll = BusyPoll::new(PollPlace::default(), Duration::ZERO);
        (0..100).for_each(|_| poll.note(Duration::ZERO));
        assert!(!poll.is_worth_it());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_finds_what_comes_and_lets_others_run() {
        let poll = of_50_us();
        let came = Arc::new(AtomicBool::new(false));
        let sender = came.clone();
        tokio::spawn(async move { sender.store(true, Ordering::Relaxed) });
        assert_eq!(poll.look(|| came.load(Ordering::Relaxed).then_some(7)).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_ends_where_time_stands_still() {
        assert_eq!(of_50_us().look(|| None::<()>).await, None);
    }

    #[tokio::test]
    async fn one_lane_of_a_worker_looks_at_a_time_and_stops_when_its_time_is_up() {
        let place = PollPlace::default();
        let (first, second) = (place.clone(), place.clone());
        let first = BusyPoll::new(first, Duration::from_micros(200));
        let second = BusyPoll::new(second, Duration::from_micros(200));
        let mut asked = 0;
        let looked = first.look(|| {
            asked += 1;
            None::<()>
        });
        let (looked, refused) = tokio::join!(looked, second.look(|| Some(1)));
        assert_eq!((looked, refused), (None, None), "the first has the place until its time is up");
        assert!(asked > 0);
        assert_eq!(second.look(|| Some(1)).await, Some(1), "then it is free again");
    }
}
