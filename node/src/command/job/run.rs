//! A job at work: the scan, its records a few at a time, and the file that says how far it is.
//!
//! The file never says more than is durable. A place in the log is written down once every record before it has been
//! visited **and** everything that was logged up to that moment is durable: the function's own writes, and the writes of
//! others because of which the scan passed an older copy by. So a job that goes on after a crash visits each record at
//! least once, with `commit = "memory"` as well.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use outcrop_flash::Lsn;
use outcrop_wire::{Code, Cursor, Digest};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::context::Context;
use super::desk::{Control, Desk, Job};
use super::pace::Pace;
use super::record::{JobState, Place};
use super::visit::{Target, Visited, Visits};
use crate::store::Values;
use crate::store::scan::{Progress, ScanError, Scanner, Sink};

/// Records that are read ahead of their visits: about what is visited again after a crash, besides what a second does.
const CHUNK_RECORDS: u32 = 64;
/// How often a job's place is written down.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);
/// The same in records.
const CHECKPOINT_RECORDS: u64 = 10_000;
/// How often a job that can't go on looks again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much of the progress is the log up to where the job began; the rest is what was written meanwhile.
const FIRST_ROUND: f64 = 0.95;

/// Why a job stops working.
#[derive(Debug)]
enum Halt {
    /// It was cancelled, or the node stops: nothing is left to be said.
    Told,
    /// It gives up.
    Failed(String),
}

/// Gathers what the scan gives.
struct Chunk<'a> {
    targets: &'a mut VecDeque<Target>,
    room: usize,
    damaged: u64,
}

impl Sink for Chunk<'_> {
    fn record(&mut self, digest: &Digest, stored: &[u8]) -> bool {
        if self.targets.len() >= self.room {
            return false;
        }
        match Target::of_stored(digest, stored) {
            Some(target) => self.targets.push_back(target),
            None => self.damaged += 1,
        }
        true
    }
}

/// One job at work, on one thread of the function pool.
struct Runner {
    desk: Arc<Desk>,
    job: Arc<Job>,
    control: watch::Receiver<Control>,
    visits: Arc<Visits>,
    scanner: Scanner,
    /// Read, not visited yet.
    targets: VecDeque<Target>,
    /// Every record before it has been visited.
    place: Cursor,
    pace: Pace,
    saved: Instant,
    since_saved: u64,
    /// Why nothing goes on at the moment.
    hold: Option<String>,
    oldest: Lsn,
}

/// Works on a job until it ends, is cancelled, or the node stops.
pub async fn run(desk: Arc<Desk>, job: Arc<Job>, context: Arc<Context>) {
    let worked = AssertUnwindSafe(begin_and_work(&desk, &job, &context)).catch_unwind().await;
    let why = match worked {
        Ok(Ok(()) | Err(Halt::Told)) => None,
        Ok(Err(Halt::Failed(why))) => Some(why),
        Err(_) => Some("the job's task panicked; the node's log says where".to_owned()),
    };
    if let Some(why) = why {
        tracing::warn!(job = job.id(), why, "a job gave up");
        desk.end(&job, JobState::Failed, &why).await;
    }
    job.goes_idle(true);
}

async fn begin_and_work(desk: &Arc<Desk>, job: &Arc<Job>, context: &Arc<Context>) -> Result<(), Halt> {
    // One that is paused when the node starts begins once it is resumed.
    let mut control = job.control();
    // An error: the desk is gone, and the node with it.
    control.wait_for(|control| *control != Control::Pause).await.map_err(|_| Halt::Told)?;
    job.goes_idle(false);
    let visits = Visits::new(context, &job.with(|record| record.spec.clone())).map_err(Halt::Failed)?;
    let runner = Runner::begin(desk, job, visits, control);
    runner.map_err(|error| Halt::Failed(error.to_string()))?.work().await
}

