//! Attributes, arguments and queries, driven as the node drives them.

use serde::{Deserialize, Serialize};

use crate::prelude::*;
use crate::{Bins, MapKey, Module, Raw, Run, codec, fake};

/// Adds, within a bound.
///
/// More about it.
#[record_fn]
fn add_up(
    record: &mut Record,
    #[doc = "How much."] by: i64,
    #[default(100)] most: i64,
    note: Option<String>,
) -> Result<i64> {
    let sum = record.add("n", by)?;
    ensure!(sum <= most, "{sum} is over {most}");
    if let Some(note) = note {
        record.set("note", note)?;
    }
    Ok(sum)
}

#[derive(Deserialize, Shape)]
struct Order {
    article: String,
    #[serde(default)]
    count: u32,
}

#[record_fn(name = "order-it")]
fn order(_record: &Record, #[arguments] order: Order) -> String {
    format!("{} x {}", order.count, order.article)
}

#[record_fn]
fn touch(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    record.set_ttl(Ttl::Secs("60".parse()?))?;
    Ok(())
}

#[record_fn(returns = "anything")]
fn raw(_record: &Record) -> Raw {
    Raw(codec::archive_value(&Value::Int(42)).unwrap())
}

#[record_fn]
fn nothing(_: &mut Record) {}

/// Defaults of types that a literal doesn't have by itself.
#[record_fn]
fn defaults(
    _: &Record,
    #[default(7)] small: u8,
    #[default = "some"] text: String,
    #[default(-1.5)] float: f64,
) -> String {
    format!("{small} {text} {float}")
}

#[derive(Serialize, Deserialize)]
struct Average {
    scale: f64,
    sum: f64,
    count: u64,
    #[serde(with = "crate::archived")]
    last: Option<Value>,
}

#[derive(Serialize, Shape)]
struct Mean {
    mean: f64,
    count: u64,
}

/// The mean of `price`.
#[aggregate(name = "mean")]
impl Aggregate for Average {
    type Args = Option<f64>;
    type Output = Mean;

    fn init(scale: Option<f64>) -> Result<Self> {
        Ok(Average { scale: scale.unwrap_or(1.0), sum: 0.0, count: 0, last: None })
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        if let Some(price) = record.number("price") {
            self.sum += price * self.scale;
            self.count += 1;
            self.last = Some(Value::Float(price));
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.sum += other.sum;
        self.count += other.count;
        self.last = self.last.take().or(other.last);
        Ok(())
    }

    fn finish(self) -> Result<Mean> {
        Ok(Mean { mean: self.sum / self.count as f64, count: self.count })
    }
}

#[row_fn]
fn matching(record: &RecordView, words: &[String], below: f64) -> Result<Option<Row>> {
    let name = record.text("name").unwrap_or_default();
    let wanted = record.number("price").is_some_and(|price| price < below);
    Ok(match wanted && words.iter().any(|word| name.contains(word)) {
        true => Some(Row::new().with("key", record.key()?).with_bin(record, "price")?),
        false => None,
    })
}

crate::module! {
    doc: "What the tests need.",
    functions: [add_up, order, touch, raw, nothing, defaults, Average, matching],
}

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(name, value)| (MapKey::from(*name), value.clone())).collect())
}

fn list(items: &[Value]) -> Value {
    Value::List(items.to_vec())
}

#[test]
fn arguments_come_by_name_by_place_or_alone() {
    let mut record = Record::fake().build();
    let mut call = |arguments| fake::call::<i64>(&MODULE, "add_up", &mut record, arguments);
    assert_eq!(call(map(&[("by", 2.into())])).unwrap(), 2);
    assert_eq!(call(list(&[3.into()])).unwrap(), 5);
    assert_eq!(call(map(&[("note", "x".into()), ("most", 6.into()), ("by", 1.into())])).unwrap(), 6);
    assert_eq!(call(list(&[1.into(), Value::Null, Value::Null])).unwrap(), 7);
    assert_eq!(record.get::<String>("note").unwrap().as_deref(), Some("x"));
    let percent = |arguments| fake::call::<String>(&MODULE, "order-it", &mut Record::fake().build(), arguments);
    assert_eq!(percent(map(&[("article", "lamp".into()), ("count", 2.into())])).unwrap(), "2 x lamp");
    assert_eq!(percent(list(&["lamp".into(), 1.into()])).unwrap(), "1 x lamp");
}

#[test]
fn arguments_that_do_not_fit_say_which_and_how() {
    let refused = |arguments| {
        let error = fake::call::<i64>(&MODULE, "add_up", &mut Record::fake().build(), arguments).unwrap_err();
        assert_eq!(error.code(), "invalid-arguments");
        error.to_string()
    };
    assert_eq!(refused(Value::Null), "argument `by` is missing; there are: by, most, note");
    assert_eq!(refused(map(&[("bye", 1.into())])), "there is no argument `bye`; there are: by, most, note");
    assert!(refused(map(&[("by", "one".into())])).starts_with("argument `by`: "));
    assert!(refused(list(&[1.into(), 2.into(), "n".into(), 4.into()])).starts_with("4 arguments"));
    assert!(refused(Value::Int(1)).contains("by name in a map or by place in a list"));
    let whole = fake::call::<String>(&MODULE, "order-it", &mut Record::fake().build(), Value::Null).unwrap_err();
    assert_eq!(whole.code(), "invalid-arguments");
}

