//! The node's hottest write path: one short lock, one copy into the open segment, a wake-up only when it is needed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer, SegmentWriter};
use crate::location::{ENTRY_ALIGN, Location, Lsn, SegmentId};
use crate::log::entry::{self, Kind, MARK_BYTES, Mark, Seed};
use crate::log::error::AppendError;
use crate::log::options::SyncPolicy;
use crate::log::segment::{SlotKind, Use};
use crate::log::shared::{Shared, SlotWrite, Then};
use crate::log::table::SegmentState;

/// Who appends: deletes and defrag may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendKind {
    /// A write of the user.
    User,
    /// A delete, which in the end makes room.
    Delete,
    /// A live entry that leaves a segment.
    Relocate,
}

/// Where an entry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub location: Location,
    /// The number of its start: later appends have higher ones.
    pub lsn: Lsn,
    /// It is durable once the log's durable number is at least this.
    pub end: Lsn,
}

/// The segment that takes appends.
pub(crate) struct OpenSegment {
    pub writer: SegmentWriter,
    pub segment: SegmentId,
    pub sequence: u64,
    pub seed: Seed,
    /// Bytes before this are on their way to the device or there.
    pub flushed_to: usize,
}

/// Bytes of one segment that are to be written.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub buffer: Arc<SegmentBuffer>,
    pub segment: SegmentId,
    pub start: usize,
    pub end: usize,
    /// The segment is full: once this is durable its buffer counts as a resident.
    pub sealed: bool,
}

/// What one flush writes.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    pub pieces: Vec<Piece>,
    pub slots: Vec<SlotWrite>,
    /// Durable once this cut is.
    pub end: Lsn,
    /// `appended_bytes` when it was cut.
    pub appended_bytes: u64,
}

/// Everything behind the append lock.
pub(crate) struct Head {
    pub open: Option<OpenSegment>,
    pub next_sequence: u64,
    /// Sequence of the last data segment that was opened.
    pub last_sequence: u64,
    /// Pieces of segments that were sealed since the last cut.
    pub sealed: Vec<Piece>,
    /// Buffers ready to become the open segment, their pages touched.
    pub prepared: VecDeque<SegmentWriter>,
    pub appended_bytes: u64,
    /// The flusher wants to be woken when `appended_bytes` reaches this.
    pub wake_at: u64,
    pub closed: bool,
}

impl Head {
    pub fn new(next_sequence: u64, last_sequence: u64) -> Self {
        Head {
            open: None,
            next_sequence,
            last_sequence,
            sealed: Vec::new(),
            prepared: VecDeque::new(),
            appended_bytes: 0,
            wake_at: 0,
            closed: false,
        }
    }
}

impl Shared {
    /// Appends an entry whose payload is the parts one after the other, and counts it live.
    pub fn append(&self, parts: &[&[u8]], kind: AppendKind) -> Result<Appended, AppendError> {
        let payload_bytes = parts.iter().map(|part| part.len()).sum();
        let payload_bytes_max = self.geometry.payload_bytes_max();
        if payload_bytes > payload_bytes_max {
            return Err(AppendError::TooLarge { payload_bytes, payload_bytes_max });
        }
        // The expensive part needs no lock: where the entry goes is mixed in afterwards.
        let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let total = entry::total_bytes(payload_bytes);
        if let Some(reason) = self.poisoned() {
            return Err(AppendError::Poisoned(reason.to_owned()));
        }
        let mut guard = self.head.lock();
        let head = &mut *guard;
        if head.closed {
            return Err(AppendError::Closed);
        }
        if !self.volatile {
            let unwritten = head.appended_bytes - self.written_bytes.load(Ordering::Relaxed).min(head.appended_bytes);
            if unwritten >= self.options.write_buffer_bytes {
                self.counters.backpressure.fetch_add(1, Ordering::Relaxed);
                return Err(AppendError::Backpressure);
            }
        }
        if kind == AppendKind::User && self.table.free_segments() < self.reserve_segments {
            return Err(self.stop_writes());
        }
        let fits = head.open.as_ref().is_some_and(|open| total + MARK_BYTES <= open.writer.room());
        if !fits {
            self.rotate(head, kind)?;
        }
        let Some(open) = head.open.as_mut() else { return Err(AppendError::Backpressure) };
        let offset = open.writer.position();
        let header = entry::header(open.seed, offset, Kind::Data, payload_bytes, crc);
        let whole = open.writer.append(&[&header]) && open.writer.append(parts);
        open.writer.pad_to(ENTRY_ALIGN);
        let location = Location::new(open.segment, offset, total);
        let (Some(location), true) = (location, whole) else {
            // Room was made above; if it isn't there, this log can't be trusted with anything more.
            drop(guard);
            return Err(AppendError::Poisoned(self.poison("an entry outgrew its segment".to_owned()).reason));
        };
        let (lsn, end) = (Lsn::new(open.sequence, offset), Lsn::new(open.sequence, offset + total));
        self.table.add_entry(location.segment(), total);
        self.head_lsn.store(end.0, Ordering::Release);
        head.appended_bytes += total as u64;
        let wake = head.appended_bytes >= head.wake_at;
        if wake {
            head.wake_at = u64::MAX;
        }
        drop(guard);
        if wake && !self.volatile {
            self.flush_wake.notify_one();
        }
        Ok(Appended { location, lsn, end })
    }

    fn stop_writes(&self) -> AppendError {
        self.counters.stop_writes.fetch_add(1, Ordering::Relaxed);
        self.defrag_wake.notify_one();
        AppendError::StopWrites { free_segments: self.table.free_segments(), reserve_segments: self.reserve_segments }
    }

