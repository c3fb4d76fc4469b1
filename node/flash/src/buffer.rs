//! Aligned memory: a segment's buffer that one writer fills while readers use what is already written.
//!
//! The only shared mutable bytes of the workspace. A [`SegmentWriter`] is the one writer of its buffer: it writes behind
//! the published mark and then moves the mark; readers see nothing past the mark, and nothing before it ever changes.
//!
//! Memory for reads comes from a [`BufferPool`] and goes back to it: allocating and zeroing cost more than a read of
//! 4 KiB does otherwise. Such memory holds old bytes, so only what a driver wrote is ever published.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::{MaybeUninit, replace};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::mm::{Advice, madvise};

/// Alignment of every buffer, and the unit of O_DIRECT: 4 KiB.
pub const BLOCK_BYTES: usize = 4_096;

/// Buffers of at least this size (segments) are aligned to it and ask the kernel for huge pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Pooled sizes of reads: 4 KiB to 1 MiB in powers of two. Longer ones are rare, and their copying outweighs the
/// allocation.
const READ_CLASSES: usize = 9;

/// Pooled sizes altogether: segments are up to 8 MiB long.
const POOL_CLASSES: usize = 12;

/// An owned, block-aligned piece of memory; its bytes may be uninitialised.
struct Memory {
    base: NonNull<u8>,
    /// Zero: no memory at all.
    len: usize,
}

// SAFETY: a `Memory` is the only owner of its allocation, like a `Box<[MaybeUninit<u8>]>`; it gives out a pointer and
// reads or writes nothing through it.
unsafe impl Send for Memory {}
// SAFETY: as above; a shared reference gives no access to the bytes by itself.
unsafe impl Sync for Memory {}

impl Memory {
    const NONE: Memory = Memory { base: NonNull::dangling(), len: 0 };

    fn layout(len: usize) -> Layout {
        let align = if len < HUGE_PAGE_BYTES { BLOCK_BYTES } else { HUGE_PAGE_BYTES };
        Layout::from_size_align(len, align).expect("a buffer is at most a segment, far below isize::MAX")
    }

    /// `len` is not zero.
    fn new(len: usize, zeroed: bool) -> Self {
        debug_assert!(len > 0);
        let layout = Self::layout(len.max(1));
        let huge = layout.align() >= HUGE_PAGE_BYTES;
        // SAFETY: the layout isn't empty.
        let memory = unsafe { if zeroed && !huge { alloc_zeroed(layout) } else { alloc(layout) } };
        let Some(base) = NonNull::new(memory) else { handle_alloc_error(layout) };
        if huge {
            // Reads at random within gigabytes of segments spend a fifth of their time walking page tables otherwise.
            // SAFETY: the range is this allocation, and the advice changes no byte of it. A kernel without huge pages
            // refuses; then the pages are small.
            let _ = unsafe { madvise(memory.cast(), layout.size(), Advice::LinuxHugepage) };
            if zeroed {
                // SAFETY: the allocation has this many bytes, and nobody else has it. Written only now, so that the
                // first touch of each page already finds the advice.
                unsafe { memory.write_bytes(0, layout.size()) };
            }
        }
        Memory { base, len: layout.size() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `new` with this very layout, and this value is its only owner.
            unsafe { dealloc(self.base.as_ptr(), Self::layout(self.len)) }
        }
    }
}

/// Memory of finished reads, kept for the next ones: one shelf for each size, bounded in bytes altogether.
pub struct BufferPool {
    shelves: [Mutex<Vec<Memory>>; POOL_CLASSES],
    held_bytes: AtomicUsize,
    held_bytes_max: usize,
}

impl BufferPool {
    /// A pool that keeps at most `held_bytes_max` bytes that nobody uses.
    pub fn new(held_bytes_max: usize) -> Arc<Self> {
        Arc::new(BufferPool { shelves: Default::default(), held_bytes: AtomicUsize::new(0), held_bytes_max })
    }

