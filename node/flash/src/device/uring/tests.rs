//! What only this engine can get wrong: whose ring an I/O goes to, what happens to it when ring, runtime or device go
//! away, and whether the driver parks.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::core::SetUp;
use super::operation::InFlight;
use super::ring::WAITING_MAX;
use super::*;
use crate::buffer::BLOCK_BYTES;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A device of `blocks` blocks, each filled with its own number; `None` where io_uring is refused.
fn numbered(blocks: u64) -> Option<(TempDir, Arc<UringDevice>)> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("device");
    let bytes: Vec<u8> = (0..blocks).flat_map(|block| [block as u8; BLOCK_BYTES]).collect();
    std::fs::write(&path, bytes).expect("written");
    match UringDevice::open(&path, None) {
        Ok(device) => Some((directory, device)),
        Err(OpenDeviceError::EngineRefused { reason, .. }) => {
            eprintln!("SKIPPED: no io_uring on this machine: {reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn filled(byte: u8) -> Arc<SegmentBuffer> {
    let mut writer = SegmentBuffer::with_writer(BLOCK_BYTES);
    assert!(writer.append(&[&[byte; BLOCK_BYTES]]));
    writer.finish()
}

async fn assert_numbered(device: &UringDevice, blocks: impl Iterator<Item = u64>) {
    let blocks: Vec<u64> = blocks.collect();
    let outcomes = join_all(blocks.iter().map(|block| device.read(block * BLOCK, BLOCK_BYTES))).await;
    for (block, outcome) in blocks.iter().zip(outcomes) {
        assert_eq!(outcome.expect("read").get(0..BLOCK_BYTES), Some(&[*block as u8; BLOCK_BYTES][..]));
    }
}

fn uses_own_ring(device: &UringDevice) -> bool {
    device.own_ring.lock().is_some()
}

#[test]
fn only_a_current_thread_runtime_can_drive_a_ring() {
    let refused = attach_to_this_thread(8).map(drop);
    assert!(refused.is_err(), "no runtime at all");
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let refused = runtime.block_on(async { attach_to_this_thread(8).map(drop) });
    assert_eq!(refused.expect_err("several threads").kind(), io::ErrorKind::Unsupported);
}

#[test]
fn io_goes_to_the_ring_of_the_runtime_or_to_the_devices_own() {
    let Some((_directory, device)) = numbered(64) else { return };
    let (first, second) = (current_thread(), current_thread());
    let guard = first.block_on(async {
        let guard = attach_to_this_thread(8).expect("attached");
        let shared = attach_to_this_thread(8).expect("the second one shares the ring");
        drop(guard);
        assert_numbered(&device, 0..64).await;
        shared
    });
    assert!(!uses_own_ring(&device), "the thread's ring served");
    second.block_on(async {
        let refused = attach_to_this_thread(8).map(drop).expect_err("the thread has a ring, driven by another runtime");
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        assert_numbered(&device, 0..64).await;
    });
    assert!(uses_own_ring(&device), "the first runtime doesn't run meanwhile: its ring would never answer");
    drop(guard);
    second.block_on(async {
        let _guard = attach_to_this_thread(8).expect("the thread is free again");
        assert_numbered(&device, 0..64).await;
    });
}

#[test]
fn two_threads_with_rings_share_a_device() {
    let Some((_directory, device)) = numbered(128) else { return };
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let device = &device;
            scope.spawn(move || {
                current_thread().block_on(async {
                    let _guard = attach_to_this_thread(16).expect("attached");
                    for round in 0..50 {
                        let block = thread * 64 + round;
                        device.write(block * BLOCK, filled(block as u8), 0, BLOCK_BYTES).await.expect("written");
                        assert_numbered(device, 0..128).await;
                    }
                    device.sync().await.expect("synced");
                });
            });
        }
    });
    assert!(!uses_own_ring(&device));
}

