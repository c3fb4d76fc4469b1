//! Tests of every step: results, outcomes, errors with their codes, limits.

use outcrop_wire::archive::archive_bins;
use outcrop_wire::limits::{BINS_MAX, RECORD_BYTES_CEILING, VALUE_DEPTH_MAX};
use outcrop_wire::{Bin, Code, MapKey};

use super::*;

pub(super) fn bin() -> String {
    "b".to_owned()
}

pub(super) fn list(items: &[i64]) -> Value {
    Value::List(items.iter().copied().map(Value::Int).collect())
}

fn map(entries: &[(&str, i64)]) -> Value {
    Value::Map(entries.iter().map(|(key, value)| (MapKey::from(*key), Value::Int(*value))).collect())
}

/// A record whose bin `b` holds this.
pub(super) fn holding(value: impl Into<Value>) -> Bins {
    Bins::new().with("b", value)
}

/// Applies one step to a record whose bin `b` holds `value` (absent: `None`); gives the result and what `b` holds then,
/// if the step wrote.
fn one(value: Option<Value>, operation: Operation) -> Result<(Value, Option<Value>), OperateError> {
    let record = value.map_or(Bins::new(), holding);
    let applied = apply(Some(&record), std::slice::from_ref(&operation))?;
    assert_eq!(apply_owned(Some(record), &[operation]), Ok(applied.clone()));
    let [result] = applied.results.as_slice() else { panic!("one result a step") };
    let written = match &applied.outcome {
        Outcome::Write(bins) => bins.get("b").cloned(),
        _ => None,
    };
    Ok((result.clone(), written))
}

fn outcome(record: Option<&Bins>, operations: &[Operation]) -> Outcome {
    apply(record, operations).expect("allowed").outcome
}

fn code(value: Option<Value>, operation: Operation) -> Code {
    one(value, operation).expect_err("refused").code()
}

#[test]
fn reads_puts_and_removes() {
    let read = Operation::Read { bin: bin() };
    assert_eq!(one(None, read.clone()), Ok((Value::Null, None)));
    assert_eq!(one(Some(Value::Int(1)), read), Ok((Value::Int(1), None)));
    let put = Operation::Put { bin: bin(), value: "new".into() };
    assert_eq!(one(Some(Value::Int(1)), put.clone()), Ok((Value::Null, Some("new".into()))));
    assert_eq!(one(None, put), Ok((Value::Null, Some("new".into()))));
    let remove = Operation::Remove { bin: bin() };
    assert_eq!(one(None, remove.clone()), Ok((Value::Bool(false), None)));
    assert_eq!(one(Some(Value::Null), remove.clone()), Ok((Value::Bool(true), None)));
    assert_eq!(
        outcome(Some(&holding(1_i64).with("c", 2_i64)), &[remove]),
        Outcome::Write(Bins::new().with("c", 2_i64))
    );
}

#[test]
fn adds_integers_exactly_and_floats_as_floats() {
    let add = |amount: Value| Operation::Add { bin: bin(), amount };
    let sum = |value: Value, amount: Value| one(Some(value), add(amount)).expect("numbers").0;
    assert_eq!(one(None, add(Value::Int(5))), Ok((Value::Int(5), Some(Value::Int(5)))));
    assert_eq!(one(None, add(Value::Float(0.5))), Ok((Value::Float(0.5), Some(Value::Float(0.5)))));
    assert_eq!(sum(Value::Int((1 << 53) + 1), Value::Int(1)), Value::Int((1 << 53) + 2));
    assert_eq!(sum(Value::Int(1), Value::Float(0.5)), Value::Float(1.5));
    assert_eq!(sum(Value::Float(0.5), Value::Int(-1)), Value::Float(-0.5));
    assert_eq!(sum(Value::Float(f64::MAX), Value::Float(f64::MAX)), Value::Float(f64::INFINITY));
    assert_eq!(sum(Value::Int(i64::MAX - 1), Value::Int(1)), Value::Int(i64::MAX));
    for (value, amount) in [(i64::MAX, 1), (i64::MIN, -1), (i64::MIN, i64::MIN)] {
        let error = one(Some(Value::Int(value)), add(Value::Int(amount))).expect_err("overflows");
        assert_eq!(error, OperateError::Overflow { step: 1, bin: bin(), value, amount });
        assert_eq!(error.code(), Code::OutOfRange);
    }
    assert_eq!(code(Some(Value::Null), add(Value::Int(1))), Code::TypeMismatch);
    assert_eq!(code(Some("1".into()), add(Value::Int(1))), Code::TypeMismatch);
    assert_eq!(code(Some(Value::Int(1)), add("1".into())), Code::TypeMismatch);
}

