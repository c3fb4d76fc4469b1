//! What running scans have read, and the keys of which they must not give another copy.
//!
//! A scan publishes how far it has read each segment while it holds the lock of the partition whose entry it judges.
//! Whoever makes the index point elsewhere (a write, a deletion, defrag) holds the same lock and asks each running scan
//! of that namespace whether it had read the place that the index pointed at: if so, the key is noted there. So there is
//! no moment in between, and a scan without writers costs nothing but the publishing, a writer without scans one load.
//!
//! **Bounds.** 16 bytes (40 at most with the table's gaps) a record that was read and changed while the scan ran,
//! [`NOTES_MAX`] of them for all scans of a namespace, and [`LEDGERS_MAX`] scans. What is beyond can't be noted: then the
//! scan gives records at least once, says so ([`ScanLedger::is_exact`]), and it is counted and logged.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use outcrop_flash::Lsn;
use outcrop_wire::Digest;
use parking_lot::{Mutex, RwLock};

use super::super::namespace::{Counters, Namespace};
use super::ScanFilter;
use crate::index::{Entry, SetId};

/// Notes of all running scans of a namespace at most: about 150 MB.
pub const NOTES_MAX: u64 = 4 << 20;
/// Scans of a namespace that writers look at, at most.
pub const LEDGERS_MAX: usize = 64;
/// Damaged places of one scan at most.
const HOLES_MAX: usize = 1_024;
/// So many writers can note something at once.
const SHARDS: usize = 64;

/// A digest is its own hash.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Notes = HashSet<u128, BuildHasherDefault<DigestHasher>>;

/// How far a segment that is being read has been read, as a log number. A cache line of its own: its reader writes it
/// for each entry.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Reach(AtomicU64);

impl Reach {
    /// Everything before this is read. Called under the lock of the partition whose entry was judged last.
    #[inline]
    pub fn publish(&self, end: Lsn) {
        // The lock orders it: who asks about an entry holds the lock under which that entry was judged.
        self.0.store(end.0, Ordering::Relaxed);
    }
}

enum Reading {
    Going(Arc<Reach>),
    Over(u64),
}

/// What one scan has read, and the keys of which it must not give another copy.
pub struct ScanLedger {
    set: Option<SetId>,
    partitions: RangeInclusive<u16>,
    /// Everything before this was read by an earlier part of the scan.
    resumed_at: Lsn,
    /// Segments that have been or are being read, by sequence.
    segments: RwLock<BTreeMap<u64, Reading>>,
    /// Places that couldn't be read, as log numbers: what is written over them later has never been given.
    holes: Mutex<Vec<Range<u64>>>,
    has_holes: AtomicBool,
    shards: Box<[Mutex<Notes>]>,
    noted: AtomicU64,
    /// Something couldn't be noted: records may be given twice.
    inexact: AtomicBool,
    /// Nothing more can be noted.
    blind: AtomicBool,
}

/// The running scans of a namespace.
pub struct Scans {
    running: AtomicUsize,
    ledgers: RwLock<Vec<Arc<ScanLedger>>>,
    /// Notes of all of them.
    notes: AtomicU64,
    notes_max: AtomicU64,
}

impl Default for Scans {
    fn default() -> Self {
        let notes_max = AtomicU64::new(NOTES_MAX);
        Scans { running: AtomicUsize::new(0), ledgers: RwLock::default(), notes: AtomicU64::new(0), notes_max }
    }
}

impl Scans {
    /// Allows all scans together so many notes, instead of [`NOTES_MAX`].
    pub fn allow_notes(&self, notes_max: u64) {
        self.notes_max.store(notes_max, Ordering::Relaxed);
    }

    /// Notes that all running scans hold.
    pub fn notes(&self) -> u64 {
        self.notes.load(Ordering::Relaxed)
    }
}

/// A scan that writers know of; dropped, it is over.
pub(super) struct Running {
    pub namespace: Arc<Namespace>,
    pub ledger: Arc<ScanLedger>,
}

