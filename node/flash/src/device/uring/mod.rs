//! The io_uring engine: one ring for each worker thread, O_DIRECT, no polling thread.
//!
//! A worker attaches a ring to its thread ([`attach_to_this_thread`]); its I/O then goes there without waking anyone,
//! and comes back on the same thread. I/O from any other thread goes to a ring that the device starts for itself, on
//! a thread of its own.
//!
//! The ring of the current thread stands in a `thread_local!`, the one such thing here: the kernel ties a ring to its
//! thread (`SINGLE_ISSUER`), so "the ring of this thread" is a fact about the thread and no state of a node. Two nodes
//! in one process have threads of their own; two on one runtime share the ring, and it serves both.

mod core;
mod operation;
mod ring;

use std::cell::RefCell;
use std::fmt;
use std::future::ready;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::thread;

use parking_lot::Mutex;
use tokio::runtime::{self, Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use crate::buffer::SegmentBuffer;
use crate::device::file::{DeviceFile, OpenDeviceError};
use crate::device::{Device, DeviceError, IoFuture, check};
use operation::{Answer, Kind, Operation};
use ring::{Refused, Ring};

/// Operations that the kernel has at once, in a device's own ring, unless told otherwise.
pub(crate) const QUEUE_DEPTH_DEFAULT: u32 = 128;

struct Attached {
    ring: Arc<Ring>,
    /// The runtime that polls the driver: only its tasks may use the ring, another one's would wait for a driver that
    /// doesn't run.
    runtime: runtime::Id,
    guard: Weak<GuardInner>,
}

thread_local! {
    static ATTACHED: RefCell<Option<Attached>> = const { RefCell::new(None) };
}

/// Keeps the ring of a thread; when the last one goes, I/O under way is waited for and the ring ends.
pub struct RingGuard {
    _inner: Arc<GuardInner>,
    /// The ring must end on its own thread.
    _not_send: PhantomData<*const ()>,
}

struct GuardInner {
    ring: Arc<Ring>,
}

impl Drop for GuardInner {
    fn drop(&mut self) {
        // Beyond the thread's end there is nothing to detach.
        let _ = ATTACHED.try_with(|attached| attached.borrow_mut().take());
        self.ring.shut_down();
    }
}

/// Gives the current thread a ring for `queue_depth` operations at once (rounded up to a power of two, at most 4,096),
/// and spawns its driver on the current runtime, which must be a `current_thread` one with I/O enabled. A second call
/// within the same runtime shares the ring.
pub fn attach_to_this_thread(queue_depth: u32) -> io::Result<RingGuard> {
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
        let message = "a ring belongs to one thread: only a current_thread runtime can drive it";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let known = ATTACHED.with_borrow(|attached| attached.as_ref().map(|known| (known.runtime, known.guard.upgrade())));
    match known {
        Some((known, Some(inner))) if known == runtime.id() => {
            return Ok(RingGuard { _inner: inner, _not_send: PhantomData });
        }
        Some((_, Some(_))) => {
            let message = "another runtime has attached a ring to this thread";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        _ => {}
    }
    let (ring, driver) = Ring::new(queue_depth)?;
    let inner = Arc::new(GuardInner { ring: ring.clone() });
    let attached = Attached { ring, runtime: runtime.id(), guard: Arc::downgrade(&inner) };
    ATTACHED.with_borrow_mut(|place| *place = Some(attached));
    runtime.spawn(driver);
    Ok(RingGuard { _inner: inner, _not_send: PhantomData })
}

/// A file or block device driven by io_uring with O_DIRECT.
pub struct UringDevice {
    file: Arc<DeviceFile>,
    name: Arc<str>,
    /// For threads without a ring; started by the first of them.
    own_ring: Mutex<Option<Arc<Ring>>>,
    own_queue_depth: u32,
}

impl UringDevice {
    /// Opens `path`, creating a file of `create_bytes` if it is absent. Fails where the kernel or the filesystem
    /// refuses io_uring or O_DIRECT; [`crate::device::probe::open_device`] finds an engine that works.
    pub fn open(path: impl AsRef<Path>, create_bytes: Option<u64>) -> Result<Arc<UringDevice>, OpenDeviceError> {
        let file = DeviceFile::open(path.as_ref(), create_bytes)?;
        if let Err(reason) = Self::works_on(&file) {
            let path = file.name().to_owned();
            return Err(OpenDeviceError::EngineRefused { path, engine: "io_uring", reason });
        }
        Ok(Self::new(file, QUEUE_DEPTH_DEFAULT))
    }

    pub(crate) fn new(file: DeviceFile, own_queue_depth: u32) -> Arc<Self> {
        let name = file.name().into();
        Arc::new(UringDevice { file: Arc::new(file), name, own_ring: Mutex::new(None), own_queue_depth })
    }

    /// Tries the engine on this file with a real read; the error says why it doesn't work.
    pub(crate) fn works_on(file: &DeviceFile) -> Result<&'static str, String> {
        file.direct().map_err(str::to_owned)?;
        core::probe(file).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSYS) => "the kernel has no io_uring".to_owned(),
            Some(libc::EPERM | libc::EACCES) => {
                format!("io_uring is forbidden here (seccomp or kernel.io_uring_disabled): {error}")
            }
            _ => format!("io_uring doesn't work here: {error}"),
        })
    }

    fn operation(&self, offset: u64, len: usize, kind: Kind) -> Operation {
        Operation { file: self.file.clone(), offset, len, kind }
    }

    /// To this thread's ring if the current runtime drives it, else to the device's own.
    fn push(&self, operation: Operation) -> Result<(), DeviceError> {
        let mut operation = Some(operation);
        let pushed = ATTACHED.try_with(|attached| {
            let attached = attached.borrow();
            let attached = attached.as_ref().filter(|attached| is_current(attached.runtime))?;
            operation.take().map(|operation| attached.ring.push(operation))
        });
        let operation = match (pushed, operation) {
            (Ok(Some(Ok(()))), _) => return Ok(()),
            (Ok(Some(Err(Refused::Full))), _) => return Err(self.unavailable("its queue is full")),
            (Ok(Some(Err(Refused::Closed(operation)))), _) => operation,
            (_, Some(operation)) => operation,
            // The closure takes the operation only to push it, and what was pushed is handled above.
            (_, None) => return Err(self.unavailable("its queue is gone")),
        };
        match self.own_ring()?.push(operation) {
            Ok(()) => Ok(()),
            Err(Refused::Full) => Err(self.unavailable("its queue is full")),
            Err(Refused::Closed(_)) => Err(self.unavailable("its I/O thread has ended")),
        }
    }

    fn own_ring(&self) -> Result<Arc<Ring>, DeviceError> {
        let mut own_ring = self.own_ring.lock();
        if let Some(ring) = &*own_ring {
            return Ok(ring.clone());
        }
        let ring = start_ring_thread(self.own_queue_depth)
            .map_err(|error| self.unavailable(&format!("can't start a thread and ring for its I/O: {error}")))?;
        Ok(own_ring.insert(ring).clone())
    }

    fn unavailable(&self, message: &str) -> DeviceError {
        DeviceError::Unavailable { device: self.name.to_string(), message: message.to_owned() }
    }

    fn submit<T: Send + 'static>(
        &self,
        offset: u64,
        len: usize,
        kind: impl FnOnce(oneshot::Sender<Result<T, DeviceError>>) -> Kind,
    ) -> IoFuture<T> {
        let (answer, receiver) = oneshot::channel();
        match self.push(self.operation(offset, len, kind(answer))) {
            Ok(()) => Box::pin(Answer { receiver, device: self.name.clone() }),
            Err(refused) => Box::pin(ready(Err(refused))),
        }
    }
}

