//! Values: what a bin holds. Nested documents are lists and maps; maps keep the order in which they were written.

use rkyv::{Archive, Deserialize, Serialize};

use crate::operation::MapKey;

/// A bin's value, nested to at most [`crate::limits::VALUE_DEPTH_MAX`].
///
/// Equality is exact: floats compare by their bits, so NaN equals the same NaN and `-0.0` is not `0.0`; what went in
/// comes out.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default)]
#[rkyv(serialize_bounds(
    __S: rkyv::ser::Writer + rkyv::ser::Allocator,
    __S::Error: rkyv::rancor::Source,
))]
#[rkyv(deserialize_bounds(__D::Error: rkyv::rancor::Source))]
#[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext)))]
#[rkyv(attr(doc = "A [`Value`] as it lies in an archive, read in place."))]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A 64-bit float, any bit pattern.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(#[rkyv(omit_bounds)] Vec<Value>),
    /// Keys and values in the order in which they were written, each key once.
    Map(#[rkyv(omit_bounds)] Vec<(MapKey, Value)>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Value {
    /// The name of the value's type, as errors print it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }

    /// Lists and maps inside one another: 0 for a scalar. Stops counting past `bound`, so that it never overflows the
    /// stack on a value made in memory.
    pub fn depth(&self, bound: usize) -> usize {
        let inner = |value: &Value| if bound == 0 { 1 } else { 1 + value.depth(bound - 1) };
        match self {
            Value::List(items) => items.iter().map(inner).max().unwrap_or(1),
            Value::Map(entries) => entries.iter().map(|(_, value)| inner(value)).max().unwrap_or(1),
            _ => 0,
        }
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &MapKey) -> Option<&Value> {
        match self {
            Value::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Total order of values: by type (null, bool, numbers, text, bytes, list, map), then by content. Integers and
    /// floats compare as numbers; equal numbers order integer first; floats order as IEEE 754 `totalOrder`.
    pub fn order(&self, other: &Value) -> std::cmp::Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Int(a), Value::Float(b)) => order_int_float(*a, *b),
            (Value::Float(a), Value::Int(b)) => order_int_float(*b, *a).reverse(),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::List(a), Value::List(b)) => {
                let unequal = a.iter().zip(b).map(|(x, y)| x.order(y)).find(|o| o.is_ne());
                unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Value::Map(a), Value::Map(b)) => {
                let unequal = a.iter().zip(b).map(|(x, y)| x.0.cmp(&y.0).then_with(|| x.1.order(&y.1)));
                unequal.into_iter().find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => self.type_rank().cmp(&other.type_rank()),
        }
    }

    fn type_rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) | Value::Float(_) => 2,
            Value::Text(_) => 3,
            Value::Bytes(_) => 4,
            Value::List(_) => 5,
            Value::Map(_) => 6,
        }
    }
}

/// Compares without rounding the integer: an i64 above 2^53 isn't exact as a float.
fn order_int_float(int: i64, float: f64) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return if float.is_sign_negative() { Ordering::Greater } else { Ordering::Less };
    }
    if float >= TWO_63 {
        return Ordering::Less;
    }
    if float < -TWO_63 {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    int.cmp(&(whole as i64)).then(if float < whole { Ordering::Greater } else { Ordering::Less })
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Int(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Bytes(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Value::Bytes(value.to_vec())
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Value::List(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_order_without_rounding() {
        let big = (1_i64 << 53) + 1;
        assert!(Value::Int(big).order(&Value::Float((1_i64 << 53) as f64)).is_gt());
        assert!(Value::Int(1).order(&Value::Float(1.5)).is_lt());
        assert!(Value::Int(-1).order(&Value::Float(-1.5)).is_gt());
        assert!(Value::Int(2).order(&Value::Float(1.5)).is_gt());
        assert!(Value::Int(1).order(&Value::Float(1.0)).is_lt());
        assert!(Value::Float(1.0).order(&Value::Int(1)).is_gt());
        assert!(Value::Int(i64::MAX).order(&Value::Float(f64::INFINITY)).is_lt());
        assert!(Value::Int(i64::MIN).order(&Value::Float(f64::NEG_INFINITY)).is_gt());
    }

    #[test]
    fn equality_is_by_bits() {
        assert_eq!(Value::Float(f64::NAN), Value::Float(f64::NAN));
        assert_ne!(Value::Float(0.0), Value::Float(-0.0));
        assert_ne!(Value::Int(1), Value::Float(1.0));
    }

    #[test]
    fn depth_stops_at_its_bound() {
        let mut value = Value::List(Vec::new());
        for _ in 0..99 {
            value = Value::List(vec![value]);
        }
        assert_eq!(value.depth(1_000), 100);
        assert!(value.depth(64) > 64);
        assert_eq!(Value::Int(1).depth(64), 0);
    }
}