#[test]
fn results_of_every_form_reach_the_caller() {
    let mut record = Record::fake().build();
    assert_eq!(fake::call::<i64>(&MODULE, "raw", &mut record, Value::Null).unwrap(), 42);
    fake::call::<()>(&MODULE, "nothing", &mut record, map(&[])).unwrap();
    fake::call::<()>(&MODULE, "touch", &mut record, list(&[])).unwrap();
    assert_eq!(record.outcome(), fake::Outcome::Write { bins: Bins::new(), ttl: Ttl::Secs(60) });
    let defaults = fake::call::<String>(&MODULE, "defaults", &mut record, map(&[("small", 9.into())]));
    assert_eq!(defaults.unwrap(), "9 some -1.5");
    let error = fake::call::<i64>(&MODULE, "add_up", &mut record, list(&[200.into()])).unwrap_err();
    assert_eq!((error.code(), error.message()), ("failed", "200 is over 100"));
}

#[test]
fn a_module_describes_itself() {
    let entry = |name: &str| MODULE.find(name).unwrap();
    let add = entry("add_up");
    assert_eq!((add.doc, add.read_only), ("Adds, within a bound.\n\nMore about it.", false));
    assert_eq!(
        (add.arguments)(),
        r#"{"type":"object","properties":{"by":{"type":"integer","description":"How much."},"most":{"type":"integer"},"note":{"type":"string"}},"required":["by"]}"#
    );
    assert_eq!((add.returns)(), r#"{"type":"integer"}"#);
    let order = entry("order-it");
    assert!(order.read_only);
    assert!((order.arguments)().contains(r#""required":["article"]"#));
    assert_eq!((entry("raw").returns)(), "anything");
    assert_eq!(entry("mean").doc, "The mean of `price`.");
    assert!((entry("mean").returns)().contains("mean"));
    assert!(matches!(entry("matching").run, Run::Rows(_)));
    assert!((entry("matching").arguments)().contains(r#""words":{"type":"array","items":{"type":"string"}}"#));
}

fn products() -> Vec<Record> {
    let product = |(place, price): (usize, f64)| {
        Record::fake().key(place as i64).bin("name", ["lamp", "chair"][place % 2]).bin("price", price).build()
    };
    [1.0, 2.0, 3.0, 6.0].into_iter().enumerate().map(product).collect()
}

fn batch(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let stored = record.source.stored().unwrap();
        bytes.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&stored);
    }
    bytes
}

#[test]
fn an_aggregate_goes_through_batches_states_and_merges() {
    let Run::Aggregate(start) = MODULE.find("mean").unwrap().run else { panic!("an aggregate") };
    let arguments = codec::archive_value(&Value::Int(10)).unwrap();
    let (mut first, mut second) = (start(&arguments).unwrap(), start(&arguments).unwrap());
    let records = products();
    first.accept(&batch(&records[..1])).unwrap();
    first.accept(&batch(&records[1..3])).unwrap();
    second.accept(&batch(&records[3..])).unwrap();
    second.accept(&[]).unwrap();
    first.merge(&second.state().unwrap()).unwrap();
    let result: Value = codec::of_archive(&first.finish().unwrap()).unwrap();
    assert_eq!(result, map(&[("mean", Value::Float(30.0)), ("count", Value::Int(4))]));
    assert!(fake::run_aggregate::<Average>(None, &records).unwrap().mean == 3.0);
    assert!(start(&codec::archive_value(&Value::from("ten")).unwrap()).is_err());
}

#[test]
fn hostile_batches_and_states_are_errors() {
    let Run::Aggregate(start) = MODULE.find("mean").unwrap().run else { panic!("an aggregate") };
    let mut running = start(&[]).unwrap();
    let whole = batch(&products());
    for cut in 1..whole.len().min(400) {
        let _ = running.accept(&whole[..cut]);
    }
    assert_eq!(running.accept(&[1, 2, 3]).unwrap_err().code(), "malformed");
    assert_eq!(running.accept(&u32::MAX.to_le_bytes()).unwrap_err().code(), "malformed");
    assert_eq!(running.accept(&[4, 0, 0, 0, 9, 9, 9, 9]).unwrap_err().code(), "malformed");
    assert!(running.merge(&[7]).is_err());
}

#[test]
fn a_row_function_leaves_out_or_maps() {
    let Run::Rows(start) = MODULE.find("matching").unwrap().run else { panic!("a row function") };
    let arguments = codec::archive_value(&map(&[("words", list(&["lamp".into()])), ("below", 3.5.into())])).unwrap();
    let rows = start(&arguments).unwrap().batch(&batch(&products())).unwrap();
    let mut rest = &rows[..];
    let mut found = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (row, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
        found.push(codec::of_archive::<Value>(row).unwrap());
        rest = tail;
    }
    let row = |key: i64, price: f64| map(&[("key", key.into()), ("price", Value::Float(price))]);
    assert_eq!(found, [row(0, 1.0), row(2, 3.0)]);
}

#[test]
fn numbers_of_functions_are_checked() {
    assert_eq!(MODULE.function(0).unwrap().name, "add_up");
    assert!(MODULE.function(8).is_err());
    const EMPTY: Module = Module::new("", &[]);
    assert!(EMPTY.function(0).is_err());
}
