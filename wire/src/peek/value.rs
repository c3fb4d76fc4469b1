//! Values, lists and maps as they lie in an archive, each looked into only as far as it is asked.

use super::PeekError;
use super::layout::{ENTRY_BYTES, KEY_BYTES, Needle, VALUE_BYTES, bytes, text, value_at, vector};
use crate::operation::MapKey;
use crate::value::Value;

/// One value, read in place.
///
/// Equality is that of [`Value`]: floats compare by their bits.
#[derive(Debug, Clone, Copy)]
pub enum PeekValue<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A 64-bit float, any bit pattern.
    Float(f64),
    /// UTF-8 text.
    Text(&'a str),
    /// Any bytes.
    Bytes(&'a [u8]),
    /// Values in order.
    List(PeekList<'a>),
    /// Keys and values in order.
    Map(PeekMap<'a>),
}

impl PartialEq for PeekValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (PeekValue::Null, PeekValue::Null) => true,
            (PeekValue::Bool(a), PeekValue::Bool(b)) => a == b,
            (PeekValue::Int(a), PeekValue::Int(b)) => a == b,
            (PeekValue::Float(a), PeekValue::Float(b)) => a.to_bits() == b.to_bits(),
            (PeekValue::Text(a), PeekValue::Text(b)) => a == b,
            (PeekValue::Bytes(a), PeekValue::Bytes(b)) => a == b,
            (PeekValue::List(_) | PeekValue::Map(_), PeekValue::List(_) | PeekValue::Map(_)) => {
                matches!((self.to_value(), other.to_value()), (Ok(a), Ok(b)) if a == b)
            }
            _ => false,
        }
    }
}

impl<'a> PeekValue<'a> {
    /// The name of the value's type, as errors print it.
    pub fn type_name(&self) -> &'static str {
        match self {
            PeekValue::Null => "null",
            PeekValue::Bool(_) => "bool",
            PeekValue::Int(_) => "integer",
            PeekValue::Float(_) => "float",
            PeekValue::Text(_) => "text",
            PeekValue::Bytes(_) => "bytes",
            PeekValue::List(_) => "list",
            PeekValue::Map(_) => "map",
        }
    }

    /// The truth value, if it is one.
    #[inline]
    pub fn as_bool(&self) -> Option<bool> {
        if let PeekValue::Bool(value) = self { Some(*value) } else { None }
    }

    /// The integer, if it is one.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        if let PeekValue::Int(value) = self { Some(*value) } else { None }
    }

    /// The number as a float, if it is an integer or a float; an integer above 2^53 is rounded.
    #[inline]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            PeekValue::Int(value) => Some(*value as f64),
            PeekValue::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[inline]
    pub fn as_text(&self) -> Option<&'a str> {
        if let PeekValue::Text(value) = self { Some(value) } else { None }
    }

    /// The bytes, if it is bytes.
    #[inline]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if let PeekValue::Bytes(value) = self { Some(value) } else { None }
    }

    /// The list, if it is one.
    #[inline]
    pub fn as_list(&self) -> Option<PeekList<'a>> {
        if let PeekValue::List(value) = self { Some(*value) } else { None }
    }

    /// The map, if it is one.
    #[inline]
    pub fn as_map(&self) -> Option<PeekMap<'a>> {
        if let PeekValue::Map(value) = self { Some(*value) } else { None }
    }

    /// An owned copy. Bytes of which nobody knows whether they are valid never make it larger than they are.
    pub fn to_value(&self) -> Result<Value, PeekError> {
        let region_bytes = match self {
            PeekValue::List(list) => list.region.len(),
            PeekValue::Map(map) => map.region.len(),
            PeekValue::Text(text) => text.len(),
            PeekValue::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        copy(*self, &mut Budget(region_bytes))
    }
}

/// Bytes that a copy may still take: what doesn't overlap never needs more than there are.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), PeekError> {
        self.0 = self.0.checked_sub(bytes).ok_or(PeekError::Overlap)?;
        Ok(())
    }
}

fn copy(value: PeekValue<'_>, budget: &mut Budget) -> Result<Value, PeekError> {
    /// Shorter texts lie within their item, which is paid for already.
    const OUT_OF_LINE: usize = 9;
    Ok(match value {
        PeekValue::Null => Value::Null,
        PeekValue::Bool(value) => Value::Bool(value),
        PeekValue::Int(value) => Value::Int(value),
        PeekValue::Float(value) => Value::Float(value),
        PeekValue::Text(text) => {
            budget.spend(if text.len() < OUT_OF_LINE { 0 } else { text.len() })?;
            Value::Text(text.to_owned())
        }
        PeekValue::Bytes(bytes) => {
            budget.spend(bytes.len())?;
            Value::Bytes(bytes.to_vec())
        }
        PeekValue::List(list) => {
            budget.spend(list.len() * VALUE_BYTES)?;
            let mut items = Vec::with_capacity(list.len());
            for item in list.iter() {
                items.push(copy(item?, budget)?);
            }
            Value::List(items)
        }
        PeekValue::Map(map) => {
            budget.spend(map.len() * ENTRY_BYTES)?;
            let mut entries = Vec::with_capacity(map.len());
            for entry in map.iter() {
                let (key, value) = entry?;
                let key = match key {
                    PeekKey::Int(number) => MapKey::Int(number),
                    PeekKey::Text(text) => {
                        budget.spend(if text.len() < OUT_OF_LINE { 0 } else { text.len() })?;
                        MapKey::Text(text.to_owned())
                    }
                    PeekKey::Bytes(bytes) => {
                        budget.spend(bytes.len())?;
                        MapKey::Bytes(bytes.to_vec())
                    }
                };
                entries.push((key, copy(value, budget)?));
            }
            Value::Map(entries)
        }
    })
}

