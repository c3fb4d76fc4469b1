//! The format that `docs/flash-format.md` draws: a log of version 1 is held as a fixture, is read as it was, and the same
//! appends write the same bytes today.
//!
//! Catches: a field moved, a checksum or its seed changed, a meaning changed without a new version. A new version gets a
//! fixture of its own (`OUTCROP_BLESS_FIXTURE=1` writes what today's code makes); this one stays readable for ever.

#![allow(missing_docs)]

mod kit;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use kit::{Recovered, SEGMENT_BYTES, Store, Version, device, options};
use outcrop_flash::device::Device;
use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{CheckpointOutcome, Log, LogOptions, SEGMENTS_OFFSET};

const SEGMENTS: u64 = 8;
const BLOCK_BYTES: usize = 4_096;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/log-v1.txt")
}

/// One line for each block that isn't all zeros: its offset, its bytes in hex without the zeros at its end.
fn to_text(image: &[u8]) -> String {
    let mut text = String::new();
    for (index, block) in image.chunks(BLOCK_BYTES).enumerate() {
        let Some(last) = block.iter().rposition(|byte| *byte != 0) else { continue };
        write!(text, "{} ", index * BLOCK_BYTES).expect("a string takes everything");
        block[..=last].iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string takes everything"));
        text.push('\n');
    }
    text
}

fn from_text(text: &str) -> Vec<u8> {
    let mut image = vec![0; SEGMENTS_OFFSET as usize + SEGMENTS as usize * SEGMENT_BYTES];
    for line in text.lines() {
        let (offset, hex) = line.split_once(' ').expect("offset and bytes");
        let offset: usize = offset.parse().expect("a number");
        for (at, pair) in hex.as_bytes().chunks(2).enumerate() {
            let pair = std::str::from_utf8(pair).expect("hex");
            image[offset + at] = u8::from_str_radix(pair, 16).expect("hex");
        }
    }
    image
}

/// Entries in two groups, a checkpoint between them, a clean end.
async fn write_today() -> MemoryDevice {
    let device = device(SEGMENTS, 1);
    let fixed = LogOptions { defrag_live_percent: 0, ..options() };
    let (store, ..) = Store::open(Arc::new(device.clone()), fixed).await.expect("blank");
    for (key, value_len) in [(1, Some(5)), (2, None), (3, Some(300))] {
        assert!(store.put_durably(key, value_len).await);
    }
    store.log().checkpoint(&mut kit::IndexChunks::new(store.clone(), 2)).await.expect("room");
    assert!(store.put_durably(1, Some(40)).await);
    store.log().close().await.expect("closes");
    device
}

#[tokio::test]
async fn version_1_is_read_and_written_as_it_was() {
    let today = to_text(&write_today().await.snapshot());
    if std::env::var_os("OUTCROP_BLESS_FIXTURE").is_some() {
        std::fs::write(fixture(), &today).expect("written");
    }
    let held = std::fs::read_to_string(fixture()).expect("the fixture is there");
    assert!(held == today, "what is written today is no longer version 1");
    let device = MemoryDevice::from_image(from_text(&held));
    assert_eq!(device.byte_len(), SEGMENTS_OFFSET + SEGMENTS * SEGMENT_BYTES as u64);
    let mut recovered = Recovered::default();
    let (_, report) = Log::open(Arc::new(device), options(), &mut recovered).await.expect("it opens");
    assert!(report.clean && !report.created && report.epoch == 2, "{report:?}");
    assert!(matches!(report.checkpoint, CheckpointOutcome::Loaded { chunks: 2, .. }), "{:?}", report.checkpoint);
    let versions: Vec<Version> = recovered.index.values().map(|indexed| indexed.version).collect();
    let expected = [(1, 2, Some(40)), (2, 1, None), (3, 1, Some(300))];
    assert_eq!(versions, expected.map(|(key, version, value_len)| Version { key, version, value_len }));
}
