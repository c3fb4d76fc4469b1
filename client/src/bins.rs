//! Serde types to bins and back.
//!
//! A struct's fields (or a map's text keys) are the record's bins; what lies inside them is values:
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
//!
//! ```
//! use outcrop_client::bins::{from_bins, to_bins};
//! use outcrop_client::Value;
//!
//! #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
//! struct Product {
//!     name: String,
//!     price_cents: u32,
//!     tags: Vec<String>,
//! }
//!
//! # fn main() -> Result<(), outcrop_client::ClientError> {
//! let product = Product { name: "lamp".into(), price_cents: 1_999, tags: vec!["home".into()] };
//! let bins = to_bins(&product)?;
//! assert_eq!(bins.get("price_cents"), Some(&Value::Int(1_999)));
//! assert_eq!(from_bins::<Product>(&bins)?, product);
//! # Ok(())
//! # }
//! ```

use outcrop_wire::record::ArchivedBins;
use outcrop_wire::typed;
use outcrop_wire::value::ArchivedValue;
use outcrop_wire::{Bins, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ClientError;

pub use outcrop_wire::typed::AnyValue;

/// The bins of a struct or of a map with text keys.
///
/// ```
/// use std::collections::BTreeMap;
/// let bins = outcrop_client::bins::to_bins(&BTreeMap::from([("a", 1), ("b", 2)]))?;
/// assert_eq!(bins.bins.len(), 2);
/// let error = outcrop_client::bins::to_bins(&42).unwrap_err();
/// assert!(error.to_string().contains("integer"));
/// # Ok::<(), outcrop_client::ClientError>(())
/// ```
pub fn to_bins<T: Serialize + ?Sized>(value: &T) -> Result<Bins, ClientError> {
    Ok(typed::to_bins(value)?)
}

/// A type of these bins.
///
/// ```
/// use outcrop_client::{Bins, bins::from_bins};
/// #[derive(serde::Deserialize)]
/// struct Person { born: u16 }
/// let error = from_bins::<Person>(&Bins::new().with("born", "long ago")).err().expect("not a number");
/// assert!(error.to_string().contains("born"), "{error}");
/// ```
pub fn from_bins<T: DeserializeOwned>(bins: &Bins) -> Result<T, ClientError> {
    Ok(typed::from_bins(bins)?)
}

/// A type of archived bins, read in place: [`crate::RecordView::decode`] without the view.
///
/// ```
/// use outcrop_client::{Bins, bins::from_archived};
/// use outcrop_wire::archive::{access_bins, archive_bins};
/// let bytes = archive_bins(&Bins::new().with("born", 1815))?;
/// let map: std::collections::BTreeMap<String, i32> = from_archived(access_bins(&bytes)?)?;
/// assert_eq!(map["born"], 1815);
/// # Ok::<(), outcrop_client::ClientError>(())
/// ```
pub fn from_archived<T: DeserializeOwned>(bins: &ArchivedBins) -> Result<T, ClientError> {
    Ok(typed::from_archived(bins)?)
}

/// The value of any serde type.
///
/// ```
/// use outcrop_client::{Value, bins::to_value};
/// assert_eq!(to_value(&(1, "two"))?, Value::List(vec![Value::Int(1), "two".into()]));
/// assert!(to_value(&u64::MAX).is_err(), "not rounded");
/// # Ok::<(), outcrop_client::ClientError>(())
/// ```
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, ClientError> {
    Ok(typed::to_value(value)?)
}

/// A type of a value.
///
/// ```
/// use outcrop_client::{Value, bins::from_value};
/// let pair: (u8, Option<String>) = from_value(&Value::List(vec![Value::Int(1), Value::Null]))?;
/// assert_eq!(pair, (1, None));
/// # Ok::<(), outcrop_client::ClientError>(())
/// ```
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, ClientError> {
    Ok(typed::from_value(value)?)
}

/// A type of an archived value, read in place.
///
/// ```
/// use outcrop_client::{Bins, bins::from_archived_value};
/// use outcrop_wire::archive::{access_bins, archive_bins};
/// let bytes = archive_bins(&Bins::new().with("born", 1815))?;
/// let born: u16 = from_archived_value(access_bins(&bytes)?.get("born").expect("written above"))?;
/// assert_eq!(born, 1815);
/// # Ok::<(), outcrop_client::ClientError>(())
/// ```
pub fn from_archived_value<T: DeserializeOwned>(value: &ArchivedValue) -> Result<T, ClientError> {
    Ok(typed::from_archived_value(value)?)
}
