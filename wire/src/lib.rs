//! Keys, digests, values, records, requests, replies, limits and error codes: what every other floor speaks.
//!
//! This crate has no I/O, no clock and no runtime, and it builds for `wasm32-unknown-unknown`: a guest function reads
//! the very same archived records as the node and the client. Byte layouts are drawn in `docs/protocol.md`.
//!
//! Architecture invariant: nothing here knows of sockets, devices or tasks, and nothing here is `unsafe`.

pub mod archive;
pub mod code;
pub mod cursor;
pub mod digest;
mod fault;
pub mod frame;
pub mod function;
pub mod hello;
#[cfg(feature = "json")]
pub mod json;
pub mod key;
pub mod limits;
pub mod operation;
pub mod peek;
pub mod reader;
pub mod record;
pub mod reply;
pub mod request;
pub mod stored;
pub mod text;
pub mod trace;
#[cfg(feature = "serde")]
pub mod typed;
pub mod value;

pub use code::{Code, Retry};
pub use cursor::Cursor;
pub use digest::{Digest, PartitionId};
pub use function::{FunctionPath, NameError};
pub use hello::{Hello, NamespaceId, NamespaceInfo, Welcome, WorkerPlace};
pub use key::{Key, KeyError, KeyRef, UserKey, UserKeyRef};
pub use operation::{MapKey, Operation};
pub use peek::{PeekBins, PeekKey, PeekList, PeekMap, PeekValue};
pub use record::{Bin, Bins, Record};
pub use reply::{Reply, ReplyHeader};
pub use request::{BinSelection, PutMode, RequestBody, RequestHeader, Ttl, Verb};
pub use stored::{StoredHeader, StoredRecord};
pub use trace::TraceContext;
#[cfg(feature = "serde")]
pub use typed::TypedError;
pub use value::Value;
