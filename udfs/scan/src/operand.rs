//! Values while an expression is worked out: scalars by value, texts in place, lists and maps not before they are asked.

use std::borrow::Cow;
use std::cmp::Ordering;

use outcrop_udf::{Error, MapKey, PeekValue, Value};

/// A value of a record, of a row or of the expression itself.
#[derive(Debug, Clone)]
pub enum Operand<'a> {
    /// Nothing: also a bin, member or element that isn't there.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list or map of a record.
    Stored(PeekValue<'a>),
    /// A list or map of a row or of the expression.
    Held(&'a Value),
}

impl<'a> From<PeekValue<'a>> for Operand<'a> {
    #[inline]
    fn from(value: PeekValue<'a>) -> Self {
        match value {
            PeekValue::Null => Operand::Null,
            PeekValue::Bool(truth) => Operand::Bool(truth),
            PeekValue::Int(number) => Operand::Int(number),
            PeekValue::Float(number) => Operand::Float(number),
            PeekValue::Text(text) => Operand::Text(Cow::Borrowed(text)),
            PeekValue::Bytes(bytes) => Operand::Bytes(bytes),
            PeekValue::List(_) | PeekValue::Map(_) => Operand::Stored(value),
        }
    }
}

impl<'a> From<&'a Value> for Operand<'a> {
    #[inline]
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Operand::Null,
            Value::Bool(truth) => Operand::Bool(*truth),
            Value::Int(number) => Operand::Int(*number),
            Value::Float(number) => Operand::Float(*number),
            Value::Text(text) => Operand::Text(Cow::Borrowed(text)),
            Value::Bytes(bytes) => Operand::Bytes(bytes),
            Value::List(_) | Value::Map(_) => Operand::Held(value),
        }
    }
}

impl<'a> Operand<'a> {
    /// An owned copy, as it is.
    pub fn to_value(&self) -> Result<Value, Error> {
        Ok(match self {
            Operand::Null => Value::Null,
            Operand::Bool(truth) => Value::Bool(*truth),
            Operand::Int(number) => Value::Int(*number),
            Operand::Float(number) => Value::Float(*number),
            Operand::Text(text) => Value::Text(text.to_string()),
            Operand::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Operand::Stored(value) => value.to_value()?,
            Operand::Held(value) => (*value).clone(),
        })
    }

    /// Its truth; none for null and for what is neither true nor false.
    pub fn truth(&self) -> Option<bool> {
        if let Operand::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Operand::Null)
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Operand::Null => "null",
            Operand::Bool(_) => "bool",
            Operand::Int(_) => "integer",
            Operand::Float(_) => "float",
            Operand::Text(_) => "text",
            Operand::Bytes(_) => "bytes",
            Operand::Stored(value) => value.type_name(),
            Operand::Held(value) => value.type_name(),
        }
    }

    /// Characters of a text, bytes, elements of a list, entries of a map; none for the rest.
    pub fn length(&self) -> Option<usize> {
        match self {
            Operand::Text(text) => Some(text.chars().count()),
            Operand::Bytes(bytes) => Some(bytes.len()),
            Operand::Stored(PeekValue::List(list)) => Some(list.len()),
            Operand::Stored(PeekValue::Map(map)) => Some(map.len()),
            Operand::Held(Value::List(items)) => Some(items.len()),
            Operand::Held(Value::Map(entries)) => Some(entries.len()),
            _ => None,
        }
    }

    /// The value of a map's key, null if there is none.
    pub fn member(&self, name: &str) -> Result<Operand<'a>, Error> {
        Ok(match self {
            Operand::Stored(PeekValue::Map(map)) => map.get(name)?.map_or(Operand::Null, Operand::from),
            Operand::Held(Value::Map(entries)) => {
                let found = entries.iter().find(|(key, _)| matches!(key, MapKey::Text(text) if text == name));
                found.map_or(Operand::Null, |(_, value)| Operand::from(value))
            }
            _ => Operand::Null,
        })
    }

    /// An element of a list, counted from 0, negative from the end; null if there is none.
    pub fn element(&self, index: i64) -> Result<Operand<'a>, Error> {
        let place = |length: usize| {
            let index = if index < 0 { index.checked_add(i64::try_from(length).ok()?)? } else { index };
            usize::try_from(index).ok().filter(|place| *place < length)
        };
        Ok(match self {
            Operand::Stored(PeekValue::List(list)) => match place(list.len()) {
                Some(at) => list.get(at)?.map_or(Operand::Null, Operand::from),
                None => Operand::Null,
            },
            Operand::Held(Value::List(items)) => {
                place(items.len()).and_then(|at| items.get(at)).map_or(Operand::Null, Operand::from)
            }
            _ => Operand::Null,
        })
    }

    /// Whether a list has an element, or a map a key, that equals `wanted`; none for the rest.
    pub fn holds(&self, wanted: &Operand<'_>) -> Result<Option<bool>, Error> {
        match self {
            Operand::Stored(PeekValue::List(list)) => {
                for item in list.iter() {
                    if equal(&Operand::from(item?), wanted)? {
                        return Ok(Some(true));
                    }
                }
                Ok(Some(false))
            }
            Operand::Held(Value::List(items)) => {
                for item in items {
                    if equal(&Operand::from(item), wanted)? {
                        return Ok(Some(true));
                    }
                }
                Ok(Some(false))
            }
            Operand::Stored(PeekValue::Map(map)) => Ok(match wanted {
                Operand::Text(name) => Some(map.get(name)?.is_some()),
                _ => Some(false),
            }),
            Operand::Held(Value::Map(entries)) => Ok(match wanted {
                Operand::Text(name) => {
                    Some(entries.iter().any(|(key, _)| matches!(key, MapKey::Text(text) if text == name)))
                }
                _ => Some(false),
            }),
            _ => Ok(None),
        }
    }
}