/// A list, whose items are read as they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct PeekList<'a> {
    /// The archive up to the end of the table of items.
    region: &'a [u8],
    count: u32,
    depth_left: u8,
}

impl<'a> PeekList<'a> {
    #[inline]
    pub(super) fn new(region: &'a [u8], at: usize, limit: usize, depth_left: u8) -> Result<Self, PeekError> {
        let (start, end) = vector(region, at, limit, VALUE_BYTES)?;
        let region = region.get(..end).ok_or(PeekError::Outside)?;
        Ok(PeekList { region, count: ((end - start) / VALUE_BYTES) as u32, depth_left })
    }

    /// Number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn start(&self) -> usize {
        self.region.len() - self.len() * VALUE_BYTES
    }

    /// The item at a place, counted from 0; `None` behind the end.
    #[inline]
    pub fn get(&self, place: usize) -> Result<Option<PeekValue<'a>>, PeekError> {
        if place >= self.len() {
            return Ok(None);
        }
        let start = self.start();
        value_at(self.region, start + place * VALUE_BYTES, start, self.depth_left).map(Some)
    }

    /// The items in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<PeekValue<'a>, PeekError>> + use<'a> {
        let (list, start) = (*self, self.start());
        (0..self.len()).map(move |place| value_at(list.region, start + place * VALUE_BYTES, start, list.depth_left))
    }
}

/// A key inside a map, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeekKey<'a> {
    /// A 64-bit signed integer.
    Int(i64),
    /// UTF-8 text.
    Text(&'a str),
    /// Any bytes.
    Bytes(&'a [u8]),
}

/// A map, whose entries are read as they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct PeekMap<'a> {
    /// The archive up to the end of the table of entries.
    region: &'a [u8],
    count: u32,
    depth_left: u8,
}

impl<'a> PeekMap<'a> {
    #[inline]
    pub(super) fn new(region: &'a [u8], at: usize, limit: usize, depth_left: u8) -> Result<Self, PeekError> {
        let (start, end) = vector(region, at, limit, ENTRY_BYTES)?;
        let region = region.get(..end).ok_or(PeekError::Outside)?;
        Ok(PeekMap { region, count: ((end - start) / ENTRY_BYTES) as u32, depth_left })
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn start(&self) -> usize {
        self.region.len() - self.len() * ENTRY_BYTES
    }

    fn key_at(&self, place: usize) -> Result<PeekKey<'a>, PeekError> {
        let start = self.start();
        let (at, inside) = (start + place * ENTRY_BYTES, start + place * ENTRY_BYTES + 1);
        match self.region.get(at) {
            Some(0) => {
                let number = self.region.get(inside..).and_then(|rest| rest.first_chunk::<8>());
                number.map(|bytes| PeekKey::Int(i64::from_le_bytes(*bytes))).ok_or(PeekError::Outside)
            }
            Some(1) => text(self.region, inside, start).map(PeekKey::Text),
            Some(2) => bytes(self.region, inside, start).map(PeekKey::Bytes),
            Some(other) => Err(PeekError::Tag(*other)),
            None => Err(PeekError::Outside),
        }
    }

    fn value_at(&self, place: usize) -> Result<PeekValue<'a>, PeekError> {
        let start = self.start();
        value_at(self.region, start + place * ENTRY_BYTES + KEY_BYTES, start, self.depth_left)
    }

    /// The value of a text key; `None` if there is none.
    #[inline]
    pub fn get(&self, key: &str) -> Result<Option<PeekValue<'a>>, PeekError> {
        let (needle, start) = (Needle::new(key.as_bytes()), self.start());
        for (place, entry) in self.region[start..].chunks_exact(ENTRY_BYTES).enumerate() {
            let inside = start + place * ENTRY_BYTES + 1;
            if entry[0] == 1 && needle.may_be(&entry[1..]) && needle.is(self.region, inside, start)? {
                return self.value_at(place).map(Some);
            }
        }
        Ok(None)
    }

    /// The value of a key of any type; `None` if there is none.
    pub fn get_key(&self, key: PeekKey<'_>) -> Result<Option<PeekValue<'a>>, PeekError> {
        if let PeekKey::Text(text) = key {
            return self.get(text);
        }
        for place in 0..self.len() {
            if self.key_at(place)? == key {
                return self.value_at(place).map(Some);
            }
        }
        Ok(None)
    }

    /// The entry at a place, counted from 0; `None` behind the end.
    pub fn entry(&self, place: usize) -> Result<Option<(PeekKey<'a>, PeekValue<'a>)>, PeekError> {
        if place >= self.len() {
            return Ok(None);
        }
        Ok(Some((self.key_at(place)?, self.value_at(place)?)))
    }

    /// The entries in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<(PeekKey<'a>, PeekValue<'a>), PeekError>> + use<'a> {
        let map = *self;
        (0..self.len()).map(move |place| Ok((map.key_at(place)?, map.value_at(place)?)))
    }
}
