//! Where an entry lies: segment, offset and length in 62 bits; and when it was appended: the log sequence number.

use std::fmt;
use std::num::NonZeroU64;

/// Bytes of one segment: 8 MiB.
pub const SEGMENT_BYTES: usize = 8 << 20;

/// Entries start at, and are padded to, multiples of this, so that offset and length fit 19 bits each.
pub const ENTRY_ALIGN: usize = 16;

/// Segments of one log, at most: 24 bits, 128 TiB.
pub const SEGMENTS_MAX: usize = (1 << 24) - 1;

const UNIT_BITS: u32 = 19;
const UNIT_MASK: u64 = (1 << UNIT_BITS) - 1;

const _: () = {
    assert!(SEGMENT_BYTES / ENTRY_ALIGN == 1 << UNIT_BITS);
    assert!(24 + 2 * UNIT_BITS == 62);
};

/// A segment's place on the device: 0 is the first one after the superblocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentId(pub u32);

/// An entry's place: segment (24 bits), offset and length in units of 16 bytes (19 bits each). The two top bits are
/// free for the index. Never zero: the offset of an entry is at least one block, behind the segment's header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(NonZeroU64);

impl Location {
    /// Bits that a location uses, from the lowest.
    pub const BITS: u32 = 62;

    /// Packs a place. `offset` and `len` are multiples of 16; `None` if they aren't, are out of the segment, or zero.
    pub fn new(segment: SegmentId, offset: usize, len: usize) -> Option<Self> {
        let aligned = offset.is_multiple_of(ENTRY_ALIGN) && len.is_multiple_of(ENTRY_ALIGN);
        let inside = offset > 0 && len > 0 && offset.checked_add(len)? <= SEGMENT_BYTES;
        if !aligned || !inside || segment.0 as usize >= SEGMENTS_MAX {
            return None;
        }
        let (offset, len) = ((offset / ENTRY_ALIGN) as u64, (len / ENTRY_ALIGN) as u64);
        // `len` may be a whole segment only if `offset` is 0, which it isn't: it fits 19 bits.
        Self::from_bits(u64::from(segment.0) << (2 * UNIT_BITS) | offset << UNIT_BITS | len)
    }

    /// The packed form, below 2^62.
    pub fn bits(self) -> u64 {
        self.0.get()
    }

    /// Unpacks [`Location::bits`]; `None` for zero or a value of more than 62 bits.
    pub fn from_bits(bits: u64) -> Option<Self> {
        if bits >> Self::BITS != 0 { None } else { NonZeroU64::new(bits).map(Location) }
    }

    /// The segment.
    pub fn segment(self) -> SegmentId {
        SegmentId((self.0.get() >> (2 * UNIT_BITS)) as u32)
    }

    /// First byte of the entry within its segment.
    pub fn offset(self) -> usize {
        ((self.0.get() >> UNIT_BITS) & UNIT_MASK) as usize * ENTRY_ALIGN
    }

    /// Bytes of the entry with its header and padding.
    pub fn byte_len(self) -> usize {
        (self.0.get() & UNIT_MASK) as usize * ENTRY_ALIGN
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {} bytes {}", self.segment().0, self.offset(), self.byte_len())
    }
}

/// Log sequence number: `segment sequence × 8 MiB + offset`. Appends have rising numbers; an entry's end is durable
/// once the log's durable number has reached it. A segment's sequence rises by one with each segment opened and is
/// never used twice, unlike its place on the device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number of a place in a segment of this sequence.
    pub fn new(segment_sequence: u64, offset: usize) -> Self {
        Lsn(segment_sequence * SEGMENT_BYTES as u64 + offset as u64)
    }

    /// The sequence of the segment.
    pub fn segment_sequence(self) -> u64 {
        self.0 / SEGMENT_BYTES as u64
    }

    /// The offset within the segment.
    pub fn offset(self) -> usize {
        (self.0 % SEGMENT_BYTES as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_unpacks_at_the_limits() {
        for (segment, offset, len) in
            [(0, 4_096, 16), (SEGMENTS_MAX as u32 - 1, SEGMENT_BYTES - 16, 16), (7, 4_096, SEGMENT_BYTES - 4_096)]
        {
            let location = Location::new(SegmentId(segment), offset, len).expect("within the limits");
            assert_eq!((location.segment().0, location.offset(), location.byte_len()), (segment, offset, len));
            assert_eq!(Location::from_bits(location.bits()), Some(location));
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(Location::new(SegmentId(0), 0, 16), None);
        assert_eq!(Location::new(SegmentId(0), 4_096, 0), None);
        assert_eq!(Location::new(SegmentId(0), 4_100, 16), None);
        assert_eq!(Location::new(SegmentId(0), SEGMENT_BYTES - 16, 32), None);
        assert_eq!(Location::new(SegmentId(SEGMENTS_MAX as u32), 4_096, 16), None);
        assert_eq!(Location::from_bits(1 << 62), None);
    }
}
