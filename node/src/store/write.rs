//! Changing a record: conditions, generation, log, index, in one step under the partition's lock.
//!
//! Nothing here waits. A full write buffer is `Backpressure`, which `command::commit` waits out; whether the write is
//! durable is told by its log number, which the reply waits for.

use std::sync::atomic::Ordering;

use outcrop_flash::log::{AppendError, AppendKind};
use outcrop_flash::{Location, Lsn};
use outcrop_wire::stored::FLAG_TOMBSTONE;
use outcrop_wire::{Code, Digest, KeyRef, StoredHeader, Ttl};
use thiserror::Error;

use super::namespace::{Counters, Namespace};
use super::policy::Commit;
use crate::index::Entry;

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// There is no such record.
    #[error("there is no such record")]
    NotFound,
    /// The record is there already.
    #[error("the record is there already, at generation {0}")]
    AlreadyExists(u32),
    /// Its generation is another.
    #[error("{}", mismatch(*actual, *expected))]
    GenerationMismatch {
        /// What it is; 0: there is no record.
        actual: u32,
        /// What the writer expected.
        expected: u32,
    },
    /// It changed since it was read; read it again.
    #[error("the record changed meanwhile")]
    Conflict,
    /// The archive is over the namespace's limit.
    #[error("the record has {bytes} bytes, namespace {namespace} allows {limit}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
        /// The namespace.
        namespace: String,
    },
    /// No more sets.
    #[error("namespace {0} has as many sets as it can have")]
    TooManySets(String),
    /// Too many truncations whose records are still on the device.
    #[error("too many truncations of namespace {0} wait for defrag; nothing was done")]
    TooManyTruncations(String),
    /// The write buffer is full; wait until the log is writable.
    #[error("the write buffer is full: the device is slower than the writers")]
    Backpressure,
    /// The device is nearly full.
    #[error("the device of namespace {namespace} is nearly full ({detail}); reads and deletes go on")]
    StopWrites {
        /// The namespace.
        namespace: String,
        /// How full.
        detail: String,
    },
    /// A write or sync failed; nothing more is written.
    #[error("the device of namespace {namespace} failed: {reason}; restart the node once it is mended")]
    Poisoned {
        /// The namespace.
        namespace: String,
        /// Why.
        reason: String,
    },
    /// The node is closing.
    #[error("the node is shutting down")]
    Closed,
}

/// A generation that isn't the expected one, in words; 0: there is no record.
fn mismatch(actual: u32, expected: u32) -> String {
    match (actual, expected) {
        (0, expected) => format!("there is no record, so it isn't at generation {expected}"),
        (actual, 0) => format!("the record is there, at generation {actual}"),
        (actual, expected) => format!("the record is at generation {actual}, not {expected}"),
    }
}

impl WriteError {
    /// Its stable code.
    pub fn code(&self) -> Code {
        match self {
            WriteError::NotFound => Code::NotFound,
            WriteError::AlreadyExists(_) => Code::AlreadyExists,
            WriteError::GenerationMismatch { .. } => Code::GenerationMismatch,
            WriteError::Conflict | WriteError::Backpressure | WriteError::TooManyTruncations(_) => Code::Overloaded,
            WriteError::TooLarge { .. } => Code::RecordTooLarge,
            WriteError::TooManySets(_) => Code::TooManySets,
            WriteError::StopWrites { .. } => Code::StopWrites,
            WriteError::Poisoned { .. } => Code::DevicePoisoned,
            WriteError::Closed => Code::Draining,
        }
    }
}

/// Whether the record has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// It may be there or not.
    #[default]
    Any,
    /// It has to be there.
    Must,
    /// It must not be there.
    MustNot,
}

/// What has to hold for a write to happen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expect {
    /// Whether it is there.
    pub presence: Presence,
    /// Its generation; 0: it isn't there.
    pub if_generation: Option<u32>,
    /// For a read-modify-write: what was read; `Some(None)`: nothing visible was there.
    pub seen: Option<Option<Location>>,
}

/// A write that happened in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The record's generation.
    pub generation: u32,
    /// Its expiry in seconds since 1970; 0: never.
    pub expiry_secs: u32,
    /// Its partition's epoch.
    pub epoch: u64,
    /// Its place among the partition's writes.
    pub sequence: u64,
    /// The log number to wait for before the writer is told; `None`: tell it now.
    pub durable_at: Option<Lsn>,
}

/// A refusal, and the log number to wait for before the writer is told: it may rest on a write that isn't durable yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: WriteError,
    /// What it rests on.
    pub durable_at: Option<Lsn>,
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Self {
        Refused { error, durable_at: None }
    }
}

/// The generation after this one; it never comes back to 1, which says that no older version was ever written.
fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(2)
}

