//! Scans: the records of a set or namespace in the order in which the log holds them.
//!
//! Log order reads the device sequentially, many times faster than key order would. A record that is there all the
//! while is given at least once, with what it held at some moment of the scan, and exactly once unless it is written
//! meanwhile or defrag moves it (it lies further on in the log then, and is given there again). The place in the log is
//! the cursor, so a scan goes on after a reconnect, or a restart of the node, where it stopped.

use std::sync::Arc;

use outcrop_flash::log::{Batch, SegmentReadError, SegmentReader};
use outcrop_flash::{Lsn, SegmentId};
use outcrop_wire::stored::digest_of;
use outcrop_wire::{Cursor, Digest};
use thiserror::Error;

use super::marker::MARKER_BYTE;
use super::namespace::Namespace;
use crate::index::{SetId, WARM_MAX};

/// Why a scan can't begin or go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The cursor is another log's.
    #[error("the cursor is of another namespace, or the device has been emptied since")]
    Cursor,
    /// The device.
    #[error("reading segment {segment}: {message}")]
    Device {
        /// Which segment.
        segment: u32,
        /// What happened.
        message: String,
    },
}

/// What a scan goes through.
#[derive(Debug, Clone, Default)]
pub struct ScanFilter {
    /// One set, or all.
    pub set: Option<String>,
    /// First partition.
    pub partition_first: u16,
    /// Last partition, included.
    pub partition_last: u16,
}

/// A scan under way.
pub struct Scanner {
    namespace: Arc<Namespace>,
    filter: ScanFilter,
    /// Its number, once the set exists.
    set: Option<SetId>,
    cursor: Cursor,
    segment: Option<OpenSegment>,
    /// The end of the last record given: what must be durable before the caller sees it.
    seen_end: Lsn,
    /// Where the scan ends, once it has passed what was there when it began.
    end: Option<Lsn>,
    /// Times that the end was moved because a segment behind it was freed unread.
    extended: u32,
}

/// A scan that is far slower than defrag gives up chasing what defrag moves after so many segments.
const EXTENSIONS_MAX: u32 = 1_024;

struct OpenSegment {
    id: SegmentId,
    sequence: u64,
    reader: SegmentReader,
    batch: Option<Batch>,
    /// Entries of the batch that are done with.
    done: usize,
    /// Whether the reader has given anything.
    gave: bool,
    /// Nothing was appended to it any more when its reader began.
    closed: bool,
}

/// What a record is given to; false: it has no room, and gets the record again next time.
pub trait Sink {
    /// Takes a stored record.
    fn record(&mut self, stored: &[u8]) -> bool;
}

/// Whether there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The sink is full.
    Full,
    /// Some of the log was read, none of it for the sink perhaps; go on.
    More,
    /// The log has no more.
    End,
}

