//! The `document` module: a JSON document is a record, its members are the bins.
//!
//! Parts are read and changed where an RFC 9535 JSONPath points; RFC 7396 merge patches and RFC 6902 patches apply all
//! or nothing; a whole set is filtered, counted and grouped by a JSONPath filter.

mod edit;
mod eval;
mod json;
mod path;
mod rfc;
mod sets;
mod typed;

use outcrop_udf::prelude::*;

use json::{bins_of, document_of, from_json, to_json};
use path::{Path, normalized};
pub use sets::{Count, Distinct, DistinctValue, DistinctValues, Query};

/// Code of a record that isn't there.
const NO_DOCUMENT: &str = "no-document";

/// The record's document; it has to be there.
fn read(record: &Record) -> Result<serde_json::Value> {
    ensure_exists(record)?;
    document_of(&record.bins()?)
}

fn ensure_exists(record: &Record) -> Result<()> {
    if !record.exists() {
        bail!(code: NO_DOCUMENT, "there is no document {}", record.key());
    }
    Ok(())
}

fn write(record: &mut Record, document: &serde_json::Value) -> Result<()> {
    record.replace_bins(&bins_of(document)?)
}

/// Parts of a document: the values that a JSONPath points at, in a list.
#[record_fn]
pub fn get(record: &Record, #[default("$".to_owned())] path: String) -> Result<Vec<Value>> {
    let path = Path::parse(&path)?;
    let document = read(record)?;
    path.values(&document)?.into_iter().map(from_json).collect()
}

/// Where a JSONPath points: normalized paths, in a list.
#[record_fn]
pub fn locate(record: &Record, path: String) -> Result<Vec<String>> {
    let path = Path::parse(&path)?;
    Ok(path.places(&read(record)?)?.iter().map(|place| normalized(place)).collect())
}

/// Writes a whole document, in place of what was there.
#[record_fn]
pub fn set(record: &mut Record, document: Value) -> Result<()> {
    write(record, &to_json(&document)?)
}

/// Puts a value at every match of a path; how many there were.
#[record_fn]
pub fn update(record: &mut Record, path: String, value: Value) -> Result<usize> {
    change(record, |document| edit::update(document, &Path::parse(&path)?, &to_json(&value)?))
}

/// Adds a member or an element: the path's last step names it. How many were added.
#[record_fn]
pub fn insert(record: &mut Record, path: String, value: Value) -> Result<usize> {
    change(record, |document| edit::insert(document, &Path::parse(&path)?, &to_json(&value)?))
}

/// Removes every match of a path; how many there were.
#[record_fn]
pub fn delete(record: &mut Record, path: String) -> Result<usize> {
    change(record, |document| edit::delete(document, &Path::parse(&path)?))
}

/// Appends values to the array at every match of a path; how many arrays there were.
#[record_fn]
pub fn append(record: &mut Record, path: String, values: Vec<Value>) -> Result<usize> {
    let values = values.iter().map(to_json).collect::<Result<Vec<_>>>()?;
    change(record, |document| edit::append(document, &Path::parse(&path)?, &values))
}

/// Adds to the number at every match of a path; the sums. Integers stay integers.
#[record_fn]
pub fn increment(record: &mut Record, path: String, #[default(Value::Int(1))] by: Value) -> Result<Vec<Value>> {
    let serde_json::Value::Number(by) = to_json(&by)? else {
        bail!(code: Error::INVALID_ARGUMENTS, "`by` is a number, not {}", by.type_name());
    };
    let mut document = read(record)?;
    let sums = edit::increment(&mut document, &Path::parse(&path)?, &by)?;
    if !sums.is_empty() {
        write(record, &document)?;
    }
    sums.iter().map(from_json).collect()
}

/// Applies an RFC 7396 merge patch: members are replaced, null removes them; the document that comes of it. A document
/// that isn't there counts as empty.
#[record_fn]
pub fn merge(record: &mut Record, patch: Value) -> Result<Value> {
    let mut document = if record.exists() { read(record)? } else { serde_json::json!({}) };
    rfc::merge(&mut document, &to_json(&patch)?);
    write(record, &document)?;
    from_json(&document)
}

/// Applies an RFC 6902 patch, all of its operations or none; the document that comes of it.
#[record_fn]
pub fn patch(record: &mut Record, operations: Value) -> Result<Value> {
    let mut document = read(record)?;
    rfc::patch(&mut document, &to_json(&operations)?)?;
    write(record, &document)?;
    from_json(&document)
}

fn change(record: &mut Record, change: impl FnOnce(&mut serde_json::Value) -> Result<usize>) -> Result<usize> {
    let mut document = read(record)?;
    let changed = change(&mut document)?;
    if changed > 0 {
        write(record, &document)?;
    }
    Ok(changed)
}

outcrop_udf::module! {
    doc: "JSON documents: JSONPath (RFC 9535) to read, change, filter, count; merge patch (RFC 7396), patch (RFC 6902).",
    functions: [get, locate, set, update, insert, delete, append, increment, merge, patch, Query, Count, Distinct],
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
