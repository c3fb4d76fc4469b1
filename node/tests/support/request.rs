//! Short ways to write requests, and to read what comes back.

use outcrop_node::store::scan::{Progress, ScanFilter, Scanner, Sink};
use outcrop_wire::archive::{archive_bins, archive_operations, decode_bins, decode_values};
use outcrop_wire::reader::Reader;
use outcrop_wire::{
    BinSelection, Bins, Cursor, Digest, KeyRef, Operation, PutMode, RequestBody, StoredRecord, Ttl, UserKeyRef, Value,
};

use super::{Answer, Rig};

/// An integer key.
pub fn key(set: &str, number: i64) -> KeyRef<'_> {
    KeyRef { set, user_key: UserKeyRef::Int(number) }
}

/// Bytes that only this very write can have.
pub fn payload(tag: u64, len: usize) -> Vec<u8> {
    let mut seed = tag;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A whole record as a reader gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    pub bins: Bins,
    pub generation: u32,
    pub expiry_secs: u32,
    pub epoch: u64,
    pub sequence: u64,
}

pub fn got(stored: &[u8], whole: bool) -> Got {
    let record = StoredRecord::parse(stored).expect("a stored record");
    assert_eq!(record.key.digest(), record.header.digest, "the digest is its key's");
    assert!(!record.header.is_tombstone(), "no reader gets a tombstone");
    let bins = if whole { decode_bins(record.archive).expect("a valid archive") } else { Bins::new() };
    let header = record.header;
    let (generation, expiry_secs) = (header.generation, header.expiry_secs);
    Got { bins, generation, expiry_secs, epoch: header.epoch, sequence: header.sequence }
}

impl Answer {
    /// The record of a `get`.
    #[track_caller]
    pub fn record(&self) -> Got {
        got(&self.clone().ok().body, true)
    }

    /// The expiry that a write or `exists` tells.
    #[track_caller]
    pub fn expiry_secs(&self) -> u32 {
        Reader::new(&self.clone().ok().body).u32("expiry").expect("four bytes")
    }

    /// The results of an `operate`.
    #[track_caller]
    pub fn values(&self) -> Vec<Value> {
        decode_values(&self.clone().ok().body).expect("archived values")
    }
}

impl Rig {
    pub async fn get(&self, key: KeyRef<'_>) -> Answer {
        self.ask(&RequestBody::Get { key, bins: BinSelection::All }).await
    }

    pub async fn exists(&self, key: KeyRef<'_>) -> Answer {
        self.ask(&RequestBody::Exists { key }).await
    }

    /// Puts bins in place of what is there.
    pub async fn replace(&self, key: KeyRef<'_>, bins: &Bins, ttl: Ttl) -> Answer {
        self.put(key, PutMode::Replace, bins, ttl).await
    }

    pub async fn put(&self, key: KeyRef<'_>, mode: PutMode, bins: &Bins, ttl: Ttl) -> Answer {
        let archive = archive_bins(bins).expect("within the limits");
        self.ask(&RequestBody::Put { key, mode, if_generation: None, ttl, archive: &archive }).await
    }

    pub async fn delete(&self, key: KeyRef<'_>) -> Answer {
        self.ask(&RequestBody::Delete { key, if_generation: None }).await
    }

    pub async fn operate(&self, key: KeyRef<'_>, steps: Vec<Operation>) -> Answer {
        let operations = archive_operations(&steps).expect("within the limits");
        self.ask(&RequestBody::Operate { key, if_generation: None, ttl: Ttl::Default, operations: &operations }).await
    }

    pub async fn truncate(&self, set: &str) -> Answer {
        self.ask(&RequestBody::Truncate { set }).await
    }

    /// Everything that a scan gives, in pieces of `piece` records, each with a scanner of its own that goes on at the
    /// cursor of the one before, once what it saw is durable. A record may come twice.
    pub async fn scan(&self, set: Option<&str>, piece: usize) -> Vec<Vec<u8>> {
        let filter = ScanFilter { set: set.map(str::to_owned), partition_first: 0, partition_last: 4_095 };
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let mut scanner = Scanner::new(self.namespace().clone(), filter.clone(), cursor).expect("our own cursor");
            let mut records = Piece { room: piece, records: Vec::new() };
            let end = loop {
                match scanner.advance(&mut records).await.expect("the device can be read") {
                    Progress::Full => break false,
                    Progress::End => break true,
                    Progress::More => {}
                }
            };
            self.namespace().log.wait_durable(scanner.seen_end()).await.expect("the device is well");
            all.extend(records.records);
            if end {
                return all;
            }
            let mut bytes = Vec::new();
            scanner.cursor().encode(&mut bytes);
            cursor = Some(Cursor::decode(&mut Reader::new(&bytes)).expect("what was encoded"));
        }
    }
}

/// Takes so many records of a scan.
pub struct Piece {
    pub room: usize,
    pub records: Vec<Vec<u8>>,
}

impl Sink for Piece {
    fn record(&mut self, digest: &Digest, stored: &[u8]) -> bool {
        assert_eq!(outcrop_wire::stored::digest_of(stored), Some(*digest), "the digest is the record's");
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.records.push(stored.to_vec());
        true
    }
}
