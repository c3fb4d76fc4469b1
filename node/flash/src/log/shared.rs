//! What appenders, readers and the background tasks of one log share, and how it dies.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::buffer::{BLOCK_BYTES, BufferPool, SegmentBuffer};
use crate::device::Device;
use crate::device::watch::Watched;
use crate::location::{Lsn, SegmentId};
use crate::log::append::Head;
use crate::log::defrag::Owner;
use crate::log::entry::Seed;
use crate::log::error::Poisoned;
use crate::log::options::{DATA_START, Geometry, LogOptions};
use crate::log::segment::{Seal, SegmentHeader, SlotKind, Use, slot_offset};
use crate::log::stats::Counters;
use crate::log::superblock::Superblock;
use crate::log::table::{Opened, SegmentState, Table};
use crate::log::walk::SegmentMeta;

/// How far the log is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Everything before this is durable. `u64::MAX` for a log that lives in RAM only: there is nothing to wait for.
    pub lsn: Lsn,
    /// A write or sync failed: this number will not rise again.
    pub poisoned: bool,
}

/// What happens once a slot's both copies are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    /// The segment may be used again.
    Free,
}

/// A slot to be written: one copy with the next flush, the other with the one after.
#[derive(Clone, Debug)]
pub(crate) struct SlotWrite {
    pub segment: SegmentId,
    pub kind: SlotKind,
    pub copy: usize,
    pub block: Arc<SegmentBuffer>,
    pub then: Then,
}

/// The state of one open log.
pub(crate) struct Shared {
    pub device: Arc<dyn Device>,
    /// The same device, for how long it has kept us waiting.
    pub watched: Arc<Watched>,
    /// Nothing is written, everything stays in RAM.
    pub volatile: bool,
    pub options: LogOptions,
    pub reserve_segments: u32,
    pub geometry: Geometry,
    pub identity: [u8; 16],
    pub epoch: u64,
    pub table: Table,
    /// Segment buffers that nobody holds any more.
    pub buffers: Arc<BufferPool>,
    pub head: Mutex<Head>,
    pub head_lsn: AtomicU64,
    /// Appended bytes that were written to the device (counted as appended, from this opening on).
    pub written_bytes: AtomicU64,
    pub durable_lsn: AtomicU64,
    pub durable: watch::Sender<Durable>,
    /// Somebody waits for this to be durable.
    pub sync_wanted: AtomicU64,
    pub slots: Mutex<VecDeque<SlotWrite>>,
    pub flush_wake: Notify,
    pub prepare_wake: Notify,
    pub defrag_wake: Notify,
    pub writable: Notify,
    pub evacuate_oldest: AtomicBool,
    pub superblock: tokio::sync::Mutex<Superblock>,
    pub checkpointing: tokio::sync::Mutex<()>,
    pub closing: AtomicBool,
    pub counters: Counters,
    owner: OnceLock<Weak<dyn Owner>>,
    poison: OnceLock<String>,
}

impl Shared {
    pub fn new(
        device: Arc<dyn Device>,
        options: LogOptions,
        superblock: Superblock,
        table: Table,
        buffers: Arc<BufferPool>,
        head: Head,
        durable: Lsn,
    ) -> Self {
        let volatile = is_volatile(&*device);
        let watched = Arc::new(Watched::new(device));
        let reserve_segments = options.reserve(superblock.geometry.segments);
        let published = if volatile { Lsn(u64::MAX) } else { durable };
        Shared {
            volatile,
            reserve_segments,
            geometry: superblock.geometry,
            identity: superblock.identity,
            epoch: superblock.epoch,
            table,
            buffers,
            head: Mutex::new(head),
            head_lsn: AtomicU64::new(durable.0),
            written_bytes: AtomicU64::new(0),
            durable_lsn: AtomicU64::new(durable.0),
            durable: watch::Sender::new(Durable { lsn: published, poisoned: false }),
            sync_wanted: AtomicU64::new(0),
            slots: Mutex::new(VecDeque::new()),
            flush_wake: Notify::new(),
            prepare_wake: Notify::new(),
            defrag_wake: Notify::new(),
            writable: Notify::new(),
            evacuate_oldest: AtomicBool::new(false),
            superblock: tokio::sync::Mutex::new(superblock),
            checkpointing: tokio::sync::Mutex::new(()),
            closing: AtomicBool::new(false),
            counters: Counters::default(),
            owner: OnceLock::new(),
            poison: OnceLock::new(),
            device: watched.clone(),
            watched,
            options,
        }
    }

    /// Who decides what is live. Held weakly: the owner holds the log.
    pub fn set_owner(&self, owner: &Arc<dyn Owner>) -> bool {
        self.owner.set(Arc::downgrade(owner)).is_ok()
    }

    pub fn owner(&self) -> Option<Arc<dyn Owner>> {
        self.owner.get()?.upgrade()
    }

