//! Replies of functions: a result with its report, and what an error tells beyond its message.

use super::{ReplyError, ReplyHeader, cut};
use crate::limits::{DETAILS_BYTES_MAX, RESULT_BYTES_MAX};
use crate::reader::Reader;

/// The body of a `call`'s or `aggregate`'s reply: `u32 result length, result, report to the end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Called<'a> {
    /// An archived [`crate::Value`].
    pub result: &'a [u8],
    /// An archived map, if it was asked for: `logs` (list of maps `level`, `message`), `fuel`, `memory_bytes`,
    /// `wall_us`, `module`, `version`; of an aggregate also `records`, `bytes`, `elapsed_us`, `instances`. Else empty.
    pub report: &'a [u8],
}

impl<'a> Called<'a> {
    /// Takes the body apart; neither archive is looked into.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReplyError> {
        let mut reader = Reader::new(body);
        let len = reader.u32("result length")? as usize;
        if len > RESULT_BYTES_MAX {
            return Err(ReplyError::Field("result length"));
        }
        Ok(Called { result: reader.bytes(len, "result")?, report: reader.rest() })
    }
}

/// Appends the whole reply of a `call` or `aggregate` (without the frame's length).
pub fn encode_called(header: &ReplyHeader, called: Called<'_>, out: &mut Vec<u8>) {
    header.encode(out);
    out.extend_from_slice(&(called.result.len() as u32).to_le_bytes());
    out.extend_from_slice(called.result);
    out.extend_from_slice(called.report);
}

/// The body of an error with details: `u16 message length, message, archived map to the end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details<'a> {
    /// For people; UTF-8.
    pub message: &'a [u8],
    /// An archived map: `module`, `version`, `function`, `failure_code` (the guest's own), `backtrace` (list of text),
    /// `limit` (map `name`, `allowed`, `used`), `logs`. Keys that have nothing to say are left out.
    pub details: &'a [u8],
}

impl<'a> Details<'a> {
    /// Takes the body apart; the archive isn't looked into.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReplyError> {
        let mut reader = Reader::new(body);
        let len = usize::from(reader.u16("message length")?);
        Ok(Details { message: reader.bytes(len, "message")?, details: reader.rest() })
    }
}

/// Appends a whole error reply with details, an archived map (without the frame's length). Details over
/// [`DETAILS_BYTES_MAX`] are left out: an error must fit a lane.
pub fn encode_failure(header: &ReplyHeader, message: &str, details: &[u8], out: &mut Vec<u8>) {
    let details = if details.len() > DETAILS_BYTES_MAX { &[] } else { details };
    ReplyHeader { details: true, ..*header }.encode(out);
    let message = cut(message).as_bytes();
    out.extend_from_slice(&(message.len() as u16).to_le_bytes());
    out.extend_from_slice(message);
    out.extend_from_slice(details);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Reply, encode_error};
    use crate::{Code, Verb};

    #[test]
    fn an_error_with_details_and_one_without_have_their_message() {
        let header = ReplyHeader::new(7, Verb::Call, Code::FunctionTrapped);
        let (mut plain, mut detailed) = (Vec::new(), Vec::new());
        encode_error(&header, "it trapped", &mut plain);
        encode_failure(&header, "it trapped", b"archive", &mut detailed);
        let (plain, detailed) = (Reply::parse(&plain).expect("a reply"), Reply::parse(&detailed).expect("a reply"));
        assert_eq!((plain.message(), detailed.message()), ("it trapped".to_owned(), "it trapped".to_owned()));
        assert_eq!(plain.details(), None);
        assert_eq!(detailed.details(), Some(Ok(Details { message: b"it trapped", details: b"archive" })));
    }

    #[test]
    fn long_messages_are_cut_and_long_details_left_out() {
        let header = ReplyHeader::new(7, Verb::Call, Code::FunctionFailed);
        let mut bytes = Vec::new();
        encode_failure(&header, &"ü".repeat(1_000), &vec![0; DETAILS_BYTES_MAX + 1], &mut bytes);
        let reply = Reply::parse(&bytes).expect("a reply");
        assert_eq!(reply.message(), "ü".repeat(512));
        assert_eq!(reply.details().map(|details| details.map(|details| details.details)), Some(Ok(&[][..])));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(Called::parse(&[255, 255, 255, 255, 0]).is_err());
        assert!(Called::parse(&[2, 0, 0, 0, 0]).is_err());
        assert_eq!(Called::parse(&[1, 0, 0, 0, 5]), Ok(Called { result: &[5], report: &[] }));
        assert!(Details::parse(&[2, 0, 0]).is_err());
    }
}
