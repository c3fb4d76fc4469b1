//! Read-modify-write: merge, touch and operate. Read the record, decide, commit if nobody came between.
//!
//! A record in memory is read, changed and written without a pause. One on the device waits in its key's line, so that
//! those behind it see what it wrote, in the order in which they came.

use outcrop_wire::archive::{access_bins, archive_bins, archive_values, decode_bins, decode_operations};
use outcrop_wire::{Bins, Code, Digest, KeyRef, Operation, ReplyHeader, StoredRecord, Ttl, Verb};

use super::Request;
use super::answer::{Now, Wait, committed, refuse};
use super::commit::{Change, commit, commit_now};
use super::error::CommandError;
use super::operate::{OperateError, Outcome, StoredOutcome, apply_owned, apply_stored};
use super::projection::merge;
use super::put::{Put, is_later};
use crate::store::read::{Lookup, Stored};
use crate::store::write::{Committed, Expect, Presence, WriteError};

/// Times that a change is tried again at once because another write came between; then it stands in line.
const CONFLICTS_MAX: usize = 4;

/// What to do with a record that was read.
#[derive(Debug, Clone)]
pub enum Modify<'a> {
    /// Merge bins into it.
    Merge(Put<'a>),
    /// Give it a new time to live.
    Touch {
        /// Only at this generation.
        if_generation: Option<u32>,
        /// The new time to live.
        ttl: Ttl,
    },
    /// Apply operations.
    Operate {
        /// Only at this generation.
        if_generation: Option<u32>,
        /// Its time to live if a step writes.
        ttl: Ttl,
        /// The steps.
        operations: Vec<Operation>,
    },
}

/// What was decided.
enum Decision {
    Put { archive: Vec<u8>, ttl: Ttl, results: Option<Vec<u8>> },
    Delete { results: Vec<u8> },
    Read { results: Vec<u8> },
}

impl<'a> Modify<'a> {
    /// A merge; its archive is validated here.
    pub fn merge(put: Put<'a>) -> Result<Self, CommandError> {
        access_bins(put.archive)?;
        Ok(Modify::Merge(put))
    }

    /// An operate; its steps are validated here.
    pub fn operate(if_generation: Option<u32>, ttl: Ttl, operations: &[u8]) -> Result<Self, CommandError> {
        Ok(Modify::Operate { if_generation, ttl, operations: decode_operations(operations)? })
    }

    fn verb(&self) -> Verb {
        match self {
            Modify::Merge(_) => Verb::Put,
            Modify::Touch { .. } => Verb::Touch,
            Modify::Operate { .. } => Verb::Operate,
        }
    }

    fn if_generation(&self) -> Option<u32> {
        match self {
            Modify::Merge(put) => put.if_generation,
            Modify::Touch { if_generation, .. } | Modify::Operate { if_generation, .. } => *if_generation,
        }
    }

    fn presence(&self) -> Presence {
        match self {
            Modify::Merge(put) => put.expect().presence,
            Modify::Touch { .. } => Presence::Must,
            Modify::Operate { .. } => Presence::Any,
        }
    }

    /// Decides on what was read.
    fn decide(&self, stored: Option<&[u8]>) -> Result<Decision, CommandError> {
        let archive = stored.map(archive_of).transpose()?;
        match self {
            Modify::Merge(put) => {
                let merged = match archive {
                    None => put.archive.to_vec(),
                    Some(old) => archive_bins(&merge(&decode_bins(old)?, &decode_bins(put.archive)?))?,
                };
                Ok(Decision::Put { archive: merged, ttl: put.ttl, results: None })
            }
            Modify::Touch { ttl, .. } => {
                let archive = archive.unwrap_or_default().to_vec();
                Ok(Decision::Put { archive, ttl: *ttl, results: None })
            }
            Modify::Operate { ttl, operations, .. } => {
                if let Some(archive) = archive
                    && let Some(decision) = decide_stored(archive, *ttl, operations)?
                {
                    return Ok(decision);
                }
                let bins: Option<Bins> = archive.map(decode_bins).transpose()?;
                let applied = apply_owned(bins, operations).map_err(refused_steps)?;
                let results = archive_values(&applied.results)?;
                // A record made anew after a `Delete` has no time to live that it could keep.
                let ttl = &if applied.recreated && *ttl == Ttl::Keep { Ttl::Default } else { *ttl };
                Ok(match applied.outcome {
                    Outcome::Write(bins) => {
                        Decision::Put { archive: archive_bins(&bins)?, ttl: *ttl, results: Some(results) }
                    }
                    Outcome::Touch => Decision::Put {
                        archive: archive.unwrap_or_default().to_vec(),
                        ttl: *ttl,
                        results: Some(results),
                    },
                    Outcome::Delete => Decision::Delete { results },
                    Outcome::ReadOnly | Outcome::Nothing => Decision::Read { results },
                })
            }
        }
    }
}

/// Decides on steps that only look at and change bins which are there.
fn decide_stored(archive: &[u8], ttl: Ttl, operations: &[Operation]) -> Result<Option<Decision>, CommandError> {
    let Some(applied) = apply_stored(archive, operations).map_err(refused_steps)? else { return Ok(None) };
    let results = archive_values(&applied.results)?;
    Ok(Some(match applied.outcome {
        StoredOutcome::Keep => Decision::Read { results },
        StoredOutcome::Write(archive) => Decision::Put { archive, ttl, results: Some(results) },
        StoredOutcome::Touch => Decision::Put { archive: archive.to_vec(), ttl, results: Some(results) },
    }))
}

