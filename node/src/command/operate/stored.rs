//! Steps on bins that are there: only these are decoded, and the rest of the record is copied as it lies.
//!
//! A counter's record has a dozen other bins that nobody asked for. What the steps do stands in one place, [`super::run`];
//! here it is only given fewer bins.

use outcrop_wire::archive::ArchiveError;
use outcrop_wire::peek::{BinsWriter, PeekBins, PeekError, patched};
use outcrop_wire::{Bin, Bins, Operation, Value};

use super::{Applied, OperateError, Outcome, apply_owned};

/// Bins that are looked for one by one; for more of them the record is decoded.
const BINS_FEW: usize = 8;

/// What the steps came to.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedStored {
    /// One for each step.
    pub results: Vec<Value>,
    /// What is to be done with the record.
    pub outcome: StoredOutcome,
}

/// What is to be done with the record, which stays.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredOutcome {
    /// Nothing.
    Keep,
    /// It becomes this archive.
    Write(Vec<u8>),
    /// It keeps its bins and gets a new time to live.
    Touch,
}

/// Applies the steps to the archived bins of a record. `None`: they make or remove bins, or are about too many of them, or
/// the archive is damaged; then the record has to be decoded, which also says what is wrong.
pub fn apply_stored(archive: &[u8], operations: &[Operation]) -> Result<Option<AppliedStored>, OperateError> {
    let Ok(stored) = PeekBins::new(archive) else { return Ok(None) };
    let Ok(Some(few)) = few_bins(&stored, operations) else { return Ok(None) };
    let before = few.clone();
    let Applied { results, outcome, .. } = apply_owned(Some(few), operations)?;
    let outcome = match outcome {
        Outcome::ReadOnly | Outcome::Nothing => StoredOutcome::Keep,
        Outcome::Touch => StoredOutcome::Touch,
        Outcome::Write(after) => match written(archive, &stored, &before, &after) {
            Ok(archive) => StoredOutcome::Write(archive),
            // Too large, most likely: the steps on the whole record say it in their own words.
            Err(_) => return Ok(None),
        },
        Outcome::Delete => return Ok(None),
    };
    Ok(Some(AppliedStored { results, outcome }))
}

/// The bins that the steps are about, if they are few and all there. One that is only read needn't be there.
fn few_bins(stored: &PeekBins<'_>, operations: &[Operation]) -> Result<Option<Bins>, PeekError> {
    let mut few = Bins::new();
    for operation in operations {
        let name = match operation {
            Operation::Touch => continue,
            Operation::Remove { .. } | Operation::Delete => return Ok(None),
            _ => operation.bin().unwrap_or_default(),
        };
        if few.get(name).is_some() {
            continue;
        }
        match stored.get(name)? {
            Some(_) if few.bins.len() >= BINS_FEW => return Ok(None),
            Some(value) => few.bins.push(Bin { name: name.to_owned(), value: value.to_value()? }),
            None if operation.writes() => return Ok(None),
            None => {}
        }
    }
    Ok(Some(few))
}

/// Whether a value is the other to the last bit; lists and maps, which may hold floats, count as changed.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::List(_) | Value::Map(_), _) => false,
        (a, b) => a == b,
    }
}

/// The archive with `after` in the place of `before`, which have the same names.
fn written(archive: &[u8], stored: &PeekBins<'_>, before: &Bins, after: &Bins) -> Result<Vec<u8>, ArchiveError> {
    let changed = after.bins.iter().zip(&before.bins).filter(|(after, before)| !is_same(&after.value, &before.value));
    let changed: Vec<(&str, &Value)> = changed.map(|(after, _)| (after.name.as_str(), &after.value)).collect();
    if let Some(archive) = patched(archive, changed.iter().copied())? {
        return Ok(archive);
    }
    let mut writer = BinsWriter::with_capacity(archive.len() + 256);
    for bin in stored.iter() {
        let (name, value) = bin?;
        match changed.iter().find(|(changed, _)| *changed == name) {
            Some((_, value)) => writer.push(name, value)?,
            None => writer.push_peeked(name, value)?,
        }
    }
    writer.finish()
}
