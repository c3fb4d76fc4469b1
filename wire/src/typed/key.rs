//! Keys of maps: integers, text and bytes, and what serde calls so.

use crate::MapKey;
use serde::Serialize;
use serde::ser::{Impossible, Serializer};

use super::PathError;

/// Makes a map's key of an integer, text, bytes or a unit variant; all else is refused.
pub(super) struct KeySerializer;

fn refused<T>(what: &str) -> Result<T, PathError> {
    Err(PathError::new(format!("a map's key is an integer, text or bytes, not {what}")))
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<MapKey, PathError> {
            i64::try_from(value).map(MapKey::Int).map_err(|_| PathError::new(format!("key {value} is over i64::MAX")))
        })*
    };
}

impl Serializer for KeySerializer {
    type Ok = MapKey;
    type Error = PathError;
    type SerializeSeq = Impossible<MapKey, PathError>;
    type SerializeTuple = Impossible<MapKey, PathError>;
    type SerializeTupleStruct = Impossible<MapKey, PathError>;
    type SerializeTupleVariant = Impossible<MapKey, PathError>;
    type SerializeMap = Impossible<MapKey, PathError>;
    type SerializeStruct = Impossible<MapKey, PathError>;
    type SerializeStructVariant = Impossible<MapKey, PathError>;

    integers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
              serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64);

    fn serialize_bool(self, _: bool) -> Result<MapKey, PathError> {
        refused("bool")
    }

    fn serialize_f32(self, _: f32) -> Result<MapKey, PathError> {
        refused("a float")
    }

    fn serialize_f64(self, _: f64) -> Result<MapKey, PathError> {
        refused("a float")
    }

    fn serialize_char(self, value: char) -> Result<MapKey, PathError> {
        Ok(MapKey::Text(value.into()))
    }

    fn serialize_str(self, value: &str) -> Result<MapKey, PathError> {
        Ok(MapKey::Text(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<MapKey, PathError> {
        Ok(MapKey::Bytes(value.to_vec()))
    }

    fn serialize_none(self) -> Result<MapKey, PathError> {
        refused("none")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<MapKey, PathError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<MapKey, PathError> {
        refused("unit")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<MapKey, PathError> {
        refused("a unit struct")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<MapKey, PathError> {
        Ok(MapKey::Text(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<MapKey, PathError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<MapKey, PathError> {
        refused("an enum with a value")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, PathError> {
        refused("a list")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, PathError> {
        refused("a tuple")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, PathError> {
        refused("a tuple struct")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, PathError> {
        refused("an enum with a value")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, PathError> {
        refused("a map")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, PathError> {
        refused("a struct")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, PathError> {
        refused("an enum with a value")
    }
}
