//! Row functions: what they give, and the form that keeps something between records.

use outcrop_wire::{MapKey, Value};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::view::RecordView;

/// One row: names and values in order.
///
/// ```
/// use outcrop_udf::prelude::*;
///
/// /// Products below a price.
/// #[row_fn]
/// fn cheap(record: &RecordView, below: f64) -> Result<Option<Row>> {
///     let price: f64 = record.get("price")?.unwrap_or(f64::INFINITY);
///     Ok((price < below).then(|| Row::new().with("price", price)))
/// }
///
/// let lamp = Record::fake().bin("price", 8.5).build();
/// assert!(cheap(&lamp.view().unwrap().unwrap(), 10.0).unwrap().is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    entries: Vec<(MapKey, Value)>,
}

impl Row {
    /// A row without values.
    pub fn new() -> Self {
        Row::default()
    }

    /// Sets a value, in place if the name is there, else last.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.entries.iter_mut().find(|(key, _)| matches!(key, MapKey::Text(text) if text == name)) {
            Some((_, old)) => *old = value,
            None => self.entries.push((MapKey::Text(name.to_owned()), value)),
        }
    }

    /// [`Row::set`], for building in one expression.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Takes a bin over as it is; a record without it adds nothing.
    pub fn with_bin(mut self, record: &RecordView<'_>, name: &str) -> Result<Self, Error> {
        if let Some(value) = record.peek(name)? {
            self.set(name, value.to_value()?);
        }
        Ok(self)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|(key, _)| matches!(key, MapKey::Text(text) if text == name)).map(|(_, value)| value)
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl From<Row> for Value {
    fn from(row: Row) -> Self {
        Value::Map(row.entries)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (name, value) in &self.entries {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A row function that prepares something once a query, or keeps something from record to record: put `#[row_fn]` on
/// the `impl`. A query runs in several instances at once; each sees a share of the records.
///
/// ```
/// use outcrop_udf::prelude::*;
///
/// struct Matching { wanted: Vec<String> }
///
/// /// Names of products that contain one of the words.
/// #[row_fn]
/// impl Rows for Matching {
///     type Args = String;
///     type Row = String;
///
///     fn init(words: String) -> Result<Self> {
///         Ok(Matching { wanted: words.split_whitespace().map(str::to_lowercase).collect() })
///     }
///
///     fn row(&mut self, record: &RecordView) -> Result<Option<String>> {
///         let name: String = record.get("name")?.unwrap_or_default();
///         let lower = name.to_lowercase();
///         Ok(self.wanted.iter().any(|word| lower.contains(word)).then_some(name))
///     }
/// }
///
/// let products = ["Red lamp", "Blue chair"].map(|name| Record::fake().bin("name", name).build());
/// let rows = outcrop_udf::fake::run_rows::<Matching>("LAMP sofa".to_owned(), &products).unwrap();
/// assert_eq!(rows, ["Red lamp"]);
/// ```
pub trait Rows: Sized + 'static {
    /// All that the caller sent, as of [`crate::Aggregate::Args`].
    type Args: DeserializeOwned;
    /// What a record becomes.
    type Row: Serialize;

    /// Before the first record.
    fn init(arguments: Self::Args) -> Result<Self, Error>;

    /// A record's row; none leaves it out.
    fn row(&mut self, record: &RecordView<'_>) -> Result<Option<Self::Row>, Error>;
}
