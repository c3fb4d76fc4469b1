//! The Outcrop client SDK: typed and raw access to records over QUIC, from one cheap handle.
//!
//! ```no_run
//! use outcrop_client::{Client, Key, Ttl};
//!
//! # async fn example() -> Result<(), outcrop_client::ClientError> {
//! let client = Client::connect("outcrop://127.0.0.1:7420").await?;
//! let key = Key::new("test", "sessions", "alice");
//! client.set_bytes(&key, b"hello", Ttl::Secs(60)).await?;
//! assert_eq!(client.get_bytes(&key).await?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes of a request
//!
//! Every request has a deadline (one second unless told otherwise). A read that fails on the way, and any request that
//! the node says it did not carry out, is sent again with a jittered pause, within the deadline. A write whose reply was
//! lost is never sent again on the SDK's own account: the caller gets [`ClientError::Indeterminate`] and decides, unless
//! it said that writing twice is harmless ([`PutOptions::idempotent`], or a condition on the generation).
//!
//! # Reading in place
//!
//! [`RecordView`] and [`Client::get_bytes`] hand out slices of the reply as it came off the network: no copy. Such a
//! slice keeps the packet that it came in alive (up to 64 KiB); copy what is kept for long.
//!
//! # Runtime
//!
//! The SDK spawns its tasks on the tokio runtime in which [`Client::connect`] is called; handles may be used from any
//! task. Nothing of it is global: several clients live side by side.

mod answer;
mod attempts;
mod batch;
pub mod bins;
mod builder;
mod client;
pub mod documents;
mod error;
pub mod functions;
pub mod low;
mod operate;
mod options;
mod parts;
mod scan;
mod telemetry;
pub mod timeseries;
mod transport;
mod trust;
mod url;
mod verbs;
mod view;

pub use outcrop_wire::{
    Bin, Bins, Code, Cursor, Digest, Key, KeyError, KeyRef, MapKey, NamespaceId, NamespaceInfo, Operation, PutMode,
    Record, Retry, Ttl, TypedError, UserKey, UserKeyRef, Value, archive::ArchiveError, record::ArchivedBins,
    value::ArchivedValue,
};

pub use batch::{Batch, BatchOutcome};
pub use builder::ClientBuilder;
pub use client::Client;
pub use error::ClientError;
pub use functions::{
    CallOptions, Called, Function, FunctionError, FunctionInfo, FunctionStats, Job, JobSpec, JobState, Jobs, LimitHit,
    LogEntry, LogLine, ModuleDescription, ModuleLimits, ModuleStats, ModuleSummary, Modules, RecordFailure, Report,
    Rows, Signature, Target, Uploaded, VersionInfo,
};
pub use operate::OperateResult;
pub use options::{DeleteOptions, OperateOptions, PutOptions, ScanOptions};
pub use scan::Scan;
pub use trust::{Trust, dev_certificate_path};
pub use url::UrlError;
pub use view::{RecordMeta, RecordView, Written};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The example of docs/models.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/models.md")]
struct Models;
