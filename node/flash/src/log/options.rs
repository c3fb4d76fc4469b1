//! What a log is told when it opens, and the settled figures that follow from it and from the device.

use crate::buffer::BLOCK_BYTES;
use crate::location::{ENTRY_ALIGN, SEGMENT_BYTES, SEGMENTS_MAX, SegmentId};
use crate::log::entry::{HEADER_BYTES, MARK_BYTES};

/// Where segment 0 starts on the device: 1 MiB. Before it lie the two superblocks.
pub const SEGMENTS_OFFSET: u64 = 1 << 20;

/// Where entries start within a segment: behind two header slots and two seal slots of a block each.
pub const DATA_START: usize = 4 * BLOCK_BYTES;

/// Smallest segment that can be configured (tests use small ones); the largest, and the default, is [`SEGMENT_BYTES`].
pub const SEGMENT_BYTES_MIN: usize = 64 << 10;

/// Bytes of one device write or read at most: 1 MiB.
pub(crate) const IO_BYTES: usize = 1 << 20;

const _: () = {
    assert!(SEGMENT_BYTES_MIN > DATA_START + 2 * BLOCK_BYTES);
    assert!(SEGMENT_BYTES.is_multiple_of(BLOCK_BYTES) && SEGMENT_BYTES_MIN.is_multiple_of(BLOCK_BYTES));
    assert!(IO_BYTES.is_multiple_of(BLOCK_BYTES) && DATA_START.is_multiple_of(ENTRY_ALIGN));
    assert!(SEGMENTS_OFFSET.is_multiple_of(BLOCK_BYTES as u64));
};

/// When appended bytes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// As soon as anything was appended: one write and one sync serve all who wait, the next batch fills meanwhile.
    Group,
    /// Written once 1 MiB has gathered or the time has passed, synced when the time has passed or somebody waits.
    Interval {
        /// Longest time between an append and its sync, milliseconds.
        flush_ms: u64,
    },
}

/// How a log behaves. What the device already holds (segment size, identity) wins over what is asked for here.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How many segments the log may use; 0 = as many as the device holds. An existing log grows to it, never shrinks.
    pub segments: u32,
    /// Bytes of a segment of a log that is created now: a multiple of 4 KiB from 64 KiB to 8 MiB.
    pub segment_bytes: usize,
    /// Identity of the log. If it isn't all zeros, a device of another identity is refused.
    pub identity: [u8; 16],
    /// Identity of a log that is created now, where [`LogOptions::identity`] names none: random, or what an earlier log
    /// left on the device could pass for this one's.
    pub identity_if_new: [u8; 16],
    /// When appended bytes are made durable.
    pub sync: SyncPolicy,
    /// Budget of sealed segments kept in RAM after they were written, most recent first; `u64::MAX` = all.
    pub resident_bytes: u64,
    /// Bound of appended but not yet written bytes; beyond it an append says `Backpressure`.
    pub write_buffer_bytes: u64,
    /// Segments whose live bytes are below this share of a segment are evacuated, percent.
    pub defrag_live_percent: u8,
    /// Rate limit of evacuation (bytes read or moved), bytes a second.
    pub defrag_bytes_per_sec: u64,
    /// Segments kept free for deletes and defrag; 0 = 2% of all, at least 4.
    pub reserve_segments: u32,
    /// Fill the resident budget from the device in the background after opening.
    pub preload: bool,
}

impl LogOptions {
    /// What a log that is created now is called.
    pub(crate) fn identity_of_new(&self) -> [u8; 16] {
        if self.identity == [0; 16] { self.identity_if_new } else { self.identity }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segments: 0,
            segment_bytes: SEGMENT_BYTES,
            identity: [0; 16],
            identity_if_new: [0; 16],
            sync: SyncPolicy::Group,
            resident_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            defrag_live_percent: 50,
            defrag_bytes_per_sec: 64 << 20,
            reserve_segments: 0,
            preload: false,
        }
    }
}

impl LogOptions {
    /// Bytes that a device must have for this many segments of 8 MiB.
    pub fn device_bytes(segments: u32) -> u64 {
        Geometry { segment_bytes: SEGMENT_BYTES, segments }.device_bytes()
    }

    /// How a device of this many bytes is used, with segments of 8 MiB, the usual reserve and, where there are checkpoints,
    /// one segment for the last of them (a large index needs more).
    pub fn room(device_bytes: u64, checkpoints: bool) -> Room {
        let segments = device_bytes.saturating_sub(SEGMENTS_OFFSET) / SEGMENT_BYTES as u64;
        let segments = segments.min(SEGMENTS_MAX as u64) as u32;
        let reserve_segments = LogOptions::default().reserve(segments).min(segments);
        let checkpoint_segments = u32::from(checkpoints).min(segments - reserve_segments);
        let users = u64::from(segments - reserve_segments - checkpoint_segments);
        Room { segments, reserve_segments, checkpoint_segments, user_bytes: users * SEGMENT_BYTES as u64 }
    }

