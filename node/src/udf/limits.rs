//! What a call may use, and which bound it ran into.

use std::fmt;
use std::time::Duration;

use outcrop_wire::Code;

/// Bounds of one call, or of one query and each of its instances. Zero allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the call's beginning to its end, waits included.
    pub wall: Duration,
    /// Wasm instructions, nearly: what the engine counts as fuel. Of a query: for each instance.
    pub fuel: u64,
    /// All linear memories of an instance together.
    pub memory_bytes: u64,
    /// All tables of an instance together.
    pub table_elements: u64,
    /// Calls of what the node offers (`record.*`, `context.*` …).
    pub host_calls: u64,
    /// Arguments.
    pub input_bytes: u64,
    /// The result; of an aggregate also each state, of a row function the rows of one batch. Nothing that the guest hands
    /// to the node in one go may be larger.
    pub output_bytes: u64,
    /// Log lines; what is beyond is counted and dropped.
    pub log_lines: u32,
    /// Bytes of log lines, likewise.
    pub log_bytes: u64,
    /// Reads of other records.
    pub reads: u32,
    /// Bytes of other records.
    pub read_bytes: u64,
    /// Calls of the module under way at once.
    pub concurrent_calls: u32,
}

impl Limits {
    /// Defaults of a call on one record.
    pub const RECORD: Limits = Limits {
        wall: Duration::from_secs(1),
        fuel: 200_000_000,
        memory_bytes: 64 << 20,
        table_elements: 20_000,
        host_calls: 20_000,
        input_bytes: 1 << 20,
        output_bytes: 4 << 20,
        log_lines: 64,
        log_bytes: 16 << 10,
        reads: 64,
        read_bytes: 16 << 20,
        // Half of the pool, so that one module leaves room for others.
        concurrent_calls: 128,
    };

    /// Defaults of an aggregate or a row query.
    pub const QUERY: Limits = Limits {
        wall: Duration::from_secs(60),
        fuel: 100_000_000_000,
        memory_bytes: 256 << 20,
        table_elements: 20_000,
        host_calls: 1_000_000_000,
        input_bytes: 1 << 20,
        output_bytes: 16 << 20,
        log_lines: 256,
        log_bytes: 64 << 10,
        reads: 10_000,
        read_bytes: 1 << 30,
        concurrent_calls: 16,
    };

    /// The lower of both, bound by bound.
    #[must_use]
    pub fn capped(&self, other: &Limits) -> Limits {
        Limits {
            wall: self.wall.min(other.wall),
            fuel: self.fuel.min(other.fuel),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            table_elements: self.table_elements.min(other.table_elements),
            host_calls: self.host_calls.min(other.host_calls),
            input_bytes: self.input_bytes.min(other.input_bytes),
            output_bytes: self.output_bytes.min(other.output_bytes),
            log_lines: self.log_lines.min(other.log_lines),
            log_bytes: self.log_bytes.min(other.log_bytes),
            reads: self.reads.min(other.reads),
            read_bytes: self.read_bytes.min(other.read_bytes),
            concurrent_calls: self.concurrent_calls.min(other.concurrent_calls),
        }
    }
}

/// Which bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// [`Limits::wall`], in milliseconds.
    Wall,
    /// [`Limits::fuel`].
    Fuel,
    /// [`Limits::memory_bytes`].
    Memory,
    /// [`Limits::table_elements`].
    Tables,
    /// The engine's stack, in bytes.
    Stack,
    /// [`Limits::host_calls`].
    HostCalls,
    /// [`Limits::input_bytes`].
    Input,
    /// [`Limits::output_bytes`].
    Output,
    /// [`Limits::reads`].
    Reads,
    /// [`Limits::read_bytes`].
    ReadBytes,
    /// [`Limits::concurrent_calls`], or the node's instances.
    Concurrency,
}

impl LimitKind {
    /// Every bound.
    pub const ALL: [LimitKind; 11] = [
        LimitKind::Wall,
        LimitKind::Fuel,
        LimitKind::Memory,
        LimitKind::Tables,
        LimitKind::Stack,
        LimitKind::HostCalls,
        LimitKind::Input,
        LimitKind::Output,
        LimitKind::Reads,
        LimitKind::ReadBytes,
        LimitKind::Concurrency,
    ];

    /// Its name in error details, that of its setting.
    pub fn name(self) -> &'static str {
        match self {
            LimitKind::Wall => "wall_ms",
            LimitKind::Fuel => "fuel",
            LimitKind::Memory => "memory_bytes",
            LimitKind::Tables => "table_elements",
            LimitKind::Stack => "stack_bytes",
            LimitKind::HostCalls => "host_calls",
            LimitKind::Input => "input_bytes",
            LimitKind::Output => "output_bytes",
            LimitKind::Reads => "reads",
            LimitKind::ReadBytes => "read_bytes",
            LimitKind::Concurrency => "concurrent_calls",
        }
    }

    /// Its stable code.
    pub fn code(self) -> Code {
        match self {
            LimitKind::Wall => Code::FunctionTimeLimit,
            LimitKind::Fuel => Code::FunctionFuelLimit,
            LimitKind::Memory => Code::FunctionMemoryLimit,
            LimitKind::Tables => Code::FunctionTableLimit,
            LimitKind::Stack => Code::FunctionStackLimit,
            LimitKind::HostCalls => Code::FunctionHostCallLimit,
            LimitKind::Input => Code::FunctionInputLimit,
            LimitKind::Output => Code::FunctionOutputLimit,
            LimitKind::Reads | LimitKind::ReadBytes => Code::FunctionReadLimit,
            LimitKind::Concurrency => Code::FunctionConcurrencyLimit,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            LimitKind::Wall => "milliseconds",
            LimitKind::Fuel => "units of fuel",
            LimitKind::Memory => "bytes of memory",
            LimitKind::Tables => "table elements",
            LimitKind::Stack => "bytes of stack",
            LimitKind::HostCalls => "calls of the node",
            LimitKind::Input => "bytes of arguments",
            LimitKind::Output => "bytes of output",
            LimitKind::Reads => "reads of other records",
            LimitKind::ReadBytes => "bytes of other records",
            LimitKind::Concurrency => "calls at once",
        }
    }
}

/// A bound that a call ran into. As an error inside of the engine it ends the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitHit {
    /// Which.
    pub kind: LimitKind,
    /// What is allowed, in the unit of the bound.
    pub allowed: u64,
    /// What was used or asked for.
    pub used: u64,
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitHit { kind, allowed, used } = self;
        match kind {
            // What a runaway stack or loop would have used in the end, nobody knows.
            LimitKind::Stack | LimitKind::Fuel => {
                write!(f, "the limit `{}` is reached: {allowed} {}", kind.name(), kind.noun())
            }
            _ => {
                write!(f, "the limit `{}` is reached: {used} {} asked for, {allowed} allowed", kind.name(), kind.noun())
            }
        }
    }
}

impl std::error::Error for LimitHit {}
