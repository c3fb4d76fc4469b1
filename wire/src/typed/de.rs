//! Values to types: one deserializer for owned values, for validated archives and for peeked ones, read in place.

use std::ops::Range;

use crate::operation::{ArchivedMapKey, MapKey};
use crate::value::{ArchivedValue, Value};
use serde::de::value::{BorrowedBytesDeserializer, BorrowedStrDeserializer, I64Deserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::PathError;
use crate::peek::{PeekError, PeekKey, PeekList, PeekMap, PeekValue};

/// A map's key, owned elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyPart<'a> {
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// One level of a value, owned or archived.
pub(super) enum Part<'a, S: Source<'a>> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    List(S::Items),
    Map(S::Entries),
}

/// A value that can be looked into.
pub(super) trait Source<'a>: Copy + Sized {
    type Items: ExactSizeIterator<Item = Self>;
    type Entries: ExactSizeIterator<Item = (KeyPart<'a>, Self)>;

    /// What it is; an error if it can't be read.
    fn part(self) -> Result<Part<'a, Self>, PathError>;
}

type EntryOf<'a> = fn(&'a (MapKey, Value)) -> (KeyPart<'a>, &'a Value);
type ArchivedEntry = rkyv::tuple::ArchivedTuple2<ArchivedMapKey, ArchivedValue>;
type ArchivedEntryOf<'a> = fn(&'a ArchivedEntry) -> (KeyPart<'a>, &'a ArchivedValue);

impl<'a> Source<'a> for &'a Value {
    type Items = std::slice::Iter<'a, Value>;
    type Entries = std::iter::Map<std::slice::Iter<'a, (MapKey, Value)>, EntryOf<'a>>;

    fn part(self) -> Result<Part<'a, Self>, PathError> {
        fn entry((key, value): &(MapKey, Value)) -> (KeyPart<'_>, &Value) {
            let key = match key {
                MapKey::Int(number) => KeyPart::Int(*number),
                MapKey::Text(text) => KeyPart::Text(text),
                MapKey::Bytes(bytes) => KeyPart::Bytes(bytes),
            };
            (key, value)
        }
        Ok(match self {
            Value::Null => Part::Null,
            Value::Bool(value) => Part::Bool(*value),
            Value::Int(value) => Part::Int(*value),
            Value::Float(value) => Part::Float(*value),
            Value::Text(value) => Part::Text(value),
            Value::Bytes(value) => Part::Bytes(value),
            Value::List(items) => Part::List(items.iter()),
            Value::Map(entries) => Part::Map(entries.iter().map(entry as EntryOf<'a>)),
        })
    }
}

impl<'a> Source<'a> for &'a ArchivedValue {
    type Items = std::slice::Iter<'a, ArchivedValue>;
    type Entries = std::iter::Map<std::slice::Iter<'a, ArchivedEntry>, ArchivedEntryOf<'a>>;

    fn part(self) -> Result<Part<'a, Self>, PathError> {
        fn entry(entry: &ArchivedEntry) -> (KeyPart<'_>, &ArchivedValue) {
            let key = match &entry.0 {
                ArchivedMapKey::Int(number) => KeyPart::Int(number.to_native()),
                ArchivedMapKey::Text(text) => KeyPart::Text(text.as_str()),
                ArchivedMapKey::Bytes(bytes) => KeyPart::Bytes(bytes.as_slice()),
            };
            (key, &entry.1)
        }
        Ok(match self {
            ArchivedValue::Null => Part::Null,
            ArchivedValue::Bool(value) => Part::Bool(*value),
            ArchivedValue::Int(value) => Part::Int(value.to_native()),
            ArchivedValue::Float(value) => Part::Float(value.to_native()),
            ArchivedValue::Text(value) => Part::Text(value.as_str()),
            ArchivedValue::Bytes(value) => Part::Bytes(value.as_slice()),
            ArchivedValue::List(items) => Part::List(items.as_slice().iter()),
            ArchivedValue::Map(entries) => Part::Map(entries.as_slice().iter().map(entry as ArchivedEntryOf<'a>)),
        })
    }
}

/// A value that is peeked at, or why it can't be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peeked<'a>(pub(super) Result<PeekValue<'a>, PeekError>);

/// Entries of a peeked map; one whose key can't be read has its error as its value.
pub(super) fn peeked_entry<'a>(entry: Result<(PeekKey<'a>, PeekValue<'a>), PeekError>) -> (KeyPart<'a>, Peeked<'a>) {
    match entry {
        Ok((PeekKey::Int(number), value)) => (KeyPart::Int(number), Peeked(Ok(value))),
        Ok((PeekKey::Text(text), value)) => (KeyPart::Text(text), Peeked(Ok(value))),
        Ok((PeekKey::Bytes(bytes), value)) => (KeyPart::Bytes(bytes), Peeked(Ok(value))),
        Err(error) => (KeyPart::Text(""), Peeked(Err(error))),
    }
}

