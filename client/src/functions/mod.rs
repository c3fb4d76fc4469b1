//! Functions: call them on a record, on many, over a set; manage the modules they come in and the jobs that run them.
//!
//! A function is named `module.function` (the module's active version) or `module@version.function`. Arguments and
//! results are any serde type (the mapping is that of [`crate::bins`]), or [`Value`](crate::Value)s.
//!
//! ```no_run
//! use outcrop_client::{Client, Key, Target};
//!
//! # async fn example() -> Result<(), outcrop_client::ClientError> {
//! let client = Client::connect("outcrop://127.0.0.1:7420").await?;
//! // One record, atomically.
//! let lamp = Key::new("test", "products", "lamp");
//! let price: i64 = client.call(&lamp, "shop.discount", &15).await?;
//! // One result of a whole set, worked out beside the data.
//! let total: f64 = client.aggregate(&Target::set("test", "products"), "shop.total", &()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes of a call
//!
//! What a record function writes is one write, all or nothing: on a failure or a trap nothing happens. A call whose reply
//! was lost is [`ClientError::Indeterminate`](crate::ClientError::Indeterminate), as other writes are, unless it is said
//! to be harmless twice ([`Function::idempotent`]), to read only ([`Function::read_only`]), or has a condition on the
//! generation. What a function reports of itself when it fails is a [`FunctionError`].

mod called;
mod error;
mod function;
mod jobs;
mod modules;
mod options;
mod reports;
mod rows;

pub use called::{Called, LogLine, Report};
pub use error::{FunctionError, LimitHit};
pub use function::Function;
pub use jobs::{Job, JobSpec, JobState, Jobs, RecordFailure};
pub use modules::{Modules, Signature, Uploaded};
pub use options::{CallOptions, Target};
pub use reports::{
    FunctionInfo, FunctionStats, LogEntry, ModuleDescription, ModuleLimits, ModuleStats, ModuleSummary, VersionInfo,
};
pub use rows::Rows;

pub(crate) use function::check_path;
