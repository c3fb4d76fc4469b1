//! Replies: a fixed header of 28 bytes, then the verb's body.
//!
//! ```text
//!  0  u32  request id      6  u8   flags, bit 0:      12  u64  epoch of the record's partition
//!  4  u16  code                     details follow    20  u64  sequence of the record in it
//!                          7  u8   verb
//!  8  u32  generation                                 28  body
//! ```
//!
//! Bodies: `get` a stored record; `exists` its `u32` expiry; `put`, `delete`, `touch` the `u32` expiry that holds now;
//! `operate` archived values; `batch` a `u16` count, then per item a `u32` length and a reply; `truncate` a `u64` of
//! records removed; `info` JSON; `scan` and `rows` see [`ScanPart`]; `call` and `aggregate` see [`Called`]; `module` and
//! `job` an archived value. Any code but `Ok` has a message as its body, or, if the flag says so, [`Details`].

use thiserror::Error;

mod function;

pub use function::{Called, Details, encode_called, encode_failure};

use crate::code::Code;
use crate::cursor::Cursor;
use crate::limits::{BATCH_MAX, MESSAGE_BYTES_MAX};
use crate::reader::{ReadError, Reader};
use crate::request::Verb;

/// Flag of an error whose body is [`Details`] rather than a plain message.
pub const FLAG_DETAILS: u8 = 1;

/// Bytes of a reply's header.
pub const REPLY_HEADER_BYTES: usize = 28;

/// Why a reply's bytes can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Fields end too early.
    #[error("malformed reply: {0}")]
    Malformed(#[from] ReadError),
    /// The code is unknown to this version.
    #[error("reply code {0} is unknown to this client")]
    Code(u16),
    /// The verb is unknown to this version.
    #[error("reply verb {0} is unknown to this client")]
    Verb(u8),
    /// A field has a value that it can't have.
    #[error("`{0}` is out of range")]
    Field(&'static str),
}

/// What stands in front of every reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's id.
    pub request_id: u32,
    /// What became of it.
    pub code: Code,
    /// The request's verb.
    pub verb: Verb,
    /// The record's generation (0 where there is none).
    pub generation: u32,
    /// Epoch of the record's partition (0 where there is none).
    pub epoch: u64,
    /// The record's place among its partition's writes (0 where there is none).
    pub sequence: u64,
    /// The body of an error is [`Details`].
    pub details: bool,
}

impl ReplyHeader {
    /// A header without a record.
    pub fn new(request_id: u32, verb: Verb, code: Code) -> Self {
        ReplyHeader { request_id, code, verb, generation: 0, epoch: 0, sequence: 0, details: false }
    }

    /// Appends the 28 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut fixed = [0_u8; REPLY_HEADER_BYTES];
        fixed[0..4].copy_from_slice(&self.request_id.to_le_bytes());
        fixed[4..6].copy_from_slice(&(self.code as u16).to_le_bytes());
        fixed[6] = if self.details { FLAG_DETAILS } else { 0 };
        fixed[7] = self.verb as u8;
        fixed[8..12].copy_from_slice(&self.generation.to_le_bytes());
        fixed[12..20].copy_from_slice(&self.epoch.to_le_bytes());
        fixed[20..28].copy_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&fixed);
    }

    /// Reads the 28 bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReplyError> {
        let request_id = reader.u32("request id")?;
        let code = reader.u16("code")?;
        let flags = reader.u8("flags")?;
        if flags & !FLAG_DETAILS != 0 {
            return Err(ReplyError::Field("flags"));
        }
        let verb = reader.u8("verb")?;
        Ok(ReplyHeader {
            request_id,
            code: Code::from_number(code).ok_or(ReplyError::Code(code))?,
            verb: Verb::from_number(verb).ok_or(ReplyError::Verb(verb))?,
            generation: reader.u32("generation")?,
            epoch: reader.u64("epoch")?,
            sequence: reader.u64("sequence")?,
            details: flags & FLAG_DETAILS != 0,
        })
    }
}

