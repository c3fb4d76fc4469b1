//! Steps on lists.

use outcrop_wire::Value;

use super::draft::{At, Draft};
use super::error::OperateError;

/// The list in the step's bin; `None` if the bin is absent.
fn read<'d>(draft: &'d Draft<'_>, at: At<'_>) -> Result<Option<&'d Vec<Value>>, OperateError> {
    match draft.read(at) {
        None => Ok(None),
        Some(Value::List(items)) => Ok(Some(items)),
        Some(other) => Err(at.mismatch("a list", other)),
    }
}

/// Its length, 0 if the bin is absent.
fn read_len(draft: &Draft<'_>, at: At<'_>) -> Result<usize, OperateError> {
    Ok(read(draft, at)?.map_or(0, Vec::len))
}

/// The list, about to be changed; a new one if the bin is absent.
fn change<'d>(draft: &'d mut Draft<'_>, at: At<'_>) -> Result<&'d mut Vec<Value>, OperateError> {
    if read(draft, at)?.is_none() {
        draft.put(at, Value::List(Vec::new()))?;
    }
    match draft.change(at) {
        Some(Value::List(items)) => Ok(items),
        // Unreachable: it was read as a list, or has just become one.
        other => Err(at.mismatch("a list", other.as_deref().unwrap_or(&Value::Null))),
    }
}

/// The place of an index that may count from the end; `None` before the first.
fn place(index: i64, len: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(place) => Some(place),
        Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

fn count(items: usize) -> Value {
    Value::Int(items as i64)
}

pub(super) fn append(draft: &mut Draft<'_>, at: At<'_>, value: &Value) -> Result<Value, OperateError> {
    at.check_depth(value, 1)?;
    let items = change(draft, at)?;
    items.push(value.clone());
    Ok(count(items.len()))
}

pub(super) fn insert(draft: &mut Draft<'_>, at: At<'_>, index: i64, value: &Value) -> Result<Value, OperateError> {
    at.check_depth(value, 1)?;
    let len = read_len(draft, at)?;
    let place = place(index, len).filter(|&place| place <= len).ok_or_else(|| at.out_of_range(index, len))?;
    draft.spend(at, len - place)?;
    let items = change(draft, at)?;
    items.insert(place, value.clone());
    Ok(count(items.len()))
}

pub(super) fn pop(draft: &mut Draft<'_>, at: At<'_>, index: i64) -> Result<Value, OperateError> {
    let len = read_len(draft, at)?;
    let place = place(index, len).filter(|&place| place < len).ok_or_else(|| at.out_of_range(index, len))?;
    draft.spend(at, len - place)?;
    Ok(change(draft, at)?.remove(place))
}

/// The window may begin before the first item and end behind the last.
pub(super) fn trim(draft: &mut Draft<'_>, at: At<'_>, index: i64, keep: u64) -> Result<Value, OperateError> {
    let len = read_len(draft, at)?;
    let start = i128::from(index) + if index < 0 { len as i128 } else { 0 };
    let within = |place: i128| place.clamp(0, len as i128) as usize;
    let (first, end) = (within(start), within(start + i128::from(keep)));
    let dropped = len - (end - first);
    if dropped > 0 {
        draft.spend(at, len)?;
        let items = change(draft, at)?;
        items.truncate(end);
        items.drain(..first);
    }
    Ok(count(dropped))
}

pub(super) fn remove(draft: &mut Draft<'_>, at: At<'_>, value: &Value) -> Result<Value, OperateError> {
    let len = read_len(draft, at)?;
    draft.spend(at, len)?;
    if !read(draft, at)?.is_some_and(|items| items.contains(value)) {
        return Ok(count(0));
    }
    let items = change(draft, at)?;
    items.retain(|item| item != value);
    Ok(count(len - items.len()))
}

pub(super) fn get(draft: &Draft<'_>, at: At<'_>, index: i64) -> Result<Value, OperateError> {
    let items = read(draft, at)?.map_or(&[][..], Vec::as_slice);
    let item = place(index, items.len()).and_then(|place| items.get(place));
    draft.check_result(at, item)?;
    Ok(item.cloned().unwrap_or_default())
}

pub(super) fn len(draft: &Draft<'_>, at: At<'_>) -> Result<Value, OperateError> {
    read_len(draft, at).map(count)
}
