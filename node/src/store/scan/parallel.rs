//! A scan by several workers: each takes whole segments of the log, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use outcrop_flash::Lsn;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::namespace::Namespace;
use super::ledger::Running;
use super::pass::{Pass, Passed};
use super::plan::Plan;
use super::{Progress, ScanError, ScanFilter, Sink};

/// A scan that several workers share. Each asks for a segment, reads it to its end, and asks for the next:
///
/// ```no_run
/// # use std::sync::Arc;
/// # use outcrop_node::store::scan::{ParallelScan, Progress, ScanError, Sink};
/// # async fn worker(scan: &Arc<ParallelScan>, sink: &mut impl Sink) -> Result<(), ScanError> {
/// while let Some(mut segment) = scan.next_segment().await? {
///     while segment.advance(sink).await? != Progress::End {
///         // `Progress::Full`: make room in the sink. Else: let other tasks have a turn now and then.
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// Promises what a [`super::Scanner`] promises: all sinks together get each record exactly once. There is no cursor.
pub struct ParallelScan {
    /// `None`: there is no such set.
    running: Option<Running>,
    state: Mutex<State>,
    /// A segment is done with, or the scan has failed.
    changed: Notify,
    seen_end: AtomicU64,
    damaged: AtomicU32,
}

struct State {
    plan: Plan,
    /// Segments that workers are reading.
    under_way: usize,
    failed: Option<ScanError>,
}

/// A segment that one worker reads, on the thread that took it. Dropped before [`Progress::End`], it ends the scan for
/// all with [`ScanError::Abandoned`].
pub struct SegmentScan {
    scan: Arc<ParallelScan>,
    pass: Pass,
    over: bool,
}

impl ParallelScan {
    /// A scan of everything that the filter lets through. One of a set that doesn't exist has no segments.
    pub fn new(namespace: Arc<Namespace>, filter: &ScanFilter) -> Arc<Self> {
        let running = Running::begin(namespace.clone(), filter, Lsn(0));
        let plan = Plan::new(&namespace.log, namespace.log.head(), Lsn(0));
        let state = Mutex::new(State { plan, under_way: 0, failed: None });
        Arc::new(ParallelScan {
            running,
            state,
            changed: Notify::new(),
            seen_end: AtomicU64::new(0),
            damaged: AtomicU32::new(0),
        })
    }

    /// The next segment for the caller to read; waits while others read the last ones of a round, since more may follow.
    /// `None`: every record has been given. The caller must not hold another segment of this scan: it would wait for
    /// itself.
    pub async fn next_segment(self: &Arc<Self>) -> Result<Option<SegmentScan>, ScanError> {
        let Some(running) = &self.running else { return Ok(None) };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                if let Some(pass) = state.begin_next(running) {
                    state.under_way += 1;
                    return Ok(Some(SegmentScan { scan: self.clone(), pass, over: false }));
                }
                if state.under_way == 0 {
                    match state.plan.next_round(&running.namespace.log) {
                        Ok(true) => {
                            // Others wait for what this round may have for them.
                            self.changed.notify_waiters();
                            continue;
                        }
                        Ok(false) => return Ok(None),
                        Err(error) => {
                            self.fail(&mut state, error.clone());
                            return Err(error);
                        }
                    }
                }
            }
            changed.await;
        }
    }

    /// The log number that must be durable before anybody is told of what was given.
    pub fn seen_end(&self) -> Lsn {
        Lsn(self.seen_end.load(Ordering::Acquire))
    }

    /// Places of the log that were passed over so far because their bytes are damaged.
    pub fn damaged(&self) -> u32 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether no record has been given twice: false if more changed meanwhile than the scan may remember.
    pub fn is_exact(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.ledger.is_exact())
    }

    /// How far the present round is in the log, and where it ends: for a job's progress. The numbers rise.
    pub fn progress(&self) -> (Lsn, Lsn) {
        let state = self.state.lock();
        (state.plan.position(), state.plan.end())
    }

    fn fail(&self, state: &mut State, error: ScanError) {
        state.failed.get_or_insert(error);
        self.changed.notify_waiters();
    }
}

impl State {
    fn begin_next(&mut self, running: &Running) -> Option<Pass> {
        while let Some(piece) = self.plan.take() {
            match Pass::begin(running, piece, self.plan.tail_end()) {
                Some(pass) => return Some(pass),
                None => self.plan.missed = true,
            }
        }
        None
    }
}

impl SegmentScan {
    /// Gives records to `sink` until it is full, or about a batch of the segment has been read, or at its end.
    pub async fn advance(&mut self, sink: &mut impl Sink) -> Result<Progress, ScanError> {
        if self.over {
            return Ok(Progress::End);
        }
        let passed = match self.pass.advance(sink).await {
            Ok(passed) => passed,
            Err(error) => {
                self.scan.fail(&mut self.scan.state.lock(), error.clone());
                return Err(error);
            }
        };
        self.scan.damaged.fetch_add(std::mem::take(&mut self.pass.damaged), Ordering::Relaxed);
        self.scan.seen_end.fetch_max(self.pass.seen_end.0, Ordering::AcqRel);
        match passed {
            Passed::Full => Ok(Progress::Full),
            Passed::More => Ok(Progress::More),
            Passed::End | Passed::Gone => {
                self.over = true;
                self.scan.state.lock().plan.missed |= passed == Passed::Gone;
                Ok(Progress::End)
            }
        }
    }
}

impl Drop for SegmentScan {
    fn drop(&mut self) {
        let mut state = self.scan.state.lock();
        state.under_way -= 1;
        if !self.over {
            state.failed.get_or_insert(ScanError::Abandoned);
        }
        drop(state);
        self.scan.changed.notify_waiters();
    }
}
