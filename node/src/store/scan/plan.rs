//! Which parts of the log a scan reads, in rounds: up to where it began, then what was appended meanwhile.

use std::collections::VecDeque;

use outcrop_flash::log::{Log, SegmentView};
use outcrop_flash::{Lsn, SegmentId};

use super::ScanError;

/// A scan that is far slower than its writers gives up after so many rounds in which segments were freed before it came
/// to them.
const ROUNDS_MAX: u32 = 1_024;

/// A part of a segment, to be read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub id: SegmentId,
    pub sequence: u64,
    /// An entry's or a block's offset.
    pub from_offset: usize,
    /// Entries from here on belong to the next round.
    pub to: Lsn,
}

impl Piece {
    /// Where the piece ends in the log: at the next segment, or at the round's end.
    pub fn end(&self) -> Lsn {
        self.to.min(Lsn::new(self.sequence + 1, 0))
    }
}

/// The pieces of the present round that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Plan {
    pieces: VecDeque<Piece>,
    round: u32,
    /// Where the present round ends.
    end: Lsn,
    /// A piece of this round was gone before it was read: its records moved on, behind the round's end perhaps.
    pub missed: bool,
}

impl Plan {
    /// A plan for a scan that began at the head `start` and has everything before `position` behind it.
    pub fn new(log: &Log, start: Lsn, position: Lsn) -> Self {
        let mut plan = Plan { pieces: VecDeque::new(), round: 0, end: position, missed: false };
        if position < start {
            // What is freed from here on moves behind `start`, where the next round finds it.
            plan.lay(&log.segments(), start);
        } else {
            plan.next(log);
        }
        plan
    }

    /// The next piece, in log order.
    pub fn take(&mut self) -> Option<Piece> {
        self.pieces.pop_front()
    }

    /// The end of a round behind the scan's beginning: what lies there or further on isn't read in it. `None` in round 0,
    /// after which another one follows in any case.
    pub fn tail_end(&self) -> Option<Lsn> {
        (self.round > 0).then_some(self.end)
    }

    /// Where the present round ends.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Everything before this has been taken.
    pub fn position(&self) -> Lsn {
        self.pieces.front().map_or(self.end, |piece| Lsn::new(piece.sequence, piece.from_offset))
    }

    /// Begins another round if one is needed, once every piece of this one is done with; false: the scan is at its end.
    pub fn next_round(&mut self, log: &Log) -> Result<bool, ScanError> {
        if self.round > 0 && !self.missed {
            return Ok(false);
        }
        if self.round >= ROUNDS_MAX {
            return Err(ScanError::Outrun);
        }
        self.next(log);
        Ok(true)
    }

    fn next(&mut self, log: &Log) {
        self.round += 1;
        self.missed = false;
        // Before and after: what is freed between the two moved behind the end, perhaps, and must be missed for it; what
        // is opened between them lies before the end and must be read.
        let mut segments = log.segments();
        let end = log.head();
        segments.extend(log.segments());
        segments.sort_unstable_by_key(|segment| segment.sequence);
        segments.dedup_by_key(|segment| segment.sequence);
        self.lay(&segments, end.max(self.end));
    }

    /// Plans what lies between the end of the round before and `to`.
    fn lay(&mut self, segments: &[SegmentView], to: Lsn) {
        let from = self.end;
        self.end = to;
        self.pieces = segments
            .iter()
            .filter(|segment| segment.sequence >= from.segment_sequence() && Lsn::new(segment.sequence, 0) < to)
            .filter(|segment| !segment.sealed || Lsn::new(segment.sequence, segment.end_offset) > from)
            .map(|segment| {
                let from_offset = if segment.sequence == from.segment_sequence() { from.offset() } else { 0 };
                Piece { id: segment.id, sequence: segment.sequence, from_offset, to }
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outcrop_wire::NamespaceId;

    use super::*;
    use crate::store::{Namespace, Policy};
    use crate::world::ManualClock;

    /// Catches: a scan that runs after its writers for ever, or ends as if it had come to the end.
    #[tokio::test]
    async fn a_scan_that_is_outrun_says_so() {
        let policy = Policy::ram("ram", 64 << 20);
        let opened = Namespace::open(NamespaceId(0), policy, Arc::new(ManualClock::new(0))).await.expect("memory");
        let log = &opened.namespace.log;
        let mut plan = Plan::new(log, log.head(), log.head());
        assert_eq!(plan.next_round(log), Ok(false), "nothing was missed");
        let mut rounds = 0;
        let outrun = loop {
            plan.missed = true;
            match plan.next_round(log) {
                Ok(more) => assert!(more),
                Err(error) => break error,
            }
            rounds += 1;
        };
        assert_eq!((outrun, rounds), (ScanError::Outrun, ROUNDS_MAX - 1));
        assert_eq!(plan.tail_end(), Some(log.head()));
    }
}
