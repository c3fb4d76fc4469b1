//! One io_uring and the operations that the kernel has: submits, reaps, continues what came back short.
//!
//! Only the thread that made the ring uses it (`SINGLE_ISSUER`). The memory of an operation lives in its slot from
//! before the kernel hears of it until its completion was seen; if that can't be waited for, it is never freed.
//!
//! Plain reads and writes, no linked or fixed-buffer operations: the device trait gives each I/O a buffer of its own,
//! which a registered buffer can't be, and pinning a page costs little beside the I/O. Files are registered.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};

use crate::buffer::BufferPool;
use crate::device::file::DeviceFile;
use crate::device::uring::operation::{Finished, InFlight, Kind, Operation};
use crate::device::{DeviceError, check};

/// Memory that waits for the next read of this ring.
const POOL_BYTES_MAX: usize = 16 << 20;

/// Bytes of one transfer: the kernel counts in 31 bits. Short in tests, so that they see transfers being continued.
const TRANSFER_BYTES_MAX: usize = if cfg!(test) { 64 << 10 } else { 1 << 30 };

/// Attempts at an operation that the kernel puts off (EAGAIN, EINTR), before that is an error.
const ATTEMPTS_MAX: u32 = 64;

/// Times in a row that the kernel may refuse to take anything for want of memory, each followed by a pause of 1 ms.
const REFUSALS_MAX: u32 = 1_000;

/// Files registered with a ring; operations on further ones go by descriptor.
const FILES_MAX: usize = 16;

/// `IORING_ENTER_GETEVENTS`: run what the kernel deferred, and post completions.
const ENTER_GETEVENTS: u32 = 1;

const EMPTY_SLOT: RawFd = -1;

pub(super) struct Core {
    ring: IoUring,
    /// How the ring was set up, for the log.
    pub(super) set_up: SetUp,
    /// System calls so far.
    pub(super) enters: u64,
    slots: Vec<Option<InFlight>>,
    free: Vec<u32>,
    /// Slots whose entry found no place in the submission queue; it can't happen while the queue is as long as `slots`.
    backlog: Vec<u32>,
    files: Vec<Weak<DeviceFile>>,
    files_registered: bool,
    refusals: u32,
    abandoned: bool,
    buffers: Arc<BufferPool>,
}

impl Core {
    /// A ring with the first of these set-ups that this kernel takes, for `depth` operations at once, telling `eventfd`.
    pub(super) fn new(set_ups: &[SetUp], depth: u32, eventfd: RawFd) -> io::Result<Self> {
        let depth = depth.clamp(1, 4_096).next_power_of_two();
        let (ring, set_up) = SetUp::build_first(set_ups, depth)?;
        ring.submitter().register_eventfd(eventfd)?;
        let files_registered = ring.submitter().register_files_sparse(FILES_MAX as u32).is_ok();
        Ok(Core {
            ring,
            set_up,
            enters: 0,
            slots: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            backlog: Vec::new(),
            files: Vec::new(),
            files_registered,
            refusals: 0,
            abandoned: false,
            buffers: BufferPool::new(POOL_BYTES_MAX),
        })
    }

    /// Operations that can start now.
    pub(super) fn room(&self) -> usize {
        if self.abandoned { 0 } else { self.free.len() }
    }

