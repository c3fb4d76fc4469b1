//! One suite for every engine: what the log relies on, checked on the memory device, io_uring with a ring of the
//! thread and with the device's own, pread with O_DIRECT and through the page cache.
//!
//! An engine that this machine refuses is skipped, loudly.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::device::memory::MemoryDevice;
use crate::device::probe::{DeviceOptions, EngineChoice, OpenDeviceError, open_device};
use crate::device::uring::attach_to_this_thread;
use crate::device::{Device, DeviceError};

const BLOCK: u64 = BLOCK_BYTES as u64;
const DEVICE_BLOCKS: u64 = 1_024;
const DEVICE_BYTES: u64 = DEVICE_BLOCKS * BLOCK;

type Opened = Option<Arc<dyn Device>>;

fn open(directory: &TempDir, engine: EngineChoice) -> Opened {
    open_at(&directory.path().join("device"), engine)
}

fn open_at(path: &Path, engine: EngineChoice) -> Opened {
    let options = DeviceOptions { create_bytes: Some(DEVICE_BYTES), engine, ..DeviceOptions::default() };
    match open_device(path, &options) {
        Ok((device, report)) => {
            eprintln!("{engine}: {report:?}");
            Some(device)
        }
        Err(OpenDeviceError::EngineRefused { reason, .. }) => {
            eprintln!("SKIPPED: no {engine} on this machine: {reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A directory on tmpfs, where this machine has one: it may refuse O_DIRECT.
fn in_shared_memory() -> Option<TempDir> {
    let made = tempfile::tempdir_in("/dev/shm");
    made.inspect_err(|error| eprintln!("SKIPPED: no /dev/shm on this machine: {error}")).ok()
}

fn on_current_thread<T>(test: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// Runs the test on every engine, each on a device of its own.
fn on_every_engine<F: Future<Output = ()>>(test: impl Fn(Arc<dyn Device>) -> F) {
    let directory = || tempfile::tempdir().expect("a directory");
    on_current_thread(test(Arc::new(MemoryDevice::new(DEVICE_BYTES, 1))));
    for engine in [EngineChoice::IoUring, EngineChoice::Pread] {
        let place = directory();
        if let Some(device) = open(&place, engine) {
            on_current_thread(test(device));
        }
        let place = directory();
        if let Some(device) = open(&place, engine) {
            Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(test(device));
        }
    }
    for queue_depth in [4, 128] {
        let place = directory();
        if let Some(device) = open(&place, EngineChoice::IoUring) {
            on_current_thread(async {
                let _ring = attach_to_this_thread(queue_depth).expect("io_uring works, as the probe found");
                test(device).await;
            });
        }
    }
    if let Some(place) = in_shared_memory()
        && let Some(device) = open(&place, EngineChoice::Auto)
    {
        on_current_thread(test(device));
    }
}

fn random_buffer(rng: &mut StdRng, blocks: usize) -> Arc<SegmentBuffer> {
    let mut bytes = vec![0; blocks * BLOCK_BYTES];
    rng.fill(&mut bytes[..]);
    let mut writer = SegmentBuffer::with_writer(bytes.len());
    assert!(writer.append(&[&bytes]));
    writer.finish()
}

fn bytes_of(buffer: &SegmentBuffer, len: usize) -> &[u8] {
    assert_eq!(buffer.published(), len, "all that was asked for is published");
    buffer.get(0..len).expect("published")
}

#[test]
fn random_writes_and_reads_equal_a_vector() {
    on_every_engine(|device| async move {
        assert_eq!(device.byte_len(), DEVICE_BYTES);
        let mut rng = StdRng::seed_from_u64(11);
        let mut model = vec![0; DEVICE_BYTES as usize];
        for round in 0..300 {
            let blocks = if round % 20 == 0 { rng.random_range(1..=300) } else { rng.random_range(1..=8) };
            let block = rng.random_range(0..=DEVICE_BLOCKS - blocks);
            let (offset, len) = (block * BLOCK, blocks as usize * BLOCK_BYTES);
            if rng.random_bool(0.5) {
                let skipped = rng.random_range(0..3);
                let buffer = random_buffer(&mut rng, blocks as usize + skipped);
                let start = skipped * BLOCK_BYTES;
                device.write(offset, buffer.clone(), start, len).await.expect("written");
                model[offset as usize..][..len].copy_from_slice(buffer.get(start..start + len).expect("published"));
                if rng.random_bool(0.1) {
                    device.sync().await.expect("synced");
                }
            } else {
                let buffer = device.read(offset, len).await.expect("read");
                assert!(bytes_of(&buffer, len) == &model[offset as usize..][..len], "{} bytes at {offset}", len);
            }
        }
        let whole = device.read(0, DEVICE_BYTES as usize).await.expect("read");
        assert!(bytes_of(&whole, DEVICE_BYTES as usize) == model, "the whole device");
    });
}

#[test]
fn sixty_four_at_once_each_get_their_own_bytes() {
    on_every_engine(|device| async move {
        let mut rng = StdRng::seed_from_u64(12);
        let buffers: Vec<_> = (0..DEVICE_BLOCKS).map(|_| random_buffer(&mut rng, 1)).collect();
        let written = stream::iter(buffers.iter().enumerate())
            .map(|(block, buffer)| device.write(block as u64 * BLOCK, buffer.clone(), 0, BLOCK_BYTES))
            .buffer_unordered(64)
            .collect::<Vec<_>>();
        assert!(written.await.into_iter().all(|outcome| outcome.is_ok()));
        let syncs = join_all((0..4).map(|_| device.sync())).await;
        assert!(syncs.into_iter().all(|outcome| outcome.is_ok()));
        let reads = (0..4_000).map(|_| rng.random_range(0..DEVICE_BLOCKS)).collect::<Vec<_>>();
        let mut seen = stream::iter(reads)
            .map(|block| device.read(block * BLOCK, BLOCK_BYTES).map(move |outcome| (block, outcome)))
            .buffer_unordered(64);
        let mut count = 0;
        while let Some((block, outcome)) = seen.next().await {
            let expected = &buffers[block as usize];
            assert!(bytes_of(&outcome.expect("read"), BLOCK_BYTES) == bytes_of(expected, BLOCK_BYTES), "block {block}");
            count += 1;
        }
        assert_eq!(count, 4_000);
    });
}

#[test]
fn dropped_futures_under_load_harm_nobody() {
    on_every_engine(|device| async move {
        let mut rng = StdRng::seed_from_u64(13);
        let buffers: Vec<_> = (0..64).map(|_| random_buffer(&mut rng, 1)).collect();
        for (block, buffer) in buffers.iter().enumerate() {
            device.write(block as u64 * BLOCK, buffer.clone(), 0, BLOCK_BYTES).await.expect("written");
        }
        let churn = random_buffer(&mut rng, 8);
        for round in 0..200_u64 {
            // Reads and writes that are dropped: some before their first poll, some after.
            let mut dropped: Vec<_> =
                (0..16).map(|_| device.read(rng.random_range(0..64) * BLOCK, BLOCK_BYTES)).collect();
            let mut dropped_writes: Vec<_> =
                (0..4).map(|at| device.write((100 + at * 8) * BLOCK, churn.clone(), 0, 8 * BLOCK_BYTES)).collect();
            for future in dropped.iter_mut().skip(8) {
                let _ = future.now_or_never();
            }
            let _ = (&mut dropped_writes[0]).now_or_never();
            if round % 3 == 0 {
                tokio::task::yield_now().await;
            }
            drop((dropped, dropped_writes));
            let blocks: Vec<u64> = (0..8).map(|_| rng.random_range(0..64)).collect();
            let outcomes = join_all(blocks.iter().map(|block| device.read(block * BLOCK, BLOCK_BYTES))).await;
            for (block, outcome) in blocks.iter().zip(outcomes) {
                let expected = &buffers[*block as usize];
                assert!(
                    bytes_of(&outcome.expect("read"), BLOCK_BYTES) == bytes_of(expected, BLOCK_BYTES),
                    "block {block}"
                );
            }
        }
    });
}

#[test]
fn what_cannot_be_done_is_refused() {
    on_every_engine(|device| async move {
        let buffer = random_buffer(&mut StdRng::seed_from_u64(14), 2);
        for (offset, len) in [(1, BLOCK_BYTES), (0, 100), (512, 0), (BLOCK + 512, BLOCK_BYTES)] {
            let outcome = device.read(offset, len).await.map(drop);
            assert!(matches!(outcome, Err(DeviceError::Misaligned { .. })), "{outcome:?}");
            let outcome = device.write(offset, buffer.clone(), 0, len).await;
            assert!(matches!(outcome, Err(DeviceError::Misaligned { .. })), "{outcome:?}");
        }
        let outcome = device.write(0, buffer.clone(), 512, BLOCK_BYTES).await;
        assert!(matches!(outcome, Err(DeviceError::Misaligned { .. })), "{outcome:?}");
        let outcome = device.write(0, buffer.clone(), BLOCK_BYTES, 2 * BLOCK_BYTES).await;
        assert!(matches!(outcome, Err(DeviceError::Io { operation: "write", .. })), "not published: {outcome:?}");
        let outcome = device.write(DEVICE_BYTES - BLOCK, buffer.clone(), 0, 2 * BLOCK_BYTES).await;
        assert!(matches!(outcome, Err(DeviceError::NoSpace { .. })), "{outcome:?}");
        let outcome = device.write(u64::MAX / BLOCK * BLOCK, buffer, 0, BLOCK_BYTES).await;
        assert!(matches!(outcome, Err(DeviceError::Short { .. } | DeviceError::NoSpace { .. })), "{outcome:?}");
        assert_eq!(device.read(0, 0).await.expect("nothing asked").published(), 0);
    });
}

#[test]
fn the_end_of_the_device_is_a_short_read() {
    on_every_engine(|device| async move {
        for (offset, len, expected) in [
            (DEVICE_BYTES - BLOCK, 3 * BLOCK_BYTES, BLOCK_BYTES),
            (DEVICE_BYTES, BLOCK_BYTES, 0),
            (DEVICE_BYTES + 10 * BLOCK, BLOCK_BYTES, 0),
        ] {
            match device.read(offset, len).await {
                Err(DeviceError::Short { got, .. }) => assert_eq!(got, expected),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_file_cut_while_in_use_is_a_short_read() {
    for engine in [EngineChoice::IoUring, EngineChoice::Pread] {
        let directory = tempfile::tempdir().expect("a directory");
        let Some(device) = open(&directory, engine) else { continue };
        let file = std::fs::OpenOptions::new().write(true).open(directory.path().join("device")).expect("there");
        file.set_len(DEVICE_BYTES / 2 + 100).expect("cut");
        on_current_thread(async {
            let outcome = device.read(DEVICE_BYTES / 2, 2 * BLOCK_BYTES).await.map(drop);
            assert!(matches!(outcome, Err(DeviceError::Short { .. })), "{outcome:?}");
            assert!(device.read(0, BLOCK_BYTES).await.is_ok(), "the rest is served");
        });
    }
}
