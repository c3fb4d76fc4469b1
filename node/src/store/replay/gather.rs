//! Gathering: what a replay changes, put together by partition until it is worth the partition's way into the cache.
//!
//! Keys come in random order, so each change alone waits for a slot of a table that is in no cache: most of a replay was
//! that waiting. A partition's table of a thousand records is some ten kilobytes; once it is there, a hundred changes are
//! as cheap as one. Within a partition the log's order stays; between partitions it never mattered.

use outcrop_wire::{Digest, PartitionId};

use crate::index::{Entry, Index, WARM_MAX};

/// Changes of one partition that are carried out together: 6 KiB of memory for each partition, 24 MiB in all.
const GATHERED_MAX: usize = 128;

/// What one partition waits for.
#[derive(Debug, Default)]
struct Gathered {
    /// In log order; `None`: the entry goes.
    changes: Vec<(Digest, Option<Entry>)>,
    /// The highest sequence among the records.
    sequence: u64,
}

/// Changes that aren't in the index yet.
#[derive(Debug)]
pub struct Gatherer {
    partitions: Box<[Gathered]>,
    /// Of a few changes at a time; kept, so that it allocates once.
    digests: Vec<Digest>,
}

impl Gatherer {
    /// Nothing gathered.
    pub fn new() -> Self {
        let partitions = PartitionId::all().map(|_| Gathered::default()).collect();
        Gatherer { partitions, digests: Vec::with_capacity(WARM_MAX) }
    }

    /// Takes a change; carries its partition's out if they have become enough.
    pub fn change(&mut self, index: &Index, digest: &Digest, sequence: u64, entry: Option<Entry>) {
        let partition = digest.partition();
        let gathered = &mut self.partitions[partition.index()];
        if gathered.changes.capacity() == 0 {
            gathered.changes.reserve_exact(GATHERED_MAX);
        }
        gathered.changes.push((*digest, entry));
        gathered.sequence = gathered.sequence.max(sequence);
        if gathered.changes.len() >= GATHERED_MAX {
            self.carry_out(index, partition);
        }
    }

    /// Carries everything out: before anything that looks at the index, and at the end.
    pub fn settle(&mut self, index: &Index) {
        PartitionId::all().for_each(|partition| self.carry_out(index, partition));
    }

    fn carry_out(&mut self, index: &Index, id: PartitionId) {
        let gathered = &mut self.partitions[id.index()];
        for some in gathered.changes.chunks(WARM_MAX) {
            self.digests.clear();
            self.digests.extend(some.iter().map(|(digest, _)| *digest));
            index.warm(&self.digests);
            let mut partition = index.write(id);
            partition.sequence = partition.sequence.max(gathered.sequence);
            for (digest, entry) in some {
                // What was there before doesn't matter: the log says what holds.
                match entry {
                    Some(entry) => drop(partition.insert_roomy(digest, *entry)),
                    None => drop(partition.remove(digest)),
                }
            }
        }
        gathered.changes.clear();
    }
}