impl Namespace {
    /// Writes a record whole, if `expect` holds. `archive` has been validated by the caller.
    pub fn put(
        &self,
        digest: &Digest,
        key: KeyRef<'_>,
        archive: &[u8],
        ttl: Ttl,
        expect: Expect,
    ) -> Result<Committed, Refused> {
        if archive.len() > self.policy.record_bytes_max {
            let (bytes, limit) = (archive.len(), self.policy.record_bytes_max);
            return Err(WriteError::TooLarge { bytes, limit, namespace: self.policy.name.clone() }.into());
        }
        let now_ms = self.clock.now_ms();
        let now_secs = (now_ms / 1_000) as u32;
        let mut partition = self.index.write(digest.partition());
        let previous = partition.get(digest);
        let visible = previous.filter(|entry| self.visible(entry, now_secs));
        self.check(expect, previous.as_ref(), visible.as_ref())?;
        // Only a write that happens may take one of the set numbers.
        let set = match &previous {
            Some(entry) => entry.set,
            None => self.sets.intern(key.set).map_err(|_| WriteError::TooManySets(self.policy.name.clone()))?,
        };
        let header = StoredHeader {
            flags: 0,
            generation: previous.map_or(1, |entry| next_generation(entry.generation)),
            epoch: self.log.epoch(),
            sequence: partition.next_sequence(),
            last_update_ms: now_ms,
            expiry_secs: self.expiry_of(ttl, visible.as_ref(), now_secs),
            digest: *digest,
        };
        let mut head = Vec::with_capacity(256);
        header.encode(key, archive.len(), &mut head);
        let appended = self.log.append(&[&head, archive], AppendKind::User).map_err(|error| self.refusal(error))?;
        let entry = Entry {
            set,
            location: appended.location,
            tombstone: false,
            expiry_secs: header.expiry_secs,
            generation: header.generation,
        };
        self.count_in(&entry);
        if let Some(previous) = partition.insert(digest, entry) {
            self.note_replaced(digest, &previous);
            self.count_out(&previous);
        }
        Ok(self.committed(&header, appended.end))
    }

    /// Deletes a record, if `expect` holds, by writing its tombstone.
    pub fn delete(&self, digest: &Digest, key: KeyRef<'_>, expect: Expect) -> Result<Committed, Refused> {
        let now_ms = self.clock.now_ms();
        let mut partition = self.index.write(digest.partition());
        let previous = partition.get(digest);
        let visible = previous.filter(|entry| self.visible(entry, (now_ms / 1_000) as u32));
        self.check(Expect { presence: Presence::Must, ..expect }, previous.as_ref(), visible.as_ref())?;
        let Some(entry) = visible else { return Err(WriteError::NotFound.into()) };
        let header = StoredHeader {
            flags: FLAG_TOMBSTONE,
            generation: next_generation(entry.generation),
            epoch: self.log.epoch(),
            sequence: partition.next_sequence(),
            last_update_ms: now_ms,
            expiry_secs: self.log.head().segment_sequence() as u32 + 1,
            digest: *digest,
        };
        let mut head = Vec::with_capacity(256);
        header.encode(key, 0, &mut head);
        let appended = self.log.append(&[&head], AppendKind::Delete).map_err(|error| self.refusal(error))?;
        let tombstone = Entry {
            set: entry.set,
            location: appended.location,
            tombstone: true,
            expiry_secs: header.expiry_secs,
            generation: header.generation,
        };
        self.count_in(&tombstone);
        if let Some(previous) = partition.insert(digest, tombstone) {
            self.note_replaced(digest, &previous);
            self.count_out(&previous);
        }
        Ok(self.committed(&header, appended.end))
    }

    fn committed(&self, header: &StoredHeader, end: Lsn) -> Committed {
        Committed {
            generation: header.generation,
            expiry_secs: if header.is_tombstone() { 0 } else { header.expiry_secs },
            epoch: header.epoch,
            sequence: header.sequence,
            durable_at: (self.policy.commit == Commit::Flash).then_some(end),
        }
    }

    fn check(&self, expect: Expect, previous: Option<&Entry>, visible: Option<&Entry>) -> Result<(), Refused> {
        let actual = visible.map_or(0, |entry| entry.generation);
        let error = match expect.presence {
            Presence::Must if visible.is_none() => Some(WriteError::NotFound),
            Presence::MustNot if visible.is_some() => Some(WriteError::AlreadyExists(actual)),
            _ => match expect.if_generation {
                Some(expected) if expected != actual => Some(WriteError::GenerationMismatch { actual, expected }),
                _ => match expect.seen {
                    Some(seen) if seen != visible.map(|entry| entry.location) => Some(WriteError::Conflict),
                    _ => None,
                },
            },
        };
        match error {
            None => Ok(()),
            Some(WriteError::Conflict) => {
                Counters::bump(&self.counters.conflicts);
                Err(WriteError::Conflict.into())
            }
            Some(error) => {
                let durable_at = match visible {
                    Some(entry) => self.undurable_end(entry.location),
                    None => self.undurable_absence(previous),
                };
                Err(Refused { error, durable_at })
            }
        }
    }

    /// A log's refusal in the store's words.
    pub(super) fn refusal(&self, error: AppendError) -> Refused {
        let namespace = self.policy.name.clone();
        let error = match error {
            AppendError::Backpressure => {
                Counters::bump(&self.counters.backpressure);
                WriteError::Backpressure
            }
            AppendError::Poisoned(reason) => WriteError::Poisoned { namespace, reason },
            AppendError::Closed => WriteError::Closed,
            AppendError::TooLarge { .. } => {
                let limit = self.policy.record_bytes_max;
                WriteError::TooLarge { bytes: limit.saturating_add(1), limit, namespace }
            }
            other => {
                self.counters.stop_writes.fetch_add(1, Ordering::Relaxed);
                WriteError::StopWrites { namespace, detail: other.to_string() }
            }
        };
        error.into()
    }
}
