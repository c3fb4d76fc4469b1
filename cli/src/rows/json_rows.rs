//! Rows from JSON: every document is parsed on its own, so that one that is refused leaves the others alone.

use std::io::Read;
use std::ops::ControlFlow;

use outcrop_wire::limits::VALUE_DEPTH_MAX;
use outcrop_wire::{Bins, MapKey, UserKey, Value};

use super::meter::Metered;
use super::split::Values;
use super::{KeyField, PRINTED_KEY_FIELD, ROW_BYTES_MAX, Row, RowOptions, RowsError};
use super::{key_of_number, key_of_printed, key_of_value};
use crate::json::{bins_from_value, parse_value};

/// Reads an array (`array`) or documents one after another.
pub(super) fn read(
    input: Metered<impl Read>,
    options: &RowOptions,
    array: bool,
    each: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<(), RowsError> {
    let mut values = Values::new(input, array)?;
    let mut text = Vec::new();
    while let Some(piece) = values.next_into(&mut text)? {
        let content = if piece.cut {
            Err(format!("it has over {ROW_BYTES_MAX} bytes"))
        } else {
            record(&text, piece.row, options)
        };
        if each(Row { number: piece.row, line: piece.line, bytes: text.len(), content }).is_break() {
            break;
        }
    }
    Ok(())
}

/// One document as a record.
fn record(text: &[u8], number: u64, options: &RowOptions) -> Result<(UserKey, Bins), String> {
    // A record's bins are a level above what the limit counts.
    let mut value = parse_value(text, VALUE_DEPTH_MAX + 1).map_err(|error| error.to_string())?;
    let key = match &options.key {
        KeyField::RowNumber => key_of_number(number),
        KeyField::Printed => take_printed_key(&mut value)?,
        KeyField::Named(name) => match value.get(&MapKey::Text(name.clone())) {
            Some(field) => key_of_value(field, options.key_type)?,
            None => return Err(format!("it has no field {name:?} for the key")),
        },
    };
    let bins = bins_from_value(value).map_err(|error| error.to_string())?;
    Ok((key, bins))
}

/// Takes the field `$key` out of a document.
fn take_printed_key(document: &mut Value) -> Result<UserKey, String> {
    let missing = || format!("it has no field {PRINTED_KEY_FIELD:?} for the key");
    let Value::Map(entries) = document else { return Err(missing()) };
    let is_key = |(name, _): &(MapKey, Value)| matches!(name, MapKey::Text(name) if name == PRINTED_KEY_FIELD);
    let place = entries.iter().position(is_key).ok_or_else(missing)?;
    match entries.remove(place).1 {
        Value::Text(printed) => key_of_printed(&printed),
        other => Err(format!("the field {PRINTED_KEY_FIELD:?} is {}, not a key as text", other.type_name())),
    }
}
