//! Opening a log: slots, tail, checkpoint, replay; then a new epoch.

use std::sync::Arc;

use crate::buffer::SegmentBuffer;
use crate::device::{Device, DeviceError};
use crate::location::{Location, Lsn, SegmentId};
use crate::log::append::Head;
use crate::log::create::{create, fresh, hex, read_all_slots, write_blocks};
use crate::log::entry::{Kind, Seed};
use crate::log::error::OpenError;
use crate::log::options::{DATA_START, Geometry, LogOptions};
use crate::log::prepare::{make_buffer, pool};
use crate::log::reader::WindowReader;
use crate::log::segment::{Seal, SegmentHeader, SegmentSlots, SlotKind, Use, slot_offset};
use crate::log::shared::{Shared, is_volatile};
use crate::log::superblock::{self, CheckpointRef, Found as FoundSuperblock, Superblock};
use crate::log::table::{Opened, SegmentState, Table};
use crate::log::tail::{self, Found, Tail, TornTail};
use crate::log::walk::SegmentMeta;

/// Sequences that are skipped after a crash: more than could have been opened without a trace on the device.
const SEQUENCES_SKIPPED: u64 = 1_024;

/// Damaged places that a report names one by one; the totals count all.
const DAMAGE_NAMED_MAX: usize = 1_024;

/// Takes what recovery finds, in order. Implemented by the store.
pub trait Replay: Send {
    /// Comes before the chunks of a checkpoint: which of the locations in them still hold. The others are superseded by
    /// entries that follow, or are gone.
    fn checkpoint(&mut self, _view: &CheckpointView) {}
    /// A chunk as the [`crate::log::CheckpointSource`] gave it. An error gives the whole checkpoint up.
    fn checkpoint_chunk(&mut self, chunk: &[u8]) -> Result<(), String>;
    /// The checkpoint turned out damaged: forget everything, a full replay follows.
    fn reset(&mut self);
    /// Every intact entry behind the checkpoint, in log order (rising numbers).
    fn entry(&mut self, location: Location, lsn: Lsn, payload: &[u8]);
    /// Called now and then.
    fn progress(&mut self, _done_bytes: u64, _total_bytes: u64) {}
}

/// Tells which locations of a checkpoint still hold.
#[derive(Clone, Debug)]
pub struct CheckpointView {
    start: Lsn,
    /// Sequence of each segment's use, `u64::MAX` where there are no entries.
    sequences: Arc<[u64]>,
}

impl CheckpointView {
    /// Replay goes on from here.
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// When the entry was appended. `None`: it lies in a segment that was freed or used again since, or it will be
    /// replayed anyway; leave it out.
    pub fn lsn_of(&self, location: Location) -> Option<Lsn> {
        let sequence = *self.sequences.get(location.segment().0 as usize)?;
        let lsn = Lsn::new(sequence.min(u64::MAX >> 24), location.offset());
        (sequence != u64::MAX && lsn < self.start).then_some(lsn)
    }
}

/// What became of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointOutcome {
    /// There was none.
    None,
    /// It was read; replay began at `start`.
    Loaded {
        /// Chunks read.
        chunks: u32,
        /// Where replay began.
        start: Lsn,
    },
    /// It couldn't be read; everything was replayed.
    Damaged {
        /// What was wrong.
        reason: String,
    },
}

/// Bytes that were durable once and hold no intact entry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: SegmentId,
    /// First byte within it; 0 = its header, so everything in it.
    pub offset: usize,
    /// How many bytes.
    pub bytes: u64,
    /// Where that lies on the device.
    pub device_offset: u64,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The device was blank, the log is new.
    pub created: bool,
    /// It had been closed in order.
    pub clean: bool,
    /// The epoch that begins.
    pub epoch: u64,
    /// Segments of the log.
    pub segments: u32,
    /// The checkpoint.
    pub checkpoint: CheckpointOutcome,
    /// Entries replayed.
    pub entries: u64,
    /// Bytes read for it.
    pub replayed_bytes: u64,
    /// What was dropped at the end, never acknowledged.
    pub torn_tail: Option<TornTail>,
    /// Damaged places, the first 1,024 of them.
    pub damage: Vec<Damage>,
    /// How many damaged places there are.
    pub damaged_places: u64,
    /// Bytes in them.
    pub damaged_bytes: u64,
    /// Log numbers that are known to have been durable and that no segment holds any more.
    pub missing: Option<std::ops::Range<u64>>,
    /// Headers and superblocks of which one copy was unreadable or out of date and was written again.
    pub repaired_copies: u32,
}

