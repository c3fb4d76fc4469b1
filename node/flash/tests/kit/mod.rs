//! A small store over the log, for tests: keys with versions, tombstones, an index, and a record of what was promised.

#![allow(dead_code, missing_docs)] // each test uses its part

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use outcrop_flash::device::Device;
use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{
    AppendError, AppendKind, Appended, CheckpointSource, CheckpointView, Log, LogOptions, OpenError, OpenReport, Owner,
    ReadError, Relocated, Replay, SEGMENTS_OFFSET, SyncPolicy,
};
use outcrop_flash::{Location, Lsn};
use parking_lot::Mutex;

pub const SEGMENT_BYTES: usize = 64 << 10;

/// Small segments, so that few bytes make many of them.
pub fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES,
        identity: *b"tests of the log",
        sync: SyncPolicy::Group,
        resident_bytes: 3 * SEGMENT_BYTES as u64,
        write_buffer_bytes: 256 << 10,
        defrag_bytes_per_sec: 1 << 30,
        reserve_segments: 4,
        ..LogOptions::default()
    }
}

pub fn device(segments: u64, seed: u64) -> MemoryDevice {
    MemoryDevice::new(SEGMENTS_OFFSET + segments * SEGMENT_BYTES as u64, seed)
}

/// One write of a key: its version, and how long its value is (`None` = a tombstone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub key: u64,
    pub version: u64,
    pub value_len: Option<u32>,
}

impl Version {
    /// The payload: a head and bytes that only this very write can have.
    pub fn payload(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.value_len.unwrap_or(0) as usize);
        bytes.extend(self.key.to_le_bytes());
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.value_len.unwrap_or(u32::MAX).to_le_bytes());
        // Eight cheap bytes at a time (splitmix64): most of what a test does is make and compare these.
        let mut seed = self.key << 32 ^ self.version;
        while bytes.len() < 20 + self.value_len.unwrap_or(0) as usize {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bytes.extend((mixed ^ (mixed >> 27)).to_le_bytes());
        }
        bytes.truncate(20 + self.value_len.unwrap_or(0) as usize);
        bytes
    }

    /// Reads a payload; panics if it isn't exactly what some write appended.
    pub fn parse(payload: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().expect("8 bytes"));
        let value_len = u32::from_le_bytes(payload[16..20].try_into().expect("4 bytes"));
        let version =
            Version { key: word(0), version: word(8), value_len: (value_len != u32::MAX).then_some(value_len) };
        assert_eq!(version.payload(), payload, "an entry came back that never was appended");
        version
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    pub location: Location,
    pub lsn: Lsn,
    pub version: Version,
}

#[derive(Default)]
pub struct State {
    pub index: BTreeMap<u64, Indexed>,
    /// Last version handed out per key.
    pub issued: HashMap<u64, u64>,
    /// Versions whose append was acknowledged as durable.
    pub acked: HashMap<u64, u64>,
    /// Every append of this session in order, moves too.
    pub appended: Vec<(Lsn, Version)>,
}

#[derive(Default)]
pub struct Store {
    pub state: Mutex<State>,
    pub log: OnceLock<Arc<Log>>,
    pub freed: Mutex<u64>,
}

impl Store {
    pub fn log(&self) -> &Arc<Log> {
        self.log.get().expect("opened")
    }

    /// Opens the log on the device and takes what it holds.
    pub async fn open(
        device: Arc<dyn Device>,
        options: LogOptions,
    ) -> Result<(Arc<Store>, OpenReport, Recovered), OpenError> {
        let mut recovered = Recovered::default();
        let (log, report) = Log::open(device, options, &mut recovered).await?;
        let store = Arc::new(Store::default());
        {
            let mut state = store.state.lock();
            for indexed in recovered.index.values() {
                log.retain(indexed.location);
                let Version { key, version, .. } = indexed.version;
                state.issued.insert(key, version);
                state.acked.insert(key, version);
            }
            state.index = recovered.index.clone();
        }
        assert!(store.log.set(log).is_ok());
        store.log().start(store.clone());
        Ok((store, report, recovered))
    }

    /// One write, not yet durable.
    pub fn put(&self, key: u64, value_len: Option<u32>) -> Result<(Version, Appended), AppendError> {
        let mut state = self.state.lock();
        let version = Version { key, version: state.issued.get(&key).copied().unwrap_or(0) + 1, value_len };
        let kind = if value_len.is_some() { AppendKind::User } else { AppendKind::Delete };
        let payload = version.payload();
        // In parts, as the store does it.
        let appended = self.log().append(&[&payload[..20], &payload[20..]], kind)?;
        state.issued.insert(key, version.version);
        state.appended.push((appended.lsn, version));
        let before = state.index.insert(key, Indexed { location: appended.location, lsn: appended.lsn, version });
        if let Some(before) = before {
            self.log().release(before.location);
        }
        Ok((version, appended))
    }

    /// One write, waiting for room and until it is durable; false if the log won't take it.
    pub async fn put_durably(&self, key: u64, value_len: Option<u32>) -> bool {
        loop {
            match self.put(key, value_len) {
                Ok((version, appended)) => {
                    if self.log().wait_durable(appended.end).await.is_err() {
                        return false;
                    }
                    let mut state = self.state.lock();
                    let acked = state.acked.entry(key).or_default();
                    *acked = version.version.max(*acked);
                    return true;
                }
                Err(AppendError::Backpressure) => self.log().writable().await,
                Err(_) => return false,
            }
        }
    }

