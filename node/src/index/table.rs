//! A partition's table: slots in digest order with few gaps, in chunks that stay where they are when it grows.
//!
//! A key's home is `high bits × capacity / 2^64`, so that homes rise with digests and the whole table is one sorted
//! array with gaps. One invariant makes look-ups short: **no gap lies between an entry and its home**. A look-up starts
//! at the home and walks towards the key until it finds it, a key beyond it, or a gap.
//!
//! An insert shifts the entries up to the nearest gap, left or right; a removal closes the gap again where the
//! invariant asks for it. The table is filled to 15/16 and then grows by one chunk, a sixteenth to a thirty-second of
//! it; entries move to their new homes in place and in one pass, without a second table beside the first.
//!
//! Chunks never change size: a table of 1 KiB chunks, then from 256 slots on sixteen chunks to each doubling. All
//! tables use the same few sizes and free none while they grow, so that nothing is lost to fragmentation.

use std::cmp::Ordering;

use outcrop_flash::prefetch::prefetch;

use super::entry::{Slot, SlotKey};
use super::gaps::Gaps;
use super::resize::{fits_smaller, overfull};

const FIRST_CHUNKS: usize = 8;
const FIRST_CHUNK_SLOTS_LOG2: u32 = 5;
const FIRST_SLOTS: usize = FIRST_CHUNKS << FIRST_CHUNK_SLOTS_LOG2;
const CHUNKS_PER_DOUBLING_LOG2: u32 = 4;
const CHUNKS_PER_DOUBLING: usize = 1 << CHUNKS_PER_DOUBLING_LOG2;

