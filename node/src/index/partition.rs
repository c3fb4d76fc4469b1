//! One partition: its table, and the sequence that orders its writes.

use outcrop_wire::{Digest, PartitionId};

use super::entry::{Entry, Slot, SlotKey};
use super::table::Table;

/// The entries of one partition, in digest order. Digests given to it must be of this partition: their first twelve
/// bits aren't looked at.
pub struct Partition {
    pub(super) table: Table,
    /// The last sequence given out in this partition; 0: none yet.
    pub sequence: u64,
    id: PartitionId,
}

impl Partition {
    pub(super) fn new(id: PartitionId) -> Self {
        Partition { table: Table::default(), sequence: 0, id }
    }

    /// Which partition this is.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Entries, tombstones included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that the table has asked for.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// Entries that the table has memory for; it grows and shrinks by chunks, before it is full.
    pub fn slots(&self) -> usize {
        self.table.capacity()
    }

    /// Gives out the next sequence.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Asks for the memory that says where a digest's slots are.
    pub(super) fn prefetch_chunk(&self, digest: &Digest) {
        self.table.prefetch_chunk(self.key(digest));
    }

    /// Asks for the slots where a digest's entry is likely to be.
    pub(super) fn prefetch_slot(&self, digest: &Digest) {
        self.table.prefetch_slot(self.key(digest));
    }

    /// A key's entry.
    #[inline]
    pub fn get(&self, digest: &Digest) -> Option<Entry> {
        self.table.get(self.key(digest)).and_then(Slot::entry)
    }

    /// Sets a key's entry; gives back what was there.
    pub fn insert(&mut self, digest: &Digest, entry: Entry) -> Option<Entry> {
        let key = self.key(digest);
        self.table.insert(key, Slot::new(key, &entry)).and_then(|slot| slot.entry())
    }

    /// As [`Partition::insert`], for very many in a row: the table grows in fewer, larger steps, so that half as much is
    /// moved. [`Partition::fit`] gives back what is too much in the end.
    pub fn insert_roomy(&mut self, digest: &Digest, entry: Entry) -> Option<Entry> {
        self.table.make_room();
        self.insert(digest, entry)
    }

    /// Takes no more memory than entries inserted one by one would have.
    pub fn fit(&mut self) {
        self.table.fit();
    }

    /// Removes a key's entry; gives it back.
    pub fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let key = self.key(digest);
        self.table.remove(key).and_then(|slot| slot.entry())
    }

    /// Changes a key's entry in place; false if there is none.
    pub fn update(&mut self, digest: &Digest, change: impl FnOnce(&mut Entry)) -> bool {
        let key = self.key(digest);
        let Some(slot) = self.table.get_mut(key) else { return false };
        let Some(mut entry) = slot.entry() else { return false };
        change(&mut entry);
        *slot = Slot::new(key, &entry);
        true
    }

    /// All entries in digest order.
    pub fn iter(&self) -> impl Iterator<Item = (Digest, Entry)> + '_ {
        self.table.iter().filter_map(|slot| self.unpack(slot))
    }

    /// The entries after a digest, in digest order; all of them after `None`. The digest needs no entry (any more),
    /// and may be of another partition: a cursor stays good whatever happens to the table.
    pub fn iter_after(&self, digest: Option<Digest>) -> impl Iterator<Item = (Digest, Entry)> + '_ {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let before = digest.map_or(Less, |digest| digest.partition().cmp(&self.id));
        let (all, rest) = match (before, digest) {
            (Equal, Some(digest)) => (None, Some(self.table.iter_after(SlotKey::of(&digest)))),
            (Greater, _) => (None, None),
            (Less | Equal, _) => (Some(self.table.iter()), None),
        };
        let all = all.into_iter().flatten();
        all.chain(rest.into_iter().flatten()).filter_map(|slot| self.unpack(slot))
    }

    /// Drops the entries that `keep` refuses; gives their number.
    pub fn retain(&mut self, mut keep: impl FnMut(&Digest, &Entry) -> bool) -> usize {
        let id = self.id;
        self.table.retain(|slot| slot.entry().is_some_and(|entry| keep(&slot.key().digest(id), &entry)))
    }

    fn key(&self, digest: &Digest) -> SlotKey {
        debug_assert_eq!(digest.partition(), self.id);
        SlotKey::of(digest)
    }

    fn unpack(&self, slot: &Slot) -> Option<(Digest, Entry)> {
        Some((slot.key().digest(self.id), slot.entry()?))
    }
}
