//! The record at hand of a record function: read, changed, deleted; nothing happens until the function returns a result.

#[cfg(not(target_arch = "wasm32"))]
#[path = "native.rs"]
pub(crate) mod source;
#[cfg(target_arch = "wasm32")]
#[path = "wasm.rs"]
pub(crate) mod source;

use std::any::TypeId;
use std::cell::{Cell, OnceCell};

use outcrop_wire::peek::{self, PeekValue};
use outcrop_wire::{Bins, Ttl, UserKey, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::Error;
use crate::view::RecordView;
use source::Source;

/// Reads of single bins after which the whole record is fetched once and read in place.
const SINGLE_READS_MAX: u32 = 2;

/// The one record that a record function is called on.
///
/// Writes are staged: later reads of the same call see them, and they are committed as one write when the function
/// returns a result. On an error, a panic or a limit nothing of them happens. The record need not exist yet: the first
/// write makes it.
///
/// ```
/// use outcrop_udf::{Record, Ttl};
///
/// let mut user = Record::fake().key("ada").bin("visits", 3).build();
/// assert_eq!(user.add("visits", 1).unwrap(), 4);
/// user.set("tags", ["new", "paying"]).unwrap();
/// user.set_ttl(Ttl::Secs(3_600)).unwrap();
/// assert_eq!(user.get::<Vec<String>>("tags").unwrap().unwrap().len(), 2);
/// assert_eq!(user.get::<i64>("age").unwrap(), None);
/// ```
#[derive(Debug)]
pub struct Record {
    pub(crate) source: Source,
    /// As it lay on flash when the call began, once it was asked for.
    stored: OnceCell<Option<Vec<u8>>>,
    /// Reads of single bins so far.
    reads: Cell<u32>,
    /// Bins that were staged: those no longer are what `stored` says.
    staged: Staged,
}

#[derive(Debug)]
enum Staged {
    Bins(Vec<String>),
    All,
}

impl Record {
    pub(crate) fn of(source: Source) -> Self {
        Record { source, stored: OnceCell::new(), reads: Cell::new(0), staged: Staged::Bins(Vec::new()) }
    }

    /// Whether it existed when the call began.
    pub fn exists(&self) -> bool {
        self.source.exists()
    }

    /// Its set; empty for the set without a name.
    pub fn set_name(&self) -> String {
        self.source.set_name()
    }

    /// Its key.
    pub fn key(&self) -> UserKey {
        self.source.key()
    }

    /// How often it was written when the call began; 0 if it didn't exist.
    pub fn generation(&self) -> u32 {
        self.source.generation()
    }

    /// When it expires, in seconds since 1970; none: never.
    pub fn expiry_secs(&self) -> Option<u32> {
        Some(self.source.expiry_secs()).filter(|secs| *secs != 0)
    }

    /// When it was last written, in milliseconds since 1970; 0 if it didn't exist.
    pub fn last_update_ms(&self) -> u64 {
        self.source.last_update_ms()
    }

    /// Names of its bins, staged ones included.
    pub fn bin_names(&self) -> Vec<String> {
        self.source.bin_names()
    }

    /// A bin, as staged or stored; none if it isn't there. A value of another type is an error, so is a number that the
    /// type can't hold exactly.
    pub fn get<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<Option<T>, Error> {
        if self.reads_in_place(name) {
            return match self.view()? {
                Some(view) => view.get(name),
                None => Ok(None),
            };
        }
        self.get_alone(name).map_err(|error| error.context(format_args!("bin {name:?}")))
    }

    /// A bin, or `default` if it isn't there.
    pub fn get_or<T: DeserializeOwned + 'static>(&self, name: &str, default: T) -> Result<T, Error> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// A bin that has to be there.
    pub fn require<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<T, Error> {
        self.get(name)?.ok_or_else(|| codec::no_bin(name))
    }

    /// Looks at a bin in place, as staged or stored, without making a value of it; none if it isn't there.
    ///
    /// ```
    /// use outcrop_udf::{PeekValue, Record};
    /// let record = Record::fake().bin("name", "a long name").build();
    /// let length = record.with("name", |name| if let PeekValue::Text(text) = name { text.len() } else { 0 });
    /// assert_eq!(length.unwrap(), Some(11));
    /// ```
    pub fn with<R>(&self, name: &str, look: impl FnOnce(PeekValue<'_>) -> R) -> Result<Option<R>, Error> {
        if self.is_staged(name) {
            let Some(archive) = self.source.archived(name)? else { return Ok(None) };
            return Ok(Some(look(peek::value(&archive)?)));
        }
        match self.view()? {
            Some(view) => Ok(view.peek(name)?.map(look)),
            None => Ok(None),
        }
    }

    /// The record as it lay on flash when the call began, in place and without what was staged; none if it didn't
    /// exist.
    pub fn view(&self) -> Result<Option<RecordView<'_>>, Error> {
        self.stored.get_or_init(|| self.source.stored()).as_deref().map(RecordView::parse).transpose()
    }

    /// All bins, as staged or stored, as a type whose fields they are; none if there are no bins.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        if matches!(&self.staged, Staged::Bins(names) if names.is_empty()) {
            return self.view()?.map(|view| view.decode()).transpose();
        }
        let bins = self.bins()?;
        if bins.bins.is_empty() { Ok(None) } else { codec::of_bins(&codec::archive_bins(&bins)?).map(Some) }
    }

    /// All bins, as staged or stored.
    pub fn bins(&self) -> Result<Bins, Error> {
        let mut bins = Bins::new();
        for name in self.bin_names() {
            if let Some(archive) = self.source.archived(&name)? {
                bins.set(name, peek::value(&archive)?.to_value()?);
            }
        }
        Ok(bins)
    }

    /// Sets a bin: numbers, text, lists, maps, structs, whatever serde takes. Bytes are [`crate::Bytes`].
    pub fn set<T: Serialize>(&mut self, name: &str, value: T) -> Result<(), Error> {
        let value = codec::value_of(&value).map_err(|error| error.context(format_args!("bin {name:?}")))?;
        self.set_value(name, value)
    }

    /// Sets a bin to a value.
    pub fn set_value(&mut self, name: &str, value: Value) -> Result<(), Error> {
        match value {
            Value::Int(number) => self.source.set_integer(name, number)?,
            other => self.source.set_value(name, other)?,
        }
        self.stage(name);
        Ok(())
    }

    /// Adds to an integer bin, 0 if it isn't there, and gives the sum. A sum over 64 bits is an error.
    pub fn add(&mut self, name: &str, delta: i64) -> Result<i64, Error> {
        let sum = self.source.add(name, delta)?;
        self.stage(name);
        Ok(sum)
    }

    /// Removes a bin; whether it was there.
    pub fn remove(&mut self, name: &str) -> Result<bool, Error> {
        let was_there = self.source.remove(name)?;
        self.stage(name);
        Ok(was_there)
    }

    /// Replaces all bins by the fields of a struct or map.
    pub fn replace<T: Serialize + ?Sized>(&mut self, bins: &T) -> Result<(), Error> {
        self.replace_bins(&codec::bins_of(bins)?)
    }

    /// Replaces all bins.
    pub fn replace_bins(&mut self, bins: &Bins) -> Result<(), Error> {
        self.source.replace(&codec::archive_bins(bins)?)?;
        self.staged = Staged::All;
        Ok(())
    }

    /// Deletes the record; a later write of the same call makes it anew.
    pub fn delete(&mut self) -> Result<(), Error> {
        self.source.delete()?;
        self.staged = Staged::All;
        Ok(())
    }

    /// Time to live of what this call writes. Without it a record keeps what it has, and a new one gets the namespace's
    /// default. On its own it is a write as well.
    pub fn set_ttl(&mut self, ttl: Ttl) -> Result<(), Error> {
        self.source.set_ttl(ttl)
    }

    /// One bin by an accessor of its own.
    fn get_alone<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<Option<T>, Error> {
        let kind = TypeId::of::<T>();
        if codec::is_integer(kind) {
            return self.source.integer(name)?.map(codec::of_integer).transpose();
        }
        if [TypeId::of::<f64>(), TypeId::of::<bool>(), TypeId::of::<String>()].contains(&kind) {
            return self.source.scalar(name)?.map(codec::of_value).transpose();
        }
        match self.source.archived(name)? {
            Some(archive) => codec::of_archive(&archive).map(Some),
            None => Ok(None),
        }
    }

    /// Whether this read should take the whole record: it wasn't the first, and nothing of it was staged.
    fn reads_in_place(&self, name: &str) -> bool {
        if self.is_staged(name) {
            return false;
        }
        let before = self.reads.replace(self.reads.get().saturating_add(1));
        before >= SINGLE_READS_MAX || self.stored.get().is_some()
    }

    fn is_staged(&self, name: &str) -> bool {
        match &self.staged {
            Staged::Bins(names) => names.iter().any(|staged| staged == name),
            Staged::All => true,
        }
    }

    fn stage(&mut self, name: &str) {
        if let Staged::Bins(names) = &mut self.staged
            && !names.iter().any(|staged| staged == name)
        {
            names.push(name.to_owned());
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
