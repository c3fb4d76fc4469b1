//! Makes room: segments with little that is live are read, what is live is appended again, the segment is freed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::location::{Location, Lsn, SegmentId};
use crate::log::error::SegmentReadError;
use crate::log::reader::{Batch, SegmentReader};
use crate::log::shared::Shared;
use crate::log::table::SegmentState;

/// Without a wake-up the segments are looked at this often: live ratios sink without a sound.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a failed evacuation.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Entries that are judged between two yields to the runtime.
const ENTRIES_PER_TURN: usize = 64;

/// Evacuated segments that may wait for their copies to become durable.
const MOVED_MAX: usize = 4;

/// A segment above the configured live ratio is evacuated only if so much of it is garbage, percent.
const GARBAGE_PERCENT_MIN: u64 = 5;

/// What became of an entry that defrag met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocated {
    /// It was live and has been appended again.
    Moved,
    /// It isn't current any more.
    Garbage,
    /// The append said `Backpressure`: ask again.
    Retry,
    /// It is live and can't be moved: the segment stays.
    Failed,
}

/// Who knows what is live: the store. Called from the log's tasks.
pub trait Owner: Send + Sync {
    /// Decides about an entry of a segment that is being evacuated. If it is current, the owner appends it again
    /// (`AppendKind::Relocate`), points its index at the new place and releases the old one, all under the lock that
    /// guards the key. `release` of an entry must always happen under that lock: a segment whose entries are all
    /// garbage is freed, and a late release would be counted against its next use.
    fn relocate(&self, location: Location, lsn: Lsn, payload: &[u8]) -> Relocated;

    /// A segment's use has ended durably.
    fn freed(&self, _segment: SegmentId) {}
}

/// Bytes that may be spent, refilled by time.
#[derive(Debug)]
struct TokenBucket {
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// Takes bytes at a rate a second, waiting if there are none; a burst of a tenth of a second is allowed.
    async fn take(&mut self, bytes: u64, bytes_per_sec: u64) {
        let now = Instant::now();
        let rate = (bytes_per_sec as f64).max(1.0);
        self.tokens = (self.tokens + now.duration_since(self.filled).as_secs_f64() * rate).min(rate / 10.0);
        self.filled = now;
        self.tokens -= bytes as f64;
        if self.tokens < 0.0 {
            sleep(Duration::from_secs_f64((-self.tokens / rate).min(1.0))).await;
        }
    }
}

/// How hard to try: which live ratio is low enough, and how fast to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Eagerness {
    live_percent: u64,
    /// `None`: as fast as it goes, appends are already refused.
    bytes_per_sec: Option<u64>,
}

fn eagerness(shared: &Shared) -> Eagerness {
    let (free, reserve) = (u64::from(shared.table.free_segments()), u64::from(shared.reserve_segments));
    let percent = u64::from(shared.options.defrag_live_percent.min(99));
    let rate = shared.options.defrag_bytes_per_sec;
    match free {
        // Below this, appends of users are refused or about to be: anything that gains a little is worth it.
        _ if free <= reserve => Eagerness { live_percent: percent.max(95), bytes_per_sec: None },
        _ if free <= 2 * reserve => {
            Eagerness { live_percent: percent.max(85), bytes_per_sec: Some(rate.saturating_mul(4)) }
        }
        _ if free <= 4 * reserve => {
            Eagerness { live_percent: percent.max(70), bytes_per_sec: Some(rate.saturating_mul(2)) }
        }
        _ => Eagerness { live_percent: percent, bytes_per_sec: Some(rate) },
    }
}

/// Bytes that defrag may look at in a second now; `None`: as many as it can.
pub(crate) fn allowed_bytes_per_sec(shared: &Shared) -> Option<u64> {
    eagerness(shared).bytes_per_sec
}

/// The next segment to evacuate: the oldest if it was asked for, else the one with least that is live.
fn pick(shared: &Shared) -> Option<SegmentId> {
    let sealed = || shared.table.ids().filter(|id| shared.table.state(*id) == SegmentState::Sealed);
    if shared.evacuate_oldest.swap(false, Ordering::AcqRel) {
        let oldest = sealed().min_by_key(|id| shared.table.sequence(*id));
        let oldest = oldest.filter(|id| shared.table.sequence(*id) == shared.table.oldest_sequence());
        if let Some(id) = oldest.filter(|id| !shared.table.is_damaged(*id)) {
            return Some(id);
        }
    }
    let data_bytes = shared.geometry.data_bytes();
    let limit = data_bytes * u64::from(shared.options.defrag_live_percent.min(99)) / 100;
    let eager_limit = data_bytes * eagerness(shared).live_percent / 100;
    let worth_it = |id: &SegmentId| {
        let live = shared.table.live_bytes(*id);
        // Eager, only garbage counts: moving pads too, so that chasing padding would never end.
        let gains = shared.table.garbage_bytes(*id) >= data_bytes * GARBAGE_PERCENT_MIN / 100;
        (live < limit || (live < eager_limit && gains)) && !shared.table.is_damaged(*id)
    };
    sealed().filter(worth_it).min_by_key(|id| shared.table.live_bytes(*id))
}

/// Sealed segments without anything live: freed without being read.
fn empty(shared: &Shared) -> Vec<SegmentId> {
    let sealed = shared.table.ids().filter(|id| shared.table.state(*id) == SegmentState::Sealed);
    sealed.filter(|id| shared.table.live_bytes(*id) == 0).collect()
}

