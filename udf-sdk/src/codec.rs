//! Between types, values and archives: serde on one side, the node's bytes on the other.

use std::any::{Any, TypeId};

use outcrop_wire::archive;
use outcrop_wire::peek::{self, PeekValue};
use outcrop_wire::{Bins, Value, typed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// Any bytes as one value; plain `Vec<u8>` is a list of small integers to serde.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(
    /// The bytes.
    pub Vec<u8>,
);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// A result that already is an archived value, given to the caller as it is. The node validates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(
    /// The archive of one value.
    pub Vec<u8>,
);

/// What a function may give back: whatever serde serializes, or [`Raw`].
pub trait Answer {
    /// The archived value.
    fn archive(self) -> Result<Vec<u8>, Error>;
}

impl<T: Serialize> Answer for T {
    fn archive(self) -> Result<Vec<u8>, Error> {
        archive_value(&value_of(&self)?)
    }
}

impl Answer for Raw {
    fn archive(self) -> Result<Vec<u8>, Error> {
        Ok(self.0)
    }
}

/// For serde fields that a compact format can't carry, such as [`Value`]: `#[serde(with = "outcrop_udf::archived")]`
/// keeps them as the bytes of an archive. States of aggregates need it for values.
pub mod archived {
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Bytes, archive_value, of_archive, value_of};

    /// Serializes as the archive of the value.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let archive = value_of(value).and_then(|value| archive_value(&value)).map_err(serde::ser::Error::custom)?;
        Bytes(archive).serialize(serializer)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let Bytes(archive) = Bytes::deserialize(deserializer)?;
        of_archive(&archive).map_err(serde::de::Error::custom)
    }
}

pub(crate) fn value_of<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    typed::to_value(value).map_err(|error| Error::new("invalid", error.to_string()))
}

pub(crate) fn bins_of<T: Serialize + ?Sized>(bins: &T) -> Result<Bins, Error> {
    typed::to_bins(bins).map_err(|error| Error::new("invalid", error.to_string()))
}

pub(crate) fn archive_value(value: &Value) -> Result<Vec<u8>, Error> {
    Ok(archive::archive_value(value)?)
}

pub(crate) fn archive_bins(bins: &Bins) -> Result<Vec<u8>, Error> {
    Ok(archive::archive_bins(bins)?)
}

pub(crate) fn of_value<T: DeserializeOwned + 'static>(value: Value) -> Result<T, Error> {
    typed::from_value(&value).map_err(|error| Error::new(Error::WRONG_TYPE, error.to_string()))
}

pub(crate) fn of_archive<T: DeserializeOwned>(archive: &[u8]) -> Result<T, Error> {
    of_peek_any(&peek::value(archive)?)
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn of_archive_value(archive: &[u8]) -> Result<Value, Error> {
    Ok(peek::value(archive)?.to_value()?)
}

pub(crate) fn of_bins<T: DeserializeOwned>(archive: &[u8]) -> Result<T, Error> {
    let bins = peek::PeekBins::new(archive)?;
    typed::from_peeked_bins(bins).map_err(|error| Error::new(Error::WRONG_TYPE, error.to_string()))
}

/// A type of a peeked value, scalars without a detour through serde.
#[inline]
pub(crate) fn of_peek<T: DeserializeOwned + 'static>(value: &PeekValue<'_>) -> Result<T, Error> {
    let fast = match *value {
        PeekValue::Int(number) => same::<i64, T>(number),
        PeekValue::Float(number) => same::<f64, T>(number),
        PeekValue::Bool(flag) => same::<bool, T>(flag),
        PeekValue::Text(text) if TypeId::of::<T>() == TypeId::of::<String>() => same::<String, T>(text.to_owned()),
        _ => None,
    };
    match fast {
        Some(value) => Ok(value),
        None => of_peek_any(value),
    }
}

pub(crate) fn of_peek_any<T: DeserializeOwned>(value: &PeekValue<'_>) -> Result<T, Error> {
    typed::from_peeked(*value).map_err(|error| Error::new(Error::WRONG_TYPE, error.to_string()))
}

/// A type that wants a map, of one without entries.
pub(crate) fn of_empty_map<T: DeserializeOwned>() -> Result<T, Error> {
    typed::from_value(&Value::Map(Vec::new())).map_err(|error| Error::new(Error::WRONG_TYPE, error.to_string()))
}

/// A value of type `A` as one of type `B`, if they are the same type.
#[inline]
fn same<A: 'static, B: 'static>(value: A) -> Option<B> {
    let mut held = Some(value);
    (&mut held as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take)
}

/// Whether the type is one of Rust's integers that an integer bin is read into.
pub(crate) fn is_integer(kind: TypeId) -> bool {
    let kinds = [
        TypeId::of::<i64>(),
        TypeId::of::<i32>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<i16>(),
        TypeId::of::<u16>(),
        TypeId::of::<i8>(),
        TypeId::of::<u8>(),
        TypeId::of::<usize>(),
        TypeId::of::<isize>(),
    ];
    kinds.contains(&kind)
}

pub(crate) fn of_integer<T: DeserializeOwned + 'static>(number: i64) -> Result<T, Error> {
    of_peek(&PeekValue::Int(number))
}

pub(crate) fn no_bin(name: &str) -> Error {
    Error::new(Error::NO_BIN, format!("the record has no bin {name:?}"))
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn wrong_type(name: &str, held: &str) -> Error {
    Error::new(Error::WRONG_TYPE, format!("bin {name:?} holds {held}"))
}
