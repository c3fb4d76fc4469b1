//! Defrag, space and memory: live entries are never lost, room comes back, writes stop before the device is full and go
//! on when there is room again, and what is said to be in RAM is there.

#![allow(missing_docs)]

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::{SEGMENT_BYTES, Store, device, options};
use outcrop_flash::device::Device;
use outcrop_flash::device::void::VoidDevice;
use outcrop_flash::log::{AppendError, LogOptions, SEGMENTS_OFFSET};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

async fn put(store: &Arc<Store>, key: u64, value_len: Option<u32>) -> Result<(), AppendError> {
    loop {
        match store.put(key, value_len) {
            Ok(_) => return Ok(()),
            Err(AppendError::Backpressure) => store.log().writable().await,
            Err(error) => return Err(error),
        }
    }
}

/// Catches: an entry freed while live, a segment freed twice or never, garbage that is moved, live bytes miscounted.
#[tokio::test(start_paused = true)]
async fn random_overwrites_go_on_for_ever_and_lose_nothing() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let device = device(32, seed);
        let on_ram = seed == 5;
        let void = VoidDevice::new("ram", device.byte_len());
        let device: Arc<dyn Device> = if on_ram { Arc::new(void) } else { Arc::new(device) };
        let (store, ..) = Store::open(device.clone(), options()).await.expect("blank");
        // About half of the room is live; fifty times the room is written.
        let keys = 32 * 48 / 2;
        for round in 0..40 * 32 * 48 {
            let key = rng.random_range(0..keys);
            let value_len = if rng.random_bool(0.05) { None } else { Some(rng.random_range(600..1_400)) };
            let mut tries = 0;
            while let Err(error) = put(&store, key, value_len).await {
                assert!(matches!(error, AppendError::StopWrites { .. }), "seed {seed}: {error}");
                tries += 1;
                assert!(tries < 1_000, "seed {seed}: defrag makes no room: {:?}", store.log().stats());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if round % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        store.check_all().await;
        let stats = store.log().stats();
        assert_eq!(stats.live_bytes, store.live_bytes(), "seed {seed}: {stats:?}");
        assert!(stats.freed_segments > 500, "seed {seed}: {stats:?}");
        let views: u64 = store.log().segments().iter().map(|view| view.live_bytes).sum();
        assert_eq!(views, stats.live_bytes);
        store.log().close().await.expect("closes");
        let index = store.state.lock().index.clone();
        drop(store);
        if !on_ram {
            let (store, report, recovered) = Store::open(device, options()).await.expect("it opens");
            let same = |(a, b): (&kit::Indexed, &kit::Indexed)| a.version == b.version && a.location == b.location;
            assert!(
                report.clean
                    && recovered.index.values().zip(index.values()).all(same)
                    && recovered.index.len() == index.len()
            );
            store.check_all().await;
        }
    }
}

