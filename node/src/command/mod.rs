//! The verbs: one room each. A request is done at once if it can be, else it becomes a future of its own.
//!
//! `execute` takes a frame and appends the reply; what needs the device or has to wait for room comes back as
//! [`Step::Later`]. No reply leaves before what it rests on is durable: see [`answer::Wait`].

pub mod answer;
pub mod apply;
pub mod batch;
pub mod call;
pub mod commit;
pub mod context;
pub mod error;
pub mod functions;
pub mod get;
pub mod job;
pub mod keys;
pub mod modify;
pub mod module;
pub mod operate;
pub mod projection;
pub mod put;
pub mod query;
pub mod route;
pub mod told;
pub mod warm;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::request::{RequestError, decode_request, peek_header, peek_request_id};
use outcrop_wire::{Code, Digest, KeyRef, RequestBody, RequestHeader, Verb};

use crate::store::Namespace;
use answer::{Finished, Now, Wait, refuse};
pub use context::Context;
use error::CommandError;
use modify::{Modify, modify_later, modify_now};
use put::Put;

/// A request with what it needs to be carried out.
pub struct Request<'a> {
    /// Everything that requests share.
    pub context: &'a Context,
    /// Its namespace.
    pub namespace: &'a Arc<Namespace>,
    /// Its number on the connection.
    pub id: u32,
    /// The wall clock when it came, seconds since 1970.
    pub now_secs: u32,
    /// Its key's digest, if that has been worked out already.
    pub digest: Option<Digest>,
}

impl Request<'_> {
    /// Its namespace's number.
    pub fn namespace_number(&self) -> u16 {
        self.namespace.id.0
    }

    /// The digest of its key.
    pub fn digest_of(&self, key: KeyRef<'_>) -> Digest {
        self.digest.unwrap_or_else(|| key.digest())
    }
}

/// A reply that takes its time.
pub type Later = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// What became of a frame.
pub enum Step {
    /// The reply has been appended.
    Done {
        /// The verb; `None`: the frame had none that could be read.
        verb: Option<Verb>,
        /// What became of the request.
        code: Code,
        /// What must be durable before the reply leaves.
        wait: Option<Wait>,
    },
    /// The reply comes later.
    Later {
        /// What was asked.
        header: RequestHeader,
        /// The reply.
        reply: Later,
    },
}

/// Carries out the request in `frame`; its reply's content is appended to `out` (without a frame's length) if it could
/// be done at once. `digest` is its key's, if that has been worked out already (see [`warm`]).
pub fn execute(
    context: &Arc<Context>,
    frame: &Bytes,
    digest: Option<Digest>,
    now_secs: u32,
    out: &mut Vec<u8>,
) -> Step {
    let (header, body) = match decode_request(frame) {
        Ok(decoded) => decoded,
        Err(error) => {
            let id = peek_request_id(frame).unwrap_or(0);
            let error = CommandError::from(error);
            refuse(id, Verb::Info, 0, &error, out);
            return Step::Done { verb: None, code: error.code, wait: None };
        }
    };
    match execute_now(context, &header, &body, digest, now_secs, out) {
        Now::Done { code, wait } => Step::Done { verb: Some(header.verb), code, wait },
        Now::Later => Step::Later { header, reply: execute_later(context.clone(), frame.clone(), digest) },
    }
}

/// Carries out a request that was taken apart already, if it can be done at once.
pub fn execute_now(
    context: &Arc<Context>,
    header: &RequestHeader,
    body: &RequestBody<'_>,
    digest: Option<Digest>,
    now_secs: u32,
    out: &mut Vec<u8>,
) -> Now {
    if context.is_draining() {
        let error = CommandError::new(Code::Draining, "the node is shutting down");
        return refuse(header.request_id, header.verb, 0, &error, out);
    }
    if matches!(header.verb, Verb::Batch) {
        return batch::batch_now(context, header, body, now_secs, out);
    }
    if matches!(header.verb, Verb::Info | Verb::Scan | Verb::Truncate) {
        return Now::Later;
    }
    let namespace = match route::namespace(context, header.namespace) {
        Ok(namespace) => namespace,
        Err(error) => return refuse(header.request_id, header.verb, 0, &error, out),
    };
    let request = Request { context, namespace, id: header.request_id, now_secs, digest };
    let refusal = |error: &CommandError, out: &mut Vec<u8>| {
        refuse(header.request_id, header.verb, header.namespace.0, error, out)
    };
    match body {
        RequestBody::Get { key, bins } => get::get_now(&request, *key, bins, out),
        RequestBody::Exists { key } => get::exists_now(&request, *key, out),
        RequestBody::Put { key, mode, if_generation, ttl, archive } => {
            let put = Put { key: *key, mode: *mode, if_generation: *if_generation, ttl: *ttl, archive };
            if !put.merges() {
                return put::put_now(&request, &put, out);
            }
            match Modify::merge(put) {
                Ok(modify) => modify_now(&request, *key, &modify, out),
                Err(error) => refusal(&error, out),
            }
        }
        RequestBody::Delete { key, if_generation } => put::delete_now(&request, *key, *if_generation, out),
        RequestBody::Touch { key, if_generation, ttl } => {
            modify_now(&request, *key, &Modify::Touch { if_generation: *if_generation, ttl: *ttl }, out)
        }
        RequestBody::Operate { key, if_generation, ttl, operations } => {
            match Modify::operate(*if_generation, *ttl, operations) {
                Ok(modify) => modify_now(&request, *key, &modify, out),
                Err(error) => refusal(&error, out),
            }
        }
        RequestBody::Batch { .. } | RequestBody::Scan(_) | RequestBody::Truncate { .. } | RequestBody::Info { .. } => {
            Now::Later
        }
        RequestBody::Call(_)
        | RequestBody::Aggregate(_)
        | RequestBody::Rows(_)
        | RequestBody::Module(_)
        | RequestBody::Job(_) => Now::Later,
    }
}

