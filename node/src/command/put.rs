//! `put` and `delete`: blind writes go straight to the log; a merge reads the record first (see `modify`).

use outcrop_wire::archive::access_bins;
use outcrop_wire::{KeyRef, PutMode, Ttl, Verb};

use super::Request;
use super::answer::{Now, committed, refuse};
use super::commit::{Change, commit_now};
use super::error::CommandError;
use crate::store::write::{Expect, Presence, Refused, WriteError};

/// The fields of a `put`.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    /// Which record.
    pub key: KeyRef<'a>,
    /// What becomes of what is there.
    pub mode: PutMode,
    /// Only at this generation.
    pub if_generation: Option<u32>,
    /// Its time to live.
    pub ttl: Ttl,
    /// Its archived bins.
    pub archive: &'a [u8],
}

impl Put<'_> {
    /// What has to be there.
    pub fn expect(&self) -> Expect {
        let presence = match self.mode {
            PutMode::CreateOnly => Presence::MustNot,
            PutMode::UpdateOnly | PutMode::ReplaceOnly => Presence::Must,
            PutMode::Upsert | PutMode::Replace => Presence::Any,
        };
        Expect { presence, if_generation: self.if_generation, seen: None }
    }

    /// Whether the record's old bins matter.
    pub fn merges(&self) -> bool {
        matches!(self.mode, PutMode::Upsert | PutMode::UpdateOnly)
    }
}

/// Whether a refusal only means "wait, then try again".
pub fn is_later(refused: &Refused) -> bool {
    matches!(refused.error, WriteError::Backpressure | WriteError::Conflict)
}

/// A `put` that replaces. Validates the archive: the one time that anybody looks into it.
pub fn put_now(request: &Request<'_>, put: &Put<'_>, out: &mut Vec<u8>) -> Now {
    let namespace = request.namespace_number();
    if let Err(error) = access_bins(put.archive) {
        return refuse(request.id, Verb::Put, namespace, &error.into(), out);
    }
    let change = Change::Put { archive: put.archive, ttl: put.ttl };
    match commit_now(request.namespace, &request.digest_of(put.key), put.key, change, put.expect()) {
        Ok(done) => committed(request.id, Verb::Put, namespace, &done, out),
        Err(refused) if is_later(&refused) => Now::Later,
        Err(refused) => refuse(request.id, Verb::Put, namespace, &CommandError::from(refused), out),
    }
}

/// `delete`.
pub fn delete_now(request: &Request<'_>, key: KeyRef<'_>, if_generation: Option<u32>, out: &mut Vec<u8>) -> Now {
    let namespace = request.namespace_number();
    let expect = Expect { presence: Presence::Must, if_generation, seen: None };
    match commit_now(request.namespace, &request.digest_of(key), key, Change::Delete, expect) {
        Ok(done) => committed(request.id, Verb::Delete, namespace, &done, out),
        Err(refused) if is_later(&refused) => Now::Later,
        Err(refused) => refuse(request.id, Verb::Delete, namespace, &CommandError::from(refused), out),
    }
}