impl OpenReport {
    fn damage(&mut self, geometry: Geometry, segment: SegmentId, offset: usize, bytes: u64) {
        self.damaged_places += 1;
        self.damaged_bytes += bytes;
        if self.damage.len() < DAMAGE_NAMED_MAX {
            let device_offset = geometry.device_offset(segment, offset);
            self.damage.push(Damage { segment, offset, bytes, device_offset });
        }
    }
}

/// Opens or creates the log; what is running afterwards is up to the caller.
pub(crate) async fn open(
    device: Arc<dyn Device>,
    options: LogOptions,
    replay: &mut dyn Replay,
) -> Result<(Shared, OpenReport), OpenError> {
    let mut created = false;
    let (mut superblock, copies_intact) = if is_volatile(&*device) {
        created = true;
        let settled = Geometry::settle(&options, device.byte_len());
        let geometry = settled.map_err(|message| OpenError::Options { device: device.name().to_owned(), message })?;
        (fresh(options.identity_of_new(), geometry), 2)
    } else {
        match superblock::load(&*device).await? {
            FoundSuperblock::Log { superblock, copies_intact } => (*superblock, copies_intact),
            FoundSuperblock::Blank | FoundSuperblock::HalfCreated => {
                create(&device, options.identity_of_new(), &options).await?;
                created = true;
                match superblock::load(&*device).await? {
                    FoundSuperblock::Log { superblock, .. } => (*superblock, 2),
                    _ => return Err(OpenError::SuperblocksDamaged { device: device.name().to_owned() }),
                }
            }
        }
    };
    admit(&*device, &options, &mut superblock)?;
    let mut report = OpenReport {
        created,
        clean: superblock.clean,
        epoch: superblock.epoch + 1,
        segments: superblock.geometry.segments,
        checkpoint: CheckpointOutcome::None,
        entries: 0,
        replayed_bytes: 0,
        torn_tail: None,
        damage: Vec::new(),
        damaged_places: 0,
        damaged_bytes: 0,
        missing: None,
        repaired_copies: 2 - copies_intact,
    };
    let resident_budget = if is_volatile(&*device) { u64::MAX } else { options.resident_bytes };
    let table = Table::new(superblock.geometry, resident_budget);
    if is_volatile(&*device) {
        superblock.epoch += 1;
        table.ids().for_each(|id| table.set_free(id));
        return finish(device, options, superblock, table, 0).await.map(|shared| (shared, report));
    }
    let slots = read_all_slots(&device, superblock.geometry, &superblock.identity).await?;
    let (data, tail) = settle(&device, &mut superblock, &slots, &mut report).await?;
    let data = &data[..tail.keep];
    occupy(&table, &superblock, &slots, data, &tail);
    let metas: Vec<SegmentMeta> =
        data.iter().map(|found| found.meta(&superblock.identity, superblock.geometry)).collect();
    let start = load_checkpoint(&device, &mut superblock, &slots, &table, replay, &mut report).await?;
    replay_from(&device, superblock.geometry, metas, start, replay, &mut report).await?;
    let last_sequence = data.last().map_or(0, |found| found.header.sequence);
    finish(device, options, superblock, table, last_sequence).await.map(|shared| (shared, report))
}

