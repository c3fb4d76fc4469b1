//! Entries: the 16 bytes before each payload, and the check that ties them to their very place on the device.

use crate::buffer::BLOCK_BYTES;
use crate::location::{ENTRY_ALIGN, Lsn, SegmentId};
use crate::log::codec::{u16_at, u32_at, u64_at};

/// Bytes before each payload.
pub const HEADER_BYTES: usize = 16;

/// Bytes of a group mark with its header; every flush ends with one.
pub(crate) const MARK_BYTES: usize = HEADER_BYTES + MARK_PAYLOAD_BYTES;
const MARK_PAYLOAD_BYTES: usize = 16;
const MARK_SEALS: u32 = 1;

/// First byte of every entry.
const MAGIC: u8 = 0xE7;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The owner's bytes.
    Data = 1,
    /// The end of a flush group.
    Mark = 2,
    /// A piece of an index checkpoint.
    Chunk = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Kind::Data),
            2 => Some(Kind::Mark),
            3 => Some(Kind::Chunk),
            _ => None,
        }
    }
}

/// What an entry's check is mixed with: the log, the segment, and this one use of the segment. Bytes of an earlier use,
/// of another segment or of another log don't fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(pub u64);

impl Seed {
    pub fn new(identity: &[u8; 16], segment: SegmentId, sequence: u64, epoch: u64) -> Self {
        let parts = [u64_at(identity, 0), u64_at(identity, 8), u64::from(segment.0), sequence, epoch];
        Seed(parts.iter().fold(0x6f75_7463_726f_7021, |seed, part| mix(seed ^ *part).rotate_left(23)))
    }

    /// The check of a header at this offset: all of its fields, and where it must lie.
    #[inline]
    fn check(self, offset: usize, kind: u8, flags: u16, len: u32) -> u32 {
        let place = (offset as u64) << 40 ^ u64::from(kind) << 32 ^ u64::from(len);
        (mix(mix(self.0 ^ place) ^ u64::from(flags)) >> 32) as u32
    }
}

/// A 64-bit finaliser: each input bit changes about half of the output's.
#[inline]
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// Bytes that an entry takes: header, payload, padding to 16.
#[inline]
pub(crate) fn total_bytes(payload_len: usize) -> usize {
    (HEADER_BYTES + payload_len).next_multiple_of(ENTRY_ALIGN)
}

/// The 16 bytes of a header. `payload_crc` is the plain CRC32C of the payload, so that it can be computed before the
/// place is known.
#[inline]
pub(crate) fn header(
    seed: Seed,
    offset: usize,
    kind: Kind,
    payload_len: usize,
    payload_crc: u32,
) -> [u8; HEADER_BYTES] {
    let len = payload_len as u32;
    let check = seed.check(offset, kind as u8, 0, len);
    let mut bytes = [0; HEADER_BYTES];
    bytes[0] = MAGIC;
    bytes[1] = kind as u8;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8..12].copy_from_slice(&(payload_crc ^ check).to_le_bytes());
    bytes[12..16].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// A header that belongs where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub payload_len: usize,
    payload_crc: u32,
}

impl Header {
    /// Reads the header at `offset` of the segment; `None` if what lies there is none, or belongs elsewhere.
    #[inline]
    pub fn parse(seed: Seed, offset: usize, bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || bytes[0] != MAGIC {
            return None;
        }
        let (flags, len, check) = (u16_at(bytes, 2), u32_at(bytes, 4), u32_at(bytes, 12));
        // Flags are zero in version 1; an entry that says otherwise was written by something newer.
        if flags != 0 || check != seed.check(offset, bytes[1], flags, len) {
            return None;
        }
        let kind = Kind::from_byte(bytes[1])?;
        Some(Header { kind, payload_len: len as usize, payload_crc: u32_at(bytes, 8) ^ check })
    }

    /// Bytes of the whole entry.
    #[inline]
    pub fn total(&self) -> usize {
        total_bytes(self.payload_len)
    }

    /// Whether these are the bytes that were appended.
    #[inline]
    pub fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_len && crc32c::crc32c(payload) == self.payload_crc
    }
}

/// The end of a flush group: evidence of what was durable when the group was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Everything before this was durable.
    pub durable: Lsn,
    /// Nothing follows in this segment.
    pub seals: bool,
}

impl Mark {
    /// Header and payload of a mark at `offset`.
    pub fn encode(&self, seed: Seed, offset: usize) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&self.durable.0.to_le_bytes());
        let flags = if self.seals { MARK_SEALS } else { 0 };
        bytes[HEADER_BYTES + 8..HEADER_BYTES + 12].copy_from_slice(&flags.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[HEADER_BYTES..]);
        bytes[..HEADER_BYTES].copy_from_slice(&header(seed, offset, Kind::Mark, MARK_PAYLOAD_BYTES, crc));
        bytes
    }

    /// Reads a mark's payload; `None` if it is too short to be one.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        if payload.len() < MARK_PAYLOAD_BYTES {
            return None;
        }
        Some(Mark { durable: Lsn(u64_at(payload, 0)), seals: u32_at(payload, 8) & MARK_SEALS != 0 })
    }
}

/// Where the next group starts: a block that was synced is never written again.
pub(crate) fn next_block(offset: usize) -> usize {
    offset.next_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = *b"0123456789abcdef";

    fn entry_at(seed: Seed, offset: usize, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header(seed, offset, Kind::Data, payload.len(), crc32c::crc32c(payload)).to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn an_entry_is_read_where_it_was_written_and_nowhere_else() {
        let seed = Seed::new(&ID, SegmentId(3), 9, 1);
        let bytes = entry_at(seed, 4_096, b"payload");
        let header = Header::parse(seed, 4_096, &bytes).expect("its own place");
        assert_eq!((header.kind, header.payload_len, header.total()), (Kind::Data, 7, 32));
        assert!(header.matches(&bytes[HEADER_BYTES..]));
        // Each of these stands for one kind of misdirected, lost or stale write.
        for (id, segment, sequence, epoch, offset) in [
            (ID, 3, 9, 1, 4_112),
            (ID, 4, 9, 1, 4_096),
            (ID, 3, 8, 1, 4_096),
            (ID, 3, 9, 2, 4_096),
            (*b"0123456789abcdeF", 3, 9, 1, 4_096),
        ] {
            let other = Seed::new(&id, SegmentId(segment), sequence, epoch);
            assert_eq!(Header::parse(other, offset, &bytes), None, "{segment} {sequence} {epoch} {offset}");
        }
    }

    #[test]
    fn any_flipped_bit_of_header_or_payload_is_noticed() {
        let seed = Seed::new(&ID, SegmentId(0), 1, 1);
        let clean = entry_at(seed, 64, &[0x5a; 100]);
        for bit in 0..clean.len() * 8 {
            let mut bytes = clean.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let intact = Header::parse(seed, 64, &bytes).is_some_and(|header| {
                bytes.get(HEADER_BYTES..HEADER_BYTES + header.payload_len).is_some_and(|p| header.matches(p))
            });
            assert!(!intact, "bit {bit}");
        }
    }

    #[test]
    fn a_mark_comes_back() {
        let seed = Seed::new(&ID, SegmentId(0), 1, 1);
        let mark = Mark { durable: Lsn(77), seals: true };
        let bytes = mark.encode(seed, 128);
        let header = Header::parse(seed, 128, &bytes).expect("a mark");
        assert_eq!(header.kind, Kind::Mark);
        assert!(header.matches(&bytes[HEADER_BYTES..]));
        assert_eq!(Mark::decode(&bytes[HEADER_BYTES..]), Some(mark));
    }
}
