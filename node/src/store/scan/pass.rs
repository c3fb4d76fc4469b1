//! One piece of the log read by one worker: which of its entries are to be given, and giving them.

use std::sync::Arc;

use outcrop_flash::log::{Batch, SegmentReadError, SegmentReader};
use outcrop_flash::{Location, Lsn};
use outcrop_wire::stored::digest_of;
use outcrop_wire::{Digest, StoredRecord};

use super::super::marker::MARKER_BYTE;
use super::super::namespace::Namespace;
use super::ledger::{Reach, Running, ScanLedger};
use super::plan::Piece;
use super::{ScanError, Sink};
use crate::index::{Entry, SetId, WARM_MAX};

const _: () = assert!(WARM_MAX <= u64::BITS as usize, "a run's verdicts are the bits of a number");

/// An entry of the log: where, when, what.
type Found<'a> = (Location, Lsn, &'a [u8]);

/// What became of a step through a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The sink is full.
    Full,
    /// Some of it was read.
    More,
    /// All of it was read.
    End,
    /// The segment was freed before its end was read.
    Gone,
}

/// A piece that is being read.
pub(super) struct Pass {
    namespace: Arc<Namespace>,
    ledger: Arc<ScanLedger>,
    pub piece: Piece,
    /// The end of a round behind the scan's beginning.
    tail_end: Option<Lsn>,
    reader: SegmentReader,
    reach: Arc<Reach>,
    batch: Option<Batch>,
    /// Entries of the batch that are done with.
    done: usize,
    /// Entries of the batch that are judged.
    judged: usize,
    /// Which of the judged ones are still to be given; bit 0 is the entry at `done`.
    wanted: u64,
    /// The end of the last entry that is done with.
    pub position: Lsn,
    /// The end of the last record given: what must be durable before anybody sees it.
    pub seen_end: Lsn,
    /// Records given.
    pub given: u64,
    /// Places passed over, because their bytes are damaged.
    pub damaged: u32,
}

impl Pass {
    /// Begins a piece; `None` if its segment is gone. To be read on the thread that begins it.
    pub fn begin(running: &Running, piece: Piece, tail_end: Option<Lsn>) -> Option<Pass> {
        let reader = running.namespace.log.read_segment(piece.id, piece.from_offset);
        // Looked at once the reader knows where the segment ends: one that was freed before seems to be empty.
        if reader.sequence() != piece.sequence || !reader.is_held() {
            return None;
        }
        let from = Lsn::new(piece.sequence, piece.from_offset);
        Some(Pass {
            namespace: running.namespace.clone(),
            ledger: running.ledger.clone(),
            piece,
            tail_end,
            reader,
            reach: running.ledger.begin_segment(from),
            batch: None,
            done: 0,
            judged: 0,
            wanted: 0,
            position: from,
            seen_end: Lsn(0),
            given: 0,
            damaged: 0,
        })
    }

