//! An I/O on its way through a ring: what is asked, who gets the answer, and the memory that stays put until then.

use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::buffer::{SegmentBuffer, SegmentWriter};
use crate::device::DeviceError;
use crate::device::file::DeviceFile;

/// What is asked. Dropping it unanswered tells the asker that the driver is gone.
pub(super) struct Operation {
    pub(super) file: Arc<DeviceFile>,
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// The buffer is taken from the ring's pool when the read starts, not while it waits.
    Read {
        answer: oneshot::Sender<Result<Arc<SegmentBuffer>, DeviceError>>,
    },
    Write {
        buffer: Arc<SegmentBuffer>,
        start: usize,
        answer: oneshot::Sender<Result<(), DeviceError>>,
    },
    Sync {
        answer: oneshot::Sender<Result<(), DeviceError>>,
    },
}

impl Operation {
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Read { .. } => "read",
            Kind::Write { .. } => "write",
            Kind::Sync { .. } => "sync",
        }
    }

    /// A read that nobody waits for any more needn't start. Writes and syncs were promised to happen.
    pub(super) fn is_pointless(&self) -> bool {
        matches!(&self.kind, Kind::Read { answer } if answer.is_closed())
    }

    pub(super) fn unavailable(&self, message: &str) -> DeviceError {
        DeviceError::Unavailable { device: self.file.name().to_owned(), message: message.to_owned() }
    }
}

/// An operation that the kernel has, or is about to get.
pub(super) struct InFlight {
    pub(super) operation: Operation,
    /// Where a read goes.
    pub(super) writer: Option<SegmentWriter>,
    /// Bytes that are through.
    pub(super) done: usize,
    /// Times in a row that the kernel put it off.
    pub(super) attempts: u32,
}

/// An operation that came to its end.
pub(super) struct Finished {
    operation: Operation,
    outcome: Result<Option<SegmentWriter>, DeviceError>,
}

impl InFlight {
    pub(super) fn finish(self, outcome: Result<(), DeviceError>) -> Finished {
        Finished { operation: self.operation, outcome: outcome.map(|()| self.writer) }
    }

    /// Gives up on an operation whose memory the kernel may still touch: that memory is never freed.
    pub(super) fn abandon(self, message: &str) -> Finished {
        let error = self.operation.unavailable(message);
        if let Kind::Write { buffer, .. } = &self.operation.kind {
            forget(buffer.clone());
        }
        forget(self.writer);
        Finished { operation: self.operation, outcome: Err(error) }
    }
}

impl Finished {
    /// An operation that never started.
    pub(super) fn refused(operation: Operation, error: DeviceError) -> Self {
        Finished { operation, outcome: Err(error) }
    }

    /// Tells whoever waits. File and buffer are let go first: who sees the answer may open the file again.
    pub(super) fn deliver(self) {
        let Operation { file, kind, .. } = self.operation;
        drop(file);
        // A closed channel is a dropped future: it forgot the answer, nothing else is due.
        match kind {
            Kind::Read { answer } => {
                let outcome = self.outcome.map(|writer| writer.map(SegmentWriter::finish));
                match outcome {
                    Ok(Some(buffer)) => drop(answer.send(Ok(buffer))),
                    Ok(None) => drop(answer),
                    Err(error) => drop(answer.send(Err(error))),
                }
            }
            Kind::Write { buffer, answer, .. } => {
                drop(buffer);
                drop(answer.send(self.outcome.map(drop)));
            }
            Kind::Sync { answer } => drop(answer.send(self.outcome.map(drop))),
        }
    }
}

/// Waits for the answer; dropping it forgets the answer only.
pub(super) struct Answer<T> {
    pub(super) receiver: oneshot::Receiver<Result<T, DeviceError>>,
    /// For the message, should the driver be gone.
    pub(super) device: Arc<str>,
}

impl<T> Future for Answer<T> {
    type Output = Result<T, DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| {
                let message = "the I/O driver is gone".to_owned();
                Err(DeviceError::Unavailable { device: self.device.to_string(), message })
            })
        })
    }
}
