//! Where a node's jobs are kept: started, told, paused, ended, forgotten, and brought back after a restart.
//!
//! Whatever changes a job's state is on disk before anybody is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outcrop_wire::{Code, Value};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::context::Context;
use super::super::error::CommandError;
use super::pace::Rate;
use super::record::{JobRecord, JobState, Wish};
use super::run::run;
use super::spec::JobSpec;
use super::store::{JobStore, JobStoreError};
use crate::telemetry::stats::JobStats;
use crate::world::Clock;

/// Jobs that run or are paused, at most: each has a scan, which writers look at.
pub const JOBS_ACTIVE_MAX: usize = 8;
/// Jobs that are kept, at most; for another one the oldest that has ended is forgotten.
pub const JOBS_KEPT_MAX: usize = 256;
/// How long who pauses or cancels a job waits for the records under way.
const IDLE_WAIT: Duration = Duration::from_secs(2);

impl From<JobStoreError> for CommandError {
    fn from(error: JobStoreError) -> Self {
        CommandError::new(Code::Internal, error.to_string())
    }
}

/// What a job's task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Run,
    /// Wait.
    Pause,
    /// End for good.
    Cancel,
    /// End with the node, to go on after its restart.
    Stop,
}

fn control_of(state: JobState) -> Control {
    match state {
        JobState::Running => Control::Run,
        JobState::Paused => Control::Pause,
        JobState::Done | JobState::Failed | JobState::Cancelled => Control::Cancel,
    }
}

