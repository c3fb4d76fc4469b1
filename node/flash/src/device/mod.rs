//! Devices: what the log writes to. One trait; io_uring, pread/pwrite and a memory device with faults stand behind it.

pub(crate) mod check;
#[cfg(test)]
mod conformance;
pub(crate) mod file;
pub mod memory;
pub mod pread;
pub mod probe;
pub mod uring;
pub mod void;
pub(crate) mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};

/// An I/O under way. Dropping it forgets the answer, never the buffer: the driver keeps that until the kernel is done.
pub type IoFuture<T> = Pin<Box<dyn Future<Output = Result<T, DeviceError>> + Send>>;

/// Why an I/O failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// The device is full.
    #[error("{device}: no space left")]
    NoSpace {
        /// Which device.
        device: String,
    },
    /// The kernel or the device refused.
    #[error("{device}: {operation} of {len} bytes at {offset} failed: {message}")]
    Io {
        /// Which device.
        device: String,
        /// `read`, `write` or `sync`.
        operation: &'static str,
        /// Where.
        offset: u64,
        /// How much.
        len: usize,
        /// What the kernel said.
        message: String,
    },
    /// Fewer bytes than asked for, at the end of the device: it is shorter than it was.
    #[error(
        "{device}: read at {offset} ended after {got} of {len} bytes: the device is shorter than its superblock says"
    )]
    Short {
        /// Which device.
        device: String,
        /// Where.
        offset: u64,
        /// How much was asked.
        len: usize,
        /// How much there was.
        got: usize,
    },
    /// Offset or length is no multiple of the block.
    #[error("{device}: {len} bytes at {offset} are not whole blocks of {BLOCK_BYTES}")]
    Misaligned {
        /// Which device.
        device: String,
        /// Where.
        offset: u64,
        /// How much.
        len: usize,
    },
    /// The driver is gone (the runtime is shutting down) or its queue is full.
    #[error("{device}: {message}")]
    Unavailable {
        /// Which device.
        device: String,
        /// Why.
        message: String,
    },
}

/// A device or file of whole blocks. All offsets and lengths are multiples of [`BLOCK_BYTES`].
pub trait Device: Send + Sync + 'static {
    /// Name for messages: its path, or what it is.
    fn name(&self) -> &str;

    /// Which engine drives it, for logs and metrics: `io_uring`, `pread`, `memory`.
    fn engine(&self) -> &'static str;

    /// Bytes of the device, a multiple of the block.
    fn byte_len(&self) -> u64;

    /// Reads `len` bytes into a buffer of its own (all of it published on return).
    fn read(&self, offset: u64, len: usize) -> IoFuture<Arc<SegmentBuffer>>;

    /// Writes `len` published bytes of `buffer` from `start` on to `offset`. Nothing is durable before a later `sync`.
    fn write(&self, offset: u64, buffer: Arc<SegmentBuffer>, start: usize, len: usize) -> IoFuture<()>;

    /// Makes every write that completed before this call durable, with the metadata to find it.
    fn sync(&self) -> IoFuture<()>;
}
