//! Records of tests behave as the node's do.

use serde::{Deserialize, Serialize};

use super::*;
use crate::fake::Outcome;
use crate::{Bytes, fake};

#[derive(Debug, Serialize, Deserialize, PartialEq, Clone)]
struct Product {
    name: String,
    price: f64,
    stock: u32,
    tags: Vec<String>,
}

fn product() -> Product {
    Product { name: "lamp".into(), price: 19.5, stock: 3, tags: vec!["home".into(), "light".into()] }
}

#[test]
fn a_bin_reads_the_same_alone_and_in_place() {
    let record = Record::fake().bins(&product()).build();
    for _ in 0..2 * SINGLE_READS_MAX {
        assert_eq!(record.get::<String>("name").unwrap().as_deref(), Some("lamp"));
        assert_eq!(record.get::<f64>("price").unwrap(), Some(19.5));
        assert_eq!(record.get::<f64>("stock").unwrap(), Some(3.0));
        assert_eq!(record.get::<u8>("stock").unwrap(), Some(3));
        assert_eq!(record.get::<Vec<String>>("tags").unwrap().unwrap().len(), 2);
        assert_eq!(record.get::<i64>("none").unwrap(), None);
        assert_eq!(record.get::<i64>("name").unwrap_err().code(), Error::WRONG_TYPE);
        assert!(record.get::<u8>("price").unwrap_err().to_string().contains("\"price\""));
    }
    assert!(record.stored.get().is_some(), "many reads take the whole record once");
}

#[test]
fn one_read_does_not_take_the_whole_record() {
    let record = Record::fake().bins(&product()).build();
    record.get::<i64>("stock").unwrap();
    assert!(record.stored.get().is_none());
}

#[test]
fn later_reads_see_what_was_staged() {
    let mut record = Record::fake().bins(&product()).build();
    let before = record.decode::<Product>().unwrap().unwrap();
    record.set("price", 10.0).unwrap();
    assert_eq!(record.add("stock", 4).unwrap(), 7);
    assert!(record.remove("tags").unwrap());
    assert!(!record.remove("tags").unwrap());
    assert_eq!(record.get::<f64>("price").unwrap(), Some(10.0));
    assert_eq!(record.get::<u32>("stock").unwrap(), Some(7));
    assert_eq!(record.get::<Vec<String>>("tags").unwrap(), None);
    assert_eq!(record.with("price", |value| value.to_value()).unwrap().unwrap().unwrap(), Value::Float(10.0));
    assert!(record.decode::<Product>().is_err(), "without tags it is no product");
    record.set("tags", &before.tags).unwrap();
    assert_eq!(record.decode::<Product>().unwrap(), Some(Product { price: 10.0, stock: 7, ..before.clone() }));
    let view = record.view().unwrap().unwrap();
    assert_eq!(view.decode::<Product>().unwrap(), before, "the view is what lies on flash");
}

#[test]
fn deleting_hides_everything_and_a_write_makes_it_anew() {
    let mut record = Record::fake().bins(&product()).build();
    record.delete().unwrap();
    assert_eq!(record.get::<String>("name").unwrap(), None);
    assert_eq!(record.outcome(), Outcome::Delete);
    record.set("name", "new").unwrap();
    assert_eq!(record.bin_names(), ["name"]);
    assert!(matches!(record.outcome(), Outcome::Write { ttl: Ttl::Default, .. }), "it has no expiry to keep");
}

#[test]
fn a_key_without_a_record_can_be_made_one() {
    let mut record = Record::fake().key(7).absent().build();
    assert!(!record.exists());
    assert_eq!((record.generation(), record.view().unwrap().is_none()), (0, true));
    assert_eq!(record.add("n", 5).unwrap(), 5);
    let Outcome::Write { bins, ttl } = record.outcome() else { panic!("it wrote") };
    assert_eq!((bins.get("n"), ttl), (Some(&Value::Int(5)), Ttl::Default));
    let record = record.commit();
    assert!(record.exists());
    assert_eq!((record.generation(), record.outcome()), (1, Outcome::Nothing));
}

#[test]
fn a_commit_sets_time_and_expiry() {
    let context = fake::Context::new().now_ms(50_000).enter();
    let mut record = Record::fake().bin("n", 1).generation(4).build();
    record.set_ttl(Ttl::Secs(10)).unwrap();
    let mut record = record.commit();
    assert_eq!((record.generation(), record.last_update_ms(), record.expiry_secs()), (5, 50_000, Some(60)));
    context.advance_ms(5_000);
    record.add("n", 1).unwrap();
    let record = record.commit();
    assert_eq!((record.last_update_ms(), record.expiry_secs()), (55_000, Some(60)));
}

#[test]
fn what_a_record_cannot_hold_is_refused_and_changes_nothing() {
    let mut record = Record::fake().bin("n", i64::MAX).build();
    assert_eq!(record.add("n", 1).unwrap_err().code(), "overflow");
    assert_eq!(record.set(&"x".repeat(256), 1).unwrap_err().code(), "invalid");
    assert_eq!(record.set("wide", u64::MAX).unwrap_err().code(), "invalid");
    assert_eq!(record.add("n", 0).unwrap(), i64::MAX);
    assert!(record.set_ttl(Ttl::Secs(0)).is_err());
    let text = Record::fake().bin("t", "x").build().add("t", 1).unwrap_err();
    assert_eq!(text.code(), Error::WRONG_TYPE);
}

#[test]
fn bytes_and_values_pass_unchanged() {
    let mut record = Record::fake().build();
    record.set("raw", Bytes(vec![0, 255])).unwrap();
    assert_eq!(record.get::<Bytes>("raw").unwrap(), Some(Bytes(vec![0, 255])));
    let nested = Value::Map(vec![("a".into(), Value::List(vec![Value::Null, Value::Float(f64::NAN)]))]);
    record.set_value("nested", nested.clone()).unwrap();
    assert_eq!(record.get::<Value>("nested").unwrap(), Some(nested));
}
