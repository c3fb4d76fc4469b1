//! The fuzz targets on a stable compiler: the same functions, fed with seeded bytes, in the gate.

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, reason = "the crate's own page and exports are for the fuzzers")]
mod targets;

use outcrop_cluster_tests::size;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Runs a target on seeded inputs: raw ones, and edits of valid examples. A failure names the seed.
fn run(name: &str, target: fn(&[u8]), rounds: usize) {
    target(&[]);
    for seed in 0..rounds as u64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let len = match rng.random_range(0..10) {
            0 => rng.random_range(0..4),
            1..8 => rng.random_range(4..80),
            _ => rng.random_range(80..2_000),
        };
        let mut input = vec![0; len];
        rng.fill_bytes(&mut input);
        // Mostly edits: raw bytes rarely pass the first check.
        if let Some(kind) = input.first_mut()
            && !rng.random_bool(0.25)
        {
            *kind |= 1;
        }
        if std::panic::catch_unwind(|| target(&input)).is_err() {
            panic!("{name}: seed {seed} found something; the input is {input:02x?}");
        }
    }
}

fn rounds() -> usize {
    size::from_env("OUTCROP_FUZZ_ROUNDS", 5_000)
}

#[test]
fn frame_split() {
    run("frame_split", targets::frame_split, rounds());
}

#[test]
fn request_decode() {
    run("request_decode", targets::request_decode, rounds());
}

#[test]
fn reply_decode() {
    run("reply_decode", targets::reply_decode, rounds());
}

#[test]
fn archived_bins() {
    run("archived_bins", targets::archived_bins, rounds());
}

#[test]
fn stored_record() {
    run("stored_record", targets::stored_record, rounds());
}

#[test]
fn config() {
    run("config", targets::config, rounds());
}

#[test]
fn segment_recovery() {
    // Each round makes and opens a whole device.
    run("segment_recovery", targets::segment_recovery, rounds() / 25);
}

#[test]
fn wipe() {
    run("wipe", targets::wipe, rounds());
}
