//! Reading one entry: from RAM without a copy, or its blocks from the device, checked.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::location::Location;
use crate::log::entry::{HEADER_BYTES, Header, Kind, Seed};
use crate::log::error::ReadError;
use crate::log::shared::Shared;
use crate::prefetch::prefetch_bytes;

/// A payload and the buffer that holds it. Cloning shares, nothing is copied.
#[derive(Clone, Debug)]
pub struct Entry {
    buffer: Arc<SegmentBuffer>,
    range: Range<usize>,
}

impl Entry {
    /// Bytes of the payload.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The payload as `Bytes` that keep the buffer alive; nothing is copied.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Entry {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(self.range.clone()).unwrap_or_default()
    }
}

/// Where the payload of `location` lies in a buffer that starts at `base` of the segment. `None` if no entry of that
/// length lies there in this use of the segment.
fn payload_range(
    buffer: &SegmentBuffer,
    seed: Seed,
    location: Location,
    base: usize,
) -> Option<(Header, Range<usize>)> {
    let at = location.offset() - base;
    let header = Header::parse(seed, location.offset(), buffer.get(at..at + HEADER_BYTES)?)?;
    if header.kind != Kind::Data || header.total() != location.byte_len() {
        return None;
    }
    let start = at + HEADER_BYTES;
    Some((header, start..start + header.payload_len))
}

impl Shared {
    /// The payload, if its segment is in RAM.
    #[inline]
    pub fn with_resident<T>(&self, location: Location, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let guard = self.table.resident_guard(location.segment())?;
        let buffer = guard.as_ref()?;
        let (_, range) = payload_range(buffer, self.table.seed(location.segment()), location, 0)?;
        Some(read(buffer.get(range)?))
    }

    /// Asks for the memory of an entry in RAM. Its header isn't looked at: that would be waiting for its first line.
    #[inline]
    pub fn prefetch(&self, location: Location, bytes_max: usize) {
        let Some(guard) = self.table.resident_guard(location.segment()) else { return };
        let Some(buffer) = guard.as_ref() else { return };
        let range = location.offset()..location.offset() + location.byte_len();
        prefetch_bytes(buffer.get(range).unwrap_or_default(), bytes_max);
    }

    /// A handle to the payload, if its segment is in RAM.
    pub fn resident(&self, location: Location) -> Option<Entry> {
        let buffer = self.table.resident(location.segment())?;
        let (_, range) = payload_range(&buffer, self.table.seed(location.segment()), location, 0)?;
        buffer.get(range.clone())?;
        Some(Entry { buffer, range })
    }

    /// Reads the payload's blocks from the device and checks them.
    pub fn read(
        self: &Arc<Self>,
        location: Location,
    ) -> impl Future<Output = Result<Entry, ReadError>> + Send + 'static {
        let shared = self.clone();
        async move {
            // What isn't written yet can only be here.
            if let Some(entry) = shared.resident(location) {
                return Ok(entry);
            }
            let segment = location.segment();
            let end = location.offset() + location.byte_len();
            if segment.0 >= shared.geometry.segments || end > shared.geometry.segment_bytes {
                return Err(ReadError::Corrupt { location, reason: "it lies outside of the log" });
            }
            if !shared.table.state(segment).holds_data() {
                return Err(ReadError::Stale { location });
            }
            let (sequence, seed) = (shared.table.sequence(segment), shared.table.seed(segment));
            let base = location.offset() / BLOCK_BYTES * BLOCK_BYTES;
            let len = end.next_multiple_of(BLOCK_BYTES) - base;
            let buffer = shared.device.read(shared.geometry.device_offset(segment, base), len).await?;
            shared.counters.device_reads.fetch_add(1, Ordering::Relaxed);
            shared.counters.device_read_bytes.fetch_add(len as u64, Ordering::Relaxed);
            let found = payload_range(&buffer, seed, location, base);
            let reason = match found {
                Some((header, range)) if buffer.get(range.clone()).is_some_and(|payload| header.matches(payload)) => {
                    return Ok(Entry { buffer, range });
                }
                Some(_) => "its checksum is wrong",
                None => "no such entry starts there",
            };
            let current = shared.table.state(segment).holds_data() && shared.table.sequence(segment) == sequence;
            if current { Err(ReadError::Corrupt { location, reason }) } else { Err(ReadError::Stale { location }) }
        }
    }
}