impl<'a> Source<'a> for Peeked<'a> {
    type Items = PeekedItems<'a>;
    type Entries = PeekedEntries<'a>;

    fn part(self) -> Result<Part<'a, Self>, PathError> {
        Ok(match self.0.map_err(|error| PathError::new(error.to_string()))? {
            PeekValue::Null => Part::Null,
            PeekValue::Bool(value) => Part::Bool(value),
            PeekValue::Int(value) => Part::Int(value),
            PeekValue::Float(value) => Part::Float(value),
            PeekValue::Text(value) => Part::Text(value),
            PeekValue::Bytes(value) => Part::Bytes(value),
            PeekValue::List(list) => Part::List(PeekedItems { list, places: 0..list.len() }),
            PeekValue::Map(map) => Part::Map(PeekedEntries { map, places: 0..map.len() }),
        })
    }
}

/// The items of a peeked list.
pub(super) struct PeekedItems<'a> {
    list: PeekList<'a>,
    places: Range<usize>,
}

impl<'a> Iterator for PeekedItems<'a> {
    type Item = Peeked<'a>;

    fn next(&mut self) -> Option<Peeked<'a>> {
        self.list.get(self.places.next()?).transpose().map(Peeked)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for PeekedItems<'_> {}

/// The entries of a peeked map.
pub(super) struct PeekedEntries<'a> {
    map: PeekMap<'a>,
    places: Range<usize>,
}

