//! Requests: verbs, their fields, and their bytes in both directions.
//!
//! A frame's content: `u32 request id, u8 verb, u8 flags, u16 namespace, u32 deadline ms (0: the node's default)`, with
//! flag bit 0 the 25 bytes of a trace context, then the verb's body. Drawn in `docs/protocol.md`.

use thiserror::Error;

mod codec;
mod function_codec;
mod functions;

pub use codec::{carries_trace, decode_request, encode_request, peek_header, peek_key, peek_request_id};

pub use functions::{
    AggregateRequest, CallRequest, JobOperation, JobRequest, ModuleOperation, ModuleRequest, RowsRequest, Target,
};

use crate::cursor::Cursor;
use crate::function::NameError;
use crate::hello::NamespaceId;
use crate::key::{KeyError, KeyRef};
use crate::limits::{ARGUMENTS_BYTES_MAX, BATCH_MAX, BIN_NAME_BYTES_MAX, PARTITIONS, TTL_SECS_MAX};
use crate::reader::ReadError;
use crate::trace::TraceContext;

/// Why a request's bytes can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Fields end too early.
    #[error("malformed request: {0}")]
    Malformed(#[from] ReadError),
    /// The key is wrong.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The verb is unknown.
    #[error("verb {0} is unknown")]
    Verb(u8),
    /// A field has a value that it can't have.
    #[error("`{field}` can't be {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it was.
        value: u64,
    },
    /// Bytes behind the end.
    #[error("{0} bytes follow the request's end")]
    Trailing(usize),
    /// A time to live over the limit.
    #[error("a time to live is 1 to {TTL_SECS_MAX} seconds, not {0}")]
    Ttl(u32),
    /// A bin name over the limit.
    #[error("a bin name has at most {BIN_NAME_BYTES_MAX} bytes, this one has {0}")]
    BinName(usize),
    /// A batch of none, of too many, or with a request that can't be in one.
    #[error("a batch takes 1 to {BATCH_MAX} requests of get, put, delete, exists, touch, operate or call: {0}")]
    Batch(String),
    /// A module, version or function has a name that can't be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Arguments over the limit.
    #[error("arguments have at most {ARGUMENTS_BYTES_MAX} bytes, these have {0}")]
    Arguments(usize),
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verb {
    /// Read a record, all bins or some.
    Get = 1,
    /// Whether a record is there.
    Exists = 2,
    /// Write a record.
    Put = 3,
    /// Delete a record.
    Delete = 4,
    /// Give a record a new time to live.
    Touch = 5,
    /// An ordered list of operations on one record.
    Operate = 6,
    /// Many of the above.
    Batch = 7,
    /// All records of a set or namespace.
    Scan = 8,
    /// Remove all records of a set.
    Truncate = 9,
    /// Statistics as JSON.
    Info = 10,
    /// A function on one record.
    Call = 11,
    /// A function over many records, with one result.
    Aggregate = 12,
    /// A function that makes rows of a scan's records.
    Rows = 13,
    /// Upload, activate, describe … a module of functions.
    Module = 14,
    /// Start, watch, end a function's job over a set.
    Job = 15,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 15] = [
        Verb::Get,
        Verb::Exists,
        Verb::Put,
        Verb::Delete,
        Verb::Touch,
        Verb::Operate,
        Verb::Batch,
        Verb::Scan,
        Verb::Truncate,
        Verb::Info,
        Verb::Call,
        Verb::Aggregate,
        Verb::Rows,
        Verb::Module,
        Verb::Job,
    ];

    /// The verb of a number.
    pub fn from_number(number: u8) -> Option<Verb> {
        Self::ALL.into_iter().find(|verb| *verb as u8 == number)
    }

    /// Its name, as metrics, spans and the command line print it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Exists => "exists",
            Verb::Put => "put",
            Verb::Delete => "delete",
            Verb::Touch => "touch",
            Verb::Operate => "operate",
            Verb::Batch => "batch",
            Verb::Scan => "scan",
            Verb::Truncate => "truncate",
            Verb::Info => "info",
            Verb::Call => "call",
            Verb::Aggregate => "aggregate",
            Verb::Rows => "rows",
            Verb::Module => "module",
            Verb::Job => "job",
        }
    }

    /// Whether it may change something, so that a lost reply leaves its fate unknown.
    pub fn writes(self) -> bool {
        !matches!(self, Verb::Get | Verb::Exists | Verb::Scan | Verb::Info | Verb::Aggregate | Verb::Rows)
    }

    /// Whether it is about one record, whose key stands first in its body; such requests may be in a batch.
    pub fn of_one_record(self) -> bool {
        matches!(self, Verb::Get | Verb::Exists | Verb::Put | Verb::Delete | Verb::Touch | Verb::Operate | Verb::Call)
    }
}