#[test]
fn appends_and_prepends_text_and_bytes() {
    let append = |value: Value| Operation::Append { bin: bin(), value };
    let prepend = |value: Value| Operation::Prepend { bin: bin(), value };
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    assert_eq!(one(Some("ab".into()), append("é".into())), Ok((Value::Int(4), Some("abé".into()))));
    assert_eq!(one(Some("ab".into()), prepend("é".into())), Ok((Value::Int(4), Some("éab".into()))));
    assert_eq!(one(Some(bytes(b"ab")), append(bytes(b"c"))), Ok((Value::Int(3), Some(bytes(b"abc")))));
    assert_eq!(one(Some(bytes(b"ab")), prepend(bytes(b"cd"))), Ok((Value::Int(4), Some(bytes(b"cdab")))));
    assert_eq!(one(None, append("x".into())), Ok((Value::Int(1), Some("x".into()))));
    assert_eq!(one(None, prepend(bytes(b""))), Ok((Value::Int(0), Some(bytes(b"")))));
    for step in [append, prepend] {
        assert_eq!(code(Some("text".into()), step(bytes(b"x"))), Code::TypeMismatch);
        assert_eq!(code(Some(bytes(b"x")), step("text".into())), Code::TypeMismatch);
        assert_eq!(code(None, step(Value::Int(1))), Code::TypeMismatch);
    }
}

#[test]
fn inserts_pops_and_gets_at_both_ends_and_not_beyond() {
    let insert = |index| Operation::ListInsert { bin: bin(), index, value: Value::Int(9) };
    let pop = |index| Operation::ListPop { bin: bin(), index };
    let get = |index| Operation::ListGet { bin: bin(), index };
    for (index, expected) in [(0, [9, 1, 2]), (1, [1, 9, 2]), (2, [1, 2, 9]), (-1, [1, 9, 2]), (-2, [9, 1, 2])] {
        assert_eq!(one(Some(list(&[1, 2])), insert(index)), Ok((Value::Int(3), Some(list(&expected)))));
    }
    for index in [3, -3, i64::MAX, i64::MIN] {
        assert_eq!(code(Some(list(&[1, 2])), insert(index)), Code::OutOfRange);
    }
    assert_eq!(one(None, insert(0)), Ok((Value::Int(1), Some(list(&[9])))));
    assert_eq!(code(None, insert(1)), Code::OutOfRange);

    for (index, item, rest) in [(0, 1, [2, 3]), (2, 3, [1, 2]), (-1, 3, [1, 2]), (-3, 1, [2, 3])] {
        assert_eq!(one(Some(list(&[1, 2, 3])), pop(index)), Ok((Value::Int(item), Some(list(&rest)))));
        assert_eq!(one(Some(list(&[1, 2, 3])), get(index)), Ok((Value::Int(item), None)));
    }
    for index in [3, -4, i64::MAX, i64::MIN] {
        assert_eq!(code(Some(list(&[1, 2, 3])), pop(index)), Code::OutOfRange);
        assert_eq!(one(Some(list(&[1, 2, 3])), get(index)), Ok((Value::Null, None)));
    }
    assert_eq!(one(Some(list(&[1])), pop(0)), Ok((Value::Int(1), Some(list(&[])))));
    assert_eq!(code(None, pop(0)), Code::OutOfRange);
    assert_eq!(one(None, get(0)), Ok((Value::Null, None)));
    assert_eq!(one(None, Operation::ListLen { bin: bin() }), Ok((Value::Int(0), None)));
    assert_eq!(one(Some(list(&[1, 2])), Operation::ListLen { bin: bin() }), Ok((Value::Int(2), None)));
}

#[test]
fn trims_to_the_part_of_the_window_that_is_there() {
    let trim = |index, count| Operation::ListTrim { bin: bin(), index, count };
    for (index, count, dropped, kept) in [
        (1, 2, 2, &[2, 3][..]),
        (-2, 2, 2, &[3, 4]),
        (-9, 7, 2, &[1, 2]),
        (2, u64::MAX, 2, &[3, 4]),
        (1, 0, 4, &[]),
        (9, 9, 4, &[]),
        (i64::MIN, 5, 4, &[]),
        (i64::MAX, u64::MAX, 4, &[]),
    ] {
        let expected = Ok((Value::Int(dropped), Some(list(kept))));
        assert_eq!(one(Some(list(&[1, 2, 3, 4])), trim(index, count)), expected, "{index} {count}");
    }
    for (index, count) in [(0, 4), (0, u64::MAX), (-100, 100), (i64::MIN, u64::MAX)] {
        assert_eq!(one(Some(list(&[1, 2, 3, 4])), trim(index, count)), Ok((Value::Int(0), None)));
    }
    assert_eq!(one(None, trim(0, 0)), Ok((Value::Int(0), None)));
}

