//! A partition's table: slots in digest order with few gaps, in chunks that stay where they are when it grows.
//!
//! A key's home is `high bits × capacity / 2^64`, so that homes rise with digests and the whole table is one sorted
//! array with gaps. One invariant makes look-ups short: **no gap lies between an entry and its home**. A look-up starts
//! at the home and walks towards the key until it finds it, a key beyond it, or a gap.
//!
//! An insert shifts the entries up to the nearest gap, left or right; a removal closes the gap again where the
//! invariant asks for it. The table is filled to 15/16 and then grows by one chunk, a sixteenth to a thirty-second of
//! it; all entries move to their new homes in place, without a second table beside the first.
//!
//! Chunks never change size: a table of 1 KiB chunks, then from 256 slots on sixteen chunks to each doubling. All
//! tables use the same few sizes and free none while they grow, so that nothing is lost to fragmentation.

use super::entry::{Slot, SlotKey};

const FIRST_CHUNKS: usize = 8;
const FIRST_CHUNK_SLOTS_LOG2: u32 = 5;
const FIRST_SLOTS: usize = FIRST_CHUNKS << FIRST_CHUNK_SLOTS_LOG2;
const CHUNKS_PER_DOUBLING_LOG2: u32 = 4;
const CHUNKS_PER_DOUBLING: usize = 1 << CHUNKS_PER_DOUBLING_LOG2;

/// The list of chunks grows by this many at a time rather than by doubling.
const CHUNK_LIST_STEP: usize = 8;

/// A slot's chunk and its place in the chunk.
#[inline]
fn locate(place: usize) -> (usize, usize) {
    if place < FIRST_SLOTS {
        let within = (1 << FIRST_CHUNK_SLOTS_LOG2) - 1;
        return (place >> FIRST_CHUNK_SLOTS_LOG2, place & within);
    }
    let doubling = place.ilog2() - FIRST_SLOTS.ilog2();
    let chunk_log2 = place.ilog2() - CHUNKS_PER_DOUBLING_LOG2;
    let chunk = (place >> chunk_log2) & (CHUNKS_PER_DOUBLING - 1);
    (FIRST_CHUNKS + doubling as usize * CHUNKS_PER_DOUBLING + chunk, place & ((1 << chunk_log2) - 1))
}

/// Slots of a chunk.
fn chunk_slots(chunk: usize) -> usize {
    match chunk.checked_sub(FIRST_CHUNKS) {
        None => 1 << FIRST_CHUNK_SLOTS_LOG2,
        Some(later) => (FIRST_SLOTS / CHUNKS_PER_DOUBLING) << (later / CHUNKS_PER_DOUBLING),
    }
}

/// Whether so many entries are too many for a capacity: it is over 15/16 full.
fn overfull(len: usize, capacity: usize) -> bool {
    len * 16 > capacity * 15
}

/// Whether so few entries would do with a smaller capacity and still leave it room to grow: it is at most 57/64 full.
fn fits_smaller(len: usize, smaller: usize) -> bool {
    len * 64 <= smaller * 57
}

#[derive(Default)]
pub(super) struct Table {
    chunks: Vec<Box<[Slot]>>,
    capacity: usize,
    len: usize,
}

impl Table {
    /// A table of entries in rising order of keys; `len` is their number.
    pub(super) fn from_sorted(len: usize, slots: impl Iterator<Item = Slot>) -> Self {
        let mut table = Table::default();
        while !fits_smaller(len, table.capacity) {
            table.add_chunk();
        }
        let first_of_packed = table.capacity - len;
        let mut next = 0;
        for (nth, slot) in slots.take(len).enumerate() {
            let place = table.home(slot.key()).max(next).min(first_of_packed + nth);
            *table.slot_mut(place) = slot;
            next = place + 1;
            table.len += 1;
        }
        table
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Box<[Slot]>>() + self.capacity * Slot::BYTES
    }

    #[inline]
    fn slot(&self, place: usize) -> &Slot {
        let (chunk, within) = locate(place);
        &self.chunks[chunk][within]
    }

    #[inline]
    fn slot_mut(&mut self, place: usize) -> &mut Slot {
        let (chunk, within) = locate(place);
        &mut self.chunks[chunk][within]
    }

    #[inline]
    fn home(&self, key: SlotKey) -> usize {
        ((u128::from(key.high) * self.capacity as u128) >> 64) as usize
    }

