//! A ring with its inbox and its driver: tasks put operations in, the driver submits and reaps on the ring's own thread.
//!
//! One `io_uring_enter` serves a turn of the event loop: the first operation that a turn asks for wakes the driver,
//! which the scheduler then runs behind the tasks that are ready already; what they ask for goes with it. The driver
//! parks on a registered eventfd. The eventfd is never read: tokio watches edges, and each signal is a new one.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::EventfdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::device::uring::core::{Core, SetUp};
use crate::device::uring::operation::{Finished, Operation};

/// Operations that wait for a place in the ring, at most; beyond it they are refused.
pub(super) const WAITING_MAX: usize = 8_192;

/// How long a ring that ends waits for the kernel without any completion, in rounds of one second.
const DRAIN_ROUNDS_MAX: u32 = 10;

const GONE: &str = "the I/O driver is gone";

pub(super) struct Ring {
    inbox: Mutex<Inbox>,
    /// Locked by the driver and by whoever ends the ring: two parties on one thread, so never contended.
    core: Mutex<Core>,
    thread: ThreadId,
}

struct Inbox {
    waiting: VecDeque<Operation>,
    driver: Option<Waker>,
    /// The driver was woken and hasn't looked yet.
    woken: bool,
    closed: Option<&'static str>,
}

/// Why an operation was not taken.
pub(super) enum Refused {
    /// Here it is back: another ring may take it.
    Closed(Operation),
    Full,
}

impl Ring {
    /// A ring of this thread and its driver, which must be polled on this thread, within the current runtime.
    pub(super) fn new(depth: u32) -> io::Result<(Arc<Ring>, Driver)> {
        Self::with_set_ups(&SetUp::ALL, depth)
    }

    /// The same, with the first of these set-ups that the kernel takes.
    pub(super) fn with_set_ups(set_ups: &[SetUp], depth: u32) -> io::Result<(Arc<Ring>, Driver)> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let core = Core::new(set_ups, depth, bell.as_fd().as_raw_fd())?;
        tracing::debug!(depth, set_up = ?core.set_up, "a ring for this thread");
        // SAFETY: an eventfd that the `AsyncFd` owns from here on stays open, under the same number, until it is dropped.
        let bell = unsafe { AsyncFd::register_with_interest(bell, Interest::READABLE) }?;
        let inbox = Inbox { waiting: VecDeque::new(), driver: None, woken: false, closed: None };
        let ring = Arc::new(Ring { inbox: Mutex::new(inbox), core: Mutex::new(core), thread: thread::current().id() });
        let driver = Driver { ring: ring.clone(), bell, finished: Vec::new() };
        Ok((ring, driver))
    }

    /// Takes an operation, from any thread.
    pub(super) fn push(&self, operation: Operation) -> Result<(), Refused> {
        let mut inbox = self.inbox.lock();
        if inbox.closed.is_some() {
            return Err(Refused::Closed(operation));
        }
        if inbox.waiting.len() >= WAITING_MAX {
            return Err(Refused::Full);
        }
        inbox.waiting.push_back(operation);
        inbox.wake();
        Ok(())
    }

    /// Takes no more; what was taken goes on, then the driver ends.
    pub(super) fn close(&self) {
        let mut inbox = self.inbox.lock();
        inbox.closed.get_or_insert(GONE);
        inbox.wake();
    }

    /// System calls so far.
    #[cfg(test)]
    pub(super) fn enters(&self) -> u64 {
        self.core.lock().enters
    }

    /// Moves waiting operations into the ring.
    fn refill(&self, core: &mut Core) -> Refill {
        let mut inbox = self.inbox.lock();
        while core.room() > 0 {
            let Some(operation) = inbox.waiting.pop_front() else { break };
            if operation.is_pointless() {
                continue;
            }
            if let Err(operation) = core.start(operation) {
                inbox.waiting.push_front(operation);
                break;
            }
        }
        Refill { waiting: !inbox.waiting.is_empty(), closed: inbox.closed.is_some() }
    }

    /// One turn: takes what waits, enters the kernel if there is reason to, reaps.
    fn turn(&self, signalled: bool, finished: &mut Vec<Finished>) -> Turn {
        let mut core = self.core.lock();
        let before = core.in_flight();
        let refill = self.refill(&mut core);
        if signalled || core.in_flight() > before || core.has_more() {
            if let Err(error) = core.enter() {
                tracing::error!(%error, "io_uring_enter failed; this ring is given up");
                core.abandon("io_uring failed", finished);
                return Turn::End;
            }
            core.reap(finished);
        }
        core.forget_closed_files();
        let room = core.room() > 0;
        match refill {
            Refill { waiting: true, .. } if room => Turn::Again,
            _ if core.has_more() => Turn::Again,
            Refill { waiting: false, closed: true } if core.is_idle() => Turn::End,
            _ => Turn::Park,
        }
    }

    /// Ends the ring: waits for the kernel to finish what it has, as far as that ends in time; the memory of the rest
    /// is leaked, since the kernel may still touch it. On another thread than the ring's nothing can be waited for.
    pub(super) fn shut_down(&self) {
        self.close();
        let mut core = self.core.lock();
        let mut finished = Vec::new();
        let mut idle_rounds = 0;
        while thread::current().id() == self.thread && idle_rounds < DRAIN_ROUNDS_MAX {
            self.refill(&mut core);
            if core.is_idle() {
                break;
            }
            if let Err(error) = core.enter_and_wait(Duration::from_secs(1)) {
                tracing::error!(%error, "io_uring_enter failed while a ring ended");
                break;
            }
            let before = finished.len();
            core.reap(&mut finished);
            idle_rounds = if finished.len() > before { 0 } else { idle_rounds + 1 };
        }
        core.abandon(GONE, &mut finished);
        core.release_files();
        drop(core);
        let waiting = std::mem::take(&mut self.inbox.lock().waiting);
        for operation in waiting {
            let error = operation.unavailable(GONE);
            finished.push(Finished::refused(operation, error));
        }
        finished.into_iter().for_each(Finished::deliver);
    }
}

