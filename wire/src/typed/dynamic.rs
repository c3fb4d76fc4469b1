//! A value of any type as a field of a serde type.

use std::fmt;

use crate::{MapKey, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A [`Value`] that serde can carry: a field whose type isn't known beforehand.
///
/// ```
/// use outcrop_wire::Value;
/// use outcrop_wire::typed::{AnyValue, from_bins, to_bins};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Event {
///     kind: String,
///     payload: AnyValue,
/// }
/// let event = Event { kind: "click".into(), payload: AnyValue(Value::List(vec![1.into(), 2.5.into()])) };
/// let back: Event = from_bins(&to_bins(&event)?)?;
/// assert_eq!(back.payload, event.payload);
/// # Ok::<(), outcrop_wire::TypedError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnyValue(
    /// The value.
    pub Value,
);

impl From<Value> for AnyValue {
    fn from(value: Value) -> Self {
        AnyValue(value)
    }
}

/// Serializes a borrowed value.
struct ValueRef<'a>(&'a Value);
struct KeyRef<'a>(&'a MapKey);
struct BytesRef<'a>(&'a [u8]);

impl Serialize for BytesRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for KeyRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            MapKey::Int(number) => serializer.serialize_i64(*number),
            MapKey::Text(text) => serializer.serialize_str(text),
            MapKey::Bytes(bytes) => BytesRef(bytes).serialize(serializer),
        }
    }
}

impl Serialize for ValueRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::Bytes(value) => BytesRef(value).serialize(serializer),
            Value::List(items) => serializer.collect_seq(items.iter().map(ValueRef)),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&KeyRef(key), &ValueRef(value))?;
                }
                map.end()
            }
        }
    }
}

impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ValueRef(&self.0).serialize(serializer)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ValueRef(self).serialize(serializer)
    }
}

impl Serialize for MapKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        KeyRef(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

impl<'de> Deserialize<'de> for MapKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(AnyValue)
    }
}

struct AnyVisitor;
struct AnyKey(MapKey);
struct KeyVisitor;

impl<'de> Deserialize<'de> for AnyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor).map(AnyKey)
    }
}

fn to_int<E: serde::de::Error>(value: u64) -> Result<i64, E> {
    i64::try_from(value).map_err(|_| E::custom(format!("{value} is over i64::MAX, and values hold no larger integers")))
}

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = MapKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, text or bytes as a key")
    }

    fn visit_i64<E>(self, value: i64) -> Result<MapKey, E> {
        Ok(MapKey::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<MapKey, E> {
        to_int(value).map(MapKey::Int)
    }

    fn visit_str<E>(self, value: &str) -> Result<MapKey, E> {
        Ok(MapKey::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<MapKey, E> {
        Ok(MapKey::Bytes(value.to_vec()))
    }
}

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        to_int(value).map(Value::Int)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4_096));
        while let Some(AnyValue(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0).min(4_096));
        while let Some((AnyKey(key), AnyValue(value))) = map.next_entry()? {
            entries.push((key, value));
        }
        Ok(Value::Map(entries))
    }
}
