//! The record at hand: as stored, and as the guest's writes would leave it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use outcrop_wire::archive::{ArchiveError, archive_value};
use outcrop_wire::peek::{PeekError, PeekValue};
use outcrop_wire::{Bins, Code, KeyRef, StoredHeader, StoredRecord, Ttl, UserKey, Value};

use super::draft::{self, Draft};
use super::outcome::{Failed, Staged};
use crate::store::read::Stored;

/// The record that a record function is called on.
#[derive(Debug, Clone)]
pub enum Subject {
    /// As it is stored, its key included.
    Stored(Stored),
    /// It doesn't exist; this would be its key.
    Absent {
        /// Its set.
        set: String,
        /// The user's part.
        user_key: UserKey,
    },
}

impl Subject {
    /// The record of a key; `stored`: if it exists.
    pub fn new(key: KeyRef<'_>, stored: Option<Stored>) -> Self {
        match stored {
            Some(stored) => Subject::Stored(stored),
            None => Subject::Absent { set: key.set.to_owned(), user_key: key.user_key.to_owned() },
        }
    }

    /// The stored bytes, if it exists.
    pub fn stored(&self) -> Option<&[u8]> {
        match self {
            Subject::Stored(stored) => Some(stored.as_ref()),
            Subject::Absent { .. } => None,
        }
    }
}

/// Where the stored bytes of the record at hand are.
#[derive(Debug)]
enum Origin {
    /// There is no record at hand.
    Nowhere,
    /// A record function's own.
    Subject(Subject),
    /// Within a batch.
    Batch(Arc<Vec<u8>>, Range<usize>),
}

/// The record at hand.
#[derive(Debug)]
pub struct View {
    origin: Origin,
    /// Taken apart once: header, and where the archive begins. `None`: it doesn't exist.
    stored: Option<(StoredHeader, usize)>,
    draft: Draft,
    ttl: Option<Ttl>,
    /// It was deleted and made anew: there is no time to live that it could keep.
    recreated: bool,
    /// Bytes that the draft holds, nearly: never more than their archive would have.
    draft_bytes: usize,
}

/// A bin as it is stored or as it was staged.
pub enum BinView<'a> {
    /// In the archive, read in place.
    Stored(PeekValue<'a>),
    /// Staged.
    Staged(&'a Value),
}

/// Why a record can't be looked into. What is stored has been validated: this is damage.
pub type ViewError = PeekError;

impl View {
    /// No record at hand.
    pub fn none() -> Self {
        View::of(Origin::Nowhere, None)
    }

    fn of(origin: Origin, stored: Option<(StoredHeader, usize)>) -> Self {
        View { origin, stored, draft: Draft::Untouched, ttl: None, recreated: false, draft_bytes: 0 }
    }

    /// The record of a record function.
    pub fn of_subject(subject: Subject) -> Result<Self, Failed> {
        let stored = subject.stored().map(take_apart).transpose()?;
        Ok(View::of(Origin::Subject(subject), stored))
    }

    /// A record of a batch; the view takes what `range` says on trust, but not what lies there.
    pub fn of_batch(bytes: Arc<Vec<u8>>, range: Range<usize>) -> Result<Self, Failed> {
        let record = bytes.get(range.clone()).unwrap_or_default();
        let stored = take_apart(record)?;
        Ok(View::of(Origin::Batch(bytes, range), Some(stored)))
    }

    /// The stored bytes.
    pub fn stored(&self) -> Option<&[u8]> {
        self.origin.stored()
    }

    /// Its header, if it exists.
    pub fn header(&self) -> Option<&StoredHeader> {
        self.stored.as_ref().map(|(header, _)| header)
    }

    /// Set and user key; `None`: there is no record at hand.
    pub fn key(&self) -> Option<KeyRef<'_>> {
        match &self.origin {
            Origin::Nowhere => None,
            Origin::Subject(Subject::Absent { set, user_key }) => Some(KeyRef { set, user_key: user_key.borrow() }),
            Origin::Subject(Subject::Stored(_)) | Origin::Batch(..) => {
                Some(StoredRecord::parse(self.stored()?).ok()?.key)
            }
        }
    }

    fn archive(&self) -> Option<&[u8]> {
        archive_of(&self.origin, self.stored.as_ref())
    }

    /// Names of its bins, staged ones included.
    pub fn bin_names(&self) -> Result<Vec<String>, ViewError> {
        self.draft.names(self.archive())
    }

    /// A bin as staged or stored.
    pub fn bin(&self, name: &str) -> Result<Option<BinView<'_>>, ViewError> {
        self.draft.bin(self.archive(), name)
    }

    /// Makes the draft one that can be written to.
    fn open(&mut self) -> Result<(), ArchiveError> {
        self.recreated |= matches!(self.draft, Draft::Deleted);
        if self.draft.open(archive_of(&self.origin, self.stored.as_ref()))? {
            self.draft_bytes = self.draft.bytes();
        }
        Ok(())
    }

    /// Sets a bin, if the record has room for one more; false: it has not.
    pub fn set(&mut self, name: String, value: Value, bins_max: usize) -> Result<bool, ArchiveError> {
        self.open()?;
        let (before, bytes) = (self.draft.bytes_of(&name), draft::bytes_of(&name, &value));
        let archive = archive_of(&self.origin, self.stored.as_ref());
        if !self.draft.set(archive, name, value, bins_max)? {
            return Ok(false);
        }
        self.draft_bytes = (self.draft_bytes + bytes).saturating_sub(before);
        Ok(true)
    }

    /// Removes a bin that is there.
    pub fn remove(&mut self, name: &str) -> Result<(), ArchiveError> {
        self.open()?;
        let before = self.draft.bytes_of(name);
        self.draft.remove(archive_of(&self.origin, self.stored.as_ref()), name)?;
        self.draft_bytes = self.draft_bytes.saturating_sub(before);
        Ok(())
    }

    /// Bytes that the draft holds in memory for the guest, nearly.
    pub fn draft_bytes(&self) -> usize {
        self.draft_bytes
    }

    /// Puts other bins in the place of all.
    pub fn replace(&mut self, bins: Bins) {
        self.recreated |= matches!(self.draft, Draft::Deleted);
        self.draft = Draft::Bins(bins);
        self.draft_bytes = self.draft.bytes();
    }

    /// Deletes it.
    pub fn delete(&mut self) {
        self.draft = Draft::Deleted;
        self.draft_bytes = 0;
        self.ttl = None;
    }

    /// Gives it a time to live.
    pub fn set_ttl(&mut self, ttl: Ttl) {
        self.ttl = Some(ttl);
    }

    /// What is to be committed. `bytes_max`: archived bytes of a record of this namespace.
    pub fn finish(&mut self, bytes_max: usize) -> Result<Staged, Failed> {
        let keep = if self.stored.is_some() && !self.recreated { Ttl::Keep } else { Ttl::Default };
        // A record made anew has no time to live that it could keep.
        let ttl = match self.ttl {
            Some(Ttl::Keep) | None => keep,
            Some(ttl) => ttl,
        };
        let changed = match &self.draft {
            Draft::Deleted => return Ok(Staged::Delete),
            Draft::Untouched if self.ttl.is_none() => return Ok(Staged::Nothing),
            draft => draft.archive(self.archive()).map_err(|error| refused(&error))?,
        };
        let bins = match (changed, self.archive()) {
            (Some(bins), _) => bins,
            // A new time to live alone: of a record that isn't there, nothing.
            (None, None) => return Ok(Staged::Nothing),
            (None, Some(archive)) => archive.to_vec(),
        };
        if bins.len() > bytes_max {
            return Err(refused(&ArchiveError::TooLarge { bytes: bins.len(), limit: bytes_max }));
        }
        Ok(Staged::Write { bins, ttl })
    }
}

