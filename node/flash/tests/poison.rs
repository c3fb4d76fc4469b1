//! A failed write or sync poisons the log: acknowledgements stop, reads go on, the reason is kept, and what was
//! acknowledged before is there at the next opening.

#![allow(missing_docs)]

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::{Store, device, options};
use outcrop_flash::device::memory::{Fault, Injection, Operation};
use outcrop_flash::log::{AppendError, AppendKind, CheckpointError, LogOptions, SyncPolicy};

/// Catches: an acknowledgement after a failed write or sync, a sync that is simply tried again, reads refused.
#[tokio::test(start_paused = true)]
async fn a_failed_write_or_sync_stops_acknowledgements_and_nothing_else() {
    for (operation, fault, reason) in [
        (Operation::Write, Fault::Eio, "write"),
        (Operation::Sync, Fault::Eio, "sync"),
        (Operation::Write, Fault::NoSpace, "no space left"),
    ] {
        let device = device(20, 3);
        let (store, ..) = Store::open(Arc::new(device.clone()), options()).await.expect("blank");
        device.set_latency(Some(Duration::from_micros(50)..=Duration::from_micros(800)));
        for key in 0..80 {
            assert!(store.put_durably(key, Some(700)).await);
        }
        let mut durable = store.log().subscribe_durable();
        device.inject(Injection::new(operation, fault).after(2));
        let mut acknowledged = 80;
        while store.put_durably(acknowledged, Some(700)).await {
            acknowledged += 1;
            assert!(acknowledged < 100, "{operation:?}: the fault was never noticed");
        }
        durable.wait_for(|durable| durable.poisoned).await.expect("subscribers are told");
        let why = store.log().poisoned().expect("the reason is kept");
        assert!(why.contains(reason), "{operation:?}: {why}");
        assert_eq!(store.log().stats().poisoned.as_ref(), Some(&why));
        // The device is well again; the log still takes nothing, and says why.
        device.clear_faults();
        let refused = store.log().append(&[b"x"], AppendKind::User).expect_err("poisoned");
        assert_eq!(refused, AppendError::Poisoned(why.clone()));
        let end = store.log().head();
        assert_eq!(store.log().wait_durable(end).await.expect_err("never").reason, why);
        store.log().writable().await;
        store.check_all().await;
        assert_eq!(store.log().close().await.expect_err("not in order").reason, why);
        drop(store);
        let (_, report, recovered) = Store::open(Arc::new(device.crash(4)), options()).await.expect("it opens");
        assert!(!report.clean);
        for key in 0..acknowledged {
            assert!(recovered.index.contains_key(&key), "{operation:?}: key {key} was acknowledged");
        }
    }
}

/// Catches: a checkpoint that carries on after its own writes failed; the log trusting the device after that.
#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_poisons_too() {
    let device = device(20, 3);
    let (store, ..) = Store::open(Arc::new(device.clone()), options()).await.expect("blank");
    for key in 0..50 {
        assert!(store.put_durably(key, Some(700)).await);
    }
    device.inject(Injection::new(Operation::Sync, Fault::Eio));
    let error = store.log().checkpoint(&mut kit::IndexChunks::new(store.clone(), 10)).await.expect_err("no sync");
    assert!(matches!(error, CheckpointError::Poisoned(_)), "{error}");
    assert!(!store.put_durably(99, Some(1)).await);
    store.check_all().await;
    drop(store);
    let (_, _, recovered) = Store::open(Arc::new(device.crash(4)), options()).await.expect("it opens");
    assert_eq!(recovered.index.len(), 50);
}

/// Catches: a sync that is owed to nobody until the interval is over although somebody waits; an interval that never ends.
#[tokio::test(start_paused = true)]
async fn an_interval_syncs_when_it_is_over_or_when_somebody_waits() {
    let device = device(20, 3);
    let policy = LogOptions { sync: SyncPolicy::Interval { flush_ms: 1_000 }, ..options() };
    let (store, ..) = Store::open(Arc::new(device.clone()), policy).await.expect("blank");
    let (_, appended) = store.put(1, Some(100)).expect("room");
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(store.log().durable_lsn() < appended.end);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(store.log().durable_lsn() >= appended.end);
    let before = tokio::time::Instant::now();
    assert!(store.put_durably(2, Some(100)).await);
    // The paused clock: simulated time, not a measurement.
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
}

/// Catches: an unbounded write buffer; a `writable` that never returns, or returns while nothing has changed.
#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_keep_up_pushes_back() {
    let device = device(40, 3);
    let (store, ..) = Store::open(Arc::new(device.clone()), options()).await.expect("blank");
    device.set_latency(Some(Duration::from_millis(50)..=Duration::from_millis(50)));
    let (mut pushed_back, mut most) = (0, 0);
    for key in 0..600 {
        while let Err(error) = store.put(key, Some(1_000)) {
            assert_eq!(error, AppendError::Backpressure);
            pushed_back += 1;
            store.log().writable().await;
        }
        most = most.max(store.log().stats().unflushed_bytes);
    }
    assert!(pushed_back > 0 && most <= (256 << 10) + 1_100, "{pushed_back} times, {most} bytes");
    let end = store.log().head();
    store.log().wait_durable(end).await.expect("it catches up");
    let refused = store.log().append(&[&vec![0; 1 << 20]], AppendKind::User).expect_err("no segment holds it");
    assert!(matches!(refused, AppendError::TooLarge { payload_bytes: 1_048_576, .. }));
    store.log().close().await.expect("closes");
    assert_eq!(store.log().append(&[b"x"], AppendKind::User).expect_err("closed"), AppendError::Closed);
}