/// Whether this device is the whole of the right one; a log grows when its device has.
fn admit(device: &dyn Device, options: &LogOptions, superblock: &mut Superblock) -> Result<(), OpenError> {
    let device_name = || device.name().to_owned();
    if options.identity != [0; 16] && options.identity != superblock.identity {
        let (found, expected) = (hex(&superblock.identity), hex(&options.identity));
        return Err(OpenError::WrongIdentity { device: device_name(), found, expected });
    }
    let (expected_bytes, actual_bytes) = (superblock.geometry.device_bytes(), device.byte_len());
    if actual_bytes < expected_bytes {
        let missing_bytes = expected_bytes - actual_bytes;
        return Err(OpenError::TooShort { device: device_name(), expected_bytes, actual_bytes, missing_bytes });
    }
    let asked = LogOptions { segment_bytes: superblock.geometry.segment_bytes, ..options.clone() };
    let asked = if asked.segments <= superblock.geometry.segments && asked.segments != 0 {
        LogOptions { segments: superblock.geometry.segments, ..asked }
    } else {
        asked
    };
    let settled = Geometry::settle(&asked, actual_bytes);
    superblock.geometry = settled.map_err(|message| OpenError::Options { device: device_name(), message })?;
    Ok(())
}

/// Finds the end of the log and makes that, repaired headers and the new epoch durable. The order matters: a crash in
/// between leads the next opening to the same end.
async fn settle(
    device: &Arc<dyn Device>,
    superblock: &mut Superblock,
    slots: &[SegmentSlots],
    report: &mut OpenReport,
) -> Result<(Vec<Found>, Tail), OpenError> {
    let (geometry, identity) = (superblock.geometry, superblock.identity);
    let ids = || (0..).map(SegmentId);
    for (id, _) in ids().zip(slots).filter(|(_, slots)| slots.damaged) {
        report.damage(geometry, id, 0, geometry.segment_bytes as u64);
    }
    let headers = || ids().zip(slots).filter_map(|(id, slots)| slots.header.map(|header| (id, header, slots.seal)));
    let of_data = headers().filter(|(_, header, _)| header.usage == Use::Data);
    let mut data: Vec<Found> = of_data.map(|(id, header, seal)| Found { id, header, seal }).collect();
    data.sort_unstable_by_key(|found| found.header.sequence);
    let evidence =
        headers().flat_map(|(_, header, seal)| [header.durable, seal.map_or(Lsn(0), |seal| seal.durable)]).max();
    let evidence = evidence.unwrap_or_default().max(superblock.durable);
    let mut tail = tail::find(device.clone(), geometry, &identity, &data, evidence).await?;
    report.torn_tail = tail.torn;
    report.missing = tail.missing.clone();
    // Another process's writes may still be on their way to the medium; from here on they count as durable.
    device.sync().await?;
    let mut first_copies: Vec<(u64, Arc<SegmentBuffer>)> = Vec::new();
    let mut second_copies: Vec<(u64, Arc<SegmentBuffer>)> = Vec::new();
    let at = |id, kind, copy| geometry.device_offset(id, slot_offset(kind, copy));
    let mut both = |id, kind, block: Arc<SegmentBuffer>| {
        first_copies.push((at(id, kind, 0), block.clone()));
        second_copies.push((at(id, kind, 1), block));
    };
    let current = superblock.checkpoint.map(|checkpoint| checkpoint.id);
    let dropped = data[tail.keep..].iter().map(|found| (found.id, found.header));
    let stale =
        headers().filter(|(_, header, _)| header.usage == Use::Checkpoint && Some(header.checkpoint_id) != current);
    let ended: Vec<(SegmentId, SegmentHeader)> = dropped.chain(stale.map(|(id, header, _)| (id, header))).collect();
    for (id, header) in &ended {
        both(*id, SlotKind::Header, header.freed(tail.evidence).encode(&identity));
    }
    for (id, header, _) in headers().filter(|(id, ..)| !ended.iter().any(|(ended, _)| ended == id)) {
        // Only the copy that doesn't count is written: the other one stays whole whatever happens.
        if let Some(copy) = slots[id.0 as usize].stale_copy {
            second_copies.push((at(id, SlotKind::Header, copy), header.encode(&identity)));
            report.repaired_copies += 1;
        }
    }
    write_copies(device, first_copies, second_copies).await?;
    // Only now, with nothing behind it left, may the last segment's end be set.
    let (mut first_copies, mut second_copies) = (Vec::new(), Vec::new());
    for (index, end) in &tail.ends {
        let found = &mut data[*index];
        let (segment, sequence) = (found.id, found.header.sequence);
        let seal = Seal { segment, sequence, end: *end, recovered: true, durable: tail.evidence };
        found.seal = Some(seal);
        first_copies.push((at(segment, SlotKind::Seal, 0), seal.encode(&identity)));
        second_copies.push((at(segment, SlotKind::Seal, 1), seal.encode(&identity)));
    }
    write_copies(device, first_copies, second_copies).await?;
    let used = headers().map(|(_, header, _)| header.sequence + 1).max().unwrap_or(1);
    let next = superblock.next_sequence.max(used).max(tail.end.segment_sequence() + 1);
    superblock.next_sequence = if superblock.clean { next } else { next + SEQUENCES_SKIPPED };
    superblock.durable = superblock.durable.max(tail.end);
    superblock.epoch += 1;
    superblock.clean = false;
    superblock.store(&**device).await?;
    tail.evidence = tail.end;
    Ok((data, tail))
}