fn refused_steps(error: OperateError) -> CommandError {
    CommandError::new(error.code(), error.to_string())
}

fn archive_of(stored: &[u8]) -> Result<&[u8], CommandError> {
    let record = StoredRecord::parse(stored);
    Ok(record.map_err(|error| CommandError::new(Code::RecordCorrupt, error.to_string()))?.archive)
}

/// What a decision came to.
enum Changed {
    Committed(Committed, Option<Vec<u8>>),
    Read(Vec<u8>, Lookup),
}

/// Modifies a record that is in memory (or isn't there), if its key has no line.
pub fn modify_now(request: &Request<'_>, key: KeyRef<'_>, modify: &Modify<'_>, out: &mut Vec<u8>) -> Now {
    let (digest, namespace) = (request.digest_of(key), request.namespace_number());
    if request.context.keys.busy(namespace, digest) {
        return Now::Later;
    }
    for _ in 0..CONFLICTS_MAX {
        let (lookup, stored) = request.namespace.stored_now(&digest, request.now_secs);
        if lookup.entry.is_some() && stored.is_none() {
            return Now::Later;
        }
        let done = match prepare(modify, &lookup, stored.as_ref()) {
            Err(error) => return refuse(request.id, modify.verb(), namespace, &error, out),
            Ok(Decision::Read { results }) => Ok(Changed::Read(results, lookup)),
            Ok(decision) => {
                let expect = expectation(modify, &lookup);
                let (change, results) = as_change(&decision);
                commit_now(request.namespace, &digest, key, change, expect)
                    .map(|done| Changed::Committed(done, results.cloned()))
            }
        };
        match done {
            Ok(done) => return answer(request, modify.verb(), done, out),
            Err(refused) if is_later(&refused) => {}
            Err(refused) => return refuse(request.id, modify.verb(), namespace, &refused.into(), out),
        }
    }
    Now::Later
}

/// Modifies a record in its key's line.
pub async fn modify_later(
    request: &Request<'_>,
    digest: Digest,
    key: KeyRef<'_>,
    modify: &Modify<'_>,
    out: &mut Vec<u8>,
) -> Result<Now, CommandError> {
    let _turn = request.context.keys.turn(request.namespace_number(), digest).await?;
    loop {
        let (lookup, stored) = request.namespace.read(digest).await?;
        let done = match prepare(modify, &lookup, stored.as_ref())? {
            Decision::Read { results } => Ok(Changed::Read(results, lookup)),
            decision => {
                let expect = expectation(modify, &lookup);
                let (change, results) = as_change(&decision);
                commit(request.namespace, &digest, key, change, expect)
                    .await
                    .map(|done| Changed::Committed(done, results.cloned()))
            }
        };
        match done {
            Ok(done) => return Ok(answer(request, modify.verb(), done, out)),
            // A blind write came between, or defrag moved the record: read again.
            Err(refused) if is_later(&refused) => tokio::task::yield_now().await,
            Err(refused) => return Err(refused.into()),
        }
    }
}

/// Checks the conditions before the work of deciding, so that a refusal costs little.
fn prepare(modify: &Modify<'_>, lookup: &Lookup, stored: Option<&Stored>) -> Result<Decision, CommandError> {
    let actual = lookup.entry.map_or(0, |entry| entry.generation);
    if modify.presence() == Presence::Must && lookup.entry.is_none() {
        return Err(CommandError::not_found(lookup.durable_at));
    }
    if let Some(expected) = modify.if_generation()
        && expected != actual
    {
        let message = WriteError::GenerationMismatch { actual, expected }.to_string();
        return Err(CommandError { code: Code::GenerationMismatch, message, durable_at: lookup.durable_at });
    }
    let mut decided = modify.decide(stored.map(AsRef::as_ref));
    if let Err(error) = &mut decided {
        error.durable_at = lookup.durable_at;
    }
    decided
}

fn expectation(modify: &Modify<'_>, lookup: &Lookup) -> Expect {
    Expect {
        presence: modify.presence(),
        if_generation: modify.if_generation(),
        seen: Some(lookup.entry.map(|entry| entry.location)),
    }
}

fn as_change(decision: &Decision) -> (Change<'_>, Option<&Vec<u8>>) {
    match decision {
        Decision::Put { archive, ttl, results } => (Change::Put { archive, ttl: *ttl }, results.as_ref()),
        Decision::Delete { results } | Decision::Read { results } => (Change::Delete, Some(results)),
    }
}

fn answer(request: &Request<'_>, verb: Verb, done: Changed, out: &mut Vec<u8>) -> Now {
    let namespace = request.namespace_number();
    match done {
        Changed::Committed(done, None) => committed(request.id, verb, namespace, &done, out),
        Changed::Committed(done, Some(results)) => {
            let header = ReplyHeader {
                generation: done.generation,
                epoch: done.epoch,
                sequence: done.sequence,
                ..ReplyHeader::new(request.id, verb, Code::Ok)
            };
            header.encode(out);
            out.extend_from_slice(&results);
            Now::Done { code: Code::Ok, wait: done.durable_at.map(|end| Wait { namespace, end }) }
        }
        Changed::Read(results, lookup) => {
            let mut header = ReplyHeader::new(request.id, verb, Code::Ok);
            header.generation = lookup.entry.map_or(0, |entry| entry.generation);
            header.epoch = request.namespace.log.epoch();
            header.encode(out);
            out.extend_from_slice(&results);
            Now::Done { code: Code::Ok, wait: lookup.durable_at.map(|end| Wait { namespace, end }) }
        }
    }
}