#[test]
fn a_ring_that_ends_finishes_what_it_took() {
    let Some((directory, device)) = numbered(256) else { return };
    let runtime = current_thread();
    runtime.block_on(async {
        let guard = attach_to_this_thread(4).expect("attached");
        let reads: Vec<_> = (0..100).map(|block| device.read(block * BLOCK, BLOCK_BYTES)).collect();
        let writes: Vec<_> = (200..210).map(|block| device.write(block * BLOCK, filled(1), 0, BLOCK_BYTES)).collect();
        let forgotten = device.write(210 * BLOCK, filled(1), 0, BLOCK_BYTES);
        drop(forgotten);
        tokio::task::yield_now().await;
        drop(guard);
        assert!(join_all(reads).await.into_iter().all(|outcome| outcome.is_ok()));
        assert!(join_all(writes).await.into_iter().all(|outcome| outcome.is_ok()));
        assert_numbered(&device, 0..10).await;
        assert!(uses_own_ring(&device), "without a ring of the thread the device has its own");
    });
    let mut bytes = vec![0; 11 * BLOCK_BYTES];
    std::fs::File::open(directory.path().join("device"))
        .expect("there")
        .read_exact_at(&mut bytes, 200 * BLOCK)
        .expect("read");
    assert!(bytes.iter().all(|byte| *byte == 1), "the write whose future was dropped, too");
}

#[test]
fn a_runtime_that_ends_under_load_answers_everyone() {
    let Some((_directory, device)) = numbered(64) else { return };
    let runtime = current_thread();
    let (guard, reads) = runtime.block_on(async {
        let guard = attach_to_this_thread(4).expect("attached");
        let reads: Vec<_> = (0..64).map(|block| device.read(block * BLOCK, BLOCK_BYTES)).collect();
        tokio::task::yield_now().await;
        (guard, reads)
    });
    drop(runtime);
    let outcomes = wait_elsewhere(join_all(reads));
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()), "the driver waited for them as it went");
    drop(guard);
}

/// Any runtime can wait for an answer.
fn wait_elsewhere<T>(future: impl Future<Output = T>) -> T {
    current_thread().block_on(future)
}

#[test]
fn a_ring_given_up_answers_with_an_error_and_keeps_the_memory() {
    let Some((_directory, device)) = numbered(64) else { return };
    current_thread().block_on(async {
        let (ring, driver) = Ring::new(64).expect("a ring");
        let driver = tokio::spawn(driver);
        let (answer, receiver) = oneshot::channel();
        let write = Kind::Write { buffer: filled(9), start: 0, answer };
        assert!(ring.push(device.operation(0, BLOCK_BYTES, write)).is_ok());
        // From another thread nothing can be waited for: the operation may or may not be with the kernel by then.
        let other = ring.clone();
        std::thread::spawn(move || other.shut_down()).join().expect("no panic");
        let outcome = receiver.await.expect("answered");
        assert!(matches!(outcome, Err(DeviceError::Unavailable { .. })), "{outcome:?}");
        driver.await.expect("the driver ends");
        let (answer, _receiver) = oneshot::channel();
        assert!(matches!(ring.push(device.operation(0, BLOCK_BYTES, Kind::Read { answer })), Err(Refused::Closed(_))));
    });
}

#[test]
fn beyond_the_bounded_queue_an_io_is_refused() {
    let Some((_directory, device)) = numbered(64) else { return };
    current_thread().block_on(async {
        let _guard = attach_to_this_thread(32).expect("attached");
        let reads: Vec<_> = (0..WAITING_MAX as u64 + 10).map(|at| device.read(at % 64 * BLOCK, BLOCK_BYTES)).collect();
        let outcomes = join_all(reads).await;
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(DeviceError::Unavailable { .. }))).count();
        let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!((served, refused), (WAITING_MAX, 10));
        assert_numbered(&device, 0..64).await;
    });
}

#[test]
fn every_set_up_serves_and_parks() {
    let Some((_directory, device)) = numbered(64) else { return };
    for set_up in SetUp::ALL {
        current_thread().block_on(async {
            let (ring, driver) = match Ring::with_set_ups(&[set_up], 8) {
                Ok(made) => made,
                Err(error) => return eprintln!("SKIPPED: {set_up:?} is refused: {error}"),
            };
            let driver = tokio::spawn(driver);
            for round in 0..20 {
                let mut receivers = Vec::new();
                for block in 0..32 {
                    let (answer, receiver) = oneshot::channel();
                    let read = device.operation((block + round) * BLOCK, BLOCK_BYTES, Kind::Read { answer });
                    assert!(ring.push(read).is_ok());
                    receivers.push((block + round, receiver));
                }
                let (answer, synced) = oneshot::channel();
                assert!(ring.push(device.operation(0, 0, Kind::Sync { answer })).is_ok());
                for (block, receiver) in receivers {
                    let buffer = receiver.await.expect("answered").expect("read");
                    assert_eq!(buffer.get(0..BLOCK_BYTES), Some(&[block as u8; BLOCK_BYTES][..]), "{set_up:?}");
                }
                synced.await.expect("answered").expect("synced");
            }
            let enters = ring.enters();
            assert!(enters < 20 * 33, "{set_up:?}: {enters} system calls for 660 operations: nothing is batched");
            // A driver that spins would enter at every turn of this loop.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(
                ring.enters() <= enters + 2,
                "{set_up:?}: the driver doesn't park: {} after {enters}",
                ring.enters()
            );
            ring.close();
            driver.await.expect("a closed, idle ring ends its driver");
        });
    }
}