impl Inbox {
    fn wake(&mut self) {
        if !self.woken {
            self.woken = true;
            if let Some(driver) = &self.driver {
                driver.wake_by_ref();
            }
        }
    }
}

struct Refill {
    waiting: bool,
    closed: bool,
}

enum Turn {
    Again,
    Park,
    End,
}

/// The task that drives a ring, until the ring is closed and idle.
pub(super) struct Driver {
    ring: Arc<Ring>,
    bell: AsyncFd<OwnedFd>,
    finished: Vec<Finished>,
}

impl Driver {
    /// Whether the kernel rang since the last look; waits for the next ring.
    fn poll_bell(&self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut signalled = false;
        while let Poll::Ready(ready) = self.bell.poll_read_ready(context) {
            ready?.clear_ready();
            signalled = true;
        }
        Ok(signalled)
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if thread::current().id() != self.ring.thread {
            tracing::error!("the runtime of a ring moved to another thread; the ring is given up");
            return Poll::Ready(());
        }
        {
            let mut inbox = self.ring.inbox.lock();
            inbox.woken = false;
            if inbox.driver.as_ref().is_none_or(|driver| !driver.will_wake(context.waker())) {
                inbox.driver = Some(context.waker().clone());
            }
        }
        let signalled = match self.poll_bell(context) {
            Ok(signalled) => signalled,
            Err(error) => {
                tracing::error!(%error, "the eventfd of a ring failed; the ring is given up");
                return Poll::Ready(());
            }
        };
        let Driver { ring, finished, .. } = &mut *self;
        let turn = ring.turn(signalled, finished);
        // Those who get their answer are scheduled before the driver's next turn, so that it finds what they ask next.
        finished.drain(..).for_each(Finished::deliver);
        match turn {
            Turn::Park => Poll::Pending,
            Turn::Again => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::End => Poll::Ready(()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ring.shut_down();
    }
}
