//! Recovery of a log from a damaged device: it opens or says why not, and what it gives back goes on to work.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{
    AppendKind, CheckpointSource, Log, LogOptions, Owner, Relocated, Replay, SEGMENT_BYTES_MIN, SEGMENTS_OFFSET,
};
use outcrop_flash::{Device, Location, Lsn};

use super::edits;

const SEGMENTS: u32 = 10;
/// Beyond this a log that neither answers nor fails is taken for hung. No I/O of this device takes any time.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Found {
    chunks: Vec<Vec<u8>>,
    entries: Vec<(Location, Lsn, Vec<u8>)>,
}

impl Replay for Found {
    fn checkpoint_chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.chunks.push(chunk.to_vec());
        Ok(())
    }

    fn reset(&mut self) {
        *self = Found::default();
    }

    fn entry(&mut self, location: Location, lsn: Lsn, payload: &[u8]) {
        self.entries.push((location, lsn, payload.to_vec()));
    }
}

/// Holds everything for garbage, so that defrag has all the work that there can be.
struct Careless;

impl Owner for Careless {
    fn relocate(&self, _: Location, _: Lsn, _: &[u8]) -> Relocated {
        Relocated::Garbage
    }
}

struct OneChunk(Option<Vec<u8>>);

impl CheckpointSource for OneChunk {
    fn next_chunk(&mut self, into: &mut Vec<u8>) -> bool {
        self.0.take().inspect(|chunk| into.extend_from_slice(chunk)).is_some()
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: SEGMENT_BYTES_MIN, identity: [7; 16], reserve_segments: 2, ..LogOptions::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be made")
}

/// Images of logs as they are left: closed in order with a checkpoint, and killed.
fn images() -> &'static [Vec<u8>] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| runtime().block_on(async { vec![make(true).await, make(false).await] }))
}

async fn make(in_order: bool) -> Vec<u8> {
    let bytes = SEGMENTS_OFFSET + u64::from(SEGMENTS) * SEGMENT_BYTES_MIN as u64;
    let device = MemoryDevice::new(bytes, 1);
    let (log, _) = Log::open(Arc::new(device.clone()), options(), &mut Found::default()).await.expect("a blank device");
    log.start(Arc::new(Careless));
    for number in 0..60_usize {
        let payload = vec![number as u8; 40 + number * 53];
        let end = log.append(&[&payload], AppendKind::User).expect("there is room").end;
        log.wait_durable(end).await.expect("a device without faults");
        if in_order && number == 30 {
            let mut source = OneChunk(Some(b"a part of an index".to_vec()));
            log.checkpoint(&mut source).await.expect("a device without faults");
        }
    }
    if in_order {
        log.close().await.expect("a device without faults");
    }
    device.snapshot_durable()
}

/// Opens whatever is there; if it opens, an entry that is then made durable is there at the next opening.
pub fn segment_recovery(data: &[u8]) {
    let image = match data {
        [kind, which, changes @ ..] if kind % 2 == 1 => {
            let mut image = images()[usize::from(*which) % 2].clone();
            changes.chunks_exact(6).for_each(|change| patch(&mut image, change));
            image
        }
        [_, raw @ ..] => {
            let mut image = raw.to_vec();
            // A log of bytes from nowhere: as many as there are, and zeros up to a device's least size.
            image.resize(images()[0].len().max(raw.len()), 0);
            image
        }
        [] => return,
    };
    runtime().block_on(async {
        tokio::time::timeout(PATIENCE, open_and_go_on(image)).await.expect("recovery ends");
    });
}

async fn open_and_go_on(image: Vec<u8>) {
    let device = MemoryDevice::from_image(image);
    let mut found = Found::default();
    let Ok((log, _)) = Log::open(Arc::new(device.clone()), options(), &mut found).await else { return };
    assert!(found.entries.windows(2).all(|pair| pair[0].1 < pair[1].1), "entries come in the order of the log");
    for (location, _, payload) in found.entries.iter().rev().take(3) {
        let read = log.read(*location).await.expect("an entry that was given can be read");
        assert_eq!(read.as_ref(), payload, "an entry reads as it was given");
    }
    log.start(Arc::new(Careless));
    let last = found.entries.last().map(|(_, lsn, _)| *lsn);
    let appended = log.append(&[b"after recovery"], AppendKind::User);
    let Ok(appended) = appended else {
        // No room, or poisoned: it said so.
        let _ = log.close().await;
        return;
    };
    assert!(last.is_none_or(|last| last < appended.lsn), "a new entry comes behind the old ones");
    let durable = log.wait_durable(appended.end).await.is_ok();
    let closed = log.close().await.is_ok();
    drop(log);
    if durable && closed {
        let mut again = Found::default();
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::from_image(device.snapshot_durable()));
        Log::open(device, options(), &mut again).await.expect("what was closed in order opens");
        let there = again.entries.iter().any(|(_, lsn, payload)| *lsn == appended.lsn && payload == b"after recovery");
        assert!(there, "a durable entry is there after a restart");
    }
}

/// A change of the image: a place (u32, the lower bits weighted to where headers are), a kind and a byte.
fn patch(image: &mut [u8], change: &[u8]) {
    let &[a, b, c, d, what, with] = change else { return };
    let place = u32::from_le_bytes([a, b, c, d]) as usize;
    let at = match what >> 6 {
        // Superblocks.
        0 => place % SEGMENTS_OFFSET as usize,
        // The front of a segment: its slots and first entries.
        1 => {
            let segment = place % SEGMENTS as usize;
            SEGMENTS_OFFSET as usize + segment * SEGMENT_BYTES_MIN + place / SEGMENTS as usize % 20_000
        }
        // A whole segment over another one: a misdirected or lost write.
        2 if what & 1 == 0 => {
            let start = |number: usize| SEGMENTS_OFFSET as usize + number % SEGMENTS as usize * SEGMENT_BYTES_MIN;
            let (from, to) = (start(place), start(place / 16));
            if let Some(segment) = image.get(from..from + SEGMENT_BYTES_MIN).map(<[u8]>::to_vec)
                && to + SEGMENT_BYTES_MIN <= image.len()
            {
                image[to..to + SEGMENT_BYTES_MIN].copy_from_slice(&segment);
            }
            return;
        }
        _ => place % image.len().max(1),
    };
    // Shifting everything behind a place isn't what devices do: only changes in place.
    let kind = [0, 2, 3, 6][usize::from(what & 3)] | what & 8;
    let end = (at + 512).min(image.len());
    if let Some(sector) = image.get(at..end) {
        let mut sector = sector.to_vec();
        edits::apply(&mut sector, &[0, 0, kind, with]);
        let len = sector.len().min(end - at);
        image[at..at + len].copy_from_slice(&sector[..len]);
    }
}