#[test]
fn more_devices_than_a_ring_registers_files_for() {
    let devices: Vec<_> = (0..20).filter_map(|_| numbered(4)).collect();
    current_thread().block_on(async {
        let _guard = attach_to_this_thread(8).expect("attached");
        for _ in 0..2 {
            join_all(devices.iter().map(|(_, device)| assert_numbered(device, 0..4))).await;
        }
        assert!(devices.iter().all(|(_, device)| !uses_own_ring(device)));
        // Closed files make room for new ones.
        drop(devices);
        if let Some((_directory, device)) = numbered(4) {
            assert_numbered(&device, 0..4).await;
        }
    });
}

#[test]
fn a_device_dropped_under_load_lets_its_writes_finish_and_then_its_lock_go() {
    let Some((directory, device)) = numbered(64) else { return };
    let path = directory.path().join("device");
    current_thread().block_on(async {
        let writes: Vec<_> = (0..64).map(|block| device.write(block * BLOCK, filled(200), 0, BLOCK_BYTES)).collect();
        drop(device);
        assert!(join_all(writes).await.into_iter().all(|outcome| outcome.is_ok()));
        let device = UringDevice::open(&path, None).expect("who has the last answer can open it again");
        let first = device.read(0, BLOCK_BYTES).await.expect("read");
        assert_eq!(first.get(0..1), Some(&[200][..]));
    });
}

#[test]
fn completions_are_judged_by_their_byte_counts() {
    let Some((_directory, device)) = numbered(4) else { return };
    let started = |kind| {
        let writer = matches!(kind, Kind::Read { .. }).then(|| SegmentBuffer::with_writer(4 * BLOCK_BYTES));
        InFlight { operation: device.operation(0, 4 * BLOCK_BYTES, kind), writer, done: 0, attempts: 0 }
    };
    let read = || started(Kind::Read { answer: oneshot::channel().0 });
    let write = || {
        let mut writer = SegmentBuffer::with_writer(4 * BLOCK_BYTES);
        writer.pad_to(4 * BLOCK_BYTES);
        started(Kind::Write { buffer: writer.finish(), start: 0, answer: oneshot::channel().0 })
    };
    let run = |mut in_flight: InFlight, results: &[i32]| {
        let mut outcome = None;
        for result in results {
            assert_eq!(outcome, None, "it went on after its end");
            outcome = in_flight.complete(*result);
        }
        outcome
    };
    let block = BLOCK_BYTES as i32;
    assert_eq!(run(read(), &[4 * block]), Some(Ok(())));
    assert_eq!(run(read(), &[block, -libc::EINTR, 2 * block, -libc::EAGAIN, block]), Some(Ok(())));
    let short = |results: &[i32]| match run(read(), results) {
        Some(Err(DeviceError::Short { got, .. })) => got,
        other => panic!("{results:?}: {other:?}"),
    };
    assert_eq!((short(&[0]), short(&[block, 0]), short(&[100])), (0, BLOCK_BYTES, 100));
    assert_eq!(run(write(), &[block, 100, -libc::EINTR, 3 * block]), Some(Ok(())), "a broken block is written again");
    assert!(matches!(run(write(), &[block, -libc::ENOSPC]), Some(Err(DeviceError::NoSpace { .. }))));
    assert!(matches!(run(read(), &[-libc::EIO]), Some(Err(DeviceError::Io { operation: "read", .. }))));
    for stuck in [0, 100, -libc::EAGAIN] {
        let mut in_flight = write();
        let outcome = (0..1_000).find_map(|_| in_flight.complete(stuck));
        assert!(matches!(outcome, Some(Err(DeviceError::Io { .. }))), "{stuck}: {outcome:?}");
    }
}
