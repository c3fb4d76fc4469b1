//! One record of a job: the pinned function applied to it, and what its end means for the record and for the job.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::{Code, Digest, KeyRef, StoredRecord, UserKey};
use tokio::time::timeout;

use super::super::apply::{Application, Applied, ApplyError};
use super::super::context::Context;
use super::super::error::CommandError;
use super::spec::JobSpec;
use crate::store::Namespace;
use crate::udf::registry::{Resolved, hex};
use crate::udf::{Failed, FunctionKind};

/// What the node is too busy for is tried again after this, twice as long each time.
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// Tries of one record before the job waits, or counts a failure: about two seconds.
const TRIES_MAX: u32 = 9;
/// A record may take so much longer than its function, for its turn and for room in the write buffer.
const BEYOND_FUNCTION: Duration = Duration::from_secs(30);

/// A record that the scan gave.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its set.
    pub set: String,
    /// The user's part of its key.
    pub user_key: UserKey,
    /// Its digest.
    pub digest: Digest,
}

impl Target {
    /// The key of a stored record; `None`: it is damaged.
    pub fn of_stored(digest: &Digest, stored: &[u8]) -> Option<Self> {
        let record = StoredRecord::parse(stored).ok()?;
        Some(Target { set: record.key.set.to_owned(), user_key: record.key.user_key.to_owned(), digest: *digest })
    }

    /// Set and key, printed.
    pub fn printed(&self) -> String {
        format!("{}/{}", self.set, self.user_key)
    }
}

/// What a visit came to.
#[derive(Debug)]
pub enum Visited {
    /// The function ran.
    Ran {
        /// It changed the record.
        changed: bool,
    },
    /// The record was gone before its turn came.
    Gone,
    /// The function failed on it.
    Failed(Code, String),
    /// Nothing can be done at the moment, and it isn't the record's fault.
    Hold(String),
    /// The job can't go on.
    Over(String),
}

/// What all visits of a job share.
pub struct Visits {
    context: Arc<Context>,
    pub namespace: Arc<Namespace>,
    spec: JobSpec,
    arguments: Bytes,
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The record's or the function's: it would fail again.
    Record,
    /// Nobody's, for a moment; a failure of the record if it stays.
    RecordForNow,
    /// The node's, for a moment; the job waits if it stays.
    NodeForNow,
    /// The node's, for longer.
    Node,
}

fn fault(code: Code) -> Fault {
    match code {
        Code::HotKey | Code::DeviceError => Fault::RecordForNow,
        Code::Overloaded | Code::FunctionConcurrencyLimit => Fault::NodeForNow,
        Code::StopWrites | Code::DevicePoisoned | Code::Draining | Code::FunctionPaused | Code::FunctionCancelled => {
            Fault::Node
        }
        _ => Fault::Record,
    }
}

impl Visits {
    /// For a job; `Err`: why it can't go on.
    pub fn new(context: &Arc<Context>, spec: &JobSpec) -> Result<Self, String> {
        let namespace = context.namespaces.iter().find(|namespace| namespace.policy.name == spec.namespace);
        let namespace = namespace.ok_or_else(|| format!("this node has no namespace {:?} any more", spec.namespace))?;
        let arguments = spec.archived_arguments().map_err(|error| error.message)?;
        let (context, namespace) = (context.clone(), namespace.clone());
        Ok(Visits { context, namespace, spec: spec.clone(), arguments: arguments.into() })
    }

    /// Whether the function can be called; `None`: yes.
    pub async fn check(&self) -> Option<Visited> {
        self.resolve().await.err()
    }

    /// The pinned version as it may be called now: each record sees a pause or other limits of its module.
    async fn resolve(&self) -> Result<Resolved, Visited> {
        let functions = self.context.functions().map_err(|error| Visited::Over(error.message))?;
        let resolved = functions.registry.load(&self.spec.path(), self.namespace.id.0).await.map_err(of_module)?;
        if hex(&resolved.loaded.prepared.hash()) != self.spec.hash || resolved.kind != FunctionKind::Record {
            let JobSpec { module, version, .. } = &self.spec;
            return Err(Visited::Over(format!("{module}@{version} isn't the module any more that the job began with")));
        }
        Ok(resolved)
    }

    /// Applies the function to a record. Dropped, it has changed the record or not.
    pub async fn visit(&self, target: &Target) -> Visited {
        let mut pause = RETRY_FIRST;
        for tries in 1.. {
            let (code, message) = match self.once(target).await {
                Ok(visited) => return visited,
                Err(refused) => refused,
            };
            match fault(code) {
                Fault::Record => return Visited::Failed(code, message),
                Fault::Node => return Visited::Hold(message),
                Fault::RecordForNow if tries >= TRIES_MAX => return Visited::Failed(code, message),
                Fault::NodeForNow if tries >= TRIES_MAX => return Visited::Hold(message),
                Fault::RecordForNow | Fault::NodeForNow => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        Visited::Gone
    }

    async fn once(&self, target: &Target) -> Result<Visited, (Code, String)> {
        let resolved = match self.resolve().await {
            Ok(resolved) => resolved,
            Err(visited) => return Ok(visited),
        };
        let functions = self.context.functions().map_err(|error| (error.code, error.message))?;
        let application = Application {
            context: &self.context,
            functions,
            namespace: &self.namespace,
            resolved: &resolved,
            key: KeyRef { set: &target.set, user_key: target.user_key.borrow() },
            digest: target.digest,
            if_generation: None,
            if_present: true,
            arguments: self.arguments.clone(),
            on_pool: true,
        };
        let time_max = resolved.limits.wall + BEYOND_FUNCTION;
        match timeout(time_max, application.run()).await {
            Ok(Ok(None)) => Ok(Visited::Gone),
            Ok(Ok(Some(Applied { committed, .. }))) => Ok(Visited::Ran { changed: committed.is_some() }),
            Ok(Err(ApplyError::Function { error: Failed { code, message, .. }, .. })) => Err((code, message)),
            Ok(Err(ApplyError::Refused(CommandError { code, message, .. }))) => Err((code, message)),
            Err(_) => {
                Ok(Visited::Hold("the namespace has no room for writes, or the record's turn never comes".into()))
            }
        }
    }
}

/// Why the module isn't to be had: for now, or for good.
fn of_module(failed: Failed) -> Visited {
    match fault(failed.code) {
        Fault::Record => Visited::Over(failed.message),
        _ => Visited::Hold(failed.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_record_s_or_the_node_s() {
        for code in Code::ALL {
            let of_node = matches!(fault(*code), Fault::Node | Fault::NodeForNow);
            // A function's own failures are of its records, but for those that say that it wasn't begun.
            if (600..=617).contains(&(*code as u16)) {
                let begun =
                    !matches!(code, Code::FunctionConcurrencyLimit | Code::FunctionPaused | Code::FunctionCancelled);
                assert_eq!(of_node, !begun, "{code:?}");
            }
        }
        assert_eq!(fault(Code::StopWrites), Fault::Node);
        assert_eq!(fault(Code::HotKey), Fault::RecordForNow);
        assert_eq!(fault(Code::RecordTooLarge), Fault::Record);
    }
}
