//! The one reader of segments: recovery, defrag, preload, scans and functions all read entries in log order through it.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer, SegmentWriter};
use crate::device::{Device, DeviceError, IoFuture};
use crate::location::{Location, Lsn, SegmentId};
use crate::log::entry::{HEADER_BYTES, Kind, Mark, total_bytes};
use crate::log::error::SegmentReadError;
use crate::log::options::{Geometry, IO_BYTES};
use crate::log::shared::Shared;
use crate::log::walk::{Pause, SegmentMeta, Step, Walker};

/// Reads in flight at most.
const READS_AHEAD: usize = 4;

/// Entries of one batch at most, when it comes straight from RAM.
const BATCH_ENTRIES: usize = 1_024;

/// Some entries that lie one after the other in a segment, and the buffer that holds them.
#[derive(Clone, Debug)]
pub struct Batch {
    buffer: Arc<SegmentBuffer>,
    /// Offset within the segment of the buffer's first byte.
    base: usize,
    segment: SegmentId,
    sequence: u64,
    entries: Vec<(u32, u32)>,
}

impl Batch {
    /// Entries in the batch.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in log order: where, when, what.
    pub fn iter(&self) -> impl Iterator<Item = (Location, Lsn, &[u8])> {
        self.iter_from(0)
    }

    /// The same without the first `skipped` ones, which cost nothing.
    pub fn iter_from(&self, skipped: usize) -> impl Iterator<Item = (Location, Lsn, &[u8])> {
        self.entries.get(skipped..).unwrap_or_default().iter().filter_map(|(offset, len)| {
            let (offset, len) = (*offset as usize, *len as usize);
            let location = Location::new(self.segment, offset, total_bytes(len))?;
            let start = offset - self.base + HEADER_BYTES;
            Some((location, Lsn::new(self.sequence, offset), self.buffer.get(start..start + len)?))
        })
    }
}

/// What one window of the device held.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Which of the segments.
    pub index: usize,
    pub batches: Vec<Batch>,
    pub marks: Vec<(Mark, usize)>,
    pub damage: Vec<std::ops::Range<usize>>,
    /// Bytes read.
    pub bytes: usize,
}

/// An entry that began in one window and goes on in the next.
#[derive(Debug)]
struct Carry {
    offset: usize,
    total: usize,
    writer: SegmentWriter,
}

/// Reads segments from the device, one after the other, with several big reads in flight across their borders.
pub(crate) struct WindowReader {
    device: Arc<dyn Device>,
    geometry: Geometry,
    metas: Vec<SegmentMeta>,
    kind: Kind,
    /// What to ask for next: which segment, from where.
    next: (usize, usize),
    in_flight: FuturesOrdered<IoFuture<Arc<SegmentBuffer>>>,
    asked: VecDeque<(usize, usize, usize)>,
    walker: Option<(usize, Walker)>,
    carry: Option<Carry>,
}

impl WindowReader {
    /// A reader of the entries of one kind in these segments.
    pub fn new(device: Arc<dyn Device>, geometry: Geometry, metas: Vec<SegmentMeta>, kind: Kind) -> Self {
        let next = (0, metas.first().map_or(0, |meta| meta.start));
        WindowReader {
            device,
            geometry,
            metas,
            kind,
            next,
            in_flight: FuturesOrdered::new(),
            asked: VecDeque::new(),
            walker: None,
            carry: None,
        }
    }

    pub fn metas(&self) -> &[SegmentMeta] {
        &self.metas
    }

    fn ask_ahead(&mut self) {
        while self.in_flight.len() < READS_AHEAD {
            let Some(meta) = self.metas.get(self.next.0) else { return };
            let from = self.next.1 / BLOCK_BYTES * BLOCK_BYTES;
            let end = meta.end.next_multiple_of(BLOCK_BYTES).min(self.geometry.segment_bytes);
            if from >= end {
                self.next = (self.next.0 + 1, self.metas.get(self.next.0 + 1).map_or(0, |meta| meta.start));
                continue;
            }
            let len = (end - from).min(IO_BYTES);
            self.in_flight.push_back(self.device.read(self.geometry.device_offset(meta.id, from), len));
            self.asked.push_back((self.next.0, from, len));
            self.next.1 = from + len;
        }
    }

