//! What each segment is right now: its state, its sequence, how much of it is live, and its bytes if they are in RAM.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;

use crate::buffer::SegmentBuffer;
use crate::location::{Location, Lsn, SegmentId};
use crate::log::entry::Seed;
use crate::log::options::{DATA_START, Geometry};

/// What a segment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SegmentState {
    /// Nothing; it may be opened.
    Free = 0,
    /// Taking appends.
    Open = 1,
    /// Full, or closed by a restart.
    Sealed = 2,
    /// Its live entries are being moved.
    Evacuating = 3,
    /// Moved; the end of its use is being made durable.
    Freeing = 4,
    /// Part of a checkpoint.
    Checkpoint = 5,
    /// Neither copy of its header can be read: left alone.
    Damaged = 6,
    /// Was part of a checkpoint; the end of its use is being made durable.
    Dropping = 7,
}

impl SegmentState {
    fn from_byte(byte: u8) -> Self {
        match byte {
            1 => SegmentState::Open,
            2 => SegmentState::Sealed,
            3 => SegmentState::Evacuating,
            4 => SegmentState::Freeing,
            5 => SegmentState::Checkpoint,
            6 => SegmentState::Damaged,
            7 => SegmentState::Dropping,
            _ => SegmentState::Free,
        }
    }

    /// Whether it holds entries of the append stream.
    pub fn holds_data(self) -> bool {
        matches!(self, SegmentState::Open | SegmentState::Sealed | SegmentState::Evacuating | SegmentState::Freeing)
    }
}

/// One use of a segment, as it is opened or found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub sequence: u64,
    pub previous: u64,
    pub epoch: u64,
    pub seed: Seed,
}

#[derive(Debug)]
struct Slot {
    state: AtomicU8,
    sequence: AtomicU64,
    seed: AtomicU64,
    previous: AtomicU64,
    epoch: AtomicU64,
    end: AtomicU32,
    live_bytes: AtomicU64,
    /// Bytes of all entries that were appended, live or not: what is neither these nor free is padding.
    entry_bytes: AtomicU64,
    /// Bytes were found that hold no intact entry: it isn't evacuated, so that nothing is given up silently.
    damaged: AtomicBool,
    resident: ArcSwapOption<SegmentBuffer>,
}

/// All segments of a log.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Box<[Slot]>,
    geometry: Geometry,
    free: Mutex<VecDeque<SegmentId>>,
    free_count: AtomicU32,
    /// Sealed residents, oldest first, and the bytes that they take.
    residents: Mutex<VecDeque<(SegmentId, u64)>>,
    resident_budget: u64,
    oldest_sequence: AtomicU64,
}

impl Table {
    pub fn new(geometry: Geometry, resident_budget: u64) -> Self {
        let slot = |_| Slot {
            state: AtomicU8::new(SegmentState::Free as u8),
            sequence: AtomicU64::new(0),
            seed: AtomicU64::new(0),
            previous: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            end: AtomicU32::new(DATA_START as u32),
            live_bytes: AtomicU64::new(0),
            entry_bytes: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            resident: ArcSwapOption::empty(),
        };
        Table {
            slots: (0..geometry.segments).map(slot).collect(),
            geometry,
            free: Mutex::new(VecDeque::new()),
            free_count: AtomicU32::new(0),
            residents: Mutex::new(VecDeque::new()),
            resident_budget,
            oldest_sequence: AtomicU64::new(u64::MAX),
        }
    }