/// Catches: writes that stop for ever, deletes that stop with them, a device that fills to the brim.
#[tokio::test(start_paused = true)]
async fn writes_stop_before_the_device_is_full_and_go_on_when_there_is_room() {
    let device = device(24, 1);
    let (store, ..) = Store::open(Arc::new(device.clone()), options()).await.expect("blank");
    for round in 0..3u64 {
        let mut key = round * 10_000;
        let stopped = loop {
            match put(&store, key, Some(1_000)).await {
                Ok(()) => key += 1,
                // Defrag may still find a little; full is when it finds nothing for a while.
                Err(error) => {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    if put(&store, key, Some(1_000)).await.is_err() {
                        break error;
                    }
                    key += 1;
                }
            }
        };
        assert!(matches!(stopped, AppendError::StopWrites { free_segments: 1..=4, reserve_segments: 4 }), "{stopped}");
        assert!(store.log().stats().stop_writes > 0);
        store.check_all().await;
        // Deletes still go, and make room.
        let keys: Vec<u64> = store.state.lock().index.keys().copied().collect();
        for key in keys.iter().step_by(2) {
            put(&store, *key, None).await.unwrap_or_else(|error| panic!("round {round}, key {key}: {error}"));
            tokio::task::yield_now().await;
        }
        for key in keys.iter().step_by(2) {
            // The owner knows when a tombstone may go; here nothing else remembers the key.
            let removed = store.state.lock().index.remove(key).expect("a tombstone");
            store.log().release(removed.location);
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        put(&store, key, Some(1_000))
            .await
            .unwrap_or_else(|error| panic!("round {round}: {error}, {:?}", store.log().stats()));
        store.check_all().await;
    }
}

/// Catches: an `evacuate_oldest` that does nothing when everything is live, and an oldest sequence that moves too early.
#[tokio::test(start_paused = true)]
async fn the_oldest_segment_goes_when_it_is_asked_for() {
    let device = device(24, 1);
    let (store, ..) = Store::open(Arc::new(device.clone()), options()).await.expect("blank");
    store.fill(0..200, 1_000).await;
    let oldest = store.log().segments()[0];
    assert_eq!(store.log().oldest_sequence(), oldest.sequence);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(store.log().oldest_sequence(), oldest.sequence, "all of it is live");
    store.log().evacuate_oldest();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(store.log().oldest_sequence() > oldest.sequence);
    assert_eq!(*store.freed.lock(), 1);
    store.check_all().await;
    drop(store);
    let (store, _, recovered) = Store::open(Arc::new(device.crash(9)), options()).await.expect("it opens");
    assert!(store.log().oldest_sequence() > oldest.sequence, "durably so");
    assert_eq!(recovered.index.len(), 200);
}

/// Catches: a segment with rot that is freed with what is live in it; one that stays for ever when nothing is.
#[tokio::test(start_paused = true)]
async fn a_segment_with_unreadable_live_entries_stays_until_they_are_deleted() {
    let device = device(24, 1);
    let cold = LogOptions { resident_bytes: 0, ..options() };
    let (store, ..) = Store::open(Arc::new(device.clone()), cold).await.expect("blank");
    store.fill(0..200, 1_000).await;
    let victim = store.state.lock().index[&5].location;
    let at = SEGMENTS_OFFSET + u64::from(victim.segment().0) * SEGMENT_BYTES as u64 + victim.offset() as u64;
    device.flip_bit(at + 200, 1);
    let in_it: Vec<u64> = {
        let state = store.state.lock();
        state.index.iter().filter(|(_, i)| i.location.segment() == victim.segment()).map(|(key, _)| *key).collect()
    };
    for key in in_it.iter().filter(|key| **key != 5 && **key != 6) {
        assert!(store.put_durably(*key, Some(10)).await);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(store.log().stats().damaged_segments, 1, "{:?}", store.log().stats());
    assert!(store.get(5).await.is_err(), "not given up, not made up");
    assert!(store.get(6).await.expect("intact").is_some());
    assert!(store.put_durably(5, None).await);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let stays = store.log().segments().iter().any(|view| view.id == victim.segment() && view.live_bytes > 0);
    assert!(!stays, "what was readable had been moved, what wasn't is deleted");
    store.check_all().await;
}

/// Catches: a rate limit that doesn't limit (or that stalls).
#[tokio::test(start_paused = true)]
async fn defrag_keeps_to_its_rate() {
    let device = device(64, 1);
    let slow = LogOptions { defrag_bytes_per_sec: 20_000, ..options() };
    let (store, ..) = Store::open(Arc::new(device), slow).await.expect("blank");
    store.fill(0..400, 1_000).await;
    for key in (0..400).filter(|key| key % 3 != 0) {
        assert!(store.put_durably(key, Some(10)).await);
    }
    let before = store.log().stats().moved_bytes;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let moved = store.log().stats().moved_bytes - before;
    // Simulated seconds: 5 s at 20 kB a second, with a burst at each end.
    assert!(moved > 10_000 && moved <= 20_000 * 5 + 2 * 64 * 1_100, "{moved} bytes moved");
}

/// Catches: residents that aren't, a budget that isn't kept, a preload that reads rot into RAM.
#[tokio::test]
async fn residents_keep_to_their_budget_and_preload_fills_it() {
    let device = device(24, 1);
    let some = LogOptions { resident_bytes: 2 * SEGMENT_BYTES as u64, ..options() };
    let (store, ..) = Store::open(Arc::new(device.clone()), some).await.expect("blank");
    store.fill(0..300, 1_000).await;
    let views = store.log().segments();
    let resident: Vec<bool> = views.iter().map(|view| view.resident).collect();
    let expected: Vec<bool> = (0..views.len()).map(|index| index + 3 >= views.len()).collect();
    assert_eq!(resident, expected, "the open one and the last two");
    assert_eq!(store.log().stats().resident_bytes, 2 * SEGMENT_BYTES as u64);
    store.check_all().await;
    let victim = store.state.lock().index[&10].location;
    store.log().close().await.expect("closes");
    drop(store);
    let at = SEGMENTS_OFFSET + u64::from(victim.segment().0) * SEGMENT_BYTES as u64 + victim.offset() as u64;
    let all = LogOptions { resident_bytes: u64::MAX, preload: true, ..options() };
    let (store, ..) = Store::open(Arc::new(device.clone()), all).await.expect("it opens");
    device.flip_bit(at + 200, 1);
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
        if store.log().segments().iter().filter(|view| !view.resident).count() <= 1 {
            break;
        }
    }
    let cold: Vec<_> = store.log().segments().iter().filter(|view| !view.resident).map(|view| view.id).collect();
    assert_eq!(cold, [victim.segment()], "rot isn't taken into RAM");
    let read_before = store.log().stats().device_reads;
    let warm: Vec<_> =
        store.state.lock().index.values().filter(|i| i.location.segment() != victim.segment()).copied().collect();
    for indexed in warm {
        assert!(
            store
                .log()
                .with_resident(indexed.location, |payload| payload == indexed.version.payload())
                .expect("in RAM")
        );
    }
    assert_eq!(store.log().stats().device_reads, read_before);
    assert!(store.get(10).await.is_err());
}

/// Catches: a log in RAM that loses something, waits for a device, or says that it could recover.
#[tokio::test]
async fn a_log_in_ram_keeps_everything_and_is_always_durable() {
    let device = Arc::new(VoidDevice::new("ram", SEGMENTS_OFFSET + 16 * SEGMENT_BYTES as u64));
    let none = LogOptions { resident_bytes: 0, ..options() };
    let (store, ..) = Store::open(device, none).await.expect("blank");
    for key in 0..300 {
        assert!(store.put_durably(key, Some(1_000)).await);
        assert_eq!(store.log().durable_lsn(), store.log().head());
    }
    for indexed in store.state.lock().index.values() {
        assert!(store.log().resident(indexed.location).is_some());
    }
    let error = store.log().checkpoint(&mut kit::IndexChunks::new(store.clone(), 10)).await.expect_err("of what use");
    assert_eq!(error, outcrop_flash::log::CheckpointError::Closed);
    store.log().close().await.expect("closes");
}
