//! The bytes of a memory device: shared blocks, so that taking a crash image costs a pointer a block; and the writes
//! that may or may not have reached them.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use crate::buffer::BLOCK_BYTES;

/// The unit that a device writes whole: 512 bytes.
pub const SECTOR_BYTES: usize = 512;

const SECTORS_PER_BLOCK: usize = BLOCK_BYTES / SECTOR_BYTES;

type Block = [u8; BLOCK_BYTES];

/// Blocks; `None` is a block of zeros.
#[derive(Clone)]
pub(super) struct Image {
    blocks: Vec<Option<Arc<Block>>>,
}

/// A write that no sync has covered yet.
pub(super) struct Pending {
    pub(super) id: u64,
    first_block: usize,
    blocks: Vec<Option<Arc<Block>>>,
}

fn block_of(bytes: &[u8]) -> Option<Arc<Block>> {
    let block = Block::try_from(bytes).ok()?;
    block.iter().any(|byte| *byte != 0).then(|| Arc::new(block))
}

fn flip(block: &mut Option<Arc<Block>>, offset: u64, bit: u8) {
    let block = block.get_or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
    Arc::make_mut(block)[(offset % BLOCK_BYTES as u64) as usize] ^= 1 << (bit % 8);
}

impl Pending {
    pub(super) fn new(id: u64, offset: u64, bytes: &[u8]) -> Self {
        let blocks = bytes.chunks_exact(BLOCK_BYTES).map(block_of).collect();
        Pending { id, first_block: (offset / BLOCK_BYTES as u64) as usize, blocks }
    }

    /// The same write as one write a block.
    pub(super) fn split(self) -> impl Iterator<Item = Pending> {
        let Pending { id, first_block, blocks } = self;
        blocks.into_iter().enumerate().map(move |(at, block)| Pending {
            id,
            first_block: first_block + at,
            blocks: vec![block],
        })
    }

    /// Whether all of an older write lies under this one.
    pub(super) fn covers(&self, older: &Pending) -> bool {
        let end = |pending: &Pending| pending.first_block + pending.blocks.len();
        older.id < self.id && self.first_block <= older.first_block && end(older) <= end(self)
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) {
        let at = ((offset / BLOCK_BYTES as u64) as usize).checked_sub(self.first_block);
        if let Some(block) = at.and_then(|at| self.blocks.get_mut(at)) {
            flip(block, offset, bit);
        }
    }
}

impl Image {
    pub(super) fn zeroed(byte_len: u64) -> Self {
        Image { blocks: vec![None; (byte_len / BLOCK_BYTES as u64) as usize] }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Image { blocks: bytes.chunks_exact(BLOCK_BYTES).map(block_of).collect() }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.read(0, self.blocks.len() * BLOCK_BYTES)
    }

    pub(super) fn byte_len(&self) -> u64 {
        (self.blocks.len() * BLOCK_BYTES) as u64
    }

    pub(super) fn truncate(&mut self, byte_len: u64) {
        self.blocks.truncate((byte_len / BLOCK_BYTES as u64) as usize);
    }

    /// Whole blocks; what lies beyond the end is left out.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        let first = (offset / BLOCK_BYTES as u64) as usize;
        for block in self.blocks.iter().skip(first).take(len / BLOCK_BYTES) {
            bytes.extend_from_slice(block.as_deref().unwrap_or(&[0; BLOCK_BYTES]));
        }
        bytes
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> bool {
        let block = self.blocks.get_mut((offset / BLOCK_BYTES as u64) as usize);
        block.map(|block| flip(block, offset, bit)).is_some()
    }

    /// The whole write reaches the medium (what of it lies beyond the end doesn't).
    pub(super) fn land(&mut self, pending: &Pending) {
        for (block, new) in self.blocks.iter_mut().skip(pending.first_block).zip(&pending.blocks) {
            block.clone_from(new);
        }
    }

    /// Of the write, the sectors that `lands` picks reach the medium.
    fn land_sectors(&mut self, pending: &Pending, mut lands: impl FnMut() -> bool) {
        for (block, new) in self.blocks.iter_mut().skip(pending.first_block).zip(&pending.blocks) {
            let new = new.as_deref().unwrap_or(&[0; BLOCK_BYTES]);
            let mut mixed = block.as_deref().copied().unwrap_or([0; BLOCK_BYTES]);
            for sector in 0..SECTORS_PER_BLOCK {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                if lands() {
                    mixed[range.clone()].copy_from_slice(&new[range]);
                }
            }
            *block = block_of(&mixed);
        }
    }
}

/// Lets writes reach the medium as a crash does: in any order, each wholly, not at all, cut off somewhere, or sector
/// by sector at random. Each image leans one way or another, so that seeds also find "almost all" and "almost none".
pub(super) fn land_some(image: &mut Image, mut pending: Vec<&Pending>, rng: &mut StdRng) {
    if rng.random_bool(0.75) {
        pending.shuffle(rng);
    }
    let lean = [0.02, 0.3, 0.7, 0.98][rng.random_range(0..4)];
    for write in pending {
        match rng.random_range(0..4) {
            0 if rng.random_bool(lean) => image.land(write),
            0 => {}
            1 => {
                // Sectors up to some point, as when power fails in the middle of a transfer.
                let mut left = rng.next_u64() as usize % (write.blocks.len() * SECTORS_PER_BLOCK + 1);
                image.land_sectors(write, || {
                    let lands = left > 0;
                    left = left.saturating_sub(1);
                    lands
                });
            }
            _ => image.land_sectors(write, || rng.random_bool(lean)),
        }
    }
}