    /// The next window; `None` at the end of the last segment.
    pub async fn next(&mut self) -> Option<Result<Window, DeviceError>> {
        loop {
            self.ask_ahead();
            let read = self.in_flight.next().await?;
            let (index, base, len) = self.asked.pop_front()?;
            let meta = self.metas[index];
            let buffer = match read {
                Ok(buffer) => buffer,
                Err(DeviceError::Io { .. }) => {
                    match read_by_blocks(self.device.clone(), self.geometry.device_offset(meta.id, base), len).await {
                        Ok(buffer) => buffer,
                        Err(error) => return Some(Err(error)),
                    }
                }
                Err(error) => return Some(Err(error)),
            };
            let mut walker = match self.walker.take() {
                Some((at, walker)) if at == index => walker,
                _ => {
                    self.carry = None;
                    Walker::new(&meta)
                }
            };
            let window =
                if walker.is_done() { None } else { Some(self.window(index, &mut walker, &buffer, base, len)) };
            self.walker = Some((index, walker));
            if let Some(window) = window {
                return Some(Ok(window));
            }
        }
    }

    fn window(
        &mut self,
        index: usize,
        walker: &mut Walker,
        buffer: &Arc<SegmentBuffer>,
        base: usize,
        len: usize,
    ) -> Window {
        let meta = self.metas[index];
        let mut window = Window { index, bytes: len, ..Window::default() };
        let bytes = buffer.get(0..len).unwrap_or_default();
        if let Some(mut carry) = self.carry.take() {
            let missing = carry.total - carry.writer.position();
            let taken = carry.writer.append(&[&bytes[..missing.min(len)]]);
            debug_assert!(taken, "the carry was made for the whole entry");
            if missing > len {
                self.carry = Some(carry);
                return window;
            }
            let stitched = carry.writer.finish();
            let mut sink = Sink::new(&meta, self.kind, stitched.clone(), carry.offset);
            let entry = stitched.get(0..carry.total).unwrap_or_default();
            walker.take_stitched(entry, &mut |step| sink.step(step));
            sink.into_window(&mut window);
        }
        let mut sink = Sink::new(&meta, self.kind, buffer.clone(), base);
        let pause = walker.walk(bytes, base, true, &mut |step| sink.step(step));
        sink.into_window(&mut window);
        if let Pause::Straddles { offset, total } = pause {
            let mut writer = SegmentBuffer::with_writer(total);
            let taken = writer.append(&[&bytes[offset - base..]]);
            debug_assert!(taken, "less than the whole entry is here");
            self.carry = Some(Carry { offset, total, writer });
        }
        window
    }
}

/// A sector can't be read: everything around it can. What can't stays zero, which is no entry.
async fn read_by_blocks(device: Arc<dyn Device>, start: u64, len: usize) -> Result<Arc<SegmentBuffer>, DeviceError> {
    let mut writer = SegmentBuffer::with_writer(len);
    for offset in (0..len).step_by(BLOCK_BYTES) {
        let fits = match device.read(start + offset as u64, BLOCK_BYTES).await {
            Ok(block) => writer.append(&[block.get(0..BLOCK_BYTES).unwrap_or(&[0; BLOCK_BYTES])]),
            Err(DeviceError::Io { .. }) => writer.append(&[&[0; BLOCK_BYTES]]),
            Err(error) => return Err(error),
        };
        debug_assert!(fits, "the buffer is as long as its blocks");
    }
    Ok(writer.finish())
}

/// Gathers the steps of a walk over one buffer.
struct Sink {
    kind: Kind,
    batch: Batch,
    marks: Vec<(Mark, usize)>,
    damage: Vec<std::ops::Range<usize>>,
}

impl Sink {
    fn new(meta: &SegmentMeta, kind: Kind, buffer: Arc<SegmentBuffer>, base: usize) -> Self {
        let batch = Batch { buffer, base, segment: meta.id, sequence: meta.sequence, entries: Vec::new() };
        Sink { kind, batch, marks: Vec::new(), damage: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Entry { offset, payload_len, kind } => {
                if kind == self.kind {
                    self.batch.entries.push((offset as u32, payload_len as u32));
                }
            }
            Step::Mark { mark, next } => self.marks.push((mark, next)),
            Step::Damage(range) => self.damage.push(range),
        }
    }

