//! A device in memory for tests: it tells synced bytes from unsynced ones, and it fails as real devices do.
//!
//! Faults that it can inject:
//!
//! - **crash** ([`MemoryDevice::crash`]): the image that a power failure leaves. What was synced is there; of each
//!   unsynced write, each 512-byte sector may or may not have reached the medium, and the writes may have reached it
//!   in any order: torn writes and reordered writes. Writes under way count as unsynced ones.
//! - **kill** ([`MemoryDevice::kill`]): the process dies, the machine doesn't: every completed write is there; those
//!   under way may or may not be, whole.
//! - **EIO** on reads, writes or syncs, by count or by offset range. A failed write may have changed some sectors. A
//!   failed sync drops the dirty data, as Linux does: no later sync makes it durable, though reads go on showing it.
//! - **ENOSPC** on writes, the same way.
//! - **lost writes**: acknowledged, synced and gone.
//! - **misdirected writes**: acknowledged, but they landed elsewhere.
//! - **bit flips**: at a given place, or at seeded ones; and flips in what one read returns (`Fault::FlipBit`), the
//!   medium untouched.
//! - **truncation** ([`MemoryDevice::truncate`]): the device is suddenly shorter.
//! - **latency** ([`MemoryDevice::set_latency`]): seeded, on tokio's clock, so that a paused clock makes it free.
//!   I/Os under way complete in the order of their delays, so out of order.
//!
//! Handles are cheap clones of one device. All randomness comes from the seed.

mod image;
mod inject;

use std::fmt;
use std::future::{Future, ready};
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::device::{Device, DeviceError, IoFuture, check};
use image::{Image, Pending};

pub use image::SECTOR_BYTES;
pub use inject::{Fault, Injection, Operation};

/// What the device was asked so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads that were started.
    pub reads: u64,
    /// Writes that were started.
    pub writes: u64,
    /// Syncs that were started.
    pub syncs: u64,
    /// Bytes of those writes.
    pub written_bytes: u64,
    /// Faults that were injected.
    pub faults: u64,
}

/// The device; see the module's page for the faults.
#[derive(Clone)]
pub struct MemoryDevice {
    name: Arc<str>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// What reads see: every completed write.
    current: Image,
    /// What is on the medium for certain.
    durable: Image,
    /// Completed since the last sync, in order of completion.
    unsynced: Vec<Pending>,
    /// Started and not yet completed.
    under_way: Vec<Pending>,
    /// Dirty data that a failed sync dropped, block by block: it may have reached the medium, no sync will see to it,
    /// and what is written and synced over it hides it for good.
    dropped: Vec<Pending>,
    injections: Vec<Injection>,
    latency_us: Option<RangeInclusive<u64>>,
    rng: StdRng,
    next_id: u64,
    counts: Counts,
}

impl MemoryDevice {
    /// An empty (all zero) device of `byte_len` bytes, rounded down to whole blocks.
    pub fn new(byte_len: u64, seed: u64) -> Self {
        Self::with_image(Image::zeroed(byte_len), seed)
    }

    /// A device that holds these bytes, all of them durable; cut to whole blocks.
    pub fn from_image(image: Vec<u8>) -> Self {
        Self::with_image(Image::from_bytes(&image), 0)
    }

    fn with_image(image: Image, seed: u64) -> Self {
        let state = State {
            current: image.clone(),
            durable: image,
            unsynced: Vec::new(),
            under_way: Vec::new(),
            dropped: Vec::new(),
            injections: Vec::new(),
            latency_us: None,
            rng: StdRng::seed_from_u64(seed),
            next_id: 0,
            counts: Counts::default(),
        };
        MemoryDevice { name: "memory".into(), state: Arc::new(Mutex::new(state)) }
    }

