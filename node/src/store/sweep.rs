//! The sweeper: takes expired records out of the index, and tombstones that nothing needs any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outcrop_wire::limits::PARTITIONS;
use outcrop_wire::{Digest, PartitionId};

use super::namespace::{Counters, Namespace};
use crate::index::{Entry, Partition};

/// Partitions swept at a time; the locks are held for one at a time.
const PARTITIONS_A_TICK: usize = 32;
/// Pause between ticks: the whole index is swept in about six seconds.
const TICK: Duration = Duration::from_millis(50);
/// Share of tombstones in the index at which the oldest segments are evacuated so that tombstones can go.
const TOMBSTONE_PERCENT_MAX: u64 = 10;

impl Namespace {
    /// Takes an expired or truncated entry out of the index. A first version leaves nothing behind; a later one becomes
    /// a tombstone, kept until every segment that may hold an older version is gone; the tombstone is given back.
    pub(super) fn retire(&self, partition: &mut Partition, digest: &Digest, entry: Entry) -> Option<Entry> {
        if !(self.sets.any_truncated() && self.sets.truncated_before(entry.set) > 0) {
            Counters::bump(&self.counters.expired);
        }
        if entry.generation == 1 {
            partition.remove(digest);
            self.count_out(&entry);
            return None;
        }
        let expiry_secs = self.log.head().segment_sequence() as u32 + 1;
        let tombstone = Entry { tombstone: true, expiry_secs, ..entry };
        partition.insert(digest, tombstone);
        self.uncount(&entry);
        self.count_in(&tombstone);
        self.cache.remove(entry.location);
        Some(tombstone)
    }

    /// Whether every segment that may hold an older version of a tombstone's key is gone.
    pub(super) fn tombstone_is_spent(&self, tombstone: &Entry) -> bool {
        u64::from(tombstone.expiry_secs) < self.log.oldest_sequence()
    }

    /// Sweeps one partition; how many entries left it.
    pub fn sweep_partition(&self, id: PartitionId) -> usize {
        // A truncation under way counts what it takes away: nobody else may take it first.
        if self.truncating.load(Ordering::Acquire) > 0 {
            return 0;
        }
        let now_secs = self.clock.now_secs();
        let due = |entry: &Entry| {
            if entry.tombstone { self.tombstone_is_spent(entry) } else { !self.visible(entry, now_secs) }
        };
        // Most partitions have nothing due: look under the shared lock, and take the exclusive one only for a reason.
        let due_digests: Vec<Digest> = {
            let partition = self.index.read(id);
            partition.iter().filter(|(_, entry)| due(entry)).map(|(digest, _)| digest).collect()
        };
        if due_digests.is_empty() {
            return 0;
        }
        let mut partition = self.index.write(id);
        let before = partition.len();
        for digest in due_digests {
            match partition.get(&digest).filter(due) {
                Some(entry) if entry.tombstone => {
                    partition.remove(&digest);
                    self.count_out(&entry);
                    self.counters.tombstones_dropped.fetch_add(1, Ordering::Relaxed);
                }
                Some(entry) => {
                    self.retire(&mut partition, &digest, entry);
                }
                None => {}
            }
        }
        before - partition.len()
    }

    /// Sweeps for ever; the node stops it by dropping the task.
    pub async fn sweep_forever(self: Arc<Self>) {
        let mut next = 0;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for _ in 0..PARTITIONS_A_TICK {
                if let Some(id) = PartitionId::new(next as u16) {
                    self.sweep_partition(id);
                }
                next = (next + 1) % PARTITIONS;
            }
            if next == 0 {
                self.after_a_round();
            }
        }
    }

    fn after_a_round(&self) {
        let records = self.index.len();
        if self.tombstones() * 100 > records.max(1_000) * TOMBSTONE_PERCENT_MAX {
            self.log.evacuate_oldest();
        }
        self.evict_if_high();
    }
}
