//! Jobs: a record function over a whole set, in the background, with progress, pause and cancel.

use std::ops::RangeInclusive;
use std::time::Duration;

use outcrop_wire::archive::{archive_value, decode_value};
use outcrop_wire::key::{check_namespace_name, check_set_name};
use outcrop_wire::limits::PARTITIONS;
use outcrop_wire::request::{JobOperation, JobRequest, RequestError};
use outcrop_wire::{MapKey, RequestBody, Value, Verb, typed};
use serde::{Deserialize, Serialize};

use super::check_path;
use crate::answer::Outgoing;
use crate::client::Client;
use crate::error::ClientError;

/// How long a change or a look may take unless the client's own deadline is longer.
const ADMIN_DEADLINE: Duration = Duration::from_secs(30);
/// Pauses between looks at a job that is waited for.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MOST: Duration = Duration::from_secs(1);

/// What a job does. Each record is visited at least once: after a restart of the node, some twice.
///
/// ```
/// use outcrop_client::JobSpec;
///
/// let spec = JobSpec::new("test", "products", "shop.discount").arguments(&15)?.records_per_sec(10_000);
/// # Ok::<(), outcrop_client::ClientError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    namespace: String,
    set: String,
    function: String,
    arguments: Value,
    partitions: RangeInclusive<u16>,
    records_per_sec: u32,
    parallel: Option<u32>,
    failures_max: Option<u64>,
}

impl JobSpec {
    /// A record function over a set; over the whole namespace if the set is empty.
    ///
    /// ```
    /// let spec = outcrop_client::JobSpec::new("test", "products", "shop.discount");
    /// ```
    pub fn new(namespace: impl Into<String>, set: impl Into<String>, function: impl Into<String>) -> Self {
        JobSpec {
            namespace: namespace.into(),
            set: set.into(),
            function: function.into(),
            arguments: Value::Null,
            partitions: 0..=PARTITIONS as u16 - 1,
            records_per_sec: 0,
            parallel: None,
            failures_max: None,
        }
    }

    /// The function's arguments, as any serde type; null unless said.
    ///
    /// ```
    /// let spec = outcrop_client::JobSpec::new("test", "products", "shop.discount").arguments(&(15, "sale"))?;
    /// # Ok::<(), outcrop_client::ClientError>(())
    /// ```
    pub fn arguments(self, arguments: &(impl Serialize + ?Sized)) -> Result<Self, ClientError> {
        Ok(JobSpec { arguments: typed::to_value(arguments)?, ..self })
    }

    /// Visits only these partitions, within 0 to 4,095.
    ///
    /// ```
    /// let spec = outcrop_client::JobSpec::new("test", "products", "shop.discount").partitions(0..=9);
    /// ```
    #[must_use]
    pub fn partitions(self, partitions: RangeInclusive<u16>) -> Self {
        JobSpec { partitions, ..self }
    }

    /// Visits at most this many records a second; 0, and unless said: as many as the node does beside other work.
    ///
    /// ```
    /// let spec = outcrop_client::JobSpec::new("test", "products", "shop.discount").records_per_sec(1_000);
    /// ```
    #[must_use]
    pub fn records_per_sec(self, records_per_sec: u32) -> Self {
        JobSpec { records_per_sec, ..self }
    }

    /// So many records are under way at once, 1 to 32; 4 unless said.
    ///
    /// ```
    /// let spec = outcrop_client::JobSpec::new("test", "products", "shop.discount").parallel(16);
    /// ```
    #[must_use]
    pub fn parallel(self, parallel: u32) -> Self {
        JobSpec { parallel: Some(parallel), ..self }
    }

    /// Gives up once the function has failed on more records than this; 100 unless said, [`u64::MAX`]: never.
    ///
    /// ```
    /// let spec = outcrop_client::JobSpec::new("test", "products", "shop.discount").failures_max(0);
    /// ```
    #[must_use]
    pub fn failures_max(self, failures_max: u64) -> Self {
        JobSpec { failures_max: Some(failures_max), ..self }
    }