/// First copies, sync, second copies, sync: one copy of each slot is whole at any moment.
async fn write_copies(
    device: &Arc<dyn Device>,
    first: Vec<(u64, Arc<SegmentBuffer>)>,
    second: Vec<(u64, Arc<SegmentBuffer>)>,
) -> Result<(), DeviceError> {
    for copies in [first, second] {
        if !copies.is_empty() {
            write_blocks(device, copies).await?;
            device.sync().await?;
        }
    }
    Ok(())
}

/// Enters what was found into the table; everything else is free.
fn occupy(table: &Table, superblock: &Superblock, slots: &[SegmentSlots], data: &[Found], tail: &Tail) {
    let enter = |id: SegmentId, header: &SegmentHeader, state, end| {
        let seed = Seed::new(&superblock.identity, id, header.sequence, header.epoch);
        let opened = Opened { sequence: header.sequence, previous: header.previous, epoch: header.epoch, seed };
        table.open(id, state, opened, end);
    };
    for found in data {
        let end = found.seal.map_or(superblock.geometry.segment_bytes, |seal| seal.end);
        enter(found.id, &found.header, SegmentState::Sealed, end);
    }
    debug_assert!(data.len() == tail.keep);
    let current = superblock.checkpoint.map(|checkpoint| checkpoint.id);
    for (id, slots) in table.ids().zip(slots) {
        match slots.header {
            Some(header) if header.usage == Use::Checkpoint && Some(header.checkpoint_id) == current => {
                enter(id, &header, SegmentState::Checkpoint, superblock.geometry.segment_bytes);
            }
            _ if slots.damaged => table.set_state(id, SegmentState::Damaged),
            _ if table.state(id) == SegmentState::Free => table.set_free(id),
            _ => {}
        }
    }
}

/// Hands the checkpoint to the owner; returns where replay starts.
async fn load_checkpoint(
    device: &Arc<dyn Device>,
    superblock: &mut Superblock,
    slots: &[SegmentSlots],
    table: &Table,
    replay: &mut dyn Replay,
    report: &mut OpenReport,
) -> Result<Lsn, OpenError> {
    let Some(reference) = superblock.checkpoint else { return Ok(Lsn(0)) };
    let sequences =
        table.ids().map(|id| if table.state(id).holds_data() { table.sequence(id) } else { u64::MAX }).collect();
    replay.checkpoint(&CheckpointView { start: reference.start, sequences });
    match read_checkpoint(device, superblock, slots, reference, replay).await? {
        Ok(()) => {
            report.checkpoint = CheckpointOutcome::Loaded { chunks: reference.chunks, start: reference.start };
            Ok(reference.start)
        }
        Err(reason) => {
            tracing::error!(reason, "the checkpoint is given up, everything is replayed");
            report.checkpoint = CheckpointOutcome::Damaged { reason };
            superblock.checkpoint = None;
            replay.reset();
            Ok(Lsn(0))
        }
    }
}

