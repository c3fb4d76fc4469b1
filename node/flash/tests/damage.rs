//! Planted damage: rot is reported by address and count and the rest is served; misdirected and lost writes are noticed;
//! nothing is ever made up, truncated silently or created anew over what may still be there.

#![allow(missing_docs)]

mod kit;

use std::sync::Arc;

use kit::{Ignore, Indexed, Recovered, SEGMENT_BYTES, Store, Version, device, options};
use outcrop_flash::device::Device;
use outcrop_flash::device::memory::{Fault, Injection, MemoryDevice, Operation};
use outcrop_flash::log::{
    CheckpointOutcome, DATA_START, Log, LogOptions, OpenError, ReadError, SEGMENTS_OFFSET, SegmentReadError,
};
use outcrop_flash::{Location, SegmentId};

fn device_offset(location: Location) -> u64 {
    SEGMENTS_OFFSET + u64::from(location.segment().0) * SEGMENT_BYTES as u64 + location.offset() as u64
}

/// Nothing stays in RAM, so that reads meet the device; nothing is moved, so that everything lies where it was put.
fn cold() -> LogOptions {
    LogOptions { resident_bytes: 0, defrag_live_percent: 0, ..options() }
}

async fn open(device: &MemoryDevice) -> (Arc<Store>, outcrop_flash::log::OpenReport, Recovered) {
    Store::open(Arc::new(device.clone()), cold()).await.expect("it opens")
}

/// A log of some full segments in which nothing is garbage; returns what lies where.
async fn filled(keys: u64) -> (MemoryDevice, Vec<Indexed>) {
    let device = device(20, 1);
    let (store, ..) = open(&device).await;
    store.fill(0..keys, 600).await;
    store.log().close().await.expect("closes");
    let indexed = store.state.lock().index.values().copied().collect();
    (device, indexed)
}

/// Catches: recovery that stops at the first bad entry, that drops the rest of the segment, or that says nothing.
#[tokio::test]
async fn rot_in_the_middle_is_named_and_everything_else_is_served() {
    let (device, indexed) = filled(200).await;
    let payload_bit = indexed[70].location;
    let header_bit = indexed[120].location;
    device.flip_bit(device_offset(payload_bit) + 40, 3);
    device.flip_bit(device_offset(header_bit) + 5, 0);
    let (store, report, recovered) = open(&device).await;
    assert_eq!((report.damaged_places, report.entries), (2, 198));
    let at: Vec<(SegmentId, usize)> = report.damage.iter().map(|damage| (damage.segment, damage.offset)).collect();
    assert_eq!(at, [payload_bit, header_bit].map(|location| (location.segment(), location.offset())));
    assert_eq!(report.damage[0].bytes, payload_bit.byte_len() as u64);
    assert_eq!(report.damage[0].device_offset, device_offset(payload_bit));
    let lost: Vec<u64> = (0..200).filter(|key| !recovered.index.contains_key(key)).collect();
    assert_eq!(lost, [70, 120]);
    store.check_all().await;
}

/// Catches: rot in what was acknowledged just before a crash taken for a torn tail and dropped without a word.
#[tokio::test]
async fn rot_shortly_before_a_crash_is_not_called_a_torn_tail() {
    let device = device(20, 1);
    let (store, ..) = open(&device).await;
    for key in 0..30 {
        assert!(store.put_durably(key, Some(600)).await);
    }
    let victim = store.state.lock().index[&28].location;
    let image = device.crash(7);
    image.flip_bit(device_offset(victim) + 100, 1);
    let (_, report, recovered) = open(&image).await;
    assert_eq!((report.damaged_places, report.torn_tail), (1, None));
    assert!(!recovered.index.contains_key(&28) && recovered.index.contains_key(&29));
}

/// Catches: reads without a check; a scan that ends at the first bad entry.
#[tokio::test]
async fn rot_under_a_running_log_is_an_error_of_that_read_only() {
    let (device, _) = filled(60).await;
    let (store, ..) = open(&device).await;
    let victim = store.state.lock().index[&20];
    device.flip_bit(device_offset(victim.location) + 99, 6);
    assert!(matches!(store.get(20).await, Err(ReadError::Corrupt { .. })));
    assert_eq!(store.get(21).await.expect("intact").map(|version| version.key), Some(21));
    let mut reader = store.log().read_segment(victim.location.segment(), 0);
    let (mut entries, mut damaged) = (0, Vec::new());
    while let Some(next) = reader.next().await {
        match next {
            Ok(batch) => {
                for (_, _, payload) in batch.iter() {
                    Version::parse(payload);
                    entries += 1;
                }
            }
            Err(SegmentReadError::Damaged { offset, .. }) => damaged.push(offset),
            Err(error) => panic!("{error}"),
        }
    }
    let same = |indexed: &&Indexed| indexed.location.segment() == victim.location.segment();
    let there = store.state.lock().index.values().filter(same).count();
    assert_eq!((entries, damaged), (there - 1, vec![victim.location.offset()]));
}

