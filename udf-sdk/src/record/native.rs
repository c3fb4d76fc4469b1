//! The record at hand, outside of a node: a fake that behaves as the node's does. It doesn't bound the number of calls.

use outcrop_wire::archive::check_bins;
use outcrop_wire::limits::TTL_SECS_MAX;
use outcrop_wire::{Bins, StoredHeader, Ttl, UserKey, Value};

use crate::codec;
use crate::error::Error;

/// A record in memory, and what was staged on it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) set: String,
    pub(crate) key: UserKey,
    /// As committed; none if it doesn't exist.
    pub(crate) committed: Option<(StoredHeader, Bins)>,
    /// As the call sees it; none if it deleted the record.
    pub(crate) current: Option<Bins>,
    /// Whether the call wrote or deleted.
    pub(crate) changed: bool,
    /// Whether the call deleted it and made it anew: there is no time to live that it could keep.
    pub(crate) recreated: bool,
    /// The time to live that the call set.
    pub(crate) ttl: Option<Ttl>,
}

impl Source {
    fn header(&self) -> Option<&StoredHeader> {
        self.committed.as_ref().map(|(header, _)| header)
    }

    pub(crate) fn exists(&self) -> bool {
        self.committed.is_some()
    }

    pub(crate) fn set_name(&self) -> String {
        self.set.clone()
    }

    pub(crate) fn key(&self) -> UserKey {
        self.key.clone()
    }

    pub(crate) fn generation(&self) -> u32 {
        self.header().map_or(0, |header| header.generation)
    }

    pub(crate) fn expiry_secs(&self) -> u32 {
        self.header().map_or(0, |header| header.expiry_secs)
    }

    pub(crate) fn last_update_ms(&self) -> u64 {
        self.header().map_or(0, |header| header.last_update_ms)
    }

    pub(crate) fn stored(&self) -> Option<Vec<u8>> {
        let (header, bins) = self.committed.as_ref()?;
        let archive = codec::archive_bins(bins).expect("bins are checked before they are committed");
        let mut stored = Vec::new();
        let key = outcrop_wire::KeyRef { set: &self.set, user_key: self.key.borrow() };
        header.encode(key, archive.len(), &mut stored);
        stored.extend_from_slice(&archive);
        Some(stored)
    }

    pub(crate) fn bin_names(&self) -> Vec<String> {
        self.current.iter().flat_map(|bins| &bins.bins).map(|bin| bin.name.clone()).collect()
    }

    fn found(&self, name: &str) -> Option<&Value> {
        self.current.as_ref()?.get(name)
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.found(name) {
            None => Ok(None),
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(other) => Err(codec::wrong_type(name, other.type_name())),
        }
    }

    pub(crate) fn scalar(&self, name: &str) -> Result<Option<Value>, Error> {
        Ok(self.found(name).cloned())
    }

    pub(crate) fn archived(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.found(name).map(codec::archive_value).transpose()
    }

    pub(crate) fn set_integer(&mut self, name: &str, value: i64) -> Result<(), Error> {
        self.set_value(name, Value::Int(value))
    }

    pub(crate) fn set_value(&mut self, name: &str, value: Value) -> Result<(), Error> {
        let mut bins = self.current.clone().unwrap_or_default();
        bins.set(name, value);
        self.change(bins)
    }

    pub(crate) fn add(&mut self, name: &str, delta: i64) -> Result<i64, Error> {
        let before = self.integer(name)?.unwrap_or(0);
        let overflow = || Error::new("overflow", format!("bin {name:?}: the sum is over 64 bits"));
        let sum = before.checked_add(delta).ok_or_else(overflow)?;
        self.set_integer(name, sum)?;
        Ok(sum)
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, Error> {
        if self.found(name).is_none() {
            return Ok(false);
        }
        let mut bins = self.current.clone().unwrap_or_default();
        bins.remove(name);
        self.change(bins)?;
        Ok(true)
    }

    pub(crate) fn replace(&mut self, archive: &[u8]) -> Result<(), Error> {
        self.change(outcrop_wire::archive::decode_bins(archive)?)
    }

    pub(crate) fn delete(&mut self) -> Result<(), Error> {
        (self.current, self.changed, self.ttl) = (None, true, None);
        Ok(())
    }

    pub(crate) fn set_ttl(&mut self, ttl: Ttl) -> Result<(), Error> {
        if matches!(ttl, Ttl::Secs(secs) if !(1..=TTL_SECS_MAX).contains(&secs)) {
            let message = format!("the record: a time to live is 1 to {TTL_SECS_MAX} seconds");
            return Err(Error::new("invalid", message));
        }
        (self.ttl, self.changed) = (Some(ttl), true);
        Ok(())
    }

    fn change(&mut self, bins: Bins) -> Result<(), Error> {
        check_bins(&bins).map_err(|error| Error::new("invalid", error.to_string()))?;
        self.recreated |= self.changed && self.current.is_none();
        (self.current, self.changed) = (Some(bins), true);
        Ok(())
    }
}
