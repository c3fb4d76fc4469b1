//! What stands between the attributes and the node: arguments, results, and queries that are under way.

mod arguments;
#[cfg(target_arch = "wasm32")]
pub mod exports;

pub use arguments::{Arguments, read_whole};
#[cfg(target_arch = "wasm32")]
pub use wit_bindgen::rt;

use serde::Serialize;

use crate::aggregate::Aggregate;
use crate::codec::{self, Answer};
use crate::error::Error;
use crate::row::Rows;
use crate::view::{Batch, RecordView};

/// A result as archived bytes.
pub fn answer(value: impl Answer) -> Result<Vec<u8>, Error> {
    value.archive()
}

/// A row as archived bytes.
pub fn answer_row(row: Option<impl Answer>) -> Result<Option<Vec<u8>>, Error> {
    row.map(Answer::archive).transpose()
}

/// An aggregate under way in this instance.
pub trait RunningAggregate {
    /// Takes a batch.
    fn accept(&mut self, batch: &[u8]) -> Result<(), Error>;
    /// The state so far.
    fn state(&self) -> Result<Vec<u8>, Error>;
    /// Merges another instance's state.
    fn merge(&mut self, state: &[u8]) -> Result<(), Error>;
    /// The archived result.
    fn finish(self: Box<Self>) -> Result<Vec<u8>, Error>;
}

struct Running<A>(A);

impl<A: Aggregate> RunningAggregate for Running<A> {
    fn accept(&mut self, batch: &[u8]) -> Result<(), Error> {
        Batch::new(batch).try_for_each(|record| self.0.accept(&record?))
    }

    fn state(&self) -> Result<Vec<u8>, Error> {
        self.0.save()
    }

    fn merge(&mut self, state: &[u8]) -> Result<(), Error> {
        self.0.merge(A::load(state)?)
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, Error> {
        answer(self.0.finish()?)
    }
}

/// Begins an aggregate with archived arguments.
pub fn start_aggregate<A: Aggregate>(arguments: &[u8]) -> Result<Box<dyn RunningAggregate>, Error> {
    Ok(Box::new(Running(A::init(read_whole(arguments)?)?)))
}

/// A row function under way in this instance.
pub trait RunningRows {
    /// A record's archived row; none leaves it out.
    fn row(&mut self, record: &RecordView<'_>) -> Result<Option<Vec<u8>>, Error>;

    /// The rows of a batch: for each a little-endian length of four bytes, then the archived value.
    fn batch(&mut self, batch: &[u8]) -> Result<Vec<u8>, Error> {
        let mut rows = Vec::new();
        for record in Batch::new(batch) {
            if let Some(row) = self.row(&record?)? {
                let too_long = |_| Error::new("row-too-long", "a row is over 4 GiB");
                rows.extend_from_slice(&u32::try_from(row.len()).map_err(too_long)?.to_le_bytes());
                rows.extend_from_slice(&row);
            }
        }
        Ok(rows)
    }
}

struct RowsRunning<R>(R);

impl<R: Rows> RunningRows for RowsRunning<R> {
    fn row(&mut self, record: &RecordView<'_>) -> Result<Option<Vec<u8>>, Error> {
        self.0.row(record)?.map(|row| archive_row(&row)).transpose()
    }
}

fn archive_row(row: &impl Serialize) -> Result<Vec<u8>, Error> {
    codec::archive_value(&codec::value_of(row)?)
}

/// Begins a row query with archived arguments.
pub fn start_rows<R: Rows>(arguments: &[u8]) -> Result<Box<dyn RunningRows>, Error> {
    Ok(Box::new(RowsRunning(R::init(read_whole(arguments)?)?)))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
