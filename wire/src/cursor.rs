//! Cursors: where a scan goes on. Opaque to users, stable across reconnects and restarts of the node.

use crate::reader::{ReadError, Reader};

/// A place in a namespace's log: a scan goes through the log in order, so this is all that it has to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Identity of the log, so that a cursor of another namespace or an emptied device is refused.
    pub log_id: u64,
    /// Log sequence number at which the scan began.
    pub start_lsn: u64,
    /// Log sequence number at which it goes on.
    pub position_lsn: u64,
    /// Records given so far.
    pub emitted: u64,
}

impl Cursor {
    /// Bytes on the wire.
    pub const BYTES: usize = 32;

    /// Appends the four numbers, little-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.log_id, self.start_lsn, self.position_lsn, self.emitted] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Reads what [`Cursor::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Cursor {
            log_id: reader.u64("cursor log")?,
            start_lsn: reader.u64("cursor start")?,
            position_lsn: reader.u64("cursor position")?,
            emitted: reader.u64("cursor count")?,
        })
    }
}
