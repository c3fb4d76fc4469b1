//! Deadlines: one task a connection looks through the requests under way, rather than a timer for each of them.
//!
//! It sleeps while nothing is under way. It also ends connections that only look alive: a peer that hasn't sent a packet
//! for seconds while requests wait, or lanes full of requests that were never answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::SWEEP_PERIOD;
use super::lane::Lane;

/// A live peer acknowledges within milliseconds; one that is silent for this long while requests wait is gone.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Wakes the sweeper when the first request after a quiet time goes out.
#[derive(Debug, Default)]
pub(crate) struct SweepAlarm {
    asleep: AtomicBool,
    alarm: Notify,
}

impl SweepAlarm {
    /// Said after each submit; one load unless the sweeper sleeps.
    pub(crate) fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.alarm.notify_one();
        }
    }
}

/// Runs until the connection closes; gives a reason if it only looks alive and should be closed.
pub(crate) async fn run(
    connection: quinn::Connection,
    lanes: Vec<Arc<Lane>>,
    alarm: Arc<SweepAlarm>,
) -> Option<&'static str> {
    let mut wakers: Vec<Waker> = Vec::new();
    let mut heard = Heard::new(&connection);
    let mut answered = (0, Instant::now());
    while connection.close_reason().is_none() {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_PERIOD) => {}
            _ = connection.closed() => return None,
        }
        let now = Instant::now();
        let swept: Vec<_> = lanes.iter().map(|lane| lane.sweep(now, &mut wakers)).collect();
        wakers.drain(..).for_each(Waker::wake);
        if swept.iter().any(|lane| lane.expired > 0) && heard.silent(&connection, now) {
            return Some("the node went silent");
        }
        let total: u64 = swept.iter().map(|lane| lane.answered).sum();
        if total != answered.0 || !swept.iter().any(|lane| lane.clogged) {
            answered = (total, now);
        } else if now - answered.1 > SILENCE_MAX {
            return Some("the node answers nothing");
        }
        if swept.iter().all(|lane| lane.under_way == 0) {
            sleep_until_roused(&connection, &lanes, &alarm).await;
            heard = Heard::new(&connection);
            answered.1 = Instant::now();
        } else {
            heard.listen(&connection, now);
        }
    }
    None
}

async fn sleep_until_roused(connection: &quinn::Connection, lanes: &[Arc<Lane>], alarm: &SweepAlarm) {
    alarm.asleep.store(true, Ordering::SeqCst);
    // A request that came between the look and the flag wouldn't have roused anyone.
    if lanes.iter().all(|lane| lane.under_way() == 0) {
        tokio::select! {
            () = alarm.alarm.notified() => {}
            _ = connection.closed() => {}
        }
    }
    alarm.asleep.store(false, Ordering::SeqCst);
}

/// When the peer was last heard of.
struct Heard {
    datagrams: u64,
    at: Instant,
    listened_at: Instant,
}

impl Heard {
    fn new(connection: &quinn::Connection) -> Self {
        let now = Instant::now();
        Heard { datagrams: connection.stats().udp_rx.datagrams, at: now, listened_at: now }
    }

    /// Looks at the packet counter, seldom: it takes the connection's lock.
    fn listen(&mut self, connection: &quinn::Connection, now: Instant) {
        if now - self.listened_at >= SILENCE_MAX / 8 {
            self.look(connection, now);
        }
    }

    fn look(&mut self, connection: &quinn::Connection, now: Instant) {
        self.listened_at = now;
        let datagrams = connection.stats().udp_rx.datagrams;
        if datagrams != self.datagrams {
            *self = Heard { datagrams, at: now, listened_at: now };
        }
    }

    fn silent(&mut self, connection: &quinn::Connection, now: Instant) -> bool {
        self.look(connection, now);
        now - self.at > SILENCE_MAX
    }
}
