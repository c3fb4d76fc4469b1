//! A partition as bytes, for the index checkpoint.
//!
//! ```text
//! 0   u8   version (1)
//! 1   u8   0
//! 2   u16  partition
//! 4   u32  entries
//! 8   u64  sequence
//! 16  32 bytes an entry, in digest order, as they lie in memory (four little-endian words, see `entry`)
//! ```
//! Little-endian throughout. The log guards the bytes with its own checksum; what is checked here is what memory safety
//! and the table's order rest upon.

use outcrop_wire::PartitionId;
use thiserror::Error;

use super::entry::Slot;
use super::partition::Partition;
use super::table::Table;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;

/// Why bytes aren't a snapshot of this partition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// A version of another build.
    #[error("an index snapshot of version {0}, this build reads version {VERSION}")]
    Version(u8),
    /// Too short, or the number of entries doesn't fit the bytes.
    #[error("an index snapshot of {bytes} bytes can't hold its {entries} entries")]
    Length {
        /// Bytes given.
        bytes: usize,
        /// Entries that the header tells of.
        entries: usize,
    },
    /// Of another partition.
    #[error("an index snapshot of partition {found}, not {expected}")]
    Partition {
        /// What the header says.
        found: u16,
        /// The partition to restore.
        expected: u16,
    },
    /// Entries out of order, doubled, or with bits that no entry has.
    #[error("entry {0} of an index snapshot is damaged or out of order")]
    Entry(usize),
}

impl Partition {
    /// Appends the partition's snapshot to `out`.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        out.reserve(HEADER_BYTES + self.len() * Slot::BYTES);
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&self.id().number().to_le_bytes());
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        for slot in self.table.iter() {
            out.extend_from_slice(&slot.to_bytes());
        }
    }

    /// Puts a snapshot in the place of what is there, which stays if the bytes are no good.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let (header, entries) = parse(bytes)?;
        if header.partition != self.id().number() {
            return Err(RestoreError::Partition { found: header.partition, expected: self.id().number() });
        }
        let mut previous = None;
        for (nth, bytes) in entries.iter().enumerate() {
            let slot = Slot::from_bytes(bytes);
            if slot.entry().is_none() || previous >= Some(slot.key()) {
                return Err(RestoreError::Entry(nth));
            }
            previous = Some(slot.key());
        }
        self.table = Table::from_sorted(entries.len(), entries.iter().map(Slot::from_bytes));
        self.sequence = header.sequence;
        Ok(())
    }

    /// The partition that a snapshot is of, by its header.
    pub fn snapshot_id(bytes: &[u8]) -> Result<PartitionId, RestoreError> {
        let (header, _) = parse(bytes)?;
        let unknown = RestoreError::Partition { found: header.partition, expected: 0 };
        PartitionId::new(header.partition).ok_or(unknown)
    }
}

struct Header {
    partition: u16,
    sequence: u64,
}

fn parse(bytes: &[u8]) -> Result<(Header, &[[u8; Slot::BYTES]]), RestoreError> {
    let short = RestoreError::Length { bytes: bytes.len(), entries: 0 };
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(short)?;
    if header[0] != VERSION {
        return Err(RestoreError::Version(header[0]));
    }
    let [_, _, p0, p1, n0, n1, n2, n3, sequence @ ..] = *header;
    let expected = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
    let (entries, rest) = body.as_chunks::<{ Slot::BYTES }>();
    if entries.len() != expected || !rest.is_empty() {
        return Err(RestoreError::Length { bytes: bytes.len(), entries: expected });
    }
    let partition = u16::from_le_bytes([p0, p1]);
    Ok((Header { partition, sequence: u64::from_le_bytes(sequence) }, entries))
}
