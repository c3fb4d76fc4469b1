//! Serde types to values and back: everything that serde can say, exactly or with an error that names the field.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use outcrop_client::bins::{AnyValue, from_archived, from_bins, from_value, to_bins, to_value};
use outcrop_client::{Bins, ClientError, MapKey, TypedError, Value};
use outcrop_wire::archive::{access_bins, archive_bins};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Unit;
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Newtype(u32);
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Tuple(u8, String);

/// A field that says `serialize_bytes`, as `serde_bytes` does.
#[derive(Debug, Clone, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlobVisitor;
        impl serde::de::Visitor<'_> for BlobVisitor {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Short,
    Long,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
enum Shape {
    Empty,
    One(i64),
    Two(i64, String),
    Named { width: f64, inner: Option<Box<Shape>> },
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Everything {
    flag: bool,
    ints: (i8, i16, i32, i64),
    uints: (u8, u16, u32, u64),
    floats: (f32, f64),
    letter: char,
    text: String,
    blob: Blob,
    none: Option<u8>,
    some: Option<u8>,
    unit: (),
    unit_struct: Unit,
    newtype: Newtype,
    tuple: Tuple,
    list: Vec<Vec<u16>>,
    by_text: BTreeMap<String, i32>,
    by_number: BTreeMap<i64, String>,
    by_name: BTreeMap<Name, u8>,
    shapes: Vec<Shape>,
    any: AnyValue,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

fn everything() -> Everything {
    Everything {
        flag: true,
        ints: (i8::MIN, i16::MIN, i32::MIN, i64::MIN),
        uints: (u8::MAX, u16::MAX, u32::MAX, i64::MAX as u64),
        floats: (f32::MIN_POSITIVE, -0.0),
        letter: 'ß',
        text: "läuft".to_owned(),
        blob: Blob(vec![0, 255]),
        none: None,
        some: Some(0),
        unit: (),
        unit_struct: Unit,
        newtype: Newtype(7),
        tuple: Tuple(1, "one".to_owned()),
        list: vec![vec![], vec![1, 2]],
        by_text: BTreeMap::from([("a".to_owned(), 1)]),
        by_number: BTreeMap::from([(-5, "minus five".to_owned()), (5, "five".to_owned())]),
        by_name: BTreeMap::from([(Name::Short, 1), (Name::Long, 2)]),
        shapes: vec![
            Shape::Empty,
            Shape::One(1),
            Shape::Two(2, "two".to_owned()),
            Shape::Named { width: 0.5, inner: Some(Box::new(Shape::One(3))) },
        ],
        any: AnyValue(Value::Map(vec![
            (MapKey::Bytes(vec![1]), Value::Null),
            (MapKey::Int(1), Value::List(vec![Value::Float(0.1), Value::Bytes(vec![9])])),
        ])),
        rest: BTreeMap::from([("unforeseen".to_owned(), 77)]),
    }
}

fn typed<T: Debug>(outcome: Result<T, ClientError>) -> TypedError {
    match outcome {
        Err(ClientError::Typed(error)) => error,
        other => panic!("not a typed error: {other:?}"),
    }
}

#[test]
fn everything_that_serde_says_comes_back_the_same() {
    let bins = to_bins(&everything()).expect("fits");
    assert_eq!(from_bins::<Everything>(&bins).expect("owned"), everything());
    let archive = archive_bins(&bins).expect("within the limits");
    let archived = access_bins(&archive).expect("valid");
    assert_eq!(from_archived::<Everything>(archived).expect("in place"), everything());
}

#[test]
fn values_are_those_of_the_table() {
    let bins = to_bins(&everything()).expect("fits");
    let is = |name: &str, value: Value| assert_eq!(bins.get(name), Some(&value), "{name}");
    is("flag", Value::Bool(true));
    is("letter", "ß".into());
    is("blob", Value::Bytes(vec![0, 255]));
    is("none", Value::Null);
    is("some", Value::Int(0));
    is("unit", Value::Null);
    is("newtype", Value::Int(7));
    is("tuple", Value::List(vec![1.into(), "one".into()]));
    is("by_name", Value::Map(vec![("Short".into(), 1.into()), ("Long".into(), 2.into())]));
    is("unforeseen", Value::Int(77));
    assert_eq!(bins.bins.first().map(|bin| bin.name.as_str()), Some("flag"), "fields keep their order");
    let Some(Value::List(shapes)) = bins.get("shapes") else { panic!("a list") };
    assert_eq!(shapes[0], "Empty".into());
    assert_eq!(shapes[1], Value::Map(vec![("One".into(), 1.into())]));
    assert_eq!(shapes[2], Value::Map(vec![("Two".into(), Value::List(vec![2.into(), "two".into()]))]));
}

#[test]
fn what_values_cannot_hold_is_refused_with_its_path() {
    #[derive(Serialize)]
    struct Order {
        lines: Vec<BTreeMap<&'static str, u64>>,
    }
    let order = Order { lines: vec![BTreeMap::new(), BTreeMap::from([("count", u64::MAX)])] };
    let error = typed(to_bins(&order));
    assert_eq!(error.path(), "lines[1].count");
    assert!(error.message().contains("18446744073709551615"), "{error}");
    assert_eq!(typed(to_bins(&BTreeMap::from([("wide", 1_i128)]))).path(), "wide");
    assert!(to_value(&1_u128).is_err());
    assert!(typed(to_value(&BTreeMap::from([(true, 1)]))).message().contains("bool"));
    assert!(
        typed(
            to_value(&vec![(1, 2)].into_iter().collect::<HashMap<i32, i32>>())
                .and_then(|value| from_value::<HashMap<String, i32>>(&value))
        )
        .path()
        .contains('1')
    );
    assert!(typed(to_bins(&BTreeMap::from([(1, 2)]))).message().contains("bin's name"));
    assert!(typed(to_bins("text")).message().contains("text"));
    assert!(typed(to_bins(&None::<BTreeMap<String, i32>>)).message().contains("null"));
    #[derive(Serialize)]
    enum Deep {
        More(Box<Deep>),
        End,
    }
    let deep = (0..200).fold(Deep::End, |inner, _| Deep::More(Box::new(inner)));
    assert!(typed(to_value(&deep)).message().contains("64"));
}

#[test]
fn what_types_cannot_hold_is_refused_with_its_path() {
    let wrong = |name: &str, value: Value| {
        let mut bins = to_bins(&everything()).expect("fits");
        bins.set(name, value);
        typed(from_bins::<Everything>(&bins))
    };
    assert_eq!(wrong("text", 1.into()).path(), "text");
    assert_eq!(wrong("newtype", Value::Int(-1)).path(), "newtype");
    assert_eq!(wrong("newtype", Value::Int(1 << 40)).path(), "newtype");
    let ints = Value::List(vec![1.into(), 2.into(), "x".into(), 4.into()]);
    assert_eq!(wrong("ints", ints).path(), "ints[2]");
    let five = Value::List((0..5).map(Value::Int).collect());
    assert!(wrong("ints", five).to_string().contains("too many"));
    assert!(wrong("ints", Value::List(vec![])).to_string().starts_with("ints: "));
    assert_eq!(wrong("floats", Value::List(vec![1.into(), Value::Int((1 << 53) + 1)])).path(), "floats[1]");
    let shape = Value::Map(vec![("Named".into(), Value::Map(vec![("width".into(), "wide".into())]))]);
    assert_eq!(wrong("shapes", Value::List(vec!["Empty".into(), shape])).path(), "shapes[1].Named.width");
    assert!(wrong("shapes", Value::List(vec!["Sphere".into()])).message().contains("Sphere"));
    assert!(wrong("shapes", Value::List(vec!["One".into()])).message().contains("only its name"));
    assert!(
        wrong("by_text", Value::Map(vec![("a".into(), 1.into()), (MapKey::Int(2), 2.into())])).path() == "by_text.2"
    );
    let missing = Bins::new().with("flag", true);
    assert!(typed(from_bins::<Everything>(&missing)).message().contains("ints"));
}

#[test]
fn floats_from_integers_are_exact_or_refused() {
    let float = |value: i64| from_value::<f64>(&Value::Int(value));
    assert_eq!(float(1 << 53).expect("exact"), 9_007_199_254_740_992.0);
    assert!(float((1 << 53) + 1).is_err());
    assert!(float(i64::MIN).is_err());
    assert_eq!(from_value::<f32>(&Value::Int(1 << 24)).expect("exact"), 16_777_216.0);
    assert!(from_value::<f32>(&Value::Int((1 << 24) + 1)).is_err());
    assert!(from_value::<i64>(&Value::Float(1.0)).is_err());
}

#[test]
fn an_enum_can_be_a_record() {
    let shape = Shape::Named { width: 1.5, inner: None };
    let bins = to_bins(&shape).expect("one bin");
    assert_eq!(bins.bins.len(), 1);
    assert_eq!(from_bins::<Shape>(&bins).expect("the same"), shape);
    assert!(from_bins::<Shape>(&Bins::new()).is_err());
}

fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let value = to_value(value).expect("fits");
    let archive = archive_bins(&Bins::new().with("value", value.clone())).expect("within the limits");
    let archived = access_bins(&archive).expect("valid").get("value").expect("there");
    let _: T = from_value(&value).expect("owned");
    outcrop_client::bins::from_archived_value(archived).expect("in place")
}

proptest! {
    #[test]
    fn numbers_and_texts_of_all_sizes(ints in any::<(i8, i16, i32, i64)>(), uints in any::<(u8, u16, u32)>(),
                                      bits in any::<(u32, u64)>(), text in ".*", letter in any::<char>(),
                                      list in any::<Vec<Option<(bool, String)>>>()) {
        prop_assert_eq!(round_trip(&ints), ints);
        prop_assert_eq!(round_trip(&uints), uints);
        prop_assert_eq!(round_trip(&f64::from_bits(bits.1)).to_bits(), bits.1);
        let small = f32::from_bits(bits.0);
        let back: f32 = round_trip(&small);
        prop_assert!(back == small || back.is_nan() && small.is_nan());
        prop_assert_eq!(round_trip(&text), text);
        prop_assert_eq!(round_trip(&letter), letter);
        prop_assert_eq!(round_trip(&list), list);
    }
}
