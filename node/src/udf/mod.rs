//! Functions beside the data: the engine that runs users' WebAssembly components, and everything that bounds it.
//!
//! A [`Host`] compiles components (one at a time, in a process of its own) into [`Prepared`] modules; those run record
//! functions ([`Prepared::call_record`]), aggregates and row functions. Functions stage their writes and return them;
//! committing is for the floors above. The world that a guest sees is `wit/udf.wit`.
//!
//! Architecture invariant: a guest has nothing but what `imports` gives it. There is no WASI, no clock, no environment,
//! no handle that outlives a call; each record call and each query gets memory that no other guest's bytes are in: that of a
//! fresh instance, or of one that was wiped (see `compile::wipe`).

mod aggregate;
mod artifact;
pub mod batch;
mod bindings;
mod cache;
mod call;
pub mod compile;
mod draft;
mod engine;
mod failure;
mod guest_log;
mod host;
mod imports;
mod kept;
pub mod limits;
pub mod options;
pub mod outcome;
mod prepared;
mod query;
pub mod registry;
mod rows;
mod run;
mod state;
mod view;

pub use batch::{BatchSource, SourceError};
pub use call::Call;
pub use compile::Compiler;
pub use host::{Host, HostError};
pub use limits::{LimitHit, LimitKind, Limits};
pub use options::{CompileOptions, FunctionOptions};
pub use outcome::{Failed, FailedDetails, LogLevel, LogLine, Ran, Refusal, Staged, Trace, Usage};
pub use prepared::{Encoding, FunctionInfo, FunctionKind, Label, ModuleInfo, Prepared};
pub use rows::RowsPart;
pub use view::Subject;
