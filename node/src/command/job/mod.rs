//! `job`: a record function on every record of a set, in the background.
//!
//! [`Desk`] keeps the jobs; `run` works on one, as a task of one thread of the function pool; `visit` applies the
//! function to one record the way `call` does; `record` is a job as it stands, `store` its file.

mod desk;
mod pace;
mod record;
mod run;
mod spec;
mod store;
mod visit;

use std::sync::Arc;

use outcrop_wire::archive::archive_value;
use outcrop_wire::request::{JobOperation, JobRequest};
use outcrop_wire::{Code, NamespaceId, ReplyHeader, RequestHeader, Value, Verb};

pub use desk::{Desk, JOBS_ACTIVE_MAX, JOBS_KEPT_MAX};
pub use record::{FAILURES_KEPT_MAX, JobState};
pub use spec::ARGUMENTS_BYTES_MAX;
pub use store::JobStoreError;

use super::answer::Finished;
use super::call::wrong_kind;
use super::context::Context;
use super::error::CommandError;
use super::module::{integer, invalid, options_of};
use super::route;
use crate::udf::registry::{hex, map};
use crate::udf::{Failed, FunctionKind};
use record::Wish;
use spec::JobSpec;

impl From<Failed> for CommandError {
    fn from(failed: Failed) -> Self {
        CommandError::new(failed.code, failed.message)
    }
}

/// Carries out something about jobs. What changes something is done whole even if its caller is gone meanwhile.
pub async fn job(
    context: &Arc<Context>,
    header: &RequestHeader,
    asked: &JobRequest<'_>,
) -> Result<Finished, CommandError> {
    let desk = &context.functions()?.jobs;
    let options = options_of(asked.options)?;
    let value = match asked.operation {
        JobOperation::List => desk.list(),
        JobOperation::Status => desk.status(id_of(&options)?)?,
        operation => {
            let change = change(context.clone(), header.namespace, operation, options);
            let ended = tokio::spawn(change).await;
            ended.map_err(|error| CommandError::new(Code::Internal, error.to_string()))??
        }
    };
    let mut content = Vec::with_capacity(64);
    ReplyHeader::new(header.request_id, Verb::Job, Code::Ok).encode(&mut content);
    let archived = archive_value(&value)?;
    Ok(Finished { value: Some(archived.into()), ..Finished::small(Code::Ok, content, None) })
}

async fn change(
    context: Arc<Context>,
    namespace: NamespaceId,
    operation: JobOperation,
    options: Value,
) -> Result<Value, CommandError> {
    let desk = &context.functions()?.jobs;
    match operation {
        JobOperation::Start => {
            let name = &route::namespace(&context, namespace)?.policy.name;
            let spec = bind(&context, namespace, JobSpec::parse(name, &options)?).await?;
            desk.start(&context, spec).await
        }
        JobOperation::Pause => desk.wish(id_of(&options)?, Wish::Pause).await,
        JobOperation::Resume => desk.wish(id_of(&options)?, Wish::Resume).await,
        JobOperation::Cancel => desk.wish(id_of(&options)?, Wish::Cancel).await,
        JobOperation::Remove => desk.remove(id_of(&options)?).await.map(|()| map([])),
        JobOperation::List | JobOperation::Status => Err(invalid("it changes nothing".to_owned())),
    }
}

/// Binds a job to the version that its function is to be had in now.
async fn bind(context: &Context, namespace: NamespaceId, mut spec: JobSpec) -> Result<JobSpec, CommandError> {
    let resolved = context.functions()?.registry.load(&spec.path(), namespace.0).await?;
    if resolved.kind != FunctionKind::Record {
        return Err(wrong_kind(&spec.path().to_string(), &resolved, FunctionKind::Record).into());
    }
    spec.version = resolved.loaded.version.to_string();
    spec.hash = hex(&resolved.loaded.prepared.hash());
    Ok(spec)
}

fn id_of(options: &Value) -> Result<u64, CommandError> {
    integer(options, "id")?.ok_or_else(|| invalid("which job? `id` is its number".to_owned()))
}
