//! Scans: the records of a set or namespace in the order in which the log holds them, each of them once.
//!
//! Log order reads the device sequentially, many times faster than key order would. [`Scanner`] goes through the log by
//! itself and can be resumed; [`ParallelScan`] deals the segments out to several workers, for aggregates.
//!
//! **What is promised.** A record that is there from the beginning of a scan to its end is given exactly once, with what
//! it held at some moment of the scan, however often it is overwritten or moved by defrag meanwhile. One that comes or
//! goes meanwhile may be given or not. A resumed scan begins anew in this: what was written between the two parts may
//! come again, nothing is left out. `docs/decisions/0005-scans-in-log-order.md` has the reasons.
//!
//! **How.** A scan reads the log in rounds. Round 0 is everything up to the head at its beginning, S. Round 1 goes from
//! there to the head at the end of round 0, which is where every record that moved in front of the scan must lie by then;
//! further rounds follow only if a segment was freed before the round came to it. An entry is *judged* under its
//! partition's lock, at which moment the scan also publishes that it has read so far ([`ledger`]). In round 0 an entry is
//! given if the index points at it. Behind S it is given if, besides, the ledger has no note of its key: whoever makes
//! the index point elsewhere does so under the same lock, and leaves a note if the scan had read the place that the
//! index pointed at before.
//!
//! *Never twice.* Let a key be given at entry *e*. Then *e* was read while the index pointed at it, so its next change
//! left a note. Later copies lie behind S, where notes are heeded; in round 0 an entry at which the index points hasn't
//! been replaced since the scan began, since its replacement would lie behind S. *Never left out.* Let a key be there all
//! the while. A note is left only when a place is replaced that was read while current, so that the key was given there.
//! Without a note, none of its places was read while current. Its last place of a round is then read while current, or
//! in a segment that was freed before (then another round follows, or it was round 0), or it was replaced by one behind
//! the round's end: *overtaken*. The scan gives it at the overtaken place, with what it held there, and leaves a note.

pub mod ledger;
mod parallel;
mod pass;
mod plan;
mod scanner;

use outcrop_wire::Digest;
use thiserror::Error;

pub use parallel::{ParallelScan, SegmentScan};
pub use scanner::Scanner;

/// Why a scan can't begin or go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The cursor is another log's.
    #[error("the cursor is of another namespace, or the device has been emptied since")]
    Cursor,
    /// The device.
    #[error("reading segment {segment}: {message}")]
    Device {
        /// Which segment.
        segment: u32,
        /// What happened.
        message: String,
    },
    /// Writers use the device's segments again faster than the scan comes to them. It can go on from its cursor.
    #[error("the scan is slower than writers use the device again; go on from its cursor, faster")]
    Outrun,
    /// A worker of a parallel scan gave up in the middle of a segment, so that the rest can't be the whole.
    #[error("a part of the scan was given up")]
    Abandoned,
}

/// What a scan goes through.
#[derive(Debug, Clone)]
pub struct ScanFilter {
    /// One set, or all.
    pub set: Option<String>,
    /// First partition.
    pub partition_first: u16,
    /// Last partition, included.
    pub partition_last: u16,
}

/// What a record is given to.
pub trait Sink {
    /// Takes a record in its stored form. False: it has no room, and gets the record again next time.
    fn record(&mut self, digest: &Digest, stored: &[u8]) -> bool;
}

/// Whether there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The sink is full.
    Full,
    /// Some of the log was read, none of it for the sink perhaps; go on.
    More,
    /// There is no more.
    End,
}
