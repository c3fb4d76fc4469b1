//! What the node keeps about one instance while it runs: bounds, the record at hand, logs, counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use outcrop_flash::Lsn;
use tokio::time::Instant;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::batch::Batch;
use super::guest_log::Author;
use super::limits::{LimitHit, LimitKind, Limits};
use super::outcome::{LogLevel, LogLine, Trace, Usage};
use super::prepared::Label;
use super::view::View;
use crate::store::Namespace;
use crate::world::PulseUser;

/// Names of counters of one module.
pub const COUNTERS_MAX: usize = 64;
/// Bytes of a counter's name.
const COUNTER_NAME_BYTES_MAX: usize = 63;
/// Bytes of one log line; longer ones are cut.
const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// How an error line begins by which a guest's panic hook says what is wrong, right before it traps.
const LAST_WORDS: &str = "panicked at ";

/// What kind of work the instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It says what the module offers.
    Describe,
    /// A record function.
    Record {
        /// It never writes.
        read_only: bool,
    },
    /// An aggregate.
    Aggregate,
    /// A row function.
    Row,
}

/// Everything that the host's functions work on; the engine's store owns it.
pub struct CallState {
    /// The bounds.
    pub limits: Arc<Limits>,
    /// What kind of work.
    pub work: Work,
    /// The call's time.
    pub now_ms: u64,
    /// The call's seed.
    pub seed: u64,
    /// Where other records are; `None` while a module describes itself.
    pub namespace: Option<Arc<Namespace>>,
    /// The record at hand.
    pub view: View,
    /// The batch at hand of an aggregate or row function.
    pub batch: Option<Batch>,
    /// Whose call it is, for the log.
    pub label: Arc<Label>,
    /// When it has to end.
    pub deadline: Instant,
    /// Other records that it read must be durable up to here before anybody learns of its result.
    pub rests_on: Option<Lsn>,
    /// Engine-wide stack, for the error's numbers.
    pub stack_bytes: u64,
    started: Instant,
    hit: Option<LimitHit>,
    usage: Usage,
    memory_bytes: u64,
    table_elements: u64,
    logs: Vec<LogLine>,
    log_bytes: u64,
    last_words: Option<String>,
    counters: BTreeMap<String, u64>,
    yields: Arc<AtomicU32>,
    pulse: Option<PulseUser>,
}

/// What an instance begins with.
pub struct Beginning {
    /// The bounds.
    pub limits: Arc<Limits>,
    /// What kind of work.
    pub work: Work,
    /// The call's time.
    pub now_ms: u64,
    /// The call's seed.
    pub seed: u64,
    /// Where other records are.
    pub namespace: Option<Arc<Namespace>>,
    /// The record at hand.
    pub view: View,
    /// Whose call it is.
    pub label: Arc<Label>,
    /// When the call began.
    pub started: Instant,
    /// Engine-wide stack.
    pub stack_bytes: u64,
    /// Counts interruptions, for whoever polls the call.
    pub yields: Arc<AtomicU32>,
    /// Keeps the heartbeat going.
    pub pulse: PulseUser,
}

impl CallState {
    /// The state of a fresh instance.
    pub fn new(begin: Beginning) -> Self {
        CallState {
            deadline: begin.started + begin.limits.wall,
            limits: begin.limits,
            work: begin.work,
            now_ms: begin.now_ms,
            seed: begin.seed,
            namespace: begin.namespace,
            view: begin.view,
            batch: None,
            label: begin.label,
            rests_on: None,
            stack_bytes: begin.stack_bytes,
            started: begin.started,
            hit: None,
            usage: Usage { instances: 1, ..Usage::default() },
            memory_bytes: 0,
            table_elements: 0,
            logs: Vec::new(),
            log_bytes: 0,
            last_words: None,
            counters: BTreeMap::new(),
            yields: begin.yields,
            pulse: Some(begin.pulse),
        }
    }

    /// Another call begins in the same instance, which was wiped: of the last one nothing is left but how large it is.
    pub fn begin_again(&mut self, begin: Beginning) {
        let (memory_bytes, table_elements) = self.size();
        *self = CallState::new(begin);
        self.memory_bytes = memory_bytes;
        self.table_elements = table_elements;
        self.usage.memory_bytes = memory_bytes;
    }

    /// Bytes of the instance's memories and elements of its tables.
    pub fn size(&self) -> (u64, u64) {
        (self.memory_bytes, self.table_elements)
    }

    /// Notes that a bound was reached, and makes the error that ends the call.
    pub fn exceed(&mut self, kind: LimitKind, allowed: u64, used: u64) -> wasmtime::Error {
        let hit = LimitHit { kind, allowed, used };
        self.hit = Some(hit);
        wasmtime::Error::new(hit)
    }

    /// Counts a call of the host.
    pub fn charge(&mut self) -> wasmtime::Result<()> {
        self.usage.host_calls += 1;
        let allowed = self.limits.host_calls;
        if self.usage.host_calls > allowed {
            return Err(self.exceed(LimitKind::HostCalls, allowed, self.usage.host_calls));
        }
        Ok(())
    }