    /// A write or sync failed: from here on nothing is accepted or acknowledged. The first reason is kept.
    pub fn poison(&self, reason: String) -> Poisoned {
        let first = self.poison.set(reason.clone()).is_ok();
        if first {
            tracing::error!(device = self.device.name(), reason, "the log is poisoned: reads go on, writes don't");
        }
        self.durable.send_modify(|durable| durable.poisoned = true);
        self.writable.notify_waiters();
        self.flush_wake.notify_one();
        self.prepare_wake.notify_one();
        self.defrag_wake.notify_one();
        Poisoned { reason: self.poisoned().unwrap_or(&reason).to_owned() }
    }

    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    pub fn check_poison(&self) -> Result<(), Poisoned> {
        self.poisoned().map_or(Ok(()), |reason| Err(Poisoned { reason: reason.to_owned() }))
    }

    pub fn head_lsn(&self) -> Lsn {
        Lsn(self.head_lsn.load(Ordering::Acquire))
    }

    pub fn durable_lsn(&self) -> Lsn {
        if self.volatile { self.head_lsn() } else { Lsn(self.durable_lsn.load(Ordering::Acquire)) }
    }

    /// Waits until everything before `end` is durable, and lets the flusher know that somebody does.
    pub async fn wait_durable(&self, end: Lsn) -> Result<(), Poisoned> {
        if self.volatile || self.durable_lsn() >= end {
            return Ok(());
        }
        let mut durable = self.durable.subscribe();
        if self.sync_wanted.fetch_max(end.0, Ordering::AcqRel) < end.0 {
            self.flush_wake.notify_one();
        }
        let reached = durable.wait_for(|durable| durable.lsn >= end || durable.poisoned).await.map(|durable| *durable);
        match reached {
            Ok(durable) if durable.lsn >= end => Ok(()),
            _ => Err(Poisoned { reason: self.poisoned().unwrap_or("the log is gone").to_owned() }),
        }
    }

    /// What a reader of the segment needs. The open segment ends where the last append ended.
    pub fn meta_of(&self, id: SegmentId, from_offset: usize) -> SegmentMeta {
        let head = self.head.lock();
        let end = match &head.open {
            Some(open) if open.segment == id => open.writer.position(),
            _ if self.table.state(id).holds_data() => self.table.end(id),
            _ => DATA_START,
        };
        let start = from_offset.max(DATA_START);
        SegmentMeta { id, sequence: self.table.sequence(id), seed: self.table.seed(id), start, end }
    }

    /// What a segment is opened with.
    pub fn opened(&self, id: SegmentId, sequence: u64, previous: u64) -> Opened {
        let seed = Seed::new(&self.identity, id, sequence, self.epoch);
        Opened { sequence, previous, epoch: self.epoch, seed }
    }

    /// The header slot of a segment's current use.
    pub fn header_of(&self, id: SegmentId, usage: Use, checkpoint: (u64, u32)) -> SegmentHeader {
        let (previous, epoch) = self.table.lineage(id);
        SegmentHeader {
            usage,
            segment: id,
            sequence: self.table.sequence(id),
            previous,
            epoch,
            durable: self.durable_lsn(),
            checkpoint_id: checkpoint.0,
            checkpoint_index: checkpoint.1,
        }
    }

    /// Asks the flusher to write both copies of a slot, one after the other.
    pub fn queue_slot(&self, segment: SegmentId, kind: SlotKind, block: Arc<SegmentBuffer>, then: Then) {
        if self.volatile {
            return;
        }
        self.slots.lock().push_back(SlotWrite { segment, kind, copy: 0, block, then });
    }

    pub fn queue_seal(&self, segment: SegmentId, sequence: u64, end: usize) {
        let seal = Seal { segment, sequence, end, recovered: false, durable: self.durable_lsn() };
        self.queue_slot(segment, SlotKind::Seal, seal.encode(&self.identity), Then::Nothing);
    }

    /// Ends the use of a segment whose live entries are durable elsewhere; it is free once that is durable too.
    pub fn queue_free(&self, id: SegmentId) {
        let data = self.table.state(id).holds_data();
        self.table.set_state(id, if data { SegmentState::Freeing } else { SegmentState::Dropping });
        if self.volatile {
            self.freed(id);
            return;
        }
        let header = self.header_of(id, Use::Free, (0, 0));
        self.queue_slot(id, SlotKind::Header, header.encode(&self.identity), Then::Free);
        self.flush_wake.notify_one();
    }

    /// The end of a segment's use is durable: it may be opened again.
    pub fn freed(&self, id: SegmentId) {
        self.table.set_free(id);
        self.counters.freed_segments.fetch_add(1, Ordering::Relaxed);
        if let Some(owner) = self.owner() {
            owner.freed(id);
        }
        self.writable.notify_waiters();
        self.defrag_wake.notify_one();
    }

    /// Where a slot's copy lies on the device.
    pub fn slot_device_offset(&self, slot: &SlotWrite) -> u64 {
        self.geometry.device_offset(slot.segment, slot_offset(slot.kind, slot.copy))
    }
}

/// Whether the device keeps nothing.
pub(crate) fn is_volatile(device: &dyn Device) -> bool {
    device.engine() == "void"
}

/// Writes one block of a buffer that holds just that.
pub(crate) async fn write_block(
    device: &dyn Device,
    offset: u64,
    block: Arc<SegmentBuffer>,
) -> Result<(), crate::device::DeviceError> {
    device.write(offset, block, 0, BLOCK_BYTES).await
}