/// What stands in front of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// Unique among the connection's requests under way.
    pub request_id: u32,
    /// The verb.
    pub verb: Verb,
    /// The namespace, by the welcome's numbers (ignored by `Info` and by `Batch`, whose items have their own).
    pub namespace: NamespaceId,
    /// Milliseconds that the caller will wait; 0: the node's default.
    pub deadline_ms: u32,
    /// The caller's trace context, when it samples.
    pub trace: Option<TraceContext>,
}

/// Time to live of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// The namespace's default.
    #[default]
    Default,
    /// It never expires.
    Never,
    /// It keeps the expiry that it has; a new record gets the namespace's default.
    Keep,
    /// It expires in this many seconds, 1 to ten years.
    Secs(u32),
}

impl Ttl {
    pub(crate) fn encode(self) -> u32 {
        match self {
            Ttl::Default => 0,
            Ttl::Never => u32::MAX,
            Ttl::Keep => u32::MAX - 1,
            Ttl::Secs(secs) => secs,
        }
    }

    pub(crate) fn decode(number: u32) -> Result<Self, RequestError> {
        match number {
            0 => Ok(Ttl::Default),
            u32::MAX => Ok(Ttl::Never),
            0xFFFF_FFFE => Ok(Ttl::Keep),
            secs if secs <= TTL_SECS_MAX => Ok(Ttl::Secs(secs)),
            secs => Err(RequestError::Ttl(secs)),
        }
    }

    /// Checks the limits of [`Ttl::Secs`].
    pub fn check(self) -> Result<(), RequestError> {
        match self {
            Ttl::Secs(secs) if secs == 0 || secs > TTL_SECS_MAX => Err(RequestError::Ttl(secs)),
            _ => Ok(()),
        }
    }
}

/// What `put` does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(u8)]
pub enum PutMode {
    /// Creates the record, or merges the bins into it: bins that aren't named stay.
    #[default]
    Upsert = 0,
    /// Creates the record; it must not be there.
    CreateOnly = 1,
    /// Merges the bins into the record; it must be there.
    UpdateOnly = 2,
    /// Creates the record, or puts the bins in place of all that it had. Reads nothing: the fastest write.
    Replace = 3,
    /// Puts the bins in place of all that the record had; it must be there.
    ReplaceOnly = 4,
}

impl PutMode {
    /// The mode of a number.
    pub fn from_number(number: u8) -> Option<PutMode> {
        [PutMode::Upsert, PutMode::CreateOnly, PutMode::UpdateOnly, PutMode::Replace, PutMode::ReplaceOnly]
            .into_iter()
            .find(|mode| *mode as u8 == number)
    }
}

/// Which bins a read gives back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BinSelection<'a> {
    /// All: the stored bytes, untouched.
    #[default]
    All,
    /// None: generation and expiry only.
    None,
    /// These, in the record's order; a name that the record doesn't have is left out.
    Named(Vec<&'a str>),
}

/// What a scan goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRequest<'a> {
    /// One set; `None`: the whole namespace.
    pub set: Option<&'a str>,
    /// First partition, 0 to 4,095.
    pub partition_first: u16,
    /// Last partition, included.
    pub partition_last: u16,
    /// Which bins.
    pub bins: BinSelection<'a>,
    /// Where an earlier scan stopped.
    pub cursor: Option<Cursor>,
    /// Records a second, at most; 0: as fast as the client reads.
    pub records_per_sec: u32,
    /// Records in all, at most; 0: no limit.
    pub limit: u64,
}

impl Default for ScanRequest<'_> {
    fn default() -> Self {
        ScanRequest {
            set: None,
            partition_first: 0,
            partition_last: PARTITIONS as u16 - 1,
            bins: BinSelection::All,
            cursor: None,
            records_per_sec: 0,
            limit: 0,
        }
    }
}

/// One request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// What it asks for.
    pub body: RequestBody<'a>,
}

