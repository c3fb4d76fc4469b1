//! The plain engine: pread, pwrite and fdatasync on the runtime's blocking threads, for kernels and containers that
//! refuse io_uring, and filesystems that refuse O_DIRECT.
//!
//! Slower (30 us of CPU an I/O against 3), the same promises: an I/O that was started goes on when its future is
//! dropped, and its buffer lives as long.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::buffer::{BufferPool, SegmentBuffer, SegmentWriter};
use crate::device::file::DeviceFile;
use crate::device::{Device, DeviceError, IoFuture, check};

/// I/Os in blocking threads at once, unless told otherwise.
pub(crate) const CONCURRENCY_DEFAULT: usize = 64;

/// I/Os that wait for one of those threads, at most.
const WAITING_MAX: usize = 8_192;

/// Memory that waits for the next read.
const POOL_BYTES_MAX: usize = 16 << 20;

/// Attempts at an I/O that the kernel interrupts or puts off, before that is an error.
const ATTEMPTS_MAX: u32 = 64;

/// A file or block device driven by plain system calls.
#[derive(Debug)]
pub struct PreadDevice {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: DeviceFile,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    buffers: Arc<BufferPool>,
}

impl PreadDevice {
    pub(crate) fn new(file: DeviceFile, concurrency: usize) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        let shared = Shared { file, turns, waiting: AtomicUsize::new(0), buffers: BufferPool::new(POOL_BYTES_MAX) };
        Arc::new(PreadDevice { shared: Arc::new(shared) })
    }

    /// Runs `io` on a blocking thread when it is its turn. With a free turn it starts at the call, else when polled.
    fn run<T: Send + 'static>(
        &self,
        io: impl FnOnce(&Shared) -> Result<T, DeviceError> + Send + 'static,
    ) -> IoFuture<T> {
        let shared = self.shared.clone();
        let unavailable =
            |message: &str| DeviceError::Unavailable { device: self.name().to_owned(), message: message.to_owned() };
        let Ok(runtime) = Handle::try_current() else {
            return Box::pin(ready(Err(unavailable("no runtime to run I/O on"))));
        };
        let lost = unavailable("the runtime is shutting down");
        let start = move |shared: Arc<Shared>, turn| {
            runtime.spawn_blocking(move || {
                let outcome = io(&shared);
                // The file (and its lock) are let go before the answer is seen, so that who saw it can open it again.
                drop((shared, turn));
                outcome
            })
        };
        if let Ok(turn) = shared.turns.clone().try_acquire_owned() {
            let started = start(shared, turn);
            return Box::pin(async move { started.await.unwrap_or(Err(lost)) });
        }
        let Some(place) = Place::take(&shared) else {
            return Box::pin(ready(Err(unavailable("its queue is full"))));
        };
        Box::pin(async move {
            let Ok(turn) = shared.turns.clone().acquire_owned().await else { return Err(lost) };
            drop(place);
            start(shared, turn).await.unwrap_or(Err(lost))
        })
    }
}

/// A place in the bounded queue, given back on drop.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(shared.clone());
        (before < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn failed(&self, operation: &'static str, offset: u64, len: usize, errno: Errno) -> DeviceError {
        check::kernel_error(self.file.name(), operation, offset, len, &io::Error::from(errno))
    }

    fn read(&self, offset: u64, len: usize) -> Result<Arc<SegmentBuffer>, DeviceError> {
        let mut writer = self.buffers.writer(len);
        let mut attempts = 0;
        while writer.position() < len {
            let got = writer.position();
            match pread(&self.file, &mut writer, offset + got as u64, len - got) {
                Ok(0) => return Err(DeviceError::Short { device: self.file.name().to_owned(), offset, len, got }),
                Ok(count) if !check::continues(count) && got + count < len => {
                    let got = got + count;
                    return Err(DeviceError::Short { device: self.file.name().to_owned(), offset, len, got });
                }
                Ok(_) => {}
                Err(Errno::INTR | Errno::AGAIN) if attempts < ATTEMPTS_MAX => attempts += 1,
                Err(errno) => return Err(self.failed("read", offset, len, errno)),
            }
        }
        Ok(writer.finish())
    }

    fn write(&self, offset: u64, mut bytes: &[u8]) -> Result<(), DeviceError> {
        let (len, mut at, mut attempts) = (bytes.len(), offset, 0);
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.file, bytes, at) {
                Ok(0) => return Err(self.failed("write", offset, len, Errno::NOSPC)),
                Ok(count) => {
                    let whole = check::whole_blocks(count);
                    attempts = if whole > 0 { 0 } else { attempts + 1 };
                    if attempts > ATTEMPTS_MAX {
                        return Err(self.failed("write", offset, len, Errno::IO));
                    }
                    bytes = bytes.get(whole..).unwrap_or_default();
                    at += whole as u64;
                }
                Err(Errno::INTR | Errno::AGAIN) if attempts < ATTEMPTS_MAX => attempts += 1,
                Err(errno) => return Err(self.failed("write", offset, len, errno)),
            }
        }
        Ok(())
    }
}

/// Reads at most `len` bytes behind what the writer holds, and publishes them.
fn pread(file: &DeviceFile, writer: &mut SegmentWriter, offset: u64, len: usize) -> Result<usize, Errno> {
    let spare = writer.spare();
    let len = len.min(spare.len());
    let (read, _) = rustix::io::pread(file, &mut spare[..len], offset)?;
    let count = read.len();
    // SAFETY: pread initialised the first `count` bytes of the spare memory and has returned: it writes no more.
    unsafe { writer.advance(count) };
    Ok(count)
}

impl Device for PreadDevice {
    fn name(&self) -> &str {
        self.shared.file.name()
    }

    fn engine(&self) -> &'static str {
        "pread"
    }

    fn byte_len(&self) -> u64 {
        self.shared.file.byte_len()
    }

    fn read(&self, offset: u64, len: usize) -> IoFuture<Arc<SegmentBuffer>> {
        if let Err(refused) = check::blocks(self.name(), offset, len) {
            return Box::pin(ready(Err(refused)));
        }
        self.run(move |shared| shared.read(offset, len))
    }

    fn write(&self, offset: u64, buffer: Arc<SegmentBuffer>, start: usize, len: usize) -> IoFuture<()> {
        if let Err(refused) = check::write(self.name(), self.byte_len(), offset, &buffer, start, len) {
            return Box::pin(ready(Err(refused)));
        }
        self.run(move |shared| match buffer.get(start..start + len) {
            Some(bytes) => shared.write(offset, bytes),
            None => Err(shared.failed("write", offset, len, Errno::FAULT)),
        })
    }

    fn sync(&self) -> IoFuture<()> {
        self.run(|shared| {
            let mut attempts = 0;
            loop {
                match rustix::fs::fdatasync(&shared.file) {
                    Ok(()) => return Ok(()),
                    Err(Errno::INTR) if attempts < ATTEMPTS_MAX => attempts += 1,
                    Err(errno) => return Err(shared.failed("sync", 0, 0, errno)),
                }
            }
        })
    }
}