/// First eight bytes of a log's identity: what a cursor remembers of it.
fn log_id(namespace: &Namespace) -> u64 {
    let identity = namespace.log.identity();
    identity.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Scanner {
    /// A scan from the beginning, or from where an earlier one stopped.
    pub fn new(namespace: Arc<Namespace>, filter: ScanFilter, cursor: Option<Cursor>) -> Result<Self, ScanError> {
        let cursor = match cursor {
            Some(cursor) if cursor.log_id != log_id(&namespace) || cursor.position_lsn > namespace.log.head().0 => {
                return Err(ScanError::Cursor);
            }
            Some(cursor) => cursor,
            None => {
                Cursor { log_id: log_id(&namespace), start_lsn: namespace.log.head().0, position_lsn: 0, emitted: 0 }
            }
        };
        Ok(Scanner { namespace, filter, set: None, cursor, segment: None, seen_end: Lsn(0), end: None, extended: 0 })
    }

    /// Where the scan goes on.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The log number that must be durable before the caller sees what was given.
    pub fn seen_end(&self) -> Lsn {
        self.seen_end
    }

    /// Gives records to `sink` until it is full, or about a batch of the log has been read.
    pub async fn advance(&mut self, sink: &mut impl Sink) -> Result<Progress, ScanError> {
        if let Some(name) = &self.filter.set
            && self.set.is_none()
        {
            self.set = self.namespace.sets.find(name);
            if self.set.is_none() {
                return Ok(Progress::End);
            }
        }
        let Some(mut open) = self.segment.take().or_else(|| self.next_segment()) else { return Ok(Progress::End) };
        if self.end.is_some_and(|end| self.cursor.position_lsn >= end.0) {
            return Ok(Progress::End);
        }
        if open.batch.is_none() {
            match open.reader.next().await {
                Some(Ok(batch)) => (open.batch, open.done, open.gave) = (Some(batch), 0, true),
                Some(Err(error @ SegmentReadError::Damaged { .. })) => {
                    tracing::error!(namespace = %self.namespace.policy.name, %error, "a scan skips what is damaged");
                    self.segment = Some(open);
                    return Ok(Progress::More);
                }
                Some(Err(error)) => {
                    let message = error.to_string();
                    // A segment that was freed meanwhile has nothing current left: what it held lies further on.
                    if self.is_gone(&open) {
                        self.cursor.position_lsn = Lsn::new(open.sequence + 1, 0).0;
                        return Ok(Progress::More);
                    }
                    return Err(ScanError::Device { segment: open.id.0, message });
                }
                None => return Ok(self.end_of_segment(&open)),
            }
        }
        let full = self.give(&mut open, sink);
        if !full {
            open.batch = None;
        }
        self.segment = Some(open);
        Ok(if full { Progress::Full } else { Progress::More })
    }

    /// Behind what was there when the scan began lies what was written or moved meanwhile, up to here: a record that
    /// moved before the scan reached it is there. A segment that was freed unread put its records behind that end, so
    /// the end moves with them; and so does a scan that is slower than its writers come to one.
    fn set_end(&mut self, next_sequence: u64) {
        if Lsn::new(next_sequence, 0).0.max(self.cursor.position_lsn) < self.cursor.start_lsn {
            return;
        }
        let passed_over = next_sequence > Lsn(self.cursor.position_lsn).segment_sequence();
        if self.end.is_none() || (passed_over && self.extended < EXTENSIONS_MAX) {
            self.extended += u32::from(self.end.is_some());
            self.end = Some(self.namespace.log.head());
        }
    }

    /// The first segment at or behind the cursor that has something to read.
    fn next_segment(&mut self) -> Option<OpenSegment> {
        let position = Lsn(self.cursor.position_lsn);
        let segments = self.namespace.log.segments();
        let next = segments.into_iter().find(|segment| {
            segment.sequence > position.segment_sequence()
                || (segment.sequence == position.segment_sequence() && segment.end_offset > position.offset())
        })?;
        self.set_end(next.sequence);
        let from = if next.sequence == position.segment_sequence() { position.offset() } else { 0 };
        // In this order: a segment that is full by now may yet have grown behind the end that its reader knows.
        let closed = next.sequence < self.namespace.log.head().segment_sequence();
        let reader = self.namespace.log.read_segment(next.id, from);
        Some(OpenSegment { id: next.id, sequence: next.sequence, reader, batch: None, done: 0, gave: false, closed })
    }

    fn is_gone(&self, open: &OpenSegment) -> bool {
        let segments = self.namespace.log.segments();
        !segments.iter().any(|segment| segment.id == open.id && segment.sequence == open.sequence)
    }

    /// A segment that is closed is done with; the open one may have grown while it was read, and is read once more.
    fn end_of_segment(&mut self, open: &OpenSegment) -> Progress {
        if open.closed {
            self.cursor.position_lsn = self.cursor.position_lsn.max(Lsn::new(open.sequence + 1, 0).0);
            return Progress::More;
        }
        let full = open.sequence < self.namespace.log.head().segment_sequence();
        if open.gave || full { Progress::More } else { Progress::End }
    }

    /// Gives the rest of a batch; whether the sink was full before its end.
    fn give(&mut self, open: &mut OpenSegment, sink: &mut impl Sink) -> bool {
        let Some(batch) = &open.batch else { return false };
        let now_secs = self.namespace.clock.now_secs();
        let mut entries = batch.iter().skip(open.done);
        let mut run = Vec::with_capacity(WARM_MAX);
        let mut digests = Vec::with_capacity(WARM_MAX);
        loop {
            run.clear();
            run.extend(entries.by_ref().take(WARM_MAX));
            if run.is_empty() {
                return false;
            }
            digests.clear();
            digests.extend(run.iter().map(|(_, _, payload)| digest_of(payload).unwrap_or_default()));
            self.namespace.index.warm(&digests);
            for ((location, lsn, payload), digest) in run.iter().zip(&digests) {
                let end = lsn.0 + location.byte_len() as u64;
                if self.end.is_none() && lsn.0 >= self.cursor.start_lsn {
                    self.end = Some(self.namespace.log.head());
                }
                if self.end.is_some_and(|end| *lsn >= end) {
                    self.cursor.position_lsn = lsn.0;
                    open.closed = true;
                    return false;
                }
                if self.wants(*location, payload, digest, now_secs) {
                    if !sink.record(payload) {
                        return true;
                    }
                    self.cursor.emitted += 1;
                    self.seen_end = self.seen_end.max(Lsn(end));
                }
                open.done += 1;
                self.cursor.position_lsn = end;
            }
        }
    }

    /// Whether an entry is a live record that the filter lets through.
    fn wants(&self, location: outcrop_flash::Location, payload: &[u8], digest: &Digest, now_secs: u32) -> bool {
        let partition = digest.partition();
        if payload.first() == Some(&MARKER_BYTE)
            || partition.number() < self.filter.partition_first
            || partition.number() > self.filter.partition_last
        {
            return false;
        }
        let Some(entry) = self.namespace.index.read(partition).get(digest) else { return false };
        // Written again behind the scan's end: this version is the last that the scan meets.
        let overtaken = || self.end.is_some_and(|end| self.namespace.log.lsn_of(entry.location) >= end);
        (entry.location == location || overtaken())
            && self.set.is_none_or(|set| set == entry.set)
            && self.namespace.visible(&entry, now_secs)
    }
}
