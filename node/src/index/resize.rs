//! How a partition's table grows and shrinks: whole chunks, entries moved in place and in one pass.

use super::entry::Slot;
use super::table::{Table, chunk_slots, locate};

/// Whether so many entries are too many for a capacity: it is over 15/16 full.
pub(super) fn overfull(len: usize, capacity: usize) -> bool {
    len * 16 > capacity * 15
}

/// Whether so few entries would do with a smaller capacity and still leave it room to grow: it is at most 57/64 full.
pub(super) fn fits_smaller(len: usize, smaller: usize) -> bool {
    len * 64 <= smaller * 57
}

/// The list of chunks is made longer by this many at a time: rarely, so that few blocks are freed, and not by doubling.
const CHUNK_LIST_STEP: usize = 8;

/// [`Table::make_room`] grows by this part of what is there.
const ROOM: usize = 8;

impl Table {
    /// Number of chunks: a capacity ends where a chunk does.
    fn chunk_count(&self) -> usize {
        locate(self.capacity()).0
    }

    /// Slots of the last chunk, 0 if there is none.
    pub(super) fn last_chunk_slots(&self) -> usize {
        self.chunk_count().checked_sub(1).map_or(0, chunk_slots)
    }

    fn resize_chunk_list(&mut self, len: usize) {
        let mut list = std::mem::take(&mut self.chunks).into_vec();
        list.reserve_exact(len.saturating_sub(list.len()));
        list.resize_with(len, Box::default);
        self.chunks = list.into_boxed_slice();
    }

    pub(super) fn add_chunk(&mut self) {
        let count = self.chunk_count();
        if count == self.chunks.len() {
            self.resize_chunk_list(count + CHUNK_LIST_STEP);
        }
        let slots = chunk_slots(count);
        self.chunks[count] = vec![Slot::EMPTY; slots].into_boxed_slice();
        self.capacity += slots as u32;
        self.gaps.resize(self.capacity());
    }

    /// The last chunk must hold no entry.
    pub(super) fn drop_chunk(&mut self) {
        let Some(last) = self.chunk_count().checked_sub(1) else { return };
        self.chunks[last] = Box::default();
        self.capacity -= chunk_slots(last) as u32;
        self.gaps.resize(self.capacity());
        if self.chunks.len() - last >= 2 * CHUNK_LIST_STEP || last == 0 {
            self.resize_chunk_list(last.next_multiple_of(CHUNK_LIST_STEP));
        }
    }

    /// Brings the table into the processor's cache: reads that don't wait for one another, unlike those of the walk
    /// that follows.
    fn fetch(&self) {
        let words = self.chunks.iter().flat_map(|slots| slots.iter().step_by(2)).map(Slot::first_word);
        std::hint::black_box(words.fold(0, std::ops::BitXor::bitxor));
    }

    /// So many slots more, or the chunk that goes beyond. Homes move to the right, so entries do, the last first; one
    /// that lies right of its new home stays, and so do all between them, which were behind one another before.
    pub(super) fn grow_by(&mut self, slots: usize) {
        self.fetch();
        let before = self.capacity();
        while self.capacity() < before + slots {
            self.add_chunk();
        }
        let mut next = self.capacity();
        for from in (0..before).rev() {
            let slot = self.slot(from);
            if !slot.is_empty() {
                let place = self.home(slot.key()).min(next - 1).max(from);
                self.shift(from, place);
                next = place;
            }
        }
    }

    /// So many chunks less: [`Table::grow_by`] mirrored, except that what is left of an entry's way has to hold all
    /// after it.
    pub(super) fn shrink_by(&mut self, chunks: usize) {
        self.fetch();
        let (before, len, count) = (self.capacity(), self.len(), self.chunk_count());
        let dropped: usize = (count.saturating_sub(chunks)..count).map(chunk_slots).sum();
        self.capacity -= dropped as u32;
        let (after, mut next, mut nth) = (self.capacity(), 0, 0);
        for from in 0..before {
            let slot = self.slot(from);
            if !slot.is_empty() {
                let place = self.home(slot.key()).max(next).min(from).min(after - len + nth);
                self.shift(from, place);
                (next, nth) = (place + 1, nth + 1);
            }
        }
        self.capacity = before as u32;
        for _ in 0..chunks {
            self.drop_chunk();
        }
    }

    /// Room for one more entry, and then for an eighth of all: the fewer steps it grows in, the less it moves.
    pub(super) fn make_room(&mut self) {
        if overfull(self.len() + 1, self.capacity()) {
            self.grow_by((self.capacity() / ROOM).max(1));
        }
    }

    /// Gives back what [`Table::make_room`] took too much.
    pub(super) fn fit(&mut self) {
        let (mut chunks, mut smaller) = (0, self.capacity());
        while let Some(last) = (self.chunk_count() - chunks).checked_sub(1)
            && fits_smaller(self.len(), smaller - chunk_slots(last))
        {
            chunks += 1;
            smaller -= chunk_slots(last);
        }
        if chunks > 0 {
            self.shrink_by(chunks);
        }
    }
}
