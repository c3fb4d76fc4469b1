//! Append, read, reopen, cut off: whatever the order, the log is a vector of what was appended.

#![allow(missing_docs)]

mod kit;

use std::sync::Arc;

use kit::{SEGMENT_BYTES, options};
use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{
    AppendError, AppendKind, Log, LogOptions, Owner, Relocated, Replay, SEGMENTS_OFFSET, SyncPolicy,
};
use outcrop_flash::{Location, Lsn};
use proptest::prelude::*;

/// Everything stays live.
struct KeepsAll;

impl Owner for KeepsAll {
    fn relocate(&self, _location: Location, _lsn: Lsn, _payload: &[u8]) -> Relocated {
        Relocated::Failed
    }
}

#[derive(Default)]
struct Entries(Vec<(Location, Lsn, Vec<u8>)>);

impl Replay for Entries {
    fn checkpoint_chunk(&mut self, _chunk: &[u8]) -> Result<(), String> {
        Err("there are none".to_owned())
    }
    fn reset(&mut self) {
        self.0.clear();
    }
    fn entry(&mut self, location: Location, lsn: Lsn, payload: &[u8]) {
        self.0.push((location, lsn, payload.to_vec()));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { len: usize, fill: u8, parts: usize },
    Sync,
    Close,
    Kill,
}

fn steps(len: impl Strategy<Value = usize>) -> impl Strategy<Value = Vec<Step>> {
    let append = (len, any::<u8>(), 1usize..4).prop_map(|(len, fill, parts)| Step::Append { len, fill, parts });
    prop::collection::vec(
        prop_oneof![20 => append, 3 => Just(Step::Sync), 1 => Just(Step::Close), 1 => Just(Step::Kill)],
        1..60,
    )
}

async fn open(device: &MemoryDevice, options: &LogOptions) -> (Arc<Log>, Arc<KeepsAll>, Entries) {
    let mut entries = Entries::default();
    let (log, report) = Log::open(Arc::new(device.clone()), options.clone(), &mut entries).await.expect("it opens");
    assert_eq!(report.damaged_places, 0);
    for (location, ..) in &entries.0 {
        log.retain(*location);
    }
    let owner = Arc::new(KeepsAll);
    log.start(owner.clone());
    (log, owner, entries)
}

/// Every way to read gives the same.
async fn check(log: &Arc<Log>, model: &[(Location, Lsn, Vec<u8>)]) {
    for (location, lsn, payload) in model {
        assert_eq!(log.read(*location).await.expect("it is there").as_ref(), payload);
        assert_eq!(log.lsn_of(*location), *lsn);
        if let Some(same) = log.with_resident(*location, |bytes| bytes == payload) {
            assert!(same);
        }
    }
    let mut read = Vec::new();
    for view in log.segments() {
        let mut reader = log.read_segment(view.id, 0);
        while let Some(batch) = reader.next().await {
            let batch = batch.expect("no damage");
            read.extend(batch.iter().map(|(location, lsn, payload)| (location, lsn, payload.to_vec())));
        }
    }
    assert!(read == model, "{} entries read, {} appended", read.len(), model.len());
    // From the middle of a segment on.
    if let Some((location, ..)) = model.get(model.len() / 2) {
        let mut reader = log.read_segment(location.segment(), location.offset());
        let first = reader.next().await.expect("an entry").expect("no damage");
        assert_eq!(first.iter().next().map(|(first, ..)| first), Some(*location));
    }
}

async fn run(steps: Vec<Step>, segment_bytes: usize, resident_segments: u64, interval: bool) {
    let sync = if interval { SyncPolicy::Interval { flush_ms: 10 } } else { SyncPolicy::Group };
    let resident_bytes = resident_segments * segment_bytes as u64;
    let options = LogOptions { sync, segment_bytes, resident_bytes, ..options() };
    let device = MemoryDevice::new(SEGMENTS_OFFSET + 80 * segment_bytes as u64, 1);
    let mut model: Vec<(Location, Lsn, Vec<u8>)> = Vec::new();
    let (mut log, mut _owner, _) = open(&device, &options).await;
    for step in steps {
        match step {
            Step::Append { len, fill, parts } => {
                let payload: Vec<u8> = (0..len).map(|at| fill.wrapping_add((at / 7) as u8)).collect();
                let slices: Vec<&[u8]> = payload.chunks(len.div_ceil(parts).max(1)).collect();
                let appended = loop {
                    match log.append(&slices, AppendKind::User) {
                        Ok(appended) => break appended,
                        Err(AppendError::Backpressure) => log.writable().await,
                        Err(error) => panic!("{error}"),
                    }
                };
                assert!(model.last().is_none_or(|(_, lsn, _)| *lsn < appended.lsn), "numbers rise");
                model.push((appended.location, appended.lsn, payload));
            }
            Step::Sync => log.wait_durable(log.head()).await.expect("no fault"),
            Step::Close | Step::Kill => {
                let before = log.epoch();
                if matches!(step, Step::Close) {
                    log.close().await.expect("no fault");
                } else {
                    log.wait_durable(log.head()).await.expect("no fault");
                }
                drop(log);
                let reopened = open(&device, &options).await;
                assert!(reopened.2.0 == model, "{} replayed, {} appended", reopened.2.0.len(), model.len());
                (log, _owner) = (reopened.0, reopened.1);
                assert!(log.epoch() > before);
            }
        }
    }
    check(&log, &model).await;
}

fn small() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..200, 3 => 200usize..5_000, 1 => 40_000usize..49_100]
}

/// Segments longer than one read of 1 MiB: entries lie across two reads, or more.
fn large() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0usize..5_000, 4 => 50_000usize..700_000, 2 => 1_000_000usize..3_900_000]
}

fn block_on(run: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Catches: entries lost at a segment's border, an order that isn't the append order, lengths that include padding,
    /// ends of segments forgotten over a restart, numbers that fall back.
    #[test]
    fn the_log_is_a_vector(steps in steps(small()), resident_segments in 0u64..4, interval: bool) {
        block_on(run(steps, SEGMENT_BYTES, resident_segments, interval));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Catches: entries lost or put together wrongly where they lie across reads.
    #[test]
    fn the_log_is_a_vector_of_large_entries_too(steps in steps(large()), resident_segments in 0u64..2, interval: bool) {
        block_on(run(steps, 4 << 20, resident_segments, interval));
    }
}
