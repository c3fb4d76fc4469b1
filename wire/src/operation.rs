//! Operations of the verb `operate`: an ordered list on one record, all or nothing.

// rkyv's derive makes a public resolver whose named fields have no docs and take no attributes.
#![allow(missing_docs)]

use rkyv::{Archive, Deserialize, Serialize};

use crate::value::Value;

/// A key inside a map value. Order is by type (integer, text, bytes), then by content.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(attr(doc = "A [`MapKey`] as it lies in an archive, read in place."))]
pub enum MapKey {
    /// A 64-bit signed integer.
    Int(i64),
    /// UTF-8 text.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

impl From<&str> for MapKey {
    fn from(text: &str) -> Self {
        MapKey::Text(text.to_owned())
    }
}

impl From<String> for MapKey {
    fn from(text: String) -> Self {
        MapKey::Text(text)
    }
}

impl From<i64> for MapKey {
    fn from(number: i64) -> Self {
        MapKey::Int(number)
    }
}

/// One step of `operate`. Each gives one result value, `Null` where there is nothing to say; a later step sees what an
/// earlier one did; if any step fails none has happened. An absent bin reads as `Null`.
///
/// Indexes count from 0; negative ones count from the end (-1 is the last).
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[rkyv(attr(doc = "An [`Operation`] as it lies in an archive, read in place."))]
pub enum Operation {
    /// Reads a bin; result: its value, `Null` if absent.
    Read {
        /// The bin.
        bin: String,
    },
    /// Writes a bin; result: `Null`.
    Put {
        /// The bin.
        bin: String,
        /// Its new value.
        value: Value,
    },
    /// Removes a bin; result: whether it was there.
    Remove {
        /// The bin.
        bin: String,
    },
    /// Adds a number to a bin (absent counts as 0); result: the sum. Integer and integer give an integer, overflow is
    /// an error; a float in either gives a float.
    Add {
        /// The bin.
        bin: String,
        /// An integer or a float.
        amount: Value,
    },
    /// Appends text to text or bytes to bytes (absent counts as empty); result: the new length in bytes.
    Append {
        /// The bin.
        bin: String,
        /// Text or bytes.
        value: Value,
    },
    /// Prepends text to text or bytes to bytes (absent counts as empty); result: the new length in bytes.
    Prepend {
        /// The bin.
        bin: String,
        /// Text or bytes.
        value: Value,
    },
    /// Appends a value to a list (absent counts as empty); result: the new length.
    ListAppend {
        /// The bin.
        bin: String,
        /// The value.
        value: Value,
    },
    /// Inserts before `index` (`index` = length appends); result: the new length.
    ListInsert {
        /// The bin.
        bin: String,
        /// Where; negative counts from the end.
        index: i64,
        /// The value.
        value: Value,
    },
    /// Removes one item and gives it back; result: the item.
    ListPop {
        /// The bin.
        bin: String,
        /// Which; negative counts from the end.
        index: i64,
    },
    /// Keeps `count` items from `index` on and drops the rest; result: how many were dropped.
    ListTrim {
        /// The bin.
        bin: String,
        /// The first to keep; negative counts from the end.
        index: i64,
        /// How many to keep.
        count: u64,
    },
    /// Removes every item equal to `value`; result: how many.
    ListRemove {
        /// The bin.
        bin: String,
        /// What to remove.
        value: Value,
    },
    /// Reads one item; result: the item, `Null` if there is none at that index.
    ListGet {
        /// The bin.
        bin: String,
        /// Which; negative counts from the end.
        index: i64,
    },
    /// Length of a list; result: the length, 0 if the bin is absent.
    ListLen {
        /// The bin.
        bin: String,
    },
    /// Sets a map's key (absent bin counts as empty); a new key goes last; result: the new number of keys.
    MapPut {
        /// The bin.
        bin: String,
        /// The key.
        key: MapKey,
        /// Its new value.
        value: Value,
    },
    /// Removes a map's key; result: the value that it had, `Null` if it wasn't there.
    MapRemove {
        /// The bin.
        bin: String,
        /// The key.
        key: MapKey,
    },
    /// Reads a map's key; result: its value, `Null` if it isn't there.
    MapGetByKey {
        /// The bin.
        bin: String,
        /// The key.
        key: MapKey,
    },
    /// Reads by rank of value (0 the smallest, -1 the largest; equal values rank in map order); result: a list of key
    /// and value, `Null` if there is none.
    MapGetByRank {
        /// The bin.
        bin: String,
        /// The rank.
        rank: i64,
    },
    /// Number of keys of a map; result: the number, 0 if the bin is absent.
    MapLen {
        /// The bin.
        bin: String,
    },
    /// Gives the record the time to live of the request even if no other step writes; result: `Null`.
    Touch,
    /// Deletes the record; nothing may follow but `Put`-like steps, which make a new one; result: whether it existed.
    Delete,
}

impl Operation {
    /// Whether the step changes the record.
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            Operation::Read { .. }
                | Operation::ListGet { .. }
                | Operation::ListLen { .. }
                | Operation::MapGetByKey { .. }
                | Operation::MapGetByRank { .. }
                | Operation::MapLen { .. }
        )
    }

    /// The bin that the step is about; none for `Touch` and `Delete`.
    pub fn bin(&self) -> Option<&str> {
        match self {
            Operation::Read { bin }
            | Operation::Put { bin, .. }
            | Operation::Remove { bin }
            | Operation::Add { bin, .. }
            | Operation::Append { bin, .. }
            | Operation::Prepend { bin, .. }
            | Operation::ListAppend { bin, .. }
            | Operation::ListInsert { bin, .. }
            | Operation::ListPop { bin, .. }
            | Operation::ListTrim { bin, .. }
            | Operation::ListRemove { bin, .. }
            | Operation::ListGet { bin, .. }
            | Operation::ListLen { bin }
            | Operation::MapPut { bin, .. }
            | Operation::MapRemove { bin, .. }
            | Operation::MapGetByKey { bin, .. }
            | Operation::MapGetByRank { bin, .. }
            | Operation::MapLen { bin } => Some(bin),
            Operation::Touch | Operation::Delete => None,
        }
    }
}
