//! A scan by one reader, in log order, with a cursor: after a reconnect, or a restart of the node, it goes on where it
//! stopped.

use std::sync::Arc;

use outcrop_flash::Lsn;
use outcrop_wire::Cursor;

use super::super::namespace::Namespace;
use super::ledger::{Running, ScanLedger};
use super::pass::{Pass, Passed};
use super::plan::Plan;
use super::{Progress, ScanError, ScanFilter, Sink};

/// A scan under way. Dropped, it is over; its cursor stays good.
pub struct Scanner {
    /// `None`: there is no such set.
    running: Option<Running>,
    plan: Plan,
    pass: Option<Pass>,
    cursor: Cursor,
    seen_end: Lsn,
    damaged: u32,
}

/// First eight bytes of a log's identity: what a cursor remembers of it.
fn log_id(namespace: &Namespace) -> u64 {
    let identity = namespace.log.identity();
    identity.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Scanner {
    /// A scan from the beginning, or from where an earlier one stopped.
    pub fn new(namespace: Arc<Namespace>, filter: ScanFilter, cursor: Option<Cursor>) -> Result<Self, ScanError> {
        let (log_id, head) = (log_id(&namespace), namespace.log.head());
        let cursor = match cursor {
            Some(cursor) if cursor.log_id != log_id || cursor.position_lsn.max(cursor.start_lsn) > head.0 => {
                return Err(ScanError::Cursor);
            }
            Some(cursor) => cursor,
            None => Cursor { log_id, start_lsn: head.0, position_lsn: 0, emitted: 0 },
        };
        let position = Lsn(cursor.position_lsn);
        let running = Running::begin(namespace.clone(), &filter, position);
        let plan = Plan::new(&namespace.log, Lsn(cursor.start_lsn), position);
        Ok(Scanner { running, plan, pass: None, cursor, seen_end: Lsn(0), damaged: 0 })
    }

    /// Where the scan goes on.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Where the present round ends in the log: how far [`Scanner::cursor`] has to come before another one begins, or the
    /// scan is over.
    pub fn round_end(&self) -> Lsn {
        self.plan.end()
    }

    /// The log number that must be durable before the caller sees what was given.
    pub fn seen_end(&self) -> Lsn {
        self.seen_end
    }

    /// Places of the log that were passed over so far because their bytes are damaged.
    pub fn damaged(&self) -> u32 {
        self.damaged
    }

    /// What the scan knows of changes meanwhile; `None` if there is no such set.
    pub fn ledger(&self) -> Option<&ScanLedger> {
        self.running.as_ref().map(|running| &*running.ledger)
    }

    /// Gives records to `sink` until it is full, or about a batch of the log has been read.
    pub async fn advance(&mut self, sink: &mut impl Sink) -> Result<Progress, ScanError> {
        let Some(running) = &self.running else { return Ok(Progress::End) };
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => match self.plan.take() {
                Some(piece) => match Pass::begin(running, piece, self.plan.tail_end()) {
                    Some(pass) => pass,
                    None => {
                        self.plan.missed = true;
                        self.moves_to(piece.end());
                        return Ok(Progress::More);
                    }
                },
                None => {
                    let more = self.plan.next_round(&running.namespace.log)?;
                    return Ok(if more { Progress::More } else { Progress::End });
                }
            },
        };
        let before = pass.given;
        let passed = pass.advance(sink).await?;
        self.damaged = self.damaged.saturating_add(std::mem::take(&mut pass.damaged));
        self.cursor.emitted += pass.given - before;
        self.seen_end = self.seen_end.max(pass.seen_end);
        match passed {
            Passed::End | Passed::Gone => {
                self.plan.missed |= passed == Passed::Gone;
                self.moves_to(pass.piece.end());
            }
            Passed::Full | Passed::More => {
                self.moves_to(pass.position);
                self.pass = Some(pass);
            }
        }
        Ok(if passed == Passed::Full { Progress::Full } else { Progress::More })
    }

    fn moves_to(&mut self, position: Lsn) {
        self.cursor.position_lsn = self.cursor.position_lsn.max(position.0);
    }
}
