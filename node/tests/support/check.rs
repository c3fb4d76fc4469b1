//! What must hold of index, log and counts at any quiet moment.

use std::collections::HashMap;

use outcrop_flash::log::ReadError;
use outcrop_wire::{PartitionId, StoredRecord};

use super::Rig;

impl Rig {
    /// Counts that are kept along the way equal a recount, and every entry of the index leads to its own record.
    pub async fn check_invariants(&self) {
        self.check_counts();
        self.check_entries().await;
    }

    /// No await in here: on a runtime of one thread nothing moves meanwhile.
    fn check_counts(&self) {
        let namespace = self.namespace();
        let before = namespace.tombstones();
        let mut by_set: HashMap<String, (u64, u64)> = HashMap::new();
        let (mut entry_bytes, mut tombstones) = (0, 0);
        for id in PartitionId::all() {
            for (digest, entry) in namespace.index.read(id).iter() {
                assert_eq!(digest.partition(), id);
                let bytes = entry.location.byte_len() as u64;
                entry_bytes += bytes;
                if entry.tombstone {
                    tombstones += 1;
                } else {
                    let name = namespace.sets.name(entry.set).expect("the set of an entry has a name");
                    let counts = by_set.entry(name.to_owned()).or_default();
                    *counts = (counts.0 + 1, counts.1 + bytes);
                }
            }
        }
        if namespace.tombstones() != before {
            // On a runtime of several threads tombstones go meanwhile; there are ever fewer of them.
            return self.check_counts();
        }
        assert_eq!(before, tombstones, "tombstones");
        for set in namespace.sets.counts() {
            let counted = by_set.remove(&set.name).unwrap_or_default();
            assert_eq!((set.records, set.bytes), counted, "set {:?}", set.name);
        }
        assert!(by_set.is_empty(), "sets that nobody counted: {by_set:?}");
        let (_, marker_bytes) = namespace.truncations();
        assert_eq!(namespace.log.stats().live_bytes, entry_bytes + marker_bytes, "live bytes of the log");
    }

    async fn check_entries(&self) {
        let namespace = self.namespace();
        for id in PartitionId::all() {
            let entries: Vec<_> = namespace.index.read(id).iter().collect();
            for (digest, entry) in entries {
                let read = match namespace.log.read(entry.location).await {
                    Ok(read) => read,
                    // It moved since the index was looked at.
                    Err(ReadError::Stale { .. }) => continue,
                    Err(error) => panic!("{entry:?}: {error}"),
                };
                let record = StoredRecord::parse(read.as_ref()).expect("a stored record");
                let current = namespace.index.read(id).get(&digest) == Some(entry);
                assert!(!current || record.header.digest == digest, "another key's record: {entry:?}");
                if current && !entry.tombstone {
                    let header = (record.header.generation, record.header.expiry_secs, record.header.is_tombstone());
                    assert_eq!(header, (entry.generation, entry.expiry_secs, false), "{entry:?}");
                    assert_eq!(Some(record.key.set), namespace.sets.name(entry.set));
                }
            }
        }
    }
}
