//! What the node tells about itself: counters and histograms, statistics of its parts, spans of requests, log lines.
//!
//! Everything belongs to one node, except the process's log: [`log::init`], which only the binary calls, and the bound of
//! functions' lines in it. A request costs a few relaxed atomic additions in its worker's own cache lines; a span costs
//! nothing unless the request is sampled.

pub mod log;
pub mod metrics;
pub mod otlp;
mod process;
pub mod span;
pub mod stats;

pub use self::metrics::{Metrics, WorkerMetrics};
pub use self::span::{RequestSpan, Stage, Tracing, WorkerTracer};
pub use self::stats::{NamespaceStats, NodeStats, StatsSource};
