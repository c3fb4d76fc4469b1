//! Checkpoints: the owner's index in segments of their own, so that recovery replays only what came after.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::buffer::{BLOCK_BYTES, SegmentWriter};
use crate::device::DeviceError;
use crate::location::{ENTRY_ALIGN, SegmentId};
use crate::log::entry::{self, Kind, MARK_BYTES, Mark, Seed};
use crate::log::error::CheckpointError;
use crate::log::options::{DATA_START, IO_BYTES};
use crate::log::prepare::make_buffer;
use crate::log::segment::{SlotKind, Use, slot_offset};
use crate::log::shared::{Shared, write_block};
use crate::log::superblock::CheckpointRef;
use crate::log::table::SegmentState;

/// Where a checkpoint's chunks come from. A chunk is a snapshot of some part of the index, taken under the lock that
/// guards appends and index changes of that part; parts need not be of the same moment.
pub trait CheckpointSource: Send {
    /// Puts the next chunk into the empty buffer; false if there is none left. Chunks of some 100 KiB to 1 MiB are best.
    fn next_chunk(&mut self, into: &mut Vec<u8>) -> bool;
}

/// A checkpoint segment that is being filled.
struct Filling {
    segment: SegmentId,
    seed: Seed,
    writer: SegmentWriter,
}

struct ChunkWriter<'a> {
    shared: &'a Shared,
    id: u64,
    segments: Vec<SegmentId>,
    filling: Option<Filling>,
    chunks: u32,
}

impl Shared {
    /// Writes a checkpoint of everything that was appended before this call; the one before counts until it is complete.
    pub async fn checkpoint(&self, source: &mut dyn CheckpointSource) -> Result<(), CheckpointError> {
        if self.volatile || self.closing.load(Ordering::Acquire) {
            return Err(CheckpointError::Closed);
        }
        let Ok(_one_at_a_time) = self.checkpointing.try_lock() else { return Err(CheckpointError::Busy) };
        self.check_poison()?;
        // Read before the first chunk is made: what is appended from here on is replayed.
        let start = self.head_lsn();
        let mut chunks = ChunkWriter { shared: self, id: 0, segments: Vec::new(), filling: None, chunks: 0 };
        let written = chunks.write(source).await;
        let (id, segments, count) = (chunks.id, chunks.segments, chunks.chunks);
        if let Err(error) = written {
            for segment in segments {
                self.queue_free(segment);
            }
            return Err(error);
        }
        // The chunks may point at entries that were appended while they were made.
        self.wait_durable(self.head_lsn()).await?;
        let reference = CheckpointRef { id, start, segments: segments.len() as u32, chunks: count };
        self.complete(reference, &segments).await.map_err(|error| self.poison(error.to_string()))?;
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        for old in self.table.ids().filter(|id| self.table.state(*id) == SegmentState::Checkpoint) {
            if !segments.contains(&old) {
                self.queue_free(old);
            }
        }
        Ok(())
    }

    /// Everything is written: makes it durable, then points the superblock at it.
    async fn complete(&self, reference: CheckpointRef, segments: &[SegmentId]) -> Result<(), DeviceError> {
        self.device.sync().await?;
        for (index, segment) in segments.iter().enumerate() {
            self.write_checkpoint_header(*segment, reference.id, index as u32, 1).await?;
        }
        let mut superblock = self.superblock.lock().await;
        self.device.sync().await?;
        superblock.checkpoint = Some(reference);
        superblock.durable = superblock.durable.max(self.durable_lsn());
        superblock.next_sequence = self.head.lock().next_sequence;
        superblock.store(&*self.device).await
    }

    async fn write_checkpoint_header(
        &self,
        id: SegmentId,
        checkpoint: u64,
        index: u32,
        copy: usize,
    ) -> Result<(), DeviceError> {
        let header = self.header_of(id, Use::Checkpoint, (checkpoint, index)).encode(&self.identity);
        let offset = self.geometry.device_offset(id, slot_offset(SlotKind::Header, copy));
        write_block(&*self.device, offset, header).await
    }
}