/// Catches: a check that doesn't know its own address and sequence (a stale or foreign block passes for the entry).
#[tokio::test]
async fn lost_and_misdirected_writes_are_noticed() {
    for (seed, misdirected) in (0..40).map(|seed| (seed, seed % 2 == 0)) {
        let device = device(20, seed);
        let (store, ..) = open(&device).await;
        store.fill(0..65, 600).await;
        let fault = if misdirected {
            // Onto a block of synced entries of another segment.
            let target = store.state.lock().index[&(seed % 40)].location;
            Fault::Misdirected { to: Some(device_offset(target)) }
        } else {
            Fault::Lost
        };
        let open_segment = store.log().segments().last().expect("one is open").id;
        let start = SEGMENTS_OFFSET + u64::from(open_segment.0) * SEGMENT_BYTES as u64;
        let data = start + DATA_START as u64..start + SEGMENT_BYTES as u64;
        device.inject(Injection::new(Operation::Write, fault).within(data));
        // The device says that all is well.
        store.fill(100..130, 600).await;
        assert_eq!(device.counts().faults, 1, "seed {seed}: the fault struck");
        let image = device.crash(seed);
        drop(store);
        let (store, report, recovered) = open(&image).await;
        assert!(report.damaged_places > u64::from(misdirected), "seed {seed}: {:?}", report.damage);
        assert!(recovered.index.len() < 95 && recovered.index.len() >= 65, "seed {seed}: {}", recovered.index.len());
        store.check_all().await;
    }
}

/// Catches: a superblock that is made anew over a log; a damaged copy that isn't repaired.
#[tokio::test]
async fn one_superblock_is_enough_and_none_is_an_error_that_changes_nothing() {
    for (first, second) in [(0, 512 << 10), (512 << 10, 0)] {
        let (device, _) = filled(20).await;
        device.flip_bit(first + 33, 2);
        let (store, report, recovered) = open(&device).await;
        assert_eq!((report.repaired_copies, recovered.index.len()), (1, 20));
        store.log().close().await.expect("closes");
        drop(store);
        // The repaired copy carries the log alone now.
        device.flip_bit(second + 33, 2);
        let (store, _, recovered) = open(&device).await;
        assert_eq!(recovered.index.len(), 20);
        drop(store);
        device.flip_bit(first + 40, 2);
        device.flip_bit(second + 40, 2);
        let before = device.snapshot();
        let error =
            Log::open(Arc::new(device.clone()), cold(), &mut Ignore::default()).await.expect_err("none is left");
        assert!(matches!(error, OpenError::SuperblocksDamaged { .. }), "{error}");
        let error = Log::create(Arc::new(device.clone()), [7; 16], cold()).await.expect_err("there may be a log");
        assert!(matches!(error, OpenError::SuperblocksDamaged { .. }), "{error}");
        assert_eq!(device.snapshot(), before, "nothing was written");
    }
}

/// Catches: recovery that serves half of the log as if it were the whole.
#[tokio::test]
async fn half_a_device_is_an_error_that_names_the_missing_bytes() {
    let (device, _) = filled(200).await;
    let whole = device.byte_len();
    device.truncate(whole / 2);
    let before = device.snapshot();
    let error = Log::open(Arc::new(device.clone()), cold(), &mut Ignore::default()).await.expect_err("too short");
    let missing = whole - device.byte_len();
    assert!(matches!(error, OpenError::TooShort { missing_bytes, .. } if missing_bytes == missing), "{error}");
    assert!(error.to_string().contains(&format!("{missing} bytes are missing")), "{error}");
    assert_eq!(device.snapshot(), before, "nothing was written");
    device.truncate(4_096);
    let error = Log::open(Arc::new(device), cold(), &mut Ignore::default()).await.expect_err("too short");
    assert!(matches!(error, OpenError::TooShort { .. }), "{error}");
}

