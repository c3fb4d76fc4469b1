//! Buffers ahead of their use: the next open segment's memory, and residents read back from the device.

use std::sync::Arc;

use crate::buffer::{BufferPool, SegmentBuffer, SegmentWriter};
use crate::location::SegmentId;
use crate::log::options::{DATA_START, IO_BYTES};
use crate::log::shared::Shared;
use crate::log::table::SegmentState;
use crate::log::walk::{Pause, Step, Walker};

/// Buffers that stand ready: one is in use, these follow without a stall.
const PREPARED: usize = 2;

/// Buffers that nobody holds and that are kept for the next segments.
const KEPT: usize = 3;

/// The pool of a log's segment buffers.
pub(crate) fn pool(segment_bytes: usize) -> Arc<BufferPool> {
    BufferPool::new(KEPT * segment_bytes.next_power_of_two())
}

/// Buffers up to this size are made in place, larger ones where touching their pages stalls no request.
const INLINE_BYTES: usize = 1 << 20;

/// A segment's buffer whose slots' place is skipped and whose pages are touched: one that nobody holds any more, or a
/// new one, made where it stalls no worker thread. `None` if the runtime is going down.
pub(crate) async fn make_buffer(pool: &Arc<BufferPool>, segment_bytes: usize) -> Option<SegmentWriter> {
    let mut writer = match pool.reused(segment_bytes) {
        Some(writer) => writer,
        None if segment_bytes <= INLINE_BYTES => pool.zeroed(segment_bytes),
        None => {
            let pool = pool.clone();
            tokio::task::spawn_blocking(move || pool.zeroed(segment_bytes)).await.ok()?
        }
    };
    writer.append(&[&[0; DATA_START]]).then_some(writer)
}

/// Keeps prepared buffers ready until the log is closed or poisoned.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let missing = {
            let head = shared.head.lock();
            if head.closed || shared.poisoned().is_some() {
                return;
            }
            PREPARED.saturating_sub(head.prepared.len())
        };
        if missing == 0 {
            shared.prepare_wake.notified().await;
            continue;
        }
        // Without a buffer the runtime is going down.
        let Some(writer) = make_buffer(&shared.buffers, shared.geometry.segment_bytes).await else { return };
        shared.head.lock().prepared.push_back(writer);
        shared.writable.notify_waiters();
    }
}

/// Reads sealed segments back into RAM, newest first, as far as the resident budget goes.
pub(crate) async fn preload(shared: Arc<Shared>) {
    let mut sealed: Vec<(u64, SegmentId)> = shared
        .table
        .ids()
        .filter(|id| shared.table.state(*id) == SegmentState::Sealed)
        .map(|id| (shared.table.sequence(id), id))
        .collect();
    sealed.sort_unstable();
    while let Some((sequence, id)) = sealed.pop() {
        if !shared.table.has_resident_room() {
            return;
        }
        if shared.table.resident(id).is_some() {
            continue;
        }
        match preload_one(&shared, id, sequence).await {
            Ok(Some(buffer)) => {
                if !shared.table.preload(id, sequence, buffer) && !shared.table.has_resident_room() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(segment = id.0, %error, "preloading stopped");
                return;
            }
        }
    }
}

/// A whole segment, checked; `None` if it has damage (then reads go to the device and say so).
async fn preload_one(
    shared: &Shared,
    id: SegmentId,
    sequence: u64,
) -> Result<Option<Arc<SegmentBuffer>>, crate::device::DeviceError> {
    let meta = shared.meta_of(id, 0);
    let segment_bytes = shared.geometry.segment_bytes;
    let Some(mut writer) = make_buffer(&shared.buffers, segment_bytes).await else { return Ok(None) };
    let end = meta.end.next_multiple_of(crate::buffer::BLOCK_BYTES).min(segment_bytes);
    for offset in (DATA_START..end).step_by(IO_BYTES) {
        let len = (end - offset).min(IO_BYTES);
        let window = shared.device.read(shared.geometry.device_offset(id, offset), len).await?;
        let fits = window.get(0..len).is_some_and(|bytes| writer.append(&[bytes]));
        if !fits {
            return Ok(None);
        }
    }
    let buffer = writer.finish();
    let mut intact = true;
    let mut walker = Walker::new(&meta);
    let bytes = buffer.get(0..end).unwrap_or_default();
    let pause = walker.walk(bytes, 0, true, &mut |step| intact &= !matches!(step, Step::Damage(_)));
    let current = shared.table.sequence(id) == sequence;
    if !intact {
        tracing::warn!(segment = id.0, "not preloaded: it holds bytes that are no intact entry");
    }
    Ok((pause == Pause::Done && intact && current).then_some(buffer))
}
