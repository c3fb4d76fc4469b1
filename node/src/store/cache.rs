//! The cache of hot records: what was read from the device, by where it lies there.
//!
//! An entry of the log never changes while it is current. Once its key is overwritten or moved, its place may become
//! another's, so it is dropped at that moment, under the lock of its partition; and nothing goes in but under that lock
//! and while it is current. Recently written records aren't here: their segments are still in memory.

use bytes::Bytes;
use outcrop_flash::Location;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Memory of one cached record beside its bytes: slot, key, `Bytes` and its allocation's header.
const OVERHEAD_BYTES: u64 = 112;

#[derive(Clone)]
struct ByBytes;

impl Weighter<u64, Bytes> for ByBytes {
    fn weight(&self, _: &u64, record: &Bytes) -> u64 {
        record.len() as u64 + OVERHEAD_BYTES
    }
}

/// Stored records by location, least useful out first, within a budget of bytes.
pub struct RecordCache {
    cache: Option<Cache<u64, Bytes, ByBytes>>,
    /// Larger records would push hundreds of small ones out; they are read from the device each time.
    record_bytes_max: usize,
}

impl RecordCache {
    /// A cache of at most `budget_bytes`; 0: none.
    pub fn new(budget_bytes: u64) -> Self {
        let typical_record_bytes = 1_024;
        let items = (budget_bytes / typical_record_bytes).clamp(64, 64 << 20) as usize;
        RecordCache {
            cache: (budget_bytes > 0).then(|| Cache::with_weighter(items, budget_bytes, ByBytes)),
            record_bytes_max: (budget_bytes / 64).min(64 << 10) as usize,
        }
    }

    /// The stored record at a location.
    pub fn get(&self, location: Location) -> Option<Bytes> {
        self.cache.as_ref()?.get(&location.bits())
    }

    /// Keeps a copy of a record that was read from the device.
    pub fn insert(&self, location: Location, record: &[u8]) {
        if let Some(cache) = &self.cache
            && record.len() <= self.record_bytes_max
        {
            cache.insert(location.bits(), Bytes::copy_from_slice(record));
        }
    }

    /// Forgets a record that was overwritten, moved or deleted.
    pub fn remove(&self, location: Location) {
        if let Some(cache) = &self.cache {
            cache.remove(&location.bits());
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::weight)
    }

    /// Bytes that it may hold.
    pub fn budget_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::capacity)
    }

    /// Records that it holds.
    pub fn records(&self) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.len() as u64)
    }
}
