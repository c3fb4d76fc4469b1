//! Making a log on a blank device, and reading the slots of all segments.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::device::{Device, DeviceError};
use crate::location::{Lsn, SegmentId};
use crate::log::error::OpenError;
use crate::log::options::{DATA_START, Geometry, LogOptions};
use crate::log::segment::{SegmentHeader, SegmentSlots, SlotKind, Use, read_slots, slot_offset};
use crate::log::shared::{is_volatile, write_block};
use crate::log::superblock::{self, Found, Superblock};

/// Reads and writes of slots in flight at most.
const SLOTS_AHEAD: usize = 64;

/// A whole number of hex digits, for messages.
pub(crate) fn hex(identity: &[u8; 16]) -> String {
    identity.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The superblock of a log that has never held anything.
pub(crate) fn fresh(identity: [u8; 16], geometry: Geometry) -> Superblock {
    Superblock {
        identity,
        generation: 0,
        epoch: 0,
        geometry,
        clean: true,
        durable: Lsn(0),
        next_sequence: 1,
        checkpoint: None,
    }
}

/// Makes an empty log on the device. A log that is there already is never overwritten.
pub(crate) async fn create(
    device: &Arc<dyn Device>,
    identity: [u8; 16],
    options: &LogOptions,
) -> Result<(), OpenError> {
    let device_name = || device.name().to_owned();
    let geometry = Geometry::settle(options, device.byte_len())
        .map_err(|message| OpenError::Options { device: device_name(), message })?;
    if is_volatile(&**device) {
        return Ok(());
    }
    match superblock::load(&**device).await? {
        Found::Blank => {}
        Found::HalfCreated => {
            let slots = read_all_slots(device, geometry, &identity).await?;
            if slots.iter().any(|slots| slots.header.is_some() || slots.damaged) {
                return Err(OpenError::SuperblocksDamaged { device: device_name() });
            }
        }
        Found::Log { superblock, .. } => {
            return Err(OpenError::Exists { device: device_name(), identity: hex(&superblock.identity) });
        }
    }
    // What an earlier use of the device left where headers belong would look like rot.
    let slots = read_all_slots(device, geometry, &identity).await?;
    let junk = slots.iter().zip(0..).filter(|(slots, _)| slots.damaged || slots.header.is_some());
    let blocks: Vec<(u64, Arc<SegmentBuffer>)> = junk
        .flat_map(|(_, id)| {
            let block = nothing(SegmentId(id)).encode(&identity);
            [0, 1]
                .map(|copy| (geometry.device_offset(SegmentId(id), slot_offset(SlotKind::Header, copy)), block.clone()))
        })
        .collect();
    if !blocks.is_empty() {
        write_blocks(device, blocks).await?;
        device.sync().await?;
    }
    fresh(identity, geometry).store(&**device).await?;
    Ok(())
}

/// The header of a segment that was never used.
fn nothing(segment: SegmentId) -> SegmentHeader {
    SegmentHeader {
        usage: Use::Free,
        segment,
        sequence: 0,
        previous: 0,
        epoch: 0,
        durable: Lsn(0),
        checkpoint_id: 0,
        checkpoint_index: 0,
    }
}

/// Writes single blocks, many at a time.
pub(crate) async fn write_blocks(
    device: &Arc<dyn Device>,
    blocks: Vec<(u64, Arc<SegmentBuffer>)>,
) -> Result<(), DeviceError> {
    stream::iter(blocks)
        .map(|(offset, block)| write_block(&**device, offset, block))
        .buffer_unordered(SLOTS_AHEAD)
        .try_collect()
        .await
}

/// The slots of every segment, in order.
pub(crate) async fn read_all_slots(
    device: &Arc<dyn Device>,
    geometry: Geometry,
    identity: &[u8; 16],
) -> Result<Vec<SegmentSlots>, DeviceError> {
    let read = |id: u32| async move {
        let start = geometry.device_offset(SegmentId(id), 0);
        let slots = |bytes: &[u8]| read_slots(bytes, identity, SegmentId(id), geometry.segment_bytes);
        match device.read(start, DATA_START).await {
            Ok(buffer) => Ok(slots(buffer.get(0..DATA_START).unwrap_or_default())),
            Err(DeviceError::Io { .. }) => {
                // A sector can't be read: the other copy lies in another one. What can't be read is no blank slot.
                let mut bytes = vec![0xff; DATA_START];
                for (block, at) in bytes.chunks_mut(BLOCK_BYTES).zip((start..).step_by(BLOCK_BYTES)) {
                    match device.read(at, BLOCK_BYTES).await {
                        Ok(buffer) => block.copy_from_slice(buffer.get(0..BLOCK_BYTES).unwrap_or(&[0xff; BLOCK_BYTES])),
                        Err(DeviceError::Io { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(slots(&bytes))
            }
            Err(error) => Err(error),
        }
    };
    stream::iter(0..geometry.segments).map(read).buffered(SLOTS_AHEAD).try_collect().await
}
