//! `call`: a record function on one record. Read the record, run the guest, commit what it staged as one write.

use bytes::Bytes;
use outcrop_wire::request::CallRequest;
use outcrop_wire::{Code, ReplyHeader, Verb};

use super::Request;
use super::answer::{Finished, Wait};
use super::apply::{Application, Applied, ApplyError};
use super::error::CommandError;
use super::functions::{Functions, answered, failed, report};
use super::told::Told;
use crate::udf::registry::Resolved;
use crate::udf::{Failed, FunctionKind};

/// Calls a function. `arguments` are those of the request.
pub async fn call(
    request: &Request<'_>,
    functions: &Functions,
    asked: &CallRequest<'_>,
    arguments: Bytes,
) -> Result<Finished, CommandError> {
    let path = || asked.function.to_string();
    let namespace = request.namespace_number();
    let resolved = match functions.registry.load(&asked.function, namespace).await {
        Ok(resolved) if resolved.kind == FunctionKind::Record => resolved,
        Ok(resolved) => {
            let error = wrong_kind(&path(), &resolved, FunctionKind::Record);
            return Ok(failed((request.id, Verb::Call), &path(), Some(&resolved), &error, None));
        }
        Err(error) => return Ok(failed((request.id, Verb::Call), &path(), None, &error, None)),
    };
    let application = Application {
        context: request.context,
        functions,
        namespace: request.namespace,
        resolved: &resolved,
        key: asked.key,
        digest: request.digest_of(asked.key),
        if_generation: asked.if_generation,
        if_present: false,
        arguments,
        on_pool: false,
    };
    match application.run().await {
        Ok(Some(applied)) => {
            let mut finished = answer(request, asked, &resolved, &applied)?;
            finished.told = Some(Told::ran(&resolved, applied.ran.trace));
            Ok(finished)
        }
        Ok(None) => Err(CommandError::not_found(None)),
        Err(ApplyError::Function { error, rests_on }) => {
            let wait = rests_on.map(|end| Wait { namespace, end });
            let mut finished = failed((request.id, Verb::Call), &path(), Some(&resolved), &error, wait);
            finished.told = Some(Told::failed(&resolved, error));
            Ok(finished)
        }
        Err(ApplyError::Refused(error)) => Err(error),
    }
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

fn answer(
    request: &Request<'_>,
    asked: &CallRequest<'_>,
    resolved: &Resolved,
    applied: &Applied,
) -> Result<Finished, CommandError> {
    let Applied { ran, lookup, committed } = applied;
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
