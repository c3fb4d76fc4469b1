//! One entry and its 32 bytes.
//!
//! ```text
//! word 0   digest bits 12..76                       (the 12 before them are the partition)
//! word 1   digest bits 76..128 (52) | set (12)
//! word 2   0 (1) | tombstone (1) | location (62)    (0: the slot is empty)
//! word 3   expiry_secs (32) | generation (32)
//! ```
//! All 128 bits of the digest are known, so that the index never takes one key for another.

use outcrop_flash::Location;
use outcrop_wire::limits::SETS_MAX;
use outcrop_wire::{Digest, PartitionId};

/// A set's number within its namespace: 0 to 4,095.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SetId(u16);

const SET_BITS: u32 = 12;
const SET_MASK: u64 = (1 << SET_BITS) - 1;
const TOMBSTONE: u64 = 1 << Location::BITS;
const LOCATION_MASK: u64 = TOMBSTONE - 1;
const PARTITION_BITS: u32 = 12;

const _: () = {
    assert!(SETS_MAX as u64 <= SET_MASK);
    assert!(PARTITION_BITS == SET_BITS, "the set takes the place of the partition's bits");
    assert!(outcrop_wire::limits::PARTITIONS == 1 << PARTITION_BITS);
    assert!(size_of::<Slot>() == 32);
};

impl SetId {
    /// The set of this number; `None` above 4,095.
    pub fn new(number: u16) -> Option<Self> {
        (u64::from(number) <= SET_MASK).then_some(SetId(number))
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What the index knows of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key's set.
    pub set: SetId,
    /// Where its newest version lies; for a tombstone, where the deletion was logged.
    pub location: Location,
    /// The key was deleted, and older versions of it may still lie in the log.
    pub tombstone: bool,
    /// When it expires, in seconds since 1970 (UTC), 0 for never; for a tombstone: the low 32 bits of the sequence of
    /// the segment where the deletion was logged.
    pub expiry_secs: u32,
    /// Its write counter.
    pub generation: u32,
}

/// The part of a digest that tells the keys of one partition apart, in digest order: shifted to the top, the low twelve
/// bits zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct SlotKey(u128);

impl SlotKey {
    #[inline]
    pub(super) fn of(digest: &Digest) -> Self {
        SlotKey(digest.as_u128() << PARTITION_BITS)
    }

    pub(super) fn digest(self, partition: PartitionId) -> Digest {
        let partition = u128::from(partition.number()) << (128 - PARTITION_BITS);
        Digest::from_u128(partition | self.0 >> PARTITION_BITS)
    }

    /// The first 64 bits.
    #[inline]
    pub(super) fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// An entry as it lies in a table, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot([u64; 4]);

impl Slot {
    pub(super) const EMPTY: Slot = Slot([0; 4]);
    pub(super) const BYTES: usize = 32;

    pub(super) fn new(key: SlotKey, entry: &Entry) -> Self {
        Slot([
            key.high(),
            key.0 as u64 | u64::from(entry.set.0),
            entry.location.bits() | if entry.tombstone { TOMBSTONE } else { 0 },
            u64::from(entry.expiry_secs) << 32 | u64::from(entry.generation),
        ])
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0[2] == 0
    }

    pub(super) fn first_word(&self) -> u64 {
        self.0[0]
    }

    #[inline]
    pub(super) fn key(&self) -> SlotKey {
        SlotKey(u128::from(self.0[0]) << 64 | u128::from(self.0[1] & !SET_MASK))
    }

    /// `None` if the slot is empty, or holds bits that no entry has.
    pub(super) fn entry(&self) -> Option<Entry> {
        if self.0[2] & !(LOCATION_MASK | TOMBSTONE) != 0 {
            return None;
        }
        Some(Entry {
            set: SetId((self.0[1] & SET_MASK) as u16),
            location: Location::from_bits(self.0[2] & LOCATION_MASK)?,
            tombstone: self.0[2] & TOMBSTONE != 0,
            expiry_secs: (self.0[3] >> 32) as u32,
            generation: self.0[3] as u32,
        })
    }

    pub(super) fn to_bytes(self) -> [u8; Slot::BYTES] {
        let mut bytes = [0; Slot::BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Slot::BYTES]) -> Self {
        let mut words = [0; 4];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*place);
        }
        Slot(words)
    }
}
