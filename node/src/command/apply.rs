//! A record function applied to one record: what `call` and jobs share.
//!
//! A function that may write runs in its key's line, so that of two runs the second sees what the first wrote. A write
//! that comes between all the same (a blind one stands in no line) makes it run again, on a fresh instance.

use std::sync::Arc;

use bytes::Bytes;
use outcrop_flash::Lsn;
use outcrop_wire::{Code, Digest, KeyRef};
use tokio::time::Instant;

use super::commit::{Change, commit};
use super::context::Context;
use super::error::CommandError;
use super::functions::Functions;
use super::put::is_later;
use crate::store::Namespace;
use crate::store::read::Lookup;
use crate::store::write::{Committed, Expect, Refused, WriteError};
use crate::udf::registry::Resolved;
use crate::udf::{Failed, Ran, Staged, Subject};

/// Times that a function runs because a write came between, before its caller is told that the key is too busy.
const RUNS_MAX: usize = 16;

/// A function on its way to a record.
pub struct Application<'a> {
    /// The lines of keys.
    pub context: &'a Context,
    /// The engine, and where the end is counted.
    pub functions: &'a Functions,
    /// The record's namespace.
    pub namespace: &'a Arc<Namespace>,
    /// The function; of kind record.
    pub resolved: &'a Resolved,
    /// The record's key.
    pub key: KeyRef<'a>,
    /// Its digest.
    pub digest: Digest,
    /// Only if the record has this generation (0: only if it isn't there).
    pub if_generation: Option<u32>,
    /// Only if the record is there.
    pub if_present: bool,
    /// An archived value; empty: null.
    pub arguments: Bytes,
    /// The caller is a thread of the function pool already.
    pub on_pool: bool,
}

/// A function that ran, and what became of what it staged.
pub struct Applied {
    /// Result and report.
    pub ran: Ran,
    /// The record as the function found it.
    pub lookup: Lookup,
    /// The write, if there was one.
    pub committed: Option<Committed>,
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum ApplyError {
    /// The function failed.
    Function {
        /// How.
        error: Failed,
        /// The log number that must be durable before anybody is told.
        rests_on: Option<Lsn>,
    },
    /// The node refused.
    Refused(CommandError),
}

impl From<CommandError> for ApplyError {
    fn from(error: CommandError) -> Self {
        ApplyError::Refused(error)
    }
}

impl Application<'_> {
    /// Runs the function and commits what it staged as one write; `None`: the record had to be there, and isn't.
    pub async fn run(&self) -> Result<Option<Applied>, ApplyError> {
        let began = Instant::now();
        let _turn = match self.resolved.read_only {
            true => None,
            false => Some(self.context.keys.turn(self.namespace.id.0, self.digest).await?),
        };
        for _ in 0..RUNS_MAX {
            let (lookup, stored) = self.namespace.read(self.digest).await.map_err(CommandError::from)?;
            if self.if_present && stored.is_none() {
                return Ok(None);
            }
            self.check_generation(&lookup)?;
            let subject = Subject::new(self.key, stored);
            let mut call = self.functions.call(self.resolved, self.namespace, self.arguments.clone());
            call.on_pool = self.on_pool;
            let ran = match self.resolved.loaded.prepared.call_record(call, subject).await {
                Ok(ran) => ran,
                Err(error) => {
                    self.functions.record(self.resolved, Err(&error), began.elapsed());
                    let rests_on = error.details.trace.rests_on.max(lookup.durable_at);
                    return Err(ApplyError::Function { error, rests_on });
                }
            };
            match self.settle(&lookup, &ran).await {
                Ok(committed) => {
                    self.functions.record(self.resolved, Ok(&ran), began.elapsed());
                    return Ok(Some(Applied { ran, lookup, committed }));
                }
                Err(refused) if is_later(&refused) => tokio::task::yield_now().await,
                Err(refused) => {
                    let error = CommandError::from(refused);
                    let told = Failed::new(error.code, error.message.clone());
                    self.functions.record(self.resolved, Err(&told), began.elapsed());
                    return Err(error.into());
                }
            }
        }
        let message = format!("{RUNS_MAX} writes of others came between; nothing of this call was done");
        Err(CommandError::new(Code::HotKey, message).into())
    }

    fn check_generation(&self, lookup: &Lookup) -> Result<(), CommandError> {
        let actual = lookup.entry.map_or(0, |entry| entry.generation);
        match self.if_generation {
            Some(expected) if expected != actual => {
                let message = WriteError::GenerationMismatch { actual, expected }.to_string();
                Err(CommandError { code: Code::GenerationMismatch, message, durable_at: lookup.durable_at })
            }
            _ => Ok(()),
        }
    }

    /// Commits what the guest staged, if the record is still what the guest saw.
    async fn settle(&self, lookup: &Lookup, ran: &Ran) -> Result<Option<Committed>, Refused> {
        let change = match &ran.staged {
            Staged::Nothing => return Ok(None),
            Staged::Delete if lookup.entry.is_none() => return Ok(None),
            Staged::Delete => Change::Delete,
            Staged::Write { bins, ttl } => Change::Put { archive: bins, ttl: *ttl },
        };
        let seen = Some(lookup.entry.map(|entry| entry.location));
        let expect = Expect { seen, if_generation: self.if_generation, ..Expect::default() };
        commit(self.namespace, &self.digest, self.key, change, expect).await.map(Some)
    }
}