    /// Operations that the kernel has, or is about to get.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Nothing in flight that an answer is due for.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0 || self.abandoned
    }

    /// Queues an operation for the next [`Core::enter`]. Gives it back if all slots are taken.
    pub(super) fn start(&mut self, operation: Operation) -> Result<(), Operation> {
        let Some(index) = self.free.pop().filter(|_| !self.abandoned) else { return Err(operation) };
        let writer = matches!(operation.kind, Kind::Read { .. }).then(|| self.buffers.writer(operation.len));
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = Some(InFlight { operation, writer, done: 0, attempts: 0 });
        }
        self.queue(index);
        Ok(())
    }

    /// Puts the slot's next transfer into the submission queue.
    fn queue(&mut self, index: u32) {
        let Some(Some(in_flight)) = self.slots.get_mut(index as usize) else { return };
        let file = in_flight.operation.file.clone();
        let (offset, len, done) = (in_flight.operation.offset, in_flight.operation.len, in_flight.done);
        let transfer_bytes = (len - done).min(TRANSFER_BYTES_MAX) as u32;
        let fixed = self.registered(&file);
        let Some(Some(in_flight)) = self.slots.get_mut(index as usize) else { return };
        let at = offset + done as u64;
        let descriptor = types::Fd(file.as_fd().as_raw_fd());
        let entry = match (&in_flight.operation.kind, &mut in_flight.writer) {
            (Kind::Read { .. }, Some(writer)) => {
                let target = writer.spare().as_mut_ptr().cast::<u8>();
                match fixed {
                    Some(fixed) => opcode::Read::new(fixed, target, transfer_bytes).offset(at).build(),
                    None => opcode::Read::new(descriptor, target, transfer_bytes).offset(at).build(),
                }
            }
            (Kind::Write { buffer, start, .. }, _) => {
                let source = buffer.base().wrapping_add(start + done).cast_const();
                match fixed {
                    Some(fixed) => opcode::Write::new(fixed, source, transfer_bytes).offset(at).build(),
                    None => opcode::Write::new(descriptor, source, transfer_bytes).offset(at).build(),
                }
            }
            _ => match fixed {
                Some(fixed) => opcode::Fsync::new(fixed).flags(types::FsyncFlags::DATASYNC).build(),
                None => opcode::Fsync::new(descriptor).flags(types::FsyncFlags::DATASYNC).build(),
            },
        };
        if !self.push(entry.user_data(u64::from(index))) {
            self.backlog.push(index);
        }
    }

    fn push(&mut self, entry: squeue::Entry) -> bool {
        // SAFETY: the memory that the entry points to belongs to the slot named in its user data: a pooled writer that
        // holds at least the bytes asked for behind `done` (`done` bytes of it are published), or an `Arc` of a buffer
        // whose `start..start + len` was published, so is initialised and inside. The slot is emptied only when the
        // completion was seen, and what it holds is leaked if that can't be. The slot's `Arc` keeps the file open.
        unsafe { self.ring.submission().push(&entry) }.is_ok()
    }

    /// The file's place in the ring's table, registering it on first sight.
    fn registered(&mut self, file: &Arc<DeviceFile>) -> Option<types::Fixed> {
        if !self.files_registered {
            return None;
        }
        let known = self.files.iter().position(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(file)));
        if let Some(known) = known {
            return Some(types::Fixed(known as u32));
        }
        let place = self.files.iter().position(|known| known.strong_count() == 0).unwrap_or(self.files.len());
        if place == FILES_MAX {
            return None;
        }
        let descriptor = file.as_fd().as_raw_fd();
        self.ring.submitter().register_files_update(place as u32, &[descriptor]).ok()?;
        let known = Arc::downgrade(file);
        match self.files.get_mut(place) {
            Some(slot) => *slot = known,
            None => self.files.push(known),
        }
        Some(types::Fixed(place as u32))
    }

    /// Lets go of the files of devices that were dropped; the ring would keep them open.
    pub(super) fn forget_closed_files(&mut self) {
        for (place, known) in self.files.iter_mut().enumerate() {
            if known.strong_count() == 0 && known.as_ptr() != Weak::<DeviceFile>::new().as_ptr() {
                // A refusal leaves the file open until the ring goes: nothing worse.
                let _ = self.ring.submitter().register_files_update(place as u32, &[EMPTY_SLOT]);
                *known = Weak::new();
            }
        }
    }

    /// Lets go of every file, at the ring's end: closing a ring does so at a time of the kernel's choosing.
    pub(super) fn release_files(&mut self) {
        if std::mem::replace(&mut self.files_registered, false) {
            self.files.clear();
            let _ = self.ring.submitter().unregister_files();
        }
    }

    /// One system call: submits what is queued, runs what the kernel deferred. An error is the end of this ring.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        for index in std::mem::take(&mut self.backlog) {
            self.queue(index);
        }
        self.enters += 1;
        let to_submit = self.ring.submission().len();
        // Completions posted by this very call needn't ring the bell; `has_more` looks for those that came after it.
        self.ring.completion().disable_eventfd();
        // SAFETY: no argument is passed, and the entries' memory is in place (see `push`).
        let entered =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(to_submit as u32, 0, ENTER_GETEVENTS, None) };
        self.ring.completion().enable_eventfd();
        self.entered(entered)
    }

    /// The same, waiting for a completion up to `timeout`.
    pub(super) fn enter_and_wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = types::Timespec::from(timeout);
        let arguments = types::SubmitArgs::new().timespec(&timeout);
        let entered = self.ring.submitter().submit_with_args(1, &arguments);
        self.entered(entered)
    }

    fn entered(&mut self, entered: io::Result<usize>) -> io::Result<()> {
        let error = match entered {
            Ok(_) => {
                self.refusals = 0;
                return Ok(());
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            // A signal, or the time is up.
            Some(libc::EINTR | libc::ETIME) => Ok(()),
            // Completions make room; they are reaped next.
            Some(libc::EBUSY) if self.in_flight() > 0 => Ok(()),
            Some(libc::EAGAIN | libc::ENOMEM | libc::EBUSY) if self.refusals < REFUSALS_MAX => {
                self.refusals += 1;
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Whether another [`Core::enter`] has something to do at once.
    pub(super) fn has_more(&mut self) -> bool {
        // Pairs with the kernel's barrier between noting deferred work and looking at the eventfd's switch: either it
        // sees the switch on and signals, or its note is seen here.
        fence(Ordering::SeqCst);
        let submission = self.ring.submission();
        let pending = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        pending || !self.backlog.is_empty() || !self.ring.completion().is_empty()
    }

    /// Takes the completions; what is through goes to `finished`, what came back short is queued again.
    pub(super) fn reap(&mut self, finished: &mut Vec<Finished>) {
        loop {
            let Some((index, result)) = self.ring.completion().next().map(|entry| (entry.user_data(), entry.result()))
            else {
                return;
            };
            let Some(slot) = self.slots.get_mut(index as usize) else { continue };
            let Some(in_flight) = slot.as_mut() else { continue };
            match in_flight.complete(result) {
                None => self.queue(index as u32),
                Some(outcome) => {
                    if let Some(in_flight) = slot.take() {
                        finished.push(in_flight.finish(outcome));
                    }
                    self.free.push(index as u32);
                }
            }
        }
    }

    /// Gives up on everything in flight; see [`InFlight::abandon`].
    pub(super) fn abandon(&mut self, message: &str, finished: &mut Vec<Finished>) {
        self.abandoned = true;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(in_flight) = slot.take() {
                finished.push(in_flight.abandon(message));
                // The slot is not freed: its completion may still come, and must not meet another operation.
                tracing::debug!(index, "an I/O was given up; its buffer is leaked");
            }
        }
    }
}

impl InFlight {
    /// Takes in a completion. `None`: there is more to transfer, or it must be tried again.
    pub(super) fn complete(&mut self, result: i32) -> Option<Result<(), DeviceError>> {
        let Operation { file, offset, len, kind } = &self.operation;
        let (offset, len) = (*offset, *len);
        if result < 0 {
            let errno = -result;
            self.attempts += 1;
            if matches!(errno, libc::EINTR | libc::EAGAIN) && self.attempts < ATTEMPTS_MAX {
                return None;
            }
            let error = io::Error::from_raw_os_error(errno);
            return Some(Err(check::kernel_error(file.name(), self.operation.name(), offset, len, &error)));
        }
        let count = result as usize;
        match kind {
            Kind::Sync { .. } => Some(Ok(())),
            Kind::Read { .. } => {
                let left = len - self.done;
                if let Some(writer) = &mut self.writer {
                    // SAFETY: the completion says that the kernel wrote `count` bytes at `spare` and is done with it.
                    unsafe { writer.advance(count.min(left)) };
                }
                if count >= left {
                    return Some(Ok(()));
                }
                self.done += count;
                if count > 0 && check::continues(count) {
                    return None;
                }
                let device = file.name().to_owned();
                Some(Err(DeviceError::Short { device, offset, len, got: self.done }))
            }
            Kind::Write { .. } => {
                let whole = if self.done + count >= len { count } else { check::whole_blocks(count) };
                self.done += whole;
                if self.done >= len {
                    return Some(Ok(()));
                }
                self.attempts = if whole > 0 { 0 } else { self.attempts + 1 };
                if self.attempts < ATTEMPTS_MAX {
                    return None;
                }
                let error = io::Error::new(io::ErrorKind::WriteZero, "the kernel takes no more bytes");
                Some(Err(check::kernel_error(file.name(), "write", offset, len, &error)))
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Closing the ring doesn't wait for the kernel. Nobody listens any more, so the answers are dropped too.
        let mut finished = Vec::new();
        self.abandon("the I/O driver is gone", &mut finished);
    }
}

/// Ways to set a ring up; older kernels refuse the better ones with EINVAL.
#[derive(Debug, Clone, Copy)]
pub(super) enum SetUp {
    /// Completions are worked off when the ring's thread asks, in batches, and never interrupt it.
    Deferred,
    /// They don't interrupt it, but any system call may work them off.
    Cooperative,
    /// As io_uring began.
    Plain,
}

impl SetUp {
    /// The best one first.
    pub(super) const ALL: [SetUp; 3] = [SetUp::Deferred, SetUp::Cooperative, SetUp::Plain];

    fn name(self) -> &'static str {
        match self {
            SetUp::Deferred => "single issuer, deferred task work",
            SetUp::Cooperative => "cooperative task work",
            SetUp::Plain => "plain",
        }
    }

    fn build(self, depth: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(depth * 2);
        match self {
            SetUp::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            SetUp::Cooperative => {
                builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            SetUp::Plain => {}
        }
        builder.build(depth)
    }

    fn build_first(set_ups: &[SetUp], depth: u32) -> io::Result<(IoUring, SetUp)> {
        let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
        for set_up in set_ups {
            match set_up.build(depth) {
                Ok(ring) => return Ok((ring, *set_up)),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }
}

/// Whether the kernel lets this process use io_uring on this file: a ring of one entry reads the first block.
pub(super) fn probe(file: &DeviceFile) -> io::Result<&'static str> {
    let (mut ring, set_up) = SetUp::build_first(&SetUp::ALL, 1)?;
    let mut block = BufferPool::new(0).writer(crate::buffer::BLOCK_BYTES);
    let target = block.spare().as_mut_ptr().cast::<u8>();
    let read =
        opcode::Read::new(types::Fd(file.as_fd().as_raw_fd()), target, crate::buffer::BLOCK_BYTES as u32).build();
    // SAFETY: the block outlives the read: it is leaked below unless the completion was seen.
    let pushed = unsafe { ring.submission().push(&read) };
    pushed.map_err(io::Error::other)?;
    let entered = ring.submit_and_wait(1);
    let Some(completion) = ring.completion().next() else {
        std::mem::forget(block);
        return Err(entered.err().unwrap_or_else(|| io::Error::other("a probing read got no completion")));
    };
    if completion.result() < 0 { Err(io::Error::from_raw_os_error(-completion.result())) } else { Ok(set_up.name()) }
}