    /// The bytes that a read would see now.
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.lock().current.to_bytes()
    }

    /// The bytes that are durable for certain.
    pub fn snapshot_durable(&self) -> Vec<u8> {
        self.state.lock().durable.to_bytes()
    }

    /// What a power failure at this moment leaves, as a new device without faults. The seed picks one of the many
    /// images that are possible; this device goes on untouched.
    pub fn crash(&self, seed: u64) -> MemoryDevice {
        let state = self.state.lock();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut image = state.durable.clone();
        let pending = state.dropped.iter().chain(&state.unsynced).chain(&state.under_way);
        image::land_some(&mut image, pending.collect(), &mut rng);
        Self::with_image(image, rng.random())
    }

    /// What the process leaves when it is killed while the machine stays up, as a new device without faults.
    pub fn kill(&self, seed: u64) -> MemoryDevice {
        let state = self.state.lock();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut image = state.current.clone();
        for pending in &state.under_way {
            if rng.random_bool(0.5) {
                image.land(pending);
            }
        }
        Self::with_image(image, rng.random())
    }

    /// Adds a fault; several can wait at once, the first that matches an I/O strikes.
    pub fn inject(&self, injection: Injection) {
        self.state.lock().injections.push(injection);
    }

    /// Takes away faults that haven't struck, and the latency.
    pub fn clear_faults(&self) {
        let mut state = self.state.lock();
        state.injections.clear();
        state.latency_us = None;
    }

    /// Inverts one bit (0 to 7) of the byte at `offset`, on the medium and in what reads see. False if there is no
    /// such byte.
    pub fn flip_bit(&self, offset: u64, bit: u8) -> bool {
        let mut state = self.state.lock();
        let State { current, durable, unsynced, .. } = &mut *state;
        unsynced.iter_mut().for_each(|pending| pending.flip_bit(offset, bit));
        // The truncated device has neither; otherwise both images have the byte.
        current.flip_bit(offset, bit) & durable.flip_bit(offset, bit)
    }

    /// Inverts `count` seeded bits within `range` and returns their places (byte, bit); a bit may be hit twice.
    pub fn flip_bits(&self, seed: u64, range: Range<u64>, count: usize) -> Vec<(u64, u8)> {
        let range = range.start..range.end.min(self.byte_len());
        if range.is_empty() {
            return Vec::new();
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let places: Vec<_> = (0..count).map(|_| (rng.random_range(range.clone()), rng.random_range(0..8))).collect();
        places.iter().for_each(|&(offset, bit)| {
            self.flip_bit(offset, bit);
        });
        places
    }

    /// Cuts the device to `byte_len` bytes (rounded down to whole blocks): reads beyond are short, writes beyond find
    /// no space, unsynced bytes beyond are gone.
    pub fn truncate(&self, byte_len: u64) {
        let mut state = self.state.lock();
        state.current.truncate(byte_len);
        state.durable.truncate(byte_len);
    }

    /// Each I/O takes a seeded time within this range, on tokio's clock; `None`: none at all, complete at the call.
    pub fn set_latency(&self, latency: Option<RangeInclusive<Duration>>) {
        let micros = |duration: &Duration| duration.as_micros().min(u128::from(u64::MAX)) as u64;
        self.state.lock().latency_us = latency.map(|range| micros(range.start())..=micros(range.end()));
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Writes that a crash may tear: completed and not synced, or under way.
    pub fn unsynced_writes(&self) -> usize {
        let state = self.state.lock();
        state.unsynced.len() + state.under_way.len()
    }

    /// Runs `complete` at once, or after the latency; even if the future is dropped, as a device would.
    fn complete<T: Send + 'static>(&self, complete: impl FnOnce(&mut State) -> T + Send + 'static) -> Completion<T> {
        let delay = {
            let mut state = self.state.lock();
            let range = state.latency_us.clone();
            range.map(|range| Duration::from_micros(state.rng.random_range(range)))
        };
        let sleep = delay.map(|delay| Box::pin(tokio::time::sleep(delay)));
        let mut completion =
            Completion { state: self.state.clone(), sleep, complete: Some(Box::new(complete)), outcome: None };
        if completion.sleep.is_none() {
            completion.outcome = completion.run();
        }
        completion
    }

    fn io_error(&self, operation: Operation, offset: u64, len: usize) -> DeviceError {
        let error = std::io::Error::from_raw_os_error(libc::EIO);
        check::kernel_error(&self.name, operation.name(), offset, len, &error)
    }
}

