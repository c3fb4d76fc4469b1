//! What a call came to: its result and what it staged, or why it failed; what it used and said meanwhile.

use std::fmt;
use std::time::Duration;

use outcrop_flash::Lsn;
use outcrop_wire::{Code, Ttl};

use super::limits::{LimitHit, Limits};
use super::state::COUNTERS_MAX;

/// Where a guest's log line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warn,
    /// Something is wrong.
    Error,
}

impl LogLevel {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

/// One line that a guest logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it belongs.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// What a call used. Of a query: all instances together, but `memory_bytes` is that of the largest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Fuel consumed.
    pub fuel: u64,
    /// High water of an instance's linear memories.
    pub memory_bytes: u64,
    /// From beginning to end.
    pub wall: Duration,
    /// Calls of what the node offers.
    pub host_calls: u64,
    /// Reads of other records.
    pub reads: u32,
    /// Their bytes.
    pub read_bytes: u64,
    /// Bytes of the result, states and rows.
    pub output_bytes: u64,
    /// Log lines that were dropped because of their bounds.
    pub logs_dropped: u64,
    /// Records of a query's batches.
    pub records: u64,
    /// Bytes of a query's batches.
    pub bytes: u64,
    /// Places of the log that a query passed over, because their bytes are damaged.
    pub damaged_places: u32,
    /// Instances that took part.
    pub instances: u32,
    /// Times that the guest was interrupted to let others run.
    pub yields: u32,
}

impl Usage {
    /// Adds another instance of the same query.
    pub fn add(&mut self, other: &Usage) {
        self.fuel += other.fuel;
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.wall = self.wall.max(other.wall);
        self.host_calls += other.host_calls;
        self.reads += other.reads;
        self.read_bytes += other.read_bytes;
        self.output_bytes += other.output_bytes;
        self.logs_dropped += other.logs_dropped;
        self.records += other.records;
        self.bytes += other.bytes;
        self.instances += other.instances;
        self.yields += other.yields;
    }
}

/// What a guest said and counted besides its result, whether it failed or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// What it used.
    pub usage: Usage,
    /// What it logged, within its bounds.
    pub logs: Vec<LogLine>,
    /// What it added to counters of its module: each name once, sorted.
    pub counters: Vec<(String, u64)>,
    /// The log number that must be durable before anybody learns of the outcome, because of other records that the guest
    /// read.
    pub rests_on: Option<Lsn>,
}

impl Trace {
    /// Adds another instance of the same query; its log lines within the query's bounds.
    pub(super) fn add(&mut self, other: Trace, limits: &Limits) {
        self.usage.add(&other.usage);
        for line in other.logs {
            let bytes: usize = self.logs.iter().map(|line| line.message.len()).sum();
            let fits = (bytes + line.message.len()) as u64 <= limits.log_bytes;
            if fits && self.logs.len() < limits.log_lines as usize {
                self.logs.push(line);
            } else {
                self.usage.logs_dropped += 1;
            }
        }
        for (name, delta) in other.counters {
            match self.counters.binary_search_by(|(known, _)| known.cmp(&name)) {
                Ok(place) => self.counters[place].1 = self.counters[place].1.saturating_add(delta),
                Err(place) if self.counters.len() < COUNTERS_MAX => self.counters.insert(place, (name, delta)),
                Err(_) => {}
            }
        }
        self.rests_on = self.rests_on.max(other.rests_on);
    }
}

/// Bins or a deletion that a record function wants committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staged {
    /// It wrote nothing.
    Nothing,
    /// Archived bins within the namespace's limits, and their time to live.
    Write {
        /// The archived bins.
        bins: Vec<u8>,
        /// The time to live.
        ttl: Ttl,
    },
    /// The record is to be deleted. It may be that it doesn't exist.
    Delete,
}

/// A call that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// An archived `Value`, validated.
    pub result: Vec<u8>,
    /// What is to be committed; of a query always nothing.
    pub staged: Staged,
    /// Usage, logs, counters.
    pub trace: Trace,
}

/// A call that failed; nothing of what it staged is to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The stable code.
    pub code: Code,
    /// For people.
    pub message: String,
    /// The rest.
    pub details: Box<FailedDetails>,
}

/// Details of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedDetails {
    /// The guest's own code, if it refused by itself.
    pub failure_code: Option<String>,
    /// Frames of the guest, innermost first: function, and file with line where the module knows them.
    pub backtrace: Vec<String>,
    /// The bound it ran into.
    pub limit: Option<LimitHit>,
    /// Usage, logs, counters.
    pub trace: Trace,
}

impl Failed {
    /// A failure without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failed { code, message: message.into(), details: Box::default() }
    }

    /// A bound that was reached.
    pub fn limit(hit: LimitHit) -> Self {
        let mut failed = Failed::new(hit.kind.code(), hit.to_string());
        failed.details.limit = Some(hit);
        failed
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

/// Why a module isn't taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code (600s).
    pub code: Code,
    /// What is wrong and what to do.
    pub message: String,
    /// Frames of the guest if its `describe` failed.
    pub backtrace: Vec<String>,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), backtrace: Vec::new() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