#[test]
fn removes_every_equal_item_by_bits() {
    let remove = |value: Value| Operation::ListRemove { bin: bin(), value };
    let items = || Value::List(vec![Value::Float(0.0), Value::Float(-0.0), Value::Int(0), Value::Float(0.0)]);
    let rest = Value::List(vec![Value::Float(-0.0), Value::Int(0)]);
    assert_eq!(one(Some(items()), remove(Value::Float(0.0))), Ok((Value::Int(2), Some(rest))));
    assert_eq!(one(Some(items()), remove(Value::Null)), Ok((Value::Int(0), None)));
    assert_eq!(one(None, remove(Value::Null)), Ok((Value::Int(0), None)));
    let nan = Value::List(vec![Value::Float(f64::NAN)]);
    assert_eq!(one(Some(nan), remove(Value::Float(f64::NAN))), Ok((Value::Int(1), Some(list(&[])))));
}

#[test]
fn maps_keep_the_order_of_their_keys() {
    let put = |key: &str, value: i64| Operation::MapPut { bin: bin(), key: key.into(), value: value.into() };
    let remove = |key: &str| Operation::MapRemove { bin: bin(), key: key.into() };
    let get = |key: &str| Operation::MapGetByKey { bin: bin(), key: key.into() };
    let before = || Some(map(&[("z", 1), ("a", 2)]));
    assert_eq!(one(before(), put("m", 3)), Ok((Value::Int(3), Some(map(&[("z", 1), ("a", 2), ("m", 3)])))));
    assert_eq!(one(before(), put("z", 3)), Ok((Value::Int(2), Some(map(&[("z", 3), ("a", 2)])))));
    assert_eq!(one(None, put("z", 3)), Ok((Value::Int(1), Some(map(&[("z", 3)])))));
    assert_eq!(one(before(), remove("z")), Ok((Value::Int(1), Some(map(&[("a", 2)])))));
    assert_eq!(one(before(), remove("m")), Ok((Value::Null, None)));
    assert_eq!(one(None, remove("m")), Ok((Value::Null, None)));
    assert_eq!(one(before(), get("a")), Ok((Value::Int(2), None)));
    assert_eq!(one(before(), get("m")), Ok((Value::Null, None)));
    assert_eq!(one(None, get("m")), Ok((Value::Null, None)));
    assert_eq!(one(before(), Operation::MapLen { bin: bin() }), Ok((Value::Int(2), None)));
    assert_eq!(one(None, Operation::MapLen { bin: bin() }), Ok((Value::Int(0), None)));
    // The integer 1, the text "1" and the byte 0x31 are three keys.
    let kinds = [MapKey::Int(1), MapKey::Text("1".into()), MapKey::Bytes(vec![0x31])];
    let steps = kinds.map(|key| Operation::MapPut { bin: bin(), key, value: Value::Null });
    let results = apply(None, &steps).expect("allowed").results;
    assert_eq!(results, [Value::Int(1), Value::Int(2), Value::Int(3)]);
}

#[test]
fn ranks_count_from_both_ends_and_ties_go_by_place() {
    let rank = |rank| Operation::MapGetByRank { bin: bin(), rank };
    let scores = || Some(map(&[("a", 30), ("b", 10), ("c", 30), ("d", 20)]));
    for (at, key, value) in
        [(0, "b", 10), (1, "d", 20), (2, "a", 30), (3, "c", 30), (-1, "c", 30), (-2, "a", 30), (-4, "b", 10)]
    {
        let expected = Value::List(vec![key.into(), Value::Int(value)]);
        assert_eq!(one(scores(), rank(at)), Ok((expected, None)), "rank {at}");
    }
    for at in [4, -5, i64::MAX, i64::MIN] {
        assert_eq!(one(scores(), rank(at)), Ok((Value::Null, None)));
    }
    assert_eq!(one(None, rank(0)), Ok((Value::Null, None)));
    let keys = Value::Map(vec![(MapKey::Int(7), Value::Null), (MapKey::Bytes(vec![1]), Value::Bool(true))]);
    let last = Value::List(vec![Value::Bytes(vec![1]), Value::Bool(true)]);
    assert_eq!(one(Some(keys), rank(-1)), Ok((last, None)));
}

