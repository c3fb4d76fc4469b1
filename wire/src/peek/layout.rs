//! The bytes of an archive, as `docs/protocol.md` draws them, each offset checked before it is followed.
//!
//! Children lie in front of their parents: whatever an item points at ends where the table of items begins or before.
//! rkyv's validation demands the same, and it is what makes every walk come to an end.

use super::{PeekError, PeekList, PeekMap, PeekValue};

pub(super) const VECTOR_BYTES: usize = 8;
pub(super) const NAME_BYTES: usize = 8;
pub(super) const VALUE_BYTES: usize = 9;
pub(super) const KEY_BYTES: usize = 9;
pub(super) const BIN_BYTES: usize = NAME_BYTES + VALUE_BYTES;
pub(super) const ENTRY_BYTES: usize = KEY_BYTES + VALUE_BYTES;

/// Strings of up to this length lie in place of the pointer.
pub(super) const INLINE_BYTES: usize = 8;

/// The length of a string out of its place, as its first four bytes say it.
#[inline]
pub(super) fn decoded_len(encoded: u32) -> usize {
    ((encoded & 0x3F) | ((encoded & !0xFF) >> 2)) as usize
}

/// The other way round; `len` fits 30 bits.
#[inline]
pub(super) fn encoded_len(len: usize) -> u32 {
    let len = len as u32;
    (len & 0x3F) | 0x80 | ((len & !0x3F) << 2)
}

#[inline]
fn word(region: &[u8], at: usize) -> Result<[u8; 8], PeekError> {
    region.get(at..).and_then(|rest| rest.first_chunk::<8>()).copied().ok_or(PeekError::Outside)
}

/// A range of `bytes` at a signed distance from `at`, which has to end at `limit` or before.
#[inline]
fn target(at: usize, offset: [u8; 4], bytes: u64, limit: usize) -> Result<(usize, usize), PeekError> {
    let start = at as i64 + i64::from(i32::from_le_bytes(offset));
    let end = u64::try_from(start).map_err(|_| PeekError::Outside)? + bytes;
    if end > limit as u64 {
        return Err(PeekError::Outside);
    }
    Ok((start as usize, end as usize))
}

/// Begin and end of the items of the vector at `at`.
#[inline]
pub(super) fn vector(region: &[u8], at: usize, limit: usize, item_bytes: usize) -> Result<(usize, usize), PeekError> {
    let [a, b, c, d, count @ ..] = word(region, at)?;
    match u32::from_le_bytes(count) {
        0 => Ok((0, 0)),
        count => target(at, [a, b, c, d], u64::from(count) * item_bytes as u64, limit),
    }
}

/// The bytes of the string at `at`, not yet known to be UTF-8.
#[inline]
pub(super) fn string(region: &[u8], at: usize, limit: usize) -> Result<&[u8], PeekError> {
    let bytes = word(region, at)?;
    let (start, end) = if bytes[0] & 0xC0 != 0x80 {
        let len = bytes.iter().position(|byte| *byte == 0xFF).unwrap_or(INLINE_BYTES);
        (at, at + len)
    } else {
        let [a, b, c, d, offset @ ..] = bytes;
        let len = decoded_len(u32::from_le_bytes([a, b, c, d]));
        if len <= INLINE_BYTES {
            return Err(PeekError::Outside);
        }
        target(at, offset, len as u64, limit)?
    };
    region.get(start..end).ok_or(PeekError::Outside)
}

/// The text at `at`.
#[inline]
pub(super) fn text(region: &[u8], at: usize, limit: usize) -> Result<&str, PeekError> {
    std::str::from_utf8(string(region, at, limit)?).map_err(|_| PeekError::NotUtf8)
}

/// The bytes of the vector of bytes at `at`.
#[inline]
pub(super) fn bytes(region: &[u8], at: usize, limit: usize) -> Result<&[u8], PeekError> {
    let (start, end) = vector(region, at, limit, 1)?;
    region.get(start..end).ok_or(PeekError::Outside)
}

/// The value at `at`, an item of a table that begins at `limit`.
#[inline]
pub(super) fn value_at(region: &[u8], at: usize, limit: usize, depth_left: u8) -> Result<PeekValue<'_>, PeekError> {
    let tag = *region.get(at).ok_or(PeekError::Outside)?;
    let inside = at + 1;
    Ok(match tag {
        0 => PeekValue::Null,
        1 => match region.get(inside) {
            Some(0) => PeekValue::Bool(false),
            Some(1) => PeekValue::Bool(true),
            _ => return Err(PeekError::Tag(tag)),
        },
        2 => PeekValue::Int(i64::from_le_bytes(word(region, inside)?)),
        3 => PeekValue::Float(f64::from_le_bytes(word(region, inside)?)),
        4 => PeekValue::Text(text(region, inside, limit)?),
        5 => PeekValue::Bytes(bytes(region, inside, limit)?),
        6 => PeekValue::List(PeekList::new(region, inside, limit, deeper(depth_left)?)?),
        7 => PeekValue::Map(PeekMap::new(region, inside, limit, deeper(depth_left)?)?),
        other => return Err(PeekError::Tag(other)),
    })
}

#[inline]
fn deeper(depth_left: u8) -> Result<u8, PeekError> {
    depth_left.checked_sub(1).ok_or(PeekError::TooDeep)
}

/// A name that is looked for, in the form in which it would lie in the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needle<'n> {
    name: &'n [u8],
    /// The first bytes of its string, as far as `mask` reaches.
    word: u64,
    mask: u64,
}

impl<'n> Needle<'n> {
    #[inline]
    pub(super) fn new(name: &'n [u8]) -> Self {
        let len = name.len();
        if len > INLINE_BYTES {
            // A name over 2^30 bytes may get the length of another, and then has other bytes.
            return Needle { name, word: encoded_len(len).into(), mask: u64::from(u32::MAX) };
        }
        // The byte behind it ends it; what comes behind that means nothing.
        let mut bytes = [0xFF; INLINE_BYTES];
        bytes[..len].copy_from_slice(name);
        let mask = if len >= INLINE_BYTES - 1 { u64::MAX } else { (1 << (8 * (len + 1))) - 1 };
        Needle { name, word: u64::from_le_bytes(bytes), mask }
    }

    /// Whether the string at the begin of `item` may be it: certain for a short one.
    #[inline]
    pub(super) fn may_be(&self, item: &[u8]) -> bool {
        item.first_chunk::<8>().is_some_and(|bytes| (u64::from_le_bytes(*bytes) ^ self.word) & self.mask == 0)
    }

    /// Whether a string that [`Needle::may_be`] it is it.
    #[inline]
    pub(super) fn is(&self, region: &[u8], at: usize, limit: usize) -> Result<bool, PeekError> {
        Ok(self.name.len() <= INLINE_BYTES || string(region, at, limit)? == self.name)
    }
}