impl ChunkWriter<'_> {
    async fn write(&mut self, source: &mut dyn CheckpointSource) -> Result<(), CheckpointError> {
        let chunk_bytes_max = self.shared.geometry.payload_bytes_max();
        let mut chunk = Vec::new();
        while source.next_chunk(&mut chunk) {
            if chunk.len() > chunk_bytes_max {
                return Err(CheckpointError::ChunkTooLarge { chunk_bytes: chunk.len(), chunk_bytes_max });
            }
            self.shared.check_poison()?;
            self.put(&chunk).await?;
            self.chunks += 1;
            chunk.clear();
            tokio::task::yield_now().await;
        }
        // An empty index is a checkpoint too: its one segment says so.
        if self.segments.is_empty() {
            self.next_segment().await?;
        }
        self.finish_segment().await
    }

    async fn put(&mut self, chunk: &[u8]) -> Result<(), CheckpointError> {
        let total = entry::total_bytes(chunk.len());
        if self.filling.as_ref().is_none_or(|filling| total + MARK_BYTES > filling.writer.room()) {
            self.finish_segment().await?;
            self.next_segment().await?;
        }
        if let Some(filling) = self.filling.as_mut() {
            let offset = filling.writer.position();
            let header = entry::header(filling.seed, offset, Kind::Chunk, chunk.len(), crc32c::crc32c(chunk));
            let fits = filling.writer.append(&[&header, chunk]);
            debug_assert!(fits, "a fresh segment has room for any chunk");
            filling.writer.pad_to(ENTRY_ALIGN);
        }
        Ok(())
    }

    async fn next_segment(&mut self) -> Result<(), CheckpointError> {
        let shared = self.shared;
        // Half of the reserve stays for deletes and defrag.
        let no_space = || CheckpointError::NoSpace { free_segments: shared.table.free_segments() };
        let segment = shared.table.take_free((shared.reserve_segments / 2).max(1)).ok_or_else(no_space)?;
        let sequence = {
            let mut head = shared.head.lock();
            head.next_sequence += 1;
            head.next_sequence - 1
        };
        if self.segments.is_empty() {
            self.id = sequence;
        }
        let opened = shared.opened(segment, sequence, 0);
        shared.table.open(segment, SegmentState::Checkpoint, opened, DATA_START);
        self.segments.push(segment);
        let writer =
            make_buffer(&shared.buffers, shared.geometry.segment_bytes).await.ok_or(CheckpointError::Closed)?;
        self.filling = Some(Filling { segment, seed: opened.seed, writer });
        Ok(())
    }

    /// Writes the segment that is full, and the first copy of its header; the second comes once that is durable.
    async fn finish_segment(&mut self) -> Result<(), CheckpointError> {
        let Some(mut filling) = self.filling.take() else { return Ok(()) };
        let mark = Mark { durable: self.shared.durable_lsn(), seals: true };
        let fits = filling.writer.append(&[&mark.encode(filling.seed, filling.writer.position())]);
        debug_assert!(fits, "chunks leave room for it");
        filling.writer.pad_to(BLOCK_BYTES);
        let (segment, end) = (filling.segment, filling.writer.position());
        let buffer = filling.writer.finish();
        let index = self.segments.len() as u32 - 1;
        let shared = self.shared;
        let write = async {
            for start in (DATA_START..end).step_by(IO_BYTES) {
                let len = (end - start).min(IO_BYTES);
                shared
                    .device
                    .write(shared.geometry.device_offset(segment, start), Arc::clone(&buffer), start, len)
                    .await?;
            }
            shared.write_checkpoint_header(segment, self.id, index, 0).await
        };
        write.await.map_err(|error: DeviceError| shared.poison(error.to_string()))?;
        shared.counters.written_bytes.fetch_add((end - DATA_START) as u64, Ordering::Relaxed);
        Ok(())
    }
}