impl State {
    /// The fault that strikes this I/O, if any.
    fn strike(&mut self, operation: Operation, range: Range<u64>) -> Option<Fault> {
        let fault = self.injections.iter_mut().find_map(|injection| injection.strike(operation, &range));
        self.injections.retain(|injection| !injection.is_spent());
        self.counts.faults += u64::from(fault.is_some());
        fault
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, usize> {
        let got = self.current.byte_len().saturating_sub(offset).min(len as u64) as usize;
        if got < len { Err(got) } else { Ok(self.current.read(offset, len)) }
    }

    fn finish_write(&mut self, id: u64) {
        if let Some(at) = self.under_way.iter().position(|pending| pending.id == id) {
            let pending = self.under_way.remove(at);
            self.current.land(&pending);
            self.unsynced.push(pending);
        }
    }

    /// A write that failed: some of its sectors may have changed.
    fn fail_write(&mut self, id: u64) {
        if let Some(at) = self.under_way.iter().position(|pending| pending.id == id) {
            let pending = self.under_way.remove(at);
            let State { current, rng, .. } = self;
            image::land_some(current, vec![&pending], rng);
            self.dropped.extend(pending.split());
        }
    }

    fn drop_dirty(&mut self) {
        let dirty = std::mem::take(&mut self.unsynced);
        self.dropped.extend(dirty.into_iter().flat_map(Pending::split));
    }

    /// `covered`: the writes that had completed when the sync was asked for, in order of their numbers.
    fn finish_sync(&mut self, covered: &[u64]) {
        let State { unsynced, durable, dropped, .. } = self;
        unsynced.retain(|pending| {
            let synced = covered.binary_search(&pending.id).is_ok();
            if synced {
                durable.land(pending);
                dropped.retain(|older| !pending.covers(older));
            }
            !synced
        });
    }
}

/// What an I/O does to the device when its time has come.
type Step<T> = Box<dyn FnOnce(&mut State) -> T + Send>;

/// An I/O of this device: what remains to be done when its time has come.
struct Completion<T> {
    state: Arc<Mutex<State>>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    complete: Option<Step<T>>,
    outcome: Option<T>,
}

impl<T> Completion<T> {
    fn run(&mut self) -> Option<T> {
        let complete = self.complete.take()?;
        Some(complete(&mut self.state.lock()))
    }
}

impl<T: Unpin> Future for Completion<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(outcome) = self.outcome.take() {
            return Poll::Ready(outcome);
        }
        if let Some(sleep) = self.sleep.as_mut()
            && sleep.as_mut().poll(context).is_pending()
        {
            return Poll::Pending;
        }
        // A future that was polled after it had answered has nothing to say, like any other.
        self.run().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        self.run();
    }
}

