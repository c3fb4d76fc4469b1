//! Stored records read in place: what aggregates and row functions see.

use outcrop_wire::limits::{FORMAT_VERSION, STORED_HEADER_BYTES};
use outcrop_wire::peek::{PeekBins, PeekValue};
use outcrop_wire::{StoredRecord, UserKeyRef};
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::Error;

/// A record as it lies in the batch, or on flash: nothing is copied or decoded until it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    stored: &'a [u8],
    archive: &'a [u8],
    bins: PeekBins<'a>,
}

impl<'a> RecordView<'a> {
    /// Looks at a stored record; lengths are checked, the bins are when they are read.
    pub fn parse(stored: &'a [u8]) -> Result<Self, Error> {
        let malformed = || Error::new(Error::MALFORMED, "the stored record is cut off, or of another version");
        let fixed: &[u8; STORED_HEADER_BYTES] = stored.first_chunk().ok_or_else(malformed)?;
        let key_bytes = usize::from(fixed[3]) + usize::from(u16::from_le_bytes([fixed[4], fixed[5]]));
        let archive = stored.get(STORED_HEADER_BYTES + key_bytes..).ok_or_else(malformed)?;
        match fixed[0] == FORMAT_VERSION && fixed[1] == 0 {
            true => Ok(RecordView { stored, archive, bins: PeekBins::new(archive)? }),
            false => Err(malformed()),
        }
    }

    /// A bin; none if it isn't there. A value of another type is an error.
    pub fn get<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<Option<T>, Error> {
        match self.peek(name)? {
            Some(value) => {
                codec::of_peek(&value).map_err(|error| error.context(format_args!("bin {name:?}"))).map(Some)
            }
            None => Ok(None),
        }
    }

    /// A bin that has to be there.
    pub fn require<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<T, Error> {
        self.get(name)?.ok_or_else(|| codec::no_bin(name))
    }

    /// A bin in place; none if it isn't there.
    #[inline]
    pub fn peek(&self, name: &str) -> Result<Option<PeekValue<'a>>, Error> {
        Ok(self.bins.get(name)?)
    }

    /// An integer bin, without any detour; none if it isn't there or no integer.
    #[inline]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.bins.get(name) {
            Ok(Some(PeekValue::Int(number))) => Some(number),
            _ => None,
        }
    }

    /// A number as a float: of a float or integer bin; none if it isn't there or no number.
    #[inline]
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.bins.get(name) {
            Ok(Some(PeekValue::Float(number))) => Some(number),
            Ok(Some(PeekValue::Int(number))) => Some(number as f64),
            _ => None,
        }
    }

    /// A text bin in place; none if it isn't there or no text.
    #[inline]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        match self.bins.get(name) {
            Ok(Some(PeekValue::Text(text))) => Some(text),
            _ => None,
        }
    }

    /// All bins in place, in the order in which they were written.
    pub fn bins(&self) -> impl ExactSizeIterator<Item = Result<(&'a str, PeekValue<'a>), Error>> + use<'a> {
        self.bins.iter().map(|bin| bin.map_err(Error::from))
    }

    /// The whole record as a type: its fields are the bins.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        codec::of_bins(self.archive)
    }

    /// Its set; empty for the set without a name.
    pub fn set_name(&self) -> Result<&'a str, Error> {
        Ok(StoredRecord::parse(self.stored)?.key.set)
    }

    /// Its key.
    pub fn key(&self) -> Result<UserKeyRef<'a>, Error> {
        Ok(StoredRecord::parse(self.stored)?.key.user_key)
    }

    /// How often it was written.
    pub fn generation(&self) -> u32 {
        u32::from_le_bytes(self.field(12))
    }

    /// When it expires, in seconds since 1970; none: never.
    pub fn expiry_secs(&self) -> Option<u32> {
        Some(u32::from_le_bytes(self.field(40))).filter(|secs| *secs != 0)
    }

    /// When it was last written, in milliseconds since 1970.
    pub fn last_update_ms(&self) -> u64 {
        u64::from_le_bytes(self.field(32))
    }

    /// The archived bins.
    pub fn archive(&self) -> &'a [u8] {
        self.archive
    }

    /// The whole stored record.
    pub fn stored(&self) -> &'a [u8] {
        self.stored
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let field = self.stored.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
        field.expect("`parse` checked the length of the header")
    }
}

/// The records of a batch: for each a little-endian length of four bytes, then the stored record.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    rest: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The records of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Batch { rest: bytes }
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<RecordView<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self
            .rest
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((record, rest)) = taken else {
            self.rest = &[];
            return Some(Err(Error::new(Error::MALFORMED, "the batch is cut off")));
        };
        self.rest = rest;
        Some(RecordView::parse(record))
    }
}