    /// The reserve that holds for a log of this many segments.
    pub(crate) fn reserve(&self, segments: u32) -> u32 {
        match self.reserve_segments {
            0 => (segments / 50).max(4),
            configured => configured.max(2),
        }
    }
}

/// How a log shares out its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Whole segments on the device.
    pub segments: u32,
    /// Of them, kept free for deletes and defrag.
    pub reserve_segments: u32,
    /// Of them, full of the index's last checkpoint, at the least.
    pub checkpoint_segments: u32,
    /// Bytes of the others: what records, their headers and what defrag hasn't taken back yet can fill.
    pub user_bytes: u64,
}

/// Sizes that never change while a log is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub segment_bytes: usize,
    pub segments: u32,
}

impl Geometry {
    /// The geometry of a log that is created on a device of `device_bytes`; the error says what is wrong.
    pub fn settle(options: &LogOptions, device_bytes: u64) -> Result<Self, String> {
        let segment_bytes = options.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES).contains(&segment_bytes) || !segment_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(format!(
                "segments of {segment_bytes} bytes: must be a multiple of {BLOCK_BYTES} between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES}"
            ));
        }
        let room = device_bytes.saturating_sub(SEGMENTS_OFFSET) / segment_bytes as u64;
        let room = room.min(SEGMENTS_MAX as u64) as u32;
        let segments = if options.segments == 0 { room } else { options.segments };
        let geometry = Geometry { segment_bytes, segments };
        if segments as usize > SEGMENTS_MAX {
            return Err(format!("{segments} segments: at most {SEGMENTS_MAX}"));
        }
        if segments > room {
            let wanted = geometry.device_bytes();
            return Err(format!("{segments} segments take {wanted} bytes, the device has {device_bytes}"));
        }
        let least = options.reserve(segments) + 3;
        if segments < least {
            return Err(format!(
                "{segments} segments: at least {least} with a reserve of {}",
                options.reserve(segments)
            ));
        }
        Ok(geometry)
    }

    /// Bytes of the device that the log uses.
    pub fn device_bytes(&self) -> u64 {
        SEGMENTS_OFFSET + u64::from(self.segments) * self.segment_bytes as u64
    }

    /// Where a byte of a segment lies on the device.
    pub fn device_offset(&self, segment: SegmentId, offset: usize) -> u64 {
        SEGMENTS_OFFSET + u64::from(segment.0) * self.segment_bytes as u64 + offset as u64
    }

    /// Bytes of a segment that entries, marks and padding may take.
    pub fn data_bytes(&self) -> u64 {
        (self.segment_bytes - DATA_START) as u64
    }

    /// The longest payload: what a segment holds beside its slots, one entry header and the mark behind it.
    pub fn payload_bytes_max(&self) -> usize {
        self.segment_bytes - DATA_START - HEADER_BYTES - MARK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_from_the_device_or_from_the_options_and_says_what_does_not_fit() {
        let device = LogOptions::device_bytes(20);
        let options = LogOptions::default();
        assert_eq!(Geometry::settle(&options, device).expect("fits").segments, 20);
        let asked = LogOptions { segments: 21, ..options.clone() };
        assert!(Geometry::settle(&asked, device).expect_err("too many").contains("21 segments take"));
        let small = LogOptions { segments: 6, ..options.clone() };
        assert!(Geometry::settle(&small, device).expect_err("the reserve").contains("at least 7"));
        let odd = LogOptions { segment_bytes: 70_000, ..options };
        assert!(Geometry::settle(&odd, device).is_err());
    }

    #[test]
    fn the_reserve_is_two_percent_and_at_least_four() {
        let options = LogOptions::default();
        assert_eq!((options.reserve(10), options.reserve(1_000)), (4, 20));
    }

    #[test]
    fn the_room_of_users_is_what_the_reserve_leaves() {
        let room = |mib: u64| LogOptions::room(mib << 20, true);
        let least = Room { segments: 7, reserve_segments: 4, checkpoint_segments: 1, user_bytes: 16 << 20 };
        assert_eq!((room(64), LogOptions::room(64 << 20, false).user_bytes), (least, 24 << 20));
        assert_eq!((room(1_024).segments, room(1_024).user_bytes), (127, 976 << 20));
        assert_eq!((room(0).user_bytes, room(16).user_bytes), (0, 0));
    }
}
