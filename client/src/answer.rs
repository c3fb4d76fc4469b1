//! What goes out and what comes back, apart from the way: a request's nature, its size, its reply.

use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::request::{ModuleOperation, ModuleRequest};
use outcrop_wire::{Code, Reply, ReplyHeader, RequestBody, Verb};

use crate::error::ClientError;
use crate::functions::FunctionError;

/// One request, apart from its body.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) verb: Verb,
    /// Empty for verbs without one.
    pub(crate) namespace: &'a str,
    pub(crate) set: &'a str,
    /// Whether carrying it out changes anything.
    pub(crate) writes: bool,
    /// Whether carrying it out twice is harmless.
    pub(crate) idempotent: bool,
    /// Whether the outcome depends on what was there, so that a second attempt may be refused because of the first.
    pub(crate) conditional: bool,
    pub(crate) deadline: Option<Duration>,
    /// Bytes of the body's large part.
    pub(crate) bytes: usize,
    pub(crate) way: Way,
}

/// On what kind of stream a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A lane, or a stream of its own if it is large.
    Usual,
    /// A stream of its own whose end is the end of the node's work.
    Query,
}

/// A reply frame with its header taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) header: ReplyHeader,
    frame: Bytes,
}

impl Answer {
    pub(crate) fn parse(frame: Bytes) -> Result<Self, ClientError> {
        let reply = Reply::parse(&frame).map_err(ClientError::protocol)?;
        Ok(Answer { header: reply.header, frame })
    }

    /// The reply's body, as a slice of the frame.
    pub(crate) fn body(&self) -> Bytes {
        self.frame.slice(outcrop_wire::reply::REPLY_HEADER_BYTES..)
    }

    pub(crate) fn body_ref(&self) -> &[u8] {
        &self.frame[outcrop_wire::reply::REPLY_HEADER_BYTES..]
    }

    /// Itself if the code is `Ok`, else the error.
    pub(crate) fn ok(self) -> Result<Self, ClientError> {
        if self.header.code == Code::Ok { Ok(self) } else { Err(self.error()) }
    }

    /// Itself if the code is `Ok`, `None` if there is no such record, else the error.
    pub(crate) fn found(self) -> Result<Option<Self>, ClientError> {
        match self.header.code {
            Code::Ok => Ok(Some(self)),
            Code::NotFound => Ok(None),
            _ => Err(self.error()),
        }
    }

    pub(crate) fn error(&self) -> ClientError {
        refused(&Reply { header: self.header, body: self.body_ref() })
    }
}

/// The error of a reply whose code isn't `Ok`.
pub(crate) fn refused(reply: &Reply<'_>) -> ClientError {
    if let Some(Ok(details)) = reply.details() {
        return ClientError::Function(Box::new(FunctionError::parse(reply.header.code, details)));
    }
    let message = reply.message();
    let message = if message.is_empty() { reply.header.code.meaning().to_owned() } else { message };
    match reply.header.code {
        Code::Indeterminate => ClientError::Indeterminate { message },
        code => ClientError::Refused { code, message },
    }
}

/// Bytes of a body's large parts, near enough to choose the stream.
pub(crate) fn body_bytes(body: &RequestBody<'_>) -> usize {
    match body {
        RequestBody::Put { archive, .. } => archive.len(),
        RequestBody::Operate { operations, .. } => operations.len(),
        RequestBody::Call(call) => call.arguments.len() + call.function.byte_len(),
        RequestBody::Aggregate(aggregate) => aggregate.arguments.len(),
        RequestBody::Rows(rows) => rows.arguments.len(),
        RequestBody::Module(ModuleRequest { operation: ModuleOperation::UploadPart { bytes, .. }, .. }) => bytes.len(),
        RequestBody::Job(job) => job.options.len(),
        RequestBody::Batch { items } => {
            items.iter().map(|item| 96 + key_bytes(&item.body) + body_bytes(&item.body)).sum()
        }
        RequestBody::Get { bins: outcrop_wire::BinSelection::Named(names), .. } => names.len() * 256,
        _ => 0,
    }
}

fn key_bytes(body: &RequestBody<'_>) -> usize {
    match body {
        RequestBody::Get { key, .. }
        | RequestBody::Exists { key }
        | RequestBody::Put { key, .. }
        | RequestBody::Delete { key, .. }
        | RequestBody::Touch { key, .. }
        | RequestBody::Operate { key, .. } => key.user_key.byte_len(),
        RequestBody::Call(call) => call.key.user_key.byte_len(),
        _ => 0,
    }
}
