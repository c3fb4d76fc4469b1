//! Values and keys between the world's types and the wire's.

use outcrop_wire::archive::{check_value, decode_value};
use outcrop_wire::json::{parse_value, to_text};
use outcrop_wire::limits::VALUE_DEPTH_MAX;
use outcrop_wire::{UserKeyRef, Value as Owned};

use crate::udf::bindings::outcrop::udf::types::{AccessError, UserKey, Value};
use crate::udf::view::BinView;

/// A value of a guest, checked; lists and maps come as JSON text or as an archive.
pub fn from_guest(value: Value) -> Result<Owned, AccessError> {
    let invalid = |error: String| AccessError::Invalid(error);
    let value = match value {
        Value::Null => Owned::Null,
        Value::Boolean(value) => Owned::Bool(value),
        Value::Integer(value) => Owned::Int(value),
        Value::Float(value) => Owned::Float(value),
        Value::Text(value) => Owned::Text(value),
        Value::Bytes(value) => Owned::Bytes(value),
        Value::Json(text) => json_to_value(&text).map_err(invalid)?,
        Value::Archived(bytes) => return decode_value(&bytes).map_err(|error| invalid(error.to_string())),
    };
    check_value(&value).map_err(|error| invalid(error.to_string()))?;
    Ok(value)
}

/// A bin for a guest: scalars as they are, lists and maps as JSON text.
pub fn bin_to_guest(bin: &BinView<'_>) -> Result<Value, AccessError> {
    let value = bin.to_value().map_err(|error| damaged(&error))?;
    Ok(match value.into_owned() {
        Owned::Null => Value::Null,
        Owned::Bool(value) => Value::Boolean(value),
        Owned::Int(value) => Value::Integer(value),
        Owned::Float(value) => Value::Float(value),
        Owned::Text(value) => Value::Text(value),
        Owned::Bytes(value) => Value::Bytes(value),
        nested @ (Owned::List(_) | Owned::Map(_)) => Value::Json(to_text(&nested)),
    })
}

/// What is stored can't be read.
pub fn damaged(error: &impl std::fmt::Display) -> AccessError {
    AccessError::Invalid(format!("the stored bins are damaged: {error}"))
}

/// A user key for a guest.
pub fn guest_key(key: UserKeyRef<'_>) -> UserKey {
    match key {
        UserKeyRef::Int(number) => UserKey::Integer(number),
        UserKeyRef::Text(text) => UserKey::Text(text.to_owned()),
        UserKeyRef::Bytes(bytes) => UserKey::Bytes(bytes.to_vec()),
    }
}

/// A user key of a guest.
pub fn user_key(key: UserKey) -> outcrop_wire::UserKey {
    match key {
        UserKey::Integer(number) => outcrop_wire::UserKey::Int(number),
        UserKey::Text(text) => outcrop_wire::UserKey::Text(text),
        UserKey::Bytes(bytes) => outcrop_wire::UserKey::Bytes(bytes),
    }
}

/// JSON text as a value; an error says where it is wrong.
pub fn json_to_value(text: &str) -> Result<Owned, String> {
    parse_value(text.as_bytes(), VALUE_DEPTH_MAX).map_err(|error| error.to_string())
}
