//! Scalars changed where they lie: a counter's record is copied once and nine bytes of it are written.

use super::layout::{BIN_BYTES, NAME_BYTES, Needle, VALUE_BYTES, value_at};
use super::{PeekBins, PeekError, PeekValue};
use crate::limits::VALUE_DEPTH_MAX;
use crate::value::Value;

/// A copy of archived bins in which some have other values: null, a boolean or a number in the place of another of them.
/// `None`: a bin isn't there, or its old or its new value doesn't lie in place; then the archive has to be written anew.
///
/// The bytes are those that [`crate::archive::archive_bins`] makes of the changed bins, if `archive` is what it made of
/// the old ones.
///
/// ```
/// use outcrop_wire::peek;
/// use outcrop_wire::{Bins, Value, archive::archive_bins};
///
/// let old = archive_bins(&Bins::new().with("name", "lamp").with("visits", 41))?;
/// let new = peek::patched(&old, [("visits", &Value::Int(42))])?;
/// assert_eq!(new, Some(archive_bins(&Bins::new().with("name", "lamp").with("visits", 42))?));
/// assert_eq!(peek::patched(&old, [("name", &Value::Int(42))])?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn patched<'v>(
    archive: &[u8],
    changes: impl IntoIterator<Item = (&'v str, &'v Value)>,
) -> Result<Option<Vec<u8>>, PeekError> {
    let bins = PeekBins::new(archive)?;
    let mut copy: Option<Vec<u8>> = None;
    for (name, value) in changes {
        let (Some(bytes), Some(at)) = (in_place(value), bins.scalar_at(name)?) else { return Ok(None) };
        let copy = copy.get_or_insert_with(|| archive.to_vec());
        copy.get_mut(at..at + VALUE_BYTES).ok_or(PeekError::Outside)?.copy_from_slice(&bytes);
    }
    Ok(Some(copy.unwrap_or_else(|| archive.to_vec())))
}

impl PeekBins<'_> {
    /// Where the value of a bin lies, if it is there and lies in place.
    fn scalar_at(&self, name: &str) -> Result<Option<usize>, PeekError> {
        let needle = Needle::new(name.as_bytes());
        for (place, item) in self.region[self.start..].chunks_exact(BIN_BYTES).enumerate() {
            let at = self.start + place * BIN_BYTES;
            if needle.may_be(item) && needle.is(self.region, at, self.start)? {
                let at = at + NAME_BYTES;
                let value = value_at(self.region, at, self.start, VALUE_DEPTH_MAX as u8)?;
                let scalar =
                    matches!(value, PeekValue::Null | PeekValue::Bool(_) | PeekValue::Int(_) | PeekValue::Float(_));
                return Ok(scalar.then_some(at));
            }
        }
        Ok(None)
    }
}

/// Tag and bytes of a value that lies in place.
fn in_place(value: &Value) -> Option<[u8; VALUE_BYTES]> {
    let mut bytes = [0; VALUE_BYTES];
    let (tag, rest) = bytes.split_first_mut()?;
    match value {
        Value::Null => *tag = 0,
        Value::Bool(value) => (*tag, rest[0]) = (1, (*value).into()),
        Value::Int(number) => {
            *tag = 2;
            rest.copy_from_slice(&number.to_le_bytes());
        }
        Value::Float(number) => {
            *tag = 3;
            rest.copy_from_slice(&number.to_le_bytes());
        }
        Value::Text(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => return None,
    }
    Some(bytes)
}