impl Origin {
    fn stored(&self) -> Option<&[u8]> {
        match self {
            Origin::Nowhere => None,
            Origin::Subject(subject) => subject.stored(),
            Origin::Batch(bytes, range) => bytes.get(range.clone()),
        }
    }
}

/// The archive of the stored bins.
fn archive_of<'a>(origin: &'a Origin, stored: Option<&(StoredHeader, usize)>) -> Option<&'a [u8]> {
    origin.stored()?.get(stored?.1..)
}

fn take_apart(stored: &[u8]) -> Result<(StoredHeader, usize), Failed> {
    let record = StoredRecord::parse(stored).map_err(|error| Failed::new(Code::RecordCorrupt, error.to_string()))?;
    Ok((record.header, stored.len() - record.archive.len()))
}

/// A record that a function wants written but that can't be.
fn refused(error: &ArchiveError) -> Failed {
    let code = match error {
        ArchiveError::Malformed(_) => Code::MalformedArchive,
        ArchiveError::TooDeep => Code::ValueTooDeep,
        ArchiveError::BinName(_) => Code::InvalidBinName,
        ArchiveError::TooManyBins(_) => Code::TooManyBins,
        ArchiveError::DuplicateBin(_) | ArchiveError::DuplicateMapKey(_) => Code::DuplicateName,
        ArchiveError::TooLarge { .. } => Code::RecordTooLarge,
        ArchiveError::Operations(_) => Code::InvalidRequest,
    };
    Failed::new(code, format!("what the function wrote can't be stored: {error}"))
}

impl BinView<'_> {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            BinView::Stored(value) => value.type_name(),
            BinView::Staged(value) => value.type_name(),
        }
    }

    /// The integer, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            BinView::Stored(value) => value.as_int(),
            BinView::Staged(Value::Int(number)) => Some(*number),
            BinView::Staged(_) => None,
        }
    }

    /// An owned copy.
    pub fn to_value(&self) -> Result<Cow<'_, Value>, ViewError> {
        match self {
            BinView::Stored(value) => value.to_value().map(Cow::Owned),
            BinView::Staged(value) => Ok(Cow::Borrowed(value)),
        }
    }

    /// As an archive of its own.
    pub fn to_archive(&self) -> Result<Vec<u8>, String> {
        let value = self.to_value().map_err(|error| error.to_string())?;
        archive_value(&value).map_err(|error| error.to_string())
    }
}
