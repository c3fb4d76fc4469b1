//! The functions as a node calls them, on records that tests make.

use outcrop_udf::fake;
use outcrop_udf::prelude::*;

use super::sets::{CountArgs, DistinctArgs, QueryArgs};
use super::*;

fn value(json: &str) -> Value {
    outcrop_wire::json::parse_value(json.as_bytes(), 64).expect("JSON")
}

fn product(key: &str, document: &str) -> Record {
    let mut record = Record::fake().key(key).absent().build();
    set(&mut record, value(document)).expect("a document");
    record.commit()
}

#[test]
fn a_document_is_read_and_changed_where_a_path_points() {
    let mut lamp = product("lamp", r#"{"name": "lamp", "price": 80, "tags": ["a"], "size": {"w": 1.5}}"#);
    assert_eq!(get(&lamp, "$.size.w".into()), Ok(vec![Value::Float(1.5)]));
    assert_eq!(locate(&lamp, "$..w".into()), Ok(vec!["$['size']['w']".to_owned()]));
    assert_eq!(append(&mut lamp, "$.tags".into(), vec!["b".into(), "c".into()]), Ok(1));
    assert_eq!(increment(&mut lamp, "$.price".into(), Value::Int(-5)), Ok(vec![Value::Int(75)]));
    assert_eq!(insert(&mut lamp, "$.size.h".into(), Value::Int(2)), Ok(1));
    assert_eq!(delete(&mut lamp, "$.tags[0]".into()), Ok(1));
    assert_eq!(update(&mut lamp, "$.nowhere".into(), Value::Null), Ok(0));
    let document = get(&lamp, "$".into()).expect("a document");
    let wanted = r#"{"name":"lamp","price":75,"tags":["b","c"],"size":{"w":1.5,"h":2}}"#;
    assert_eq!(document, [value(wanted)], "members keep their order");
}

#[test]
fn what_fails_changes_nothing() {
    let mut lamp = product("lamp", r#"{"n": 1}"#);
    assert!(patch(&mut lamp, value(r#"[{"op":"remove","path":"/n"},{"op":"remove","path":"/m"}]"#)).is_err());
    assert!(update(&mut lamp, "$".into(), Value::Int(1)).is_err(), "a document stays an object");
    assert!(set(&mut lamp, value("[1]")).is_err());
    assert_eq!(lamp.outcome(), fake::Outcome::Nothing);
    let mut nobody = Record::fake().absent().build();
    assert_eq!(get(&nobody, "$".into()).expect_err("nothing there").code(), NO_DOCUMENT);
    assert_eq!(merge(&mut nobody, value(r#"{"a":1,"b":null}"#)), Ok(value(r#"{"a":1}"#)));
}

#[test]
fn sets_are_filtered_counted_and_grouped() {
    let products = [
        product("lamp", r#"{"price": 5, "brand": "X", "tags": ["a", "b"]}"#),
        product("chair", r#"{"price": 50, "brand": "X", "tags": ["a"]}"#),
        product("table", r#"{"price": 7, "brand": "Y", "tags": []}"#),
    ];
    let cheap = || Some("@.price < 10".to_owned());
    let query = QueryArgs { filter: cheap(), select: Some("$.brand".into()) };
    let rows = fake::run_rows::<Query>(Some(query), &products).expect("rows");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].get("selected"), Some(&Value::List(vec!["X".into()])));
    let count = |filter| fake::run_aggregate::<Count>(Some(CountArgs { filter }), &products);
    assert_eq!((count(cheap()), count(None)), (Ok(2), Ok(3)));
    let distinct = DistinctArgs { path: "$.tags[*]".into(), filter: None, limit: None };
    let found = fake::run_aggregate::<Distinct>(distinct, &products).expect("values");
    let counts: Vec<(Value, u64)> = found.values.into_iter().map(|found| (found.value, found.count)).collect();
    assert_eq!((counts, found.complete), (vec![("a".into(), 2), ("b".into(), 1)], true));
    let one = DistinctArgs { path: "$.tags[*]".into(), filter: None, limit: Some(1) };
    assert!(!fake::run_aggregate::<Distinct>(one, &products).expect("values").complete);
}