impl Runner {
    fn begin(
        desk: &Arc<Desk>,
        job: &Arc<Job>,
        visits: Visits,
        control: watch::Receiver<Control>,
    ) -> Result<Self, ScanError> {
        let (spec, place) = job.with(|record| (record.spec.clone(), record.place));
        let namespace = visits.namespace.clone();
        // A log in memory began anew with the node.
        let lasts = !matches!(namespace.policy.values, Values::Ram { .. });
        let cursor = place.and_then(|place| place.cursor_after(namespace.log.epoch())).filter(|_| lasts);
        let again = cursor.map(|cursor| Scanner::new(namespace.clone(), spec.filter(), Some(cursor)));
        let scanner = match again {
            Some(Ok(scanner)) => scanner,
            _ => {
                if place.is_some() {
                    tracing::warn!(job = job.id(), "the job's log isn't the one that it began on: it begins anew");
                }
                Scanner::new(namespace.clone(), spec.filter(), None)?
            }
        };
        let oldest = match namespace.log.oldest_sequence() {
            u64::MAX => Lsn(0),
            sequence => Lsn::new(sequence, 0),
        };
        let now = Instant::now();
        Ok(Runner {
            desk: desk.clone(),
            job: job.clone(),
            control,
            visits: Arc::new(visits),
            place: scanner.cursor(),
            scanner,
            targets: VecDeque::new(),
            pace: Pace::new(spec.records_per_sec, now),
            saved: now,
            since_saved: 0,
            hold: None,
            oldest,
        })
    }

    async fn work(&mut self) -> Result<(), Halt> {
        self.go_on().await?;
        self.look().await?;
        loop {
            self.go_on().await?;
            if self.targets.is_empty() {
                self.place = self.scanner.cursor();
                if self.saved.elapsed() >= CHECKPOINT_EVERY || self.since_saved >= CHECKPOINT_RECORDS {
                    self.checkpoint().await;
                    continue;
                }
                if !self.read().await? {
                    if self.finish().await {
                        return Ok(());
                    }
                    continue;
                }
            }
            self.visit().await?;
        }
    }