    /// Gives records until the sink is full or about a batch is read.
    pub async fn advance(&mut self, sink: &mut impl Sink) -> Result<Passed, ScanError> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => match self.reader.next().await {
                Some(Ok(batch)) => {
                    (self.done, self.judged) = (0, 0);
                    batch
                }
                Some(Err(SegmentReadError::Damaged { offset, bytes, .. })) if self.reader.is_held() => {
                    self.skip_damage(offset, bytes);
                    return Ok(Passed::More);
                }
                Some(Err(error)) if self.reader.is_held() => {
                    return Err(ScanError::Device { segment: self.piece.id.0, message: error.to_string() });
                }
                // What it held lies further on.
                Some(Err(_)) => return Ok(Passed::Gone),
                None => return Ok(Passed::End),
            },
        };
        let passed = self.give(&batch, sink);
        if passed == Passed::Full {
            self.batch = Some(batch);
        }
        Ok(passed)
    }

    fn skip_damage(&mut self, offset: usize, bytes: usize) {
        self.damaged += 1;
        let (segment, name) = (self.piece.id.0, &self.namespace.policy.name);
        tracing::error!(namespace = %name, segment, offset, bytes, "a scan skips what is damaged");
        let at = |offset| Lsn::new(self.piece.sequence, offset);
        self.ledger.hole(&self.namespace, at(offset)..at(offset + bytes));
    }

    /// Gives the rest of a batch, run by run: judged together, so that their look-ups wait for memory side by side.
    fn give(&mut self, batch: &Batch, sink: &mut impl Sink) -> Passed {
        let now_secs = self.namespace.clock.now_secs();
        let to = self.piece.to;
        let mut entries = batch.iter_from(self.done).take_while(|(_, lsn, _)| *lsn < to);
        let mut run: Vec<Found<'_>> = Vec::with_capacity(WARM_MAX);
        let mut digests: Vec<Digest> = Vec::with_capacity(WARM_MAX);
        loop {
            // What was judged before the sink was full has been published as read: the verdict holds.
            let judged = self.judged - self.done;
            run.clear();
            run.extend(entries.by_ref().take(if judged > 0 { judged } else { WARM_MAX }));
            let Some((last, last_lsn, _)) = run.last() else {
                let crosses = batch.iter_from(self.done).next().is_some_and(|(_, lsn, _)| lsn >= to);
                return if crosses { Passed::End } else { Passed::More };
            };
            let run_end = Lsn(last_lsn.0 + last.byte_len() as u64);
            digests.clear();
            digests.extend(run.iter().map(|(_, _, payload)| digest_of(payload).unwrap_or_default()));
            if judged == 0 {
                self.judge_all(&run, &digests, now_secs);
                self.reach.publish(run_end);
            }
            for ((location, lsn, payload), digest) in run.iter().zip(&digests) {
                let end = Lsn(lsn.0 + location.byte_len() as u64);
                if self.wanted & 1 == 1 {
                    if !sink.record(digest, payload) {
                        return Passed::Full;
                    }
                    self.given += 1;
                    self.seen_end = end;
                }
                self.wanted >>= 1;
                self.done += 1;
                self.position = end;
            }
        }
    }

    fn judge_all(&mut self, run: &[Found<'_>], digests: &[Digest], now_secs: u32) {
        self.namespace.index.warm(digests);
        self.wanted = 0;
        for (place, (found, digest)) in run.iter().zip(digests).enumerate() {
            self.wanted |= u64::from(self.judge(found, digest, now_secs)) << place;
        }
        self.judged = self.done + run.len();
    }

    /// Whether an entry is to be given. Publishes it as read under the lock under which it is looked up.
    #[inline]
    fn judge(&self, found: &Found<'_>, digest: &Digest, now_secs: u32) -> bool {
        let (location, lsn, payload) = *found;
        if payload.first() == Some(&MARKER_BYTE) || !self.ledger.wants_partition(digest) {
            return false;
        }
        let partition = self.namespace.index.read(digest.partition());
        let entry = partition.get(digest);
        let give = entry.is_some_and(|entry| {
            self.ledger.wants(digest, entry.set)
                && self.namespace.visible(&entry, now_secs)
                && self.is_its_turn(&entry, found, digest, now_secs)
        });
        self.reach.publish(Lsn(lsn.0 + location.byte_len() as u64));
        drop(partition);
        give
    }

    /// Whether the record is given here rather than elsewhere.
    #[inline]
    fn is_its_turn(&self, entry: &Entry, found: &Found<'_>, digest: &Digest, now_secs: u32) -> bool {
        let (location, lsn, payload) = *found;
        // The same place may be another entry's by now: of a segment that was freed since it was read, and opened anew.
        let current = entry.location == location && self.namespace.log.lsn_of(location) == lsn;
        match self.tail_end {
            None => current,
            Some(_) if current => !self.ledger.has(digest),
            Some(end) => {
                self.namespace.log.lsn_of(entry.location) >= end
                    && self.was_a_record(lsn, entry.set, payload, now_secs)
                    && self.ledger.note(&self.namespace, digest)
            }
        }
    }

    /// Whether an entry that isn't current any more is a version that a reader could have seen.
    fn was_a_record(&self, lsn: Lsn, set: SetId, payload: &[u8], now_secs: u32) -> bool {
        let Ok(record) = StoredRecord::parse(payload) else { return false };
        let expiry_secs = record.header.expiry_secs;
        !record.header.is_tombstone()
            && (expiry_secs == 0 || expiry_secs > now_secs)
            && lsn.0 >= self.namespace.sets.truncated_before(set)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.ledger.end_segment(self.piece.sequence, &self.reach);
    }
}
