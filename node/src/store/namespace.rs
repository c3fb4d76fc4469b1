//! A namespace: index, log, sets and cache under one policy, and what is counted about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outcrop_flash::log::Log;
use outcrop_flash::{Location, Lsn};
use outcrop_wire::{NamespaceId, Ttl};
use parking_lot::{Mutex, RwLock};

use super::cache::RecordCache;
use super::marker::LoggedMarker;
use super::policy::{Commit, Policy};
use super::scan::ledger::Scans;
use super::sets::SetTable;
use crate::index::{Entry, Index};
use crate::world::Clock;

/// Counters of a namespace; each only grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads answered from segments in memory.
    pub resident_hits: AtomicU64,
    /// Reads answered from the record cache.
    pub cache_hits: AtomicU64,
    /// Reads that went to the device.
    pub device_reads: AtomicU64,
    /// Reads whose bytes on the device were damaged.
    pub corrupt_reads: AtomicU64,
    /// Records that expired.
    pub expired: AtomicU64,
    /// Records evicted at the high-water mark.
    pub evicted: AtomicU64,
    /// Tombstones that were no longer needed.
    pub tombstones_dropped: AtomicU64,
    /// Writes refused because the device is nearly full.
    pub stop_writes: AtomicU64,
    /// Writes that waited for room in the write buffer.
    pub backpressure: AtomicU64,
    /// Read-modify-writes that began anew because another write came between.
    pub conflicts: AtomicU64,
    /// Changes that a running scan couldn't take note of: it may give these records twice.
    pub scan_notes_refused: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub fn bump(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One namespace of this node.
pub struct Namespace {
    /// Its number on this node.
    pub id: NamespaceId,
    /// Its policy.
    pub policy: Policy,
    /// Digest to location.
    pub index: Index,
    /// The values.
    pub log: Arc<Log>,
    /// Its sets.
    pub sets: SetTable,
    /// Hot records read from the device.
    pub cache: RecordCache,
    /// What happened.
    pub counters: Counters,
    /// Its running scans.
    pub scans: Scans,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Tombstones in the index.
    pub(super) tombstones: AtomicU64,
    /// Markers that still hide records on the device. Held while one is logged.
    pub(super) markers: Mutex<Vec<LoggedMarker>>,
    /// Where the latest marker's entry ends: until that is durable, a crash could bring back what it hides.
    pub(super) marker_end: AtomicU64,
    /// Truncations whose sweep is under way; defrag moves nothing meanwhile.
    pub(super) truncating: AtomicU64,
    /// Defrag holds it shared while it moves an entry; a truncation takes it once, to see the last move done.
    pub(super) moving: RwLock<()>,
}

impl Namespace {
    /// Whether an entry is a record that a reader may see: not deleted, not expired, not truncated.
    pub fn visible(&self, entry: &Entry, now_secs: u32) -> bool {
        !entry.tombstone
            && (entry.expiry_secs == 0 || entry.expiry_secs > now_secs)
            && !(self.sets.any_truncated() && self.is_truncated(entry))
    }

    /// Whether a truncation of its set took an entry away.
    pub(super) fn is_truncated(&self, entry: &Entry) -> bool {
        let before = self.sets.truncated_before(entry.set);
        before > 0 && self.log.lsn_of(entry.location).0 < before
    }

    /// The expiry that a write with this time to live gets, in seconds since 1970; 0: never.
    pub fn expiry_of(&self, ttl: Ttl, previous: Option<&Entry>, now_secs: u32) -> u32 {
        let after = |secs: u32| now_secs.saturating_add(secs).max(1);
        let default = || self.policy.default_ttl_secs.map_or(0, after);
        match ttl {
            Ttl::Default => default(),
            Ttl::Never => 0,
            Ttl::Secs(secs) => after(secs),
            Ttl::Keep => previous.map_or_else(default, |entry| entry.expiry_secs),
        }
    }

    /// The log number that must be durable before anybody is told of this entry; `None`: it may be told now.
    ///
    /// In flash mode a reader must not see what a crash could still take back. Later writes build on it all the same:
    /// they become durable after it.
    pub fn undurable_end(&self, location: Location) -> Option<Lsn> {
        if self.policy.commit == Commit::Memory {
            return None;
        }
        let end = Lsn(self.log.lsn_of(location).0 + location.byte_len() as u64);
        (end > self.log.durable_lsn()).then_some(end)
    }

    /// What must be durable before anybody is told that a record isn't there; `None`: it may be told now.
    ///
    /// It may be gone by an entry of its own (a tombstone), or by a truncation.
    pub fn undurable_absence(&self, entry: Option<&Entry>) -> Option<Lsn> {
        let entry_end = entry.and_then(|entry| self.undurable_end(entry.location));
        if !self.sets.any_truncated() || self.policy.commit == Commit::Memory {
            return entry_end;
        }
        let marker_end = Lsn(self.marker_end.load(Ordering::Acquire));
        entry_end.max((marker_end > self.log.durable_lsn()).then_some(marker_end))
    }

    /// Counts an entry that became visible in the index.
    pub(super) fn count_in(&self, entry: &Entry) {
        if entry.tombstone {
            self.tombstones.fetch_add(1, Ordering::Relaxed);
        } else {
            self.sets.count(entry.set, 1, entry.location.byte_len() as i64);
        }
    }

    /// Counts an entry that left the index, and gives its bytes back.
    pub(super) fn count_out(&self, entry: &Entry) {
        self.uncount(entry);
        self.log.release(entry.location);
        self.cache.remove(entry.location);
    }

    /// Counts an entry out whose bytes stay in use.
    pub(super) fn uncount(&self, entry: &Entry) {
        if entry.tombstone {
            self.tombstones.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.sets.count(entry.set, -1, -(entry.location.byte_len() as i64));
        }
    }

    /// Tombstones in the index.
    pub fn tombstones(&self) -> u64 {
        self.tombstones.load(Ordering::Relaxed)
    }
}
