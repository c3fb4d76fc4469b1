//! Figures of a log, for metrics and for the operator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::location::{Lsn, SegmentId};
use crate::log::defrag::allowed_bytes_per_sec;
use crate::log::options::DATA_START;
use crate::log::shared::Shared;
use crate::log::table::SegmentState;

/// What has happened since the log was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub written_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub device_reads: AtomicU64,
    pub device_read_bytes: AtomicU64,
    pub backpressure: AtomicU64,
    pub stop_writes: AtomicU64,
    pub freed_segments: AtomicU64,
    pub evacuated_segments: AtomicU64,
    pub moved_entries: AtomicU64,
    pub moved_bytes: AtomicU64,
    pub evacuation_read_bytes: AtomicU64,
    pub failed_evacuations: AtomicU64,
    pub checkpoints: AtomicU64,
    pub sync_times: SyncTimes,
}

/// Bounds of times that are told apart: two to each power of two, from 64 us to 24 s.
const SYNC_BOUNDS: usize = 38;

/// How long syncs took; one flusher counts, anybody reads.
#[derive(Debug)]
pub(crate) struct SyncTimes {
    counts: [AtomicU64; SYNC_BOUNDS + 1],
    sum_us: AtomicU64,
}

impl Default for SyncTimes {
    fn default() -> Self {
        SyncTimes { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }
}

/// The longest time that is counted at this place.
fn sync_bound_us(place: usize) -> u64 {
    (2 + place as u64 % 2) << (5 + place / 2)
}

impl SyncTimes {
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = (0..SYNC_BOUNDS).find(|place| us <= sync_bound_us(*place)).unwrap_or(SYNC_BOUNDS);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn snapshot(&self) -> SyncLatency {
        let count = |place: usize| self.counts[place].load(Ordering::Relaxed);
        SyncLatency {
            within: (0..SYNC_BOUNDS).map(|place| (sync_bound_us(place), count(place))).collect(),
            slower: count(SYNC_BOUNDS),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// How long syncs took since the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncLatency {
    /// Rising bounds in microseconds, and how many syncs took up to that long and longer than the bound before.
    pub within: Vec<(u64, u64)>,
    /// Syncs that took longer than all of these.
    pub slower: u64,
    /// All of them added up, in microseconds.
    pub sum_us: u64,
}

impl SyncLatency {
    /// The bound that this share of syncs (0 to 1) kept to, in microseconds; 0 without any.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let count = self.slower + self.within.iter().map(|(_, count)| count).sum::<u64>();
        let rank = (count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bound_us, count) in &self.within {
            seen += count;
            if seen >= rank {
                return *bound_us;
            }
        }
        // None at all, or the slowest: twice the last bound stands for them.
        if count == 0 { 0 } else { self.within.last().map_or(0, |(bound_us, _)| 2 * bound_us) }
    }
}

/// A log at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// The device's name.
    pub device: String,
    /// Which engine drives it.
    pub engine: &'static str,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// All segments.
    pub segments: u32,
    /// Segments that may be opened.
    pub free_segments: u32,
    /// Segments full of entries (or closed by a restart).
    pub sealed_segments: u32,
    /// Segments that defrag is working on.
    pub evacuating_segments: u32,
    /// Segments that hold a checkpoint.
    pub checkpoint_segments: u32,
    /// Segments in which bytes were found that are no intact entry, or whose header can't be read.
    pub damaged_segments: u32,
    /// Free segments that are kept for deletes and defrag.
    pub reserve_segments: u32,
    /// Bytes that entries can take in all segments.
    pub capacity_bytes: u64,
    /// Bytes of the segments that aren't free.
    pub used_bytes: u64,
    /// Bytes of entries (with headers and padding) that are live.
    pub live_bytes: u64,
    /// Bytes of sealed segments in RAM; open and unwritten ones come on top.
    pub resident_bytes: u64,
    /// Bytes of entries appended since opening.
    pub appended_bytes: u64,
    /// Bytes written since opening: entries, marks, padding, slots.
    pub written_bytes: u64,
    /// Appended and not yet written.
    pub unflushed_bytes: u64,
    /// Syncs since opening.
    pub syncs: u64,
    /// How long they took.
    pub sync_latency: SyncLatency,
    /// How long the oldest write or sync under way has had no answer; zero if none is under way.
    pub oldest_operation: Duration,
    /// Everything before this is durable.
    pub durable_lsn: Lsn,
    /// Where the next entry goes.
    pub head_lsn: Lsn,
    /// Entries read one by one from the device since opening.
    pub device_reads: u64,
    /// Bytes of those reads, whole blocks.
    pub device_read_bytes: u64,
    /// Appends that were told to wait.
    pub backpressure: u64,
    /// Appends that were refused because too few segments were free.
    pub stop_writes: u64,
    /// Segments whose use ended since opening.
    pub freed_segments: u64,
    /// Segments whose live entries were moved since opening.
    pub evacuated_segments: u64,
    /// Evacuations that were given up.
    pub failed_evacuations: u64,
    /// Entries moved since opening.
    pub moved_entries: u64,
    /// Bytes moved since opening.
    pub moved_bytes: u64,
    /// Bytes that defrag may look at in a second now; `None`: as many as it can, since free segments are few.
    pub evacuation_bytes_per_sec: Option<u64>,
    /// Bytes looked at by defrag since opening.
    pub evacuation_read_bytes: u64,
    /// Checkpoints written since opening.
    pub checkpoints: u64,
    /// Why nothing is accepted any more.
    pub poisoned: Option<String>,
}

/// A segment of the append stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Its place.
    pub id: SegmentId,
    /// When it was opened.
    pub sequence: u64,
    /// Where its entries end.
    pub end_offset: usize,
    /// Nothing more is appended to it.
    pub sealed: bool,
    /// Bytes of live entries.
    pub live_bytes: u64,
    /// Its bytes are in RAM.
    pub resident: bool,
}

