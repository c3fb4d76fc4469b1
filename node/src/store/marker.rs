//! Truncation markers: the log entry that says "every record of this set logged before here is gone".
//!
//! `u8 0x81, u8 set length, 6 zero bytes, u64 log sequence number before which records are gone, set`. A stored record
//! begins with its format version (1), so the two are told apart by their first byte.

use outcrop_flash::Location;
use outcrop_wire::limits::SET_NAME_BYTES_MAX;
use outcrop_wire::reader::Reader;

/// First byte of a marker: version 1 with the top bit.
pub const MARKER_BYTE: u8 = 0x81;

/// A truncation of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The set.
    pub set: String,
    /// Records of the set logged before this number are gone.
    pub before_lsn: u64,
}

/// A marker and where it lies in the log: live there until every record that it hides is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedMarker {
    /// The truncation.
    pub marker: Marker,
    /// Its entry in the log.
    pub location: Location,
}

impl Marker {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.set.len());
        out.push(MARKER_BYTE);
        out.push(self.set.len().min(SET_NAME_BYTES_MAX) as u8);
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.before_lsn.to_le_bytes());
        out.extend_from_slice(self.set.as_bytes());
        out
    }

    /// Reads a marker; `None` if the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8("kind").ok()? != MARKER_BYTE {
            return None;
        }
        let len = reader.u8("set length").ok()?;
        reader.bytes(6, "zero").ok()?;
        let before_lsn = reader.u64("lsn").ok()?;
        let set = reader.text(len.into(), "set").ok()?;
        reader.is_empty().then(|| Marker { set: set.to_owned(), before_lsn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_is_told_from_a_record() {
        let marker = Marker { set: "products".into(), before_lsn: 1 << 40 };
        assert_eq!(Marker::decode(&marker.encode()), Some(marker.clone()));
        assert_eq!(Marker::decode(&marker.encode()[1..]), None);
        assert_eq!(Marker::decode(&[1; 80]), None);
    }
}
