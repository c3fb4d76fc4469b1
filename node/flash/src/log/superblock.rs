//! The superblock: whose log this is, how it is cut up, its epoch, and where the last checkpoint lies. Two copies.

use std::sync::Arc;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::device::{Device, DeviceError};
use crate::location::{Lsn, SEGMENT_BYTES, SEGMENTS_MAX};
use crate::log::codec::{SlotBytes, SlotRead, read_slot, u16_at, u32_at, u64_at};
use crate::log::error::OpenError;
use crate::log::options::{Geometry, SEGMENT_BYTES_MIN, SEGMENTS_OFFSET};

const MAGIC: &[u8; 8] = b"OUTCROPS";

/// The format that this code writes; everything up to it can be read.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// Where the copies lie: far enough apart that no single erase block holds both.
pub(crate) const COPY_OFFSETS: [u64; 2] = [0, 512 << 10];

const _: () = assert!(COPY_OFFSETS[1] + (BLOCK_BYTES as u64) < SEGMENTS_OFFSET);

/// A complete checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointRef {
    /// Sequence of its first segment: its name.
    pub id: u64,
    /// Replay goes on from here.
    pub start: Lsn,
    pub segments: u32,
    pub chunks: u32,
}

/// What the newest intact copy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub identity: [u8; 16],
    /// Rises with each write; the higher of two intact copies wins.
    pub generation: u64,
    pub epoch: u64,
    pub geometry: Geometry,
    /// The log was closed in order: everything before `durable` is there and nothing behind it.
    pub clean: bool,
    pub durable: Lsn,
    /// No sequence from here on was ever used when this was written.
    pub next_sequence: u64,
    pub checkpoint: Option<CheckpointRef>,
}

impl Superblock {
    pub fn encode(&self) -> Arc<SegmentBuffer> {
        let mut slot = SlotBytes::new(MAGIC, FORMAT_VERSION);
        slot.put(10, &u16::from(self.clean).to_le_bytes());
        slot.put(12, &(self.geometry.segment_bytes as u32).to_le_bytes());
        slot.put(16, &self.identity);
        slot.put(32, &self.generation.to_le_bytes());
        slot.put(40, &self.epoch.to_le_bytes());
        slot.put(48, &self.durable.0.to_le_bytes());
        slot.put(56, &self.next_sequence.to_le_bytes());
        slot.put(64, &self.geometry.segments.to_le_bytes());
        if let Some(checkpoint) = self.checkpoint {
            slot.put(68, &checkpoint.segments.to_le_bytes());
            slot.put(72, &checkpoint.id.to_le_bytes());
            slot.put(80, &checkpoint.start.0.to_le_bytes());
            slot.put(88, &checkpoint.chunks.to_le_bytes());
        }
        slot.finish()
    }