#[test]
fn outcomes_tell_what_is_to_be_done() {
    let record = holding(1_i64);
    let put = Operation::Put { bin: "c".into(), value: Value::Int(2) };
    let read = Operation::Read { bin: bin() };
    let no_op = Operation::Remove { bin: "c".into() };
    assert_eq!(outcome(Some(&record), std::slice::from_ref(&read)), Outcome::ReadOnly);
    assert_eq!(outcome(None, std::slice::from_ref(&read)), Outcome::ReadOnly);
    assert_eq!(outcome(Some(&record), &[Operation::Touch, read.clone()]), Outcome::Touch);
    assert_eq!(outcome(None, &[Operation::Touch]), Outcome::Nothing);
    assert_eq!(outcome(Some(&record), std::slice::from_ref(&no_op)), Outcome::Nothing);
    assert_eq!(outcome(None, std::slice::from_ref(&no_op)), Outcome::Nothing);
    assert_eq!(outcome(Some(&record), &[no_op, Operation::Touch]), Outcome::Touch);
    assert_eq!(outcome(Some(&record), &[put.clone(), read]), Outcome::Write(record.clone().with("c", 2_i64)));
    assert_eq!(outcome(None, std::slice::from_ref(&put)), Outcome::Write(Bins::new().with("c", 2_i64)));
    assert_eq!(outcome(Some(&record), &[Operation::Delete]), Outcome::Delete);
    assert_eq!(outcome(None, &[Operation::Delete]), Outcome::Nothing);
    assert_eq!(outcome(Some(&record), &[put.clone(), Operation::Delete]), Outcome::Delete);
    let made_and_gone = apply(None, &[put, Operation::Delete]).expect("allowed");
    assert_eq!((made_and_gone.outcome, made_and_gone.results), (Outcome::Nothing, vec![Value::Null, true.into()]));
    let emptied = outcome(Some(&record), &[Operation::Remove { bin: bin() }]);
    assert_eq!(emptied, Outcome::Write(Bins::new()), "a record without bins is a record");
}

#[test]
fn a_delete_and_then_puts_make_a_new_record() {
    let record = holding(1_i64).with("old", 2_i64);
    let steps = [Operation::Delete, Operation::Add { bin: bin(), amount: Value::Int(5) }];
    let applied = apply(Some(&record), &steps).expect("allowed");
    assert_eq!(applied.results, [Value::Bool(true), Value::Int(5)]);
    assert_eq!(applied.outcome, Outcome::Write(holding(5_i64)));
    assert!(applied.recreated);
    let created = apply(None, &steps).expect("allowed");
    assert_eq!((created.results[0].clone(), created.recreated), (Value::Bool(false), false));
    for after in [
        Operation::Read { bin: bin() },
        Operation::Touch,
        Operation::Delete,
        Operation::ListPop { bin: bin(), index: 0 },
    ] {
        let error = apply(Some(&record), &[Operation::Delete, after]).expect_err("refused");
        assert!(matches!(error, OperateError::AfterDelete { step: 2, delete: 1, .. }), "{error}");
        assert_eq!(error.code(), Code::InvalidRequest);
    }
}

#[test]
fn later_steps_see_earlier_ones_and_a_failure_undoes_all() {
    let record = holding(1_i64);
    let steps = [
        Operation::Add { bin: bin(), amount: Value::Int(1) },
        Operation::Read { bin: bin() },
        Operation::ListAppend { bin: bin(), value: Value::Null },
    ];
    let applied = apply(Some(&record), &steps[..2]).expect("allowed");
    assert_eq!(applied.results, [Value::Int(2), Value::Int(2)]);
    let error = apply(Some(&record), &steps).expect_err("a list step on an integer");
    let text = "step 3: list append needs bin \"b\" to hold a list, but it holds integer";
    assert_eq!((error.to_string().as_str(), error.code()), (text, Code::TypeMismatch));
    assert_eq!(record, holding(1_i64));
}

