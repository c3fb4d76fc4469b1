//! Reading a record: from a segment in memory or the cache at once, else from the device.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use outcrop_flash::log::{Entry as LogEntry, ReadError as LogReadError};
use outcrop_flash::{Location, Lsn};
use outcrop_wire::stored::digest_of;
use outcrop_wire::{Code, Digest};
use thiserror::Error;

use super::namespace::{Counters, Namespace};
use crate::index::Entry;

/// Why a record that the index knows can't be given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Its bytes on the device are damaged.
    #[error("the record's bytes are damaged: {0}")]
    Corrupt(String),
    /// The device refused.
    #[error("{0}")]
    Device(String),
}

impl ReadError {
    /// Its stable code.
    pub fn code(&self) -> Code {
        match self {
            ReadError::Corrupt(_) => Code::RecordCorrupt,
            ReadError::Device(_) => Code::DeviceError,
        }
    }
}

/// What the index says of a key, and what a reply built on it has to wait for.
#[derive(Debug, Clone, Copy)]
pub struct Lookup {
    /// The entry, if a reader may see it.
    pub entry: Option<Entry>,
    /// The log number to wait for before anybody is told.
    pub durable_at: Option<Lsn>,
}

/// Stored bytes of a record, wherever they were.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In a segment in memory, or in the buffer that the device filled.
    Log(LogEntry),
    /// In the cache.
    Cached(Bytes),
}

impl AsRef<[u8]> for Stored {
    fn as_ref(&self) -> &[u8] {
        match self {
            Stored::Log(entry) => entry.as_ref(),
            Stored::Cached(bytes) => bytes,
        }
    }
}

impl Stored {
    /// The bytes without a copy.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Stored::Log(entry) => entry.into_bytes(),
            Stored::Cached(bytes) => bytes,
        }
    }
}

impl Namespace {
    /// Looks a key up.
    pub fn lookup(&self, digest: &Digest, now_secs: u32) -> Lookup {
        let found = self.index.read(digest.partition()).get(digest);
        self.looked_up(found, now_secs)
    }

    fn looked_up(&self, found: Option<Entry>, now_secs: u32) -> Lookup {
        let entry = found.filter(|entry| self.visible(entry, now_secs));
        let durable_at = match &entry {
            Some(entry) => self.undurable_end(entry.location),
            None => self.undurable_absence(found.as_ref()),
        };
        Lookup { entry, durable_at }
    }

    /// Looks a key up and, if its bytes are in memory, calls `with` on them in place.
    ///
    /// The partition stays locked for reading meanwhile, so the segment can't be freed and used anew under the reader.
    pub fn read_now<T>(
        &self,
        digest: &Digest,
        now_secs: u32,
        with: impl FnOnce(&Entry, &[u8]) -> T,
    ) -> (Lookup, Option<T>) {
        let partition = self.index.read(digest.partition());
        let lookup = self.looked_up(partition.get(digest), now_secs);
        let Some(entry) = lookup.entry else { return (lookup, None) };
        // One of the two runs, but the compiler can't know: hand the closure over through an option.
        let mut with = Some(with);
        let mut call = |bytes: &[u8]| with.take().map(|with| with(&entry, bytes));
        if let Some(done) = self.log.with_resident(entry.location, &mut call) {
            self.counters.resident_hits.fetch_add(1, Ordering::Relaxed);
            return (lookup, done);
        }
        if let Some(bytes) = self.cache.get(entry.location) {
            self.counters.cache_hits.fetch_add(1, Ordering::Relaxed);
            return (lookup, call(&bytes));
        }
        (lookup, None)
    }

    /// A record's stored bytes if they are in memory.
    pub fn stored_now(&self, digest: &Digest, now_secs: u32) -> (Lookup, Option<Stored>) {
        let partition = self.index.read(digest.partition());
        let lookup = self.looked_up(partition.get(digest), now_secs);
        let Some(entry) = lookup.entry else { return (lookup, None) };
        if let Some(resident) = self.log.resident(entry.location) {
            self.counters.resident_hits.fetch_add(1, Ordering::Relaxed);
            return (lookup, Some(Stored::Log(resident)));
        }
        let cached = self.cache.get(entry.location).map(Stored::Cached);
        if cached.is_some() {
            self.counters.cache_hits.fetch_add(1, Ordering::Relaxed);
        }
        (lookup, cached)
    }

    /// Reads a record, from the device if need be. A record that moves meanwhile is followed.
    pub fn read(
        self: &Arc<Self>,
        digest: Digest,
    ) -> impl Future<Output = Result<(Lookup, Option<Stored>), ReadError>> + Send + 'static {
        let namespace = self.clone();
        async move {
            let mut last: Option<(Location, ReadError)> = None;
            loop {
                let now_secs = namespace.clock.now_secs();
                let (lookup, stored) = namespace.stored_now(&digest, now_secs);
                let Some(entry) = lookup.entry else { return Ok((lookup, None)) };
                if stored.is_some() {
                    return Ok((lookup, stored));
                }
                // The same place failed before: it isn't that the record moved.
                if let Some((location, error)) = last.take()
                    && location == entry.location
                {
                    return Err(namespace.report(location, error));
                }
                Counters::bump(&namespace.counters.device_reads);
                let lsn = namespace.log.lsn_of(entry.location);
                match namespace.log.read(entry.location).await {
                    Ok(read) if digest_of(read.as_ref()) == Some(digest) => {
                        namespace.keep(&digest, entry.location, lsn, read.as_ref());
                        return Ok((lookup, Some(Stored::Log(read))));
                    }
                    // Another record lies there now: the segment was freed and used anew while the read was under way.
                    Ok(_) => {
                        last = Some((
                            entry.location,
                            ReadError::Corrupt(format!("another record lies at {:?}", entry.location)),
                        ))
                    }
                    Err(LogReadError::Device(error)) => {
                        last = Some((entry.location, ReadError::Device(error.to_string())));
                    }
                    Err(other) => {
                        last = Some((entry.location, ReadError::Corrupt(other.to_string())));
                    }
                }
            }
        }
    }

    /// Caches what was read, if the record still lies there. Else its place may be another's by now, and whoever asks
    /// for that one must not get these bytes: who takes a record out of the index takes it out of the cache under the
    /// same lock.
    fn keep(&self, digest: &Digest, location: Location, lsn: Lsn, record: &[u8]) {
        let partition = self.index.read(digest.partition());
        let current = partition.get(digest).is_some_and(|entry| entry.location == location);
        if current && self.log.lsn_of(location) == lsn {
            self.cache.insert(location, record);
        }
    }

    fn report(&self, location: Location, error: ReadError) -> ReadError {
        if matches!(error, ReadError::Corrupt(_)) {
            Counters::bump(&self.counters.corrupt_reads);
        }
        tracing::error!(namespace = %self.policy.name, ?location, %error, "a record can't be read");
        error
    }
}
