//! Archives and frames made to hurt: pointers outside, nesting without end, doubles, lying lengths.

mod support;

use outcrop_wire::archive::{
    ArchiveError, access_bins, archive_bins, archive_operations, check_bins, decode_bins, decode_operations,
    decode_values,
};
use outcrop_wire::limits::{
    ARGUMENTS_BYTES_MAX, BINS_MAX, MODULE_PART_BYTES_MAX, OPERATIONS_MAX, RECORD_BYTES_CEILING, VALUE_DEPTH_MAX,
};
use outcrop_wire::request::{RequestError, decode_request};
use outcrop_wire::{Bin, Bins, Key, KeyError, MapKey, NameError, Operation, Value};

/// An archive by rkyv alone, without this crate's checks: what a hostile client may send.
fn unchecked(bins: &Bins) -> Vec<u8> {
    rkyv::to_bytes::<rkyv::rancor::Error>(bins).expect("archives").into_vec()
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Int(1), |inner, place| {
        if place % 2 == 0 { Value::List(vec![inner]) } else { Value::Map(vec![(MapKey::Int(1), inner)]) }
    })
}

#[test]
fn nesting_up_to_the_limit_is_served_and_beyond_it_is_refused() {
    let bins = Bins::new().with("deep", nested(VALUE_DEPTH_MAX));
    let archive = archive_bins(&bins).expect("at the limit");
    assert_eq!(decode_bins(&archive), Ok(bins));
    for depth in [VALUE_DEPTH_MAX + 1, VALUE_DEPTH_MAX + 2, VALUE_DEPTH_MAX + 20, 500] {
        let bins = Bins::new().with("deep", nested(depth));
        assert_eq!(archive_bins(&bins), Err(ArchiveError::TooDeep));
        assert_eq!(decode_bins(&unchecked(&bins)), Err(ArchiveError::TooDeep), "{depth}");
    }
}

/// An archive of lists that nest `depth` deep, written by hand, since rkyv itself would recurse to make it.
fn hand_nested(depth: usize) -> Vec<u8> {
    // What one level looks like is taken from two real archives, whose difference is one level.
    let (shallow, deep) = (unchecked(&lists(3)), unchecked(&lists(4)));
    let level = deep.len() - shallow.len();
    let places: Vec<usize> = (0..deep.len() - level + 1)
        .filter(|place| [&deep[..*place], &deep[place + level..]].concat() == shallow)
        .collect();
    let place = *places.iter().max().expect("one level more is one piece more");
    let piece = deep[place..place + level].to_vec();
    [&shallow[..place], &piece.repeat(depth - 3), &shallow[place..]].concat()
}

fn lists(depth: usize) -> Bins {
    let value = (0..depth).fold(Value::List(Vec::new()), |inner, _| Value::List(vec![inner]));
    Bins { bins: vec![Bin { name: "deep".to_owned(), value }] }
}

#[test]
fn nesting_of_ten_thousand_is_refused_without_running_out_of_stack() {
    assert_eq!(hand_nested(20), unchecked(&lists(20)), "the hand-made archive is what rkyv makes");
    let hostile = hand_nested(10_000);
    assert_eq!(access_bins(&hostile).map(|_| ()), Err(ArchiveError::TooDeep));
    assert!(decode_operations(&hostile).is_err());
    assert!(decode_values(&hostile).is_err());
}

#[test]
fn a_value_of_ten_thousand_levels_made_in_memory_is_refused_too() {
    let check = || {
        let made = (0..10_000).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        assert!(made.depth(VALUE_DEPTH_MAX) > VALUE_DEPTH_MAX);
        let bins = Bins { bins: vec![Bin { name: String::new(), value: made }] };
        assert_eq!(check_bins(&bins), Err(ArchiveError::TooDeep));
        let Some(Bin { value, .. }) = bins.bins.into_iter().next() else { panic!("one bin") };
        let operation = Operation::Put { bin: "a".to_owned(), value };
        assert_eq!(archive_operations(&vec![operation]), Err(ArchiveError::TooDeep));
    };
    // Room to drop such a value, which Rust does level by level; the checks themselves stop at the limit.
    std::thread::Builder::new().stack_size(64 << 20).spawn(check).expect("a thread").join().expect("no panic");
}