    /// Bytes that wait for their next use.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn class(len: usize) -> Option<usize> {
        let class = (len / BLOCK_BYTES).next_power_of_two().trailing_zeros() as usize;
        (class < POOL_CLASSES).then_some(class)
    }

    /// A writer of `len` bytes (rounded up to whole blocks, at least one) whose memory comes back when the last holder
    /// of the buffer drops it. Its bytes are whatever they were before; see [`SegmentWriter::advance`].
    pub(crate) fn writer(self: &Arc<Self>, len: usize) -> SegmentWriter {
        let len = len.max(1).next_multiple_of(BLOCK_BYTES);
        let Some(class) = Self::class(len).filter(|class| *class < READ_CLASSES) else {
            return SegmentBuffer::writer_over(Memory::new(len, false), len, false, None);
        };
        let memory = self.shelves[class].lock().pop();
        let memory = match memory {
            Some(memory) => {
                self.held_bytes.fetch_sub(memory.len, Ordering::Relaxed);
                memory
            }
            None => Memory::new(BLOCK_BYTES << class, false),
        };
        SegmentBuffer::writer_over(memory, len, false, Some(self.clone()))
    }

    /// A writer over memory of this length that an earlier buffer gave back, its pages touched; `None` if there is none.
    pub(crate) fn reused(self: &Arc<Self>, len: usize) -> Option<SegmentWriter> {
        let memory = self.shelves[Self::class(len)?].lock().pop_if(|memory| memory.len >= len)?;
        self.held_bytes.fetch_sub(memory.len, Ordering::Relaxed);
        Some(SegmentBuffer::writer_over(memory, len, false, Some(self.clone())))
    }

    /// A writer over new zeroed memory that comes back to this pool. `len` is a multiple of the block.
    pub(crate) fn zeroed(self: &Arc<Self>, len: usize) -> SegmentWriter {
        SegmentBuffer::writer_over(Memory::new(len, true), len, true, Some(self.clone()))
    }

    fn take_back(&self, memory: Memory) {
        let Some(class) = Self::class(memory.len) else { return };
        // Two threads may both find room for the last buffer: the bound is kept by undoing, not by a lock.
        let before = self.held_bytes.fetch_add(memory.len, Ordering::Relaxed);
        if before + memory.len > self.held_bytes_max {
            self.held_bytes.fetch_sub(memory.len, Ordering::Relaxed);
            return;
        }
        self.shelves[class].lock().push(memory);
    }
}

impl std::fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BufferPool").field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

/// Block-aligned memory of fixed size, written once from front to back. Shared as `Arc<SegmentBuffer>`.
pub struct SegmentBuffer {
    memory: Memory,
    /// Bytes of the buffer; pooled memory may be longer.
    len: usize,
    /// Bytes before this mark are written and never change again while this value lives.
    published: AtomicUsize,
    /// Where the memory goes afterwards.
    pool: Option<Arc<BufferPool>>,
}

// The memory is owned by this value alone until `drop`. Readers only get slices before `published`, which no one
// writes again; the one `SegmentWriter` writes only behind it. The mark is released after the write and acquired
// before a read, so a reader sees whole bytes: that is why `Memory` may be `Send` and `Sync`, and this type with it.

impl SegmentBuffer {
    fn writer_over(memory: Memory, len: usize, zeroed: bool, pool: Option<Arc<BufferPool>>) -> SegmentWriter {
        debug_assert!(len <= memory.len);
        let buffer = Arc::new(SegmentBuffer { memory, len, published: AtomicUsize::new(0), pool });
        SegmentWriter { buffer, at: 0, zeroed }
    }

