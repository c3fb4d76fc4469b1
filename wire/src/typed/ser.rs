//! Types to values.

use crate::limits::VALUE_DEPTH_MAX;
use crate::{MapKey, Value};
use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

use super::PathError;
use super::key::KeySerializer;

/// Makes a value; counts depth, so that a type that holds itself runs into the limit rather than out of stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueSerializer {
    /// Lists and maps that may still be opened; one more than a value's own, for the record around it.
    depth_left: usize,
}

impl ValueSerializer {
    pub(super) fn new() -> Self {
        ValueSerializer { depth_left: VALUE_DEPTH_MAX + 1 }
    }

    fn inner(self) -> Result<Self, PathError> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(ValueSerializer { depth_left }),
            None => Err(PathError::new(format!("values nest at most {VALUE_DEPTH_MAX} deep"))),
        }
    }

    fn list(self, len: usize, variant: Option<&'static str>) -> Result<ListSerializer, PathError> {
        let of_variant = if variant.is_some() { self.inner()? } else { self };
        Ok(ListSerializer { items: Vec::with_capacity(len.min(4_096)), inner: of_variant.inner()?, variant })
    }

    fn map(self, len: usize, variant: Option<&'static str>) -> Result<MapSerializer, PathError> {
        let of_variant = if variant.is_some() { self.inner()? } else { self };
        let entries = Vec::with_capacity(len.min(4_096));
        Ok(MapSerializer { entries, key: None, inner: of_variant.inner()?, variant })
    }
}

fn tagged(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(name) => Value::Map(vec![(MapKey::Text(name.to_owned()), value)]),
        None => value,
    }
}

macro_rules! small_integers {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Value, PathError> {
            Ok(Value::Int(value.into()))
        })*
    };
}

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = PathError;
    type SerializeSeq = ListSerializer;
    type SerializeTuple = ListSerializer;
    type SerializeTupleStruct = ListSerializer;
    type SerializeTupleVariant = ListSerializer;
    type SerializeMap = MapSerializer;
    type SerializeStruct = MapSerializer;
    type SerializeStructVariant = MapSerializer;

    small_integers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
                    serialize_u8 u8, serialize_u16 u16, serialize_u32 u32);

    fn serialize_u64(self, value: u64) -> Result<Value, PathError> {
        let refused = |_| PathError::new(format!("{value} is over i64::MAX, and values hold no larger integers"));
        i64::try_from(value).map(Value::Int).map_err(refused)
    }

    fn serialize_i128(self, _: i128) -> Result<Value, PathError> {
        Err(PathError::new("values hold no i128; use i64, text or bytes"))
    }

    fn serialize_u128(self, _: u128) -> Result<Value, PathError> {
        Err(PathError::new("values hold no u128; use i64, text or bytes"))
    }

    fn serialize_bool(self, value: bool) -> Result<Value, PathError> {
        Ok(Value::Bool(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Value, PathError> {
        Ok(Value::Float(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Result<Value, PathError> {
        Ok(Value::Float(value))
    }

    fn serialize_char(self, value: char) -> Result<Value, PathError> {
        Ok(Value::Text(value.into()))
    }

    fn serialize_str(self, value: &str) -> Result<Value, PathError> {
        Ok(Value::Text(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, PathError> {
        Ok(Value::Bytes(value.to_vec()))
    }

    fn serialize_none(self) -> Result<Value, PathError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, PathError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, PathError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, PathError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, PathError> {
        Ok(Value::Text(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value, PathError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, PathError> {
        let value = value.serialize(self.inner()?).map_err(|error| error.in_field(variant))?;
        Ok(tagged(Some(variant), value))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<ListSerializer, PathError> {
        self.list(len.unwrap_or(0), None)
    }

    fn serialize_tuple(self, len: usize) -> Result<ListSerializer, PathError> {
        self.list(len, None)
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<ListSerializer, PathError> {
        self.list(len, None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<ListSerializer, PathError> {
        self.list(len, Some(variant))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<MapSerializer, PathError> {
        self.map(len.unwrap_or(0), None)
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<MapSerializer, PathError> {
        self.map(len, None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<MapSerializer, PathError> {
        self.map(len, Some(variant))
    }
}

/// Gathers a list.
pub(super) struct ListSerializer {
    items: Vec<Value>,
    inner: ValueSerializer,
    variant: Option<&'static str>,
}

impl ListSerializer {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PathError> {
        let place = self.items.len();
        let named = |error: PathError| {
            let error = error.at_index(place);
            match self.variant {
                Some(variant) => error.in_field(variant),
                None => error,
            }
        };
        self.items.push(value.serialize(self.inner).map_err(named)?);
        Ok(())
    }

    fn finish(self) -> Value {
        tagged(self.variant, Value::List(self.items))
    }
}

macro_rules! lists {
    ($($trait:ident $method:ident),*) => {
        $(impl $trait for ListSerializer {
            type Ok = Value;
            type Error = PathError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PathError> {
                self.push(value)
            }

            fn end(self) -> Result<Value, PathError> {
                Ok(self.finish())
            }
        })*
    };
}

lists!(SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field,
       SerializeTupleVariant serialize_field);

/// Gathers a map, in the order in which its entries come.
pub(super) struct MapSerializer {
    entries: Vec<(MapKey, Value)>,
    key: Option<MapKey>,
    inner: ValueSerializer,
    variant: Option<&'static str>,
}

impl MapSerializer {
    fn push<T: Serialize + ?Sized>(&mut self, key: MapKey, value: &T) -> Result<(), PathError> {
        match value.serialize(self.inner) {
            Ok(value) => {
                self.entries.push((key, value));
                Ok(())
            }
            Err(error) => {
                let error = error.in_field(KeyName(&key));
                Err(match self.variant {
                    Some(variant) => error.in_field(variant),
                    None => error,
                })
            }
        }
    }

    fn finish(self) -> Value {
        tagged(self.variant, Value::Map(self.entries))
    }
}

/// A key as a path shows it.
struct KeyName<'a>(&'a MapKey);

impl std::fmt::Display for KeyName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            MapKey::Int(number) => write!(f, "{number}"),
            MapKey::Text(text) => f.write_str(text),
            MapKey::Bytes(bytes) => write!(f, "{}", crate::UserKeyRef::Bytes(bytes)),
        }
    }
}

impl SerializeMap for MapSerializer {
    type Ok = Value;
    type Error = PathError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), PathError> {
        self.key = Some(key.serialize(KeySerializer)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PathError> {
        let key = self.key.take().ok_or_else(|| PathError::new("a map's value came before its key"))?;
        self.push(key, value)
    }

    fn end(self) -> Result<Value, PathError> {
        Ok(self.finish())
    }
}

macro_rules! structs {
    ($($trait:ident),*) => {
        $(impl $trait for MapSerializer {
            type Ok = Value;
            type Error = PathError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), PathError> {
                self.push(MapKey::Text(name.to_owned()), value)
            }

            fn end(self) -> Result<Value, PathError> {
                Ok(self.finish())
            }
        })*
    };
}

structs!(SerializeStruct, SerializeStructVariant);
