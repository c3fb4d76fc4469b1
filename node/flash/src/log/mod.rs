//! The append-only log: one stream of opaque entries over segments, durable in groups, defragmented, recovered.
//!
//! Architecture invariant: nothing here knows what an entry means. Whether one is current, the [`Owner`] says; what a
//! checkpoint holds, its [`CheckpointSource`] says. Every byte on the device is drawn in `docs/flash-format.md`.

mod append;
mod checkpoint;
mod codec;
mod create;
mod defrag;
mod entry;
mod error;
mod flush;
mod options;
mod prepare;
mod read;
mod reader;
mod recover;
mod segment;
mod shared;
mod stats;
mod superblock;
mod table;
mod tail;
mod walk;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use append::{AppendKind, Appended};
pub use checkpoint::CheckpointSource;
pub use defrag::{Owner, Relocated};
pub use entry::HEADER_BYTES;
pub use error::{AppendError, CheckpointError, OpenError, Poisoned, ReadError, SegmentReadError};
pub use options::{DATA_START, LogOptions, Room, SEGMENT_BYTES_MIN, SEGMENTS_OFFSET, SyncPolicy};
pub use read::Entry;
pub use reader::{Batch, SegmentReader};
pub use recover::{CheckpointOutcome, CheckpointView, Damage, OpenReport, Replay};
pub use shared::Durable;
pub use stats::{LogStats, SegmentView, SyncLatency};
pub use table::SegmentState;
pub use tail::TornTail;

use crate::device::Device;
use crate::location::{Location, Lsn, SegmentId};
use shared::Shared;

/// A log on a device (or in RAM only, on a [`crate::device::void::VoidDevice`]). Synchronous methods may be called from
/// any thread and never wait for I/O.
pub struct Log {
    shared: Arc<Shared>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    flusher: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

impl Log {
    /// Makes an empty log on a blank device. Refuses to overwrite one that is there.
    pub async fn create(device: Arc<dyn Device>, identity: [u8; 16], options: LogOptions) -> Result<(), OpenError> {
        create::create(&device, identity, &options).await
    }

    /// Opens the log, or creates it (with `options.identity`, or else `options.identity_if_new`) if the device is blank. What it holds goes to `replay`.
    /// A new epoch is durable when this returns. Then call [`Log::retain`] for each live entry, then [`Log::start`].
    pub async fn open(
        device: Arc<dyn Device>,
        options: LogOptions,
        replay: &mut dyn Replay,
    ) -> Result<(Arc<Log>, OpenReport), OpenError> {
        let (shared, report) = recover::open(device, options, replay).await?;
        Ok((Arc::new(Log { shared: Arc::new(shared), tasks: Mutex::new(Tasks::default()) }), report))
    }

    /// Counts an entry that recovery brought up as live. Once for each, before [`Log::start`].
    pub fn retain(&self, location: Location) {
        self.shared.table.add_live(location.segment(), location.byte_len());
    }

    /// Starts the log's tasks on the current tokio runtime. The owner is held weakly; when it is gone, defrag ends. A
    /// second call does nothing.
    pub fn start(self: &Arc<Self>, owner: Arc<dyn Owner>) {
        if !self.shared.set_owner(&owner) {
            return;
        }
        let mut tasks = self.tasks.lock();
        tasks.flusher = Some(tokio::spawn(flush::run(self.shared.clone())));
        tasks.others.push(tokio::spawn(prepare::run(self.shared.clone())));
        tasks.others.push(tokio::spawn(defrag::run(self.shared.clone())));
        if self.shared.options.preload && !self.shared.volatile {
            tasks.others.push(tokio::spawn(prepare::preload(self.shared.clone())));
        }
    }

    /// Rises with each opening; durable before the first append.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Whose log this is.
    pub fn identity(&self) -> [u8; 16] {
        self.shared.identity
    }

    /// The longest payload that an append takes, bytes.
    pub fn payload_bytes_max(&self) -> usize {
        self.shared.geometry.payload_bytes_max()
    }

    /// Appends an entry whose payload is the parts one after the other, and counts it live. Readers find it at once.
    pub fn append(&self, parts: &[&[u8]], kind: AppendKind) -> Result<Appended, AppendError> {
        self.shared.append(parts, kind)
    }

    /// Waits until an append that got `Backpressure` is worth trying again.
    pub async fn writable(&self) {
        self.shared.writable().await;
    }

    /// An entry became garbage. Call it under the lock under which it was replaced (see [`Owner::relocate`]).
    pub fn release(&self, location: Location) {
        let table = &self.shared.table;
        let empty = table.sub_live(location.segment(), location.byte_len());
        if empty && table.state(location.segment()) == SegmentState::Sealed {
            self.shared.defrag_wake.notify_one();
        }
    }

    /// Everything before this is durable (in RAM only: everything).
    pub fn durable_lsn(&self) -> Lsn {
        self.shared.durable_lsn()
    }

