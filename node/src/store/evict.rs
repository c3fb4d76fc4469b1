//! Eviction: at the high-water mark, the records that expire soonest go first; what never expires is never evicted.

use std::sync::atomic::Ordering;

use outcrop_flash::log::AppendKind;
use outcrop_wire::stored::FLAG_TOMBSTONE;
use outcrop_wire::{Digest, KeyRef, PartitionId, StoredHeader, UserKeyRef};

use super::namespace::Namespace;
use crate::index::Entry;

/// Share of the live bytes that one round of eviction gives back.
const ROUND_PERCENT: u64 = 5;
/// Buckets of the histogram of expiries.
const BUCKETS: usize = 1_024;

impl Namespace {
    /// Live bytes as a percentage of what records can take: the device without the log's reserve and checkpoints. Of the
    /// whole device, a small one (four segments are the least reserve) would stop writes long before it came to its mark.
    pub fn live_percent(&self) -> u64 {
        let stats = self.log.stats();
        let others = stats.reserve_segments + stats.checkpoint_segments;
        let of_users = u64::from(stats.segments.saturating_sub(others));
        let room = (stats.capacity_bytes * of_users).checked_div(stats.segments.into()).unwrap_or(0);
        (stats.live_bytes * 100).checked_div(room).unwrap_or(0)
    }

    /// Whether writes are refused although defrag has less than a segment to take back: only records can make room then.
    /// Of few segments, what the ends of full ones leave unused is enough to keep the live bytes below any mark.
    fn is_packed(&self) -> bool {
        let stats = self.log.stats();
        let checkpoints = u64::from(stats.checkpoint_segments) * stats.segment_bytes;
        let reclaimable = stats.used_bytes.saturating_sub(checkpoints + stats.live_bytes);
        stats.free_segments <= stats.reserve_segments && reclaimable < stats.segment_bytes
    }

    /// Evicts about 5% of the live bytes if the namespace is over its high-water mark; how many records went.
    pub fn evict_if_high(&self) -> u64 {
        let mark = u64::from(self.policy.high_water_percent);
        if mark == 0 || (self.live_percent() < mark && !self.is_packed()) {
            return 0;
        }
        let goal = self.log.stats().live_bytes * ROUND_PERCENT / 100;
        let Some(cutoff) = self.expiry_cutoff(goal) else {
            tracing::warn!(
                namespace = %self.policy.name,
                "over the high-water mark, and no record has a time to live: nothing can be evicted"
            );
            return 0;
        };
        let (mut evicted, mut bytes_left) = (0, goal);
        for id in PartitionId::all() {
            evicted += self.evict_from(id, cutoff, &mut bytes_left);
        }
        self.counters.evicted.fetch_add(evicted, Ordering::Relaxed);
        tracing::info!(namespace = %self.policy.name, evicted, cutoff, "evicted the records that expire soonest");
        evicted
    }

    /// The expiry up to which records have to go so that about `goal` bytes do; `None`: no record expires.
    ///
    /// Looks closer and closer: one record that lives for ten years must not make buckets so wide that one of them holds
    /// every record that lives for an hour.
    fn expiry_cutoff(&self, goal: u64) -> Option<u32> {
        let now = self.clock.now_secs();
        let (mut first, mut last) = self.expiries(now)?;
        let mut goal = goal;
        loop {
            let width = (u64::from(last - first) + 1).div_ceil(BUCKETS as u64);
            let bytes = self.bytes_by_expiry(first, last, width);
            let mut sum = 0;
            let full = bytes.iter().position(|bucket| {
                sum += bucket;
                sum >= goal
            });
            let Some(bucket) = full else { return Some(last) };
            let start = u64::from(first) + bucket as u64 * width;
            let end = (start + width - 1).min(last.into()) as u32;
            if width == 1 || sum <= goal.saturating_mul(2) {
                return Some(end);
            }
            goal -= sum - bytes[bucket];
            (first, last) = (start as u32, end);
        }
    }

    /// The soonest and the latest expiry of records that aren't expired yet.
    fn expiries(&self, now: u32) -> Option<(u32, u32)> {
        let mut range: Option<(u32, u32)> = None;
        for id in PartitionId::all() {
            for (_, entry) in self.index.read(id).iter() {
                if !entry.tombstone && entry.expiry_secs > now {
                    let (first, last) = range.unwrap_or((entry.expiry_secs, entry.expiry_secs));
                    range = Some((first.min(entry.expiry_secs), last.max(entry.expiry_secs)));
                }
            }
        }
        range
    }

    /// Bytes of records by expiry, in buckets of `width` seconds.
    fn bytes_by_expiry(&self, first: u32, last: u32, width: u64) -> Vec<u64> {
        let mut bytes = vec![0; BUCKETS];
        for id in PartitionId::all() {
            for (_, entry) in self.index.read(id).iter() {
                if !entry.tombstone && (first..=last).contains(&entry.expiry_secs) {
                    let bucket = (u64::from(entry.expiry_secs - first) / width) as usize;
                    bytes[bucket.min(BUCKETS - 1)] += entry.location.byte_len() as u64;
                }
            }
        }
        bytes
    }

    fn evict_from(&self, id: PartitionId, cutoff: u32, bytes_left: &mut u64) -> u64 {
        let due = |entry: &Entry| !entry.tombstone && entry.expiry_secs != 0 && entry.expiry_secs <= cutoff;
        let digests: Vec<Digest> = {
            let partition = self.index.read(id);
            partition.iter().filter(|(_, entry)| due(entry)).map(|(digest, _)| digest).collect()
        };
        let mut evicted = 0;
        for digest in digests {
            // Many records may expire in the same second.
            if *bytes_left == 0 {
                break;
            }
            let mut partition = self.index.write(id);
            let Some(entry) = partition.get(&digest).filter(due) else { continue };
            *bytes_left = bytes_left.saturating_sub(entry.location.byte_len() as u64);
            let header = StoredHeader {
                flags: FLAG_TOMBSTONE,
                generation: entry.generation.checked_add(1).unwrap_or(2),
                epoch: self.log.epoch(),
                sequence: partition.next_sequence(),
                last_update_ms: self.clock.now_ms(),
                expiry_secs: self.log.head().segment_sequence() as u32 + 1,
                digest,
            };
            // The user key lies on the device; a tombstone is found by its digest alone, so it names none.
            let set = self.sets.name(entry.set).unwrap_or("?");
            let mut bytes = Vec::with_capacity(128);
            header.encode(KeyRef { set, user_key: UserKeyRef::Bytes(&digest.0) }, 0, &mut bytes);
            let Ok(appended) = self.log.append(&[&bytes], AppendKind::Delete) else { break };
            let tombstone = Entry {
                location: appended.location,
                tombstone: true,
                expiry_secs: header.expiry_secs,
                generation: header.generation,
                ..entry
            };
            partition.insert(&digest, tombstone);
            self.count_out(&entry);
            self.count_in(&tombstone);
            evicted += 1;
        }
        evicted
    }
}
