//! Replay: the index from a checkpoint and the log's entries, in log order, which is version order.

mod gather;

use outcrop_flash::log::{CheckpointView, Replay};
use outcrop_flash::{Location, Lsn};
use outcrop_wire::reader::Reader;
use outcrop_wire::{PartitionId, StoredRecord};

use self::gather::Gatherer;
use super::checkpoint::{CHUNK_PARTITION, CHUNK_SETS};
use super::marker::{LoggedMarker, MARKER_BYTE, Marker};
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

/// What a whole replay comes to.
pub struct Replayed {
    /// The index.
    pub index: Index,
    /// The sets.
    pub sets: SetTable,
    /// The truncations whose entries are still in the log.
    pub markers: Vec<LoggedMarker>,
    /// What was met.
    pub counts: ReplayCounts,
}

/// Builds an index while the log opens.
pub struct Replayer {
    /// The index so far, without what is still gathered.
    index: Index,
    /// The sets so far.
    sets: SetTable,
    /// Truncations whose older records may still be on the device; without a place until the replay meets the entry.
    markers: Vec<(Marker, Option<Location>)>,
    /// What was met.
    counts: ReplayCounts,
    now_secs: u32,
    /// Which places of the checkpoint still hold.
    view: Option<CheckpointView>,
    /// Segment sequences of places replayed so far, to tell when an entry was logged: place → sequence.
    sequences: Vec<u64>,
    /// The set of the record before: most records follow one of their own set.
    last_set: Option<(String, SetId)>,
    /// Changes that aren't in the index yet.
    gatherer: Gatherer,
}

fn note_sequence(sequences: &mut Vec<u64>, location: Location, lsn: Lsn) {
    let place = location.segment().0 as usize;
    if sequences.len() <= place {
        sequences.resize(place + 1, 0);
    }
    sequences[place] = lsn.segment_sequence();
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
            view: None,
            sequences: Vec::new(),
            last_set: None,
            gatherer: Gatherer::new(),
        }
    }

    /// What the replay built, when the log is open.
    pub fn finish(mut self) -> Replayed {
        self.gatherer.settle(&self.index);
        self.index.fit();
        let markers = self.markers.into_iter();
        let markers = markers.filter_map(|(marker, location)| Some(LoggedMarker { marker, location: location? }));
        Replayed { index: self.index, sets: self.sets, markers: markers.collect(), counts: self.counts }
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
        let expired = !header.is_tombstone() && header.expiry_secs != 0 && header.expiry_secs <= self.now_secs;
        // The first version of its key: nothing older can come back, so nothing has to remember it.
        let gone = expired && header.generation == 1;
        // An expired record of a later generation hides older ones, as a tombstone does.
        let tombstone = header.is_tombstone() || expired;
        let expiry_secs = if expired { lsn.segment_sequence() as u32 + 1 } else { header.expiry_secs };
        let entry = Entry { set, location, tombstone, expiry_secs, generation: header.generation };
        self.gatherer.change(&self.index, &header.digest, header.sequence, (!gone).then_some(entry));
    }

    fn truncate(&mut self, marker: Marker, location: Location) {
        // A marker that defrag moved: what it hides is gone already.
        if let Some((_, place)) = self.markers.iter_mut().find(|(known, _)| *known == marker) {
            *place = Some(location);
            return;
        }
        let Some(set) = self.set_of(&marker.set) else { return };
        self.gatherer.settle(&self.index);
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
        self.markers.push((marker, Some(location)));
    }

    fn partition_chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(chunk);
        let number = reader.u16("partition").map_err(|error| error.to_string())?;
        let partition = PartitionId::new(number).ok_or("partition out of range")?;
        let view = self.view.as_ref().ok_or("a chunk without a checkpoint")?;
        let (sequences, index) = (&mut self.sequences, &self.index);
        let mut partition = index.write(partition);
        partition.restore(reader.rest()).map_err(|error| error.to_string())?;
        // What lies in a segment that was freed since is superseded by what follows, or gone for good: kept, it would
        // point at another record's bytes.
        partition.retain(|_, entry| match view.lsn_of(entry.location) {
            Some(lsn) => {
                note_sequence(sequences, entry.location, lsn);
                true
            }
            None => false,
        });
        Ok(())
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
            let location = Location::from_bits(reader.u64("marker location").map_err(|error| error.to_string())?);
            let location = location.ok_or("malformed marker location")?;
            let len = reader.u16("marker length").map_err(|error| error.to_string())?;
            let bytes = reader.bytes(len.into(), "marker").map_err(|error| error.to_string())?;
            let holds = self.view.as_ref().and_then(|view| view.lsn_of(location)).is_some();
            let marker = Marker::decode(bytes).ok_or("malformed marker")?;
            self.markers.push((marker, holds.then_some(location)));
        }
        Ok(())
    }
}

impl Replay for Replayer {
    fn checkpoint(&mut self, view: &CheckpointView) {
        self.view = Some(view.clone());
    }

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
        note_sequence(&mut self.sequences, location, lsn);
        if payload.first() == Some(&MARKER_BYTE) {
            match Marker::decode(payload) {
                Some(marker) => self.truncate(marker, location),
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
