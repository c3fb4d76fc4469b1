//! Crash images: a seeded workload is cut off at a random moment by a power failure (or a kill), opened again, cut off
//! while it recovers, opened once more. Every write that was acknowledged must be there, intact, in order, and nothing
//! that never was.
//!
//! Which bugs this catches, each tried by planting it: a durable number published before the sync; a segment freed
//! before its moved copies are durable; a torn tail's end not remembered (at the next opening it looks like rot); what
//! lies behind a torn entry replayed all the same; a later segment replayed although the one before it was lost; a
//! header that isn't part of the flush of its first entries; a checkpoint that counts before the entries that it names
//! are durable.
//!
//! `OUTCROP_CRASH_IMAGES` sets how many images are tried (200; nightly 10,000), `OUTCROP_CRASH_SEED` the first seed.

#![allow(missing_docs)]

mod kit;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kit::{IndexChunks, Recovered, State, Store, device, options};
use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{CheckpointOutcome, LogOptions, OpenReport, SyncPolicy};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// What was promised before the crash.
struct Promise {
    acked: HashMap<u64, u64>,
    issued: HashMap<u64, u64>,
    durable: outcrop_flash::Lsn,
    appended: Vec<(outcrop_flash::Lsn, kit::Version)>,
}

impl Promise {
    fn take(store: &Store) -> Self {
        let State { acked, issued, appended, .. } = &*store.state.lock();
        Promise {
            acked: acked.clone(),
            issued: issued.clone(),
            appended: appended.clone(),
            durable: store.log().durable_lsn(),
        }
    }

    fn check(&self, recovered: &Recovered, report: &OpenReport, seed: u64) {
        for (key, acked) in &self.acked {
            let found = recovered.index.get(key).map(|indexed| indexed.version.version);
            assert!(
                found >= Some(*acked),
                "seed {seed}: key {key} was acknowledged at version {acked}, {found:?} came back"
            );
        }
        for (key, indexed) in &recovered.index {
            let issued = self.issued.get(key).copied().unwrap_or(0);
            assert!(indexed.version.version <= issued, "seed {seed}: {:?} never was", indexed.version);
        }
        // A prefix of the log comes back: no hole before an entry that wasn't acknowledged either.
        let last = recovered.replayed.iter().next_back().map(|(lsn, ..)| *lsn).unwrap_or_default();
        for (lsn, version) in self.appended.iter().filter(|(lsn, _)| *lsn >= self.durable && *lsn <= last) {
            let there = recovered.replayed.contains(&(*lsn, version.key, version.version));
            assert!(there, "seed {seed}: {version:?} at {lsn:?} is a hole in the log");
        }
        assert_eq!(report.damaged_places, 0, "seed {seed}: a crash is no rot: {:?}", report.damage);
        assert_eq!(report.missing, None, "seed {seed}: a crash loses nothing durable");
        let damaged = matches!(report.checkpoint, CheckpointOutcome::Damaged { .. });
        assert!(!damaged, "seed {seed}: a checkpoint counts only when it is complete: {:?}", report.checkpoint);
    }
}

async fn writer(store: Arc<Store>, seed: u64, keys: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let forgets = [0.1, 0.5, 1.0][rng.random_range(0..3)];
    loop {
        let key = rng.random_range(0..keys);
        let value_len = match rng.random_range(0..100) {
            0..8 => None,
            8..14 => Some(rng.random_range(4_000..20_000)),
            _ => Some(rng.random_range(0..1_500)),
        };
        if rng.random_bool(forgets) {
            // Fire and forget: it may or may not come back, whole.
            let pause = if store.put(key, value_len).is_ok() { rng.random_range(0..1_500) } else { 1_000 };
            tokio::time::sleep(Duration::from_micros(pause)).await;
        } else if !store.put_durably(key, value_len).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if rng.random_bool(0.05) {
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..3_000))).await;
        }
    }
}

async fn checkpoints(store: Arc<Store>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(5..60))).await;
        let _ = store.log().checkpoint(&mut IndexChunks::new(store.clone(), rng.random_range(5..400))).await;
        if rng.random_bool(0.3) {
            store.log().evacuate_oldest();
        }
    }
}

