//! Property tests of `operate`: lists, maps and ranks against plain models, sizes against real archives.

use outcrop_wire::archive::{archive_bins, archive_values};
use outcrop_wire::{Bin, Code, MapKey};
use proptest::prelude::*;

use super::tests::{bin, holding, list};
use super::*;

fn value() -> impl Strategy<Value = Value> {
    let float = prop_oneof![any::<f64>(), (-3..3_i64).prop_map(|n| n as f64), Just(-0.0)];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3..3_i64).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        float.prop_map(Value::Float),
        "[a-c]{0,12}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::btree_map("[a-d]{1,10}", inner, 0..4)
                .prop_map(|map| Value::Map(map.into_iter().map(|(key, value)| (key.into(), value)).collect())),
        ]
    })
}

/// A list step with what it should do to the items and give, written the slow and plain way; `None`: out of range.
fn list_step() -> impl Strategy<Value = (u8, i64, u64, i64)> {
    (0..6_u8, -6..7_i64, 0..7_u64, 0..3_i64)
}

fn list_model(items: &mut Vec<i64>, (kind, index, count, item): (u8, i64, u64, i64)) -> Option<Value> {
    let len = items.len() as i64;
    let place = if index < 0 { len + index } else { index };
    let inside = (0..len).contains(&place);
    match kind {
        0 => items.push(item),
        1 if (0..=len).contains(&place) => items.insert(place as usize, item),
        2 if inside => return Some(Value::Int(items.remove(place as usize))),
        3 => {
            let window = place..place + count as i64;
            let kept: Vec<i64> = (0..len).filter(|n| window.contains(n)).map(|n| items[n as usize]).collect();
            *items = kept;
            return Some(Value::Int(len - items.len() as i64));
        }
        4 => {
            *items = items.iter().copied().filter(|other| *other != item).collect();
            return Some(Value::Int(len - items.len() as i64));
        }
        5 => return Some(if inside { Value::Int(items[place as usize]) } else { Value::Null }),
        _ => return None,
    }
    Some(Value::Int(items.len() as i64))
}