impl<'a> Iterator for PeekedEntries<'a> {
    type Item = (KeyPart<'a>, Peeked<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.map.entry(self.places.next()?).transpose().map(peeked_entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for PeekedEntries<'_> {}

/// Reads one value.
#[derive(Clone, Copy)]
pub(super) struct ValueDeserializer<S>(S);

impl<S> ValueDeserializer<S> {
    pub(super) fn new(source: S) -> Self {
        ValueDeserializer(source)
    }
}

impl<'a, S: Source<'a>> ValueDeserializer<S> {
    fn unexpected(&self) -> Result<Unexpected<'a>, PathError> {
        Ok(match self.0.part()? {
            Part::Null => Unexpected::Other("null"),
            Part::Bool(value) => Unexpected::Bool(value),
            Part::Int(value) => Unexpected::Signed(value),
            Part::Float(value) => Unexpected::Float(value),
            Part::Text(value) => Unexpected::Str(value),
            Part::Bytes(value) => Unexpected::Bytes(value),
            Part::List(_) => Unexpected::Other("a list"),
            Part::Map(_) => Unexpected::Other("a map"),
        })
    }

    /// A float from an integer, if it holds it exactly.
    fn float<V: Visitor<'a>>(self, visitor: V, mantissa_bits: u32) -> Result<V::Value, PathError> {
        match self.0.part()? {
            Part::Int(value) if value.unsigned_abs() <= 1 << mantissa_bits => visitor.visit_f64(value as f64),
            Part::Int(value) => Err(PathError::new(format!("a float holds {value} only rounded"))),
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'a, S: Source<'a>> Deserializer<'a> for ValueDeserializer<S> {
    type Error = PathError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, PathError> {
        match self.0.part()? {
            Part::Null => visitor.visit_unit(),
            Part::Bool(value) => visitor.visit_bool(value),
            Part::Int(value) => visitor.visit_i64(value),
            Part::Float(value) => visitor.visit_f64(value),
            Part::Text(value) => visitor.visit_borrowed_str(value),
            Part::Bytes(value) => visitor.visit_borrowed_bytes(value),
            Part::List(items) => {
                let mut access = ListAccess { items, place: 0 };
                let value = visitor.visit_seq(&mut access)?;
                match access.items.len() {
                    0 => Ok(value),
                    left => Err(PathError::new(format!("the list has {left} items too many"))),
                }
            }
            Part::Map(entries) => visitor.visit_map(EntriesAccess { entries, pending: None }),
        }
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, PathError> {
        self.float(visitor, f32::MANTISSA_DIGITS)
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, PathError> {
        self.float(visitor, f64::MANTISSA_DIGITS)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, PathError> {
        match self.0.part()? {
            Part::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        match self.0.part()? {
            Part::Text(variant) => visitor.visit_enum(OneVariant { variant, value: None::<S> }),
            Part::Map(mut entries) if entries.len() == 1 => match entries.next() {
                Some((KeyPart::Text(variant), value)) => visitor.visit_enum(OneVariant { variant, value: Some(value) }),
                _ => Err(PathError::new("a variant's name is text")),
            },
            _ => Err(Error::invalid_type(self.unexpected()?, &"a variant: its name, or a map of its name and value")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, PathError> {
        // What can't be read is told even where nobody wants it.
        self.0.part()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

impl<'a, S: Source<'a>> IntoDeserializer<'a, PathError> for ValueDeserializer<S> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct ListAccess<I> {
    items: I,
    place: usize,
}

impl<'a, S: Source<'a>, I: ExactSizeIterator<Item = S>> SeqAccess<'a> for &mut ListAccess<I> {
    type Error = PathError;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, PathError> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let place = self.place;
        self.place += 1;
        seed.deserialize(ValueDeserializer(item)).map(Some).map_err(|error| error.at_index(place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct EntriesAccess<'a, S, E> {
    entries: E,
    pending: Option<(KeyPart<'a>, S)>,
}

impl<'a, S: Source<'a>, E: Iterator<Item = (KeyPart<'a>, S)>> MapAccess<'a> for EntriesAccess<'a, S, E> {
    type Error = PathError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, PathError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.pending = Some((key, value));
        let read = match key {
            KeyPart::Int(number) => seed.deserialize(I64Deserializer::<PathError>::new(number)),
            KeyPart::Text(text) => seed.deserialize(BorrowedStrDeserializer::<PathError>::new(text)),
            KeyPart::Bytes(bytes) => seed.deserialize(BorrowedBytesDeserializer::<PathError>::new(bytes)),
        };
        read.map(Some).map_err(|error| error.in_field(key))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, PathError> {
        let (key, value) = self.pending.take().ok_or_else(|| PathError::new("a map's value before its key"))?;
        seed.deserialize(ValueDeserializer(value)).map_err(|error| error.in_field(key))
    }

    fn size_hint(&self) -> Option<usize> {
        self.entries.size_hint().1
    }
}

impl std::fmt::Display for KeyPart<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyPart::Int(number) => write!(f, "{number}"),
            KeyPart::Text(text) => f.write_str(text),
            KeyPart::Bytes(bytes) => write!(f, "{}", crate::UserKeyRef::Bytes(bytes)),
        }
    }
}

struct OneVariant<'a, S> {
    variant: &'a str,
    value: Option<S>,
}

impl<'a, S: Source<'a>> EnumAccess<'a> for OneVariant<'a, S> {
    type Error = PathError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), PathError> {
        let variant = seed.deserialize(BorrowedStrDeserializer::<PathError>::new(self.variant))?;
        Ok((variant, self))
    }
}

impl<'a, S: Source<'a>> OneVariant<'a, S> {
    fn value(&self) -> Result<ValueDeserializer<S>, PathError> {
        let missing =
            || PathError::new(format!("variant {:?} has a value, the record has only its name", self.variant));
        self.value.map(ValueDeserializer).ok_or_else(missing)
    }
}

impl<'a, S: Source<'a>> VariantAccess<'a> for OneVariant<'a, S> {
    type Error = PathError;

    fn unit_variant(self) -> Result<(), PathError> {
        match self.value.map(Source::part).transpose()? {
            None | Some(Part::Null) => Ok(()),
            Some(_) => Err(PathError::new(format!("variant {:?} has no value, the record has one", self.variant))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, PathError> {
        seed.deserialize(self.value()?).map_err(|error| error.in_field(self.variant))
    }

    fn tuple_variant<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, PathError> {
        self.value()?.deserialize_tuple(len, visitor).map_err(|error| error.in_field(self.variant))
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.value()?.deserialize_struct("", fields, visitor).map_err(|error| error.in_field(self.variant))
    }
}

/// Bins as the map that they are.
pub(super) struct BinsSource<I> {
    bins: I,
}

impl<I> BinsSource<I> {
    pub(super) fn new(bins: I) -> Self {
        BinsSource { bins }
    }
}

impl<'a, S: Source<'a>, I: Iterator<Item = (&'a str, S)>> Deserializer<'a> for BinsSource<I> {
    type Error = PathError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, PathError> {
        let entries = self.bins.map(|(name, value)| (KeyPart::Text(name), value));
        visitor.visit_map(EntriesAccess { entries, pending: None })
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        match (self.bins.next(), self.bins.next()) {
            (Some((variant, value)), None) => visitor.visit_enum(OneVariant { variant, value: Some(value) }),
            _ => Err(PathError::new("an enum is a record of one bin, named by the variant")),
        }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
