//! Requests about functions: calls, aggregates, row queries, modules and jobs, as they stand in a frame.

use super::ScanRequest;
use crate::function::{FunctionPath, NameError, check_module_name, check_module_version};
use crate::key::KeyRef;

/// Calls a function on one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRequest<'a> {
    /// The record; it needn't be there.
    pub key: KeyRef<'a>,
    /// Only if the record has this generation (0: only if it isn't there).
    pub if_generation: Option<u32>,
    /// Whether the reply shall tell of logs, fuel, memory and time.
    pub report: bool,
    /// The function.
    pub function: FunctionPath<'a>,
    /// An archived [`crate::Value`]; empty: null.
    pub arguments: &'a [u8],
}

/// What an aggregate goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// Records of a set or of the whole namespace.
    Scan {
        /// The set; `None`: the whole namespace.
        set: Option<&'a str>,
        /// First partition, 0 to 4,095.
        partition_first: u16,
        /// Last partition, included.
        partition_last: u16,
    },
    /// These records; one that isn't there is left out.
    Keys(Vec<KeyRef<'a>>),
}

/// One result of many records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateRequest<'a> {
    /// The function.
    pub function: FunctionPath<'a>,
    /// Whether the reply shall tell of logs, fuel, records and time.
    pub report: bool,
    /// Which records.
    pub target: Target<'a>,
    /// An archived [`crate::Value`]; empty: null.
    pub arguments: &'a [u8],
}

/// Rows that a function makes of the records of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsRequest<'a> {
    /// The function.
    pub function: FunctionPath<'a>,
    /// Which records, how fast, and where to go on; its limit counts rows, its bins aren't looked at.
    pub scan: ScanRequest<'a>,
    /// An archived [`crate::Value`]; empty: null.
    pub arguments: &'a [u8],
}

/// Something about a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleRequest<'a> {
    /// The module; may be empty for [`ModuleOperation::List`] and [`ModuleOperation::Stats`].
    pub name: &'a str,
    /// The version; may be empty where the operation is about the module or its active version.
    pub version: &'a str,
    /// What to do.
    pub operation: ModuleOperation<'a>,
}

/// What to do with a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleOperation<'a> {
    /// A part of a component, in order; the last one's reply comes once the version is registered. A part that was
    /// received already is acknowledged again. Reply: map `done` (bool), `received` (bytes so far).
    UploadPart {
        /// Bytes of the whole component.
        total_bytes: u64,
        /// Where this part begins.
        offset: u64,
        /// BLAKE3 of the whole component.
        hash: [u8; 32],
        /// The part, 1 to [`crate::limits::MODULE_PART_BYTES_MAX`] bytes.
        bytes: &'a [u8],
    },
    /// A detached ed25519 signature over the component's BLAKE3 hash; before the last part, or for a version that is
    /// there.
    Sign {
        /// The signature.
        signature: [u8; 64],
        /// The signer.
        public_key: [u8; 32],
    },
    /// Makes a version the one that calls without a version get.
    Activate,
    /// Activates the version that was active before.
    Rollback,
    /// Leaves the module without an active version.
    Deactivate,
    /// Removes a version that isn't active.
    Remove,
    /// All modules of the namespace, or one.
    List,
    /// What a version says of itself; the active one unless a version is named.
    Describe,
    /// Calls, errors, fuel, latencies, memory.
    Stats,
    /// Log lines of the module. Options: map `after` (sequence), `limit`.
    Logs {
        /// Archived map; empty: the latest lines.
        options: &'a [u8],
    },
    /// Refuses calls until [`ModuleOperation::Resume`].
    Pause,
    /// Takes calls again.
    Resume,
    /// Sets limits of the module's calls.
    SetLimits {
        /// Archived map of limits by name.
        limits: &'a [u8],
    },
}