    fn into_window(self, window: &mut Window) {
        if !self.batch.is_empty() {
            window.batches.push(self.batch);
        }
        window.marks.extend(self.marks);
        window.damage.extend(self.damage);
    }
}

enum Source {
    /// Straight from RAM.
    Resident {
        walker: Walker,
        buffer: Arc<SegmentBuffer>,
    },
    Device(Box<WindowReader>),
    Ended,
}

/// Reads the entries of one segment in order. From RAM if the segment is there, else with big reads ahead.
pub struct SegmentReader {
    shared: Arc<Shared>,
    meta: SegmentMeta,
    source: Source,
    ready: VecDeque<Result<Batch, SegmentReadError>>,
}

impl SegmentReader {
    pub(crate) fn new(shared: Arc<Shared>, id: SegmentId, from_offset: usize) -> Self {
        let meta = shared.meta_of(id, from_offset);
        let source = match shared.table.resident(id) {
            _ if meta.start >= meta.end => Source::Ended,
            Some(buffer) if buffer.published() >= meta.end => Source::Resident { walker: Walker::new(&meta), buffer },
            _ => {
                let reader = WindowReader::new(shared.device.clone(), shared.geometry, vec![meta], Kind::Data);
                Source::Device(Box::new(reader))
            }
        };
        SegmentReader { shared, meta, source, ready: VecDeque::new() }
    }

    /// The segment.
    pub fn segment(&self) -> SegmentId {
        self.meta.id
    }

    /// Which use of the segment is read: the sequence that it had when the reader began.
    pub fn sequence(&self) -> u64 {
        self.meta.sequence
    }

    /// Whether the segment still holds what is read here: it hasn't been freed, or opened anew, since the reader began.
    pub fn is_held(&self) -> bool {
        let (table, id) = (&self.shared.table, self.meta.id);
        // In this order: a use begins with its sequence and ends with its state.
        table.state(id).holds_data() && table.sequence(id) == self.meta.sequence
    }

    /// The next entries, or what couldn't be read: after [`SegmentReadError::Damaged`] the reader goes on, after any
    /// other error it has ended. `None` at the end. What couldn't be read is told before any entry that lies behind it.
    pub async fn next(&mut self) -> Option<Result<Batch, SegmentReadError>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            match &mut self.source {
                Source::Ended => return None,
                Source::Resident { walker, buffer } => {
                    let mut sink = Sink::new(&self.meta, Kind::Data, buffer.clone(), 0);
                    let bytes = buffer.get(0..self.meta.end).unwrap_or_default();
                    // It never left RAM, or was checked when it came from the device.
                    walker.walk(bytes, 0, false, &mut |step| sink.step(step));
                    self.source = Source::Ended;
                    self.queue(sink.damage, vec![sink.batch]);
                }
                Source::Device(reader) => match reader.next().await {
                    None => self.source = Source::Ended,
                    Some(Err(error)) => {
                        self.source = Source::Ended;
                        return Some(Err(error.into()));
                    }
                    Some(Ok(window)) => self.queue(window.damage, window.batches),
                },
            }
        }
    }

    fn queue(&mut self, damage: Vec<std::ops::Range<usize>>, batches: Vec<Batch>) {
        let segment = self.meta.id;
        if !damage.is_empty() && self.shared.table.sequence(segment) != self.meta.sequence {
            self.source = Source::Ended;
            self.ready.push_back(Err(SegmentReadError::Stale { segment }));
            return;
        }
        for range in damage {
            self.ready.push_back(Err(SegmentReadError::Damaged { segment, offset: range.start, bytes: range.len() }));
        }
        for batch in batches {
            for entries in batch.entries.chunks(BATCH_ENTRIES) {
                self.ready.push_back(Ok(Batch { buffer: batch.buffer.clone(), entries: entries.to_vec(), ..batch }));
            }
        }
    }
}
