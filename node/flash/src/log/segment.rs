//! A segment's slots: two copies of its header and two of its seal, a block each, before the first entry.

use std::sync::Arc;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::location::{Lsn, SegmentId};
use crate::log::codec::{SlotBytes, SlotRead, read_slot, u16_at, u32_at, u64_at};
use crate::log::options::DATA_START;
use crate::log::superblock::FORMAT_VERSION;

const HEADER_MAGIC: &[u8; 8] = b"OUTCROPH";
const SEAL_MAGIC: &[u8; 8] = b"OUTCROPE";

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Entries of the append stream.
    Data,
    /// Chunks of a checkpoint.
    Checkpoint,
    /// Nothing any more: the sequence named here is gone.
    Free,
}

/// The header of one use of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub usage: Use,
    pub segment: SegmentId,
    pub sequence: u64,
    /// Sequence of the data segment before this one in the stream; 0 = none.
    pub previous: u64,
    /// The epoch that opened it.
    pub epoch: u64,
    /// Everything before this was durable when the slot was written.
    pub durable: Lsn,
    /// Which checkpoint, and the how-manieth segment of it.
    pub checkpoint_id: u64,
    pub checkpoint_index: u32,
}

impl SegmentHeader {
    pub fn encode(&self, identity: &[u8; 16]) -> Arc<SegmentBuffer> {
        let mut slot = SlotBytes::new(HEADER_MAGIC, FORMAT_VERSION);
        let usage: u16 = match self.usage {
            Use::Data => 1,
            Use::Checkpoint => 2,
            Use::Free => 3,
        };
        slot.put(10, &usage.to_le_bytes());
        slot.put(12, &self.segment.0.to_le_bytes());
        slot.put(16, identity);
        slot.put(32, &self.sequence.to_le_bytes());
        slot.put(40, &self.previous.to_le_bytes());
        slot.put(48, &self.epoch.to_le_bytes());
        slot.put(56, &self.durable.0.to_le_bytes());
        slot.put(64, &self.checkpoint_id.to_le_bytes());
        slot.put(72, &self.checkpoint_index.to_le_bytes());
        slot.finish()
    }

    fn decode(block: &[u8], identity: &[u8; 16], segment: SegmentId) -> Slot<Self> {
        match judge(block, HEADER_MAGIC, identity, segment) {
            Slot::Valid(()) => {}
            Slot::Blank => return Slot::Blank,
            Slot::Damaged => return Slot::Damaged,
        }
        let usage = match u16_at(block, 10) {
            1 => Use::Data,
            2 => Use::Checkpoint,
            3 => Use::Free,
            _ => return Slot::Damaged,
        };
        Slot::Valid(SegmentHeader {
            usage,
            segment,
            sequence: u64_at(block, 32),
            previous: u64_at(block, 40),
            epoch: u64_at(block, 48),
            durable: Lsn(u64_at(block, 56)),
            checkpoint_id: u64_at(block, 64),
            checkpoint_index: u32_at(block, 72),
        })
    }

    /// A later use wins over an earlier one, and the end of a use over the use.
    fn rank(&self) -> (u64, bool) {
        (self.sequence, self.usage == Use::Free)
    }

    /// The header that ends this use.
    pub fn freed(&self, durable: Lsn) -> Self {
        SegmentHeader { usage: Use::Free, durable, ..*self }
    }
}

/// Where a segment's entries end, written when nothing more will be appended to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub segment: SegmentId,
    pub sequence: u64,
    /// First byte that holds nothing, a multiple of the block unless recovery cut a torn tail.
    pub end: usize,
    /// Recovery wrote it: what lies behind `end` was never acknowledged.
    pub recovered: bool,
    pub durable: Lsn,
}

impl Seal {
    pub fn encode(&self, identity: &[u8; 16]) -> Arc<SegmentBuffer> {
        let mut slot = SlotBytes::new(SEAL_MAGIC, FORMAT_VERSION);
        slot.put(10, &u16::from(self.recovered).to_le_bytes());
        slot.put(12, &self.segment.0.to_le_bytes());
        slot.put(16, identity);
        slot.put(32, &self.sequence.to_le_bytes());
        slot.put(40, &(self.end as u64).to_le_bytes());
        slot.put(48, &self.durable.0.to_le_bytes());
        slot.finish()
    }

    fn decode(block: &[u8], identity: &[u8; 16], segment: SegmentId) -> Option<Self> {
        if judge(block, SEAL_MAGIC, identity, segment) != Slot::Valid(()) {
            return None;
        }
        Some(Seal {
            segment,
            sequence: u64_at(block, 32),
            end: usize::try_from(u64_at(block, 40)).ok()?,
            recovered: u16_at(block, 10) & 1 != 0,
            durable: Lsn(u64_at(block, 48)),
        })
    }
}

/// What one slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot<T> {
    /// Never written, or written by another log that had this device before.
    Blank,
    Valid(T),
    Damaged,
}

fn judge(block: &[u8], magic: &[u8; 8], identity: &[u8; 16], segment: SegmentId) -> Slot<()> {
    match read_slot(block, magic) {
        SlotRead::Blank => Slot::Blank,
        SlotRead::Damaged => Slot::Damaged,
        SlotRead::Valid if block[16..32] != identity[..] => Slot::Blank,
        // A slot of another segment here is a misdirected write; a version from the future can't be read.
        SlotRead::Valid if u32_at(block, 12) != segment.0 || u16_at(block, 8) > FORMAT_VERSION => Slot::Damaged,
        SlotRead::Valid => Slot::Valid(()),
    }
}

