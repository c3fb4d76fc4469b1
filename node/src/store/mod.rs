//! One node's records: the index over the flash log, namespace by namespace.
//!
//! A namespace is an index, a log, a table of sets and a cache of hot records under one policy. Everything that changes
//! a record goes through `write`; everything that reads one through `read`; scans and recovery share the log's one
//! reader of segments.

pub mod cache;
pub mod checkpoint;
pub mod evict;
pub mod marker;
pub mod namespace;
pub mod open;
pub mod owner;
pub mod policy;
pub mod read;
pub mod replay;
pub mod scan;
pub mod sets;
pub mod stats;
pub mod sweep;
pub mod truncate;
pub mod write;

pub use namespace::Namespace;
pub use policy::{Commit, Policy, Values};
