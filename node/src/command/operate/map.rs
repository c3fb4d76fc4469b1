//! Steps on maps, whose keys keep the order in which they were written.

use outcrop_wire::{MapKey, Value};

use super::draft::{At, Draft};
use super::error::OperateError;

type Entries = Vec<(MapKey, Value)>;

/// Comparisons that finding a rank takes for each key, about.
const RANK_WORK: usize = 4;

/// The map in the step's bin; `None` if the bin is absent.
fn read<'d>(draft: &'d Draft<'_>, at: At<'_>) -> Result<Option<&'d Entries>, OperateError> {
    match draft.read(at) {
        None => Ok(None),
        Some(Value::Map(entries)) => Ok(Some(entries)),
        Some(other) => Err(at.mismatch("a map", other)),
    }
}

/// Its number of keys, 0 if the bin is absent.
fn read_len(draft: &Draft<'_>, at: At<'_>) -> Result<usize, OperateError> {
    Ok(read(draft, at)?.map_or(0, Vec::len))
}

/// The map, about to be changed; a new one if the bin is absent.
fn change<'d>(draft: &'d mut Draft<'_>, at: At<'_>) -> Result<&'d mut Entries, OperateError> {
    if read(draft, at)?.is_none() {
        draft.put(at, Value::Map(Vec::new()))?;
    }
    match draft.change(at) {
        Some(Value::Map(entries)) => Ok(entries),
        // Unreachable: it was read as a map, or has just become one.
        other => Err(at.mismatch("a map", other.as_deref().unwrap_or(&Value::Null))),
    }
}

/// Where a key stands.
fn find(draft: &mut Draft<'_>, at: At<'_>, key: &MapKey) -> Result<Option<usize>, OperateError> {
    let len = read_len(draft, at)?;
    draft.spend(at, len)?;
    Ok(read(draft, at)?.and_then(|entries| entries.iter().position(|(name, _)| name == key)))
}

pub(super) fn put(draft: &mut Draft<'_>, at: At<'_>, key: &MapKey, value: &Value) -> Result<Value, OperateError> {
    at.check_depth(value, 1)?;
    let found = find(draft, at, key)?;
    let entries = change(draft, at)?;
    match found.and_then(|place| entries.get_mut(place)) {
        Some(entry) => entry.1 = value.clone(),
        None => entries.push((key.clone(), value.clone())),
    }
    Ok(Value::Int(entries.len() as i64))
}

pub(super) fn remove(draft: &mut Draft<'_>, at: At<'_>, key: &MapKey) -> Result<Value, OperateError> {
    match find(draft, at, key)? {
        Some(place) => Ok(change(draft, at)?.remove(place).1),
        None => Ok(Value::Null),
    }
}

pub(super) fn get_by_key(draft: &mut Draft<'_>, at: At<'_>, key: &MapKey) -> Result<Value, OperateError> {
    let found = find(draft, at, key)?;
    let value = found.and_then(|place| Some(&read(draft, at).ok()??.get(place)?.1));
    draft.check_result(at, value)?;
    Ok(value.cloned().unwrap_or_default())
}

pub(super) fn get_by_rank(draft: &mut Draft<'_>, at: At<'_>, rank: i64) -> Result<Value, OperateError> {
    let len = read_len(draft, at)?;
    let from_start = if rank < 0 { rank.checked_add_unsigned(len as u64) } else { Some(rank) };
    let place = from_start.and_then(|place| usize::try_from(place).ok()).filter(|&place| place < len);
    let Some(place) = place else { return Ok(Value::Null) };
    draft.spend(at, len * RANK_WORK)?;
    let Some(entries) = read(draft, at)? else { return Ok(Value::Null) };
    let mut order: Vec<usize> = (0..len).collect();
    let by_value = |a: &usize, b: &usize| entries[*a].1.order(&entries[*b].1).then(a.cmp(b));
    let (_, ranked, _) = order.select_nth_unstable_by(place, by_value);
    let (key, value) = &entries[*ranked];
    draft.check_result(at, Some(value))?;
    Ok(Value::List(vec![key_value(key), value.clone()]))
}

pub(super) fn len(draft: &Draft<'_>, at: At<'_>) -> Result<Value, OperateError> {
    Ok(Value::Int(read_len(draft, at)? as i64))
}

fn key_value(key: &MapKey) -> Value {
    match key {
        MapKey::Int(number) => Value::Int(*number),
        MapKey::Text(text) => Value::Text(text.clone()),
        MapKey::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}