/// Compares two values of comparable types: numbers exactly, texts and bytes byte by byte, false before true. None for
/// other pairs, and for what isn't a number.
pub fn compare(a: &Operand<'_>, b: &Operand<'_>) -> Option<Ordering> {
    match (a, b) {
        (Operand::Int(a), Operand::Int(b)) => Some(a.cmp(b)),
        (Operand::Float(a), Operand::Float(b)) => a.partial_cmp(b),
        (Operand::Int(a), Operand::Float(b)) => compare_numbers(*a, *b),
        (Operand::Float(a), Operand::Int(b)) => compare_numbers(*b, *a).map(Ordering::reverse),
        (Operand::Text(a), Operand::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Operand::Bytes(a), Operand::Bytes(b)) => Some(a.cmp(b)),
        (Operand::Bool(a), Operand::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Compares without rounding the integer: above 2^53 not every one is a float.
fn compare_numbers(integer: i64, float: f64) -> Option<Ordering> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= TWO_63 {
        return Some(Ordering::Less);
    }
    if float < -TWO_63 {
        return Some(Ordering::Greater);
    }
    let fraction = 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal);
    Some(integer.cmp(&(float as i64)).then(fraction))
}

/// Whether two values are the same: null is null, numbers are compared as numbers, lists and maps item by item in order.
/// Values of different types are not the same.
pub fn equal(a: &Operand<'_>, b: &Operand<'_>) -> Result<bool, Error> {
    Ok(match (a, b) {
        (Operand::Null, Operand::Null) => true,
        (Operand::Stored(_) | Operand::Held(_), Operand::Stored(_) | Operand::Held(_)) => {
            a.length() == b.length() && canonical(a.to_value()?) == canonical(b.to_value()?)
        }
        _ => compare(a, b) == Some(Ordering::Equal),
    })
}

/// Order of constants in a list: by type, then as they compare.
pub fn order(a: &Operand<'_>, b: &Operand<'_>) -> Ordering {
    let rank = |operand: &Operand<'_>| match operand {
        Operand::Null => 0,
        Operand::Bool(_) => 1,
        Operand::Int(_) | Operand::Float(_) => 2,
        Operand::Text(_) => 3,
        Operand::Bytes(_) => 4,
        Operand::Stored(_) | Operand::Held(_) => 5,
    };
    rank(a).cmp(&rank(b)).then_with(|| compare(a, b).unwrap_or(Ordering::Equal))
}

/// The one form of all values that are the same: whole floats that 64-bit integers hold are integers, there is one zero
/// and one not-a-number.
pub fn canonical(value: Value) -> Value {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Float(number) if number.is_nan() => Value::Float(f64::NAN),
        Value::Float(number) if number.fract() == 0.0 && (-TWO_63..TWO_63).contains(&number) => {
            Value::Int(number as i64)
        }
        Value::List(items) => Value::List(items.into_iter().map(canonical).collect()),
        Value::Map(entries) => Value::Map(entries.into_iter().map(|(key, value)| (key, canonical(value))).collect()),
        other => other,
    }
}

