//! Digests: the 128-bit BLAKE3 hash of set and user key, by which everything is routed and indexed.
//!
//! BLAKE3 is cryptographic, so nobody can craft two keys of one digest (a birthday attack costs 2^64 hashes); the user
//! key lies in the stored record all the same.

use std::fmt;

use crate::key::KeyRef;
use crate::limits::{KEY_BYTES_MAX, PARTITIONS, SET_NAME_BYTES_MAX};

/// Bytes that the digest of the longest key is taken over.
const KEYED_BYTES_MAX: usize = 2 + SET_NAME_BYTES_MAX + KEY_BYTES_MAX;

/// 128 bits of BLAKE3 over `u8 key_type, u8 set_len, set, key`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 16]);

/// One of the 4,096 slices of the digest space: the digest's first twelve bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(u16);

impl PartitionId {
    /// The partition of this number, if there is one.
    pub fn new(number: u16) -> Option<Self> {
        (usize::from(number) < PARTITIONS).then_some(PartitionId(number))
    }

    /// Its number, 0 to 4,095.
    pub fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index.
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// All partitions, in order.
    pub fn all() -> impl Iterator<Item = PartitionId> {
        (0..PARTITIONS as u16).map(PartitionId)
    }
}

impl Digest {
    /// The digest of a set and user key.
    pub fn of(key: KeyRef<'_>) -> Digest {
        // Most keys are short: zeroing the room for the longest one would cost more than hashing them.
        match 2 + key.set.len() + key.user_key.byte_len() {
            ..=128 => Self::of_up_to::<128>(key),
            129..=KEYED_BYTES_MAX => Self::of_up_to::<KEYED_BYTES_MAX>(key),
            _ => Self::of_oversized(key),
        }
    }

    /// One contiguous buffer on the stack: a single call into the hash is half the price of an incremental one.
    fn of_up_to<const ROOM: usize>(key: KeyRef<'_>) -> Digest {
        let mut buffer = [0_u8; ROOM];
        let set = key.set.as_bytes();
        let total = 2 + set.len() + key.user_key.byte_len();
        buffer[0] = key.user_key.type_byte();
        buffer[1] = set.len() as u8;
        buffer[2..2 + set.len()].copy_from_slice(set);
        key.user_key.with_bytes(|bytes| buffer[2 + set.len()..total].copy_from_slice(bytes));
        Self::truncate(&blake3::hash(&buffer[..total]))
    }

    /// Keys over the limits are refused elsewhere; their digest is still well defined.
    fn of_oversized(key: KeyRef<'_>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[key.user_key.type_byte(), key.set.len() as u8]);
        hasher.update(key.set.as_bytes());
        key.user_key.with_bytes(|bytes| {
            hasher.update(bytes);
        });
        Self::truncate(&hasher.finalize())
    }

    fn truncate(hash: &blake3::Hash) -> Digest {
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.as_bytes()[..16]);
        Digest(digest)
    }

    /// The digest as a number whose order is the digest's order.
    pub fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The digest of a number from [`Digest::as_u128`].
    pub fn from_u128(number: u128) -> Digest {
        Digest(number.to_be_bytes())
    }

    /// The partition: the first twelve bits.
    pub fn partition(self) -> PartitionId {
        PartitionId(u16::from_be_bytes([self.0[0], self.0[1]]) >> 4)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