impl Device for MemoryDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> &'static str {
        "memory"
    }

    fn byte_len(&self) -> u64 {
        self.state.lock().current.byte_len()
    }

    fn read(&self, offset: u64, len: usize) -> IoFuture<Arc<SegmentBuffer>> {
        if let Err(refused) = check::blocks(&self.name, offset, len) {
            return Box::pin(ready(Err(refused)));
        }
        let fault = {
            let mut state = self.state.lock();
            state.counts.reads += 1;
            state.strike(Operation::Read, offset..offset + len as u64)
        };
        let device = self.clone();
        Box::pin(self.complete(move |state| {
            if matches!(fault, Some(Fault::Eio)) {
                return Err(device.io_error(Operation::Read, offset, len));
            }
            let name = device.name.to_string();
            let mut bytes =
                state.read(offset, len).map_err(|got| DeviceError::Short { device: name, offset, len, got })?;
            if matches!(fault, Some(Fault::FlipBit)) && len > 0 {
                let at = state.rng.random_range(0..len);
                bytes[at] ^= 1 << state.rng.random_range(0..8);
            }
            let mut writer = SegmentBuffer::with_writer(len);
            let fits = writer.append(&[&bytes]);
            debug_assert!(fits, "the buffer has the length of the bytes");
            Ok(writer.finish())
        }))
    }

    fn write(&self, offset: u64, buffer: Arc<SegmentBuffer>, start: usize, len: usize) -> IoFuture<()> {
        if let Err(refused) = check::write(&self.name, self.byte_len(), offset, &buffer, start, len) {
            return Box::pin(ready(Err(refused)));
        }
        let bytes = buffer.get(start..start + len).unwrap_or_default();
        let (id, fault) = {
            let mut state = self.state.lock();
            state.counts.writes += 1;
            state.counts.written_bytes += len as u64;
            let fault = state.strike(Operation::Write, offset..offset + len as u64);
            let target = match fault {
                Some(Fault::Misdirected { to: Some(to) }) => to / BLOCK_BYTES as u64 * BLOCK_BYTES as u64,
                Some(Fault::Misdirected { to: None }) => state.elsewhere(offset, len),
                _ => offset,
            };
            let id = state.next_id;
            state.next_id += 1;
            if !matches!(fault, Some(Fault::Lost | Fault::NoSpace)) {
                state.under_way.push(Pending::new(id, target, bytes));
            }
            (id, fault)
        };
        let device = self.clone();
        Box::pin(self.complete(move |state| match fault {
            Some(Fault::Eio) => {
                state.fail_write(id);
                Err(device.io_error(Operation::Write, offset, len))
            }
            Some(Fault::NoSpace) => Err(DeviceError::NoSpace { device: device.name.to_string() }),
            _ => {
                state.finish_write(id);
                Ok(())
            }
        }))
    }

    fn sync(&self) -> IoFuture<()> {
        let (covered, fault) = {
            let mut state = self.state.lock();
            state.counts.syncs += 1;
            let mut covered: Vec<u64> = state.unsynced.iter().map(|pending| pending.id).collect();
            covered.sort_unstable();
            (covered, state.strike(Operation::Sync, 0..u64::MAX))
        };
        let device = self.clone();
        Box::pin(self.complete(move |state| match fault {
            Some(Fault::Eio) => {
                state.drop_dirty();
                Err(device.io_error(Operation::Sync, 0, 0))
            }
            Some(Fault::NoSpace) => {
                state.drop_dirty();
                Err(DeviceError::NoSpace { device: device.name.to_string() })
            }
            // A sync that lies: acknowledged, nothing done.
            Some(Fault::Lost) => Ok(()),
            _ => {
                state.finish_sync(&covered);
                Ok(())
            }
        }))
    }
}

impl State {
    /// Another place on the device for a write of this length, if there is one.
    fn elsewhere(&mut self, offset: u64, len: usize) -> u64 {
        let places = (self.current.byte_len().saturating_sub(len as u64)) / BLOCK_BYTES as u64 + 1;
        let here = offset / BLOCK_BYTES as u64;
        if places < 2 {
            return offset;
        }
        let place = self.rng.random_range(0..places - 1);
        (if place >= here { place + 1 } else { place }) * BLOCK_BYTES as u64
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("MemoryDevice")
            .field("byte_len", &state.current.byte_len())
            .field("unsynced", &state.unsynced.len())
            .field("under_way", &state.under_way.len())
            .field("counts", &state.counts)
            .finish()
    }
}

#[cfg(test)]
mod tests;
