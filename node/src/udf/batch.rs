//! A batch of stored records on its way into a guest, and the rows that come out of it.
//!
//! For each record a little-endian `u32` length and then the stored record: the form in which a guest of `archived`
//! encoding takes the whole batch, and through which one of `json` encoding walks record by record.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use outcrop_wire::Code;
use thiserror::Error;

use super::outcome::Failed;

/// Bytes of records that a batch should have: so many that the crossing doesn't count, so few that they stay in cache.
pub const BATCH_BYTES: usize = 128 << 10;

/// Gives batches to one instance of a query. Several instances of one query take from sources of their own, which share
/// what is left to do.
pub trait BatchSource: Send + 'static {
    /// What the source says of a batch to whoever gets its rows: the place in the log, say.
    type Mark: Send + 'static;

    /// Appends the next batch to `out` with [`push`], about [`BATCH_BYTES`] of it, and gives its mark; `None` at the end.
    /// A batch may be empty.
    fn next(&mut self, out: &mut Vec<u8>) -> impl Future<Output = Result<Option<Self::Mark>, SourceError>> + Send;
}

/// Why a source can't go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SourceError {
    /// The stable code.
    pub code: Code,
    /// What happened.
    pub message: String,
}

/// Appends a stored record, or a row, to a batch.
pub fn push(out: &mut Vec<u8>, record: &[u8]) {
    // Nothing that long exists: a record has at most 8 MiB.
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(record);
}

/// Items of a batch, in order; an error if its lengths don't add up.
pub fn items(batch: &[u8]) -> impl Iterator<Item = Result<Range<usize>, Malformed>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= batch.len() {
            return None;
        }
        let item = item_at(batch, at);
        at = item.as_ref().map_or(batch.len(), |range| range.end);
        Some(item)
    })
}

fn item_at(batch: &[u8], at: usize) -> Result<Range<usize>, Malformed> {
    let length = batch.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Malformed { at })?;
    let start = at + 4;
    let end = start + u32::from_le_bytes(*length) as usize;
    if end > batch.len() { Err(Malformed { at }) } else { Ok(start..end) }
}

/// A length of a batch is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the length at byte {at} doesn't fit the batch")]
pub struct Malformed {
    /// Where the length stands.
    pub at: usize,
}

/// A record within a batch: the whole batch, and where the record lies in it.
pub type InBatch = (Arc<Vec<u8>>, Range<usize>);

/// The batch at hand.
#[derive(Debug)]
pub struct Batch {
    bytes: Arc<Vec<u8>>,
    next: usize,
    /// Rows that the guest emitted, in the same form.
    rows: Vec<u8>,
}

impl Batch {
    /// At its beginning.
    pub fn new(bytes: Arc<Vec<u8>>) -> Self {
        Batch { bytes, next: 0, rows: Vec::new() }
    }

    /// The next record; `None` at the end.
    pub fn advance(&mut self) -> Result<Option<InBatch>, Failed> {
        if self.next >= self.bytes.len() {
            return Ok(None);
        }
        let range = item_at(&self.bytes, self.next).map_err(|error| Failed::new(Code::Internal, error.to_string()))?;
        self.next = range.end;
        Ok(Some((self.bytes.clone(), range)))
    }

    /// Adds a row.
    pub fn emit(&mut self, row: &[u8]) {
        push(&mut self.rows, row);
    }

    /// Bytes of rows so far.
    pub fn row_bytes(&self) -> usize {
        self.rows.len()
    }

    /// The rows.
    pub fn into_rows(self) -> Vec<u8> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_comes_back() {
        let mut batch = Vec::new();
        for record in [&b"one"[..], b"", b"three"] {
            push(&mut batch, record);
        }
        let ranges: Vec<_> = items(&batch).map(|range| range.expect("the lengths fit")).collect();
        let records: Vec<&[u8]> = ranges.into_iter().map(|range| &batch[range]).collect();
        assert_eq!(records, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn lengths_that_lie_are_found() {
        let mut batch = Vec::new();
        push(&mut batch, b"one");
        push(&mut batch, b"two");
        for cut in 1..batch.len() {
            let found: Vec<_> = items(&batch[..cut]).collect();
            let whole = cut == 7;
            assert_eq!(found.iter().all(Result::is_ok), whole, "cut at {cut}: {found:?}");
        }
        batch[7..11].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(items(&batch).collect::<Vec<_>>(), [Ok(4..7), Err(Malformed { at: 7 })]);
    }
}
