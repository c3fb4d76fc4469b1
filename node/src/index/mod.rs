//! The index: 4,096 partitions of 32-byte entries in memory, from a key's digest to its place in the log.
//!
//! A partition is lock and table at once: routing, locking, iteration and clearing all go by partition, and growth
//! comes in 4,096 small steps. The table (see `table`) keeps entries in digest order with few gaps, so that a record
//! costs 34 to 38 bytes of process memory; `docs/decisions/0001-index.md` has the figures.
//!
//! Architecture invariant: nothing here knows of keys, values, time or the log; an entry says where bytes lie and when
//! they expire, and the store decides what that means. Guards aren't `Send`: none can be held across an await.

mod entry;
mod gaps;
mod partition;
mod resize;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

use outcrop_flash::prefetch::prefetch;
use outcrop_wire::limits::PARTITIONS;
use outcrop_wire::{Digest, PartitionId};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use entry::{Entry, SetId};
pub use partition::Partition;
pub use snapshot::RestoreError;

/// A cache line each, so that two workers at neighbouring partitions don't fight for one line.
#[repr(align(64))]
struct Shard(RwLock<Partition>);

const _: () = assert!(size_of::<Shard>() == 64, "a partition's lock and header fit one cache line");

/// Keys that [`Index::warm`] takes at once.
pub const WARM_MAX: usize = 64;

/// All partitions of one namespace.
pub struct Index {
    shards: Box<[Shard]>,
}

impl Index {
    /// An empty index: 256 KiB.
    pub fn new() -> Self {
        Index { shards: PartitionId::all().map(|id| Shard(RwLock::new(Partition::new(id)))).collect() }
    }

    /// Locks a partition for reading; writers of this partition wait.
    pub fn read(&self, partition: PartitionId) -> RwLockReadGuard<'_, Partition> {
        self.shards[partition.index()].0.read()
    }

    /// Locks a partition for writing.
    pub fn write(&self, partition: PartitionId) -> RwLockWriteGuard<'_, Partition> {
        self.shards[partition.index()].0.write()
    }

    /// Asks for the memory of up to [`WARM_MAX`] keys' entries, all at once, so that looking them up afterwards finds it
    /// in the processor's cache. Decides nothing; a partition that is being written is left out.
    pub fn warm(&self, digests: &[Digest]) {
        let shard = |digest: &Digest| &self.shards[digest.partition().index()];
        digests.iter().for_each(|digest| prefetch(shard(digest)));
        // Never waiting for a lock while holding others, so that nobody can wait in a circle.
        let guards: [Option<RwLockReadGuard<'_, Partition>>; WARM_MAX] = std::array::from_fn(|place| {
            let digest = digests.get(place)?;
            let partition = shard(digest).0.try_read()?;
            partition.prefetch_chunk(digest);
            Some(partition)
        });
        for (partition, digest) in guards.iter().zip(digests) {
            partition.iter().for_each(|partition| partition.prefetch_slot(digest));
        }
    }

    /// Gives back what [`Partition::insert_roomy`] took too much, partition by partition.
    pub fn fit(&self) {
        PartitionId::all().for_each(|id| self.write(id).fit());
    }

    /// Bytes of memory that the index has asked for. Locks each partition in turn.
    pub fn memory_bytes(&self) -> usize {
        let tables: usize = PartitionId::all().map(|id| self.read(id).memory_bytes()).sum();
        PARTITIONS * size_of::<Shard>() + tables
    }

    /// Entries that the index has memory for. Locks each partition in turn.
    pub fn slots(&self) -> u64 {
        PartitionId::all().map(|id| self.read(id).slots() as u64).sum()
    }

    /// Entries, tombstones included. Locks each partition in turn, so that it is exact only while nobody writes.
    pub fn len(&self) -> u64 {
        PartitionId::all().map(|id| self.read(id).len() as u64).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        PartitionId::all().all(|id| self.read(id).is_empty())
    }
}

impl Default for Index {
    fn default() -> Self {
        Index::new()
    }
}
