//! What defrag asks of the store: whether an entry is current, and to log it again if so.

use std::sync::atomic::Ordering;

use outcrop_flash::log::{AppendError, AppendKind, Owner, Relocated};
use outcrop_flash::{Location, Lsn};
use outcrop_wire::stored::{FLAG_TOMBSTONE, digest_of};
use outcrop_wire::{Digest, StoredHeader, StoredRecord};

use super::marker::MARKER_BYTE;
use super::namespace::Namespace;
use crate::index::{Entry, Partition};

// The log holds its owner weakly: it has to be what lives as long as the namespace, the namespace itself.
impl Owner for Namespace {
    fn relocate(&self, location: Location, _lsn: Lsn, payload: &[u8]) -> Relocated {
        if payload.first() == Some(&MARKER_BYTE) {
            return self.relocate_marker(location, payload);
        }
        let Some(digest) = digest_of(payload) else { return Relocated::Garbage };
        let mut partition = self.index.write(digest.partition());
        match partition.get(&digest) {
            Some(entry) if entry.location == location => self.relocate_entry(&mut partition, &digest, entry, payload),
            _ => Relocated::Garbage,
        }
    }
}

impl Namespace {
    fn relocate_entry(&self, partition: &mut Partition, digest: &Digest, entry: Entry, payload: &[u8]) -> Relocated {
        // A truncation under way decides by log number what is gone: an entry that moved now would escape it.
        let Some(_moving) = self.moving.try_read() else { return Relocated::Retry };
        if self.truncating.load(Ordering::Acquire) > 0 {
            return Relocated::Retry;
        }
        let now_secs = self.clock.now_secs();
        let mut entry = entry;
        if !self.visible(&entry, now_secs) && !entry.tombstone {
            let Some(tombstone) = self.retire(partition, digest, entry) else { return Relocated::Garbage };
            entry = tombstone;
        }
        let appended = if entry.tombstone {
            if self.tombstone_is_spent(&entry) {
                partition.remove(digest);
                self.count_out(&entry);
                return Relocated::Garbage;
            }
            let Some(tombstone) = bare_tombstone(payload, &entry) else { return Relocated::Garbage };
            self.log.append(&[&tombstone], AppendKind::Relocate)
        } else {
            self.log.append(&[payload], AppendKind::Relocate)
        };
        match appended {
            Ok(appended) => {
                let moved = Entry { location: appended.location, ..entry };
                self.count_in(&moved);
                partition.insert(digest, moved);
                self.note_replaced(digest, &entry);
                self.count_out(&entry);
                Relocated::Moved
            }
            Err(AppendError::Backpressure) => Relocated::Retry,
            Err(_) => Relocated::Failed,
        }
    }

    fn relocate_marker(&self, location: Location, payload: &[u8]) -> Relocated {
        let Some(mut markers) = self.markers.try_lock() else { return Relocated::Retry };
        self.drop_spent_markers(&mut markers);
        let Some(logged) = markers.iter_mut().find(|logged| logged.location == location) else {
            return Relocated::Garbage;
        };
        match self.log.append(&[payload], AppendKind::Relocate) {
            Ok(appended) => {
                let before = std::mem::replace(&mut logged.location, appended.location);
                self.log.release(before);
                Relocated::Moved
            }
            Err(AppendError::Backpressure) => Relocated::Retry,
            Err(_) => Relocated::Failed,
        }
    }
}

/// The tombstone that stands for an entry: the record's own header without its archive.
fn bare_tombstone(payload: &[u8], entry: &Entry) -> Option<Vec<u8>> {
    let record = StoredRecord::parse(payload).ok()?;
    let header = StoredHeader {
        flags: FLAG_TOMBSTONE,
        generation: entry.generation,
        expiry_secs: entry.expiry_secs,
        ..record.header
    };
    let mut bytes = Vec::with_capacity(128);
    header.encode(record.key, 0, &mut bytes);
    Some(bytes)
}