    fn check(&self) -> Result<(), ClientError> {
        check_namespace_name(&self.namespace)?;
        if !self.set.is_empty() {
            check_set_name(&self.set)?;
        }
        check_path(&self.function)?;
        let last = *self.partitions.end();
        if usize::from(last) >= PARTITIONS || self.partitions.is_empty() {
            return Err(RequestError::Field { field: "partitions", value: last.into() }.into());
        }
        Ok(())
    }

    fn to_map(&self) -> Value {
        let mut options = vec![
            (MapKey::from("function"), self.function.as_str().into()),
            (MapKey::from("set"), self.set.as_str().into()),
            (MapKey::from("partition_first"), i64::from(*self.partitions.start()).into()),
            (MapKey::from("partition_last"), i64::from(*self.partitions.end()).into()),
            (MapKey::from("arguments"), self.arguments.clone()),
            (MapKey::from("records_per_sec"), i64::from(self.records_per_sec).into()),
        ];
        options.extend(self.parallel.map(|parallel| (MapKey::from("parallel"), i64::from(parallel).into())));
        let narrow = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        options.extend(self.failures_max.map(|most| (MapKey::from("failures_max"), narrow(most))));
        Value::Map(options)
    }
}

/// Where a job stands.
///
/// ```
/// use outcrop_client::JobState;
/// assert!(JobState::Done.has_ended() && !JobState::Paused.has_ended());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It goes on.
    #[default]
    Running,
    /// It waits for [`Jobs::resume`].
    Paused,
    /// It visited every record.
    Done,
    /// It gave up; its first failures say why.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// Whether it is over for good.
    ///
    /// ```
    /// assert!(outcrop_client::JobState::Cancelled.has_ended());
    /// ```
    pub fn has_ended(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }
}

/// A job as the node tells of it.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// for job in client.jobs().list().await? {
///     println!("{} {}: {:?}, {:.0} %", job.id, job.function, job.state, 100.0 * job.progress);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// Its namespace.
    pub namespace: String,
    /// The function.
    pub function: String,
    /// The version of its module, the same from begin to end.
    pub version: String,
    /// The set; empty: the whole namespace.
    pub set: String,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed, or why a running one doesn't go on at the moment; else empty.
    pub message: String,
    /// Records that were visited.
    pub records_seen: u64,
    /// Those that the function changed.
    pub records_changed: u64,
    /// Those on which it failed.
    pub failures: u64,
    /// The first of the failures, 16 at most, each another one.
    pub failures_first: Vec<RecordFailure>,
    /// Failures that it bears.
    pub failures_max: u64,
    /// How far it is, from 0 to 1.
    pub progress: f64,
    /// Records a second, lately; 0 unless it runs.
    pub rate: f64,
    /// Records a second, at most; 0: no limit.
    pub records_per_sec: u32,
    /// Records under way at once.
    pub parallel: u32,
    /// Whether it survives the node, which takes a data directory.
    pub kept: bool,
    /// When it began, in milliseconds since 1970 (UTC).
    pub started_ms: u64,
    /// When this was written down, in milliseconds since 1970 (UTC).
    pub updated_ms: u64,
    /// When it ended, in milliseconds since 1970 (UTC); 0: it hasn't.
    pub ended_ms: u64,
}

/// A record on which a job's function failed.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// for failure in client.jobs().status(7).await?.failures_first {
///     println!("{}: {}", failure.key, failure.message);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordFailure {
    /// Set and key of the first record that failed this way, printed.
    pub key: String,
    /// The code's name.
    pub code: String,
    /// What the function or the node said.
    pub message: String,
    /// Records that failed this way.
    pub count: u64,
}

/// The node's background jobs.
///
/// ```no_run
/// use outcrop_client::JobSpec;
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let jobs = client.jobs();
/// let job = jobs.start(&JobSpec::new("test", "products", "shop.discount").arguments(&15)?).await?;
/// let ended = jobs.wait(job.id).await?;
/// println!("{:?}: {} records changed, {} failures", ended.state, ended.records_changed, ended.failures);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Jobs {
    client: Client,
}