/// Runs until the log is closed or poisoned, or its owner is gone.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut bucket = TokenBucket { tokens: 0.0, filled: Instant::now() };
    // What holds nothing live any more, and what must be durable before it may go.
    let mut moved: VecDeque<(SegmentId, Lsn)> = VecDeque::new();
    while !shared.closing.load(Ordering::Acquire) && shared.poisoned().is_none() {
        while let Some((id, barrier)) = moved.front().copied().filter(|(_, barrier)| shared.durable_lsn() >= *barrier) {
            tracing::debug!(segment = id.0, barrier = barrier.0, "freeing");
            shared.queue_free(id);
            moved.pop_front();
        }
        for id in empty(&shared) {
            // What took the place of its entries may not be durable yet.
            shared.table.set_state(id, SegmentState::Evacuating);
            moved.push_back((id, shared.head_lsn()));
        }
        let candidate = if moved.len() < MOVED_MAX { pick(&shared) } else { None };
        match candidate {
            Some(id) => match evacuate(&shared, id, &mut bucket).await {
                Evacuated::Done => {
                    shared.counters.evacuated_segments.fetch_add(1, Ordering::Relaxed);
                    moved.push_back((id, shared.head_lsn()));
                }
                Evacuated::Kept => {
                    shared.table.set_state(id, SegmentState::Sealed);
                    shared.counters.failed_evacuations.fetch_add(1, Ordering::Relaxed);
                    sleep(BACK_OFF).await;
                }
                Evacuated::OwnerGone => return,
            },
            None => match moved.front() {
                Some((_, barrier)) => {
                    if shared.wait_durable(*barrier).await.is_err() {
                        return;
                    }
                }
                None => {
                    tokio::select! {
                        () = shared.defrag_wake.notified() => {}
                        () = sleep(LOOK_EVERY) => {}
                    }
                }
            },
        }
    }
}

enum Evacuated {
    /// Nothing live is left in it.
    Done,
    /// It stays: something couldn't be read or moved.
    Kept,
    OwnerGone,
}

async fn evacuate(shared: &Arc<Shared>, id: SegmentId, bucket: &mut TokenBucket) -> Evacuated {
    shared.table.set_state(id, SegmentState::Evacuating);
    let resident = shared.table.resident(id).is_some();
    let mut reader = SegmentReader::new(shared.clone(), id, 0);
    let mut damaged_bytes = 0;
    while let Some(next) = reader.next().await {
        match next {
            Ok(batch) => match relocate_batch(shared, &batch, resident, bucket).await {
                Evacuated::Done => {}
                other => return other,
            },
            Err(SegmentReadError::Damaged { offset, bytes, .. }) => {
                tracing::error!(segment = id.0, offset, bytes, "bytes that hold no intact entry");
                damaged_bytes += bytes;
            }
            Err(error) => {
                tracing::warn!(segment = id.0, %error, "evacuation given up");
                return Evacuated::Kept;
            }
        }
    }
    if damaged_bytes > 0 && shared.table.live_bytes(id) > 0 {
        // What is live and can't be read isn't given up: reads say that it is damaged until somebody deletes it.
        shared.table.set_damaged(id);
        return Evacuated::Kept;
    }
    Evacuated::Done
}

async fn relocate_batch(shared: &Arc<Shared>, batch: &Batch, resident: bool, bucket: &mut TokenBucket) -> Evacuated {
    let mut spent = 0;
    for (index, (location, lsn, payload)) in batch.iter().enumerate() {
        if index % ENTRIES_PER_TURN == 0 {
            match eagerness(shared).bytes_per_sec {
                Some(rate) if spent > 0 => bucket.take(spent, rate).await,
                _ => tokio::task::yield_now().await,
            }
            spent = 0;
        }
        let bytes = location.byte_len() as u64;
        shared.counters.evacuation_read_bytes.fetch_add(bytes, Ordering::Relaxed);
        loop {
            if shared.closing.load(Ordering::Acquire) || shared.poisoned().is_some() {
                return Evacuated::Kept;
            }
            let Some(owner) = shared.owner() else { return Evacuated::OwnerGone };
            match owner.relocate(location, lsn, payload) {
                Relocated::Moved => {
                    shared.counters.moved_entries.fetch_add(1, Ordering::Relaxed);
                    shared.counters.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
                    spent += bytes;
                    break;
                }
                Relocated::Garbage => {
                    spent += if resident { 0 } else { bytes };
                    break;
                }
                Relocated::Retry => {
                    drop(owner);
                    shared.writable().await;
                    sleep(Duration::from_millis(1)).await;
                }
                Relocated::Failed => return Evacuated::Kept,
            }
        }
    }
    if let (Some(rate), true) = (eagerness(shared).bytes_per_sec, spent > 0) {
        bucket.take(spent, rate).await;
    }
    Evacuated::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_bucket_spends_no_more_than_its_rate_over_time() {
        let start = Instant::now();
        let mut bucket = TokenBucket { tokens: 0.0, filled: start };
        for _ in 0..100 {
            bucket.take(100_000, 1_000_000).await;
        }
        // Simulated time, not a measurement: 10 MB at 1 MB a second.
        let spent = start.elapsed();
        assert!(spent >= Duration::from_millis(9_800) && spent <= Duration::from_millis(10_200), "{spent:?}");
    }
}