/// Catches: a segment lost with one bad header block; a segment that vanishes without a report when both are bad.
#[tokio::test]
async fn one_header_copy_is_enough_and_two_bad_ones_are_reported() {
    let (device, indexed) = filled(200).await;
    let segment = indexed[100].location.segment();
    let header = SEGMENTS_OFFSET + u64::from(segment.0) * SEGMENT_BYTES as u64;
    device.flip_bit(header + 36, 1);
    let (store, report, recovered) = open(&device).await;
    assert_eq!((report.repaired_copies, report.damaged_places, recovered.index.len()), (1, 0, 200));
    store.log().close().await.expect("closes");
    drop(store);
    device.flip_bit(header + 36, 1);
    device.flip_bit(header + 4_096 + 36, 1);
    let (store, report, recovered) = open(&device).await;
    let in_it = indexed.iter().filter(|indexed| indexed.location.segment() == segment).count();
    assert_eq!(recovered.index.len(), 200 - in_it);
    assert_eq!((report.damaged_places, report.damaged_bytes), (1, SEGMENT_BYTES as u64));
    assert_eq!((report.damage[0].segment, report.damage[0].offset), (segment, 0));
    store.check_all().await;
    assert_eq!(store.log().stats().damaged_segments, 1);
}

/// Catches: a checkpoint believed in part; one whose loss loses data.
#[tokio::test]
async fn a_damaged_checkpoint_is_given_up_for_a_full_replay() {
    let device = device(20, 1);
    let (store, ..) = open(&device).await;
    store.fill(0..150, 500).await;
    let before: Vec<SegmentId> = store.log().segments().iter().map(|view| view.id).collect();
    store.log().checkpoint(&mut kit::IndexChunks::new(store.clone(), 20)).await.expect("room");
    store.fill(100..160, 300).await;
    drop(store);
    let image = device.crash(1);
    let (_, report, recovered) = open(&image).await;
    assert!(matches!(report.checkpoint, CheckpointOutcome::Loaded { chunks: 8, .. }), "{:?}", report.checkpoint);
    assert_eq!((recovered.index.len(), report.entries), (160, 60));
    // The one segment that holds no entries is the checkpoint's.
    let is_chunk = |id: u32| {
        let at = SEGMENTS_OFFSET as usize + id as usize * SEGMENT_BYTES;
        image.snapshot()[at + 10] == 2
    };
    let chunk_segment = (0..20).find(|id| !before.contains(&SegmentId(*id)) && is_chunk(*id)).expect("there is one");
    let at = SEGMENTS_OFFSET + u64::from(chunk_segment) * SEGMENT_BYTES as u64;
    image.flip_bit(at + DATA_START as u64 + 1_000, 4);
    let (store, report, recovered) = open(&image).await;
    assert!(matches!(report.checkpoint, CheckpointOutcome::Damaged { .. }), "{:?}", report.checkpoint);
    assert_eq!((recovered.resets, recovered.index.len(), report.entries), (1, 160, 210));
    store.check_all().await;
    // The next one takes its place.
    store.log().checkpoint(&mut kit::IndexChunks::new(store.clone(), 50)).await.expect("room");
    drop(store);
    let (_, report, recovered) = open(&image).await;
    assert!(matches!(report.checkpoint, CheckpointOutcome::Loaded { .. }), "{:?}", report.checkpoint);
    assert_eq!(recovered.index.len(), 160);
}

/// Catches: a checkpoint whose chunks the owner can't read believed all the same.
#[tokio::test]
async fn an_owner_that_refuses_a_chunk_gets_everything_replayed() {
    struct Refuses(Recovered);
    impl outcrop_flash::log::Replay for Refuses {
        fn checkpoint_chunk(&mut self, _chunk: &[u8]) -> Result<(), String> {
            Err("an old layout".to_owned())
        }
        fn reset(&mut self) {
            self.0.reset();
        }
        fn entry(&mut self, location: Location, lsn: outcrop_flash::Lsn, payload: &[u8]) {
            self.0.entry(location, lsn, payload);
        }
    }
    let device = device(20, 1);
    let (store, ..) = open(&device).await;
    for key in 0..50 {
        assert!(store.put_durably(key, Some(500)).await);
    }
    store.log().checkpoint(&mut kit::IndexChunks::new(store.clone(), 20)).await.expect("room");
    drop(store);
    let mut replay = Refuses(Recovered::default());
    let (_, report) = Log::open(Arc::new(device.clone()), cold(), &mut replay).await.expect("it opens");
    assert_eq!(report.checkpoint, CheckpointOutcome::Damaged { reason: "an old layout".to_owned() });
    assert_eq!((replay.0.resets, replay.0.index.len()), (1, 50));
}

