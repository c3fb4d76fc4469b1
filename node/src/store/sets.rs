//! The sets of a namespace: names to twelve-bit numbers, and what each holds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dashmap::DashMap;
use outcrop_wire::limits::SETS_MAX;
use parking_lot::Mutex;
use thiserror::Error;

use crate::index::SetId;

/// The namespace has all the sets that it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the namespace has {SETS_MAX} sets already")]
pub struct TooManySets;

#[derive(Default)]
struct Slot {
    name: OnceLock<Box<str>>,
    records: AtomicI64,
    bytes: AtomicI64,
    /// Entries logged before this number are gone; 0: none are.
    truncated_before_lsn: AtomicU64,
}

/// What one set holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetCounts {
    /// Its name.
    pub name: String,
    /// Live records.
    pub records: u64,
    /// Bytes of them in the log, headers included.
    pub bytes: u64,
}

/// Names, numbers and counts. Reading and counting take no lock.
pub struct SetTable {
    by_name: DashMap<Box<str>, SetId>,
    slots: Box<[Slot]>,
    /// The next free number; held while a set is added.
    next: Mutex<u16>,
    truncations: AtomicU64,
}

impl Default for SetTable {
    fn default() -> Self {
        SetTable {
            by_name: DashMap::with_shard_amount(16),
            slots: (0..SETS_MAX).map(|_| Slot::default()).collect(),
            next: Mutex::new(0),
            truncations: AtomicU64::new(0),
        }
    }
}

impl SetTable {
    /// The number of a set that exists.
    pub fn find(&self, name: &str) -> Option<SetId> {
        self.by_name.get(name).map(|id| *id)
    }

    /// The number of a set, made if it is new.
    pub fn intern(&self, name: &str) -> Result<SetId, TooManySets> {
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        let mut next = self.next.lock();
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        let slot = self.slots.get(usize::from(*next)).ok_or(TooManySets)?;
        let _ = slot.name.set(name.into());
        let id = SetId::new(*next).ok_or(TooManySets)?;
        self.by_name.insert(name.into(), id);
        *next += 1;
        Ok(id)
    }

    /// The name of a number.
    pub fn name(&self, id: SetId) -> Option<&str> {
        self.slots.get(id.index())?.name.get().map(AsRef::as_ref)
    }

    /// Counts a record in or out.
    pub fn count(&self, id: SetId, records: i64, bytes: i64) {
        if let Some(slot) = self.slots.get(id.index()) {
            slot.records.fetch_add(records, Ordering::Relaxed);
            slot.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Forgets all counts, before they are taken anew.
    pub fn reset_counts(&self) {
        for slot in &self.slots {
            slot.records.store(0, Ordering::Relaxed);
            slot.bytes.store(0, Ordering::Relaxed);
        }
    }

    /// What each set holds, by name.
    pub fn counts(&self) -> Vec<SetCounts> {
        let mut counts: Vec<SetCounts> = (self.slots.iter())
            .map_while(|slot| {
                Some(SetCounts {
                    name: slot.name.get()?.to_string(),
                    records: slot.records.load(Ordering::Relaxed).max(0) as u64,
                    bytes: slot.bytes.load(Ordering::Relaxed).max(0) as u64,
                })
            })
            .collect();
        counts.sort_by(|a, b| a.name.cmp(&b.name));
        counts
    }

    /// Names in the order of their numbers, for the checkpoint.
    pub fn names(&self) -> Vec<String> {
        self.slots.iter().map_while(|slot| slot.name.get().map(|name| name.to_string())).collect()
    }

    /// Whether any set has been truncated since the start; reads skip a look-up where none has.
    pub fn any_truncated(&self) -> bool {
        self.truncations.load(Ordering::Acquire) > 0
    }

    /// The number before which entries of the set are gone.
    pub fn truncated_before(&self, id: SetId) -> u64 {
        self.slots.get(id.index()).map_or(0, |slot| slot.truncated_before_lsn.load(Ordering::Acquire))
    }

    /// Remembers that entries of the set before `lsn` are gone.
    pub fn set_truncated_before(&self, id: SetId, lsn: u64) {
        if let Some(slot) = self.slots.get(id.index()) {
            slot.truncated_before_lsn.fetch_max(lsn, Ordering::AcqRel);
            self.truncations.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_numbers_until_there_are_no_more() {
        let sets = SetTable::default();
        for number in 0..SETS_MAX {
            assert_eq!(sets.intern(&format!("set{number}")), SetId::new(number as u16).ok_or(TooManySets));
        }
        assert_eq!(sets.intern("one too many"), Err(TooManySets));
        let seven_id = SetId::new(7).expect("in range");
        assert_eq!(sets.intern("set7"), Ok(seven_id));
        assert_eq!(sets.name(seven_id), Some("set7"));
        sets.count(seven_id, 2, 100);
        sets.count(seven_id, -1, -40);
        let counts = sets.counts();
        let seven = counts.iter().find(|set| set.name == "set7").expect("it was made");
        assert_eq!((seven.records, seven.bytes), (1, 60));
    }
}