/// Which slot of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotKind {
    Header,
    Seal,
}

/// Offset of a slot's copy (0 or 1) within its segment.
pub(crate) fn slot_offset(kind: SlotKind, copy: usize) -> usize {
    let first = match kind {
        SlotKind::Header => 0,
        SlotKind::Seal => 2,
    };
    (first + copy) * BLOCK_BYTES
}

/// What the four slots of a segment say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSlots {
    /// The header that counts; `None` = never used.
    pub header: Option<SegmentHeader>,
    /// The seal of this very use.
    pub seal: Option<Seal>,
    /// Both header copies are unreadable though something was there: at most one is ever being written, so this is rot.
    pub damaged: bool,
    /// The copy of the header that doesn't say what counts and should be written again.
    pub stale_copy: Option<usize>,
}

/// Reads the slots from the first [`DATA_START`] bytes of a segment.
pub(crate) fn read_slots(bytes: &[u8], identity: &[u8; 16], segment: SegmentId, segment_bytes: usize) -> SegmentSlots {
    let block = |kind, copy| {
        let offset = slot_offset(kind, copy);
        bytes.get(offset..offset + BLOCK_BYTES).unwrap_or_default()
    };
    let headers = [0, 1].map(|copy| SegmentHeader::decode(block(SlotKind::Header, copy), identity, segment));
    let ranks = headers.map(|slot| if let Slot::Valid(header) = slot { Some(header.rank()) } else { None });
    let best = usize::from(ranks[1] > ranks[0]);
    let header = if let Slot::Valid(header) = headers[best] { Some(header) } else { None };
    let seal = header.and_then(|header| {
        let fits = |seal: &Seal| seal.sequence == header.sequence && (DATA_START..=segment_bytes).contains(&seal.end);
        let seals = [0, 1].map(|copy| Seal::decode(block(SlotKind::Seal, copy), identity, segment).filter(fits));
        // A recovery cuts what a seal said before, never the other way round.
        seals.into_iter().flatten().min_by_key(|seal| (!seal.recovered, seal.end))
    });
    let damaged = headers == [Slot::Damaged; 2];
    let stale_copy = (header.is_some() && headers[best] != headers[1 - best]).then_some(1 - best);
    SegmentSlots { header, seal, damaged, stale_copy }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = *b"0123456789abcdef";

    fn header(sequence: u64, usage: Use) -> SegmentHeader {
        SegmentHeader {
            usage,
            segment: SegmentId(2),
            sequence,
            previous: 1,
            epoch: 1,
            durable: Lsn(0),
            checkpoint_id: 0,
            checkpoint_index: 0,
        }
    }

    fn image(slots: [Option<Arc<SegmentBuffer>>; 4]) -> Vec<u8> {
        let blank = vec![0; BLOCK_BYTES];
        slots
            .iter()
            .flat_map(|slot| match slot {
                Some(block) => block.get(0..BLOCK_BYTES).expect("written").to_vec(),
                None => blank.clone(),
            })
            .collect()
    }

    fn read(bytes: &[u8]) -> SegmentSlots {
        read_slots(bytes, &ID, SegmentId(2), 1 << 20)
    }

    #[test]
    fn the_later_copy_counts_and_the_other_is_to_be_repaired() {
        let old = header(4, Use::Data);
        let freed = old.freed(Lsn(5));
        let reused = header(7, Use::Data);
        for (first, second, counts, stale) in [
            (old, freed, freed, Some(0)),
            (freed, old, freed, Some(1)),
            (reused, freed, reused, Some(1)),
            (old, old, old, None),
        ] {
            let slots = read(&image([Some(first.encode(&ID)), Some(second.encode(&ID)), None, None]));
            assert_eq!((slots.header, slots.stale_copy, slots.damaged), (Some(counts), stale, false));
        }
    }

    #[test]
    fn one_torn_copy_is_fine_and_two_are_rot() {
        let whole = header(4, Use::Data).encode(&ID);
        let mut bytes = image([Some(whole.clone()), Some(whole), None, None]);
        bytes[100] ^= 1;
        let slots = read(&bytes);
        assert_eq!((slots.header.map(|header| header.sequence), slots.stale_copy), (Some(4), Some(0)));
        bytes[BLOCK_BYTES + 40] ^= 1;
        assert!(read(&bytes).damaged);
    }

    #[test]
    fn a_seal_of_an_earlier_use_or_of_another_segment_does_not_count() {
        let seal = Seal { segment: SegmentId(2), sequence: 4, end: 40_960, recovered: false, durable: Lsn(0) };
        let head = Some(header(4, Use::Data).encode(&ID));
        let with = |seal: Seal| read(&image([head.clone(), head.clone(), Some(seal.encode(&ID)), None])).seal;
        assert_eq!(with(seal), Some(seal));
        assert_eq!(with(Seal { sequence: 3, ..seal }), None);
        assert_eq!(with(Seal { segment: SegmentId(3), ..seal }), None);
        assert_eq!(with(Seal { end: 100, ..seal }), None);
    }

    #[test]
    fn another_logs_header_is_blank_and_a_misdirected_one_is_damage() {
        let foreign = header(4, Use::Data).encode(b"fedcba9876543210");
        let slots = read(&image([Some(foreign.clone()), Some(foreign), None, None]));
        assert_eq!((slots.header, slots.damaged), (None, false));
        let misdirected = SegmentHeader { segment: SegmentId(9), ..header(4, Use::Data) }.encode(&ID);
        assert!(read(&image([Some(misdirected.clone()), Some(misdirected), None, None])).damaged);
    }
}