/// One job.
pub struct Job {
    record: Mutex<JobRecord>,
    rate: Mutex<Rate>,
    waits_for: Mutex<Option<String>>,
    /// Held while the file is written, so that files come in the order of what they say.
    saving: tokio::sync::Mutex<()>,
    control: watch::Sender<Control>,
    /// Whether no record is under way.
    idle: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Job {
    fn new(record: JobRecord) -> Arc<Self> {
        let control = control_of(record.state);
        Arc::new(Job {
            rate: Mutex::new(Rate::new(Instant::now())),
            waits_for: Mutex::default(),
            saving: tokio::sync::Mutex::default(),
            control: watch::channel(control).0,
            idle: watch::channel(record.state != JobState::Running).0,
            task: Mutex::default(),
            record: Mutex::new(record),
        })
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.record.lock().id
    }

    /// Looks at the job.
    pub fn with<T>(&self, look: impl FnOnce(&JobRecord) -> T) -> T {
        look(&self.record.lock())
    }

    /// What its task is told.
    pub fn control(&self) -> watch::Receiver<Control> {
        self.control.subscribe()
    }

    /// Counts a call that ended well.
    pub fn count(&self, changed: bool) {
        self.record.lock().count(changed);
        self.rate.lock().count(Instant::now());
        self.waits_for(None);
    }

    /// Counts a call that failed; whether the job bears it.
    pub fn count_failure(&self, key: &str, code: Code, message: &str) -> bool {
        self.rate.lock().count(Instant::now());
        self.record.lock().count_failure(key, code, message)
    }

    /// Why nothing goes on at the moment.
    pub fn waits_for(&self, why: Option<String>) {
        *self.waits_for.lock() = why;
    }

    /// Whether no record is under way.
    pub fn goes_idle(&self, idle: bool) {
        self.idle.send_replace(idle);
    }

    fn tell(&self, control: Control) {
        self.control.send_if_modified(|now| {
            // Nothing follows on the node's end.
            let changes = *now != control && *now != Control::Stop;
            if changes {
                *now = control;
            }
            changes
        });
    }

    async fn wait_idle(&self) {
        // Records that take longer end after whoever asked has gone; an error can't be, since this is the sender's own.
        let _ = timeout(IDLE_WAIT, self.idle.subscribe().wait_for(|idle| *idle)).await;
    }
}

/// All jobs of a node.
pub struct Desk {
    store: JobStore,
    clock: Arc<dyn Clock>,
    jobs: Mutex<BTreeMap<u64, Arc<Job>>>,
    /// The highest number given out. Locked for as long as a job is added or removed.
    last: tokio::sync::Mutex<u64>,
    records: AtomicU64,
    changed: AtomicU64,
    failures: AtomicU64,
}

impl Desk {
    /// Opens the jobs under `data_dir/jobs` (none: they are kept in memory alone). None of them works yet.
    pub async fn open(data_dir: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Arc<Self>, JobStoreError> {
        let (store, found) = JobStore::open(data_dir).await?;
        let jobs = found.jobs.into_iter().map(|record| (record.id, Job::new(record))).collect();
        Ok(Arc::new(Desk {
            store,
            clock,
            jobs: Mutex::new(jobs),
            last: tokio::sync::Mutex::new(found.highest),
            records: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }))
    }

    /// Lets the jobs go on that hadn't ended when the node did.
    pub fn resume(self: &Arc<Self>, context: &Arc<Context>) {
        for job in self.active() {
            let (id, state) = job.with(|record| (record.id, record.state));
            tracing::info!(job = id, state = state.name(), "a job of before goes on");
            self.spawn(&job, context);
        }
    }

    /// Starts a job on a set; `spec` is bound to a version.
    pub async fn start(self: &Arc<Self>, context: &Arc<Context>, spec: JobSpec) -> Result<Value, CommandError> {
        let mut last = self.last.lock().await;
        if self.active().len() >= JOBS_ACTIVE_MAX {
            let message = format!("{JOBS_ACTIVE_MAX} jobs run or are paused; wait for one to end, or cancel one");
            return Err(CommandError::new(Code::JobsFull, message));
        }
        self.make_room().await?;
        let id = *last + 1;
        let record = JobRecord::new(id, spec, self.clock.now_ms());
        self.store.save(&record).await?;
        *last = id;
        let job = Job::new(record);
        self.jobs.lock().insert(id, job.clone());
        self.spawn(&job, context);
        Ok(self.tell(&job))
    }

    async fn make_room(&self) -> Result<(), CommandError> {
        while self.jobs.lock().len() >= JOBS_KEPT_MAX {
            let ended = self.jobs.lock().values().find(|job| job.with(|record| record.state.has_ended())).cloned();
            let Some(ended) = ended else {
                let message = format!("{JOBS_KEPT_MAX} jobs are kept, and none of them has ended");
                return Err(CommandError::new(Code::JobsFull, message));
            };
            let id = ended.id();
            self.store.remove(id).await?;
            self.jobs.lock().remove(&id);
        }
        Ok(())
    }

    fn spawn(self: &Arc<Self>, job: &Arc<Job>, context: &Arc<Context>) {
        let work = run(self.clone(), job.clone(), context.clone());
        let thread = context.functions.as_ref().and_then(|functions| functions.host.pool_thread());
        let task = thread.unwrap_or_else(Handle::current).spawn(work);
        *job.task.lock() = Some(task);
    }

    /// All jobs, by number.
    pub fn list(&self) -> Value {
        let jobs: Vec<_> = self.jobs.lock().values().cloned().collect();
        Value::List(jobs.iter().map(|job| self.tell(job)).collect())
    }

    /// One job.
    pub fn status(&self, id: u64) -> Result<Value, CommandError> {
        Ok(self.tell(&*self.find(id)?))
    }

    /// Pauses, resumes or cancels a job. Who pauses or cancels is told once no record is under way any more, or after
    /// two seconds.
    pub async fn wish(&self, id: u64, wish: Wish) -> Result<Value, CommandError> {
        let job = self.find(id)?;
        let now_ms = self.clock.now_ms();
        self.update(&job, |record| record.wish(wish, now_ms)).await?;
        if wish != Wish::Resume {
            job.wait_idle().await;
        }
        Ok(self.tell(&job))
    }

    /// Forgets a job that has ended.
    pub async fn remove(&self, id: u64) -> Result<(), CommandError> {
        let _last = self.last.lock().await;
        let job = self.find(id)?;
        job.with(|record| match record.state.has_ended() {
            true => Ok(()),
            false => Err(record.wrong_state("cancel it first")),
        })?;
        self.store.remove(id).await?;
        self.jobs.lock().remove(&id);
        Ok(())
    }

    /// A job that hasn't ended and runs a version of a module, or (`None`) any of them.
    pub fn user_of(&self, module: &str, version: Option<&str>) -> Option<u64> {
        let uses = |spec: &JobSpec| spec.module == module && version.is_none_or(|version| version == spec.version);
        self.active().iter().find(|job| job.with(|record| uses(&record.spec))).map(|job| job.id())
    }

    /// Ends a job by itself; false: somebody paused or cancelled it first.
    pub(super) async fn end(&self, job: &Job, state: JobState, message: &str) -> bool {
        let now_ms = self.clock.now_ms();
        let saved = self.update(job, |record| match record.end(state, message, now_ms) {
            true => Ok(()),
            false => Err(record.wrong_state("it can't end")),
        });
        match saved.await {
            Ok(()) => true,
            Err(error) if error.code == Code::JobState => false,
            // It has ended all the same; after a restart it will come to its end once more.
            Err(error) => {
                tracing::error!(job = job.id(), error = error.message, "a job's end can't be written down");
                job.record.lock().end(state, message, now_ms)
            }
        }
    }

    /// Writes down what a job's task has found.
    pub(super) async fn save(&self, job: &Job, change: impl Fn(&mut JobRecord)) -> Result<(), JobStoreError> {
        let _saving = job.saving.lock().await;
        let mut copy = job.record.lock().clone();
        copy.updated_ms = self.clock.now_ms();
        change(&mut copy);
        self.store.save(&copy).await?;
        let mut record = job.record.lock();
        record.updated_ms = copy.updated_ms;
        change(&mut record);
        Ok(())
    }

    /// Changes a job's state: on disk first.
    async fn update(
        &self,
        job: &Job,
        change: impl Fn(&mut JobRecord) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let _saving = job.saving.lock().await;
        // The state changes nowhere but here, so it is the same below.
        let mut copy = job.record.lock().clone();
        change(&mut copy)?;
        self.store.save(&copy).await?;
        change(&mut job.record.lock())?;
        job.tell(control_of(copy.state));
        Ok(())
    }

    pub(super) fn counted(&self, changed: bool, failed: bool) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.changed.fetch_add(changed.into(), Ordering::Relaxed);
        self.failures.fetch_add(failed.into(), Ordering::Relaxed);
    }

