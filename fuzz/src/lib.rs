//! What is fuzzed: one function a target, which panics if something that must hold doesn't.
//!
//! The fuzz targets call these on a nightly compiler; `cluster-tests/tests/fuzz_twins.rs` includes this very file and
//! calls them with seeded bytes on a stable one, in the gate.
//!
//! An input's first byte says how the rest is to be read: an even one, as the bytes themselves; an odd one, as edits of
//! a valid example, so that the deep branches are reached from the first minute on.

mod edits;
mod examples;
mod recovery;

use bytes::Bytes;
use edits::input;
use outcrop_wire::archive;
use outcrop_wire::frame::{FrameSplitter, LENGTH_BYTES};
use outcrop_wire::peek;
use outcrop_wire::reply::{Called, ScanPart};
use outcrop_wire::request::{decode_request, encode_request};
use outcrop_wire::stored::digest_of;
use outcrop_wire::{Hello, Reply, StoredRecord, hello::Welcome};

pub use recovery::segment_recovery;

/// Frames come out the same wherever chunks end, and none is over the limit; an end is clean only behind a frame.
pub fn frame_split(data: &[u8]) {
    const LIMIT: usize = 300;
    let Some((&step, rest)) = data.split_first() else { return };
    // Lengths at random are nearly all absurd: an odd step keeps them around the limit.
    let stream = if step % 2 == 1 { plausible(rest, LIMIT) } else { rest.to_vec() };
    let step = usize::from(step).max(1);
    let split = |step: usize| {
        let mut splitter = FrameSplitter::new(LIMIT);
        let mut frames = Vec::new();
        for chunk in stream.chunks(step) {
            splitter.feed(Bytes::copy_from_slice(chunk));
            loop {
                match splitter.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
        }
        let ended = splitter.finish();
        (frames, ended)
    };
    let (whole, whole_end) = split(stream.len().max(1));
    let (pieces, pieces_end) = split(step);
    assert_eq!(whole, pieces, "chunks change the frames");
    assert_eq!(whole_end, pieces_end, "chunks change how it ends");
    assert!(whole.iter().all(|frame| frame.len() <= LIMIT));
    let taken: usize = whole.iter().map(|frame| LENGTH_BYTES + frame.len()).sum();
    assert!(taken <= stream.len());
    assert_eq!(whole_end.is_ok(), taken == stream.len(), "a clean end is one behind a frame");
}

/// A stream of frames whose lengths, from two bytes each, reach twice as far as the limit; the last one may be cut off.
fn plausible(data: &[u8], limit: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for pair in data.chunks_exact(2) {
        let len = usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (2 * limit);
        stream.extend_from_slice(&(len as u32).to_le_bytes());
        stream.resize(stream.len() + len, pair[0]);
    }
    stream.truncate(stream.len().saturating_sub(data.len() % 3));
    stream
}

/// A request that can be read is written as one that reads the same.
pub fn request_decode(data: &[u8]) {
    let frame = input(data, examples::requests());
    let Ok((header, body)) = decode_request(&frame) else { return };
    let mut again = Vec::new();
    encode_request(&header, &body, &mut again);
    assert!(again.len() <= frame.len(), "a request grew from {} to {} bytes", frame.len(), again.len());
    assert_eq!(decode_request(&again), Ok((header, body)));
}

/// A reply, a batch's replies, a scan's records and the first exchange can be read without reaching outside.
pub fn reply_decode(data: &[u8]) {
    let frame = input(data, examples::replies());
    if let Ok(reply) = Reply::parse(&frame) {
        assert!(reply.message().len() <= 3 * frame.len());
        if let Some(Ok(details)) = reply.details() {
            assert!(details.message.len() + details.details.len() < frame.len());
        }
        if let Ok(called) = Called::parse(reply.body) {
            assert!(called.result.len() + called.report.len() < frame.len());
        }
        if let Ok(items) = reply.batch_items() {
            assert!(items.iter().all(|item| item.body.len() < frame.len()));
        }
        if let Ok(part) = ScanPart::parse(reply.body) {
            let records: Vec<_> = part.iter().collect();
            let bytes: usize = records.iter().flatten().map(|record| record.len()).sum();
            assert!(bytes <= frame.len());
            assert!(records.iter().rev().skip(1).all(Result::is_ok), "it goes on behind a malformed record");
        }
    }
    if let Ok(hello) = Hello::decode(&frame) {
        let mut again = Vec::new();
        hello.encode(&mut again);
        assert_eq!(Hello::decode(&again), Ok(hello));
    }
    if let Ok(welcome) = Welcome::decode(&frame) {
        let mut again = Vec::new();
        welcome.encode(&mut again);
        assert_eq!(Welcome::decode(&again), Ok(welcome));
    }
}

/// An archive that passes can be read whole, within every limit, and is made again with the same content.
pub fn archived_bins(data: &[u8]) {
    let bytes = input(data, examples::archives());
    peeks(&bytes);
    if let Ok(bins) = archive::decode_bins(&bytes) {
        archive::check_bins(&bins).expect("what passed is within the limits");
        let again = archive::archive_bins(&bins).expect("what passed can be archived");
        assert_eq!(archive::decode_bins(&again), Ok(bins));
    }
    if let Ok(operations) = archive::decode_operations(&bytes) {
        let again = archive::archive_operations(&operations).expect("what passed can be archived");
        assert_eq!(archive::decode_operations(&again), Ok(operations));
    }
    if let Ok(value) = archive::decode_value(&bytes) {
        let again = archive::archive_value(&value).expect("what passed can be archived");
        assert_eq!(archive::decode_value(&again), Ok(value));
    }
    if let Ok(values) = archive::decode_values(&bytes) {
        // Deeper nesting than the limit would end in an overflow of the stack here.
        let depths: usize = values.iter().map(|value| value.depth(1_000)).sum();
        assert!(depths <= 1_000 * values.len());
    }
}

/// A peek reads any bytes without harm, and reads what validation accepts as rkyv does.
fn peeks(bytes: &[u8]) {
    let _ = peek::value(bytes).map(|value| value.to_value());
    let peeked = peek::PeekBins::new(bytes).map(|bins| {
        bins.iter().map(|bin| bin.and_then(|(name, value)| Ok((name, value.to_value()?)))).collect::<Vec<_>>()
    });
    if let Ok(bins) = archive::decode_bins(bytes) {
        let peeked = peeked.expect("the table is there").into_iter();
        let peeked: Result<Vec<_>, _> = peeked.collect();
        let expected: Vec<_> = bins.bins.iter().map(|bin| (bin.name.as_str(), bin.value.clone())).collect();
        assert_eq!(peeked, Ok(expected));
    }
}

/// A stored record that can be read is written again as it was.
pub fn stored_record(data: &[u8]) {
    let bytes = input(data, examples::stored_records());
    let Ok(record) = StoredRecord::parse(&bytes) else { return };
    assert_eq!(digest_of(&bytes), Some(record.header.digest));
    let mut again = Vec::new();
    record.header.encode(record.key, record.archive.len(), &mut again);
    again.extend_from_slice(record.archive);
    assert_eq!(again.len(), bytes.len());
    assert_eq!(StoredRecord::parse(&again), Ok(record));
}

/// A configuration is refused or settled, and what is settled reads back to itself.
pub fn config(data: &[u8]) {
    let bytes = input(data, examples::configurations());
    let Ok(text) = std::str::from_utf8(&bytes) else { return };
    match outcrop_node::config::Config::parse(text) {
        Ok(config) => {
            let again = outcrop_node::config::Config::parse(&config.to_toml()).expect("the settled form is valid");
            assert_eq!(again, config);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whatever a component is like, nothing panics, and one that can be wiped is valid with what was added, once.
pub fn wipe(data: &[u8]) {
    use outcrop_node::udf::compile::wipe::with_wipe;
    let component = input(data, examples::components());
    if let Some(wiped) = with_wipe(&component) {
        let mut validator = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all());
        assert!(validator.validate_all(&component).is_ok(), "only valid components are added to");
        let validated = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(&wiped);
        assert!(validated.is_ok(), "{:?}", validated.err());
        assert!(with_wipe(&wiped).is_none(), "the name is taken");
    }
}
