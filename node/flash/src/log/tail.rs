//! Where a log that wasn't closed in order ends: a torn tail was never acknowledged, rot before it was.

use std::ops::Range;
use std::sync::Arc;

use crate::device::{Device, DeviceError};
use crate::location::{Lsn, SegmentId};
use crate::log::entry::{Kind, Seed};
use crate::log::options::{DATA_START, Geometry};
use crate::log::reader::WindowReader;
use crate::log::segment::{Seal, SegmentHeader};
use crate::log::walk::SegmentMeta;

/// A data segment that was found on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub id: SegmentId,
    pub header: SegmentHeader,
    pub seal: Option<Seal>,
}

impl Found {
    pub fn meta(&self, identity: &[u8; 16], geometry: Geometry) -> SegmentMeta {
        let seed = Seed::new(identity, self.id, self.header.sequence, self.header.epoch);
        let end = self.seal.map_or(geometry.segment_bytes, |seal| seal.end);
        SegmentMeta { id: self.id, sequence: self.header.sequence, seed, start: DATA_START, end }
    }

    fn lsn(&self, offset: usize) -> Lsn {
        Lsn::new(self.header.sequence, offset)
    }
}

/// A tail that was dropped: it was never acknowledged as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The log ends here.
    pub end: Lsn,
    /// Intact entries behind an unreadable one, dropped with it.
    pub dropped_entries: u64,
    /// Segments that lay wholly behind the end.
    pub dropped_segments: u32,
}

/// What was found out about the end of the log.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Everything before this was durable, as far as the device can prove.
    pub evidence: Lsn,
    /// The log ends here.
    pub end: Lsn,
    /// So many of the data segments belong to it.
    pub keep: usize,
    /// Ends of kept segments that no seal names, or names differently: index and offset.
    pub ends: Vec<(usize, usize)>,
    pub torn: Option<TornTail>,
    /// Durable bytes that no segment holds any more.
    pub missing: Option<Range<u64>>,
}

/// What a walk through one segment of the tail brought up.
#[derive(Default)]
struct Walked {
    entries: Vec<usize>,
    damage: Vec<Range<usize>>,
    /// Ends of groups; the last one of a sealed segment is its end.
    group_ends: Vec<usize>,
    sealed_at: Option<usize>,
}

/// Looks at every segment that reaches beyond `evidence` (what superblock, headers and seals prove to be durable).
/// `data` is sorted by sequence.
pub(crate) async fn find(
    device: Arc<dyn Device>,
    geometry: Geometry,
    identity: &[u8; 16],
    data: &[Found],
    evidence: Lsn,
) -> Result<Tail, DeviceError> {
    let metas: Vec<SegmentMeta> = data.iter().map(|found| found.meta(identity, geometry)).collect();
    let first = metas.iter().position(|meta| Lsn::new(meta.sequence, meta.end) > evidence).unwrap_or(metas.len());
    let mut evidence = evidence;
    let mut walked: Vec<Walked> = metas[first..].iter().map(|_| Walked::default()).collect();
    let mut reader = WindowReader::new(device, geometry, metas[first..].to_vec(), Kind::Data);
    while let Some(window) = reader.next().await {
        let window = window?;
        let segment = &mut walked[window.index];
        for batch in &window.batches {
            segment.entries.extend(batch.iter().map(|(location, _, _)| location.offset()));
        }
        segment.damage.extend(window.damage);
        for (mark, next) in window.marks {
            // A mark is only ever written with what was durable at that moment, wherever it is found.
            evidence = evidence.max(mark.durable);
            segment.group_ends.push(next);
            if mark.seals {
                segment.sealed_at = Some(next);
            }
        }
    }
    Ok(judge(geometry, data, &metas, first, &walked, evidence))
}

fn judge(
    geometry: Geometry,
    data: &[Found],
    metas: &[SegmentMeta],
    first: usize,
    walked: &[Walked],
    evidence: Lsn,
) -> Tail {
    let mut tail = Tail { evidence, end: evidence, keep: first, ends: Vec::new(), torn: None, missing: None };
    let mut end = first.checked_sub(1).map(|last| Lsn::new(metas[last].sequence, metas[last].end)).unwrap_or_default();
    let mut clean_end = true;
    for (index, found) in data.iter().enumerate().skip(first) {
        let walk = &walked[index - first];
        let before = index.checked_sub(1).map_or(0, |before| data[before].header.sequence);
        // A predecessor that isn't there was freed, if what it held is known to have been durable; else it was lost
        // with the crash, and what follows it was never acknowledged.
        let follows = found.header.previous == before || evidence >= Lsn::new(found.header.previous + 1, 0);
        if !follows {
            clean_end = false;
            break;
        }
        tail.keep = index + 1;
        let known_end = walk.sealed_at.unwrap_or(metas[index].end);
        let torn = walk.damage.iter().find(|range| found.lsn(range.end) > evidence && range.end > range.start);
        let torn_at = torn.map(|range| found.lsn(range.start).max(evidence));
        let offset = torn_at.map_or(known_end, |at| (at.0 - found.lsn(0).0) as usize);
        end = found.lsn(offset);
        if found.seal.is_none_or(|seal| seal.end != offset) {
            tail.ends.push((index, offset));
        }
        if torn_at.is_some() {
            clean_end = offset == DATA_START || end == evidence || walk.group_ends.contains(&offset);
            break;
        }
    }
    let behind = |offset: &&usize, found: &Found| found.lsn(**offset) >= end;
    let dropped_entries: usize = data
        .iter()
        .enumerate()
        .skip(first)
        .map(|(index, found)| walked[index - first].entries.iter().filter(|offset| behind(offset, found)).count())
        .sum();
    let dropped_segments = (data.len() - tail.keep) as u32;
    if !clean_end || dropped_entries > 0 || dropped_segments > 0 {
        tail.torn = Some(TornTail { end, dropped_entries: dropped_entries as u64, dropped_segments });
    }
    // The evidence may name the start of a segment that never got an entry; anything beyond that must be somewhere.
    let holder = (evidence.0.saturating_sub(1)) / crate::location::SEGMENT_BYTES as u64;
    let held = data[..tail.keep].iter().any(|found| found.header.sequence >= holder);
    if evidence > end && evidence > Lsn::new(holder, DATA_START) && !held {
        tail.missing = Some(end.0..evidence.0);
    }
    debug_assert!(tail.keep <= data.len() && geometry.segment_bytes >= DATA_START);
    tail.end = end.max(evidence);
    tail
}
