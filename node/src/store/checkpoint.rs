//! Checkpoints: the index as chunks of bytes, taken partition by partition while writes go on.
//!
//! What a partition gains after its chunk was taken lies in the log behind the checkpoint's start and is replayed over
//! it; replaying what the chunk already has changes nothing.

use std::sync::Arc;

use outcrop_flash::log::CheckpointSource;
use outcrop_wire::PartitionId;
use outcrop_wire::limits::PARTITIONS;

use super::namespace::Namespace;

/// First byte of the chunk of sets and truncation markers; it comes first: `u16` number of sets, `{u8 length, name}*`,
/// `u16` number of markers, `{u64 location, u16 length, marker}*`.
pub const CHUNK_SETS: u8 = 1;
/// First byte of a partition's chunk: `u16` number, then the partition's snapshot.
pub const CHUNK_PARTITION: u8 = 2;

/// Gives a namespace's index chunk by chunk.
pub struct Snapshot {
    namespace: Arc<Namespace>,
    /// 0: the sets; n: partition n - 1.
    next: usize,
}

impl Snapshot {
    /// From the first chunk on.
    pub fn new(namespace: Arc<Namespace>) -> Self {
        Snapshot { namespace, next: 0 }
    }

    fn sets(&self, out: &mut Vec<u8>) {
        out.push(CHUNK_SETS);
        let names = self.namespace.sets.names();
        out.extend_from_slice(&(names.len() as u16).to_le_bytes());
        for name in &names {
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
        }
        let markers = self.namespace.markers.lock();
        out.extend_from_slice(&(markers.len() as u16).to_le_bytes());
        for logged in markers.iter() {
            let bytes = logged.marker.encode();
            out.extend_from_slice(&logged.location.bits().to_le_bytes());
            out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
            out.extend_from_slice(&bytes);
        }
    }
}

impl CheckpointSource for Snapshot {
    fn next_chunk(&mut self, out: &mut Vec<u8>) -> bool {
        let number = self.next;
        self.next += 1;
        if number == 0 {
            self.sets(out);
            return true;
        }
        // Empty partitions have nothing to say.
        for number in number - 1..PARTITIONS {
            let Some(id) = PartitionId::new(number as u16) else { return false };
            if self.partition(id, out) {
                self.next = number + 2;
                return true;
            }
        }
        false
    }
}

impl Snapshot {
    /// Appends a partition, unless it is empty, without what a truncation has taken away: its marker may lie before the
    /// checkpoint's start, where no replay would meet it. A truncation whose caller gave up leaves such entries too.
    fn partition(&self, id: PartitionId, out: &mut Vec<u8>) -> bool {
        if self.namespace.sets.any_truncated() {
            self.namespace.purge_truncated(id);
        }
        let partition = self.namespace.index.read(id);
        if partition.is_empty() && partition.sequence == 0 {
            return false;
        }
        out.push(CHUNK_PARTITION);
        out.extend_from_slice(&id.number().to_le_bytes());
        partition.snapshot(out);
        true
    }
}