/// Carries out a request that has to wait for something. `digest` is its key's, if that has been worked out already.
pub fn execute_later(context: Arc<Context>, frame: Bytes, digest: Option<Digest>) -> Later {
    // Boxed here and not by the callers: a batch's items come through here again. A call has a future of its own, since
    // that of all verbs is as large as the largest of them, and there are many calls.
    match peek_header(&frame) {
        Some(header) if header.verb == Verb::Call => Box::pin(carry_out_call(context, frame, digest)),
        _ => Box::pin(carry_out(context, frame)),
    }
}

async fn carry_out(context: Arc<Context>, frame: Bytes) -> Finished {
    let (header, body) = match decode_request(&frame) {
        Ok(decoded) => decoded,
        Err(error) => return unreadable(&frame, error),
    };
    let half_done = may_be_half_done(&body);
    let waits = || WAITS_FOR_ITS_TURN.to_owned();
    within_deadline(&context, &header, half_done, waits, run(&context, &header, body)).await
}

async fn carry_out_call(context: Arc<Context>, frame: Bytes, digest: Option<Digest>) -> Finished {
    let (header, body) = match decode_request(&frame) {
        Ok(decoded) => decoded,
        Err(error) => return unreadable(&frame, error),
    };
    let run = async {
        let namespace = route::namespace(&context, header.namespace)?;
        let request = Request { context: &context, namespace, id: header.request_id, now_secs: 0, digest };
        match &body {
            RequestBody::Call(asked) => {
                let arguments = frame.slice_ref(asked.arguments);
                call::call(&request, context.functions()?, asked, arguments).await
            }
            _ => Err(CommandError::new(Code::Internal, "a request of another verb took the way of calls")),
        }
    };
    let waits = || match (&body, context.functions()) {
        (RequestBody::Call(asked), Ok(functions)) if functions.registry.is_loading(&asked.function) => {
            let module = asked.function.module;
            format!("the module {module} was being compiled, which its first call has to wait for")
        }
        _ => WAITS_FOR_ITS_TURN.to_owned(),
    };
    within_deadline(&context, &header, false, waits, run).await
}

fn unreadable(frame: &Bytes, error: RequestError) -> Finished {
    Finished::refused(peek_request_id(frame).unwrap_or(0), Verb::Info, 0, &error.into())
}

/// What most requests wait for that run out of time.
const WAITS_FOR_ITS_TURN: &str = "the request waited for its turn";

/// Runs until it is done or the request's time is over. `half_done`: whether some of it may have been done by then; `waits`:
/// what it was waiting for if it wasn't.
async fn within_deadline(
    context: &Context,
    header: &RequestHeader,
    half_done: bool,
    waits: impl Fn() -> String,
    run: impl Future<Output = Result<Finished, CommandError>>,
) -> Finished {
    let wait_ms = u64::from(if header.deadline_ms == 0 { context.deadline_ms_default } else { header.deadline_ms });
    let (mut run, mut timer) = (std::pin::pin!(run), None);
    // Most are done at once: no timer for them. What isn't is asked once a turn: a guest that was interrupted must not go
    // on before others had theirs.
    let done = poll_fn(|turn| {
        if let Poll::Ready(done) = run.as_mut().poll(turn) {
            return Poll::Ready(Some(done));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(wait_ms))));
        timer.as_mut().poll(turn).map(|()| None)
    });
    let done = match done.await {
        Some(done) => done,
        None if half_done => Err(CommandError::new(
            Code::Indeterminate,
            format!("{wait_ms} ms passed; some of the request may have been carried out"),
        )),
        None => Err(commit::out_of_time(wait_ms, &waits())),
    };
    done.unwrap_or_else(|error| Finished::refused(header.request_id, header.verb, header.namespace.0, &error))
}

/// Whether a request that ran out of time may have done something. A write's change happens in one step at its very end,
/// so a future given up has changed nothing. Batches and truncations have steps before their end; what changes a job or
/// a module may be kept already.
fn may_be_half_done(body: &RequestBody<'_>) -> bool {
    match body {
        RequestBody::Batch { .. } | RequestBody::Truncate { .. } => true,
        RequestBody::Job(asked) => asked.operation.writes(),
        RequestBody::Module(asked) => asked.operation.writes(),
        _ => false,
    }
}