impl Running {
    /// Makes a scan known to writers; `None` if its set doesn't exist. `resumed_at`: everything before it was read by an
    /// earlier part of the scan.
    pub fn begin(namespace: Arc<Namespace>, filter: &ScanFilter, resumed_at: Lsn) -> Option<Running> {
        let set = match &filter.set {
            Some(name) => Some(namespace.sets.find(name)?),
            None => None,
        };
        let ledger = Arc::new(ScanLedger {
            set,
            partitions: filter.partition_first..=filter.partition_last,
            resumed_at,
            segments: RwLock::new(BTreeMap::new()),
            holes: Mutex::new(Vec::new()),
            has_holes: AtomicBool::new(false),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            noted: AtomicU64::new(0),
            inexact: AtomicBool::new(false),
            blind: AtomicBool::new(false),
        });
        let scans = &namespace.scans;
        let mut ledgers = scans.ledgers.write();
        if ledgers.len() < LEDGERS_MAX {
            ledgers.push(ledger.clone());
            scans.running.store(ledgers.len(), Ordering::Release);
        } else {
            ledger.turn_blind(&namespace, "too many scans run at once");
        }
        drop(ledgers);
        Some(Running { namespace, ledger })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let scans = &self.namespace.scans;
        let mut ledgers = scans.ledgers.write();
        ledgers.retain(|ledger| !Arc::ptr_eq(ledger, &self.ledger));
        scans.running.store(ledgers.len(), Ordering::Release);
        drop(ledgers);
        // Nobody notes anything in it any more.
        scans.notes.fetch_sub(self.ledger.noted.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Namespace {
    /// The index is about to point elsewhere, or does so already: tells the scans that had read the old place. Called
    /// under the lock of the key's partition, before the old place is released.
    #[inline]
    pub(in crate::store) fn note_replaced(&self, digest: &Digest, previous: &Entry) {
        // A scan that isn't seen here judges under the lock that the caller holds, so later: it finds the new place.
        if self.scans.running.load(Ordering::Relaxed) > 0 {
            self.tell_scans(digest, previous);
        }
    }

    #[cold]
    fn tell_scans(&self, digest: &Digest, previous: &Entry) {
        // A tombstone was never given; what is written over it is another record.
        if previous.tombstone {
            return;
        }
        let place = self.log.lsn_of(previous.location);
        for ledger in self.scans.ledgers.read().iter() {
            if ledger.wants(digest, previous.set) && ledger.has_read(place) {
                ledger.note(self, digest);
            }
        }
    }
}

impl ScanLedger {
    /// Whether the filter lets a key through.
    pub(super) fn wants(&self, digest: &Digest, set: SetId) -> bool {
        self.wants_partition(digest) && self.set.is_none_or(|wanted| wanted == set)
    }

    /// Whether the filter lets a key's partition through.
    #[inline]
    pub(super) fn wants_partition(&self, digest: &Digest) -> bool {
        self.partitions.contains(&digest.partition().number())
    }

    /// No record has been given twice, unless its key was away in between.
    pub fn is_exact(&self) -> bool {
        !self.inexact.load(Ordering::Relaxed)
    }

    /// Keys noted so far.
    pub fn noted(&self) -> u64 {
        self.noted.load(Ordering::Relaxed)
    }

    /// Begins to read a segment.
    pub(super) fn begin_segment(&self, from: Lsn) -> Arc<Reach> {
        let reach = Arc::new(Reach(AtomicU64::new(from.0)));
        self.segments.write().insert(from.segment_sequence(), Reading::Going(reach.clone()));
        reach
    }

    /// Nothing more of a segment is read, for the present round at least.
    pub(super) fn end_segment(&self, sequence: u64, reach: &Reach) {
        self.segments.write().insert(sequence, Reading::Over(reach.0.load(Ordering::Relaxed)));
    }

    /// Bytes that hold no intact entry. Must be called before what lies behind them is published as read.
    pub(super) fn hole(&self, namespace: &Namespace, range: Range<Lsn>) {
        let mut holes = self.holes.lock();
        if holes.len() >= HOLES_MAX {
            drop(holes);
            return self.turn_blind(namespace, "the device has too many damaged places");
        }
        holes.push(range.start.0..range.end.0);
        self.has_holes.store(true, Ordering::Release);
    }

    fn has_read(&self, place: Lsn) -> bool {
        if self.blind.load(Ordering::Acquire) {
            return false;
        }
        if place < self.resumed_at {
            return true;
        }
        let read = match self.segments.read().get(&place.segment_sequence()) {
            None => false,
            Some(Reading::Going(reach)) => place.0 < reach.0.load(Ordering::Relaxed),
            Some(Reading::Over(end)) => place.0 < *end,
        };
        let in_hole =
            || self.has_holes.load(Ordering::Acquire) && self.holes.lock().iter().any(|hole| hole.contains(&place.0));
        read && !in_hole()
    }

    fn shard(&self, digest: u128) -> &Mutex<Notes> {
        // Other bits than those that find the place in the table.
        &self.shards[(digest >> 64) as usize % SHARDS]
    }

    /// Whether a key is noted. Called under the lock of its partition.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let digest = digest.as_u128();
        self.noted.load(Ordering::Relaxed) > 0 && self.shard(digest).lock().contains(&digest)
    }

    /// Notes a key; whether it wasn't noted before. One for which there is no room counts as new each time.
    pub(super) fn note(&self, namespace: &Namespace, digest: &Digest) -> bool {
        let digest = digest.as_u128();
        let mut shard = self.shard(digest).lock();
        if shard.contains(&digest) {
            return false;
        }
        let scans = &namespace.scans;
        if scans.notes.fetch_add(1, Ordering::Relaxed) >= scans.notes_max.load(Ordering::Relaxed) {
            scans.notes.fetch_sub(1, Ordering::Relaxed);
            drop(shard);
            self.could_not_note(namespace, "too many records change while scans run");
            return true;
        }
        shard.insert(digest);
        self.noted.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn turn_blind(&self, namespace: &Namespace, why: &'static str) {
        self.blind.store(true, Ordering::Release);
        self.could_not_note(namespace, why);
    }

    fn could_not_note(&self, namespace: &Namespace, why: &'static str) {
        Counters::bump(&namespace.counters.scan_notes_refused);
        if !self.inexact.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                namespace = %namespace.policy.name,
                why,
                "from now on this scan may give a record again that was written or moved after it was given"
            );
        }
    }
}