    /// Many writes, ten to a flush, and durable in the end.
    pub async fn fill(&self, keys: std::ops::Range<u64>, value_len: u32) {
        for key in keys.clone() {
            if (key + 1) % 10 == 0 || key + 1 == keys.end {
                assert!(self.put_durably(key, Some(value_len)).await, "key {key}");
                continue;
            }
            while let Err(error) = self.put(key, Some(value_len)) {
                assert_eq!(error, AppendError::Backpressure, "key {key}");
                self.log().writable().await;
            }
        }
    }

    /// What the index says about a key, read through the log.
    pub async fn get(&self, key: u64) -> Result<Option<Version>, ReadError> {
        loop {
            let Some(indexed) = self.state.lock().index.get(&key).copied() else { return Ok(None) };
            if let Some(version) = self.log().with_resident(indexed.location, Version::parse) {
                assert_eq!(version, indexed.version);
                return Ok(Some(version));
            }
            match self.log().read(indexed.location).await {
                Ok(entry) => {
                    let version = Version::parse(entry.as_ref());
                    assert_eq!(version, indexed.version);
                    return Ok(Some(version));
                }
                Err(error) => {
                    let now = self.state.lock().index.get(&key).copied();
                    if now.map(|now| now.location) == Some(indexed.location) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Reads every key that is live.
    pub async fn check_all(&self) {
        let keys: Vec<u64> = self.state.lock().index.keys().copied().collect();
        for key in keys {
            let found = self.get(key).await.unwrap_or_else(|error| panic!("key {key}: {error}"));
            assert_eq!(found.map(|version| version.key), Some(key));
        }
    }

    pub fn live_bytes(&self) -> u64 {
        self.state.lock().index.values().map(|indexed| indexed.location.byte_len() as u64).sum()
    }
}

impl Owner for Store {
    fn relocate(&self, location: Location, _lsn: Lsn, payload: &[u8]) -> Relocated {
        let version = Version::parse(payload);
        let mut state = self.state.lock();
        let current = state.index.get(&version.key).copied();
        if current.map(|indexed| indexed.location) != Some(location) {
            return Relocated::Garbage;
        }
        match self.log().append(&[payload], AppendKind::Relocate) {
            Ok(appended) => {
                state.index.insert(version.key, Indexed { location: appended.location, lsn: appended.lsn, version });
                state.appended.push((appended.lsn, version));
                self.log().release(location);
                Relocated::Moved
            }
            Err(AppendError::Backpressure) => Relocated::Retry,
            Err(_) => Relocated::Failed,
        }
    }

    fn freed(&self, _segment: outcrop_flash::SegmentId) {
        *self.freed.lock() += 1;
    }
}

/// What an opening brought back, with the rules that any opening keeps checked on the way.
#[derive(Default)]
pub struct Recovered {
    pub index: BTreeMap<u64, Indexed>,
    pub replayed: BTreeSet<(Lsn, u64, u64)>,
    pub in_order: Vec<Version>,
    pub chunks: u64,
    pub resets: u32,
    last: Option<Lsn>,
    view: Option<CheckpointView>,
}

impl Replay for Recovered {
    fn checkpoint(&mut self, view: &CheckpointView) {
        self.view = Some(view.clone());
    }

    fn checkpoint_chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.chunks += 1;
        let view = self.view.as_ref().ok_or("no view")?;
        for item in chunk.chunks_exact(28) {
            let word = |at: usize| u64::from_le_bytes(item[at..at + 8].try_into().expect("8 bytes"));
            let value_len = u32::from_le_bytes(item[24..28].try_into().expect("4 bytes"));
            let location = Location::from_bits(word(16)).ok_or("no location")?;
            let version =
                Version { key: word(0), version: word(8), value_len: (value_len != u32::MAX).then_some(value_len) };
            if let Some(lsn) = view.lsn_of(location) {
                self.index.insert(version.key, Indexed { location, lsn, version });
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.resets += 1;
        self.index.clear();
    }

    fn entry(&mut self, location: Location, lsn: Lsn, payload: &[u8]) {
        assert!(self.last < Some(lsn), "entries are replayed in rising order");
        self.last = Some(lsn);
        let version = Version::parse(payload);
        self.replayed.insert((lsn, version.key, version.version));
        self.in_order.push(version);
        let before = self.index.insert(version.key, Indexed { location, lsn, version });
        let went_back = before.filter(|before| before.version.version > version.version);
        assert_eq!(went_back, None, "a key's log order is its version order: {version:?} came later");
    }
}

/// The index of a store, some keys a chunk.
pub struct IndexChunks {
    store: Arc<Store>,
    next_key: Option<u64>,
    per_chunk: usize,
}

impl IndexChunks {
    pub fn new(store: Arc<Store>, per_chunk: usize) -> Self {
        IndexChunks { store, next_key: Some(0), per_chunk }
    }
}

impl CheckpointSource for IndexChunks {
    fn next_chunk(&mut self, into: &mut Vec<u8>) -> bool {
        let Some(from) = self.next_key else { return false };
        let state = self.store.state.lock();
        let mut last = None;
        for (key, indexed) in state.index.range(from..).take(self.per_chunk) {
            into.extend(key.to_le_bytes());
            into.extend(indexed.version.version.to_le_bytes());
            into.extend(indexed.location.bits().to_le_bytes());
            into.extend(indexed.version.value_len.unwrap_or(u32::MAX).to_le_bytes());
            last = Some(*key);
        }
        self.next_key = last.map(|key| key + 1);
        last.is_some()
    }
}

/// A `Replay` that counts only.
#[derive(Default)]
pub struct Ignore {
    pub entries: u64,
}

impl Replay for Ignore {
    fn checkpoint_chunk(&mut self, _chunk: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn reset(&mut self) {}
    fn entry(&mut self, _location: Location, _lsn: Lsn, _payload: &[u8]) {
        self.entries += 1;
    }
}
