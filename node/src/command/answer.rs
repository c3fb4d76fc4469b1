//! Answers: a reply's bytes, and the log number that must be durable before they may leave.

use bytes::Bytes;
use outcrop_flash::Lsn;
use outcrop_wire::reply::{REPLY_HEADER_BYTES, encode_error};
use outcrop_wire::{Code, ReplyHeader, Verb};
use tokio::sync::OwnedSemaphorePermit;

use super::error::CommandError;
use super::told::Told;
use crate::store::write::Committed;

/// A namespace's log and how far it must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The namespace's number.
    pub namespace: u16,
    /// The log number.
    pub end: Lsn,
}

/// What a verb made of a request without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// The reply has been appended; it may leave once `wait` is durable.
    Done {
        /// What became of the request.
        code: Code,
        /// What to wait for.
        wait: Option<Wait>,
    },
    /// Nothing was done: the device has to be read, or room waited for.
    Later,
}

/// A reply that took its time.
#[derive(Debug)]
pub struct Finished {
    /// What became of the request.
    pub code: Code,
    /// Header and small body.
    pub content: Vec<u8>,
    /// A body that is handed on without a copy.
    pub value: Option<Bytes>,
    /// What must be durable before it leaves.
    pub wait: Option<Wait>,
    /// Its share of the memory for large values, given back once it has left.
    pub permit: Option<OwnedSemaphorePermit>,
    /// What its span tells of the function that was called.
    pub told: Option<Box<Told>>,
}

impl Finished {
    /// A small answer.
    pub fn small(code: Code, content: Vec<u8>, wait: Option<Wait>) -> Self {
        Finished { code, content, value: None, wait, permit: None, told: None }
    }

    /// A refusal.
    pub fn refused(request_id: u32, verb: Verb, namespace: u16, error: &CommandError) -> Self {
        let mut content = Vec::with_capacity(128);
        let Now::Done { code, wait } = refuse(request_id, verb, namespace, error, &mut content) else {
            unreachable!("a refusal is always done")
        };
        Finished::small(code, content, wait)
    }

    /// Bytes of the whole reply.
    pub fn byte_len(&self) -> usize {
        self.content.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Appends a refusal.
pub fn refuse(request_id: u32, verb: Verb, namespace: u16, error: &CommandError, out: &mut Vec<u8>) -> Now {
    encode_error(&ReplyHeader::new(request_id, verb, error.code), &error.message, out);
    Now::Done { code: error.code, wait: error.durable_at.map(|end| Wait { namespace, end }) }
}

/// Appends the answer to a write: its header and the expiry that holds now.
pub fn committed(request_id: u32, verb: Verb, namespace: u16, done: &Committed, out: &mut Vec<u8>) -> Now {
    let header = ReplyHeader {
        generation: done.generation,
        epoch: done.epoch,
        sequence: done.sequence,
        ..ReplyHeader::new(request_id, verb, Code::Ok)
    };
    header.encode(out);
    out.extend_from_slice(&done.expiry_secs.to_le_bytes());
    Now::Done { code: Code::Ok, wait: done.durable_at.map(|end| Wait { namespace, end }) }
}

/// The header of a reply that carries a stored record, from the record's own fixed fields.
///
/// The stored bytes have a checksum of their own and were made by this node: they are copied, not taken apart.
pub fn record_header(request_id: u32, verb: Verb, stored: &[u8]) -> ReplyHeader {
    let field = |at: usize| stored.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    ReplyHeader {
        generation: (field(12) & 0xFFFF_FFFF) as u32,
        epoch: field(16),
        sequence: field(24),
        ..ReplyHeader::new(request_id, verb, Code::Ok)
    }
}

const _: () = assert!(REPLY_HEADER_BYTES == 28, "docs/protocol.md draws 28 bytes");