    /// Counts a read of another record, before it is done.
    pub fn charge_read(&mut self) -> wasmtime::Result<()> {
        self.usage.reads = self.usage.reads.saturating_add(1);
        let allowed = self.limits.reads;
        if self.usage.reads > allowed {
            return Err(self.exceed(LimitKind::Reads, allowed.into(), self.usage.reads.into()));
        }
        Ok(())
    }

    /// Counts the bytes of another record.
    pub fn charge_read_bytes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.usage.read_bytes += bytes as u64;
        let allowed = self.limits.read_bytes;
        if self.usage.read_bytes > allowed {
            return Err(self.exceed(LimitKind::ReadBytes, allowed, self.usage.read_bytes));
        }
        Ok(())
    }

    /// Counts bytes that the guest gives out; `pending` of them are to be handed over together.
    pub fn charge_output(&mut self, bytes: usize, pending: usize) -> wasmtime::Result<()> {
        let allowed = self.limits.output_bytes;
        if pending as u64 > allowed {
            return Err(self.exceed(LimitKind::Output, allowed, pending as u64));
        }
        self.usage.output_bytes += bytes as u64;
        Ok(())
    }

    /// Counts a batch.
    pub fn count_batch(&mut self, records: u64, bytes: u64) {
        self.usage.records += records;
        self.usage.bytes += bytes;
    }

    /// The bound that was reached last.
    pub fn hit(&self) -> Option<LimitHit> {
        self.hit
    }

    /// What the guest said of its panic, whether the log still had room for it or not.
    pub fn last_words(&self) -> Option<&str> {
        self.last_words.as_deref()
    }

    /// Takes a log line, within the bounds.
    pub fn log(&mut self, level: LogLevel, mut message: String) {
        if message.len() > LOG_LINE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(LOG_LINE_BYTES_MAX));
        }
        if level == LogLevel::Error && message.starts_with(LAST_WORDS) {
            self.last_words = Some(message.clone());
        }
        let bytes = self.log_bytes + message.len() as u64;
        if self.logs.len() >= self.limits.log_lines as usize || bytes > self.limits.log_bytes {
            self.usage.logs_dropped += 1;
            return;
        }
        self.log_bytes = bytes;
        let Label { module, version, function, log } = &*self.label;
        log.write(Instant::now(), level, Author { module, version, function }, &message);
        self.logs.push(LogLine { level, message });
    }

    /// Adds to a counter; names beyond the bound are dropped.
    pub fn count(&mut self, name: String, delta: u64) {
        if let Some(value) = self.counters.get_mut(&name) {
            *value = value.saturating_add(delta);
        } else if self.counters.len() < COUNTERS_MAX && !name.is_empty() && name.len() <= COUNTER_NAME_BYTES_MAX {
            self.counters.insert(name, delta);
        }
    }

    /// Milliseconds since the call began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the call if its time is over.
    pub fn check_time(&mut self) -> wasmtime::Result<()> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let allowed = u64::try_from(self.limits.wall.as_millis()).unwrap_or(u64::MAX);
        let used = self.elapsed_ms();
        Err(self.exceed(LimitKind::Wall, allowed, used))
    }

    /// Ends the call and says what is told of it; `fuel_left` as the engine says. Everything of the call's is let go.
    pub fn end(&mut self, fuel_left: u64) -> Trace {
        let mut usage = std::mem::take(&mut self.usage);
        usage.fuel = self.limits.fuel.saturating_sub(fuel_left);
        usage.wall = self.started.elapsed();
        usage.yields = self.yields.load(Ordering::Relaxed);
        self.view = View::none();
        self.batch = None;
        self.namespace = None;
        self.last_words = None;
        self.pulse = None;
        let counters = std::mem::take(&mut self.counters).into_iter().collect();
        Trace { usage, logs: std::mem::take(&mut self.logs), counters, rests_on: self.rests_on.take() }
    }
}

/// Called when the heartbeat interrupts a guest: it ends if its time is over, else others run first.
pub fn interrupted(mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    state.check_time()?;
    state.yields.fetch_add(1, Ordering::Relaxed);
    Ok(UpdateDeadline::Yield(1))
}

impl ResourceLimiter for CallState {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let all = self.memory_bytes + (desired - current.min(desired)) as u64;
        if all > self.limits.memory_bytes {
            self.hit = Some(LimitHit { kind: LimitKind::Memory, allowed: self.limits.memory_bytes, used: all });
            return Ok(false);
        }
        self.memory_bytes = all;
        self.usage.memory_bytes = self.usage.memory_bytes.max(all);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let all = self.table_elements + (desired - current.min(desired)) as u64;
        if all > self.limits.table_elements {
            self.hit = Some(LimitHit { kind: LimitKind::Tables, allowed: self.limits.table_elements, used: all });
            return Ok(false);
        }
        self.table_elements = all;
        Ok(true)
    }

    fn instances(&self) -> usize {
        super::engine::CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        super::engine::TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        super::engine::MEMORIES_MAX as usize
    }
}
