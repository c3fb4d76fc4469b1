//! Time of the load generator: one monotonic clock for all its threads, and a timer finer than the runtime's 1 ms.
//!
//! The one room of the command line in which the machine's clock is read: the rest takes nanoseconds as an argument,
//! so that a stall can be tested without one.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Nanoseconds since the run began; copies of one clock agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that stands at zero now.
    pub fn start() -> Self {
        Clock { origin: Instant::now() }
    }

    /// Nanoseconds since [`Clock::start`].
    pub fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Waits, with the runtime's precision of a millisecond.
    pub async fn sleep_until_ns(&self, at_ns: u64) {
        tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(self.now_ns()))).await;
    }
}

/// CPU seconds that this process has used, all threads together.
pub fn process_cpu_secs() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Milliseconds since 1970, for the report's date only.
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// A kernel timer with microsecond precision, for open-loop schedules: the runtime's own wheel turns once a
/// millisecond, which alone would put the median of a 150 us target out of reach.
#[derive(Debug)]
pub struct FineTimer {
    fd: AsyncFd<OwnedFd>,
    armed_ns: Option<u64>,
}

impl FineTimer {
    /// A timer that isn't armed; has to be made inside a runtime.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Deprecated because a type's `as_raw_fd` may lie; an `OwnedFd`'s can't, and its successor is an unsafe function.
        #[allow(deprecated)]
        let fd = AsyncFd::new(fd)?;
        Ok(FineTimer { fd, armed_ns: None })
    }

    /// Completes at `at_ns` of `clock` (at once if that has passed). Dropping the future loses nothing.
    pub fn wait_until_ns<'a>(&'a mut self, clock: &Clock, at_ns: u64) -> impl Future<Output = io::Result<()>> + 'a {
        let left_ns = at_ns.saturating_sub(clock.now_ns());
        async move {
            if left_ns == 0 {
                return Ok(());
            }
            if self.armed_ns != Some(at_ns) {
                self.arm(left_ns)?;
                self.armed_ns = Some(at_ns);
            }
            loop {
                let mut ready = self.fd.readable().await?;
                let mut expirations = [0_u8; 8];
                match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                    Ok(outcome) => {
                        outcome?;
                        self.armed_ns = None;
                        return Ok(());
                    }
                    Err(_would_block) => {}
                }
            }
        }
    }

    fn arm(&self, left_ns: u64) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let left = Timespec { tv_sec: (left_ns / 1_000_000_000) as i64, tv_nsec: (left_ns % 1_000_000_000) as i64 };
        let setting = Itimerspec { it_interval: zero, it_value: left };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &setting)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fine_timer_fires_and_can_be_armed_again() {
        let clock = Clock::start();
        let mut timer = FineTimer::new().expect("timerfd");
        for _ in 0..3 {
            let at_ns = clock.now_ns() + 200_000;
            timer.wait_until_ns(&clock, at_ns).await.expect("timer");
            assert!(clock.now_ns() >= at_ns, "never early");
        }
        // A wait that is dropped and one for an earlier time must not leave the later one hanging.
        drop(timer.wait_until_ns(&clock, clock.now_ns() + 10_000_000_000));
        let at_ns = clock.now_ns() + 100_000;
        timer.wait_until_ns(&clock, at_ns).await.expect("timer");
        assert!(clock.now_ns() >= at_ns);
    }
}