async fn read_checkpoint(
    device: &Arc<dyn Device>,
    superblock: &Superblock,
    slots: &[SegmentSlots],
    reference: CheckpointRef,
    replay: &mut dyn Replay,
) -> Result<Result<(), String>, DeviceError> {
    let mut parts: Vec<SegmentHeader> = slots.iter().filter_map(|slots| slots.header).collect();
    parts.retain(|header| header.usage == Use::Checkpoint && header.checkpoint_id == reference.id);
    parts.sort_unstable_by_key(|header| header.checkpoint_index);
    let complete = parts.iter().zip(0..).all(|(header, index)| header.checkpoint_index == index);
    if !complete || parts.len() != reference.segments as usize {
        return Ok(Err(format!("{} of its {} segments are there", parts.len(), reference.segments)));
    }
    let meta = |header: &SegmentHeader| SegmentMeta {
        id: header.segment,
        sequence: header.sequence,
        seed: Seed::new(&superblock.identity, header.segment, header.sequence, header.epoch),
        start: DATA_START,
        end: superblock.geometry.segment_bytes,
    };
    let mut reader =
        WindowReader::new(device.clone(), superblock.geometry, parts.iter().map(meta).collect(), Kind::Chunk);
    let mut chunks = 0;
    while let Some(window) = reader.next().await {
        let window = window?;
        if let Some(range) = window.damage.first() {
            let segment = reader.metas()[window.index].id.0;
            return Ok(Err(format!("segment {segment} is damaged at {}", range.start)));
        }
        for (_, _, chunk) in window.batches.iter().flat_map(|batch| batch.iter()) {
            chunks += 1;
            if let Err(reason) = replay.checkpoint_chunk(chunk) {
                return Ok(Err(reason));
            }
        }
    }
    Ok(if chunks == reference.chunks {
        Ok(())
    } else {
        Err(format!("{chunks} of its {} chunks are there", reference.chunks))
    })
}

/// Hands every intact entry from `start` on to the owner.
async fn replay_from(
    device: &Arc<dyn Device>,
    geometry: Geometry,
    mut metas: Vec<SegmentMeta>,
    start: Lsn,
    replay: &mut dyn Replay,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    metas.retain(|meta| Lsn::new(meta.sequence, meta.end) > start);
    if let Some(first) = metas.first_mut().filter(|meta| Lsn::new(meta.sequence, meta.start) < start) {
        first.start = (start.0 - Lsn::new(first.sequence, 0).0) as usize;
    }
    let total_bytes: u64 = metas.iter().map(|meta| (meta.end - meta.start) as u64).sum();
    let mut reader = WindowReader::new(device.clone(), geometry, metas, Kind::Data);
    while let Some(window) = reader.next().await {
        let window = window?;
        report.replayed_bytes += window.bytes as u64;
        for (location, lsn, payload) in window.batches.iter().flat_map(|batch| batch.iter()) {
            report.entries += 1;
            replay.entry(location, lsn, payload);
        }
        let segment = reader.metas()[window.index].id;
        for range in window.damage {
            report.damage(geometry, segment, range.start, range.len() as u64);
        }
        replay.progress(report.replayed_bytes.min(total_bytes), total_bytes);
        // Replaying is hours of work for nobody else: let the runtime breathe between windows.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn finish(
    device: Arc<dyn Device>,
    options: LogOptions,
    superblock: Superblock,
    table: Table,
    last_sequence: u64,
) -> Result<Shared, OpenError> {
    table.find_oldest();
    let mut head = Head::new(superblock.next_sequence, last_sequence);
    let start = Lsn::new(superblock.next_sequence, DATA_START);
    // The first append opens a segment: an opening that appends nothing uses none.
    let buffers = pool(superblock.geometry.segment_bytes);
    head.prepared = make_buffer(&buffers, superblock.geometry.segment_bytes).await.into_iter().collect();
    Ok(Shared::new(device, options, superblock, table, buffers, head, start))
}