/// A request's verb with its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody<'a> {
    /// Read a record.
    Get {
        /// Which.
        key: KeyRef<'a>,
        /// Which bins.
        bins: BinSelection<'a>,
    },
    /// Whether a record is there.
    Exists {
        /// Which.
        key: KeyRef<'a>,
    },
    /// Write a record.
    Put {
        /// Which.
        key: KeyRef<'a>,
        /// What becomes of what is there.
        mode: PutMode,
        /// Only if the record has this generation (0: only if it isn't there).
        if_generation: Option<u32>,
        /// Its time to live.
        ttl: Ttl,
        /// Archived [`crate::Bins`].
        archive: &'a [u8],
    },
    /// Delete a record, durably.
    Delete {
        /// Which.
        key: KeyRef<'a>,
        /// Only if the record has this generation.
        if_generation: Option<u32>,
    },
    /// Give a record a new time to live.
    Touch {
        /// Which.
        key: KeyRef<'a>,
        /// Only if the record has this generation.
        if_generation: Option<u32>,
        /// The new time to live.
        ttl: Ttl,
    },
    /// Operations on one record.
    Operate {
        /// Which.
        key: KeyRef<'a>,
        /// Only if the record has this generation.
        if_generation: Option<u32>,
        /// Time to live if a step writes; [`Ttl::Keep`] leaves it.
        ttl: Ttl,
        /// Archived `Vec<Operation>`.
        operations: &'a [u8],
    },
    /// Many requests, each with its own outcome.
    Batch {
        /// The requests.
        items: Vec<BatchItem<'a>>,
    },
    /// All records of a set or namespace.
    Scan(ScanRequest<'a>),
    /// Remove all records of a set that are there now.
    Truncate {
        /// The set.
        set: &'a str,
    },
    /// Statistics as JSON.
    Info {
        /// `""` for everything, else a part by name.
        topic: &'a str,
    },
    /// A function on one record.
    Call(CallRequest<'a>),
    /// A function over many records, with one result.
    Aggregate(AggregateRequest<'a>),
    /// A function that makes rows of a scan's records.
    Rows(RowsRequest<'a>),
    /// Something about a module.
    Module(ModuleRequest<'a>),
    /// Something about background jobs.
    Job(JobRequest<'a>),
}

impl RequestBody<'_> {
    /// The set that it is about, if it is about one.
    pub fn set(&self) -> Option<&str> {
        match self {
            RequestBody::Get { key, .. }
            | RequestBody::Exists { key }
            | RequestBody::Put { key, .. }
            | RequestBody::Delete { key, .. }
            | RequestBody::Touch { key, .. }
            | RequestBody::Operate { key, .. } => Some(key.set),
            RequestBody::Call(call) => Some(call.key.set),
            RequestBody::Scan(scan) => scan.set,
            RequestBody::Aggregate(AggregateRequest { target: Target::Scan { set, .. }, .. }) => *set,
            RequestBody::Aggregate(AggregateRequest { target: Target::Keys(keys), .. }) => {
                keys.first().map(|key| key.set)
            }
            RequestBody::Rows(rows) => rows.scan.set,
            RequestBody::Truncate { set } => Some(set),
            RequestBody::Batch { .. } | RequestBody::Info { .. } | RequestBody::Module(_) | RequestBody::Job(_) => None,
        }
    }

    /// The verb.
    pub fn verb(&self) -> Verb {
        match self {
            RequestBody::Get { .. } => Verb::Get,
            RequestBody::Exists { .. } => Verb::Exists,
            RequestBody::Put { .. } => Verb::Put,
            RequestBody::Delete { .. } => Verb::Delete,
            RequestBody::Touch { .. } => Verb::Touch,
            RequestBody::Operate { .. } => Verb::Operate,
            RequestBody::Batch { .. } => Verb::Batch,
            RequestBody::Scan(_) => Verb::Scan,
            RequestBody::Truncate { .. } => Verb::Truncate,
            RequestBody::Info { .. } => Verb::Info,
            RequestBody::Call(_) => Verb::Call,
            RequestBody::Aggregate(_) => Verb::Aggregate,
            RequestBody::Rows(_) => Verb::Rows,
            RequestBody::Module(_) => Verb::Module,
            RequestBody::Job(_) => Verb::Job,
        }
    }
}
