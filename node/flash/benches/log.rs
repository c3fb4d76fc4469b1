//! How fast the log is on its own: appends to RAM, durable appends and recovery on a file. Prints; asserts nothing.
//!
//! `cargo bench -p outcrop-flash --bench log [-- FILE [MIB]]`: with a file, durable appends and recovery run on it.

#![allow(missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_flash::device::probe::{DeviceOptions, open_device};
use outcrop_flash::device::void::VoidDevice;
use outcrop_flash::log::{AppendError, AppendKind, Appended, Log, LogOptions, Owner, Relocated, Replay, SyncPolicy};
use outcrop_flash::{Location, Lsn, SegmentId};

const PAYLOAD_BYTES: usize = 1_024;

/// Everything is garbage as soon as it is appended, or nothing is.
struct NoIndex;

impl Owner for NoIndex {
    fn relocate(&self, _location: Location, _lsn: Lsn, _payload: &[u8]) -> Relocated {
        Relocated::Garbage
    }
    fn freed(&self, _segment: SegmentId) {}
}

#[derive(Default)]
struct Count {
    entries: u64,
    locations: Vec<Location>,
}

impl Replay for Count {
    fn checkpoint_chunk(&mut self, _chunk: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn reset(&mut self) {}
    fn entry(&mut self, location: Location, _lsn: Lsn, payload: &[u8]) {
        self.entries += u64::from(!payload.is_empty());
        if self.locations.len() < 1_000_000 {
            self.locations.push(location);
        }
    }
}

async fn append(log: &Log, parts: &[&[u8]]) -> Appended {
    loop {
        match log.append(parts, AppendKind::User) {
            Ok(appended) => return appended,
            Err(AppendError::Backpressure) => log.writable().await,
            Err(AppendError::StopWrites { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn line(what: &str, count: u64, bytes: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "{what:<58} {count:>9} in {seconds:>6.2} s = {:>10.0}/s, {:>6.0} ns each, {:>6.0} MB/s",
        count as f64 / seconds,
        seconds * 1e9 / count as f64,
        bytes as f64 / 1e6 / seconds
    );
}

/// One thread appends 1 KiB entries to a log in RAM; what is old becomes garbage, so that segments are freed and opened.
async fn in_ram() {
    let device = Arc::new(VoidDevice::new("ram", LogOptions::device_bytes(64)));
    let (log, _) = Log::open(device, LogOptions::default(), &mut Count::default()).await.expect("in RAM");
    let owner: Arc<dyn Owner> = Arc::new(NoIndex);
    log.start(owner.clone());
    let payload = vec![7; PAYLOAD_BYTES];
    let (count, keep) = (2_000_000u64, 100_000);
    let mut live = std::collections::VecDeque::with_capacity(keep + 1);
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    for index in 0..count {
        // The header of a record and its body, as the store appends them.
        let before = Instant::now();
        let appended = append(&log, &[&payload[..64], &payload[64..]]).await;
        slowest = slowest.max(before.elapsed());
        live.push_back(appended.location);
        if live.len() > keep
            && let Some(oldest) = live.pop_front()
        {
            log.release(oldest);
        }
        if index % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    line("append 1 KiB, one thread, RAM only (with release)", count, count * PAYLOAD_BYTES as u64, start.elapsed());
    println!("  slowest append {slowest:?} (waits for a buffer and other tasks included)");
    // The lock and the copy alone: no rotation in between.
    let burst = 4_000;
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        for _ in 0..burst {
            if let Ok(appended) = log.append(&[&payload[..64], &payload[64..]], AppendKind::User) {
                live.push_back(appended.location);
            }
        }
        best = best.min(start.elapsed());
        while live.len() > keep {
            let Some(oldest) = live.pop_front() else { break };
            log.release(oldest);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    line("append 1 KiB, best burst", burst, burst * PAYLOAD_BYTES as u64, best);
    let recent = live.back().copied().expect("just appended");
    let start = Instant::now();
    let mut sum = 0u64;
    for _ in 0..20_000_000u64 {
        sum += log.with_resident(std::hint::black_box(recent), |payload| u64::from(payload[0])).unwrap_or_default();
    }
    line("with_resident", 20_000_000, 0, start.elapsed());
    assert!(sum > 0);
    log.close().await.expect("closes");
}

async fn durable(path: &Path, mib: u64) {
    let options = DeviceOptions { create_bytes: Some(mib << 20), ..DeviceOptions::default() };
    let (device, _) = open_device(path, &options).expect("the file opens");
    println!("{} driven by {}", device.name(), device.engine());
    let log_options =
        LogOptions { identity: [1; 16], defrag_live_percent: 0, resident_bytes: 0, ..LogOptions::default() };
    let (log, _) = Log::open(device.clone(), log_options.clone(), &mut Count::default()).await.expect("blank");
    let owner: Arc<dyn Owner> = Arc::new(NoIndex);
    log.start(owner.clone());
    let payload: Arc<[u8]> = vec![7; PAYLOAD_BYTES].into();
    for in_flight in [1u64, 16, 256] {
        let count = 200 * in_flight.clamp(4, 256);
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..in_flight {
            let (log, payload) = (log.clone(), payload.clone());
            tasks.spawn(async move {
                for _ in 0..count / in_flight {
                    let appended = append(&log, &[&payload]).await;
                    log.wait_durable(appended.end).await.expect("durable");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        line(
            &format!("durable append 1 KiB, {in_flight} in flight"),
            count,
            count * PAYLOAD_BYTES as u64,
            start.elapsed(),
        );
    }
    let room = (mib << 20) * 8 / 10 / (PAYLOAD_BYTES as u64 + 16);
    let start = Instant::now();
    for _ in 0..room {
        append(&log, &[&payload]).await;
    }
    log.wait_durable(log.head()).await.expect("durable");
    line("append 1 KiB to the device, as fast as it takes them", room, room * PAYLOAD_BYTES as u64, start.elapsed());
    drop(log);
    drop(device);
    // The log's tasks were aborted, not awaited: they let go of the file in a moment.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (device, _) = open_device(path, &options).expect("the file opens");
    let mut count = Count::default();
    let start = Instant::now();
    let (log, report) =
        Log::open(device, LogOptions { sync: SyncPolicy::Group, ..log_options }, &mut count).await.expect("opens");
    line("recovery without a checkpoint, after a kill", report.entries, report.replayed_bytes, start.elapsed());
    log.close().await.expect("closes");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::spawn(in_ram()).await.expect("ran") });
    if let Some(path) = arguments.first() {
        let mib = arguments.get(1).and_then(|mib| mib.parse().ok()).unwrap_or(1_024);
        let path = Path::new(path).to_owned();
        runtime.block_on(async move { tokio::spawn(async move { durable(&path, mib).await }).await.expect("ran") });
    }
}
