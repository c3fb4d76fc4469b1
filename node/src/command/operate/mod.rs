//! The verb `operate`: applies an ordered list of steps to one record's bins, all or nothing. Pure: no clock, no I/O.
//!
//! What each step does stands at [`Operation`]; what it leaves open is settled here:
//! - A bin that holds `Null` is not absent: `Add` to it is a type error.
//! - A step that finds nothing to change (`Remove` of an absent bin, `ListRemove` of a value that isn't there …) is no
//!   write: with nothing else to do the record keeps its generation, and an absent one isn't created.
//! - `ListTrim` keeps the part of its window that lies on the list; the window may reach over both ends, so that
//!   "append, then keep the last 100" needs no look at the length. `ListInsert` and `ListPop` outside are errors.
//! - `Touch` of a record that isn't there does nothing.
//! - A list of steps may visit [`WORK_MAX`] items, since a hostile one could cost 256 times a whole record.
//!
//! Architecture invariant: if a step fails, nothing of what earlier ones did can be seen: they worked on a draft.

mod draft;
mod error;
mod list;
mod map;
#[cfg(test)]
mod model_tests;
mod scalar;
mod size;
mod stored;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use outcrop_wire::limits::{FRAME_BYTES_MAX, STORED_BYTES_MAX};
use outcrop_wire::{Bins, Operation, Value};

use draft::{At, Draft};
pub use error::OperateError;
pub use stored::{AppliedStored, StoredOutcome, apply_stored};

/// Bytes of all results together: what the largest record's single bin needs.
pub const RESULT_BYTES_MAX: usize = STORED_BYTES_MAX;

/// Items of lists and maps that the steps of one `operate` may compare or move, together.
pub const WORK_MAX: usize = 32 << 20;

const _: () = assert!(RESULT_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX, "results must fit a reply");

/// What the steps came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// One for each step.
    pub results: Vec<Value>,
    /// What is to be done with the record.
    pub outcome: Outcome,
    /// A `Delete` came before what `Outcome::Write` holds: it is a new record, none of the old one's bins remain.
    pub recreated: bool,
}

/// What is to be done with the record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// No step writes.
    ReadOnly,
    /// The record becomes this.
    Write(Bins),
    /// The record keeps its bins and gets a new time to live.
    Touch,
    /// The record is deleted.
    Delete,
    /// There are steps that write, but they found nothing to do.
    Nothing,
}

/// Applies the steps to a record, `None` if it doesn't exist.
pub fn apply(record: Option<&Bins>, operations: &[Operation]) -> Result<Applied, OperateError> {
    run(record.map(Cow::Borrowed), operations)
}

/// [`apply`] to bins that the caller has no further use for: saves their copy if a step writes.
pub fn apply_owned(record: Option<Bins>, operations: &[Operation]) -> Result<Applied, OperateError> {
    run(record.map(Cow::Owned), operations)
}

fn run(record: Option<Cow<'_, Bins>>, operations: &[Operation]) -> Result<Applied, OperateError> {
    check_after_delete(operations)?;
    let existed = record.is_some();
    let mut draft = Draft::new(record);
    for (place, operation) in operations.iter().enumerate() {
        let at = At { step: place + 1, bin: operation.bin().unwrap_or_default(), name: name(operation) };
        let result = step(&mut draft, at, operation)?;
        draft.push_result(at, result)?;
    }
    draft.finish(existed, operations.iter().any(Operation::writes))
}

fn step(draft: &mut Draft<'_>, at: At<'_>, operation: &Operation) -> Result<Value, OperateError> {
    match operation {
        Operation::Read { .. } => {
            let value = draft.read(at);
            draft.check_result(at, value)?;
            Ok(value.cloned().unwrap_or_default())
        }
        Operation::Put { value, .. } => {
            at.check_depth(value, 0)?;
            draft.put(at, value.clone())?;
            Ok(Value::Null)
        }
        Operation::Remove { .. } => Ok(Value::Bool(draft.remove(at))),
        Operation::Add { amount, .. } => scalar::add(draft, at, amount),
        Operation::Append { value, .. } => scalar::extend(draft, at, value, scalar::End::Back),
        Operation::Prepend { value, .. } => scalar::extend(draft, at, value, scalar::End::Front),
        Operation::ListAppend { value, .. } => list::append(draft, at, value),
        Operation::ListInsert { index, value, .. } => list::insert(draft, at, *index, value),
        Operation::ListPop { index, .. } => list::pop(draft, at, *index),
        Operation::ListTrim { index, count, .. } => list::trim(draft, at, *index, *count),
        Operation::ListRemove { value, .. } => list::remove(draft, at, value),
        Operation::ListGet { index, .. } => list::get(draft, at, *index),
        Operation::ListLen { .. } => list::len(draft, at),
        Operation::MapPut { key, value, .. } => map::put(draft, at, key, value),
        Operation::MapRemove { key, .. } => map::remove(draft, at, key),
        Operation::MapGetByKey { key, .. } => map::get_by_key(draft, at, key),
        Operation::MapGetByRank { rank, .. } => map::get_by_rank(draft, at, *rank),
        Operation::MapLen { .. } => map::len(draft, at),
        Operation::Touch => {
            draft.touch();
            Ok(Value::Null)
        }
        Operation::Delete => Ok(Value::Bool(draft.delete())),
    }
}

/// Once deleted, only steps that can make a bin out of nothing make sense.
fn check_after_delete(operations: &[Operation]) -> Result<(), OperateError> {
    let Some(delete) = operations.iter().position(|operation| matches!(operation, Operation::Delete)) else {
        return Ok(());
    };
    let makes_bins = |operation: &Operation| {
        matches!(
            operation,
            Operation::Put { .. }
                | Operation::Add { .. }
                | Operation::Append { .. }
                | Operation::Prepend { .. }
                | Operation::ListAppend { .. }
                | Operation::ListInsert { .. }
                | Operation::MapPut { .. }
        )
    };
    match operations.iter().enumerate().skip(delete + 1).find(|(_, operation)| !makes_bins(operation)) {
        Some((place, operation)) => {
            Err(OperateError::AfterDelete { step: place + 1, operation: name(operation), delete: delete + 1 })
        }
        None => Ok(()),
    }
}

/// A step's name, as errors print it.
fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Read { .. } => "read",
        Operation::Put { .. } => "put",
        Operation::Remove { .. } => "remove",
        Operation::Add { .. } => "add",
        Operation::Append { .. } => "append",
        Operation::Prepend { .. } => "prepend",
        Operation::ListAppend { .. } => "list append",
        Operation::ListInsert { .. } => "list insert",
        Operation::ListPop { .. } => "list pop",
        Operation::ListTrim { .. } => "list trim",
        Operation::ListRemove { .. } => "list remove",
        Operation::ListGet { .. } => "list get",
        Operation::ListLen { .. } => "list length",
        Operation::MapPut { .. } => "map put",
        Operation::MapRemove { .. } => "map remove",
        Operation::MapGetByKey { .. } => "map get by key",
        Operation::MapGetByRank { .. } => "map get by rank",
        Operation::MapLen { .. } => "map length",
        Operation::Touch => "touch",
        Operation::Delete => "delete",
    }
}