    /// Where a key is, or else where it belongs: all before are less, all from there on are greater.
    #[inline]
    fn find(&self, key: SlotKey) -> Result<usize, usize> {
        if self.capacity == 0 {
            return Err(0);
        }
        let home = self.home(key);
        let at_home = self.slot(home);
        if at_home.is_empty() || at_home.key() == key {
            return if at_home.is_empty() { Err(home) } else { Ok(home) };
        }
        if at_home.key() < key { self.find_right(key, home + 1) } else { self.find_left(key, home) }
    }

    fn find_right(&self, key: SlotKey, from: usize) -> Result<usize, usize> {
        for place in from..self.capacity {
            let slot = self.slot(place);
            if slot.is_empty() || slot.key() > key {
                return Err(place);
            }
            if slot.key() == key {
                return Ok(place);
            }
        }
        Err(self.capacity)
    }

    fn find_left(&self, key: SlotKey, before: usize) -> Result<usize, usize> {
        for place in (0..before).rev() {
            let slot = self.slot(place);
            if slot.is_empty() || slot.key() < key {
                return Err(place + 1);
            }
            if slot.key() == key {
                return Ok(place);
            }
        }
        Err(0)
    }

    #[inline]
    pub(super) fn get(&self, key: SlotKey) -> Option<&Slot> {
        self.find(key).ok().map(|place| self.slot(place))
    }

    /// The slot may be changed in everything but its key.
    pub(super) fn get_mut(&mut self, key: SlotKey) -> Option<&mut Slot> {
        self.find(key).ok().map(|place| self.slot_mut(place))
    }

    /// Gives back what the key had before.
    pub(super) fn insert(&mut self, key: SlotKey, slot: Slot) -> Option<Slot> {
        let mut found = self.find(key);
        if let Ok(place) = found {
            return Some(std::mem::replace(self.slot_mut(place), slot));
        }
        if overfull(self.len + 1, self.capacity) {
            self.grow();
            found = self.find(key);
        }
        let (Ok(place) | Err(place)) = found;
        let place = self.open_gap(place);
        *self.slot_mut(place) = slot;
        self.len += 1;
        None
    }

    /// Makes room before the entry at `place` by shifting entries to the nearest gap; gives the free slot's place.
    /// There is a gap: the table is at most 15/16 full.
    fn open_gap(&mut self, place: usize) -> usize {
        for distance in 0..self.capacity {
            let right = place + distance;
            if right < self.capacity && self.slot(right).is_empty() {
                for to in (place + 1..=right).rev() {
                    *self.slot_mut(to) = *self.slot(to - 1);
                }
                return place;
            }
            if distance < place && self.slot(place - 1 - distance).is_empty() {
                for to in place - 1 - distance..place - 1 {
                    *self.slot_mut(to) = *self.slot(to + 1);
                }
                return place - 1;
            }
        }
        place
    }

    pub(super) fn remove(&mut self, key: SlotKey) -> Option<Slot> {
        let place = self.find(key).ok()?;
        let removed = *self.slot(place);
        let gap = self.close_gap(place);
        *self.slot_mut(gap) = Slot::EMPTY;
        self.len -= 1;
        if let Some(last) = self.chunks.last()
            && fits_smaller(self.len, self.capacity - last.len())
        {
            self.pack_left();
            self.drop_chunk();
            self.spread_from_left();
        }
        Some(removed)
    }

    /// Moves entries whose home lies at or beyond the gap into it, until no gap separates any entry from its home;
    /// gives the place where the gap ended up. If entries to the right move, none to the left has to.
    fn close_gap(&mut self, place: usize) -> usize {
        let mut gap = place;
        while gap + 1 < self.capacity {
            let next = *self.slot(gap + 1);
            if next.is_empty() || self.home(next.key()) > gap {
                break;
            }
            *self.slot_mut(gap) = next;
            gap += 1;
        }
        if gap > place {
            return gap;
        }
        while gap > 0 {
            let previous = *self.slot(gap - 1);
            if previous.is_empty() || self.home(previous.key()) < gap {
                break;
            }
            *self.slot_mut(gap) = previous;
            gap -= 1;
        }
        gap
    }

