//! A job as it stands: its state and what changes it, what it has done, how it is told and kept. Pure.

use outcrop_wire::{Code, Cursor, MapKey, Value};
use serde::{Deserialize, Serialize};

use super::super::error::CommandError;
use super::spec::JobSpec;
use crate::udf::registry::map;

/// Failures that a job keeps, each another one.
pub const FAILURES_KEPT_MAX: usize = 16;
/// Bytes of a failure's message and of its key that are kept.
const FAILURE_TEXT_BYTES_MAX: usize = 300;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It goes on.
    Running,
    /// It waits to be resumed.
    Paused,
    /// It visited every record.
    Done,
    /// It gave up.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [JobState; 5] =
        [JobState::Running, JobState::Paused, JobState::Done, JobState::Failed, JobState::Cancelled];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Paused => "paused",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether it is over for good.
    pub fn has_ended(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }
}

/// What somebody wants of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It shall wait.
    Pause,
    /// It shall go on.
    Resume,
    /// It shall end.
    Cancel,
}

/// A record on which the function failed, for all that failed the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordFailure {
    /// The first record's set and key, printed.
    pub key: String,
    /// The stable code's name.
    pub code: String,
    /// What the function or the node said.
    pub message: String,
    /// Records with this code and message.
    pub count: u64,
}

/// A scan's cursor as a file keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The log's identity.
    pub log_id: u64,
    /// The log's epoch then.
    pub epoch: u64,
    /// Where the scan began.
    pub start_lsn: u64,
    /// Where it goes on.
    pub position_lsn: u64,
    /// Records given so far.
    pub emitted: u64,
}

impl Place {
    /// A cursor in a log of this epoch.
    pub fn new(cursor: Cursor, epoch: u64) -> Self {
        let Cursor { log_id, start_lsn, position_lsn, emitted } = cursor;
        Place { log_id, epoch, start_lsn, position_lsn, emitted }
    }

