//! A peek finds what rkyv finds, and nothing else ever happens.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::archive::{
    ArchiveError, access_bins, archive_bins, archive_value, archive_values, decode_bins, decode_value,
};
use crate::limits::{BINS_MAX, RECORD_BYTES_CEILING};
use crate::{Bin, Bins, MapKey, Value};

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        "\\PC{0,20}".prop_map(Value::Text),
        "[a-z]{0,100}".prop_map(Value::Text),
        vec(any::<u8>(), 0..100).prop_map(Value::Bytes),
    ]
}

fn key() -> impl Strategy<Value = MapKey> {
    prop_oneof![
        any::<i64>().prop_map(MapKey::Int),
        "[a-z]{0,12}".prop_map(MapKey::Text),
        vec(any::<u8>(), 0..12).prop_map(MapKey::Bytes),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(6, 80, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::List),
            vec((key(), inner), 0..8).prop_map(|mut entries| {
                let mut seen = std::collections::HashSet::new();
                entries.retain(|(key, _)| seen.insert(key.clone()));
                Value::Map(entries)
            }),
        ]
    })
}

fn any_bins() -> impl Strategy<Value = Bins> {
    // Names around the length that lies in place.
    let name = prop_oneof!["[a-c]{0,12}", "\\PC{0,9}", "[a-z]{60,70}"];
    vec((name, any_value()), 0..8)
        .prop_map(|bins| bins.into_iter().fold(Bins::new(), |bins, (name, value)| bins.with(name, value)))
}

fn peek_key(key: &MapKey) -> PeekKey<'_> {
    match key {
        MapKey::Int(number) => PeekKey::Int(*number),
        MapKey::Text(text) => PeekKey::Text(text),
        MapKey::Bytes(bytes) => PeekKey::Bytes(bytes),
    }
}

/// Every way to look at a value gives what the value has.
fn same(peeked: PeekValue<'_>, value: &Value) {
    assert_eq!(peeked.to_value().as_ref(), Ok(value));
    assert_eq!(peeked.type_name(), value.type_name());
    match (peeked, value) {
        (PeekValue::List(list), Value::List(items)) => {
            assert_eq!((list.len(), list.is_empty(), list.iter().len()), (items.len(), items.is_empty(), items.len()));
            for (place, item) in items.iter().enumerate() {
                same(list.get(place).expect("well formed").expect("within the length"), item);
            }
            assert!(list.get(items.len()).expect("behind the end").is_none());
        }
        (PeekValue::Map(map), Value::Map(entries)) => {
            assert_eq!(
                (map.len(), map.is_empty(), map.iter().len()),
                (entries.len(), entries.is_empty(), entries.len())
            );
            for (place, (key, item)) in entries.iter().enumerate() {
                let (found, peeked) = map.entry(place).expect("well formed").expect("within the length");
                assert_eq!(found, peek_key(key));
                same(peeked, item);
                same(map.get_key(peek_key(key)).expect("well formed").expect("there"), item);
            }
            assert!(map.entry(entries.len()).expect("behind the end").is_none());
            assert!(map.get("no such key at all").expect("well formed").is_none());
        }
        (PeekValue::Null, Value::Null) => {}
        (PeekValue::Bool(a), Value::Bool(b)) => assert_eq!((a, peeked.as_bool()), (*b, Some(*b))),
        (PeekValue::Int(a), Value::Int(b)) => assert_eq!((a, peeked.as_int()), (*b, Some(*b))),
        (PeekValue::Float(a), Value::Float(b)) => assert_eq!(a.to_bits(), b.to_bits()),
        (PeekValue::Text(a), Value::Text(b)) => assert_eq!((a, peeked.as_text()), (b.as_str(), Some(b.as_str()))),
        (PeekValue::Bytes(a), Value::Bytes(b)) => assert_eq!((a, peeked.as_bytes()), (&b[..], Some(&b[..]))),
        (peeked, value) => panic!("{peeked:?} is not {value:?}"),
    }
}

/// Looks at everything that bytes may be; the property is that it comes back.
fn walk(bytes: &[u8]) {
    let _ = value(bytes).map(|value| value.to_value());
    if let Ok(list) = values(bytes) {
        list.iter().flatten().for_each(|value| drop(value.to_value()));
    }
    if let Ok(bins) = PeekBins::new(bytes) {
        for bin in bins.iter().take(1_000) {
            let _ = bin.map(|(name, value)| (bins.get(name), value.to_value()));
        }
        let mut writer = BinsWriter::new();
        let copied = bins.iter().flatten().try_for_each(|(name, value)| writer.push_peeked(name, value));
        let _ = copied.and_then(|()| writer.finish());
    }
    for name in ["", "a", "flag", "eight by", "a name that is not inline"] {
        if let Ok(Some(PeekValue::Map(map))) = bin(bytes, name) {
            let _ = map.get(name);
            let _ = map.get_key(PeekKey::Int(7));
            let _ = map.get_key(PeekKey::Bytes(b"x"));
        }
    }
}

