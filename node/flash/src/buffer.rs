//! Aligned memory: a segment's buffer that one writer fills while readers use what is already written.
//!
//! The only shared mutable bytes of the workspace. A [`SegmentWriter`] is the one writer of its buffer: it writes behind
//! the published mark and then moves the mark; readers see nothing past the mark, and nothing before it ever changes.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Alignment of every buffer, and the unit of O_DIRECT: 4 KiB.
pub const BLOCK_BYTES: usize = 4_096;

/// Block-aligned memory of fixed size, written once from front to back. Shared as `Arc<SegmentBuffer>`.
pub struct SegmentBuffer {
    base: NonNull<u8>,
    len: usize,
    /// Bytes before this mark are written and never change again.
    published: AtomicUsize,
}

// SAFETY: the memory is owned by this value alone and freed in `drop`. Readers only get slices before `published`,
// which no one writes again; the one `SegmentWriter` writes only behind it. The mark is released after the write and
// acquired before a read, so a reader sees whole bytes.
unsafe impl Send for SegmentBuffer {}
// SAFETY: as above.
unsafe impl Sync for SegmentBuffer {}

impl SegmentBuffer {
    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, BLOCK_BYTES).expect("a buffer is at most a segment, far below isize::MAX")
    }

    /// Zeroed memory of `len` bytes (rounded up to whole blocks, at least one) and its one writer.
    pub fn with_writer(len: usize) -> SegmentWriter {
        let len = len.max(1).next_multiple_of(BLOCK_BYTES);
        let layout = Self::layout(len);
        // SAFETY: the layout isn't empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let buffer = Arc::new(SegmentBuffer { base, len, published: AtomicUsize::new(0) });
        SegmentWriter { buffer, at: 0 }
    }

    /// Bytes of the buffer.
    pub fn capacity(&self) -> usize {
        self.len
    }

    /// Bytes that are written.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// A written range; `None` if it isn't written yet or out of bounds.
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        // SAFETY: the range lies before the published mark, so inside the allocation, initialised (it was zeroed at
        // least), and never written again while this value lives.
        Some(unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(range.start), range.end - range.start) })
    }

    /// Where the memory starts, for a driver that hands it to the kernel; valid while the `Arc` is held.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for SegmentBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `with_writer` with this very layout, and nobody holds the value any more.
        unsafe { dealloc(self.base.as_ptr(), Self::layout(self.len)) }
    }
}

impl std::fmt::Debug for SegmentBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentBuffer").field("capacity", &self.len).field("published", &self.published()).finish()
    }
}

/// The one writer of a buffer; dropping it freezes the buffer.
#[derive(Debug)]
pub struct SegmentWriter {
    buffer: Arc<SegmentBuffer>,
    at: usize,
}

impl SegmentWriter {
    /// The buffer, to read from.
    pub fn buffer(&self) -> &Arc<SegmentBuffer> {
        &self.buffer
    }

    /// Where the next byte goes.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub fn room(&self) -> usize {
        self.buffer.len - self.at
    }

    /// Appends the parts one after the other and publishes them together; false (and nothing written) if they don't fit.
    #[must_use]
    pub fn append(&mut self, parts: &[&[u8]]) -> bool {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total > self.room() {
            return false;
        }
        for part in parts {
            // SAFETY: `at..at + part.len()` is inside the allocation (checked above) and behind the published mark, so
            // no reader has a slice of it; `&mut self` is the only writer. Source and target can't overlap: a slice of
            // this buffer lies before the mark.
            unsafe { self.buffer.base.as_ptr().add(self.at).copy_from_nonoverlapping(part.as_ptr(), part.len()) };
            self.at += part.len();
        }
        self.buffer.published.store(self.at, Ordering::Release);
        true
    }

    /// Fills with zeros up to a multiple of `align` (or the end of the buffer).
    pub fn pad_to(&mut self, align: usize) {
        let target = self.at.next_multiple_of(align).min(self.buffer.len);
        // The memory was zeroed when it was allocated and nothing was written behind the mark: moving it is enough.
        self.at = target;
        self.buffer.published.store(self.at, Ordering::Release);
    }

    /// Reading from the kernel straight into the buffer: the driver owns the writer until the read completes, then
    /// publishes what arrived.
    pub(crate) fn spare(&mut self) -> (*mut u8, usize) {
        // SAFETY: `at <= len`, so the pointer is inside the allocation or one past its end.
        (unsafe { self.buffer.base().add(self.at) }, self.room())
    }

    /// Publishes `count` bytes that the kernel wrote at [`SegmentWriter::spare`]; cut at the buffer's end.
    pub(crate) fn advance(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len);
        self.buffer.published.store(self.at, Ordering::Release);
    }

    /// Freezes the buffer.
    pub fn finish(self) -> Arc<SegmentBuffer> {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_only_what_is_published() {
        let mut writer = SegmentBuffer::with_writer(8_192);
        let buffer = writer.buffer().clone();
        assert_eq!(buffer.get(0..1), None);
        assert!(writer.append(&[b"ab", b"cd"]));
        assert_eq!(buffer.get(1..4), Some(&b"bcd"[..]));
        assert_eq!(buffer.get(1..5), None);
        writer.pad_to(16);
        assert_eq!(buffer.get(4..16), Some(&[0; 12][..]));
        assert!(!writer.append(&[&[1; 8_192]]), "no room");
        assert_eq!(writer.position(), 16);
        assert_eq!(buffer.base() as usize % BLOCK_BYTES, 0);
    }

    #[test]
    fn a_reader_on_another_thread_never_sees_torn_bytes() {
        let mut writer = SegmentBuffer::with_writer(1 << 20);
        let buffer = writer.buffer().clone();
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            while seen < buffer.capacity() {
                let end = buffer.published();
                let bytes = buffer.get(seen..end).expect("published");
                assert!(bytes.chunks(16).all(|chunk| chunk.iter().all(|byte| *byte == chunk[0] && *byte != 0)));
                seen = end;
            }
        });
        for round in 0..(1 << 20) / 16 {
            assert!(writer.append(&[&[(round % 255) as u8 + 1; 16]]));
        }
        reader.join().expect("the reader found whole bytes only");
    }
}
