//! Truncating a set: one marker in the log, then its records leave the index, partition by partition.
//!
//! From the marker on no reader sees a record of the set that was logged before it; a write that comes meanwhile is
//! logged behind the marker and stays. Defrag moves nothing until the sweep is done, so "before" keeps its meaning.

use std::sync::atomic::{AtomicU64, Ordering};

use outcrop_flash::Lsn;
use outcrop_flash::log::AppendKind;
use outcrop_wire::PartitionId;
use outcrop_wire::limits::SEGMENT_BYTES;

use super::marker::{LoggedMarker, Marker};
use super::namespace::Namespace;
use super::write::{Refused, WriteError};

/// Truncations whose older records may still be on the device, at most; more wait for defrag.
const MARKERS_MAX: usize = 1_024;
/// Partitions swept before other requests get their turn.
const PARTITIONS_A_TURN: usize = 32;

/// A truncation that happened in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// Records that went.
    pub records: u64,
    /// The log number to wait for before the caller is told.
    pub end: Lsn,
}

/// Keeps defrag from moving entries while it lives.
struct Truncating<'a>(&'a AtomicU64);

impl Drop for Truncating<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Namespace {
    /// Removes every record of a set that is there now. A set that doesn't exist has none.
    ///
    /// Dropped half-way, the truncation holds all the same: readers see nothing from before the marker, and the sweeper
    /// takes the rest out of the index.
    pub async fn truncate(&self, set_name: &str) -> Result<Truncated, Refused> {
        let Some(set) = self.sets.find(set_name) else { return Ok(Truncated { records: 0, end: Lsn(0) }) };
        self.truncating.fetch_add(1, Ordering::AcqRel);
        let _truncating = Truncating(&self.truncating);
        // A move that began before the line above is over once this lock was to be had.
        drop(self.moving.write());
        let end = loop {
            match self.log_marker(set_name, set) {
                Err(Refused { error: WriteError::Backpressure, .. }) => self.log.writable().await,
                done => break done?,
            }
        };
        let mut records = 0;
        for (count, id) in PartitionId::all().enumerate() {
            records += self.purge_truncated(id);
            if count % PARTITIONS_A_TURN == PARTITIONS_A_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(Truncated { records, end })
    }

    fn log_marker(&self, set_name: &str, set: crate::index::SetId) -> Result<Lsn, Refused> {
        let mut markers = self.markers.lock();
        self.drop_spent_markers(&mut markers);
        if markers.len() >= MARKERS_MAX {
            self.log.evacuate_oldest();
            return Err(WriteError::TooManyTruncations(self.policy.name.clone()).into());
        }
        // Every record logged from here on stays, even one that gets in before the marker itself.
        let before_lsn = self.log.head().0;
        let marker = Marker { set: set_name.to_owned(), before_lsn };
        let appended = self.log.append(&[&marker.encode()], AppendKind::Delete).map_err(|error| self.refusal(error))?;
        self.marker_end.fetch_max(appended.end.0, Ordering::AcqRel);
        self.sets.set_truncated_before(set, before_lsn);
        markers.push(LoggedMarker { marker, location: appended.location });
        Ok(appended.end)
    }

    /// Truncations whose records may still be on the device, and the bytes of their entries in the log.
    pub fn truncations(&self) -> (usize, u64) {
        let markers = self.markers.lock();
        (markers.len(), markers.iter().map(|logged| logged.location.byte_len() as u64).sum())
    }

    /// Gives up markers that hide nothing any more: no segment from before them is left.
    pub(super) fn drop_spent_markers(&self, markers: &mut Vec<LoggedMarker>) {
        let oldest = Lsn(self.log.oldest_sequence().saturating_mul(SEGMENT_BYTES as u64));
        markers.retain(|logged| {
            let hides = logged.marker.before_lsn > oldest.0;
            if !hides {
                self.log.release(logged.location);
            }
            hides
        });
    }

    /// Takes truncated entries of one partition out of the index; how many were records.
    pub(super) fn purge_truncated(&self, id: PartitionId) -> u64 {
        let mut records = 0;
        self.index.write(id).retain(|_, entry| {
            let gone = self.is_truncated(entry);
            if gone {
                records += u64::from(!entry.tombstone);
                self.count_out(entry);
            }
            !gone
        });
        records
    }
}