impl ModuleOperation<'_> {
    /// Its number on the wire.
    pub fn number(&self) -> u8 {
        match self {
            ModuleOperation::UploadPart { .. } => 1,
            ModuleOperation::Sign { .. } => 2,
            ModuleOperation::Activate => 3,
            ModuleOperation::Rollback => 4,
            ModuleOperation::Deactivate => 5,
            ModuleOperation::Remove => 6,
            ModuleOperation::List => 7,
            ModuleOperation::Describe => 8,
            ModuleOperation::Stats => 9,
            ModuleOperation::Logs { .. } => 10,
            ModuleOperation::Pause => 11,
            ModuleOperation::Resume => 12,
            ModuleOperation::SetLimits { .. } => 13,
        }
    }

    /// Its name, as spans and messages print it.
    pub fn name(&self) -> &'static str {
        match self {
            ModuleOperation::UploadPart { .. } => "upload",
            ModuleOperation::Sign { .. } => "sign",
            ModuleOperation::Activate => "activate",
            ModuleOperation::Rollback => "rollback",
            ModuleOperation::Deactivate => "deactivate",
            ModuleOperation::Remove => "remove",
            ModuleOperation::List => "list",
            ModuleOperation::Describe => "describe",
            ModuleOperation::Stats => "stats",
            ModuleOperation::Logs { .. } => "logs",
            ModuleOperation::Pause => "pause",
            ModuleOperation::Resume => "resume",
            ModuleOperation::SetLimits { .. } => "set_limits",
        }
    }

    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            ModuleOperation::List | ModuleOperation::Describe | ModuleOperation::Stats | ModuleOperation::Logs { .. }
        )
    }

    fn needs_name(&self) -> bool {
        !matches!(self, ModuleOperation::List | ModuleOperation::Stats)
    }

    fn needs_version(&self) -> bool {
        matches!(
            self,
            ModuleOperation::UploadPart { .. }
                | ModuleOperation::Sign { .. }
                | ModuleOperation::Activate
                | ModuleOperation::Remove
        )
    }
}

impl ModuleRequest<'_> {
    /// Checks the names, and that those that the operation needs are there.
    pub fn check(&self) -> Result<(), NameError> {
        if self.operation.needs_name() || !self.name.is_empty() {
            check_module_name(self.name)?;
        }
        if self.operation.needs_version() || !self.version.is_empty() {
            check_module_version(self.version)?;
        }
        Ok(())
    }
}

/// Something about background jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRequest<'a> {
    /// What to do.
    pub operation: JobOperation,
    /// Archived map: for `Start` the job (`function`, `set`, `partition_first`, `partition_last`, `arguments`,
    /// `records_per_sec`, `parallel`, `failures_max`), for the others but `List` its `id`.
    pub options: &'a [u8],
}

/// What to do with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum JobOperation {
    /// Starts one.
    Start = 1,
    /// All that the node knows.
    List = 2,
    /// How far one is.
    Status = 3,
    /// Lets one wait.
    Pause = 4,
    /// Lets one go on.
    Resume = 5,
    /// Ends one for good.
    Cancel = 6,
    /// Forgets one that has ended.
    Remove = 7,
}

impl JobOperation {
    /// Every operation.
    pub const ALL: [JobOperation; 7] = [
        JobOperation::Start,
        JobOperation::List,
        JobOperation::Status,
        JobOperation::Pause,
        JobOperation::Resume,
        JobOperation::Cancel,
        JobOperation::Remove,
    ];

    /// The operation of a number.
    pub fn from_number(number: u8) -> Option<JobOperation> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == number)
    }

    /// Its name, as spans and messages print it.
    pub fn name(self) -> &'static str {
        match self {
            JobOperation::Start => "start",
            JobOperation::List => "list",
            JobOperation::Status => "status",
            JobOperation::Pause => "pause",
            JobOperation::Resume => "resume",
            JobOperation::Cancel => "cancel",
            JobOperation::Remove => "remove",
        }
    }

    /// Whether it changes something.
    pub fn writes(self) -> bool {
        !matches!(self, JobOperation::List | JobOperation::Status)
    }
}
