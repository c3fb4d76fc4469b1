//! A heartbeat: a thread that calls a function at a fixed pace while somebody needs it, and sleeps otherwise.
//!
//! A worker that runs a guest can't look at a clock meanwhile; the beat does, from outside.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// Beats without anybody to beat for, after which the thread goes to sleep: calls that follow closely don't wake it.
const IDLE_BEATS: u32 = 200;

#[derive(Debug, Default)]
struct Shared {
    users: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Pulse {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Somebody who needs the beat, until it is dropped.
#[derive(Debug)]
pub struct PulseUser {
    shared: Arc<Shared>,
}

impl Drop for PulseUser {
    fn drop(&mut self) {
        self.shared.users.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pulse {
    /// Starts the thread, asleep. `beat` is called every `period` while there are users, and a little longer.
    pub fn start(name: &str, period: Duration, beat: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&own, period, beat))?;
        Ok(Pulse { shared, thread: Some(thread) })
    }

    /// Keeps the beat going until the user is dropped.
    pub fn join(&self) -> PulseUser {
        self.shared.users.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.unpark();
        }
        PulseUser { shared: self.shared.clone() }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.as_ref().map(JoinHandle::thread) {
            Thread::unpark(thread);
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.unpark();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("a heartbeat's thread panicked");
        }
    }
}

fn run(shared: &Shared, period: Duration, beat: impl Fn()) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        idle = if shared.users.load(Ordering::SeqCst) > 0 { 0 } else { idle + 1 };
        if idle < IDLE_BEATS {
            std::thread::sleep(period);
            beat();
            continue;
        }
        // Who joins either sees `asleep`, or is seen here: both orders are sequentially consistent.
        shared.asleep.store(true, Ordering::SeqCst);
        if shared.users.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn wait_until(mut done: impl FnMut() -> bool) {
        while !done() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_beats_for_its_users_sleeps_without_them_and_wakes_again() {
        let beats = Arc::new(AtomicU64::new(0));
        let counted = beats.clone();
        let beat = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let pulse = Pulse::start("pulse-test", Duration::from_micros(50), beat).expect("a thread can be made");
        for _ in 0..3 {
            let before = beats.load(Ordering::SeqCst);
            let user = pulse.join();
            wait_until(|| beats.load(Ordering::SeqCst) > before + 2 * u64::from(IDLE_BEATS));
            assert!(!pulse.shared.asleep.load(Ordering::SeqCst), "it doesn't sleep while it has a user");
            drop(user);
            wait_until(|| pulse.shared.asleep.load(Ordering::SeqCst));
        }
    }
}