#[test]
fn pointers_outside_of_the_archive_are_refused() {
    let archive =
        archive_bins(&Bins::new().with("a name that is not inline", "a text that is not inline")).expect("made");
    let mut refused = 0;
    for place in 0..archive.len().saturating_sub(3) {
        for offset in [i32::MIN, -1_000_000, -5_000, 5_000, 1_000_000, i32::MAX] {
            let mut changed = archive.clone();
            changed[place..place + 4].copy_from_slice(&offset.to_le_bytes());
            refused += usize::from(access_bins(&changed).is_err());
        }
    }
    assert!(refused > 100, "pointers and lengths were hit: {refused}");
    // The root's own pointer lies in the last eight bytes.
    for offset in [i32::MIN, 1, i32::MAX] {
        let mut changed = archive.clone();
        let root = changed.len() - 8;
        changed[root..root + 4].copy_from_slice(&offset.to_le_bytes());
        assert!(matches!(access_bins(&changed), Err(ArchiveError::Malformed(_))));
    }
    for len in 0..archive.len() {
        assert!(access_bins(&archive[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn a_length_of_two_billion_is_refused() {
    let archive = archive_bins(&Bins::new().with("a", 1).with("b", 2)).expect("made");
    for len in [3_u32, 1_000, u32::MAX / 24, i32::MAX as u32, u32::MAX] {
        let mut changed = archive.clone();
        let place = changed.len() - 4;
        changed[place..].copy_from_slice(&len.to_le_bytes());
        assert!(access_bins(&changed).is_err(), "{len}");
    }
}

#[test]
fn doubled_names_and_keys_are_refused_however_many_there_are() {
    for count in [2, 3, 16, 17, 1_024] {
        let mut bins = Bins { bins: (0..count).map(|n| Bin { name: format!("b{n}"), value: n.into() }).collect() };
        assert_eq!(decode_bins(&unchecked(&bins)), Ok(bins.clone()));
        bins.bins[count as usize - 1].name = "b0".to_owned();
        assert_eq!(decode_bins(&unchecked(&bins)), Err(ArchiveError::DuplicateBin("b0".to_owned())), "{count}");
        assert_eq!(archive_bins(&bins), Err(ArchiveError::DuplicateBin("b0".to_owned())));

        let mut entries: Vec<(MapKey, Value)> = (0..i64::from(count)).map(|n| (MapKey::Int(n), n.into())).collect();
        let map = |entries: &[(MapKey, Value)]| Bins::new().with("map", Value::Map(entries.to_vec()));
        assert!(archive_bins(&map(&entries)).is_ok());
        entries[count as usize - 1].0 = MapKey::Int(0);
        assert!(matches!(archive_bins(&map(&entries)), Err(ArchiveError::DuplicateMapKey(_))), "{count}");
        let hostile = unchecked(&map(&entries));
        assert!(matches!(decode_bins(&hostile), Err(ArchiveError::DuplicateMapKey(_))), "{count}");
    }
}

#[test]
fn names_numbers_and_sizes_over_their_limits_are_refused() {
    let named = Bins { bins: vec![Bin { name: "n".repeat(256), value: Value::Null }] };
    assert_eq!(archive_bins(&named), Err(ArchiveError::BinName(256)));
    assert_eq!(decode_bins(&unchecked(&named)), Err(ArchiveError::BinName(256)));
    let many = Bins { bins: (0..=BINS_MAX).map(|n| Bin { name: n.to_string(), value: Value::Null }).collect() };
    assert_eq!(archive_bins(&many), Err(ArchiveError::TooManyBins(BINS_MAX + 1)));
    assert_eq!(decode_bins(&unchecked(&many)), Err(ArchiveError::TooManyBins(BINS_MAX + 1)));
    let large = Bins::unnamed(vec![0; 9 << 20]);
    assert!(matches!(archive_bins(&large), Err(ArchiveError::TooLarge { limit: RECORD_BYTES_CEILING, .. })));
    assert!(matches!(outcrop_wire::archive::archive_unnamed(&vec![0; 9 << 20]), Err(ArchiveError::TooLarge { .. })));
    let steps = vec![Operation::Touch; OPERATIONS_MAX + 1];
    assert_eq!(archive_operations(&steps), Err(ArchiveError::Operations(OPERATIONS_MAX + 1)));
    assert_eq!(archive_operations(&Vec::new()), Err(ArchiveError::Operations(0)));
    let long = vec![Operation::Read { bin: "n".repeat(256) }];
    assert_eq!(archive_operations(&long), Err(ArchiveError::BinName(256)));
}

#[test]
fn keys_over_their_limits_are_refused_and_a_number_is_not_its_digits() {
    assert_eq!(Key::new("shop", "set", "").check(), Err(KeyError::Empty));
    assert_eq!(Key::new("shop", "set", vec![0; 1 << 20]).check(), Err(KeyError::TooLong(1 << 20)));
    assert!(Key::new("shop", "set", vec![0; 1_024]).check().is_ok());
    assert!(matches!(Key::new("shop", "", 1).check(), Err(KeyError::Set(_))));
    assert!(matches!(Key::new("shop", "a/b", 1).check(), Err(KeyError::Set(_))));
    assert!(matches!(Key::new("shop", "a\nb", 1).check(), Err(KeyError::Set(_))));
    assert!(matches!(Key::new("", "set", 1).check(), Err(KeyError::Namespace(_))));
    assert!(matches!(Key::new("größe", "set", 1).check(), Err(KeyError::Namespace(_))));
    let digests = [
        Key::new("shop", "set", 42).digest(),
        Key::new("shop", "set", "42").digest(),
        Key::new("shop", "set", b"42".to_vec()).digest(),
        Key::new("shop", "set", 42_i64.to_le_bytes().to_vec()).digest(),
        Key::new("shop", "se", "t42").digest(),
    ];
    for (place, digest) in digests.iter().enumerate() {
        assert!(!digests[..place].contains(digest), "{place}");
    }
}

#[test]
fn requests_that_lie_are_refused_by_name() {
    let frame = |tail: &[u8]| [&7_u32.to_le_bytes()[..], tail].concat();
    // verb 3 (put), no flags, namespace 0, deadline 0, integer key 1 of set "s", mode, condition, ttl
    let put = |mode: u8, condition: u8, ttl: u32| {
        let mut bytes = frame(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 8, 0, b's']);
        bytes.extend_from_slice(&1_i64.to_le_bytes());
        bytes.extend_from_slice(&[mode, condition, 0, 0, 0, 0]);
        bytes.extend_from_slice(&ttl.to_le_bytes());
        bytes
    };
    assert!(decode_request(&put(0, 0, 0)).is_ok());
    assert!(matches!(decode_request(&put(5, 0, 0)), Err(RequestError::Field { field: "put mode", value: 5 })));
    assert!(matches!(decode_request(&put(0, 2, 0)), Err(RequestError::Field { field: "condition flags", .. })));
    // -1 as a TTL is "never" only as the wire's own number; one second more than ten years is refused.
    assert!(matches!(decode_request(&put(0, 0, 315_360_001)), Err(RequestError::Ttl(315_360_001))));
    assert!(matches!(decode_request(&put(0, 0, u32::MAX - 2)), Err(RequestError::Ttl(_))));
    assert!(matches!(decode_request(&frame(&[99, 0, 0, 0, 0, 0, 0, 0])), Err(RequestError::Verb(99))));
    assert!(matches!(
        decode_request(&frame(&[1, 2, 0, 0, 0, 0, 0, 0])),
        Err(RequestError::Field { field: "flags", .. })
    ));
    let deadline = [&[10, 0, 0, 0][..], &600_001_u32.to_le_bytes(), &[0]].concat();
    assert!(matches!(decode_request(&frame(&deadline)), Err(RequestError::Field { field: "deadline_ms", .. })));
    // A batch that says it has 4,096 items and has none takes no memory for them.
    let batch = [&[7, 0, 0, 0, 0, 0, 0, 0][..], &4_096_u16.to_le_bytes()].concat();
    assert!(matches!(decode_request(&frame(&batch)), Err(RequestError::Malformed(_))));
    let batch = [&[7, 0, 0, 0, 0, 0, 0, 0][..], &4_097_u16.to_le_bytes()].concat();
    assert!(matches!(decode_request(&frame(&batch)), Err(RequestError::Batch(_))));
    // A batch within a batch.
    let inner = [&1_u16.to_le_bytes()[..], &3_u32.to_le_bytes(), &[7, 0, 0]].concat();
    let batch = [&[7, 0, 0, 0, 0, 0, 0, 0][..], &inner].concat();
    assert!(matches!(decode_request(&frame(&batch)), Err(RequestError::Batch(_))));
}

#[test]
fn requests_about_functions_that_lie_are_refused_by_name() {
    let frame = |verb: u8, body: &[u8]| [&7_u32.to_le_bytes()[..], &[verb, 0, 0, 0, 0, 0, 0, 0], body].concat();
    let refused = |verb: u8, body: &[u8]| decode_request(&frame(verb, body)).expect_err("it lies");
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    // A call: integer key 1 of set "s", flags, generation, path.
    let call = |flags: u8, path: &str| {
        let mut body = vec![0, 1, 8, 0, b's'];
        body.extend_from_slice(&1_i64.to_le_bytes());
        [&body[..], &[flags, 0, 0, 0, 0], &text(path)].concat()
    };
    assert!(decode_request(&frame(11, &call(0, "m.f"))).is_ok());
    assert!(matches!(refused(11, &call(4, "m.f")), RequestError::Field { field: "call flags", value: 4 }));
    assert!(matches!(refused(11, &call(0, "mf")), RequestError::Name(NameError::Path(_))));
    assert!(matches!(refused(11, &call(0, "M.f")), RequestError::Name(NameError::Module(_))));
    let large = [&call(0, "m.f")[..], &vec![0; ARGUMENTS_BYTES_MAX + 1]].concat();
    assert_eq!(refused(11, &large), RequestError::Arguments(ARGUMENTS_BYTES_MAX + 1));
    // An aggregate over 4,096 keys that has none takes no memory for them; one over 4,097 is refused.
    let keys = |count: u16| [&text("m.f")[..], &[0, 1], &count.to_le_bytes()].concat();
    assert!(matches!(refused(12, &keys(4_096)), RequestError::Malformed(_) | RequestError::Key(_)));
    assert!(matches!(refused(12, &keys(4_097)), RequestError::Field { field: "number of keys", .. }));
    assert!(matches!(
        refused(12, &[&text("m.f")[..], &[1]].concat()),
        RequestError::Field { field: "aggregate flags", .. }
    ));
    assert!(matches!(refused(12, &[&text("m.f")[..], &[0, 2]].concat()), RequestError::Field { field: "target", .. }));
    assert!(matches!(refused(13, &[&text("m.f")[..], &[2]].concat()), RequestError::Field { field: "rows flags", .. }));
    // Parts of a module outside of the whole, empty, too large.
    let part = |total: u64, offset: u64, bytes: &[u8]| {
        let numbers = [total.to_le_bytes(), offset.to_le_bytes()].concat();
        [&[1][..], &text("m"), &text("1"), &numbers, &[0; 32], bytes].concat()
    };
    assert!(decode_request(&frame(14, &part(3, 2, b"x"))).is_ok());
    for (total, offset) in [(2, 2), (u64::MAX, u64::MAX), (0, 0)] {
        assert!(matches!(refused(14, &part(total, offset, b"x")), RequestError::Field { field: "offset", .. }));
    }
    assert!(matches!(refused(14, &part(3, 2, b"")), RequestError::Field { field: "part bytes", value: 0 }));
    let large = vec![0; MODULE_PART_BYTES_MAX + 1];
    assert!(matches!(refused(14, &part(u64::MAX, 2, &large)), RequestError::Field { field: "part bytes", .. }));
    for operation in [0, 14, 255] {
        let body = [&[operation][..], &text("m"), &text("1")].concat();
        assert!(matches!(refused(14, &body), RequestError::Field { field: "module operation", .. }));
    }
    // Activating needs both names, listing neither; what takes no payload has none.
    assert!(matches!(
        refused(14, &[&[3][..], &text("m"), &text("")].concat()),
        RequestError::Name(NameError::Version(_))
    ));
    assert!(matches!(
        refused(14, &[&[3][..], &text(""), &text("1")].concat()),
        RequestError::Name(NameError::Module(_))
    ));
    assert!(decode_request(&frame(14, &[7, 0, 0])).is_ok());
    assert_eq!(refused(14, &[7, 0, 0, 9]), RequestError::Trailing(1));
    assert!(matches!(refused(15, &[8]), RequestError::Field { field: "job operation", value: 8 }));
    // Of these only a call may be in a batch.
    for (verb, body) in [(12, keys(0)), (14, vec![7, 0, 0]), (15, vec![2])] {
        let item = [&[verb, 0, 0][..], &body].concat();
        let batch = [&1_u16.to_le_bytes()[..], &(item.len() as u32).to_le_bytes(), &item].concat();
        assert!(matches!(refused(7, &batch), RequestError::Batch(_)), "{verb}");
    }
}