async fn run(context: &Arc<Context>, header: &RequestHeader, body: RequestBody<'_>) -> Result<Finished, CommandError> {
    match &body {
        RequestBody::Info { topic } => return context.info(header.request_id, topic),
        RequestBody::Batch { items } => return batch::batch_later(context, header, items).await,
        RequestBody::Scan(_) | RequestBody::Aggregate(_) | RequestBody::Rows(_) => {
            let message = format!("{} needs a stream of its own", header.verb.name());
            return Err(CommandError::new(Code::InvalidRequest, message));
        }
        RequestBody::Module(asked) => return module::module(header.request_id, context.functions()?, asked).await,
        RequestBody::Job(asked) => return job::job(context, header, asked).await,
        _ => {}
    }
    let namespace = route::namespace(context, header.namespace)?;
    let now_secs = namespace.clock.now_secs();
    let request = Request { context, namespace, id: header.request_id, now_secs, digest: None };
    let mut content = Vec::with_capacity(128);
    let now = match &body {
        RequestBody::Get { key, bins } => return get::get_later(&request, key.digest(), bins).await,
        RequestBody::Call(_) => Now::Later,
        RequestBody::Truncate { set } => truncate(&request, set, &mut content).await?,
        RequestBody::Put { key, mode, if_generation, ttl, archive } => {
            let put = Put { key: *key, mode: *mode, if_generation: *if_generation, ttl: *ttl, archive };
            if put.merges() {
                modify_later(&request, key.digest(), *key, &Modify::merge(put)?, &mut content).await?
            } else {
                outcrop_wire::archive::access_bins(archive)?;
                let change = commit::Change::Put { archive, ttl: *ttl };
                let done = commit::commit(namespace, &key.digest(), *key, change, put.expect()).await?;
                answer::committed(header.request_id, Verb::Put, header.namespace.0, &done, &mut content)
            }
        }
        RequestBody::Delete { key, if_generation } => {
            let expect = crate::store::write::Expect { if_generation: *if_generation, ..Default::default() };
            let done = commit::commit(namespace, &key.digest(), *key, commit::Change::Delete, expect).await?;
            answer::committed(header.request_id, Verb::Delete, header.namespace.0, &done, &mut content)
        }
        RequestBody::Touch { key, if_generation, ttl } => {
            let modify = Modify::Touch { if_generation: *if_generation, ttl: *ttl };
            modify_later(&request, key.digest(), *key, &modify, &mut content).await?
        }
        RequestBody::Operate { key, if_generation, ttl, operations } => {
            let modify = Modify::operate(*if_generation, *ttl, operations)?;
            modify_later(&request, key.digest(), *key, &modify, &mut content).await?
        }
        RequestBody::Exists { key } => get::exists_now(&request, *key, &mut content),
        RequestBody::Batch { .. }
        | RequestBody::Scan(_)
        | RequestBody::Info { .. }
        | RequestBody::Aggregate(_)
        | RequestBody::Rows(_)
        | RequestBody::Module(_)
        | RequestBody::Job(_) => Now::Later,
    };
    match now {
        Now::Done { code, wait } => Ok(Finished::small(code, content, wait)),
        Now::Later => Err(CommandError::new(Code::Internal, "the request found no way to be carried out")),
    }
}

async fn truncate(request: &Request<'_>, set: &str, out: &mut Vec<u8>) -> Result<Now, CommandError> {
    let truncated = request.namespace.truncate(set).await?;
    outcrop_wire::ReplyHeader::new(request.id, Verb::Truncate, Code::Ok).encode(out);
    out.extend_from_slice(&truncated.records.to_le_bytes());
    let wait = (request.namespace.policy.commit == crate::store::Commit::Flash && truncated.end.0 > 0)
        .then_some(Wait { namespace: request.namespace_number(), end: truncated.end });
    Ok(Now::Done { code: Code::Ok, wait })
}

#[cfg(test)]
mod tests {
    use outcrop_wire::request::{JobOperation, JobRequest, ModuleOperation, ModuleRequest};

    use super::*;

    /// Catches: an activation that is kept already called "not done"; a look at a module called a write of unknown fate.
    #[test]
    fn out_of_time_only_what_changes_something_is_of_unknown_fate() {
        let module = |operation| RequestBody::Module(ModuleRequest { name: "shop", version: "1", operation });
        assert!(may_be_half_done(&module(ModuleOperation::Activate)));
        assert!(may_be_half_done(&module(ModuleOperation::Remove)));
        assert!(!may_be_half_done(&module(ModuleOperation::Describe)), "it may wait for a compilation");
        assert!(!may_be_half_done(&module(ModuleOperation::List)));
        let job = |operation| RequestBody::Job(JobRequest { operation, options: &[] });
        assert!(may_be_half_done(&job(JobOperation::Start)) && may_be_half_done(&job(JobOperation::Cancel)));
        assert!(!may_be_half_done(&job(JobOperation::Status)));
        assert!(
            may_be_half_done(&RequestBody::Truncate { set: "s" })
                && !may_be_half_done(&RequestBody::Info { topic: "" })
        );
    }
}