    /// Zeroed memory of `len` bytes (rounded up to whole blocks, at least one) and its one writer.
    pub fn with_writer(len: usize) -> SegmentWriter {
        let len = len.max(1).next_multiple_of(BLOCK_BYTES);
        Self::writer_over(Memory::new(len, true), len, true, None)
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
        // SAFETY: the range lies before the published mark, so inside the allocation, initialised (the mark only moves
        // over bytes that were written), and never written again while this value lives.
        Some(unsafe { std::slice::from_raw_parts(self.base().add(range.start), range.end - range.start) })
    }

    /// Where the memory starts, for a driver that hands it to the kernel; valid while the `Arc` is held.
    pub(crate) fn base(&self) -> *mut u8 {
        self.memory.base.as_ptr()
    }
}

impl Drop for SegmentBuffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.take_back(replace(&mut self.memory, Memory::NONE));
        }
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
    /// Nothing but zeros behind `at`.
    zeroed: bool,
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
            unsafe { self.buffer.base().add(self.at).copy_from_nonoverlapping(part.as_ptr(), part.len()) };
            self.at += part.len();
        }
        self.buffer.published.store(self.at, Ordering::Release);
        true
    }

    /// Fills with zeros up to a multiple of `align` (or the end of the buffer).
    pub fn pad_to(&mut self, align: usize) {
        let target = self.at.next_multiple_of(align).min(self.buffer.len);
        if !self.zeroed {
            // SAFETY: `at..target` is inside the allocation and behind the published mark; `&mut self` is the only writer.
            unsafe { self.buffer.base().add(self.at).write_bytes(0, target - self.at) };
        }
        self.at = target;
        self.buffer.published.store(self.at, Ordering::Release);
    }

    /// The memory behind the published mark, for a driver that lets the kernel write there. A driver that keeps the
    /// pointer beyond this borrow keeps the writer too, until the kernel is done.
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        // Whatever the kernel leaves behind the mark, it is no longer known to be zeros.
        self.zeroed = false;
        // SAFETY: `at..at + room()` is inside the allocation and behind the published mark, so no reader has a slice of
        // it; `&mut self` is the only writer; bytes may be uninitialised.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.base().add(self.at).cast(), self.room()) }
    }

    /// Publishes `count` bytes at [`SegmentWriter::spare`]; cut at the buffer's end.
    ///
    /// # Safety
    ///
    /// The first `count` bytes of `spare` are initialised, and no one (the kernel included) writes them any more.
    pub(crate) unsafe fn advance(&mut self, count: usize) {
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

    #[test]
    fn pooled_memory_comes_back_within_the_bound_and_shows_no_old_bytes() {
        let pool = BufferPool::new(3 * BLOCK_BYTES);
        let mut writer = pool.writer(3 * BLOCK_BYTES);
        assert_eq!(writer.buffer().capacity(), 3 * BLOCK_BYTES, "though its memory has four blocks");
        assert!(writer.append(&[&[7; 3 * BLOCK_BYTES]]));
        assert!(!writer.append(&[&[7]]));
        drop(writer.finish());
        assert_eq!(pool.held_bytes(), 0, "four blocks are above the bound");
        let mut writer = pool.writer(BLOCK_BYTES);
        assert!(writer.append(&[&[7; BLOCK_BYTES]]));
        let buffer = writer.finish();
        let first_base = buffer.base();
        let other = buffer.clone();
        drop(buffer);
        assert_eq!(pool.held_bytes(), 0, "someone still reads it");
        drop(other);
        assert_eq!(pool.held_bytes(), BLOCK_BYTES);
        let mut writer = pool.writer(1);
        let again = writer.buffer().clone();
        assert_eq!((again.base(), again.get(0..1), pool.held_bytes()), (first_base, None, 0));
        assert!(writer.append(&[b"x"]));
        writer.pad_to(16);
        assert_eq!(
            again.get(0..16),
            Some(&b"x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
            "padding is zeros, never old bytes"
        );
        let long = pool.writer(2 << 20).finish();
        assert_eq!(long.capacity(), 2 << 20);
        drop(long);
        assert_eq!(pool.held_bytes(), 0, "too long to be pooled");
    }
}