/// Bytes that a value takes, roughly.
pub fn weight(value: &Value) -> usize {
    const EACH: usize = 32;
    let key_weight = |key: &MapKey| match key {
        MapKey::Int(_) => 0,
        MapKey::Text(text) => text.len(),
        MapKey::Bytes(bytes) => bytes.len(),
    };
    EACH + match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(entries) => entries.iter().map(|(key, value)| EACH + key_weight(key) + weight(value)).sum(),
        _ => 0,
    }
}

/// Appends bytes that two values share exactly if they are the same.
pub fn identity(operand: &Operand<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    match operand {
        Operand::Null => out.push(0),
        Operand::Bool(truth) => out.extend([1, u8::from(*truth)]),
        Operand::Int(number) => number_identity(Value::Int(*number), out),
        Operand::Float(number) => number_identity(canonical(Value::Float(*number)), out),
        Operand::Text(text) => with_length(4, text.as_bytes(), out),
        Operand::Bytes(bytes) => with_length(5, bytes, out),
        Operand::Stored(PeekValue::List(list)) => {
            start(6, list.len(), out);
            for item in list.iter() {
                identity(&Operand::from(item?), out)?;
            }
        }
        Operand::Held(Value::List(items)) => {
            start(6, items.len(), out);
            for item in items {
                identity(&Operand::from(item), out)?;
            }
        }
        Operand::Stored(_) => identity(&Operand::from(&operand.to_value()?), out)?,
        Operand::Held(Value::Map(entries)) => {
            start(7, entries.len(), out);
            for (key, value) in entries {
                match key {
                    MapKey::Int(number) => number_identity(Value::Int(*number), out),
                    MapKey::Text(text) => with_length(4, text.as_bytes(), out),
                    MapKey::Bytes(bytes) => with_length(5, bytes, out),
                }
                identity(&Operand::from(value), out)?;
            }
        }
        Operand::Held(value) => identity(&Operand::from(*value), out)?,
    }
    Ok(())
}

fn number_identity(number: Value, out: &mut Vec<u8>) {
    match number {
        Value::Int(number) => {
            out.push(2);
            out.extend(number.to_le_bytes());
        }
        Value::Float(number) => {
            out.push(3);
            out.extend(number.to_bits().to_le_bytes());
        }
        _ => out.push(0),
    }
}

fn start(tag: u8, length: usize, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((length as u64).to_le_bytes());
}

fn with_length(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    start(tag, bytes.len(), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_without_rounding() {
        let big = (1_i64 << 53) + 1;
        let of = |a: Operand<'_>, b: Operand<'_>| compare(&a, &b);
        assert_eq!(of(Operand::Int(big), Operand::Float((1_i64 << 53) as f64)), Some(Ordering::Greater));
        assert_eq!(of(Operand::Int(1), Operand::Float(1.0)), Some(Ordering::Equal));
        assert_eq!(of(Operand::Int(-1), Operand::Float(-1.5)), Some(Ordering::Greater));
        assert_eq!(of(Operand::Float(-1.5), Operand::Int(-1)), Some(Ordering::Less));
        assert_eq!(of(Operand::Int(i64::MAX), Operand::Float(i64::MAX as f64)), Some(Ordering::Less));
        assert_eq!(of(Operand::Int(i64::MIN), Operand::Float(i64::MIN as f64)), Some(Ordering::Equal));
        assert_eq!(of(Operand::Int(0), Operand::Float(f64::NAN)), None);
        assert_eq!(of(Operand::Int(0), Operand::Text("0".into())), None);
    }

    #[test]
    fn what_is_the_same_has_one_identity() {
        let bytes = |value: &Value| {
            let mut out = Vec::new();
            identity(&Operand::from(value), &mut out).expect("bytes");
            out
        };
        let values = [
            Value::Null,
            Value::Int(0),
            Value::Float(0.5),
            Value::from(""),
            Value::from("0"),
            Value::Bytes(vec![]),
            Value::List(vec![]),
            Value::List(vec![Value::Int(1)]),
            Value::Map(vec![(MapKey::from("a"), Value::Int(1))]),
            Value::Bool(false),
        ];
        for (place, a) in values.iter().enumerate() {
            for (other, b) in values.iter().enumerate() {
                assert_eq!(bytes(a) == bytes(b), place == other, "{a:?} {b:?}");
            }
        }
        assert_eq!(bytes(&Value::Float(-0.0)), bytes(&Value::Int(0)));
        assert_eq!(bytes(&Value::List(vec![Value::Float(1.0)])), bytes(&Value::List(vec![Value::Int(1)])));
    }
}