/// What rkyv accepts, a peek reads the same.
fn agrees(bytes: &[u8]) {
    if let Ok(bins) = decode_bins(bytes) {
        let peeked = PeekBins::new(bytes).expect("rkyv accepts it");
        assert_eq!(peeked.len(), bins.bins.len());
        for (peeked, bin) in peeked.iter().zip(&bins.bins) {
            let (name, value) = peeked.expect("rkyv accepts it");
            assert_eq!(name, bin.name);
            same(value, &bin.value);
            same(super::bin(bytes, name).expect("rkyv accepts it").expect("there"), &bin.value);
        }
    }
    if let Ok(owned) = decode_value(bytes) {
        same(value(bytes).expect("rkyv accepts it"), &owned);
    }
}

proptest! {
    #[test]
    fn bins_are_what_rkyv_finds(bins in any_bins(), other in "\\PC{0,12}", shift in 0_usize..8) {
        let mut archive = vec![0xee; shift];
        archive.extend_from_slice(&archive_bins(&bins).expect("within the limits"));
        let archive = &archive[shift..];
        agrees(archive);
        let peeked = bin(archive, &other).expect("well formed").map(|value| value.to_value().expect("well formed"));
        prop_assert_eq!(peeked.as_ref(), bins.get(&other));
    }

    #[test]
    fn single_values_and_lists_of_them(items in vec(any_value(), 0..5)) {
        for item in &items {
            same(value(&archive_value(item).expect("within the limits")).expect("well formed"), item);
        }
        let archive = archive_values(&items).expect("archives");
        let list = values(&archive).expect("well formed");
        same(PeekValue::List(list), &Value::List(items));
    }

    /// Every way to write the same bins gives the same bytes.
    #[test]
    fn what_is_written_is_what_rkyv_writes(bins in any_bins(), fresh in any::<u8>()) {
        let archive = archive_bins(&bins).expect("within the limits");
        let mut writer = BinsWriter::with_capacity(archive.len());
        let peeked = PeekBins::new(&archive).expect("well formed");
        for (place, bin) in bins.bins.iter().enumerate() {
            let name = peeked.name(place).expect("well formed").expect("within the length");
            let value = peeked.value(place).expect("well formed").expect("within the length");
            let written = match fresh >> (place % 8) & 1 {
                0 => writer.push_peeked(name, value),
                _ => writer.push(&bin.name, &bin.value),
            };
            written.expect("within the limits");
        }
        prop_assert_eq!(peeked.name(bins.bins.len()), Ok(None));
        prop_assert_eq!(peeked.value(bins.bins.len()), Ok(None));
        prop_assert_eq!(writer.finish().expect("within the limits"), archive);
    }

    /// A patch is the archive of the changed bins, or isn't made, and then there was a reason.
    #[test]
    fn what_is_patched_is_what_rkyv_writes(
        bins in any_bins(), changes in vec((any::<prop::sample::Index>(), leaf()), 0..4), stranger in "[a-z]{0,3}",
    ) {
        let archive = archive_bins(&bins).expect("within the limits");
        let scalar = |value: &Value| matches!(value, Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_));
        let (mut changed, mut asked, mut can) = (bins.clone(), Vec::new(), true);
        for (place, value) in &changes {
            let name = match bins.bins.len() {
                0 => stranger.clone(),
                count => bins.bins[place.index(count)].name.clone(),
            };
            can &= bins.get(&name).is_some_and(scalar) && scalar(value);
            changed.set(name.clone(), value.clone());
            asked.push((name, value));
        }
        let patched = patched(&archive, asked.iter().map(|(name, value)| (name.as_str(), *value))).expect("well formed");
        prop_assert_eq!(patched, can.then(|| archive_bins(&changed).expect("within the limits")));
    }

    #[test]
    fn changed_bytes_never_panic_and_never_disagree(
        bins in any_bins(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5), cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = archive_bins(&bins).expect("within the limits");
        for (place, byte) in &changes {
            let place = place.index(archive.len());
            archive[place] = *byte;
        }
        walk(&archive);
        agrees(&archive);
        for bin in &bins.bins {
            let _ = patched(&archive, [(bin.name.as_str(), &Value::Int(1))]);
        }
        let cut = cut.index(archive.len());
        walk(&archive[cut..]);
        walk(&archive[..cut]);
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        walk(&bytes);
        agrees(&bytes);
    }
}

