//! Steps on numbers, text and bytes.

use outcrop_wire::Value;

use super::draft::{At, Draft};
use super::error::OperateError;

pub(super) fn add(draft: &mut Draft<'_>, at: At<'_>, amount: &Value) -> Result<Value, OperateError> {
    const NUMBER: &str = "an integer or a float";
    if !matches!(amount, Value::Int(_) | Value::Float(_)) {
        return Err(at.argument(NUMBER, amount));
    }
    let sum = match (draft.read(at).unwrap_or(&Value::Int(0)), amount) {
        (Value::Int(a), Value::Int(b)) => match a.checked_add(*b) {
            Some(sum) => Value::Int(sum),
            None => {
                return Err(OperateError::Overflow { step: at.step, bin: at.bin.to_owned(), value: *a, amount: *b });
            }
        },
        (Value::Int(a), Value::Float(b)) => Value::Float(*a as f64 + b),
        (Value::Float(a), Value::Int(b)) => Value::Float(a + *b as f64),
        (Value::Float(a), Value::Float(b)) => Value::Float(a + b),
        (other, _) => return Err(at.mismatch(NUMBER, other)),
    };
    draft.put(at, sum.clone())?;
    Ok(sum)
}

/// Where text or bytes are added.
#[derive(Clone, Copy)]
pub(super) enum End {
    Front,
    Back,
}

pub(super) fn extend(draft: &mut Draft<'_>, at: At<'_>, value: &Value, end: End) -> Result<Value, OperateError> {
    let empty = match value {
        Value::Text(_) => Value::Text(String::new()),
        Value::Bytes(_) => Value::Bytes(Vec::new()),
        _ => return Err(at.argument("text or bytes", value)),
    };
    match (draft.read(at), value) {
        (None, _) => draft.put(at, empty)?,
        (Some(Value::Text(_)), Value::Text(_)) | (Some(Value::Bytes(_)), Value::Bytes(_)) => {}
        (Some(other), Value::Text(_)) => return Err(at.mismatch("text", other)),
        (Some(other), _) => return Err(at.mismatch("bytes", other)),
    }
    let len = match (draft.change(at), value) {
        (Some(Value::Text(whole)), Value::Text(part)) => {
            let place = if matches!(end, End::Front) { 0 } else { whole.len() };
            whole.insert_str(place, part);
            whole.len()
        }
        (Some(Value::Bytes(whole)), Value::Bytes(part)) => {
            let place = if matches!(end, End::Front) { 0 } else { whole.len() };
            whole.splice(place..place, part.iter().copied());
            whole.len()
        }
        // Unreachable: the types were compared above.
        (Some(other), _) => return Err(at.mismatch("text or bytes", other)),
        (None, _) => 0,
    };
    Ok(Value::Int(len as i64))
}