    /// Free segments that an append of this kind leaves alone.
    fn kept_from(&self, kind: AppendKind) -> u32 {
        match kind {
            AppendKind::User => self.reserve_segments,
            // The last ones are for moving: without them nothing could ever be freed again.
            AppendKind::Delete => (self.reserve_segments / 2).max(1),
            AppendKind::Relocate => 0,
        }
    }

    /// Seals the open segment and opens the next one, with a buffer that was prepared ahead.
    fn rotate(&self, head: &mut Head, kind: AppendKind) -> Result<(), AppendError> {
        if head.prepared.is_empty() {
            self.prepare_wake.notify_one();
            self.counters.backpressure.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::Backpressure);
        }
        let Some(segment) = self.table.take_free(self.kept_from(kind)) else { return Err(self.stop_writes()) };
        self.seal_open(head);
        let Some(writer) = head.prepared.pop_front() else { return Err(AppendError::Backpressure) };
        self.open_segment(head, segment, writer);
        self.prepare_wake.notify_one();
        Ok(())
    }

    /// Makes a free segment the open one.
    pub fn open_segment(&self, head: &mut Head, segment: SegmentId, writer: SegmentWriter) {
        let sequence = head.next_sequence;
        head.next_sequence += 1;
        let opened = self.opened(segment, sequence, head.last_sequence);
        head.last_sequence = sequence;
        self.table.open(segment, SegmentState::Open, opened, writer.position());
        self.table.set_resident(segment, writer.buffer().clone());
        let header = self.header_of(segment, Use::Data, (0, 0));
        self.queue_slot(segment, SlotKind::Header, header.encode(&self.identity), Then::Nothing);
        self.head_lsn.store(Lsn::new(sequence, writer.position()).0, Ordering::Release);
        let flushed_to = writer.position();
        head.open = Some(OpenSegment { writer, segment, sequence, seed: opened.seed, flushed_to });
    }

    /// Nothing more goes into the open segment.
    pub fn seal_open(&self, head: &mut Head) {
        let Some(mut open) = head.open.take() else { return };
        if !self.volatile {
            self.end_group(&mut open, true);
        }
        let end = open.writer.position();
        self.table.set_end(open.segment, end);
        self.table.set_state(open.segment, SegmentState::Sealed);
        self.queue_seal(open.segment, open.sequence, end);
        let start = open.flushed_to;
        let piece = Piece { buffer: open.writer.finish(), segment: open.segment, start, end, sealed: true };
        if self.volatile {
            self.table.retire(open.segment);
        } else {
            head.sealed.push(piece);
        }
        self.defrag_wake.notify_one();
    }

    /// Ends the group of entries since the last flush with a mark, and pads to a block that was never written.
    fn end_group(&self, open: &mut OpenSegment, seals: bool) {
        let fresh = open.writer.position() > open.flushed_to;
        if (fresh || seals) && open.writer.room() >= MARK_BYTES {
            let mark = Mark { durable: self.durable_lsn(), seals };
            let bytes = mark.encode(open.seed, open.writer.position());
            // Appends leave room for it.
            let fits = open.writer.append(&[&bytes]);
            debug_assert!(fits, "room was checked");
            open.writer.pad_to(BLOCK_BYTES);
        }
    }

    /// Takes everything that isn't on its way to the device yet. A slot region takes one write per flush, so that at
    /// most one copy of a header is ever in danger.
    pub fn cut(&self) -> Cut {
        let mut cut = Cut::default();
        let mut guard = self.head.lock();
        let head = &mut *guard;
        cut.pieces = std::mem::take(&mut head.sealed);
        cut.end = self.head_lsn();
        cut.appended_bytes = head.appended_bytes;
        if let Some(open) = head.open.as_mut() {
            if open.writer.position() > open.flushed_to {
                self.end_group(open, false);
                let (start, end) = (open.flushed_to, open.writer.position());
                let buffer = open.writer.buffer().clone();
                cut.pieces.push(Piece { buffer, segment: open.segment, start, end, sealed: false });
                open.flushed_to = end;
            }
            cut.end = Lsn::new(open.sequence, open.writer.position());
            self.head_lsn.store(cut.end.0, Ordering::Release);
        }
        head.wake_at = u64::MAX;
        let mut slots = self.slots.lock();
        let mut later = VecDeque::new();
        while let Some(slot) = slots.pop_front() {
            let taken = |other: &SlotWrite| other.segment == slot.segment && other.kind == slot.kind;
            if cut.slots.iter().any(taken) || later.iter().any(taken) {
                later.push_back(slot);
            } else {
                cut.slots.push(slot);
            }
        }
        *slots = later;
        cut
    }

    /// Bytes that are appended and not yet written to the device.
    pub fn unwritten_bytes(&self) -> u64 {
        let appended = self.head.lock().appended_bytes;
        if self.volatile { 0 } else { appended.saturating_sub(self.written_bytes.load(Ordering::Acquire)) }
    }

    /// Asks to be woken at the next append that needs the flusher; true if there is work already.
    pub fn arm_wake(&self, written_bytes: u64, waiting_for_more: bool) -> bool {
        let mut head = self.head.lock();
        let enough = match (self.options.sync, waiting_for_more) {
            (SyncPolicy::Interval { .. }, true) => crate::log::options::IO_BYTES as u64,
            _ => 1,
        };
        head.wake_at = written_bytes + enough;
        head.appended_bytes >= head.wake_at || !self.slots.lock().is_empty()
    }
}