#[test]
fn every_list_and_map_step_refuses_other_types() {
    let steps = [
        Operation::ListAppend { bin: bin(), value: Value::Null },
        Operation::ListInsert { bin: bin(), index: 0, value: Value::Null },
        Operation::ListPop { bin: bin(), index: 0 },
        Operation::ListTrim { bin: bin(), index: 0, count: 0 },
        Operation::ListRemove { bin: bin(), value: Value::Null },
        Operation::ListGet { bin: bin(), index: 0 },
        Operation::ListLen { bin: bin() },
        Operation::MapPut { bin: bin(), key: "k".into(), value: Value::Null },
        Operation::MapRemove { bin: bin(), key: "k".into() },
        Operation::MapGetByKey { bin: bin(), key: "k".into() },
        Operation::MapGetByRank { bin: bin(), rank: 0 },
        Operation::MapLen { bin: bin() },
    ];
    for step in steps {
        let other = if name(&step).starts_with("list") { map(&[]) } else { list(&[]) };
        for value in [Value::Null, Value::Int(1), "text".into(), other] {
            assert_eq!(code(Some(value), step.clone()), Code::TypeMismatch, "{step:?}");
        }
    }
}

/// A list within lists, `depth` in all.
fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::List(Vec::new()), |inner, _| Value::List(vec![inner]))
}

#[test]
fn values_nest_to_the_limit_and_no_deeper() {
    let steps = |value: Value| {
        [
            Operation::ListAppend { bin: bin(), value: value.clone() },
            Operation::ListInsert { bin: bin(), index: 0, value: value.clone() },
            Operation::MapPut { bin: bin(), key: "k".into(), value },
        ]
    };
    for step in steps(nested(VALUE_DEPTH_MAX - 1)) {
        let (_, written) = one(None, step).expect("as deep as allowed");
        archive_bins(&holding(written.expect("written"))).expect("within the limits");
    }
    for step in steps(nested(VALUE_DEPTH_MAX)) {
        assert_eq!(code(None, step), Code::ValueTooDeep);
    }
    assert!(one(None, Operation::Put { bin: bin(), value: nested(VALUE_DEPTH_MAX) }).is_ok());
    assert_eq!(code(None, Operation::Put { bin: bin(), value: nested(VALUE_DEPTH_MAX + 1) }), Code::ValueTooDeep);
    assert_eq!(code(None, Operation::Put { bin: bin(), value: nested(5_000) }), Code::ValueTooDeep);
}

#[test]
fn bins_names_results_and_records_have_limits() {
    let full = Bins { bins: (0..BINS_MAX).map(|n| Bin { name: n.to_string(), value: Value::Null }).collect() };
    let put = |bin: &str| Operation::Put { bin: bin.into(), value: Value::Int(1) };
    assert_eq!(apply(Some(&full), &[put("new")]).expect_err("one too many").code(), Code::TooManyBins);
    assert!(apply(Some(&full), &[put("0")]).is_ok());
    assert!(apply(Some(&full), &[Operation::Remove { bin: "0".into() }, put("new")]).is_ok());
    assert!(apply(None, &[put(&"n".repeat(255))]).is_ok());
    assert_eq!(apply(None, &[put(&"n".repeat(256))]).expect_err("too long").code(), Code::InvalidBinName);

    let large = holding(vec![7; RECORD_BYTES_CEILING - 1_000]);
    let read = Operation::Read { bin: bin() };
    assert!(apply(Some(&large), std::slice::from_ref(&read)).is_ok());
    let error = apply(Some(&large), &[read.clone(), read]).expect_err("two don't fit a reply");
    assert!(matches!(error, OperateError::ResultsTooLarge { step: 2, .. }), "{error}");
    assert_eq!(error.code(), Code::ReplyTooLarge);
    let append = Operation::Append { bin: bin(), value: vec![7; 1_000].into() };
    assert_eq!(apply(Some(&large), &[append]).expect_err("too large").code(), Code::RecordTooLarge);
}

#[test]
fn a_hundred_thousand_items_are_no_trap_and_work_has_an_end() {
    let many = 100_000;
    let items = holding(Value::List((0..many).map(|n| Value::Int(n % 2)).collect()));
    let removed = apply(Some(&items), &[Operation::ListRemove { bin: bin(), value: Value::Int(1) }]);
    assert_eq!(removed.expect("allowed").results, [Value::Int(many / 2)]);
    let entries = Value::Map((0..many).map(|n| (MapKey::Int(n), Value::Int(many - n))).collect());
    let ranks = |count| vec![Operation::MapGetByRank { bin: bin(), rank: 0 }; count];
    let first = apply(Some(&holding(entries.clone())), &ranks(1)).expect("allowed");
    assert_eq!(first.results, [list(&[many - 1, 1])]);
    let error = apply(Some(&holding(entries)), &ranks(256)).expect_err("too much");
    assert_eq!(error.code(), Code::InvalidRequest);
    assert!(matches!(error, OperateError::TooMuchWork { step: 84 }), "{error}");
}
