//! Warming: the memory that a run of requests will need, asked for all at once.
//!
//! At a million records, nearly half of a read's time is waiting for two places in memory: the index entry and the
//! record's first line. Requests come in runs; looking all of them up before the first is carried out lets the
//! processor wait for several places at the same time. Nothing here decides anything: the request itself looks again.

use std::hint::black_box;

use bytes::Bytes;
use outcrop_flash::Location;
use outcrop_wire::request::peek_key;
use outcrop_wire::{Digest, KeyRef, NamespaceId, Verb};

use super::context::Context;

/// Requests of one run, at most: their records should fit the second-level cache together.
pub const RUN_MAX: usize = 64;

/// Records up to this size are touched to their end.
const TOUCH_BYTES_MAX: usize = 4 << 10;
/// Processors fetch lines of 64 bytes in pairs.
const TOUCH_STRIDE: usize = 128;

/// What a run's requests are about; kept from run to run, so that it allocates once.
#[derive(Debug, Default)]
pub struct Warmth {
    digests: Vec<Option<Digest>>,
    places: Vec<(NamespaceId, Location)>,
}

impl Warmth {
    /// Warms a run of frames.
    pub fn run(&mut self, context: &Context, frames: &[Bytes]) {
        self.digests.clear();
        self.places.clear();
        if frames.len() < 2 {
            return;
        }
        let mut reads = [false; RUN_MAX];
        let mut namespaces = [NamespaceId(0); RUN_MAX];
        for (place, frame) in frames.iter().take(RUN_MAX).enumerate() {
            let known = peek_key(frame);
            if let Some((verb, namespace, _)) = known {
                (reads[place], namespaces[place]) = (matches!(verb, Verb::Get | Verb::Operate), namespace);
            }
            self.digests.push(known.map(|(_, _, key)| key.digest()));
        }
        for place in 0..self.digests.len() {
            if let Some(digest) = self.digests[place] {
                self.locate(context, namespaces[place], &digest, reads[place]);
            }
        }
        self.touch(context);
    }

    /// The digest of a run's frame, if it was worked out.
    pub fn digest(&self, place: usize) -> Option<Digest> {
        self.digests.get(place).copied().flatten()
    }

    /// Warms the reads of one batch.
    pub fn keys<'a>(&mut self, context: &Context, keys: impl Iterator<Item = (NamespaceId, KeyRef<'a>)>) {
        self.digests.clear();
        self.places.clear();
        for (namespace, key) in keys {
            let digest = key.digest();
            self.digests.push(Some(digest));
            self.locate(context, namespace, &digest, true);
        }
        self.touch(context);
    }

    fn locate(&mut self, context: &Context, namespace: NamespaceId, digest: &Digest, reads: bool) {
        let Some(owner) = context.namespaces.get(usize::from(namespace.0)) else { return };
        if let Some(entry) = owner.index.read(digest.partition()).get(digest)
            && reads
        {
            self.places.push((namespace, entry.location));
        }
    }

    fn touch(&self, context: &Context) {
        let mut sum = 0_u8;
        for (namespace, location) in &self.places {
            let Some(owner) = context.namespaces.get(usize::from(namespace.0)) else { continue };
            owner.log.with_resident(*location, |bytes| {
                let lines = bytes.iter().take(TOUCH_BYTES_MAX).step_by(TOUCH_STRIDE);
                sum = lines.fold(sum, |sum, byte| sum.wrapping_add(*byte));
            });
        }
        black_box(sum);
    }
}
