//! Replay: the index from a checkpoint and the log's entries, in log order, which is version order.

use outcrop_flash::log::Replay;
use outcrop_flash::{Location, Lsn};
use outcrop_wire::reader::Reader;
use outcrop_wire::{PartitionId, StoredRecord};

use super::checkpoint::{CHUNK_PARTITION, CHUNK_SETS};
use super::marker::{MARKER_BYTE, Marker};
use super::sets::SetTable;
use crate::index::{Entry, Index, SetId};

/// What a replay met beside good records.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Entries of the log.
    pub entries: u64,
    /// Entries that this build can't read.
    pub unreadable: u64,
    /// The first of them, and why.
    pub first_unreadable: Option<String>,
}

/// Builds an index while the log opens.
pub struct Replayer {
    /// The index so far.
    pub index: Index,
    /// The sets so far.
    pub sets: SetTable,
    /// Truncations whose older records may still be on the device.
    pub markers: Vec<Marker>,
    /// What was met.
    pub counts: ReplayCounts,
    now_secs: u32,
    /// Segment sequences of places replayed so far, to tell when an entry was logged: place → sequence.
    sequences: Vec<u64>,
    /// The set of the record before: most records follow one of their own set.
    last_set: Option<(String, SetId)>,
}

impl Replayer {
    /// An empty index; records that expired before `now_secs` stay gone.
    pub fn new(now_secs: u32) -> Self {
        Replayer {
            index: Index::new(),
            sets: SetTable::default(),
            markers: Vec::new(),
            counts: ReplayCounts::default(),
            now_secs,
            sequences: Vec::new(),
            last_set: None,
        }
    }

    fn note_sequence(&mut self, location: Location, lsn: Lsn) {
        let place = location.segment().0 as usize;
        if self.sequences.len() <= place {
            self.sequences.resize(place + 1, 0);
        }
        self.sequences[place] = lsn.segment_sequence();
    }

    fn unreadable(&mut self, location: Location, why: &str) {
        self.counts.unreadable += 1;
        self.counts.first_unreadable.get_or_insert_with(|| format!("{location:?}: {why}"));
    }

    fn set_of(&mut self, name: &str) -> Option<SetId> {
        if let Some((last, id)) = &self.last_set
            && last == name
        {
            return Some(*id);
        }
        let id = self.sets.intern(name).ok()?;
        self.last_set = Some((name.to_owned(), id));
        Some(id)
    }

    fn record(&mut self, location: Location, lsn: Lsn, record: &StoredRecord<'_>) {
        let header = &record.header;
        let Some(set) = self.set_of(record.key.set) else {
            return self.unreadable(location, "the namespace has too many sets");
        };
        let mut partition = self.index.write(header.digest.partition());
        partition.sequence = partition.sequence.max(header.sequence);
        let expired = !header.is_tombstone() && header.expiry_secs != 0 && header.expiry_secs <= self.now_secs;
        if expired && header.generation == 1 {
            // The first version of its key: nothing older can come back, so nothing has to remember it.
            partition.remove(&header.digest);
            return;
        }
        // An expired record of a later generation hides older ones, as a tombstone does.
        let tombstone = header.is_tombstone() || expired;
        let expiry_secs = if expired { lsn.segment_sequence() as u32 + 1 } else { header.expiry_secs };
        let entry = Entry { set, location, tombstone, expiry_secs, generation: header.generation };
        partition.insert(&header.digest, entry);
    }

    fn truncate(&mut self, marker: Marker) {
        // A marker that defrag moved: the checkpoint was taken after its truncation.
        if self.markers.contains(&marker) {
            return;
        }
        let Some(set) = self.set_of(&marker.set) else { return };
        let sequences = &self.sequences;
        let logged = |location: Location| {
            let sequence = sequences.get(location.segment().0 as usize).copied().unwrap_or(0);
            Lsn::new(sequence, location.offset()).0
        };
        for partition in PartitionId::all() {
            self.index
                .write(partition)
                .retain(|_, entry| entry.set != set || logged(entry.location) >= marker.before_lsn);
        }
        self.markers.push(marker);
    }

    fn partition_chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(chunk);
        let number = reader.u16("partition").map_err(|error| error.to_string())?;
        let partition = PartitionId::new(number).ok_or("partition out of range")?;
        self.index.write(partition).restore(reader.rest()).map_err(|error| error.to_string())
    }

    fn sets_chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(chunk);
        let count = reader.u16("sets").map_err(|error| error.to_string())?;
        for number in 0..count {
            let len = reader.u8("set length").map_err(|error| error.to_string())?;
            let name = reader.text(len.into(), "set").map_err(|error| error.to_string())?;
            if self.sets.intern(name).map(SetId::number) != Ok(number) {
                return Err(format!("set {name:?} is there twice"));
            }
        }
        let markers = reader.u16("markers").map_err(|error| error.to_string())?;
        for _ in 0..markers {
            let len = reader.u16("marker length").map_err(|error| error.to_string())?;
            let bytes = reader.bytes(len.into(), "marker").map_err(|error| error.to_string())?;
            self.markers.push(Marker::decode(bytes).ok_or("malformed marker")?);
        }
        Ok(())
    }
}

impl Replay for Replayer {
    fn checkpoint_chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        match chunk.split_first() {
            Some((&CHUNK_SETS, rest)) => self.sets_chunk(rest),
            Some((&CHUNK_PARTITION, rest)) => self.partition_chunk(rest),
            _ => Err("unknown kind of checkpoint chunk".to_owned()),
        }
    }

    fn reset(&mut self) {
        *self = Replayer::new(self.now_secs);
    }

    fn entry(&mut self, location: Location, lsn: Lsn, payload: &[u8]) {
        self.counts.entries += 1;
        self.note_sequence(location, lsn);
        if payload.first() == Some(&MARKER_BYTE) {
            match Marker::decode(payload) {
                Some(marker) => self.truncate(marker),
                None => self.unreadable(location, "malformed truncation marker"),
            }
            return;
        }
        match StoredRecord::parse(payload) {
            Ok(record) => self.record(location, lsn, &record),
            Err(error) => self.unreadable(location, &error.to_string()),
        }
    }
}
