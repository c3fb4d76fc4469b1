//! `call`: a record function on one record. Read the record, run the guest, commit what it staged as one write.
//!
//! A function that may write runs in its key's line, so that of two calls the second sees what the first wrote. A write
//! that comes between all the same (a blind one stands in no line) makes the call run again, on a fresh instance.

use bytes::Bytes;
use outcrop_wire::request::CallRequest;
use outcrop_wire::{Code, Digest, ReplyHeader, Verb};
use tokio::time::Instant;

use super::Request;
use super::answer::{Finished, Wait};
use super::commit::{Change, commit};
use super::error::CommandError;
use super::functions::{Functions, answered, failed, report};
use super::put::is_later;
use super::told::Told;
use crate::store::read::Lookup;
use crate::store::write::{Committed, Expect, Refused};
use crate::udf::registry::Resolved;
use crate::udf::{Failed, FunctionKind, Ran, Staged, Subject};

/// Times that a call runs because a write came between, before its caller is told that the key is too busy.
const RUNS_MAX: usize = 16;

/// Calls a function.
pub async fn call(
    request: &Request<'_>,
    functions: &Functions,
    asked: &CallRequest<'_>,
) -> Result<Finished, CommandError> {
    let path = asked.function.to_string();
    let namespace = request.namespace_number();
    let resolved = match functions.registry.load(&asked.function, namespace).await {
        Ok(resolved) if resolved.kind == FunctionKind::Record => resolved,
        Ok(resolved) => {
            let error = wrong_kind(&path, &resolved, FunctionKind::Record);
            return Ok(failed((request.id, Verb::Call), &path, Some(&resolved), &error, None));
        }
        Err(error) => return Ok(failed((request.id, Verb::Call), &path, None, &error, None)),
    };
    let digest = request.digest_of(asked.key);
    let began = Instant::now();
    let arguments = Bytes::copy_from_slice(asked.arguments);
    let _turn = match resolved.read_only {
        true => None,
        false => Some(request.context.keys.turn(namespace, digest).await?),
    };
    for _ in 0..RUNS_MAX {
        let (lookup, stored) = request.namespace.read(digest).await?;
        check_generation(asked.if_generation, &lookup)?;
        let subject =
            Subject { set: asked.key.set.to_owned(), user_key: asked.key.user_key.to_owned(), digest, stored };
        let call = functions.call(&resolved, request.namespace, arguments.clone());
        let ended = resolved.loaded.prepared.call_record(call, subject).await;
        let ran = match ended {
            Ok(ran) => ran,
            Err(error) => {
                functions.record(&resolved, Err(&error), began.elapsed());
                let rests_on = error.details.trace.rests_on.max(lookup.durable_at);
                let wait = rests_on.map(|end| Wait { namespace, end });
                let mut finished = failed((request.id, Verb::Call), &path, Some(&resolved), &error, wait);
                finished.told = Some(Told::failed(&resolved, error));
                return Ok(finished);
            }
        };
        match settle(request, asked, &digest, &lookup, &ran).await {
            Ok(committed) => {
                functions.record(&resolved, Ok(&ran), began.elapsed());
                let mut finished = answer(request, asked, &resolved, &ran, &lookup, committed)?;
                finished.told = Some(Told::ran(&resolved, ran.trace));
                return Ok(finished);
            }
            Err(refused) if is_later(&refused) => tokio::task::yield_now().await,
            Err(refused) => {
                let error = CommandError::from(refused);
                let told = Failed::new(error.code, error.message.clone());
                functions.record(&resolved, Err(&told), began.elapsed());
                return Err(error);
            }
        }
    }
    let message = format!("{RUNS_MAX} writes of others came between; nothing of this call was done");
    Err(CommandError::new(Code::HotKey, message))
}

/// A function of another kind than the verb takes.
pub fn wrong_kind(path: &str, resolved: &Resolved, wanted: FunctionKind) -> Failed {
    let verb = match resolved.kind {
        FunctionKind::Record => "call it on a key (`outcrop call`), or over a set as a job",
        FunctionKind::Aggregate => "`outcrop aggregate` runs it",
        FunctionKind::Row => "`outcrop rows` runs it",
    };
    let message = format!("`{path}` is a function of kind {}, not {}: {verb}", resolved.kind.name(), wanted.name());
    Failed::new(Code::FunctionKindMismatch, message)
}

fn check_generation(if_generation: Option<u32>, lookup: &Lookup) -> Result<(), CommandError> {
    let actual = lookup.entry.map_or(0, |entry| entry.generation);
    match if_generation {
        Some(expected) if expected != actual => {
            let message = format!("the record is at generation {actual}, not {expected}");
            Err(CommandError { code: Code::GenerationMismatch, message, durable_at: lookup.durable_at })
        }
        _ => Ok(()),
    }
}

/// Commits what the guest staged, if the record is still what the guest saw.
async fn settle(
    request: &Request<'_>,
    asked: &CallRequest<'_>,
    digest: &Digest,
    lookup: &Lookup,
    ran: &Ran,
) -> Result<Option<Committed>, Refused> {
    let change = match &ran.staged {
        Staged::Nothing => return Ok(None),
        Staged::Delete if lookup.entry.is_none() => return Ok(None),
        Staged::Delete => Change::Delete,
        Staged::Write { bins, ttl } => Change::Put { archive: bins, ttl: *ttl },
    };
    let seen = Some(lookup.entry.map(|entry| entry.location));
    let expect = Expect { seen, if_generation: asked.if_generation, ..Expect::default() };
    commit(request.namespace, digest, asked.key, change, expect).await.map(Some)
}

fn answer(
    request: &Request<'_>,
    asked: &CallRequest<'_>,
    resolved: &Resolved,
    ran: &Ran,
    lookup: &Lookup,
    committed: Option<Committed>,
) -> Result<Finished, CommandError> {
    let mut header = ReplyHeader::new(request.id, Verb::Call, Code::Ok);
    let rests_on = match committed {
        Some(done) => {
            (header.generation, header.epoch, header.sequence) = (done.generation, done.epoch, done.sequence);
            done.durable_at
        }
        None => {
            header.generation = lookup.entry.map_or(0, |entry| entry.generation);
            header.epoch = request.namespace.log.epoch();
            lookup.durable_at
        }
    };
    let wait = rests_on.max(ran.trace.rests_on).map(|end| Wait { namespace: request.namespace_number(), end });
    let report = if asked.report { report(resolved, &ran.trace)? } else { Vec::new() };
    Ok(answered(&header, ran, &report, wait))
}
