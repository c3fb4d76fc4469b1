//! Little-endian fields in fixed places of a block, and a block as a buffer that a device can write.

use std::sync::Arc;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};

/// Bytes of a slot that carry something; its CRC32C lies in the last four. The rest of the block is zero.
pub(crate) const SLOT_BYTES: usize = 256;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut field = [0; 2];
    field.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(field)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

/// A slot under construction.
pub(crate) struct SlotBytes([u8; SLOT_BYTES]);

impl SlotBytes {
    pub fn new(magic: &[u8; 8], version: u16) -> Self {
        let mut slot = SlotBytes([0; SLOT_BYTES]);
        slot.put(0, magic);
        slot.put(8, &version.to_le_bytes());
        slot
    }

    pub fn put(&mut self, at: usize, field: &[u8]) {
        self.0[at..at + field.len()].copy_from_slice(field);
    }

    /// Closes the slot with its CRC and makes it a whole block.
    pub fn finish(mut self) -> Arc<SegmentBuffer> {
        let crc = crc32c::crc32c(&self.0[..SLOT_BYTES - 4]);
        self.put(SLOT_BYTES - 4, &crc.to_le_bytes());
        let mut writer = SegmentBuffer::with_writer(BLOCK_BYTES);
        let fits = writer.append(&[&self.0, &[0; BLOCK_BYTES - SLOT_BYTES]]);
        debug_assert!(fits, "a slot is smaller than a block");
        writer.finish()
    }
}

/// What a block says before its fields are looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SlotRead {
    /// All zeros: never written.
    Blank,
    /// Magic and CRC are right; the version byte is there to be judged.
    Valid,
    /// Something, but not this slot.
    Damaged,
}

/// Judges the first [`SLOT_BYTES`] of a block.
pub(crate) fn read_slot(block: &[u8], magic: &[u8; 8]) -> SlotRead {
    let Some(slot) = block.get(..SLOT_BYTES) else { return SlotRead::Damaged };
    if slot.iter().all(|byte| *byte == 0) {
        return SlotRead::Blank;
    }
    let intact = slot[..8] == magic[..] && crc32c::crc32c(&slot[..SLOT_BYTES - 4]) == u32_at(slot, SLOT_BYTES - 4);
    if intact { SlotRead::Valid } else { SlotRead::Damaged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_valid_until_any_bit_of_it_flips() {
        let mut slot = SlotBytes::new(b"TESTSLOT", 3);
        slot.put(16, &7u64.to_le_bytes());
        let block = slot.finish();
        let mut bytes = block.get(0..BLOCK_BYTES).expect("written").to_vec();
        assert_eq!(read_slot(&bytes, b"TESTSLOT"), SlotRead::Valid);
        assert_eq!((u16_at(&bytes, 8), u64_at(&bytes, 16)), (3, 7));
        assert_eq!(read_slot(&bytes, b"OTHERMAG"), SlotRead::Damaged);
        for bit in (0..SLOT_BYTES * 8).step_by(7) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_slot(&bytes, b"TESTSLOT"), SlotRead::Damaged, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(read_slot(&[0; BLOCK_BYTES], b"TESTSLOT"), SlotRead::Blank);
    }
}