    /// Waits while the job is paused or held up; an error ends it.
    async fn go_on(&mut self) -> Result<(), Halt> {
        loop {
            let control = *self.control.borrow_and_update();
            match (control, self.hold.take()) {
                (Control::Cancel, _) => return Err(Halt::Told),
                (Control::Stop, _) => {
                    self.checkpoint().await;
                    return Err(Halt::Told);
                }
                (Control::Pause, hold) => {
                    self.job.waits_for(None);
                    if self.since_saved > 0 && hold.is_none() {
                        self.checkpoint().await;
                    }
                    self.job.goes_idle(true);
                    // An error: the desk is gone, and the node with it.
                    self.control.changed().await.map_err(|_| Halt::Told)?;
                    self.job.goes_idle(false);
                }
                (Control::Run, None) => return Ok(()),
                (Control::Run, Some(why)) => {
                    tracing::debug!(job = self.job.id(), why, "a job waits");
                    self.job.waits_for(Some(why));
                    self.job.goes_idle(true);
                    tokio::select! {
                        _ = self.control.changed() => {}
                        () = sleep(LOOK_EVERY) => {}
                    }
                    self.job.goes_idle(false);
                    self.look().await?;
                    if self.hold.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Looks whether anything keeps the function from being called at all.
    async fn look(&mut self) -> Result<(), Halt> {
        let visits = self.visits.clone();
        match visits.check().await {
            Some(Visited::Over(why)) => return Err(Halt::Failed(why)),
            Some(Visited::Hold(why)) => self.hold = Some(why),
            _ => {}
        }
        Ok(())
    }

    /// Reads some records ahead; false: there are no more.
    async fn read(&mut self) -> Result<bool, Halt> {
        let per_sec = self.job.with(|record| record.spec.records_per_sec);
        let room = if per_sec == 0 { CHUNK_RECORDS } else { per_sec.min(CHUNK_RECORDS) };
        let mut chunk = Chunk { targets: &mut self.targets, room: room as usize, damaged: 0 };
        let read = self.scanner.advance(&mut chunk).await;
        for _ in 0..chunk.damaged {
            self.count_failure("?", Code::RecordCorrupt, "the record's bytes are damaged")?;
        }
        // A log without records of the job has many batches, and none of them waits for anything.
        tokio::task::yield_now().await;
        match read {
            Ok(Progress::End) => Ok(!self.targets.is_empty()),
            Ok(Progress::Full | Progress::More) => Ok(true),
            Err(error) => {
                if !matches!(error, ScanError::Outrun) {
                    self.hold = Some(error.to_string());
                }
                let (namespace, filter) = (self.visits.namespace.clone(), self.job.with(|record| record.spec.filter()));
                let again = Scanner::new(namespace, filter, Some(self.scanner.cursor()));
                self.scanner = again.map_err(|error| Halt::Failed(error.to_string()))?;
                Ok(true)
            }
        }
    }

    /// Visits what was read, a few records at once, no faster than the job may; returns early if it shall wait.
    async fn visit(&mut self) -> Result<(), Halt> {
        let parallel = self.job.with(|record| record.spec.parallel) as usize;
        let mut under_way = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let goes = *self.control.borrow() == Control::Run && self.hold.is_none();
            let begins = goes && under_way.len() < parallel && !self.targets.is_empty();
            let due = self.pace.due(now);
            if begins && due.is_none() {
                if let Some(target) = self.targets.pop_front() {
                    self.pace.begin(now);
                    let visits = self.visits.clone();
                    under_way.push(async move {
                        let visited = visits.visit(&target).await;
                        (target, visited)
                    });
                }
                continue;
            }
            if under_way.is_empty() && !begins {
                return Ok(());
            }
            tokio::select! {
                biased;
                changed = self.control.changed() => {
                    changed.map_err(|_| Halt::Told)?;
                    if *self.control.borrow() == Control::Cancel {
                        // What is under way ends here, with its write done whole or not at all.
                        return Err(Halt::Told);
                    }
                }
                Some((target, visited)) = under_way.next(), if !under_way.is_empty() => self.take(target, visited)?,
                () = sleep_until(due.unwrap_or(now)), if begins => {}
            }
        }
    }

    fn take(&mut self, target: Target, visited: Visited) -> Result<(), Halt> {
        match visited {
            Visited::Ran { changed } => {
                self.job.count(changed);
                self.desk.counted(changed, false);
            }
            Visited::Gone => {}
            Visited::Failed(code, message) => self.count_failure(&target.printed(), code, &message)?,
            Visited::Over(why) => return Err(Halt::Failed(why)),
            Visited::Hold(why) => {
                self.targets.push_front(target);
                self.hold = Some(why);
                return Ok(());
            }
        }
        self.since_saved += 1;
        Ok(())
    }

    fn count_failure(&mut self, key: &str, code: Code, message: &str) -> Result<(), Halt> {
        self.desk.counted(false, true);
        if self.job.count_failure(key, code, message) {
            return Ok(());
        }
        let most = self.job.with(|record| record.spec.failures_max);
        Err(Halt::Failed(format!("more than {most} records failed; the last: {message}")))
    }

    /// Writes down the place, once all that it rests on is durable; false: it couldn't, and says why.
    async fn checkpoint(&mut self) -> bool {
        let log = &self.visits.namespace.log;
        if let Err(error) = log.wait_durable(log.head()).await {
            self.hold = Some(format!("the job's place can't be written down: {error}"));
            return false;
        }
        let (place, progress) = (Place::new(self.place, log.epoch()), self.progress());
        let saved = self.desk.save(&self.job, |record| {
            record.place = Some(place);
            record.progress = progress.max(record.progress);
        });
        if let Err(error) = saved.await {
            tracing::error!(job = self.job.id(), %error, "a job's place can't be written down: it waits");
            self.hold = Some(error.to_string());
            return false;
        }
        (self.saved, self.since_saved) = (Instant::now(), 0);
        true
    }

    /// Ends the job as done, unless somebody paused or cancelled it at its last record.
    async fn finish(&mut self) -> bool {
        self.checkpoint().await && self.desk.end(&self.job, JobState::Done, "").await
    }

    /// How far the scan is: the log up to where it began, then what was written meanwhile.
    fn progress(&self) -> f64 {
        let share = |from: Lsn, to: Lsn, at: u64| {
            let whole = to.0.saturating_sub(from.0);
            if whole == 0 { 1.0 } else { (at.saturating_sub(from.0) as f64 / whole as f64).min(1.0) }
        };
        let start = Lsn(self.place.start_lsn);
        let at = self.place.position_lsn;
        if at < start.0 {
            return FIRST_ROUND * share(self.oldest.min(start), start, at);
        }
        FIRST_ROUND + (1.0 - FIRST_ROUND) * 0.99 * share(start, self.scanner.round_end(), at)
    }
}
