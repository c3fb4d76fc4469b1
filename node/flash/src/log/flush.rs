//! Group commit: one task that writes what was appended and syncs it, while the next batch fills.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::device::DeviceError;
use crate::location::{Lsn, SegmentId};
use crate::log::append::Cut;
use crate::log::options::{IO_BYTES, SyncPolicy};
use crate::log::shared::{Shared, SlotWrite, Then};

/// Writes in flight at most.
const WRITES_AHEAD: usize = 16;

/// What was written and still needs a sync.
#[derive(Default)]
struct Unsynced {
    end: Option<Lsn>,
    slots: Vec<SlotWrite>,
    sealed: Vec<SegmentId>,
}

/// Runs until the log is closed and everything is durable, or until it is poisoned.
pub(crate) async fn run(shared: Arc<Shared>) {
    if shared.volatile {
        return;
    }
    let mut unsynced = Unsynced::default();
    let mut deadline: Option<Instant> = None;
    loop {
        if shared.poisoned().is_some() {
            return;
        }
        let written_bytes = shared.written_bytes.load(Ordering::Relaxed);
        let dirty_bytes = shared.unwritten_bytes();
        let work = dirty_bytes > 0 || unsynced.end.is_some() || !shared.slots.lock().is_empty();
        if !work {
            if shared.closing.load(Ordering::Acquire) {
                return;
            }
            if !shared.arm_wake(written_bytes, false) {
                shared.flush_wake.notified().await;
            }
            continue;
        }
        let sync = match shared.options.sync {
            SyncPolicy::Group => true,
            SyncPolicy::Interval { flush_ms } => {
                let due = *deadline.get_or_insert_with(|| Instant::now() + Duration::from_millis(flush_ms));
                let wanted = shared.sync_wanted.load(Ordering::Acquire) > shared.durable_lsn().0;
                let sync = wanted || Instant::now() >= due || shared.closing.load(Ordering::Acquire);
                if !sync && dirty_bytes < IO_BYTES as u64 {
                    shared.arm_wake(written_bytes, true);
                    tokio::select! {
                        () = shared.flush_wake.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                    continue;
                }
                sync
            }
        };
        if let Err(error) = flush(&shared, &mut unsynced, sync).await {
            shared.poison(error.to_string());
            return;
        }
        if sync {
            deadline = None;
        }
    }
}

/// Writes what is there; with `sync`, makes it durable and says so.
async fn flush(shared: &Shared, unsynced: &mut Unsynced, sync: bool) -> Result<(), DeviceError> {
    let cut = shared.cut();
    write_out(shared, &cut).await?;
    let bytes: usize = cut.pieces.iter().map(|piece| piece.end - piece.start).sum();
    shared.counters.written_bytes.fetch_add((bytes + cut.slots.len() * BLOCK_BYTES) as u64, Ordering::Relaxed);
    shared.written_bytes.store(cut.appended_bytes, Ordering::Release);
    shared.writable.notify_waiters();
    unsynced.end = Some(cut.end);
    unsynced.slots.extend(cut.slots);
    unsynced.sealed.extend(cut.pieces.iter().filter(|piece| piece.sealed).map(|piece| piece.segment));
    if sync {
        let began = Instant::now();
        shared.device.sync().await?;
        shared.counters.sync_times.record(began.elapsed());
        shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        publish(shared, std::mem::take(unsynced));
    }
    Ok(())
}

async fn write_out(shared: &Shared, cut: &Cut) -> Result<(), DeviceError> {
    let mut writes: Vec<(u64, Arc<SegmentBuffer>, usize, usize)> = Vec::new();
    for piece in &cut.pieces {
        for start in (piece.start..piece.end).step_by(IO_BYTES) {
            let len = (piece.end - start).min(IO_BYTES);
            writes.push((shared.geometry.device_offset(piece.segment, start), piece.buffer.clone(), start, len));
        }
    }
    for slot in &cut.slots {
        writes.push((shared.slot_device_offset(slot), slot.block.clone(), 0, BLOCK_BYTES));
    }
    let submit = |(offset, buffer, start, len)| shared.device.write(offset, buffer, start, len);
    stream::iter(writes).map(submit).buffer_unordered(WRITES_AHEAD).try_collect().await
}

/// What the sync made true: the durable number, second copies that may now be written, segments that are free.
fn publish(shared: &Shared, synced: Unsynced) {
    if let Some(end) = synced.end {
        shared.durable_lsn.fetch_max(end.0, Ordering::AcqRel);
        shared.durable.send_modify(|durable| durable.lsn = durable.lsn.max(end));
    }
    for segment in synced.sealed {
        shared.table.retire(segment);
    }
    let mut again = Vec::new();
    for slot in synced.slots {
        match (slot.copy, slot.then) {
            (0, _) => again.push(SlotWrite { copy: 1, ..slot }),
            (_, Then::Free) => shared.freed(slot.segment),
            (_, Then::Nothing) => {}
        }
    }
    shared.slots.lock().extend(again);
}

impl Shared {
    /// Waits until an append that got `Backpressure` is worth trying again (or will fail for good).
    pub async fn writable(&self) {
        loop {
            let mut changed = std::pin::pin!(self.writable.notified());
            changed.as_mut().enable();
            let room = self.unwritten_bytes() < self.options.write_buffer_bytes;
            let ready = {
                let head = self.head.lock();
                head.closed || !head.prepared.is_empty()
            };
            if (room && ready) || self.poisoned().is_some() {
                return;
            }
            changed.await;
        }
    }
}