fn is_current(runtime: runtime::Id) -> bool {
    Handle::try_current().is_ok_and(|current| current.id() == runtime)
}

/// A thread with a ring and a small runtime that drives it, until the ring is closed and idle.
fn start_ring_thread(queue_depth: u32) -> io::Result<Arc<Ring>> {
    let (started, start) = mpsc::sync_channel(1);
    thread::Builder::new().name("outcrop-flash-io".to_owned()).spawn(move || {
        let runtime = match runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        let made = runtime.block_on(async { Ring::new(queue_depth) });
        match made {
            Ok((ring, driver)) => {
                if started.send(Ok(ring)).is_ok() {
                    runtime.block_on(driver);
                }
            }
            Err(error) => drop(started.send(Err(error))),
        }
    })?;
    start.recv().unwrap_or_else(|_| Err(io::Error::other("the I/O thread ended before it began")))
}

impl Drop for UringDevice {
    fn drop(&mut self) {
        if let Some(ring) = self.own_ring.get_mut().take() {
            ring.close();
        }
    }
}

impl fmt::Debug for UringDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringDevice").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Device for UringDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> &'static str {
        "io_uring"
    }

    fn byte_len(&self) -> u64 {
        self.file.byte_len()
    }

    fn read(&self, offset: u64, len: usize) -> IoFuture<Arc<SegmentBuffer>> {
        match check::blocks(&self.name, offset, len) {
            Err(refused) => Box::pin(ready(Err(refused))),
            Ok(()) if len == 0 => Box::pin(ready(Ok(SegmentBuffer::with_writer(0).finish()))),
            Ok(()) => self.submit(offset, len, |answer| Kind::Read { answer }),
        }
    }

    fn write(&self, offset: u64, buffer: Arc<SegmentBuffer>, start: usize, len: usize) -> IoFuture<()> {
        match check::write(&self.name, self.byte_len(), offset, &buffer, start, len) {
            Err(refused) => Box::pin(ready(Err(refused))),
            Ok(()) if len == 0 => Box::pin(ready(Ok(()))),
            Ok(()) => self.submit(offset, len, |answer| Kind::Write { buffer, start, answer }),
        }
    }

    fn sync(&self) -> IoFuture<()> {
        self.submit(0, 0, |answer| Kind::Sync { answer })
    }
}

#[cfg(test)]
mod tests;