/// A reply taken apart in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The fixed part.
    pub header: ReplyHeader,
    /// The verb's body, or the message of an error.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Takes a reply frame's content apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReplyError> {
        let mut reader = Reader::new(bytes);
        let header = ReplyHeader::decode(&mut reader)?;
        Ok(Reply { header, body: reader.rest() })
    }

    /// The message of an error.
    pub fn message(&self) -> String {
        let message = match self.details() {
            Some(Ok(details)) => details.message,
            Some(Err(_)) => return String::new(),
            None => self.body,
        };
        String::from_utf8_lossy(&message[..message.len().min(MESSAGE_BYTES_MAX)]).into_owned()
    }

    /// What an error says beyond its message, if it does.
    pub fn details(&self) -> Option<Result<Details<'a>, ReplyError>> {
        self.header.details.then(|| Details::parse(self.body))
    }

    /// The replies of a batch, in the order of its requests.
    pub fn batch_items(&self) -> Result<Vec<Reply<'a>>, ReplyError> {
        let mut reader = Reader::new(self.body);
        let count = usize::from(reader.u16("number of replies")?);
        if count > BATCH_MAX {
            return Err(ReplyError::Field("number of replies"));
        }
        let mut items = Vec::with_capacity(count.min(reader.rest().len() / REPLY_HEADER_BYTES));
        for _ in 0..count {
            let len = reader.u32("reply length")?;
            items.push(Reply::parse(reader.bytes(len as usize, "reply")?)?);
        }
        Ok(items)
    }
}

/// Appends a whole error reply (without the frame's length).
pub fn encode_error(header: &ReplyHeader, message: &str, out: &mut Vec<u8>) {
    header.encode(out);
    out.extend_from_slice(cut(message).as_bytes());
}

/// A message within its limit.
fn cut(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// One frame of a scan or row query: `u8 kind, 32 bytes cursor, [u32 damaged places], u32 count, {u32 length, stored record
/// or archived value}*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPart<'a> {
    /// Whether this is the scan's last frame.
    pub end: bool,
    /// Where to go on after this frame's records.
    pub cursor: Cursor,
    /// Places of the log that were passed over since the frame before, because their bytes are damaged: whatever records
    /// lay there are missing.
    pub damaged: u32,
    /// Number of records.
    pub count: u32,
    /// The records, each with a `u32` length in front.
    pub records: &'a [u8],
}

/// Kind byte of a scan frame with more to come.
pub const SCAN_MORE: u8 = 0;
/// Kind byte of a scan's last frame.
pub const SCAN_END: u8 = 1;
/// Added to the kind of a frame that tells of damaged places. A client that doesn't know it takes the frame for malformed,
/// rather than what it got for everything.
pub const SCAN_DAMAGED: u8 = 2;

impl<'a> ScanPart<'a> {
    /// Takes the body of a scan's reply apart.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReplyError> {
        let mut reader = Reader::new(body);
        let kind = reader.u8("scan kind")?;
        let end = match kind & !SCAN_DAMAGED {
            SCAN_MORE => false,
            SCAN_END => true,
            _ => return Err(ReplyError::Field("scan kind")),
        };
        let cursor = Cursor::decode(&mut reader)?;
        let damaged = if kind & SCAN_DAMAGED != 0 { reader.u32("damaged places")? } else { 0 };
        let count = reader.u32("number of records")?;
        Ok(ScanPart { end, cursor, damaged, count, records: reader.rest() })
    }

    /// Appends a frame's body up to its records.
    pub fn encode_head(end: bool, cursor: Cursor, damaged: u32, count: u32, out: &mut Vec<u8>) {
        let kind = if end { SCAN_END } else { SCAN_MORE };
        out.push(if damaged > 0 { kind | SCAN_DAMAGED } else { kind });
        cursor.encode(out);
        if damaged > 0 {
            out.extend_from_slice(&damaged.to_le_bytes());
        }
        out.extend_from_slice(&count.to_le_bytes());
    }

    /// The stored records, in order; stops after the first malformed one.
    pub fn iter(&self) -> impl Iterator<Item = Result<&'a [u8], ReadError>> + use<'a> {
        let (mut reader, mut failed) = (Reader::new(self.records), false);
        std::iter::from_fn(move || {
            if failed || reader.is_empty() {
                return None;
            }
            let record = reader.u32("record length").and_then(|len| reader.bytes(len as usize, "record"));
            failed = record.is_err();
            Some(record)
        })
    }
}
