//! What a traced request leaves behind: fixed fields, no text of its own, nothing that the exporting thread would have to
//! free for the worker. Turned into a span far from the request.

use std::net::SocketAddr;
use std::time::Duration;

use outcrop_wire::limits::{NAMESPACE_NAME_BYTES_MAX, SET_NAME_BYTES_MAX};
use outcrop_wire::{Code, Verb};
use tokio::time::Instant;

use super::notes::Notes;

/// Changes of stage that are told as events; those beyond still count into the times.
pub(super) const MARKS_MAX: usize = 8;

/// Where a request's time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a worker, a lock or a place in a queue.
    Queue,
    /// Index and memory: the work itself.
    Store,
    /// Waiting for the device to read.
    FlashRead,
    /// Waiting for the write to be durable.
    CommitWait,
    /// Writing the reply.
    Reply,
}

/// Of each stage the event's name and the attribute with its time in microseconds.
pub(super) const STAGES: [(&str, &str); 5] = [
    ("queue", "outcrop.queue_us"),
    ("store", "outcrop.store_us"),
    ("flash read", "outcrop.flash_read_us"),
    ("commit wait", "outcrop.commit_wait_us"),
    ("reply", "outcrop.reply_us"),
];

/// A short text in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<const BYTES: usize> {
    len: u8,
    bytes: [u8; BYTES],
}

impl<const BYTES: usize> Name<BYTES> {
    /// What is longer, which no name that exists is, is cut.
    pub fn new(text: &str) -> Self {
        const { assert!(BYTES <= u8::MAX as usize) };
        let len = text.floor_char_boundary(BYTES);
        let mut bytes = [0; BYTES];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Name { len: len as u8, bytes }
    }

    /// None if it is empty.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).ok().filter(|text| !text.is_empty())
    }
}

/// The moments at which a request went from stage to stage, and the time that each took in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stages {
    now: (Stage, Instant),
    pub times: [Duration; STAGES.len()],
    marks: [(Stage, Instant); MARKS_MAX],
    marked: u32,
}

impl Stages {
    pub fn new(arrived: Instant) -> Self {
        let first = (Stage::Queue, arrived);
        Stages { now: first, times: [Duration::ZERO; STAGES.len()], marks: [first; MARKS_MAX], marked: 0 }
    }

    /// The time until now counts to the stage that is.
    pub fn settle(&mut self, now: Instant) {
        self.times[self.now.0 as usize] += now.saturating_duration_since(self.now.1);
        self.now.1 = now;
    }

    pub fn enter(&mut self, stage: Stage, now: Instant) {
        self.settle(now);
        self.now.0 = stage;
        if let Some(mark) = self.marks.get_mut(self.marked as usize) {
            *mark = self.now;
        }
        self.marked += 1;
    }

    pub fn marks(&self) -> &[(Stage, Instant)] {
        &self.marks[..MARKS_MAX.min(self.marked as usize)]
    }

    pub fn marks_lost(&self) -> u32 {
        self.marked.saturating_sub(MARKS_MAX as u32)
    }
}

/// One traced request.
#[derive(Debug)]
pub(super) struct Record {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub caller: Option<[u8; 8]>,
    pub verb: Verb,
    /// None: it ended without an answer.
    pub code: Option<Code>,
    pub namespace: Name<NAMESPACE_NAME_BYTES_MAX>,
    pub set: Option<Name<SET_NAME_BYTES_MAX>>,
    pub peer: SocketAddr,
    pub arrived: Instant,
    pub ended: Instant,
    pub stages: Stages,
    pub batch: Option<u64>,
    pub records: Option<u64>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub served_from: Option<&'static str>,
    pub message: Option<Box<str>>,
    pub notes: Option<Box<Notes>>,
}

impl Record {
    /// Spans that it becomes.
    pub fn spans(&self) -> u64 {
        1 + self.notes.as_ref().map_or(0, |notes| notes.children.len() as u64)
    }
}
