//! Stored records: the one form that a record has on flash, in a replica, in a reply and in a scan.
//!
//! ```text
//!  0  u8   format version (1)        4  u16  key length            16  u64  epoch of the partition
//!  1  u8   flags                     6  u16  zero                  24  u64  sequence within the partition
//!  2  u8   key type                  8  u32  archive length        32  u64  last update, ms since 1970
//!  3  u8   set length               12  u32  generation            40  u32  expiry, s since 1970; 0 never
//! 44  u32  zero (raw length of a compressed archive)               48  16   digest
//! 64  set, then key, then the archived bins
//! ```
//!
//! A tombstone has no archive; its expiry field holds the low half of the segment sequence in which the deletion was
//! first logged.

use thiserror::Error;

use crate::digest::Digest;
use crate::key::{KeyError, KeyRef, UserKeyRef, decode_user_key};
use crate::limits::{FORMAT_VERSION, STORED_HEADER_BYTES};
use crate::reader::{ReadError, Reader};

/// Why bytes aren't a stored record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoredError {
    /// Too short.
    #[error("malformed stored record: {0}")]
    Malformed(#[from] ReadError),
    /// Its key is wrong.
    #[error("malformed stored record: {0}")]
    Key(#[from] KeyError),
    /// Written by a version that this one doesn't know.
    #[error("stored record of format version {0}; this build reads version 1")]
    Version(u8),
    /// Written with a feature that this build doesn't have.
    #[error("stored record with unknown flags {0:#04x}")]
    Flags(u8),
    /// Lengths don't add up.
    #[error("stored record has {actual} bytes, its header says {expected}")]
    Length {
        /// By the header.
        expected: usize,
        /// As it is.
        actual: usize,
    },
}

/// The record was deleted; no archive follows.
pub const FLAG_TOMBSTONE: u8 = 1;
/// Reserved: the archive is compressed.
pub const FLAG_COMPRESSED: u8 = 2;
/// Reserved: the archive is encrypted.
pub const FLAG_ENCRYPTED: u8 = 4;

/// The fixed part of a stored record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredHeader {
    /// `FLAG_*` bits.
    pub flags: u8,
    /// Write counter of the record.
    pub generation: u32,
    /// Epoch of the partition at the write.
    pub epoch: u64,
    /// Place among the partition's writes.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub last_update_ms: u64,
    /// Seconds since 1970; 0: never. For a tombstone see the module's page.
    pub expiry_secs: u32,
    /// Digest of set and key.
    pub digest: Digest,
}

/// A stored record taken apart in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRecord<'a> {
    /// The fixed part.
    pub header: StoredHeader,
    /// Set and user key.
    pub key: KeyRef<'a>,
    /// The archived bins; empty for a tombstone and where only the header was asked for.
    pub archive: &'a [u8],
}

impl StoredHeader {
    /// Whether the record was deleted.
    pub fn is_tombstone(&self) -> bool {
        self.flags & FLAG_TOMBSTONE != 0
    }

    /// Writes header, set and key, ready for the archive of `archive_len` bytes to follow.
    pub fn encode(&self, key: KeyRef<'_>, archive_len: usize, out: &mut Vec<u8>) {
        let mut fixed = [0_u8; STORED_HEADER_BYTES];
        fixed[0] = FORMAT_VERSION;
        fixed[1] = self.flags;
        fixed[2] = key.user_key.type_byte();
        fixed[3] = key.set.len() as u8;
        fixed[4..6].copy_from_slice(&(key.user_key.byte_len() as u16).to_le_bytes());
        fixed[8..12].copy_from_slice(&(archive_len as u32).to_le_bytes());
        fixed[12..16].copy_from_slice(&self.generation.to_le_bytes());
        fixed[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        fixed[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        fixed[32..40].copy_from_slice(&self.last_update_ms.to_le_bytes());
        fixed[40..44].copy_from_slice(&self.expiry_secs.to_le_bytes());
        fixed[48..64].copy_from_slice(&self.digest.0);
        out.extend_from_slice(&fixed);
        out.extend_from_slice(key.set.as_bytes());
        key.user_key.with_bytes(|bytes| out.extend_from_slice(bytes));
    }
}

/// The digest of a stored record, without taking the rest apart; `None` if it is too short.
pub fn digest_of(bytes: &[u8]) -> Option<Digest> {
    let digest = bytes.get(48..64)?;
    Some(Digest(digest.try_into().ok()?))
}

impl<'a> StoredRecord<'a> {
    /// Takes `bytes` apart; every length is checked, the archive isn't looked into.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StoredError> {
        let mut reader = Reader::new(bytes);
        let fixed: [u8; STORED_HEADER_BYTES] = reader.array("stored header")?;
        if fixed[0] != FORMAT_VERSION {
            return Err(StoredError::Version(fixed[0]));
        }
        if fixed[1] & !FLAG_TOMBSTONE != 0 {
            return Err(StoredError::Flags(fixed[1]));
        }
        let mut fields = Reader::new(&fixed[4..]);
        let key_len = fields.u16("key length")?;
        fields.u16("zero")?;
        let archive_len = fields.u32("archive length")? as usize;
        let header = StoredHeader {
            flags: fixed[1],
            generation: fields.u32("generation")?,
            epoch: fields.u64("epoch")?,
            sequence: fields.u64("sequence")?,
            last_update_ms: fields.u64("last update")?,
            expiry_secs: fields.u32("expiry")?,
            digest: {
                fields.u32("zero")?;
                Digest(fields.array("digest")?)
            },
        };
        let set = reader.text(fixed[3].into(), "set")?;
        let user_key: UserKeyRef<'a> = decode_user_key(fixed[2], key_len.into(), &mut reader)?;
        if reader.rest().len() != archive_len {
            let expected = bytes.len() - reader.rest().len() + archive_len;
            return Err(StoredError::Length { expected, actual: bytes.len() });
        }
        Ok(StoredRecord { header, key: KeyRef { set, user_key }, archive: reader.rest() })
    }
}