fn list_operation((kind, index, count, item): (u8, i64, u64, i64)) -> Operation {
    let (bin, value) = (bin(), Value::Int(item));
    match kind {
        0 => Operation::ListAppend { bin, value },
        1 => Operation::ListInsert { bin, index, value },
        2 => Operation::ListPop { bin, index },
        3 => Operation::ListTrim { bin, index, count },
        4 => Operation::ListRemove { bin, value },
        _ => Operation::ListGet { bin, index },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists_behave_as_the_model(steps in proptest::collection::vec(list_step(), 1..30)) {
        let (mut record, mut model) = (holding(list(&[])), Vec::new());
        for step in steps {
            let expected = list_model(&mut model, step);
            match apply(Some(&record), &[list_operation(step)]) {
                Ok(applied) => {
                    prop_assert_eq!(Some(&applied.results[0]), expected.as_ref());
                    if let Outcome::Write(bins) = applied.outcome {
                        record = bins;
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error.code(), Code::OutOfRange);
                    prop_assert_eq!(expected, None);
                }
            }
            prop_assert_eq!(record.get("b"), Some(&list(&model)));
        }
    }

    #[test]
    fn maps_behave_as_the_model(steps in proptest::collection::vec((0..3_u8, 0..6_i64, any::<i64>()), 1..40)) {
        let operations: Vec<Operation> = steps.iter().map(|&(kind, key, value)| match kind {
            0 => Operation::MapPut { bin: bin(), key: key.into(), value: value.into() },
            1 => Operation::MapRemove { bin: bin(), key: key.into() },
            _ => Operation::MapGetByKey { bin: bin(), key: key.into() },
        }).collect();
        // Values by key beside the keys in order of their coming.
        let (mut values, mut keys) = (std::collections::BTreeMap::new(), Vec::new());
        let or_null = |value: Option<i64>| value.map_or(Value::Null, Value::Int);
        let expected: Vec<Value> = steps.iter().map(|&(kind, key, value)| match kind {
            0 => {
                if values.insert(key, value).is_none() {
                    keys.push(key);
                }
                Value::Int(keys.len() as i64)
            }
            1 => {
                keys.retain(|other| *other != key);
                or_null(values.remove(&key))
            }
            _ => or_null(values.get(&key).copied()),
        }).collect();
        let applied = apply(None, &operations).expect("allowed");
        prop_assert_eq!(applied.results, expected);
        if let Outcome::Write(bins) = applied.outcome {
            let entries = keys.iter().map(|key| (MapKey::Int(*key), Value::Int(values[key]))).collect();
            prop_assert_eq!(bins.get("b"), Some(&Value::Map(entries)));
        } else {
            prop_assert!(keys.is_empty());
        }
    }

    #[test]
    fn ranks_are_a_stable_sort_by_a_total_order(values in proptest::collection::vec(value(), 1..24)) {
        for (a, b, c) in values.iter().zip(values.iter().rev()).zip(&values).map(|((a, b), c)| (a, b, c)) {
            prop_assert_eq!(a.order(b), b.order(a).reverse());
            prop_assert_eq!(a.order(b).is_eq(), a == b, "only equal values rank alike");
            prop_assert!(a.order(b).is_gt() || b.order(c).is_gt() || a.order(c).is_le());
        }
        let entries = values.iter().enumerate().map(|(n, value)| (MapKey::Int(n as i64), value.clone())).collect();
        let mut sorted: Vec<(usize, &Value)> = values.iter().enumerate().collect();
        sorted.sort_by(|a, b| a.1.order(b.1));
        let record = holding(Value::Map(entries));
        let ranks: Vec<Operation> =
            (0..values.len() as i64).map(|rank| Operation::MapGetByRank { bin: bin(), rank }).collect();
        let expected: Vec<Value> =
            sorted.iter().map(|(n, value)| Value::List(vec![Value::Int(*n as i64), (*value).clone()])).collect();
        prop_assert_eq!(apply(Some(&record), &ranks).expect("allowed").results, expected);
    }

    #[test]
    fn sizes_are_known_before_archiving(values in proptest::collection::vec(value(), 0..8)) {
        let bins = Bins {
            bins: values.iter().enumerate().map(|(n, value)| Bin { name: "n".repeat(n * 3), value: value.clone() }).collect(),
        };
        let archive = archive_bins(&bins).expect("within the limits");
        prop_assert_eq!(size::archived_bins_bytes(&bins), archive.len());
        let results: usize = values.iter().map(size::archived_bytes).sum();
        let list_bytes = size_of::<rkyv::vec::ArchivedVec<outcrop_wire::value::ArchivedValue>>();
        prop_assert_eq!(results + list_bytes, archive_values(&values).expect("within the limits").len());
    }
}

/// Steps of every kind on a few bins, some of which are there.
fn any_steps() -> impl Strategy<Value = Vec<Operation>> {
    let bin = || prop_oneof!["[ab]", Just("a longer name".to_owned())];
    let item = prop_oneof![
        1 => Just(Operation::Touch),
        1 => Just(Operation::Delete),
        1 => bin().prop_map(|bin| Operation::Remove { bin }),
        6 => bin().prop_map(|bin| Operation::Read { bin }),
        4 => (bin(), value()).prop_map(|(bin, value)| Operation::Put { bin, value }),
        6 => (bin(), value()).prop_map(|(bin, amount)| Operation::Add { bin, amount }),
        6 => (bin(), any::<i64>()).prop_map(|(bin, amount)| Operation::Add { bin, amount: Value::Int(amount) }),
        3 => (bin(), "[xy]{0,9}").prop_map(|(bin, value)| Operation::Append { bin, value: Value::Text(value) }),
        2 => (bin(), value()).prop_map(|(bin, value)| Operation::ListAppend { bin, value }),
        2 => (bin(), 0..3_i64).prop_map(|(bin, index)| Operation::ListPop { bin, index }),
        2 => (bin(), "[a-d]", value()).prop_map(|(bin, key, value)| Operation::MapPut { bin, key: key.into(), value }),
    ];
    proptest::collection::vec(item, 1..5)
}

proptest! {
    /// Steps on the stored archive come to what they come to on the whole record, or aren't taken.
    #[test]
    fn steps_on_what_is_stored_do_what_they_do_on_the_record(
        values in proptest::collection::vec(value(), 0..4), operations in any_steps(),
    ) {
        let names = ["a", "another", "a longer name", "b"];
        let bins = values.into_iter().zip(names).fold(Bins::new(), |bins, (value, name)| bins.with(name, value));
        let archive = archive_bins(&bins).expect("within the limits");
        let whole = apply(Some(&bins), &operations);
        let few = match apply_stored(&archive, &operations) {
            Ok(None) => return Ok(()),
            Ok(Some(few)) => few,
            Err(error) => {
                prop_assert_eq!(whole, Err(error));
                return Ok(());
            }
        };
        let whole = whole.expect("the steps went well on fewer bins");
        // By their archives: a NaN is no other's equal.
        let archived = |values: &Vec<Value>| archive_values(values).expect("within the limits");
        prop_assert_eq!(archived(&few.results), archived(&whole.results));
        match (few.outcome, whole.outcome) {
            (StoredOutcome::Write(few), Outcome::Write(whole)) => {
                prop_assert_eq!(few, archive_bins(&whole).expect("within the limits"));
            }
            (StoredOutcome::Touch, Outcome::Touch) | (StoredOutcome::Keep, Outcome::ReadOnly | Outcome::Nothing) => {}
            (few, whole) => prop_assert!(false, "{few:?} on what is stored, {whole:?} on the record"),
        }
        prop_assert!(!whole.recreated);
    }
}

#[test]
fn a_counter_among_other_bins_is_changed_in_place() {
    let bins = Bins::new()
        .with("name", "a longer text than eight bytes")
        .with("n", 41)
        .with("tags", Value::List(vec![1.into()]));
    let archive = archive_bins(&bins).expect("within the limits");
    let add = [Operation::Add { bin: "n".into(), amount: 1.into() }, Operation::Read { bin: "nobody".into() }];
    let applied = apply_stored(&archive, &add).expect("it adds").expect("the bin is there");
    assert_eq!(applied.results, [Value::Int(42), Value::Null]);
    let mut changed = bins.clone();
    changed.set("n".to_owned(), 42);
    assert_eq!(applied.outcome, StoredOutcome::Write(archive_bins(&changed).expect("within the limits")));
    let overflow = [Operation::Add { bin: "n".into(), amount: i64::MAX.into() }];
    assert!(matches!(apply_stored(&archive, &overflow), Err(OperateError::Overflow { step: 1, .. })));
    for new in [Operation::Add { bin: "m".into(), amount: 1.into() }, Operation::Remove { bin: "n".into() }] {
        assert_eq!(apply_stored(&archive, &[new]), Ok(None));
    }
}
