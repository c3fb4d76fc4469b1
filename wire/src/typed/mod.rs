//! Serde between types and values, and errors that name the field.
//!
//! A struct's fields (or a map's text keys) are a record's bins; what lies inside them is values:
//!
//! | serde | value |
//! |---|---|
//! | `bool` | bool |
//! | integers up to `i64::MAX` | integer; larger ones, `i128` and `u128` are refused, never rounded |
//! | `f32`, `f64` | float, every bit kept |
//! | `char`, strings | text |
//! | bytes (`serialize_bytes`) | bytes |
//! | `Option`: none, some | null, the value itself |
//! | unit, unit struct | null |
//! | newtype struct | the value itself |
//! | sequence, tuple, tuple struct | list |
//! | map, struct | map, in the order of its fields; keys are integers, text or bytes |
//! | enum | externally tagged: the variant's name as text, or a map of one key, the variant's name |

mod de;
mod dynamic;
mod key;
mod ser;

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use thiserror::Error;

use self::de::{BinsSource, Peeked, ValueDeserializer};
pub use self::dynamic::AnyValue;
use crate::operation::MapKey;
use crate::peek::{PeekBins, PeekValue};
use crate::record::{ArchivedBins, Bin, Bins};
use crate::value::{ArchivedValue, Value};

/// The value of any serde type.
///
/// ```
/// use outcrop_wire::{Value, typed::to_value};
/// assert_eq!(to_value(&(1, "two"))?, Value::List(vec![Value::Int(1), "two".into()]));
/// assert!(to_value(&u64::MAX).is_err(), "not rounded");
/// # Ok::<(), outcrop_wire::TypedError>(())
/// ```
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, TypedError> {
    Ok(value.serialize(ser::ValueSerializer::new())?)
}

/// The bins of a struct or of a map with text keys.
pub fn to_bins<T: Serialize + ?Sized>(value: &T) -> Result<Bins, TypedError> {
    let entries = match to_value(value)? {
        Value::Map(entries) => entries,
        other => {
            let message = format!("a record is made of a struct or a map, not of {}", other.type_name());
            return Err(TypedError::new(message));
        }
    };
    let mut bins = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        match key {
            MapKey::Text(name) => bins.push(Bin { name, value }),
            other => return Err(TypedError::new(format!("a bin's name is text, not {other:?}"))),
        }
    }
    Ok(Bins { bins })
}

/// A type of a value.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, TypedError> {
    Ok(T::deserialize(ValueDeserializer::new(value))?)
}

/// A type of these bins.
pub fn from_bins<T: DeserializeOwned>(bins: &Bins) -> Result<T, TypedError> {
    Ok(T::deserialize(BinsSource::new(bins.bins.iter().map(|bin| (bin.name.as_str(), &bin.value))))?)
}

/// A type of a validated archived value, read in place.
pub fn from_archived_value<T: DeserializeOwned>(value: &ArchivedValue) -> Result<T, TypedError> {
    Ok(T::deserialize(ValueDeserializer::new(value))?)
}

/// A type of validated archived bins, read in place.
pub fn from_archived<T: DeserializeOwned>(bins: &ArchivedBins) -> Result<T, TypedError> {
    Ok(T::deserialize(BinsSource::new(bins.bins.iter().map(|bin| (bin.name.as_str(), &bin.value))))?)
}

/// A type of a value that is peeked at; it may borrow text and bytes from the archive.
///
/// ```
/// use outcrop_wire::{Value, archive::archive_value, peek, typed::from_peeked};
/// let archive = archive_value(&Value::List(vec!["borrowed".into(), 2.into()]))?;
/// let (text, number): (&str, u8) = from_peeked(peek::value(&archive)?)?;
/// assert_eq!((text, number), ("borrowed", 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn from_peeked<'a, T: Deserialize<'a>>(value: PeekValue<'a>) -> Result<T, TypedError> {
    Ok(T::deserialize(ValueDeserializer::new(Peeked(Ok(value))))?)
}

/// A type of bins that are peeked at; it may borrow text and bytes from the archive.
///
/// ```
/// use outcrop_wire::{Bins, PeekBins, archive::archive_bins, typed::from_peeked_bins};
///
/// #[derive(serde::Deserialize)]
/// struct Product<'a> {
///     name: &'a str,
///     price: u32,
/// }
/// let archive = archive_bins(&Bins::new().with("name", "a lamp to read by").with("price", 1_999))?;
/// let product: Product = from_peeked_bins(PeekBins::new(&archive)?)?;
/// assert_eq!((product.name, product.price), ("a lamp to read by", 1_999));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn from_peeked_bins<'a, T: Deserialize<'a>>(bins: PeekBins<'a>) -> Result<T, TypedError> {
    let entries = bins.iter().map(|bin| match bin {
        Ok((name, value)) => (name, Peeked(Ok(value))),
        Err(error) => ("", Peeked(Err(error))),
    });
    Ok(T::deserialize(BinsSource::new(entries))?)
}

/// Why a type doesn't fit a record, with the path to the field.
///
/// ```
/// use outcrop_wire::{Bins, Value, typed::from_bins};
///
/// #[derive(serde::Deserialize, Debug)]
/// struct Order { lines: Vec<u8> }
/// let bins = Bins::new().with("lines", vec![Value::Int(1), Value::Int(256)]);
/// let error = from_bins::<Order>(&bins).expect_err("256 is no u8");
/// assert_eq!(error.path(), "lines[1]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct TypedError {
    path: String,
    message: String,
}

impl TypedError {
    fn new(message: impl Into<String>) -> Self {
        TypedError { path: String::new(), message: message.into() }
    }

    /// Where it is: `lines[1].name`; empty for the value itself.
    ///
    /// ```
    /// let error = outcrop_wire::typed::to_bins(&std::collections::BTreeMap::from([("wide", u64::MAX)])).unwrap_err();
    /// assert_eq!(error.path(), "wide");
    /// ```
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    ///
    /// ```
    /// let error = outcrop_wire::typed::to_bins(&1).unwrap_err();
    /// assert!(error.message().contains("integer"));
    /// ```
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for TypedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// The error while serde is at work: the path grows on the way out, innermost first.
#[derive(Debug)]
struct PathError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    message: String,
    steps: Vec<Step>,
}

/// One step of the path.
#[derive(Debug)]
enum Step {
    Field(String),
    Index(usize),
}

impl PathError {
    fn new(message: impl Into<String>) -> Self {
        PathError(Box::new(Inner { message: message.into(), steps: Vec::new() }))
    }

    fn in_field(mut self, name: impl fmt::Display) -> Self {
        self.0.steps.push(Step::Field(name.to_string()));
        self
    }

    fn at_index(mut self, index: usize) -> Self {
        self.0.steps.push(Step::Index(index));
        self
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for PathError {}

impl serde::ser::Error for PathError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        PathError::new(message.to_string())
    }
}

impl serde::de::Error for PathError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        PathError::new(message.to_string())
    }
}

impl From<PathError> for TypedError {
    fn from(error: PathError) -> Self {
        let mut path = String::new();
        for step in error.0.steps.iter().rev() {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        TypedError { path, message: error.0.message }
    }
}