#[test]
fn every_single_changed_byte_agrees_with_rkyv() {
    let map = Value::Map(vec![
        (MapKey::Text("eight by".to_owned()), "läuft über acht Bytes hinaus".into()),
        (MapKey::Int(7), Value::List(vec![1.into(), Value::Bytes(vec![1, 2, 3])])),
        (MapKey::Bytes(b"x".to_vec()), Value::Null),
    ]);
    let bins = Bins::new().with("flag", true).with("a name that is not inline", map).with("", 2.5);
    let archive = archive_bins(&bins).expect("within the limits");
    for place in 0..archive.len() {
        for byte in 0..=255 {
            let mut changed = archive.clone();
            changed[place] = byte;
            walk(&changed);
            agrees(&changed);
        }
    }
}

#[test]
fn nesting_beyond_the_limit_is_an_error_and_not_a_deep_recursion() {
    for depth in [VALUE_DEPTH_MAX, VALUE_DEPTH_MAX + 1, 500] {
        let nested = (0..depth).fold(Value::Int(1), |inner, _| Value::List(vec![inner]));
        let bins = Bins { bins: vec![Bin { name: "deep".to_owned(), value: nested }] };
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&bins).expect("archives");
        let peeked = bin(&bytes, "deep").expect("the outermost is there").expect("there").to_value();
        assert_eq!(peeked.is_ok(), depth <= VALUE_DEPTH_MAX);
        assert_eq!(peeked.err(), (depth > VALUE_DEPTH_MAX).then_some(PeekError::TooDeep));
    }
}

/// Catches: 64 lists of two pointers each to the next, which would be 2^64 values.
#[test]
fn lists_that_share_their_items_make_no_more_than_their_bytes() {
    let mut bytes = vec![0; 9];
    for level in 1..VALUE_DEPTH_MAX {
        let start = bytes.len();
        for item in 0..2_usize {
            // An item: tag 6, then offset from behind the tag to the previous level, and its number of items.
            let (at, below) = (start + item * 9 + 1, if level == 1 { 0 } else { start - 18 });
            bytes.push(6);
            bytes.extend_from_slice(&(below as i32 - at as i32).to_le_bytes());
            bytes.extend_from_slice(&(if level == 1 { 1_u32 } else { 2 }).to_le_bytes());
        }
    }
    assert_eq!(value(&bytes).expect("a list").to_value(), Err(PeekError::Overlap));
    assert!(decode_value(&bytes).is_err());
}

#[test]
fn names_of_every_length_around_the_short_ones_are_told_apart() {
    let names: Vec<String> = (0..=300).step_by(1).filter(|n| *n < 20 || n % 50 < 3).map(|n| "x".repeat(n)).collect();
    let names: Vec<String> = names.into_iter().filter(|name| name.len() <= 255).collect();
    let bins = names.iter().fold(Bins::new(), |bins, name| bins.with(name.as_str(), name.len() as i64));
    let archive = archive_bins(&bins).expect("within the limits");
    assert!(access_bins(&archive).is_ok());
    for name in &names {
        assert_eq!(bin(&archive, name), Ok(Some(PeekValue::Int(name.len() as i64))));
        assert_eq!(bin(&archive, &format!("{name}y")), Ok(None));
    }
}

#[test]
fn a_writer_keeps_the_limits() {
    let mut writer = BinsWriter::new();
    assert_eq!(writer.push(&"n".repeat(256), &Value::Null), Err(ArchiveError::BinName(256)));
    for place in 0..BINS_MAX {
        writer.push(&place.to_string(), &Value::Null).expect("within the limits");
    }
    assert_eq!(writer.push("one more", &Value::Null), Err(ArchiveError::TooManyBins(BINS_MAX + 1)));
    assert!(access_bins(&writer.finish().expect("1,024 names")).is_ok());
    for name in ["twice", "twice, and not in place"] {
        let mut writer = BinsWriter::new();
        (0..2).for_each(|_| writer.push(name, &Value::Null).expect("told at the end"));
        assert_eq!(writer.finish(), Err(ArchiveError::DuplicateBin(name.to_owned())));
    }
    let mut writer = BinsWriter::new();
    let large = Value::Bytes(vec![0; RECORD_BYTES_CEILING / 2]);
    writer.push("a", &large).expect("half of it");
    writer.push("b", &large).expect("the other half");
    assert!(matches!(writer.finish(), Err(ArchiveError::TooLarge { limit: RECORD_BYTES_CEILING, .. })));
    let deep = (0..=VALUE_DEPTH_MAX).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    assert_eq!(BinsWriter::new().push("deep", &deep), Err(ArchiveError::TooDeep));
}
