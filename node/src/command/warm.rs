//! Warming: the memory that a run of requests will need, asked for all at once.
//!
//! At a million records, nearly half of a read's time is waiting for two places in memory: the index entry and the
//! record's first line. Requests come in runs; looking all of them up before the first is carried out lets the
//! processor wait for several places at the same time. Nothing here decides anything: the request itself looks again.

use bytes::Bytes;
use outcrop_wire::request::peek_key;
use outcrop_wire::{Digest, KeyRef, NamespaceId, Verb};

use super::context::Context;
use crate::index::WARM_MAX;

/// Requests of one run, at most: their records should fit the second-level cache together.
pub const RUN_MAX: usize = WARM_MAX;

/// Bytes of a record that are asked for: longer ones the processor fetches ahead by itself once they are being read.
const WARM_BYTES_MAX: usize = 4 << 10;

/// What a run's requests are about; kept from run to run, so that it allocates once.
#[derive(Debug, Default)]
pub struct Warmth {
    /// By place in the run.
    digests: Vec<Option<Digest>>,
    /// Keys of one namespace, and whether their records will be read.
    keys: Vec<Digest>,
    reads: Vec<bool>,
}

impl Warmth {
    /// Warms a run of frames. Runs are of one namespace most of the time; requests of others are left cold.
    pub fn run(&mut self, context: &Context, frames: &[Bytes]) {
        self.clear();
        if frames.len() < 2 {
            return;
        }
        let mut warmed = None;
        for frame in frames.iter().take(RUN_MAX) {
            let Some((verb, namespace, key)) = peek_key(frame) else {
                self.digests.push(None);
                continue;
            };
            self.add(key.digest(), *warmed.get_or_insert(namespace) == namespace, verb);
        }
        self.warm(context, warmed);
    }

    /// Warms up to [`RUN_MAX`] reads of one batch.
    pub fn keys<'a>(&mut self, context: &Context, keys: impl Iterator<Item = (NamespaceId, KeyRef<'a>)>) {
        self.clear();
        let mut warmed = None;
        for (namespace, key) in keys {
            self.add(key.digest(), *warmed.get_or_insert(namespace) == namespace, Verb::Get);
        }
        self.warm(context, warmed);
    }

    /// The digest of a run's frame, if it was worked out.
    pub fn digest(&self, place: usize) -> Option<Digest> {
        self.digests.get(place).copied().flatten()
    }

    fn clear(&mut self) {
        self.digests.clear();
        self.keys.clear();
        self.reads.clear();
    }

    fn add(&mut self, digest: Digest, warm: bool, verb: Verb) {
        self.digests.push(Some(digest));
        if warm {
            self.keys.push(digest);
            self.reads.push(matches!(verb, Verb::Get | Verb::Operate | Verb::Call));
        }
    }

    /// Entries first, then the records that they point at.
    fn warm(&mut self, context: &Context, namespace: Option<NamespaceId>) {
        let Some(namespace) = namespace.and_then(|id| context.namespaces.get(usize::from(id.0))) else { return };
        namespace.index.warm(&self.keys);
        for (digest, _) in self.keys.iter().zip(&self.reads).filter(|(_, reads)| **reads) {
            if let Some(entry) = namespace.index.read(digest.partition()).get(digest) {
                namespace.log.prefetch(entry.location, WARM_BYTES_MAX);
            }
        }
    }
}
