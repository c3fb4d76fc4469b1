//! Why the log refuses, each beside the others so that the store maps them in one place.

use thiserror::Error;

use crate::device::DeviceError;
use crate::location::{Location, SegmentId};

/// A write or sync failed: nothing is accepted or acknowledged any more, reads go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the log takes no more writes: {reason}")]
pub struct Poisoned {
    /// What failed first.
    pub reason: String,
}

/// Why an append was refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The device doesn't keep up, or the next segment isn't ready; `Log::writable` says when to try again.
    #[error("the write buffer is full, try again")]
    Backpressure,
    /// Too few segments are free. Deletes go on while the reserve lasts.
    #[error(
        "the device is full: {free_segments} segments are free and {reserve_segments} are kept for deletes and defrag"
    )]
    StopWrites {
        /// Free segments now.
        free_segments: u32,
        /// How many are kept back.
        reserve_segments: u32,
    },
    /// No segment holds that much.
    #[error("{payload_bytes} bytes are more than the {payload_bytes_max} that a segment holds")]
    TooLarge {
        /// What was to be appended.
        payload_bytes: usize,
        /// The most that can be.
        payload_bytes_max: usize,
    },
    /// A write or sync failed earlier; this is why.
    #[error("the log takes no more writes: {0}")]
    Poisoned(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a log can't be opened or created.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device is shorter than the log that lies on it, or than any log.
    #[error(
        "{device} has {actual_bytes} bytes where the log needs {expected_bytes}: {missing_bytes} bytes are missing at its end; nothing was changed"
    )]
    TooShort {
        /// Which device.
        device: String,
        /// What the log needs.
        expected_bytes: u64,
        /// What there is.
        actual_bytes: u64,
        /// The difference.
        missing_bytes: u64,
    },
    /// Neither copy of the superblock can be read. It is never made anew over a log that may still be there.
    #[error(
        "{device}: both superblocks are damaged; the log is left as it is. Restore the device from a copy or create a new log elsewhere"
    )]
    SuperblocksDamaged {
        /// Which device.
        device: String,
    },
    /// A newer version of this software wrote it.
    #[error("{device} holds format version {found}, this version reads up to {supported}")]
    Version {
        /// Which device.
        device: String,
        /// What the superblock says.
        found: u16,
        /// What can be read.
        supported: u16,
    },
    /// There is a log already.
    #[error("{device} holds a log already, of identity {identity}")]
    Exists {
        /// Which device.
        device: String,
        /// Its identity, in hex.
        identity: String,
    },
    /// The device belongs to something else.
    #[error("{device} holds the log {found}, not {expected}")]
    WrongIdentity {
        /// Which device.
        device: String,
        /// What the superblock says, in hex.
        found: String,
        /// What was asked for, in hex.
        expected: String,
    },
    /// The options don't fit the device.
    #[error("{device}: {message}")]
    Options {
        /// Which device.
        device: String,
        /// What doesn't fit.
        message: String,
    },
}

/// Why an entry can't be read from the device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// What lies there isn't the entry: rot, or the location is out of date. Look the key up again; if the location is
    /// still the same, it is rot.
    #[error("no intact entry at {location:?}: {reason}")]
    Corrupt {
        /// Where.
        location: Location,
        /// What is wrong.
        reason: &'static str,
    },
    /// The segment was freed or used again meanwhile. Look the key up again.
    #[error("{location:?} is out of date: the segment was freed")]
    Stale {
        /// Where.
        location: Location,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why the reader of a segment can't go on or left something out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SegmentReadError {
    /// These bytes hold no intact entry; the reader goes on behind them.
    #[error("segment {}: {bytes} bytes at {offset} hold no intact entry", segment.0)]
    Damaged {
        /// The segment.
        segment: SegmentId,
        /// First byte within it.
        offset: usize,
        /// How many.
        bytes: usize,
    },
    /// The segment was freed or used again meanwhile; nothing follows.
    #[error("segment {} was freed while it was read", segment.0)]
    Stale {
        /// The segment.
        segment: SegmentId,
    },
    /// The device failed; nothing follows.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why a checkpoint wasn't written. The one before still counts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// A write or sync failed.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// Too few segments are free.
    #[error("no room for a checkpoint: {free_segments} segments are free")]
    NoSpace {
        /// Free segments now.
        free_segments: u32,
    },
    /// A chunk is more than a segment holds.
    #[error("a chunk of {chunk_bytes} bytes is more than the {chunk_bytes_max} that a segment holds")]
    ChunkTooLarge {
        /// What the source gave.
        chunk_bytes: usize,
        /// The most it may give.
        chunk_bytes_max: usize,
    },
    /// Another one is being written.
    #[error("a checkpoint is being written already")]
    Busy,
    /// The log was closed, or it lives in RAM only and has nothing to recover from.
    #[error("the log takes no checkpoints: it is closed or lives in RAM only")]
    Closed,
}