    /// Drops the entries that `keep` refuses; gives their number.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Slot) -> bool) -> usize {
        let before = self.len;
        for slot in self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut()) {
            if !slot.is_empty() && !keep(slot) {
                *slot = Slot::EMPTY;
                self.len -= 1;
            }
        }
        if self.len < before {
            self.pack_left();
            while let Some(last) = self.chunks.last()
                && fits_smaller(self.len, self.capacity - last.len())
            {
                self.drop_chunk();
            }
            self.spread_from_left();
        }
        before - self.len
    }

    /// The entries in order of keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> + '_ {
        self.iter_from(0)
    }

    /// The entries with keys greater than this one, in order.
    pub(super) fn iter_after(&self, key: SlotKey) -> impl Iterator<Item = &Slot> + '_ {
        self.iter_from(match self.find(key) {
            Ok(place) => place + 1,
            Err(place) => place,
        })
    }

    fn iter_from(&self, place: usize) -> impl Iterator<Item = &Slot> + '_ {
        let (chunk, within) = locate(place);
        let head = self.chunks.get(chunk).map_or(&[][..], |slots| &slots[within..]);
        let tail = self.chunks.get(chunk + 1..).unwrap_or_default();
        head.iter().chain(tail.iter().flat_map(|slots| slots.iter())).filter(|slot| !slot.is_empty())
    }

    fn add_chunk(&mut self) {
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(CHUNK_LIST_STEP);
        }
        let slots = chunk_slots(self.chunks.len());
        self.chunks.push(vec![Slot::EMPTY; slots].into_boxed_slice());
        self.capacity += slots;
    }

    /// The last chunk must hold no entry.
    fn drop_chunk(&mut self) {
        if let Some(chunk) = self.chunks.pop() {
            self.capacity -= chunk.len();
        }
        if self.chunks.capacity() > self.chunks.len() + 2 * CHUNK_LIST_STEP {
            self.chunks.shrink_to(self.chunks.len() + CHUNK_LIST_STEP);
        }
    }

    /// One more chunk: everything moves to the end without gaps, then from left to right to its new home.
    fn grow(&mut self) {
        self.add_chunk();
        let mut packed = self.capacity;
        for from in (0..self.capacity).rev() {
            if !self.slot(from).is_empty() {
                packed -= 1;
                self.swap(from, packed);
            }
        }
        let mut next = 0;
        for from in packed..self.capacity {
            // Where homes ahead are taken up to the end, `from` is the rightmost place that leaves room for the rest.
            let place = self.home(self.slot(from).key()).max(next).min(from);
            self.swap(from, place);
            next = place + 1;
        }
    }

    fn pack_left(&mut self) {
        let mut packed = 0;
        for from in 0..self.capacity {
            if !self.slot(from).is_empty() {
                self.swap(from, packed);
                packed += 1;
            }
        }
    }

    /// From `len` packed entries at the left, right to left to their homes.
    fn spread_from_left(&mut self) {
        let mut next = self.capacity;
        for from in (0..self.len).rev() {
            let place = self.home(self.slot(from).key()).min(next - 1).max(from);
            self.swap(from, place);
            next = place;
        }
    }

    /// Moves an entry to a place that is empty or its own.
    #[inline]
    fn swap(&mut self, from: usize, to: usize) {
        if from != to {
            *self.slot_mut(to) = std::mem::replace(self.slot_mut(from), Slot::EMPTY);
        }
    }

    /// Panics unless the table is sorted, counted and without a gap between an entry and its home.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let occupied: Vec<usize> = (0..self.capacity).filter(|&place| !self.slot(place).is_empty()).collect();
        assert_eq!(occupied.len(), self.len);
        assert_eq!(self.chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), self.capacity);
        assert!(!overfull(self.len, self.capacity));
        assert!(occupied.windows(2).all(|pair| self.slot(pair[0]).key() < self.slot(pair[1]).key()));
        for &place in &occupied {
            let home = self.home(self.slot(place).key());
            let between = if home <= place { home..=place } else { place..=home };
            assert!(between.into_iter().all(|place| !self.slot(place).is_empty()), "a gap before home {home}");
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_fill_chunk_after_chunk() {
        let mut expected = (0..).flat_map(|chunk| (0..chunk_slots(chunk)).map(move |within| (chunk, within)));
        for place in 0..100_000 {
            assert_eq!(Some(locate(place)), expected.next(), "place {place}");
        }
    }

    #[test]
    fn a_chunk_is_at_most_a_sixteenth_of_what_is_there() {
        let mut capacity = FIRST_SLOTS;
        for chunk in FIRST_CHUNKS..200 {
            let slots = chunk_slots(chunk);
            assert!(slots * 16 <= capacity && slots * 32 >= capacity, "chunk {chunk}");
            capacity += slots;
        }
    }
}
