//! `docs/protocol.md` says what the code says: its table of codes, its verbs, its sizes.

use outcrop_wire::archive::{access_bins, archive_bins};
use outcrop_wire::operation::ArchivedMapKey;
use outcrop_wire::record::{ArchivedBin, ArchivedBins};
use outcrop_wire::value::ArchivedValue;
use outcrop_wire::{Bins, Code, Retry, Verb};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    std::fs::read_to_string(path).expect("docs/protocol.md is part of the repository")
}

#[test]
fn the_table_of_codes_is_that_of_the_code() {
    let page = page();
    let expected: Vec<String> = Code::ALL
        .iter()
        .map(|code| {
            let retry = match code.retry() {
                Retry::Never => "never",
                Retry::Backoff => "back-off",
                Retry::IfIdempotent => "if idempotent",
            };
            let (number, name) = (*code as u16, code.name());
            format!("| {number} | `{name}` | {retry} | {} | {} |", code.meaning(), code.advice())
        })
        .collect();
    let rows: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| code | name | retry"))
        .skip(2)
        .take_while(|line| line.starts_with("| "))
        .collect();
    assert_eq!(rows, expected, "the page should have:\n{}\n", expected.join("\n"));
}

#[test]
fn the_table_of_verbs_is_that_of_the_code() {
    let page = page();
    for verb in Verb::ALL {
        let row = format!("| {} | {} | ", verb.name(), verb as u8);
        assert!(page.lines().any(|line| line.starts_with(&row)), "{row}");
    }
}

#[test]
fn the_drawn_sizes_of_archives_are_real() {
    assert_eq!(size_of::<ArchivedBins>(), 8);
    assert_eq!(size_of::<ArchivedBin>(), 17);
    assert_eq!(size_of::<ArchivedValue>(), 9);
    assert_eq!(size_of::<rkyv::tuple::ArchivedTuple2<ArchivedMapKey, ArchivedValue>>(), 18);
    assert_eq!((align_of::<ArchivedBins>(), align_of::<ArchivedValue>()), (1, 1));
    // Two bins by hand, as the page draws them: names in place, an integer and a bool, then the root.
    let mut drawn = Vec::new();
    drawn.extend_from_slice(b"n\xff\xff\xff\xff\xff\xff\xff\x02");
    drawn.extend_from_slice(&7_i64.to_le_bytes());
    drawn.extend_from_slice(b"flag\xff\xff\xff\xff\x01\x01\0\0\0\0\0\0\0");
    drawn.extend_from_slice(&(-34_i32).to_le_bytes());
    drawn.extend_from_slice(&2_u32.to_le_bytes());
    let bins = Bins::new().with("n", 7).with("flag", true);
    assert_eq!(archive_bins(&bins).expect("within the limits"), drawn);
    assert_eq!(access_bins(&drawn).expect("valid").bins.len(), 2);
}