fn some_options(rng: &mut StdRng) -> LogOptions {
    let sync = if rng.random_bool(0.6) {
        SyncPolicy::Group
    } else {
        SyncPolicy::Interval { flush_ms: rng.random_range(1..300) }
    };
    LogOptions { sync, preload: rng.random_bool(0.3), ..options() }
}

fn cut_off(device: &MemoryDevice, rng: &mut StdRng) -> MemoryDevice {
    let seed = rng.random();
    if rng.random_bool(0.8) { device.crash(seed) } else { device.kill(seed) }
}

/// Lets the store work on the device for a while, then takes the image of a crash.
async fn work(device: &MemoryDevice, store: &Arc<Store>, rng: &mut StdRng) -> (MemoryDevice, Promise) {
    let latency = Duration::from_micros(rng.random_range(5..50))..=Duration::from_micros(rng.random_range(100..3_000));
    device.set_latency(Some(latency));
    let keys = rng.random_range(20..120);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..rng.random_range(1..5) {
        tasks.spawn(writer(store.clone(), rng.random(), keys));
    }
    if rng.random_bool(0.6) {
        tasks.spawn(checkpoints(store.clone(), rng.random()));
    }
    tokio::time::sleep(Duration::from_micros(rng.random_range(100..250_000))).await;
    // No await between these two: what is promised here is promised of this image.
    let promise = Promise::take(store);
    let image = cut_off(device, rng);
    tasks.shutdown().await;
    (image, promise)
}

async fn one_image(seed: u64) -> (u64, u64, u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut device = device(rng.random_range(14..30), seed);
    let (mut store, ..) = Store::open(Arc::new(device.clone()), some_options(&mut rng)).await.expect("blank");
    let (mut torn, mut loaded, mut freed) = (0, 0, 0);
    for _ in 0..rng.random_range(1..4) {
        let (image, promise) = work(&device, &store, &mut rng).await;
        freed += *store.freed.lock();
        drop(store);
        device = image;
        // Cut off while it recovers, as often as it happens to take.
        for _ in 0..rng.random_range(0..3) {
            device.set_latency(Some(Duration::from_micros(5)..=Duration::from_micros(500)));
            let pause = Duration::from_micros(rng.random_range(0..12_000));
            let cut = tokio::time::timeout(pause, Store::open(Arc::new(device.clone()), some_options(&mut rng))).await;
            if let Ok(opened) = &cut {
                let (_, report, recovered) = opened.as_ref().expect("it opens");
                promise.check(recovered, report, seed);
            }
            device = cut_off(&device, &mut rng);
        }
        device.set_latency(None);
        let (reopened, report, recovered) = Store::open(Arc::new(device.clone()), some_options(&mut rng))
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        promise.check(&recovered, &report, seed);
        torn += u64::from(report.torn_tail.is_some());
        loaded += u64::from(matches!(report.checkpoint, CheckpointOutcome::Loaded { .. }));
        reopened.check_all().await;
        store = reopened;
    }
    // Closed in order, nothing at all is lost.
    store.log().close().await.expect("closes");
    let mut promise = Promise::take(&store);
    promise.acked = promise.issued.clone();
    drop(store);
    let (store, report, recovered) = Store::open(Arc::new(device.clone()), options()).await.expect("it opens");
    promise.check(&recovered, &report, seed);
    assert!(report.clean && report.torn_tail.is_none(), "seed {seed}: {report:?}");
    store.check_all().await;
    (torn, loaded, freed)
}

#[test]
fn every_acknowledged_write_survives_every_crash() {
    let (images, first) = (env("OUTCROP_CRASH_IMAGES", 200), env("OUTCROP_CRASH_SEED", 1));
    let (mut torn, mut loaded, mut freed) = (0, 0, 0);
    for seed in first..first + images {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let counts = runtime.block_on(one_image(seed));
        torn += counts.0;
        loaded += counts.1;
        freed += counts.2;
    }
    println!("{images} images: {torn} torn tails, {loaded} checkpoints loaded, {freed} segments freed");
    if images >= 100 {
        assert!(torn > 0 && loaded > 0 && freed > 0, "the workload no longer reaches what it is meant to test");
    }
}
