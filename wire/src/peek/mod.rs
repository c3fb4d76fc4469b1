//! Peeking: chosen bins and values of an archive, read in place in tens of nanoseconds, without validating the whole.
//!
//! Every offset and length on the way to what is asked for is checked against the bytes; what lies beside the way isn't
//! looked at. On an archive that [`crate::archive::access_bins`] accepts, a peek finds what rkyv finds. On any other
//! bytes it finds something or says [`PeekError`]; it never panics, never reads outside, and no value nests deeper than
//! [`VALUE_DEPTH_MAX`]. Only distinctness isn't checked: in bytes that nobody validated, two lists may share their items,
//! so that walking all of them may take longer than the bytes are many. [`PeekValue::to_value`] bounds that itself.
//!
//! ```
//! use outcrop_wire::peek::{self, PeekValue};
//! use outcrop_wire::{Bins, archive::archive_bins};
//!
//! let archive = archive_bins(&Bins::new().with("name", "lamp").with("price", 1_999))?;
//! assert_eq!(peek::bin(&archive, "price")?, Some(PeekValue::Int(1_999)));
//! assert_eq!(peek::bin(&archive, "colour")?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod layout;
mod patch;
mod value;
mod write;

use thiserror::Error;

use self::layout::{BIN_BYTES, NAME_BYTES, Needle, VALUE_BYTES, VECTOR_BYTES, text, value_at, vector};
pub use self::patch::patched;
pub use self::value::{PeekKey, PeekList, PeekMap, PeekValue};
pub use self::write::BinsWriter;
use crate::limits::VALUE_DEPTH_MAX;

/// Why bytes can't be read as the archive that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PeekError {
    /// An offset or a length leads outside, or forward.
    #[error("an offset or length of the archive leads outside of it")]
    Outside,
    /// The tag of a value or a key is unknown.
    #[error("{0} is no tag of a value")]
    Tag(u8),
    /// A text isn't UTF-8.
    #[error("a text of the archive isn't UTF-8")]
    NotUtf8,
    /// Nested too deep.
    #[error("values nest at most {VALUE_DEPTH_MAX} deep")]
    TooDeep,
    /// Parts of the archive are there more than once.
    #[error("parts of the archive overlap")]
    Overlap,
}

/// One bin of archived bins; `None` if there is none of this name.
#[inline]
pub fn bin<'a>(archive: &'a [u8], name: &str) -> Result<Option<PeekValue<'a>>, PeekError> {
    PeekBins::new(archive)?.get(name)
}

/// The value of an archive of one value ([`crate::archive::archive_value`]).
#[inline]
pub fn value(archive: &[u8]) -> Result<PeekValue<'_>, PeekError> {
    let at = archive.len().checked_sub(VALUE_BYTES).ok_or(PeekError::Outside)?;
    value_at(archive, at, at, VALUE_DEPTH_MAX as u8)
}

/// The values of an archive of several ([`crate::archive::archive_values`]).
#[inline]
pub fn values(archive: &[u8]) -> Result<PeekList<'_>, PeekError> {
    let at = archive.len().checked_sub(VECTOR_BYTES).ok_or(PeekError::Outside)?;
    PeekList::new(archive, at, at, VALUE_DEPTH_MAX as u8)
}

/// Archived bins, whose names and values are read as they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct PeekBins<'a> {
    /// The archive up to the end of its table of bins.
    region: &'a [u8],
    /// Where that table begins.
    start: usize,
}

impl<'a> PeekBins<'a> {
    /// Finds the table of bins.
    #[inline]
    pub fn new(archive: &'a [u8]) -> Result<Self, PeekError> {
        let at = archive.len().checked_sub(VECTOR_BYTES).ok_or(PeekError::Outside)?;
        let (start, end) = vector(archive, at, at, BIN_BYTES)?;
        Ok(PeekBins { region: archive.get(..end).ok_or(PeekError::Outside)?, start })
    }

    /// Number of bins.
    #[inline]
    pub fn len(&self) -> usize {
        (self.region.len() - self.start) / BIN_BYTES
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.region.len() == self.start
    }

    /// The value of a bin; `None` if there is none of this name.
    #[inline]
    pub fn get(&self, name: &str) -> Result<Option<PeekValue<'a>>, PeekError> {
        let needle = Needle::new(name.as_bytes());
        for (place, item) in self.region[self.start..].chunks_exact(BIN_BYTES).enumerate() {
            if needle.may_be(item) {
                let at = self.start + place * BIN_BYTES;
                if needle.is(self.region, at, self.start)? {
                    return value_at(self.region, at + NAME_BYTES, self.start, VALUE_DEPTH_MAX as u8).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The name of the bin at a place, counted from 0; `None` behind the end.
    #[inline]
    pub fn name(&self, place: usize) -> Result<Option<&'a str>, PeekError> {
        if place >= self.len() {
            return Ok(None);
        }
        text(self.region, self.start + place * BIN_BYTES, self.start).map(Some)
    }

    /// The value of the bin at a place, counted from 0; `None` behind the end.
    #[inline]
    pub fn value(&self, place: usize) -> Result<Option<PeekValue<'a>>, PeekError> {
        if place >= self.len() {
            return Ok(None);
        }
        let at = self.start + place * BIN_BYTES + NAME_BYTES;
        value_at(self.region, at, self.start, VALUE_DEPTH_MAX as u8).map(Some)
    }

    /// Names and values, in the record's order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<(&'a str, PeekValue<'a>), PeekError>> + use<'a> {
        let PeekBins { region, start } = *self;
        (0..self.len()).map(move |place| {
            let at = start + place * BIN_BYTES;
            let value = value_at(region, at + NAME_BYTES, start, VALUE_DEPTH_MAX as u8)?;
            Ok((text(region, at, start)?, value))
        })
    }
}

#[cfg(test)]
mod tests;
