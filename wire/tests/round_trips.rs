//! Whatever is encoded is decoded to the same, and decoding anything else never panics.

mod support;

use outcrop_wire::archive::{
    access_bins, access_value, archive_bins, archive_operations, archive_unnamed, archive_value, archive_values,
    decode_bins, decode_operations, decode_value, decode_value_or_null, decode_values,
};
use outcrop_wire::reply::{Called, Details, ScanPart, encode_called, encode_error, encode_failure};
use outcrop_wire::request::{decode_request, encode_request, peek_key, peek_request_id};
use outcrop_wire::{
    Bins, Code, Hello, NamespaceId, Operation, Reply, ReplyHeader, RequestHeader, StoredHeader, StoredRecord,
    TraceContext, Value, Verb, Welcome,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{bins, parts, sets, user_keys, values};

fn traces() -> impl Strategy<Value = Option<TraceContext>> {
    proptest::option::of(
        (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>()).prop_map(|(trace_id, span_id, flags)| TraceContext {
            trace_id,
            span_id,
            flags,
        }),
    )
}

/// Gives bytes to everything that reads bytes; the property is that it comes back.
fn read_as_everything(bytes: &[u8]) {
    let _ = decode_request(bytes);
    let _ = peek_request_id(bytes);
    if let Ok(reply) = Reply::parse(bytes) {
        let _ = reply.message();
        let _ = reply.details();
        let _ = Called::parse(reply.body);
        let _ = reply.batch_items();
    }
    if let Ok(part) = ScanPart::parse(bytes) {
        let _ = part.iter().count();
    }
    let _ = Hello::decode(bytes);
    let _ = Welcome::decode(bytes);
    if let Ok(record) = StoredRecord::parse(bytes) {
        let _ = decode_bins(record.archive);
    }
    let _ = outcrop_wire::stored::digest_of(bytes);
    let _ = access_bins(bytes).map(|bins| bins.unnamed_bytes().map(<[u8]>::len));
    let _ = decode_bins(bytes);
    let _ = decode_operations(bytes);
    let _ = decode_values(bytes);
    let _ = access_value(bytes);
    let _ = decode_value_or_null(bytes);
    let _ = peek_key(bytes);
    let _ = Called::parse(bytes);
    let _ = Details::parse(bytes);
}

#[test]
fn a_part_tells_of_damage_only_where_there_is_some() {
    let cursor = outcrop_wire::Cursor { log_id: 1, start_lsn: 2, position_lsn: 3, emitted: 4 };
    for (end, damaged) in [(false, 0), (true, 0), (false, 3), (true, u32::MAX)] {
        let mut bytes = Vec::new();
        ScanPart::encode_head(end, cursor, damaged, 1, &mut bytes);
        bytes.extend_from_slice(&[1, 0, 0, 0, b'x']);
        let part = ScanPart::parse(&bytes).expect("a part");
        assert_eq!((part.end, part.cursor, part.damaged, part.count), (end, cursor, damaged, 1));
        assert_eq!(part.iter().collect::<Vec<_>>(), [Ok(&b"x"[..])]);
    }
    let mut unknown = Vec::new();
    ScanPart::encode_head(true, cursor, 0, 0, &mut unknown);
    unknown[0] = 4;
    assert!(ScanPart::parse(&unknown).is_err());
}

proptest! {
    #[test]
    fn requests_of_every_verb(parts in parts(), id in any::<u32>(), namespace in any::<u16>(),
                              deadline_ms in 0..=600_000_u32, trace in traces()) {
        for body in parts.bodies() {
            let namespace = NamespaceId(namespace);
            let header = RequestHeader { request_id: id, verb: body.verb(), namespace, deadline_ms, trace };
            let mut bytes = Vec::new();
            encode_request(&header, &body, &mut bytes);
            prop_assert_eq!(peek_request_id(&bytes), Some(id));
            prop_assert_eq!(peek_key(&bytes).is_some(), body.verb().of_one_record());
            prop_assert_eq!(decode_request(&bytes), Ok((header, body)));
        }
    }

    #[test]
    fn a_request_cut_short_or_with_more_behind_it_is_refused_or_another(parts in parts(), cut in any::<prop::sample::Index>()) {
        for body in parts.bodies() {
            let header = RequestHeader {
                request_id: 1, verb: body.verb(), namespace: NamespaceId(0), deadline_ms: 0, trace: None,
            };
            let mut bytes = Vec::new();
            encode_request(&header, &body, &mut bytes);
            prop_assert_ne!(decode_request(&bytes[..cut.index(bytes.len())]), Ok((header, body.clone())));
            bytes.push(0);
            prop_assert_ne!(decode_request(&bytes), Ok((header, body)));
        }
    }

    #[test]
    fn replies(id in any::<u32>(), code in 0..Code::ALL.len(), verb in 0..Verb::ALL.len(), generation in any::<u32>(),
               epoch in any::<u64>(), sequence in any::<u64>(), details in any::<bool>(),
               body in vec(any::<u8>(), 0..300)) {
        let (code, verb) = (Code::ALL[code], Verb::ALL[verb]);
        let header = ReplyHeader { request_id: id, code, verb, generation, epoch, sequence, details };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        bytes.extend_from_slice(&body);
        prop_assert_eq!(Reply::parse(&bytes), Ok(Reply { header, body: &body }));
    }

    #[test]
    fn messages_of_any_length(text in "\\PC{0,600}") {
        let mut bytes = Vec::new();
        encode_error(&ReplyHeader::new(1, Verb::Get, Code::Internal), &text, &mut bytes);
        let reply = Reply::parse(&bytes).expect("a reply");
        prop_assert!(text.starts_with(&reply.message()));
        prop_assert!(text.len() - reply.body.len() == 0 || reply.body.len() > 1_020);
    }

    #[test]
    fn replies_of_functions(result in values(), report in values(), text in "\\PC{0,300}", id in any::<u32>()) {
        let (result, report) = (archive_value(&result).expect("archives"), archive_value(&report).expect("archives"));
        let called = Called { result: &result, report: &report };
        let mut bytes = Vec::new();
        encode_called(&ReplyHeader::new(id, Verb::Call, Code::Ok), called, &mut bytes);
        prop_assert_eq!(Called::parse(Reply::parse(&bytes).expect("a reply").body), Ok(called));
        bytes.clear();
        encode_failure(&ReplyHeader::new(id, Verb::Call, Code::FunctionFailed), &text, &report, &mut bytes);
        let reply = Reply::parse(&bytes).expect("a reply");
        prop_assert_eq!(reply.message(), text.clone());
        let details = Details { message: text.as_bytes(), details: &report };
        prop_assert_eq!(reply.details(), Some(Ok(details)));
    }

    #[test]
    fn single_values(value in values(), shift in 0_usize..16) {
        let mut moved = vec![0xee; shift];
        moved.extend_from_slice(&archive_value(&value).expect("within the limits"));
        prop_assert_eq!(decode_value(&moved[shift..]), Ok(value));
    }

    #[test]
    fn stored_records(set in sets(), user_key in user_keys(), bins in bins(), generation in any::<u32>(),
                      epoch in any::<u64>(), sequence in any::<u64>(), last_update_ms in any::<u64>(),
                      expiry_secs in any::<u32>()) {
        let key = outcrop_wire::KeyRef { set: &set, user_key: user_key.borrow() };
        let digest = key.digest();
        let header = StoredHeader { flags: 0, generation, epoch, sequence, last_update_ms, expiry_secs, digest };
        let archive = archive_bins(&bins).expect("within the limits");
        let mut bytes = Vec::new();
        header.encode(key, archive.len(), &mut bytes);
        bytes.extend_from_slice(&archive);
        let record = StoredRecord::parse(&bytes).expect("stored");
        prop_assert_eq!(record, StoredRecord { header, key, archive: &archive });
        prop_assert_eq!(decode_bins(record.archive), Ok(bins));
        prop_assert_eq!(outcrop_wire::stored::digest_of(&bytes), Some(digest));
    }

    #[test]
    fn archives_at_any_address(bins in bins(), shift in 0_usize..16) {
        let archive = archive_bins(&bins).expect("within the limits");
        let mut moved = vec![0xee; shift];
        moved.extend_from_slice(&archive);
        prop_assert_eq!(decode_bins(&moved[shift..]), Ok(bins));
    }

    #[test]
    fn values_and_operations(values in vec(values(), 1..6)) {
        prop_assert_eq!(decode_values(&archive_values(&values).expect("archives")), Ok(values.clone()));
        let operations: Vec<Operation> =
            values.into_iter().map(|value| Operation::Put { bin: "a".to_owned(), value }).collect();
        prop_assert_eq!(decode_operations(&archive_operations(&operations).expect("archives")), Ok(operations));
    }

    #[test]
    fn plain_bytes(value in vec(any::<u8>(), 0..3_000)) {
        let archive = archive_unnamed(&value).expect("within the limits");
        prop_assert_eq!(access_bins(&archive).expect("valid").unnamed_bytes(), Some(&value[..]));
        prop_assert_eq!(decode_bins(&archive), Ok(Bins::unnamed(Value::Bytes(value))));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..400)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn changed_bytes_are_read_without_panic(bins in bins(), parts in parts(),
                                            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut inputs = vec![archive_bins(&bins).expect("within the limits")];
        for body in parts.bodies() {
            let header = RequestHeader {
                request_id: 1, verb: body.verb(), namespace: NamespaceId(0), deadline_ms: 0, trace: None,
            };
            let mut bytes = Vec::new();
            encode_request(&header, &body, &mut bytes);
            inputs.push(bytes);
        }
        for mut bytes in inputs {
            for (place, byte) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            read_as_everything(&bytes);
        }
    }
}

#[test]
fn every_single_changed_byte_of_an_archive_is_refused_or_read() {
    let archive = archive_bins(&support::every_bin()).expect("within the limits");
    for place in 0..archive.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff, archive[place].wrapping_add(1)] {
            let mut changed = archive.clone();
            changed[place] = byte;
            if let Ok(bins) = decode_bins(&changed) {
                // What is accepted can be written again: nothing that validation lets through is out of bounds.
                archive_bins(&bins).expect("accepted bins are within the limits");
            }
        }
    }
}

#[test]
fn floats_keep_their_bits() {
    for bits in [0x7ff8_0000_0000_0000, 0x7ff8_0000_0000_0001, 0xfff8_dead_beef_0001, 0x7ff0_0000_0000_0001, 1 << 63, 0]
    {
        let bins = Bins::new().with("float", f64::from_bits(bits));
        let read = decode_bins(&archive_bins(&bins).expect("within the limits")).expect("valid");
        match read.get("float") {
            Some(Value::Float(float)) => assert_eq!(float.to_bits(), bits),
            other => panic!("{other:?}"),
        }
    }
}
