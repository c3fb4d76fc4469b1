//! Speed of the device engines on a real file: random reads, sequential transfers, write + sync. Prints a table.
//!
//! `cargo bench -p outcrop-flash --bench device [-- FILE]`: without FILE, a file of 1 GiB in the temporary directory,
//! filled first (unwritten extents answer reads without touching the device) and removed at the end. FILE is kept.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use outcrop_flash::buffer::{BLOCK_BYTES, SegmentBuffer};
use outcrop_flash::device::Device;
use outcrop_flash::device::probe::{DeviceOptions, EngineChoice, OpenDeviceError, open_device};
use outcrop_flash::device::uring::attach_to_this_thread;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Builder;

const FILE_BYTES: u64 = 1 << 30;
const CHUNK_BYTES: usize = 1 << 20;
const RUN: Duration = Duration::from_secs(3);
const TICKS_PER_SEC: f64 = 100.0;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where the driver runs: a ring of the worker's own thread, or whatever the device has for other threads.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    AttachedRing,
    OwnRing,
    Pread,
}

struct Measured {
    operations: u64,
    elapsed: Duration,
    cpu_secs: f64,
    latencies_us: Vec<u32>,
}

impl Measured {
    fn print(mut self, mode: &str, what: &str, bytes: usize) {
        self.latencies_us.sort_unstable();
        let at = |share: f64| {
            self.latencies_us
                .get(((self.latencies_us.len() as f64 - 1.0).max(0.0) * share) as usize)
                .copied()
                .unwrap_or(0)
        };
        let per_sec = self.operations as f64 / self.elapsed.as_secs_f64();
        let mib_per_sec = per_sec * bytes as f64 / f64::from(1 << 20);
        let cpu_us = self.cpu_secs * 1e6 / self.operations.max(1) as f64;
        println!(
            "{mode:14} {what:34} {per_sec:9.0}/s {mib_per_sec:8.1} MiB/s   p50 {:6} us  p99 {:6} us   {cpu_us:6.2} us CPU each",
            at(0.5),
            at(0.99)
        );
    }
}

/// CPU seconds of this process, the kernel's worker threads on its behalf included.
fn cpu_secs() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_SEC
}

/// `tasks` tasks, each with one operation after the other, for the time of a run.
async fn measure<F>(tasks: usize, operation: impl Fn(usize) -> F + Clone + Send + 'static) -> Outcome<Measured>
where
    F: Future<Output = Result<(), outcrop_flash::DeviceError>> + Send,
{
    let (began, cpu_before) = (Instant::now(), cpu_secs());
    let mut running = Vec::new();
    for task in 0..tasks {
        let operation = operation.clone();
        running.push(tokio::spawn(async move {
            let mut latencies_us = Vec::with_capacity(1 << 16);
            while began.elapsed() < RUN {
                let start = Instant::now();
                operation(task).await?;
                latencies_us.push(start.elapsed().as_micros() as u32);
            }
            Ok::<_, outcrop_flash::DeviceError>(latencies_us)
        }));
    }
    let mut latencies_us = Vec::new();
    for task in running {
        latencies_us.append(&mut task.await??);
    }
    let (elapsed, cpu_secs) = (began.elapsed(), cpu_secs() - cpu_before);
    Ok(Measured { operations: latencies_us.len() as u64, elapsed, cpu_secs, latencies_us })
}

fn chunk(rng: &mut StdRng) -> Arc<SegmentBuffer> {
    let mut bytes = vec![0; CHUNK_BYTES];
    rng.fill(&mut bytes[..]);
    let mut writer = SegmentBuffer::with_writer(CHUNK_BYTES);
    assert!(writer.append(&[&bytes]), "the buffer has the length of the bytes");
    writer.finish()
}

async fn fill(device: &Arc<dyn Device>) -> Outcome<()> {
    let chunk = chunk(&mut StdRng::seed_from_u64(1));
    let chunks = device.byte_len() / CHUNK_BYTES as u64;
    let mut writes = stream::iter(0..chunks)
        .map(|at| device.write(at * CHUNK_BYTES as u64, chunk.clone(), 0, CHUNK_BYTES))
        .buffer_unordered(4);
    while let Some(outcome) = writes.next().await {
        outcome?;
    }
    Ok(device.sync().await?)
}

async fn run(device: Arc<dyn Device>, name: &'static str) -> Outcome<()> {
    let blocks = device.byte_len() / BLOCK_BYTES as u64;
    let chunks = device.byte_len() / CHUNK_BYTES as u64;
    let buffer = chunk(&mut StdRng::seed_from_u64(2));
    for tasks in [1, 32, 64, 128] {
        let seeds: Arc<Vec<_>> =
            Arc::new((0..tasks).map(|task| parking_lot::Mutex::new(StdRng::seed_from_u64(task as u64))).collect());
        let target = device.clone();
        let measured = measure(tasks, move |task| {
            let block = seeds[task].lock().random_range(0..blocks);
            let read = target.read(block * BLOCK_BYTES as u64, BLOCK_BYTES);
            async move { read.await.map(drop) }
        });
        measured.await?.print(name, &format!("random 4 KiB read, {tasks} in flight"), BLOCK_BYTES);
    }
    let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
    for writes in [false, true] {
        let (target, next, buffer) = (device.clone(), next.clone(), buffer.clone());
        let measured = measure(4, move |_| {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % chunks * CHUNK_BYTES as u64;
            let (target, buffer) = (target.clone(), buffer.clone());
            async move {
                if writes {
                    target.write(at, buffer, 0, CHUNK_BYTES).await
                } else {
                    target.read(at, CHUNK_BYTES).await.map(drop)
                }
            }
        });
        let what = if writes { "sequential 1 MiB write, 4 in flight" } else { "sequential 1 MiB read, 4 in flight" };
        measured.await?.print(name, what, CHUNK_BYTES);
    }
    let measured = measure(1, move |_| {
        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % blocks * BLOCK_BYTES as u64;
        let (target, buffer) = (device.clone(), buffer.clone());
        async move {
            target.write(at, buffer, 0, BLOCK_BYTES).await?;
            target.sync().await
        }
    });
    measured.await?.print(name, "4 KiB write + sync", BLOCK_BYTES);
    Ok(())
}

fn bench(path: &Path, mode: Mode) -> Outcome<()> {
    let (engine, name) = match mode {
        Mode::AttachedRing => (EngineChoice::IoUring, "ring attached"),
        Mode::OwnRing => (EngineChoice::IoUring, "ring of its own"),
        Mode::Pread => (EngineChoice::Pread, "pread"),
    };
    let options = DeviceOptions { create_bytes: Some(FILE_BYTES), engine, ..DeviceOptions::default() };
    let (device, report) = match open_device(path, &options) {
        Err(OpenDeviceError::EngineRefused { reason, .. }) => {
            println!("{name}: skipped: {reason}");
            return Ok(());
        }
        opened => opened?,
    };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let _ring = if mode == Mode::AttachedRing { Some(attach_to_this_thread(128)?) } else { None };
        if report.was_created {
            fill(&device).await?;
        }
        run(device, name).await
    })
}

fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).map(PathBuf::from);
    let path = given.unwrap_or_else(|| directory.path().join("device"));
    [Mode::AttachedRing, Mode::OwnRing, Mode::Pread].into_iter().try_for_each(|mode| bench(&path, mode))
}