/// Catches: one bad sector that makes a whole megabyte, or the whole log, unreadable.
#[tokio::test]
async fn an_unreadable_sector_costs_what_lies_in_it() {
    let (device, indexed) = filled(200).await;
    let victim = indexed[90].location;
    let block = device_offset(victim) / 4_096 * 4_096;
    device.inject(Injection::new(Operation::Read, Fault::Eio).within(block..block + 4_096).forever());
    let (_, report, recovered) = open(&device).await;
    assert!(report.damaged_places == 1 && report.damaged_bytes <= 3 * 4_096, "{:?}", report.damage);
    assert!(!recovered.index.contains_key(&90) && recovered.index.len() >= 190, "{}", recovered.index.len());
}

/// Catches: a segment given up because one of its header's sectors can't be read, or taken for free when none can.
#[tokio::test]
async fn an_unreadable_slot_is_what_its_copy_says() {
    let (device, indexed) = filled(200).await;
    let segment = indexed[90].location.segment();
    let start = SEGMENTS_OFFSET + u64::from(segment.0) * SEGMENT_BYTES as u64;
    device.inject(Injection::new(Operation::Read, Fault::Eio).within(start..start + 4_096).forever());
    let (store, report, recovered) = open(&device).await;
    assert_eq!((report.damaged_places, report.repaired_copies, recovered.index.len()), (0, 1, 200));
    store.log().close().await.expect("closes");
    drop(store);
    device.inject(Injection::new(Operation::Read, Fault::Eio).within(start + 4_096..start + 8_192).forever());
    let (store, report, recovered) = open(&device).await;
    assert!(report.damage.iter().any(|damage| (damage.segment, damage.offset) == (segment, 0)), "{:?}", report.damage);
    assert!(recovered.index.len() < 200);
    assert_eq!(store.log().stats().damaged_segments, 1, "it isn't free");
}

/// Catches: any panic, endless loop or made-up entry that random rot can bring about; entries that go missing without a
/// word. (`Version::parse` compares each entry with what was appended.)
#[tokio::test]
async fn random_rot_never_makes_anything_up() {
    let (device, indexed) = filled(250).await;
    let clean = device.snapshot();
    for seed in 0..150 {
        let image = MemoryDevice::from_image(clean.clone());
        let count = 1 + (seed as usize * 7) % 60;
        image.flip_bits(seed, 4_096..image.byte_len(), count);
        let mut recovered = Recovered::default();
        let opened = Log::open(Arc::new(image), cold(), &mut recovered).await;
        let (_, report) = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(recovered.index.len() <= indexed.len());
        if recovered.index.len() < indexed.len() {
            assert!(report.damaged_places > 0, "seed {seed}: entries are gone and nothing is said");
        }
    }
}

/// Catches: a log of somebody else taken over; junk of an earlier use of the device taken for rot.
#[tokio::test]
async fn what_belongs_to_another_log_is_refused_or_ignored() {
    let (device, _) = filled(100).await;
    let other = LogOptions { identity: [9; 16], ..cold() };
    let error = Log::open(Arc::new(device.clone()), other.clone(), &mut Ignore::default()).await.expect_err("not ours");
    assert!(matches!(error, OpenError::WrongIdentity { .. }), "{error}");
    let error = Log::create(Arc::new(device.clone()), [9; 16], cold()).await.expect_err("in use");
    assert!(matches!(error, OpenError::Exists { .. }), "{error}");
    // Somebody wipes the superblocks and starts anew on the same device: nothing of the old log comes back.
    let mut image = device.snapshot();
    image[..1 << 20].fill(0);
    let mut junk = image.clone();
    junk[(1 << 20)..].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 % 251) as u8);
    for image in [image, junk] {
        let mut ignore = Ignore::default();
        let device = Arc::new(MemoryDevice::from_image(image));
        let (log, report) = Log::open(device, other.clone(), &mut ignore).await.expect("blank");
        assert_eq!((report.created, ignore.entries, report.damaged_places), (true, 0, 0));
        assert_eq!(log.identity(), [9; 16]);
    }
}