    /// The fields of a block that [`read_slot`] called valid; the error is a version or figures that can't be.
    fn decode(block: &[u8]) -> Result<Self, Copy> {
        let version = u16_at(block, 8);
        if version == 0 || version > FORMAT_VERSION {
            return Err(Copy::Newer(version));
        }
        let mut identity = [0; 16];
        identity.copy_from_slice(&block[16..32]);
        let geometry = Geometry { segment_bytes: u32_at(block, 12) as usize, segments: u32_at(block, 64) };
        let sane = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES).contains(&geometry.segment_bytes)
            && geometry.segment_bytes.is_multiple_of(BLOCK_BYTES)
            && (1..=SEGMENTS_MAX).contains(&(geometry.segments as usize));
        if !sane {
            return Err(Copy::Damaged);
        }
        let checkpoint = (u64_at(block, 72) != 0).then(|| CheckpointRef {
            id: u64_at(block, 72),
            start: Lsn(u64_at(block, 80)),
            segments: u32_at(block, 68),
            chunks: u32_at(block, 88),
        });
        Ok(Superblock {
            identity,
            generation: u64_at(block, 32),
            epoch: u64_at(block, 40),
            geometry,
            clean: u16_at(block, 10) & 1 != 0,
            durable: Lsn(u64_at(block, 48)),
            next_sequence: u64_at(block, 56),
            checkpoint,
        })
    }

    /// Writes the next generation: one copy, sync, the other, sync. A crash leaves at least one of them whole.
    pub async fn store(&mut self, device: &dyn Device) -> Result<(), DeviceError> {
        self.generation += 1;
        let block = self.encode();
        for offset in COPY_OFFSETS {
            device.write(offset, block.clone(), 0, BLOCK_BYTES).await?;
            device.sync().await?;
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Copy {
    Blank,
    Intact(Box<Superblock>),
    Damaged,
    Newer(u16),
}

/// What the device holds where the superblocks belong.
#[derive(Debug)]
pub(crate) enum Found {
    /// Both all zeros: never a log.
    Blank,
    /// One is all zeros, the other unreadable: a creation that was cut off, if no segment was ever written.
    HalfCreated,
    /// The newest intact copy; `copies_intact` tells whether the other one needs to be written again.
    Log { superblock: Box<Superblock>, copies_intact: u32 },
}

/// Reads both copies.
pub(crate) async fn load(device: &dyn Device) -> Result<Found, OpenError> {
    if device.byte_len() < SEGMENTS_OFFSET {
        return Err(OpenError::TooShort {
            device: device.name().to_owned(),
            expected_bytes: SEGMENTS_OFFSET,
            actual_bytes: device.byte_len(),
            missing_bytes: SEGMENTS_OFFSET - device.byte_len(),
        });
    }
    let mut copies = Vec::with_capacity(2);
    for offset in COPY_OFFSETS {
        copies.push(match device.read(offset, BLOCK_BYTES).await {
            Ok(buffer) => judge(buffer.get(0..BLOCK_BYTES).unwrap_or_default()),
            // An unreadable sector is damage like any other; the other copy may be fine.
            Err(DeviceError::Io { .. }) => Copy::Damaged,
            Err(error) => return Err(error.into()),
        });
    }
    let device_name = || device.name().to_owned();
    let newer = copies.iter().find_map(|copy| if let Copy::Newer(version) = copy { Some(*version) } else { None });
    if let Some(found) = newer {
        return Err(OpenError::Version { device: device_name(), found, supported: FORMAT_VERSION });
    }
    let blank = copies.iter().filter(|copy| matches!(copy, Copy::Blank)).count();
    let mut intact: Vec<Superblock> = copies
        .into_iter()
        .filter_map(|copy| if let Copy::Intact(block) = copy { Some(*block) } else { None })
        .collect();
    intact.sort_by_key(|block| block.generation);
    let same = intact.windows(2).all(|pair| pair[0] == pair[1]);
    let copies_intact = if same { intact.len() as u32 } else { 1 };
    match (intact.pop(), blank) {
        (Some(superblock), _) => Ok(Found::Log { superblock: Box::new(superblock), copies_intact }),
        (None, 2) => Ok(Found::Blank),
        (None, 1) => Ok(Found::HalfCreated),
        (None, _) => Err(OpenError::SuperblocksDamaged { device: device_name() }),
    }
}

fn judge(block: &[u8]) -> Copy {
    match read_slot(block, MAGIC) {
        SlotRead::Blank => Copy::Blank,
        SlotRead::Damaged => Copy::Damaged,
        SlotRead::Valid => match Superblock::decode(block) {
            Ok(superblock) => Copy::Intact(Box::new(superblock)),
            Err(copy) => copy,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        Superblock {
            identity: *b"an identity of16",
            generation: 5,
            epoch: 2,
            geometry: Geometry { segment_bytes: SEGMENT_BYTES, segments: 40 },
            clean: true,
            durable: Lsn(123),
            next_sequence: 9,
            checkpoint: Some(CheckpointRef { id: 4, start: Lsn(99), segments: 2, chunks: 17 }),
        }
    }

    #[test]
    fn comes_back_with_and_without_a_checkpoint() {
        for checkpoint in [None, superblock().checkpoint] {
            let written = Superblock { checkpoint, ..superblock() };
            let block = written.encode();
            match judge(block.get(0..BLOCK_BYTES).expect("written")) {
                Copy::Intact(read) => assert_eq!(*read, written),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_newer_version_is_named_not_called_damage() {
        let mut slot = SlotBytes::new(MAGIC, FORMAT_VERSION + 1);
        slot.put(16, b"an identity of16");
        let block = slot.finish();
        assert!(matches!(judge(block.get(0..BLOCK_BYTES).expect("written")), Copy::Newer(2)));
    }
}