impl Client {
    /// The node's background jobs.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("{} jobs", client.jobs().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn jobs(&self) -> Jobs {
        Jobs { client: self.clone() }
    }
}

impl Jobs {
    /// Starts a job. It goes on without this client, and after a restart of the node.
    ///
    /// ```no_run
    /// use outcrop_client::JobSpec;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let job = client.jobs().start(&JobSpec::new("test", "products", "shop.discount")).await?;
    /// println!("job {} runs", job.id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(&self, spec: &JobSpec) -> Result<Job, ClientError> {
        spec.check()?;
        let job = self.ask(JobOperation::Start, &spec.namespace, Some(spec.to_map())).await?;
        Ok(typed::from_value(&job)?)
    }

    /// All jobs that the node knows, those that have ended as well.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let running = client.jobs().list().await?.into_iter().filter(|job| !job.state.has_ended()).count();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Job>, ClientError> {
        Ok(typed::from_value(&self.ask(JobOperation::List, "", None).await?)?)
    }

    /// How far a job is.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("{:.0} %", 100.0 * client.jobs().status(7).await?.progress);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn status(&self, id: u64) -> Result<Job, ClientError> {
        self.of_job(JobOperation::Status, id).await
    }

    /// Lets a job wait, over restarts too. Records under way have ended when this returns, unless that takes them more
    /// than two seconds.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.jobs().pause(7).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause(&self, id: u64) -> Result<Job, ClientError> {
        self.of_job(JobOperation::Pause, id).await
    }

    /// Lets a paused job go on.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.jobs().resume(7).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume(&self, id: u64) -> Result<Job, ClientError> {
        self.of_job(JobOperation::Resume, id).await
    }

    /// Ends a job for good; what it has changed stays changed.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.jobs().cancel(7).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(&self, id: u64) -> Result<Job, ClientError> {
        self.of_job(JobOperation::Cancel, id).await
    }

    /// Forgets a job that has ended.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.jobs().remove(7).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, id: u64) -> Result<(), ClientError> {
        self.ask(JobOperation::Remove, "", Some(of_id(id))).await.map(drop)
    }

    /// Waits until a job has ended, however long that takes; a paused one isn't over. The job itself may have failed:
    /// its state tells.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let at_most = std::time::Duration::from_secs(600);
    /// let ended = tokio::time::timeout(at_most, client.jobs().wait(7)).await??;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait(&self, id: u64) -> Result<Job, ClientError> {
        let mut pause = LOOK_FIRST;
        loop {
            let job = self.status(id).await?;
            if job.state.has_ended() {
                return Ok(job);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MOST);
        }
    }

    async fn of_job(&self, operation: JobOperation, id: u64) -> Result<Job, ClientError> {
        Ok(typed::from_value(&self.ask(operation, "", Some(of_id(id))).await?)?)
    }

    async fn ask(
        &self,
        operation: JobOperation,
        namespace: &str,
        options: Option<Value>,
    ) -> Result<Value, ClientError> {
        let options = options.map_or(Ok(Vec::new()), |options| archive_value(&options))?;
        let outgoing = Outgoing {
            writes: operation.writes(),
            // Started twice, there would be two of them.
            idempotent: operation != JobOperation::Start,
            conditional: operation.writes(),
            deadline: Some(ADMIN_DEADLINE.max(self.client.shared.deadline)),
            bytes: options.len(),
            ..Outgoing::write(Verb::Job, namespace, "")
        };
        let body = RequestBody::Job(JobRequest { operation, options: &options });
        let answer = self.client.execute(&outgoing, |_| Ok(body.clone())).await?.ok()?;
        Ok(decode_value(answer.body_ref())?)
    }
}

fn of_id(id: u64) -> Value {
    Value::Map(vec![(MapKey::from("id"), Value::Int(i64::try_from(id).unwrap_or(i64::MAX)))])
}