    fn slot(&self, id: SegmentId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)
    }

    pub fn ids(&self) -> impl Iterator<Item = SegmentId> {
        (0..self.geometry.segments).map(SegmentId)
    }

    pub fn state(&self, id: SegmentId) -> SegmentState {
        self.slot(id).map_or(SegmentState::Free, |slot| SegmentState::from_byte(slot.state.load(Ordering::Acquire)))
    }

    pub fn sequence(&self, id: SegmentId) -> u64 {
        self.slot(id).map_or(0, |slot| slot.sequence.load(Ordering::Acquire))
    }

    pub fn seed(&self, id: SegmentId) -> Seed {
        Seed(self.slot(id).map_or(0, |slot| slot.seed.load(Ordering::Acquire)))
    }

    pub fn end(&self, id: SegmentId) -> usize {
        self.slot(id).map_or(DATA_START, |slot| slot.end.load(Ordering::Acquire) as usize)
    }

    /// Sequence of the data segment before, and the epoch that opened this one.
    pub fn lineage(&self, id: SegmentId) -> (u64, u64) {
        self.slot(id).map_or((0, 0), |slot| (slot.previous.load(Ordering::Acquire), slot.epoch.load(Ordering::Acquire)))
    }

    pub fn live_bytes(&self, id: SegmentId) -> u64 {
        self.slot(id).map_or(0, |slot| slot.live_bytes.load(Ordering::Acquire))
    }

    /// Bytes of entries that aren't live any more.
    pub fn garbage_bytes(&self, id: SegmentId) -> u64 {
        self.slot(id).map_or(0, |slot| slot.entry_bytes.load(Ordering::Acquire).saturating_sub(self.live_bytes(id)))
    }

    pub fn is_damaged(&self, id: SegmentId) -> bool {
        self.slot(id).is_some_and(|slot| slot.damaged.load(Ordering::Acquire))
    }

    pub fn set_damaged(&self, id: SegmentId) {
        if let Some(slot) = self.slot(id) {
            slot.damaged.store(true, Ordering::Release);
        }
    }

    pub fn lsn_of(&self, location: Location) -> Lsn {
        Lsn::new(self.sequence(location.segment()), location.offset())
    }

    /// Starts a use of the segment, as `state`.
    pub fn open(&self, id: SegmentId, state: SegmentState, opened: Opened, end: usize) {
        let Some(slot) = self.slot(id) else { return };
        slot.live_bytes.store(0, Ordering::Release);
        // What recovery finds isn't looked at entry by entry; what is opened now holds none.
        slot.entry_bytes.store((end - DATA_START) as u64, Ordering::Release);
        slot.damaged.store(false, Ordering::Release);
        slot.previous.store(opened.previous, Ordering::Release);
        slot.epoch.store(opened.epoch, Ordering::Release);
        slot.seed.store(opened.seed.0, Ordering::Release);
        slot.sequence.store(opened.sequence, Ordering::Release);
        slot.end.store(end as u32, Ordering::Release);
        slot.state.store(state as u8, Ordering::Release);
        if state.holds_data() {
            self.oldest_sequence.fetch_min(opened.sequence, Ordering::AcqRel);
        }
    }

    pub fn set_state(&self, id: SegmentId, state: SegmentState) {
        if let Some(slot) = self.slot(id) {
            slot.state.store(state as u8, Ordering::Release);
        }
    }

    pub fn set_end(&self, id: SegmentId, end: usize) {
        if let Some(slot) = self.slot(id) {
            slot.end.store(end as u32, Ordering::Release);
        }
    }

    /// Counts an entry that is appended.
    pub fn add_entry(&self, id: SegmentId, bytes: usize) {
        if let Some(slot) = self.slot(id) {
            slot.entry_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            slot.live_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        }
    }

    /// Counts an entry that recovery found as live.
    pub fn add_live(&self, id: SegmentId, bytes: usize) {
        if let Some(slot) = self.slot(id) {
            slot.live_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        }
    }

    /// Counts an entry as garbage; returns whether nothing live is left in its segment.
    pub fn sub_live(&self, id: SegmentId, bytes: usize) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let less = |live: u64| Some(live.saturating_sub(bytes as u64));
        let before = slot.live_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).unwrap_or_default();
        before <= bytes as u64
    }

    /// Segments that may be opened.
    pub fn free_segments(&self) -> u32 {
        self.free_count.load(Ordering::Acquire)
    }

    /// Takes the segment that has been free longest, if more than `keep` are free.
    pub fn take_free(&self, keep: u32) -> Option<SegmentId> {
        let mut free = self.free.lock();
        if free.len() <= keep as usize {
            return None;
        }
        let id = free.pop_front();
        self.free_count.store(free.len() as u32, Ordering::Release);
        id
    }

    /// The use is over and durably so: the segment may be opened again.
    pub fn set_free(&self, id: SegmentId) {
        let Some(slot) = self.slot(id) else { return };
        let was_data = SegmentState::from_byte(slot.state.load(Ordering::Acquire)).holds_data();
        slot.resident.store(None);
        self.residents.lock().retain(|(resident, _)| *resident != id);
        slot.live_bytes.store(0, Ordering::Release);
        slot.state.store(SegmentState::Free as u8, Ordering::Release);
        if was_data && slot.sequence.load(Ordering::Acquire) == self.oldest_sequence.load(Ordering::Acquire) {
            self.find_oldest();
        }
        let mut free = self.free.lock();
        free.push_back(id);
        self.free_count.store(free.len() as u32, Ordering::Release);
    }

    /// Looks for the oldest data segment again.
    pub fn find_oldest(&self) {
        let look = || self.ids().filter(|id| self.state(*id).holds_data()).map(|id| self.sequence(id)).min();
        self.oldest_sequence.store(look().unwrap_or(u64::MAX), Ordering::Release);
        // A segment that was opened between the look and the store has been overwritten: look once more.
        if let Some(oldest) = look() {
            self.oldest_sequence.fetch_min(oldest, Ordering::AcqRel);
        }
    }

    /// Smallest sequence of a data segment; `u64::MAX` if there is none.
    pub fn oldest_sequence(&self) -> u64 {
        self.oldest_sequence.load(Ordering::Acquire)
    }

    /// The segment's bytes, if they are in RAM, without touching the reference count.
    #[inline]
    pub fn resident_guard(&self, id: SegmentId) -> Option<Guard<Option<Arc<SegmentBuffer>>>> {
        Some(self.slot(id)?.resident.load())
    }

    /// The segment's bytes, if they are in RAM.
    pub fn resident(&self, id: SegmentId) -> Option<Arc<SegmentBuffer>> {
        self.slot(id)?.resident.load_full()
    }

    /// The open segment's buffer can be read from now on.
    pub fn set_resident(&self, id: SegmentId, buffer: Arc<SegmentBuffer>) {
        if let Some(slot) = self.slot(id) {
            slot.resident.store(Some(buffer));
        }
    }

    /// A sealed segment is on the device: its bytes count against the budget from now on, and older ones may go.
    pub fn retire(&self, id: SegmentId) {
        let mut residents = self.residents.lock();
        residents.push_back((id, self.geometry.segment_bytes as u64));
        self.shrink(&mut residents);
    }

    /// Takes a segment that was read from the device; false if the budget has no room for it or its use has ended.
    pub fn preload(&self, id: SegmentId, sequence: u64, buffer: Arc<SegmentBuffer>) -> bool {
        let mut residents = self.residents.lock();
        let taken: u64 = residents.iter().map(|(_, bytes)| bytes).sum();
        let bytes = self.geometry.segment_bytes as u64;
        let current = self.state(id) == SegmentState::Sealed && self.sequence(id) == sequence;
        if !current || taken.saturating_add(bytes) > self.resident_budget {
            return false;
        }
        self.set_resident(id, buffer);
        // Older than all that was written since: first to go.
        residents.push_front((id, bytes));
        true
    }

    /// Whether another segment would fit the resident budget.
    pub fn has_resident_room(&self) -> bool {
        self.resident_bytes().saturating_add(self.geometry.segment_bytes as u64) <= self.resident_budget
    }

    fn shrink(&self, residents: &mut VecDeque<(SegmentId, u64)>) {
        let mut taken: u64 = residents.iter().map(|(_, bytes)| bytes).sum();
        while taken > self.resident_budget {
            let Some((oldest, bytes)) = residents.pop_front() else { return };
            taken -= bytes;
            if let Some(slot) = self.slot(oldest) {
                slot.resident.store(None);
            }
        }
    }

    /// Bytes of sealed segments in RAM.
    pub fn resident_bytes(&self) -> u64 {
        self.residents.lock().iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(budget_segments: u64) -> Table {
        let geometry = Geometry { segment_bytes: 65_536, segments: 4 };
        let table = Table::new(geometry, budget_segments * 65_536);
        for id in [0, 1, 2, 3] {
            table.set_free(SegmentId(id));
        }
        table
    }

    fn opened(sequence: u64) -> Opened {
        Opened { sequence, previous: 0, epoch: 1, seed: Seed(sequence) }
    }

    #[test]
    fn the_oldest_sequence_follows_what_is_freed() {
        let table = table(0);
        for sequence in [5, 6, 7] {
            let id = table.take_free(0).expect("free");
            table.open(id, SegmentState::Sealed, opened(sequence), DATA_START);
        }
        assert_eq!((table.oldest_sequence(), table.free_segments()), (5, 1));
        assert_eq!(table.take_free(1), None, "one is kept");
        table.set_free(SegmentId(1));
        assert_eq!(table.oldest_sequence(), 5);
        table.set_free(SegmentId(0));
        assert_eq!((table.oldest_sequence(), table.free_segments()), (7, 3));
    }

    #[test]
    fn residents_leave_oldest_first_when_the_budget_is_spent() {
        let table = table(2);
        for id in [0, 1, 2].map(SegmentId) {
            table.open(id, SegmentState::Sealed, opened(u64::from(id.0) + 1), DATA_START);
            table.set_resident(id, SegmentBuffer::with_writer(4_096).finish());
            table.retire(id);
        }
        let resident = [0, 1, 2].map(|id| table.resident(SegmentId(id)).is_some());
        assert_eq!((resident, table.resident_bytes()), ([false, true, true], 2 * 65_536));
        assert!(!table.preload(SegmentId(0), 1, SegmentBuffer::with_writer(4_096).finish()), "no room");
    }

    #[test]
    fn live_bytes_never_fall_below_zero() {
        let table = table(0);
        table.add_live(SegmentId(0), 100);
        assert!(!table.sub_live(SegmentId(0), 60));
        assert!(table.sub_live(SegmentId(0), 60));
        assert_eq!(table.live_bytes(SegmentId(0)), 0);
    }
}