    /// Ends the work of all jobs, their places written down; they go on after a restart.
    pub async fn stop(&self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let jobs: Vec<_> = self.jobs.lock().values().cloned().collect();
        jobs.iter().for_each(|job| job.tell(Control::Stop));
        for job in jobs {
            let Some(mut task) = job.task.lock().take() else { continue };
            if timeout_at(deadline, &mut task).await.is_err() {
                // Its last checkpoint holds.
                tracing::warn!(
                    job = job.id(),
                    "a job's record takes longer than the node may: it will be visited again"
                );
                task.abort();
                let _ = task.await;
            }
        }
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> JobStats {
        let mut stats = JobStats {
            records: self.records.load(Ordering::Relaxed),
            changed: self.changed.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            ..JobStats::default()
        };
        for job in self.jobs.lock().values() {
            match job.with(|record| record.state) {
                JobState::Running => stats.running += 1,
                JobState::Paused => stats.paused += 1,
                JobState::Done => stats.done += 1,
                JobState::Failed => stats.failed += 1,
                JobState::Cancelled => stats.cancelled += 1,
            }
        }
        stats
    }

    fn active(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().values().filter(|job| !job.with(|record| record.state.has_ended())).cloned().collect()
    }

    fn find(&self, id: u64) -> Result<Arc<Job>, CommandError> {
        let found = self.jobs.lock().get(&id).cloned();
        found.ok_or_else(|| CommandError::new(Code::JobUnknown, format!("there is no job {id}")))
    }

    fn tell(&self, job: &Job) -> Value {
        let record = job.record.lock().clone();
        let runs = record.state == JobState::Running;
        let rate = if runs { job.rate.lock().per_sec(Instant::now()) } else { 0.0 };
        let waits_for = job.waits_for.lock().clone().filter(|_| runs);
        record.to_value(rate, waits_for.as_deref(), self.store.keeps())
    }
}
