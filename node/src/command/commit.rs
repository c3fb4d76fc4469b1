//! The only write path: decide, log, index, answer. Replication will stand between log and answer.
//!
//! A change happens at once or not at all; what may wait is room in the write buffer (before) and durability (after,
//! by the log number in [`Committed::durable_at`], which the reply waits for).

use outcrop_wire::{Code, Digest, KeyRef, Ttl};

use super::error::CommandError;
use crate::store::Namespace;
use crate::store::write::{Committed, Expect, Refused, WriteError};

/// What becomes of a record.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// It is written whole.
    Put {
        /// Its archived bins, validated.
        archive: &'a [u8],
        /// Its time to live.
        ttl: Ttl,
    },
    /// It is deleted.
    Delete,
}

/// Commits a change if it can be done without waiting.
pub fn commit_now(
    namespace: &Namespace,
    digest: &Digest,
    key: KeyRef<'_>,
    change: Change<'_>,
    expect: Expect,
) -> Result<Committed, Refused> {
    match change {
        Change::Put { archive, ttl } => namespace.put(digest, key, archive, ttl, expect),
        Change::Delete => namespace.delete(digest, key, expect),
    }
}

/// Commits a change, waiting for room in the write buffer. The caller bounds the wait; given up, nothing was done.
pub async fn commit(
    namespace: &Namespace,
    digest: &Digest,
    key: KeyRef<'_>,
    change: Change<'_>,
    expect: Expect,
) -> Result<Committed, Refused> {
    loop {
        match commit_now(namespace, digest, key, change, expect) {
            Err(Refused { error: WriteError::Backpressure, .. }) => namespace.log.writable().await,
            done => return done,
        }
    }
}

/// What a caller is told whose request ran out of time before it began; `while_what` it waited for.
pub fn out_of_time(deadline_ms: u64, while_what: &str) -> CommandError {
    let message = format!("{deadline_ms} ms passed while {while_what}; nothing was done");
    CommandError::new(Code::DeadlineExceeded, message)
}
