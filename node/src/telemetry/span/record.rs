//! What a traced request leaves behind: fixed fields, no text of its own, nothing that the exporting thread would have to
//! free for the worker. Turned into a span far from the request.

use std::net::SocketAddr;

use outcrop_wire::limits::{NAMESPACE_NAME_BYTES_MAX, SET_NAME_BYTES_MAX};
use outcrop_wire::{Code, Verb};
use tokio::time::Instant;

use super::notes::Notes;

/// Changes of stage that are told as events; those beyond still count into the times.
pub(super) const MARKS_MAX: usize = 6;

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

/// The moments at which a request went from stage to stage, and the time that each took in all; in nanoseconds since it
/// arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stages {
    pub times_ns: [u64; STAGES.len()],
    marks_ns: [u64; MARKS_MAX],
    marks: [Stage; MARKS_MAX],
    marked: u32,
    now: Stage,
    since_ns: u64,
}

impl Stages {
    pub fn new() -> Self {
        Stages {
            times_ns: [0; STAGES.len()],
            marks_ns: [0; MARKS_MAX],
            marks: [Stage::Queue; MARKS_MAX],
            marked: 0,
            now: Stage::Queue,
            since_ns: 0,
        }
    }

    /// The time until now counts to the stage that is.
    pub fn settle(&mut self, now_ns: u64) {
        self.times_ns[self.now as usize] += now_ns.saturating_sub(self.since_ns);
        self.since_ns = now_ns;
    }

    pub fn enter(&mut self, stage: Stage, now_ns: u64) {
        self.settle(now_ns);
        self.now = stage;
        if let (Some(at), Some(mark)) =
            (self.marks_ns.get_mut(self.marked as usize), self.marks.get_mut(self.marked as usize))
        {
            (*at, *mark) = (now_ns, stage);
        }
        self.marked += 1;
    }

    /// Each change, unless there was but one: then the times say everything.
    pub fn marks(&self) -> impl Iterator<Item = (Stage, u64)> + '_ {
        let told = if self.marked > 1 { MARKS_MAX.min(self.marked as usize) } else { 0 };
        self.marks.iter().copied().zip(self.marks_ns).take(told)
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
    /// When it ended, in nanoseconds since it arrived.
    pub ended_ns: u64,
    pub stages: Stages,
    pub batch: Option<u32>,
    pub records: Option<u64>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub served_from: Option<&'static str>,
    pub message: Option<Box<str>>,
    pub notes: Option<Box<Notes>>,
}

// It is copied once, into the line.
const _: () = assert!(size_of::<Record>() <= 448);

impl Record {
    /// Nanoseconds since it arrived.
    pub fn elapsed_ns(&self) -> u64 {
        self.arrived.elapsed().as_nanos() as u64
    }

    /// Spans that it becomes.
    pub fn spans(&self) -> u64 {
        1 + self.notes.as_ref().map_or(0, |notes| notes.children.len() as u64)
    }
}