    /// Is told after each sync. In RAM only it stays at `u64::MAX`.
    pub fn subscribe_durable(&self) -> watch::Receiver<Durable> {
        self.shared.durable.subscribe()
    }

    /// Waits until everything before `end` is durable; with an interval policy, makes the next sync come at once.
    pub async fn wait_durable(&self, end: Lsn) -> Result<(), Poisoned> {
        self.shared.wait_durable(end).await
    }

    /// When the entry was appended, provided that the location is current.
    pub fn lsn_of(&self, location: Location) -> Lsn {
        self.shared.table.lsn_of(location)
    }

    /// Hands the payload to `read` if its segment is in RAM: no allocation, no copy, no checksum. If the location is out
    /// of date it may, rarely, be a later entry of the same length at the same place: compare the key.
    pub fn with_resident<T>(&self, location: Location, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.shared.with_resident(location, read)
    }

    /// Asks for the memory of the entry, up to `bytes_max` bytes of it, if its segment is in RAM; doesn't wait for it.
    pub fn prefetch(&self, location: Location, bytes_max: usize) {
        self.shared.prefetch(location, bytes_max);
    }

    /// A handle to the payload, if its segment is in RAM.
    pub fn resident(&self, location: Location) -> Option<Entry> {
        self.shared.resident(location)
    }

    /// Reads the payload from the device (or from RAM if it is there), header and checksum checked. As for an out-of-date
    /// location, see [`Log::with_resident`].
    pub fn read(&self, location: Location) -> impl Future<Output = Result<Entry, ReadError>> + Send + 'static {
        self.shared.read(location)
    }

    /// The segments of the stream, oldest first.
    pub fn segments(&self) -> Vec<SegmentView> {
        self.shared.segments()
    }

    /// Reads the entries of a segment from an entry's or a block's offset on, up to where they end now.
    pub fn read_segment(&self, id: SegmentId, from_offset: usize) -> SegmentReader {
        SegmentReader::new(self.shared.clone(), id, from_offset)
    }

    /// Smallest sequence of a segment that isn't durably freed; `u64::MAX` if there is none. No entry of an older
    /// segment can come back at any opening.
    pub fn oldest_sequence(&self) -> u64 {
        self.shared.table.oldest_sequence()
    }

    /// Where the next entry goes, at the earliest.
    pub fn head(&self) -> Lsn {
        self.shared.head_lsn()
    }

    /// Writes a checkpoint of the owner's index: replay after a crash starts where this call started.
    pub async fn checkpoint(&self, source: &mut dyn CheckpointSource) -> Result<(), CheckpointError> {
        self.shared.checkpoint(source).await
    }

    /// Asks defrag to take the oldest sealed segment next, whatever is live in it.
    pub fn evacuate_oldest(&self) {
        self.shared.evacuate_oldest.store(true, Ordering::Release);
        self.shared.defrag_wake.notify_one();
    }

    /// Takes no more appends, makes everything durable, stops the tasks and marks the log as closed in order.
    pub async fn close(&self) -> Result<(), Poisoned> {
        let shared = &self.shared;
        {
            let mut head = shared.head.lock();
            head.closed = true;
            shared.seal_open(&mut head);
        }
        // Not in the middle of a checkpoint: its superblock would say that the log is open.
        let _no_checkpoint = shared.checkpointing.lock().await;
        shared.closing.store(true, Ordering::Release);
        for wake in [&shared.flush_wake, &shared.prepare_wake, &shared.defrag_wake] {
            wake.notify_one();
        }
        shared.writable.notify_waiters();
        let (flusher, others) = {
            let mut tasks = self.tasks.lock();
            (tasks.flusher.take(), std::mem::take(&mut tasks.others))
        };
        for task in others {
            task.abort();
            // Aborted or done, it holds nothing afterwards.
            let _ = task.await;
        }
        match flusher {
            Some(flusher) => {
                if flusher.await.is_err() {
                    return Err(shared.poison("the flusher ended".to_owned()));
                }
            }
            None => flush::run(shared.clone()).await,
        }
        shared.check_poison()?;
        if shared.volatile {
            return Ok(());
        }
        let mut superblock = shared.superblock.lock().await;
        if superblock.clean {
            return Ok(());
        }
        superblock.clean = true;
        superblock.durable = superblock.durable.max(shared.durable_lsn());
        superblock.next_sequence = shared.head.lock().next_sequence;
        superblock.store(&*shared.device).await.map_err(|error| shared.poison(error.to_string()))
    }

    /// Figures.
    pub fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    /// How long the device has left the oldest write or sync without an answer; none if none is under way.
    pub fn oldest_operation(&self) -> Option<Duration> {
        self.shared.watched.oldest()
    }

    /// Why nothing is accepted any more, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poisoned().map(str::to_owned)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut();
        tasks.flusher.iter().chain(&tasks.others).for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("device", &self.shared.device.name()).field("epoch", &self.shared.epoch).finish()
    }
}