/// A slot's chunk and its place in the chunk.
#[inline]
pub(super) fn locate(place: usize) -> (usize, usize) {
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
pub(super) fn chunk_slots(chunk: usize) -> usize {
    match chunk.checked_sub(FIRST_CHUNKS) {
        None => 1 << FIRST_CHUNK_SLOTS_LOG2,
        Some(later) => (FIRST_SLOTS / CHUNKS_PER_DOUBLING) << (later / CHUNKS_PER_DOUBLING),
    }
}

#[derive(Default)]
pub(super) struct Table {
    /// Behind the last one there may be empty ones, for the list to grow into.
    pub(super) chunks: Box<[Box<[Slot]>]>,
    pub(super) gaps: Gaps,
    pub(super) capacity: u32,
    len: u32,
}

impl Table {
    /// A table of `len` entries in rising order of keys.
    pub(super) fn from_sorted(len: usize, slots: impl Iterator<Item = Slot>) -> Self {
        let mut table = Table::default();
        while !fits_smaller(len, table.capacity()) {
            table.add_chunk();
        }
        let mut next = 0;
        for (nth, slot) in slots.take(len).enumerate() {
            let place = table.home(slot.key()).max(next).min(table.capacity() - len + nth);
            table.put(place, slot);
            next = place + 1;
            table.len += 1;
        }
        table
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.chunks) + self.gaps.memory_bytes() + self.capacity() * Slot::BYTES
    }

    #[inline]
    pub(super) fn slot(&self, place: usize) -> &Slot {
        let (chunk, within) = locate(place);
        &self.chunks[chunk][within]
    }

    #[inline]
    fn slot_mut(&mut self, place: usize) -> &mut Slot {
        let (chunk, within) = locate(place);
        &mut self.chunks[chunk][within]
    }

    /// Fills a gap.
    fn put(&mut self, place: usize, slot: Slot) {
        *self.slot_mut(place) = slot;
        self.gaps.take(place);
    }

    /// Makes a gap.
    fn take(&mut self, place: usize) -> Slot {
        self.gaps.free(place);
        std::mem::replace(self.slot_mut(place), Slot::EMPTY)
    }

    /// Moves an entry to a place that is a gap or its own.
    #[inline]
    pub(super) fn shift(&mut self, from: usize, to: usize) {
        if from != to {
            let slot = self.take(from);
            self.put(to, slot);
        }
    }

    #[inline]
    pub(super) fn home(&self, key: SlotKey) -> usize {
        ((u128::from(key.high()) * u128::from(self.capacity)) >> 64) as usize
    }

    /// Where a key is, or else where it belongs: all before are less, all from there on are greater.
    #[inline]
    fn find(&self, key: SlotKey) -> Result<usize, usize> {
        if self.capacity == 0 {
            return Err(0);
        }
        let home = self.home(key);
        let (chunk, within) = locate(home);
        let slot = &self.chunks[chunk][within];
        if slot.is_empty() {
            return Err(home);
        }
        match slot.key().cmp(&key) {
            Ordering::Equal => Ok(home),
            Ordering::Less => self.find_right(key, home, (chunk, within)),
            Ordering::Greater => self.find_left(key, home, (chunk, within)),
        }
    }

    /// Asks for the line of the list that names the chunk of the key's home.
    #[inline]
    pub(super) fn prefetch_chunk(&self, key: SlotKey) {
        let (chunk, _) = locate(self.home(key));
        self.chunks.get(chunk).into_iter().for_each(prefetch);
    }

    /// Asks for the key's home and the lines beside it.
    #[inline]
    pub(super) fn prefetch_slot(&self, key: SlotKey) {
        const BESIDE: usize = 2;
        let (chunk, within) = locate(self.home(key));
        let Some(slots) = self.chunks.get(chunk) else { return };
        let near = [within.wrapping_sub(BESIDE), within, within + BESIDE];
        near.iter().filter_map(|place| slots.get(*place)).for_each(prefetch);
    }

    /// From the place after this one on.
    #[inline]
    fn find_right(&self, key: SlotKey, place: usize, (chunk, within): (usize, usize)) -> Result<usize, usize> {
        let (mut place, mut skip) = (place + 1, within + 1);
        for slots in &self.chunks[chunk..] {
            for slot in &slots[skip..] {
                if slot.is_empty() || slot.key() >= key {
                    return if !slot.is_empty() && slot.key() == key { Ok(place) } else { Err(place) };
                }
                place += 1;
            }
            skip = 0;
        }
        Err(place)
    }

    /// From the place before this one down.
    #[inline]
    fn find_left(&self, key: SlotKey, place: usize, (chunk, within): (usize, usize)) -> Result<usize, usize> {
        let (mut place, mut end) = (place, within);
        for slots in self.chunks[..=chunk].iter().rev() {
            for slot in slots[..end.min(slots.len())].iter().rev() {
                if slot.is_empty() || slot.key() <= key {
                    return if !slot.is_empty() && slot.key() == key { Ok(place - 1) } else { Err(place) };
                }
                place -= 1;
            }
            end = usize::MAX;
        }
        Err(place)
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
        if overfull(self.len() + 1, self.capacity()) {
            self.grow_by(1);
            found = self.find(key);
        }
        let (Ok(place) | Err(place)) = found;
        let place = self.open_gap(place);
        self.put(place, slot);
        self.len += 1;
        None
    }

    /// Makes room before the entry at `place` by shifting entries to the nearest gap; gives the free slot's place.
    fn open_gap(&mut self, place: usize) -> usize {
        let right = self.gaps.at_or_after(place).filter(|&gap| gap < self.capacity());
        let left = self.gaps.before(place);
        match (left, right) {
            (Some(left), right) if right.is_none_or(|right| place - left <= right - place) => {
                self.shift_left(left, place - 1);
                place - 1
            }
            (_, Some(right)) => {
                self.shift_right(place, right);
                place
            }
            // Unreachable: the table is at most 15/16 full.
            _ => place,
        }
    }

    /// Moves the entries from `from` up to the gap one to the right, so that `from` becomes the gap.
    fn shift_right(&mut self, from: usize, gap: usize) {
        self.gaps.take(gap);
        let mut gap = gap;
        while gap > from {
            let (chunk, within) = locate(gap);
            let moved = within.min(gap - from);
            self.chunks[chunk].copy_within(within - moved..within, within - moved + 1);
            gap -= moved;
            if gap > from {
                *self.slot_mut(gap) = *self.slot(gap - 1);
                gap -= 1;
            }
        }
        self.gaps.free(from);
    }

    /// Moves the entries behind the gap up to and including `last` one to the left, so that `last` becomes the gap.
    fn shift_left(&mut self, gap: usize, last: usize) {
        self.gaps.take(gap);
        let mut gap = gap;
        while gap < last {
            let (chunk, within) = locate(gap);
            let slots = &mut self.chunks[chunk];
            let moved = (slots.len() - 1 - within).min(last - gap);
            slots.copy_within(within + 1..=within + moved, within);
            gap += moved;
            if gap < last {
                *self.slot_mut(gap) = *self.slot(gap + 1);
                gap += 1;
            }
        }
        self.gaps.free(last);
    }

    pub(super) fn remove(&mut self, key: SlotKey) -> Option<Slot> {
        let place = self.find(key).ok()?;
        let removed = *self.slot(place);
        let gap = self.close_gap(place);
        self.take(gap);
        self.len -= 1;
        if fits_smaller(self.len(), self.capacity() - self.last_chunk_slots()) {
            self.shrink_by(1);
        }
        Some(removed)
    }

    /// Moves entries whose home lies at or beyond the gap into it, until no gap separates any entry from its home;
    /// gives the place where the gap ended up. If entries to the right move, none to the left has to.
    fn close_gap(&mut self, place: usize) -> usize {
        let mut gap = place;
        while gap + 1 < self.capacity() {
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
        let (before, mut packed) = (self.len(), 0);
        for place in 0..self.capacity() {
            let slot = *self.slot(place);
            if slot.is_empty() {
                continue;
            }
            if keep(&slot) {
                self.shift(place, packed);
                packed += 1;
            } else {
                self.take(place);
                self.len -= 1;
            }
        }
        while self.capacity > 0 && fits_smaller(packed, self.capacity() - self.last_chunk_slots()) {
            self.drop_chunk();
        }
        let mut next = self.capacity();
        for from in (0..packed).rev() {
            let place = self.home(self.slot(from).key()).min(next - 1).max(from);
            self.shift(from, place);
            next = place;
        }
        before - packed
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

    /// Panics unless the table is sorted, counted and without a gap between an entry and its home.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let occupied: Vec<usize> = (0..self.capacity()).filter(|&place| !self.slot(place).is_empty()).collect();
        assert!((0..self.capacity()).all(|place| self.gaps.is_taken(place) != self.slot(place).is_empty()));
        assert_eq!(occupied.len(), self.len());
        assert_eq!(self.chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), self.capacity());
        assert!(!overfull(self.len(), self.capacity()));
        assert!(occupied.windows(2).all(|pair| self.slot(pair[0]).key() < self.slot(pair[1]).key()));
        for &place in &occupied {
            let home = self.home(self.slot(place).key());
            let between = if home <= place { home..=place } else { place..=home };
            assert!(between.into_iter().all(|place| !self.slot(place).is_empty()), "a gap before home {home}");
        }
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
