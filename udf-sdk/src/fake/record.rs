//! Records for tests: built bin by bin, then asked what a function staged on them.

use outcrop_wire::{Bins, StoredHeader, Ttl, UserKey};
use serde::Serialize;

use crate::codec;
use crate::error::Error;
use crate::record::Record;
use crate::record::source::Source;

/// Builds a [`Record`] for a test.
#[derive(Debug, Clone)]
pub struct FakeRecord {
    set: String,
    key: UserKey,
    header: StoredHeader,
    bins: Result<Bins, Error>,
    absent: bool,
}

/// What a function left behind.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It changed nothing.
    Nothing,
    /// It wrote.
    Write {
        /// The bins after it.
        bins: Bins,
        /// Their time to live.
        ttl: Ttl,
    },
    /// It deleted the record.
    Delete,
}

impl Record {
    /// Begins a record for a test: in the set `test` with the key `key`, written once, without bins.
    pub fn fake() -> FakeRecord {
        FakeRecord {
            set: "test".to_owned(),
            key: UserKey::from("key"),
            header: StoredHeader { generation: 1, last_update_ms: 1_700_000_000_000, ..StoredHeader::default() },
            bins: Ok(Bins::new()),
            absent: false,
        }
    }

    /// What the calls on it since [`FakeRecord::build`] or [`Record::commit`] staged.
    pub fn outcome(&self) -> Outcome {
        let source = &self.source;
        match &source.current {
            _ if !source.changed => Outcome::Nothing,
            None if source.committed.is_none() => Outcome::Nothing,
            None => Outcome::Delete,
            Some(bins) => {
                // A record made anew has no time to live that it could keep.
                let kept = if source.exists() && !source.recreated { Ttl::Keep } else { Ttl::Default };
                let ttl = source.ttl.filter(|ttl| *ttl != Ttl::Keep).unwrap_or(kept);
                Outcome::Write { bins: bins.clone(), ttl }
            }
        }
    }

    /// Commits what was staged, at the time of the thread's fake context, so that the record can be called on again.
    /// A namespace's default time to live is: never.
    pub fn commit(self) -> Record {
        let outcome = self.outcome();
        let mut source = self.source;
        let now_ms = crate::now_ms();
        source.committed = match outcome {
            Outcome::Nothing => source.committed,
            Outcome::Delete => None,
            Outcome::Write { bins, ttl } => {
                let mut header = source.committed.map(|(header, _)| header).unwrap_or_default();
                header.generation += 1;
                header.last_update_ms = now_ms;
                header.expiry_secs = match ttl {
                    Ttl::Keep => header.expiry_secs,
                    Ttl::Default | Ttl::Never => 0,
                    Ttl::Secs(secs) => u32::try_from(now_ms / 1_000).unwrap_or(u32::MAX).saturating_add(secs),
                };
                Some((header, bins))
            }
        };
        source.current = source.committed.as_ref().map(|(_, bins)| bins.clone());
        (source.changed, source.recreated, source.ttl) = (false, false, None);
        Record::of(source)
    }
}

impl FakeRecord {
    /// Its set.
    #[must_use]
    pub fn set(mut self, name: &str) -> Self {
        name.clone_into(&mut self.set);
        self
    }

    /// Its key.
    #[must_use]
    pub fn key(mut self, key: impl Into<UserKey>) -> Self {
        self.key = key.into();
        self
    }

    /// Sets a bin.
    #[must_use]
    pub fn bin<T: Serialize>(mut self, name: &str, value: T) -> Self {
        let value = codec::value_of(&value);
        self.bins = self.bins.and_then(|bins| Ok(bins.with(name, value?)));
        self
    }

    /// Sets all bins at once: the fields of a struct or map.
    #[must_use]
    pub fn bins<T: Serialize>(mut self, bins: &T) -> Self {
        self.bins = codec::bins_of(bins);
        self
    }

    /// How often it was written.
    #[must_use]
    pub fn generation(mut self, generation: u32) -> Self {
        self.header.generation = generation;
        self
    }

    /// When it expires, in seconds since 1970; 0: never.
    #[must_use]
    pub fn expiry_secs(mut self, secs: u32) -> Self {
        self.header.expiry_secs = secs;
        self
    }

    /// When it was last written, in milliseconds since 1970.
    #[must_use]
    pub fn last_update_ms(mut self, ms: u64) -> Self {
        self.header.last_update_ms = ms;
        self
    }

    /// It doesn't exist: the function is called on a key without a record.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.absent = true;
        self
    }

    /// The record.
    ///
    /// # Panics
    /// If a bin can't be one: a name over 255 bytes, an integer over 64 bits, lists nested too deep.
    #[track_caller]
    pub fn build(self) -> Record {
        let bins = match self.bins.and_then(|bins| codec::archive_bins(&bins).map(|_| bins)) {
            Ok(bins) => bins,
            Err(error) => panic!("this can't be a record: {error}"),
        };
        let committed = (!self.absent).then_some((self.header, bins));
        let current = committed.as_ref().map(|(_, bins)| bins.clone());
        let (set, key) = (self.set, self.key);
        Record::of(Source { set, key, committed, current, changed: false, recreated: false, ttl: None })
    }
}
