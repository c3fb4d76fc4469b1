//! Archived sizes, before anything is archived: to refuse what is too large while that is cheap.

use outcrop_wire::operation::ArchivedMapKey;
use outcrop_wire::record::ArchivedBin;
use outcrop_wire::value::ArchivedValue;
use outcrop_wire::{Bins, MapKey, Value};
use rkyv::tuple::ArchivedTuple2;

/// Bytes of a value in an archive: its own and those that it points at.
pub(super) fn archived_bytes(value: &Value) -> usize {
    size_of::<ArchivedValue>() + outside_bytes(value)
}

/// Bytes of archived bins.
pub(super) fn archived_bins_bytes(bins: &Bins) -> usize {
    let bin_bytes = |name: &str, value| size_of::<ArchivedBin>() + text_bytes(name) + outside_bytes(value);
    let bins = bins.bins.iter().map(|bin| bin_bytes(&bin.name, &bin.value));
    size_of::<outcrop_wire::record::ArchivedBins>() + bins.sum::<usize>()
}

fn outside_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        Value::Text(text) => text_bytes(text),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(archived_bytes).sum(),
        Value::Map(entries) => {
            let entry_bytes = size_of::<ArchivedTuple2<ArchivedMapKey, ArchivedValue>>();
            entries.iter().map(|(key, item)| entry_bytes + key_bytes(key) + outside_bytes(item)).sum()
        }
    }
}

fn key_bytes(key: &MapKey) -> usize {
    match key {
        MapKey::Int(_) => 0,
        MapKey::Text(text) => text_bytes(text),
        MapKey::Bytes(bytes) => bytes.len(),
    }
}

/// Short text lies within its own archived pointer.
fn text_bytes(text: &str) -> usize {
    if text.len() <= size_of::<rkyv::string::ArchivedString>() { 0 } else { text.len() }
}