impl Shared {
    /// Data segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentView> {
        let open = self.head.lock().open.as_ref().map(|open| (open.segment, open.writer.position()));
        let mut views: Vec<SegmentView> = self
            .table
            .ids()
            .filter(|id| self.table.state(*id).holds_data())
            .map(|id| {
                let open_end = open.filter(|(segment, _)| *segment == id).map(|(_, end)| end);
                SegmentView {
                    id,
                    sequence: self.table.sequence(id),
                    end_offset: open_end.unwrap_or_else(|| self.table.end(id)),
                    sealed: open_end.is_none(),
                    live_bytes: self.table.live_bytes(id),
                    resident: self.table.resident_guard(id).is_some_and(|guard| guard.is_some()),
                }
            })
            .collect();
        views.sort_unstable_by_key(|view| view.sequence);
        views
    }

    pub fn stats(&self) -> LogStats {
        let mut by_state = [0u32; 8];
        let (mut damaged_segments, mut live_bytes) = (0, 0u64);
        for id in self.table.ids() {
            by_state[self.table.state(id) as usize] += 1;
            let damaged = self.table.is_damaged(id) || self.table.state(id) == SegmentState::Damaged;
            damaged_segments += u32::from(damaged);
            live_bytes += self.table.live_bytes(id);
        }
        let segment_bytes = self.geometry.segment_bytes as u64;
        let of = |state: SegmentState| by_state[state as usize];
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        // Bound here: in the literal below the lock would be held until the literal is whole, and others need it.
        let appended_bytes = self.head.lock().appended_bytes;
        LogStats {
            device: self.device.name().to_owned(),
            engine: self.device.engine(),
            segment_bytes,
            segments: self.geometry.segments,
            free_segments: of(SegmentState::Free),
            sealed_segments: of(SegmentState::Sealed),
            evacuating_segments: of(SegmentState::Evacuating) + of(SegmentState::Freeing),
            checkpoint_segments: of(SegmentState::Checkpoint) + of(SegmentState::Dropping),
            damaged_segments,
            reserve_segments: self.reserve_segments,
            capacity_bytes: u64::from(self.geometry.segments) * (segment_bytes - DATA_START as u64),
            used_bytes: u64::from(self.geometry.segments - of(SegmentState::Free)) * segment_bytes,
            live_bytes,
            resident_bytes: self.table.resident_bytes(),
            appended_bytes,
            written_bytes: count(&counters.written_bytes),
            unflushed_bytes: self.unwritten_bytes(),
            syncs: count(&counters.syncs),
            sync_latency: counters.sync_times.snapshot(),
            oldest_operation: self.watched.oldest().unwrap_or_default(),
            durable_lsn: self.durable_lsn(),
            head_lsn: self.head_lsn(),
            device_reads: count(&counters.device_reads),
            device_read_bytes: count(&counters.device_read_bytes),
            backpressure: count(&counters.backpressure),
            stop_writes: count(&counters.stop_writes),
            freed_segments: count(&counters.freed_segments),
            evacuated_segments: count(&counters.evacuated_segments),
            failed_evacuations: count(&counters.failed_evacuations),
            moved_entries: count(&counters.moved_entries),
            moved_bytes: count(&counters.moved_bytes),
            evacuation_bytes_per_sec: allowed_bytes_per_sec(self),
            evacuation_read_bytes: count(&counters.evacuation_read_bytes),
            checkpoints: count(&counters.checkpoints),
            poisoned: self.poisoned().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_counts_at_the_first_bound_that_it_keeps_to() {
        let times = SyncTimes::default();
        for us in [0, 64, 65, 96, 97, 850, 25_165_824, 25_165_825, u64::MAX] {
            times.record(Duration::from_micros(us));
        }
        let told = times.snapshot();
        let counted: Vec<(u64, u64)> = told.within.iter().copied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(64, 2), (96, 2), (128, 1), (1_024, 1), (25_165_824, 1)]);
        assert_eq!(told.slower, 2);
        assert!(told.within.windows(2).all(|pair| pair[0].0 < pair[1].0), "bounds rise");
        assert_eq!((told.quantile_us(0.5), told.quantile_us(0.01), told.quantile_us(1.0)), (128, 64, 50_331_648));
        assert_eq!(SyncLatency::default().quantile_us(0.5), 0);
    }
}
