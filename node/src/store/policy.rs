//! A namespace's policy, settled: what the configuration says in the units that the store works with.

use std::path::PathBuf;

use outcrop_wire::limits::{RECORD_BYTES_DEFAULT, SEGMENT_BYTES};

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Once its bytes are synced to the device: an acknowledged write survives a crash of the machine.
    Flash,
    /// Once it is in memory; the device has it within `flush_ms`. A crash loses that window.
    Memory,
}

/// Where values live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// In memory alone; gone when the node stops.
    Ram {
        /// Memory for the log.
        bytes: u64,
    },
    /// On a device; the cache keeps what fits its budget.
    Flash {
        /// A file (made if absent) or a block device.
        device: PathBuf,
        /// Bytes of the file when it is made.
        bytes: u64,
        /// Everything also in memory.
        cached: bool,
    },
}

/// How a device is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// io_uring with O_DIRECT if the kernel allows, else pread and pwrite.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// pread and pwrite.
    Pread,
}

/// A namespace's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Where values live.
    pub values: Values,
    /// When a write is acknowledged.
    pub commit: Commit,
    /// With [`Commit::Memory`]: how long a write may wait for the device.
    pub flush_ms: u64,
    /// Seconds that a record lives unless its writer says otherwise; `None`: for ever.
    pub default_ttl_secs: Option<u32>,
    /// Archived bytes of a record, at most.
    pub record_bytes_max: usize,
    /// Memory for recently written segments and hot records, half each.
    pub cache_bytes: u64,
    /// Appended bytes that may wait for the device before writers have to wait.
    pub write_buffer_bytes: u64,
    /// Live share of the device at which eviction of the records that expire soonest begins; 0: never.
    pub high_water_percent: u8,
    /// Segments with less live data than this are evacuated.
    pub defrag_live_percent: u8,
    /// Bytes a second that defrag may read and write.
    pub defrag_bytes_per_sec: u64,
    /// How the device is driven.
    pub engine: Engine,
    /// Seconds between checkpoints of the index; 0: only at a clean stop.
    pub checkpoint_secs: u64,
    /// Identity of the log if it is made now: drawn by the node, so that neither a cursor of another log nor what an
    /// earlier one left on the device passes for this one's.
    pub log_identity_if_new: [u8; 16],
}

impl Policy {
    /// A namespace in memory, for tests and `outcrop dev`.
    pub fn ram(name: &str, bytes: u64) -> Self {
        Policy {
            name: name.to_owned(),
            values: Values::Ram { bytes: bytes.max(8 * SEGMENT_BYTES as u64) },
            commit: Commit::Memory,
            flush_ms: 100,
            default_ttl_secs: None,
            record_bytes_max: RECORD_BYTES_DEFAULT,
            cache_bytes: 0,
            write_buffer_bytes: 64 << 20,
            high_water_percent: 90,
            defrag_live_percent: 50,
            defrag_bytes_per_sec: 256 << 20,
            engine: Engine::Auto,
            checkpoint_secs: 120,
            log_identity_if_new: [0; 16],
        }
    }

    /// A namespace on a file, acknowledged once synced.
    pub fn flash(name: &str, device: impl Into<PathBuf>, bytes: u64) -> Self {
        Policy {
            values: Values::Flash { device: device.into(), bytes, cached: false },
            commit: Commit::Flash,
            cache_bytes: 256 << 20,
            defrag_bytes_per_sec: 64 << 20,
            ..Policy::ram(name, 0)
        }
    }
}
