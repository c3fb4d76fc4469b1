//! Faults of a memory device: which, on which operation, where, and when.

use std::ops::Range;

/// What a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Syncs.
    Sync,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
        }
    }
}

/// What happens to the I/O. A fault that makes no sense for the operation lets it pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with an I/O error (read, write, sync).
    Eio,
    /// It fails for lack of space (write, sync).
    NoSpace,
    /// It is acknowledged and nothing happens (write, sync).
    Lost,
    /// It is acknowledged and lands elsewhere: at this offset (rounded down to a block) or at a seeded one (write).
    Misdirected {
        /// Where; `None`: a seeded place.
        to: Option<u64>,
    },
    /// One seeded bit of what it returns is inverted; the medium stays as it is (read).
    FlipBit,
}

/// A fault and when it strikes: from the first matching I/O on, once, anywhere, unless told otherwise.
#[derive(Debug, Clone)]
pub struct Injection {
    operation: Operation,
    fault: Fault,
    skip: u64,
    left: u64,
    offsets: Range<u64>,
}

impl Injection {
    /// Strikes the next I/O of this kind, once.
    pub fn new(operation: Operation, fault: Fault) -> Self {
        Injection { operation, fault, skip: 0, left: 1, offsets: 0..u64::MAX }
    }

    /// Lets `count` matching I/Os pass first.
    pub fn after(self, count: u64) -> Self {
        Injection { skip: count, ..self }
    }

    /// Strikes `count` times.
    pub fn times(self, count: u64) -> Self {
        Injection { left: count, ..self }
    }

    /// Strikes every matching I/O from then on.
    pub fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// Matches only I/Os that touch these bytes of the device.
    pub fn within(self, offsets: Range<u64>) -> Self {
        Injection { offsets, ..self }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    pub(super) fn strike(&mut self, operation: Operation, range: &Range<u64>) -> Option<Fault> {
        let touches = range.start < self.offsets.end && self.offsets.start < range.end;
        if operation != self.operation || !touches || self.left == 0 {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.left != u64::MAX {
            self.left -= 1;
        }
        Some(self.fault)
    }
}
