//! Records in part and records put together: some bins of an archive, and the merge of an upsert.

use std::collections::{HashMap, HashSet};

use outcrop_wire::archive::{ArchiveError, access_bins, archive_bins, to_value};
use outcrop_wire::{Bin, Bins};

/// Up to so many pairs of names are compared one by one: cheaper than hashing them.
const PAIRS_MAX: usize = 256;

/// The archive of the bins of `archive` that are named, in the record's order. Names that it doesn't have are left out.
pub fn project(archive: &[u8], names: &[&str]) -> Result<Vec<u8>, ArchiveError> {
    let record = access_bins(archive)?;
    let few = names.len() * record.bins.len() <= PAIRS_MAX;
    let hashed: HashSet<&str> = if few { HashSet::new() } else { names.iter().copied().collect() };
    let is_named = |name: &str| if few { names.contains(&name) } else { hashed.contains(name) };
    let mut selected = Bins::new();
    for bin in record.bins.iter().filter(|bin| is_named(bin.name.as_str())) {
        // Names are unique in a validated archive, so no search by `Bins::set`.
        selected.bins.push(Bin { name: bin.name.as_str().to_owned(), value: to_value(&bin.value)? });
    }
    archive_bins(&selected)
}

/// What an upsert makes of a record: bins of `existing` in their places, with the values of `new` where it has them,
/// then the bins that only `new` has.
pub fn merge(existing: &Bins, new: &Bins) -> Bins {
    let mut merged = existing.clone();
    if existing.bins.len() * new.bins.len() <= PAIRS_MAX {
        new.bins.iter().for_each(|bin| merged.set(bin.name.as_str(), bin.value.clone()));
        return merged;
    }
    let places: HashMap<&str, usize> =
        existing.bins.iter().enumerate().map(|(place, bin)| (bin.name.as_str(), place)).collect();
    for bin in &new.bins {
        match places.get(bin.name.as_str()) {
            Some(&place) => merged.bins[place].value = bin.value.clone(),
            None => merged.bins.push(bin.clone()),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use outcrop_wire::Value;
    use outcrop_wire::archive::decode_bins;

    use super::*;

    fn numbered(names: std::ops::Range<usize>, value: i64) -> Bins {
        Bins { bins: names.map(|n| Bin { name: format!("bin{n}"), value: Value::Int(value) }).collect() }
    }

    #[test]
    fn keeps_the_named_bins_in_the_records_order() {
        let nested = Value::List(vec![Value::Text("a longer text than fits inline".into()), Value::Null]);
        let bins = Bins::new().with("a", 1_i64).with("b", nested.clone()).with("", "unnamed").with("c", 2.5);
        let archive = archive_bins(&bins).expect("within the limits");
        let select = |names: &[&str]| decode_bins(&project(&archive, names).expect("valid")).expect("valid");
        assert_eq!(select(&["c", "nothing", "b", "b"]), Bins::new().with("b", nested).with("c", 2.5));
        assert_eq!(select(&[""]), Bins::unnamed("unnamed"));
        assert_eq!(select(&[]), Bins::new());
        assert_eq!(select(&["c", "", "b", "a"]), bins);
        assert!(project(&archive[1..], &["a"]).is_err());
    }

    #[test]
    fn selects_alike_whether_names_are_hashed_or_not() {
        let bins = numbered(0..1_000, 7);
        let archive = archive_bins(&bins).expect("within the limits");
        let names: Vec<String> = (500..1_500).rev().map(|n| format!("bin{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let selected = decode_bins(&project(&archive, &names).expect("valid")).expect("valid");
        assert_eq!(selected, numbered(500..1_000, 7));
    }

    #[test]
    fn merges_in_place_and_then_behind() {
        let existing = Bins::new().with("a", 1_i64).with("b", 2_i64);
        let new = Bins::new().with("c", 3_i64).with("a", Value::Null);
        let expected = Bins::new().with("a", Value::Null).with("b", 2_i64).with("c", 3_i64);
        assert_eq!(merge(&existing, &new), expected);
        assert_eq!(merge(&existing, &Bins::new()), existing);
        assert_eq!(merge(&Bins::new(), &new), new);
    }

    #[test]
    fn merges_alike_whether_names_are_hashed_or_not() {
        let (existing, new) = (numbered(0..600, 1), numbered(300..900, 2));
        let mut expected = numbered(0..300, 1);
        expected.bins.extend(numbered(300..900, 2).bins);
        assert_eq!(merge(&existing, &new), expected);
    }
}
