//! Records: named bins with generation, expiry and last update.

use rkyv::{Archive, Deserialize, Serialize};

use crate::value::Value;

/// One named value. The empty name is the unnamed bin of `get_bytes` and `set_bytes`.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[rkyv(attr(doc = "A [`Bin`] as it lies in an archive, read in place."))]
pub struct Bin {
    /// At most 255 bytes.
    pub name: String,
    /// What it holds.
    pub value: Value,
}

/// A record's bins in the order in which they were written, each name once: what is archived.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[rkyv(attr(doc = "[`Bins`] as they lie in an archive, read in place."))]
pub struct Bins {
    /// The bins.
    pub bins: Vec<Bin>,
}

impl Bins {
    /// No bins.
    pub fn new() -> Self {
        Bins::default()
    }

    /// The record of plain bytes: one unnamed bin.
    pub fn unnamed(value: impl Into<Value>) -> Self {
        Bins::new().with("", value)
    }

    /// Sets a bin, in place if the name is there, else last.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.bins.iter_mut().find(|bin| bin.name == name) {
            Some(bin) => bin.value = value,
            None => self.bins.push(Bin { name, value }),
        }
    }

    /// [`Bins::set`], for building in one expression.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// The value of a bin.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.bins.iter().find(|bin| bin.name == name).map(|bin| &bin.value)
    }

    /// Removes a bin; whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.bins.len();
        self.bins.retain(|bin| bin.name != name);
        self.bins.len() < before
    }
}

impl ArchivedBins {
    /// The archived value of a bin, read in place.
    pub fn get(&self, name: &str) -> Option<&crate::value::ArchivedValue> {
        self.bins.iter().find(|bin| bin.name.as_str() == name).map(|bin| &bin.value)
    }

    /// The bytes of the unnamed bin, read in place, if it holds bytes or text.
    pub fn unnamed_bytes(&self) -> Option<&[u8]> {
        match self.get("")? {
            crate::value::ArchivedValue::Bytes(bytes) => Some(bytes.as_slice()),
            crate::value::ArchivedValue::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }
}

/// A whole record, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The bins.
    pub bins: Bins,
    /// Write counter: 1 for the first write, one more for each further one; `if_generation` compares with it.
    pub generation: u32,
    /// When it expires, in seconds since 1970 (UTC); `None`: never.
    pub expiry_secs: Option<u32>,
    /// When it was last written, in milliseconds since 1970 (UTC), by its primary's clock; for people, never for order.
    pub last_update_ms: u64,
    /// The epoch of its partition when it was written.
    pub epoch: u64,
    /// Its place among the writes of its partition; (epoch, sequence) orders writes.
    pub sequence: u64,
}
