//! The flash log: segments of opaque entries on a device, appended in order, synced in groups, defragmented, recovered.
//!
//! Drawn byte by byte in `docs/flash-format.md`. What an entry means is the store's business; here it is bytes.
//!
//! Architecture invariant: all `unsafe` code of the workspace lives in this crate (`buffer`, `device::uring`, `prefetch`), and
//! nothing here knows of records, keys or namespaces.

pub mod buffer;
pub mod device;
pub mod location;
pub mod log;
pub mod prefetch;

pub use buffer::{SegmentBuffer, SegmentWriter};
pub use device::{Device, DeviceError};
pub use location::{Location, Lsn, SegmentId};