    /// The cursor, for a log that was opened since, at this epoch; `None`: the device was emptied or is another one, since
    /// epochs rise with each opening.
    pub fn cursor_after(self, epoch: u64) -> Option<Cursor> {
        let Place { log_id, start_lsn, position_lsn, emitted, .. } = self;
        (epoch > self.epoch).then_some(Cursor { log_id, start_lsn, position_lsn, emitted })
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRecord {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub spec: JobSpec,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed.
    pub message: String,
    /// Calls that ended, well or not.
    pub records_seen: u64,
    /// Those that changed their record.
    pub records_changed: u64,
    /// Those that failed.
    pub failures: u64,
    /// The first of them, each another one.
    pub failures_first: Vec<RecordFailure>,
    /// How far it is, from 0 to 1.
    pub progress: f64,
    /// Everything before this is done and durable; `None`: nothing.
    pub place: Option<Place>,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// When this was written down.
    pub updated_ms: u64,
    /// When it ended; 0: it hasn't.
    pub ended_ms: u64,
}

impl JobRecord {
    /// A job that begins now.
    pub fn new(id: u64, spec: JobSpec, now_ms: u64) -> Self {
        JobRecord {
            id,
            spec,
            state: JobState::Running,
            message: String::new(),
            records_seen: 0,
            records_changed: 0,
            failures: 0,
            failures_first: Vec::new(),
            progress: 0.0,
            place: None,
            started_ms: now_ms,
            updated_ms: now_ms,
            ended_ms: 0,
        }
    }

    /// Does what somebody wants, or says why it can't be. What it is already it may become again: an answer may have been
    /// lost.
    pub fn wish(&mut self, wish: Wish, now_ms: u64) -> Result<(), CommandError> {
        let wanted = match wish {
            Wish::Pause => JobState::Paused,
            Wish::Resume => JobState::Running,
            Wish::Cancel => JobState::Cancelled,
        };
        if self.state == wanted {
            return Ok(());
        }
        if self.state.has_ended() {
            return Err(self.wrong_state("it has ended"));
        }
        self.state = wanted;
        self.updated_ms = now_ms;
        if wanted.has_ended() {
            self.ended_ms = now_ms;
        }
        Ok(())
    }

    /// The job ends by itself; false: somebody paused or cancelled it first. A failure ends a paused job, too: the last
    /// record under way may have been the one too many.
    pub fn end(&mut self, state: JobState, message: &str, now_ms: u64) -> bool {
        let may = match state {
            JobState::Failed => !self.state.has_ended(),
            _ => self.state == JobState::Running,
        };
        if !may {
            return false;
        }
        self.state = state;
        message.clone_into(&mut self.message);
        if state == JobState::Done {
            self.progress = 1.0;
        }
        (self.updated_ms, self.ended_ms) = (now_ms, now_ms);
        true
    }

    /// A job that can't be done anything with in its state.
    pub fn wrong_state(&self, why: &str) -> CommandError {
        CommandError::new(Code::JobState, format!("job {} is {}: {why}", self.id, self.state.name()))
    }

    /// Counts a call that ended well.
    pub fn count(&mut self, changed: bool) {
        self.records_seen += 1;
        self.records_changed += u64::from(changed);
    }

    /// Counts a call that failed; whether the job bears it.
    pub fn count_failure(&mut self, key: &str, code: Code, message: &str) -> bool {
        self.records_seen += 1;
        self.failures += 1;
        let message = cut(message);
        let same = |kept: &RecordFailure| kept.code == code.name() && kept.message == message;
        match self.failures_first.iter().position(same) {
            Some(known) => self.failures_first[known].count += 1,
            None if self.failures_first.len() < FAILURES_KEPT_MAX => self.failures_first.push(RecordFailure {
                key: cut(key).to_owned(),
                code: code.name().to_owned(),
                message: message.to_owned(),
                count: 1,
            }),
            None => {}
        }
        self.failures <= self.spec.failures_max
    }

    /// What clients are told of it; `rate`: records a second now, `waits_for`: why it doesn't go on at the moment,
    /// `kept`: whether it survives the node.
    pub fn to_value(&self, rate: f64, waits_for: Option<&str>, kept: bool) -> Value {
        let spec = &self.spec;
        let text = |text: &str| Value::from(text);
        let Value::Map(mut entries) = map([
            ("id", number(self.id)),
            ("namespace", text(&spec.namespace)),
            ("function", text(&format!("{}.{}", spec.module, spec.function))),
            ("version", text(&spec.version)),
            ("set", text(&spec.set)),
            ("partition_first", number(spec.partition_first.into())),
            ("partition_last", number(spec.partition_last.into())),
            ("records_per_sec", number(spec.records_per_sec.into())),
            ("parallel", number(spec.parallel.into())),
            ("failures_max", number(spec.failures_max)),
            ("state", text(self.state.name())),
            ("message", text(waits_for.unwrap_or(&self.message))),
            ("records_seen", number(self.records_seen)),
            ("records_changed", number(self.records_changed)),
            ("failures", number(self.failures)),
        ]) else {
            return Value::Null;
        };
        let failures = self.failures_first.iter().map(|failure| {
            map([
                ("key", text(&failure.key)),
                ("code", text(&failure.code)),
                ("message", text(&failure.message)),
                ("count", number(failure.count)),
            ])
        });
        let rest = [
            ("failures_first", Value::List(failures.collect())),
            ("progress", Value::Float(self.progress)),
            ("rate", Value::Float(rate)),
            ("kept", kept.into()),
            ("started_ms", number(self.started_ms)),
            ("updated_ms", number(self.updated_ms)),
            ("ended_ms", number(self.ended_ms)),
        ];
        entries.extend(rest.map(|(name, value)| (MapKey::Text(name.to_owned()), value)));
        Value::Map(entries)
    }
}

fn number(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(FAILURE_TEXT_BYTES_MAX)]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A job that has just begun.
    pub fn job(id: u64) -> JobRecord {
        let spec = JobSpec::parse("test", &map([("function", "shop@1.discount".into())])).expect("it is right");
        JobRecord::new(id, spec, 1_000)
    }

    fn in_state(state: JobState) -> JobRecord {
        JobRecord { state, ..job(1) }
    }

    #[test]
    fn each_wish_in_each_state() {
        use JobState::{Cancelled, Done, Failed, Paused, Running};
        let becomes = |state, wish| {
            let mut job = in_state(state);
            job.wish(wish, 2_000).map(|()| job.state).map_err(|error| error.code)
        };
        for state in [Running, Paused] {
            assert_eq!(becomes(state, Wish::Pause), Ok(Paused));
            assert_eq!(becomes(state, Wish::Resume), Ok(Running));
            assert_eq!(becomes(state, Wish::Cancel), Ok(Cancelled));
        }
        for state in [Done, Failed, Cancelled] {
            assert_eq!(becomes(state, Wish::Pause), Err(Code::JobState));
            assert_eq!(becomes(state, Wish::Resume), Err(Code::JobState));
        }
        assert_eq!(becomes(Done, Wish::Cancel), Err(Code::JobState));
        assert_eq!(becomes(Cancelled, Wish::Cancel), Ok(Cancelled), "a lost answer is asked for again");
        let mut cancelled = job(1);
        cancelled.wish(Wish::Cancel, 2_000).expect("it runs");
        assert_eq!(cancelled.ended_ms, 2_000);
        assert!(JobState::ALL.iter().all(|state| state.has_ended() == (becomes(*state, Wish::Pause).is_err())));
    }

    /// Catches: a job that was paused or cancelled at its last record, and then told to be done.
    #[test]
    fn a_job_ends_by_itself_only_while_it_runs() {
        for state in JobState::ALL {
            let mut job = in_state(state);
            let ended = job.end(JobState::Done, "", 3_000);
            assert_eq!(ended, state == JobState::Running);
            assert_eq!(job.state, if ended { JobState::Done } else { state });
            let mut job = in_state(state);
            assert_eq!(job.end(JobState::Failed, "too many", 3_000), !state.has_ended());
        }
    }

    #[test]
    fn failures_are_told_apart_bounded_and_borne_up_to_a_number() {
        let mut job = job(1);
        job.spec.failures_max = 40;
        for number in 0..40 {
            let key = format!("set/{number}");
            assert!(job.count_failure(&key, Code::FunctionFailed, &format!("failure {}", number % 20)));
        }
        assert_eq!((job.failures_first.len(), job.failures_first[0].count), (FAILURES_KEPT_MAX, 2));
        assert_eq!(job.failures_first[3].key, "set/3");
        job.count(true);
        job.count(false);
        assert!(!job.count_failure("set/x", Code::FunctionTrapped, "the 41st"), "one more than it bears");
        assert_eq!((job.records_seen, job.records_changed, job.failures), (43, 1, 41));
        let mut long = in_state(JobState::Running);
        long.count_failure(&"k".repeat(5_000), Code::FunctionFailed, &"ä".repeat(5_000));
        assert!(long.failures_first[0].message.len() <= 300 && long.failures_first[0].key.len() == 300);
    }

    /// Catches: a job that takes its place on an emptied device for its place on the one before, and leaves records out.
    #[test]
    fn a_place_is_of_the_log_that_it_was_found_on() {
        let cursor = Cursor { log_id: 1, start_lsn: 9, position_lsn: 5, emitted: 2 };
        let place = Place::new(cursor, 3);
        assert_eq!(place.cursor_after(4), Some(cursor));
        assert_eq!((place.cursor_after(3), place.cursor_after(1)), (None, None));
    }

    #[test]
    fn clients_are_told_everything() {
        let mut job = job(7);
        job.count_failure("set/1", Code::FunctionFailed, "no price");
        let value = job.to_value(12.5, Some("the module is paused"), false);
        let get = |name: &str| value.get(&MapKey::from(name)).cloned();
        assert_eq!(get("id"), Some(Value::Int(7)));
        assert_eq!(get("function"), Some("shop.discount".into()));
        assert_eq!(get("state"), Some("running".into()));
        assert_eq!(get("message"), Some("the module is paused".into()));
        assert_eq!((get("rate"), get("kept")), (Some(Value::Float(12.5)), Some(false.into())));
        let Some(Value::List(failures)) = get("failures_first") else { panic!("{value:?}") };
        assert_eq!(failures[0].get(&MapKey::from("code")), Some(&"function_failed".into()));
    }
}
