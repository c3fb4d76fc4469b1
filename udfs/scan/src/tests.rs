//! Expressions on records that tests make, and queries against plain loops over the same records.

use std::collections::{BTreeMap, BTreeSet};

use outcrop_udf::fake;
use outcrop_udf::prelude::*;
use outcrop_udf::{MapKey, RecordView};
use proptest::prelude::*;

use super::*;
use crate::evaluate::Source;
use crate::expression::{Expression, Scope};

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(name, value)| (MapKey::from(*name), value.clone())).collect())
}

fn shop() -> Record {
    Record::fake()
        .set("stores")
        .key("s1")
        .generation(3)
        .expiry_secs(1_800_000_000)
        .bin("name", "Ölmühle")
        .bin("price", 9.5)
        .bin("stock", 7)
        .bin("open", true)
        .bin("nothing", Value::Null)
        .bin("location", map(&[("lat", Value::Float(45.0)), ("a b", Value::Int(1))]))
        .bin("services", Value::List(vec!["wifi".into(), Value::Int(2), "parking".into()]))
        .bin("odd name", 5)
        .bin("big", (1_i64 << 53) + 1)
        .bin("most", i64::MAX)
        .build()
}

fn worked_out(text: &str) -> Result<Value> {
    let shop = shop();
    let view: RecordView<'_> = shop.view()?.ok_or("it exists")?;
    let expression = Expression::parse(text, Scope::Record)?;
    let found = expression.value(&Source::Record(view))?;
    found.to_value()
}

#[track_caller]
fn gives(text: &str, wanted: impl Into<Value>) {
    let (found, wanted) = (worked_out(text), wanted.into());
    assert_eq!(found.as_ref(), Ok(&wanted), "{text}");
}

#[track_caller]
fn fails(text: &str, code: &str, place: usize, message: &str) {
    let error = worked_out(text).expect_err(text);
    assert_eq!(error.code(), code, "{text}: {error}");
    let wanted = format!("(at character {place})");
    assert!(error.message().contains(message) && error.message().contains(&wanted), "{text}: {error}");
}

#[test]
fn operators_bind_as_written() {
    gives("1 + 2 * 3 - 4", 3);
    gives("(1 + 2) * 3 % 5", 4);
    gives("-2 * -3", 6);
    gives("- (1 + 1)", -2);
    gives("7 / 2", 3);
    gives("-7 % 3", -1);
    gives("7 / 2.0", 3.5);
    gives("stock - 1 == 6 and not open == false", true);
    gives("!open or price<10&&stock>=7", true);
    gives("false and false or true", true);
    gives("-9223372036854775808", i64::MIN);
    gives("'it\\'s \\u00e4\\ud83d\\ude00' == \"it's ä😀\"", true);
}

#[test]
fn bins_members_and_elements_are_read_in_place() {
    gives("location.lat", 45.0);
    gives("location.`a b` + `odd name` + bin('odd name')", 11);
    gives("location['lat']", 45.0);
    gives("services[0]", "wifi");
    gives("services[-1]", "parking");
    gives("services[9]", Value::Null);
    gives("services[-9223372036854775808]", Value::Null);
    gives("name.first[2].x", Value::Null);
    gives("'wifi' in services and 2.0 in services and not (3 in services)", true);
    gives("'lat' in location", true);
    gives("services", Value::List(vec!["wifi".into(), Value::Int(2), "parking".into()]));
    gives("key() + 1", Value::Null);
    gives("set() == 'stores' and key() == 's1' and generation() == 3", true);
    gives("expiry_secs() - 1800000000", 0);
    gives("last_update_ms() <= now_ms()", true);
}

#[test]
fn what_is_not_there_is_null_and_logic_has_three_values() {
    gives("gone", Value::Null);
    gives("gone < 5", Value::Null);
    gives("gone == null and nothing == null and gone != 5", true);
    gives("gone > 1 and false", false);
    gives("gone > 1 or true", true);
    gives("gone > 1 and true", Value::Null);
    gives("not (gone > 1)", Value::Null);
    gives("gone + 1", Value::Null);
    gives("name < 5", Value::Null);
    gives("name == 5", false);
    gives("name + 1", Value::Null);
    gives("coalesce(gone, nothing, stock)", 7);
    gives("if(gone > 1, 'a', 'b')", "b");
    gives("gone in [1, null]", true);
    gives("stock in gone", Value::Null);
}

#[test]
fn numbers_are_compared_exactly_and_never_wrap() {
    gives("big > 9007199254740992.0", true);
    gives("big == 9007199254740992.0", false);
    gives("stock == 7.0 and stock in [1, 7.0] and price in [9.5]", true);
    gives("float('nan') == float('nan')", false);
    gives("float('nan') in [1]", false);
    gives("int(7.9) + int('12') + int(-0.5)", 19);
    gives("int(1e300)", Value::Null);
    gives("abs(-3) + floor(2.7) + ceil(2.1) + round(2.5)", 11.0);
    fails("most + 1", "overflow", 1, "over 64 bits");
    fails("1 + most * 2", "overflow", 5, "over 64 bits");
    fails("-(-most - 1)", "overflow", 4, "over 64 bits");
    fails("(-most - 1) / -1", "overflow", 3, "over 64 bits");
    fails("stock / (stock - 7)", "division-by-zero", 1, "divided by zero");
    gives("stock / 0.0 > most", true);
}

#[test]
fn texts_are_searched() {
    gives("starts_with(name, 'Öl') and ends_with(name, 'e') and contains(name, 'mü')", true);
    gives("lower(name) == 'ölmühle' and upper('ß') == 'SS'", true);
    gives("length(name)", 7);
    gives("length(services) + length(location)", 5);
    gives("contains(services, 'wifi')", true);
    gives("type(price) == 'float' and type(gone) == 'null' and type(location) == 'map'", true);
    gives("name in ['x', 'Ölmühle', 'a']", true);
    gives("name not in ['x']", true);
    gives("'a' < 'b'", true);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let invalid = "invalid-expression";
    fails("", invalid, 1, "ends where a value belongs");
    fails("1 +", invalid, 4, "ends where a value belongs");
    fails("price = 5", invalid, 7, "compared with `==`");
    fails("(1 + 2", invalid, 1, "`)` is missing");
    fails("(1 + 2]", invalid, 7, "`]` where `)` belongs");
    fails("1 2", invalid, 3, "where the expression could end");
    fails("1 < 2 < 3", invalid, 7, "`<` where the expression could end");
    fails("a and", invalid, 6, "ends where a value belongs");
    fails("a ++ b", invalid, 4, "`+` where a value belongs");
    fails("nope(1)", invalid, 1, "there is no function `nope`");
    fails("length()", invalid, 1, "takes 1 argument");
    fails("1 + 'a'", invalid, 5, "this is a text, where a number belongs");
    fails("not 5", invalid, 5, "this is a number, where true or false belongs");
    fails("'ä' < 5", invalid, 7, "where a text belongs");
    fails("lower(5)", invalid, 7, "where a text belongs");
    fails("'open", invalid, 1, "its quote is missing");
    fails("'\\ud83d'", invalid, 2, "hexadecimal");
    fails("9223372036854775808", invalid, 1, "at most 64 bits");
    fails("1e999", invalid, 1, "1.8e308");
    fails("5px", invalid, 2, "ends in a letter");
    fails("a.", invalid, 3, "name of a member");
    fails("a[1", invalid, 2, "`]` is missing");
    fails("x in [1, y]", invalid, 10, "numbers, texts");
    fails("x in 5", invalid, 6, "where bytes, a list or a map belongs");
    fails("sum(price)", invalid, 1, "belongs into `aggregates`");
    fails("a\n  # b", invalid, 5, "`#` where the expression could end");
}

#[test]
fn hostile_expressions_are_refused_before_they_take_the_stack() {
    for (open, close) in [("(", ")"), ("-", ""), ("!", ""), ("not ", ""), ("a[", "]"), ("lower(", ")"), ("[", "]")] {
        for count in [65, 2_000, 100_000] {
            let text = format!("{}a{}", open.repeat(count), close.repeat(count));
            let error = worked_out(&text).expect_err(open);
            assert_eq!(error.code(), "invalid-expression", "{open} {error}");
        }
    }
    for chain in ["a.", "1 + ", "a[0]"] {
        assert!(worked_out(&format!("{}a", chain.repeat(3_000))).is_err());
    }
    assert!(worked_out(&format!("{}a", "a or ".repeat(3_000))).is_ok(), "a long `or` isn't deep");
    let ids = (0..2_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    gives(&format!("stock in [{ids}]"), true);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[ -~äß\n]{0,60}", tail in "[a-z0-9()'\"<>=!&|+*/%., \\[\\]\\\\-]{0,60}") {
        let _ = worked_out(&text);
        let _ = worked_out(&tail);
        let _ = worked_out(&format!("price {tail}"));
    }
}

fn sales(rows: &[(u8, Option<i64>, u16)]) -> Vec<Record> {
    let record = |(place, (brand, price, user)): (usize, &(u8, Option<i64>, u16))| {
        let record =
            Record::fake().key(place as i64).bin("brand", format!("b{}", brand % 4)).bin("user", i64::from(*user));
        match price {
            Some(price) if price % 3 == 0 => record.bin("price", *price as f64 / 8.0).build(),
            Some(price) => record.bin("price", *price).build(),
            None => record.build(),
        }
    };
    rows.iter().enumerate().map(record).collect()
}

/// Runs it over shares of any sizes, merged in any order, as nodes do.
fn in_shares<A: Aggregate>(arguments: A::Args, records: &[Record], shares: &[usize]) -> Result<A::Output>
where
    A::Args: Clone,
{
    let mut states = Vec::new();
    for share in 0..shares.len().max(1) {
        let mut instance = A::init(arguments.clone())?;
        for (place, record) in records.iter().enumerate() {
            if shares.get(place % shares.len().max(1)).map_or(0, |to| to % shares.len()) == share {
                instance.accept(&record.view()?.ok_or("it exists")?)?;
            }
        }
        states.push(instance.save()?);
    }
    let mut merged = A::init(arguments)?;
    for state in states.iter().rev() {
        merged.merge(A::load(state)?)?;
    }
    merged.finish()
}

fn query(group_by: Value, aggregates: &[(&str, &str)]) -> AggregateArgs {
    let aggregates = aggregates.iter().map(|(name, text)| (MapKey::from(*name), Value::from(*text)));
    AggregateArgs { group_by, aggregates: Value::Map(aggregates.collect()), ..AggregateArgs::default() }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        other => panic!("{other:?} is no number"),
    }
}

proptest! {
    #[test]
    fn groups_are_what_a_plain_loop_gives_however_records_are_shared(
        rows in prop::collection::vec((any::<u8>(), prop::option::of(-1_000_000_i64..1_000_000), any::<u16>()), 0..200),
        shares in prop::collection::vec(0_usize..16, 1..9),
    ) {
        let records = sales(&rows);
        let mut asked = query(Value::from("brand"), &[
            ("n", "count()"), ("priced", "count(price)"), ("sum", "sum(price)"), ("min", "min(price)"),
            ("max", "max(price)"), ("avg", "avg(price)"), ("users", "distinct(user)"), ("p90", "percentile(price, 90)"),
            ("best", "top(price, 3)"), ("dear", "count_if(price > 100)"),
        ]);
        asked.filter = Some("user >= 1000".to_owned());
        let table = in_shares::<Groups>(Some(asked), &records, &shares).expect("a table");
        let mut model: BTreeMap<String, Vec<(i64, Option<f64>, u16)>> = BTreeMap::new();
        for (place, (brand, price, user)) in rows.iter().enumerate().filter(|(_, row)| row.2 >= 1_000) {
            let price = price.map(|price| if price % 3 == 0 { price as f64 / 8.0 } else { price as f64 });
            model.entry(format!("b{}", brand % 4)).or_default().push((place as i64, price, *user));
        }
        prop_assert_eq!(table.groups as usize, model.len());
        prop_assert_eq!(table.rows.len(), model.len());
        for (row, (brand, group)) in table.rows.iter().zip(&model) {
            let get = |name: &str| row.get(name).cloned().expect("a column");
            prop_assert_eq!(get("brand"), Value::from(brand.as_str()));
            prop_assert_eq!(get("n"), Value::Int(group.len() as i64));
            let mut prices: Vec<f64> = group.iter().filter_map(|(_, price, _)| *price).collect();
            prices.sort_by(f64::total_cmp);
            prop_assert_eq!(get("priced"), Value::Int(prices.len() as i64));
            prop_assert_eq!(get("dear"), Value::Int(prices.iter().filter(|price| **price > 100.0).count() as i64));
            let users: BTreeSet<u16> = group.iter().map(|(_, _, user)| *user).collect();
            prop_assert_eq!(get("users"), map(&[("distinct", Value::Int(users.len() as i64)), ("exact", true.into())]));
            if prices.is_empty() {
                prop_assert_eq!((get("sum"), get("avg"), get("min"), get("p90")), (Value::Int(0), Value::Null, Value::Null, Value::Null));
                continue;
            }
            // Eighths of integers are exact as floats, so that their sums are, whatever the order.
            prop_assert_eq!(number(&get("sum")), prices.iter().sum::<f64>());
            prop_assert_eq!(number(&get("avg")), prices.iter().sum::<f64>() / prices.len() as f64);
            prop_assert_eq!((number(&get("min")), number(&get("max"))), (prices[0], prices[prices.len() - 1]));
            let place = 0.9 * (prices.len() - 1) as f64;
            let (below, above) = (prices[place as usize], prices[(place as usize + 1).min(prices.len() - 1)]);
            let p90 = get("p90").get(&MapKey::from("value")).map(number).expect("a value");
            prop_assert!((p90 - (below + (above - below) * place.fract())).abs() < 1e-6);
            let mut best: Vec<(f64, i64)> = group.iter().filter_map(|(key, price, _)| Some(((*price)?, *key))).collect();
            best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let Value::List(found) = get("best") else { panic!("a list") };
            let found: Vec<(f64, i64)> = found.iter().map(|item| {
                let part = |name: &str| item.get(&MapKey::from(name)).map(number).expect("a part");
                (part("value"), part("key") as i64)
            }).collect();
            best.truncate(3);
            prop_assert_eq!(found, best);
        }
    }

    #[test]
    fn the_first_of_an_order_are_the_same_however_records_are_shared(
        rows in prop::collection::vec((any::<u8>(), prop::option::of(-20_i64..20), any::<u16>()), 0..300),
        shares in prop::collection::vec(0_usize..16, 1..9),
        limit in 1_usize..40,
    ) {
        let records = sales(&rows);
        let order = Value::List(vec!["brand".into(), "price desc".into()]);
        let project = map(&[("k", "key()".into()), ("p", "price".into())]);
        let asked = TopArgs { filter: None, project, order, limit: Some(limit) };
        let found = in_shares::<Top>(asked, &records, &shares).expect("rows");
        let value = |price: Option<i64>| price.map(|price| if price % 3 == 0 { price as f64 / 8.0 } else { price as f64 });
        let mut model: Vec<(u8, Option<f64>, i64)> =
            rows.iter().enumerate().map(|(place, row)| (row.0 % 4, value(row.1), place as i64)).collect();
        let descending = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            // Null comes last where the order falls.
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        model.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| descending(a.1, b.1)).then(a.2.cmp(&b.2)));
        model.truncate(limit);
        prop_assert_eq!(found.records as usize, rows.len());
        let keys: Vec<f64> = found.rows.iter().map(|row| row.get("k").map(number).expect("a key")).collect();
        prop_assert_eq!(keys, model.iter().map(|row| row.2 as f64).collect::<Vec<_>>());
    }
}

#[test]
fn results_are_filtered_ordered_and_cut() {
    let rows: Vec<(u8, Option<i64>, u16)> = (0..40).map(|n| ((n % 7) as u8, Some(n), n as u16)).collect();
    let mut asked = query(
        map(&[("brand", "brand".into()), ("even", "user % 2 == 0".into())]),
        &[("n", "count()"), ("users", "distinct(user)")],
    );
    asked.having = Some("n > 3 and users.distinct > 3".to_owned());
    asked.order = Value::List(vec!["users.distinct desc".into(), "brand".into()]);
    asked.limit = Some(2);
    let table = fake::run_aggregate::<Groups>(Some(asked), &sales(&rows)).expect("a table");
    assert_eq!((table.groups, table.records, table.rows.len()), (8, 40, 2));
    assert_eq!(table.rows[0].get("n"), Some(&Value::Int(6)));
    let none = fake::run_aggregate::<Groups>(None, &[]).expect("a table");
    assert_eq!(none.rows[0].get("count"), Some(&Value::Int(0)), "no records are one group, too");
}

#[test]
fn sums_of_integers_are_exact_or_an_error() {
    let records = |values: &[Value]| -> Vec<Record> {
        values.iter().map(|value| Record::fake().bin("v", value.clone()).build()).collect()
    };
    let sum = |values: &[Value]| {
        let table = fake::run_aggregate::<Groups>(Some(query(Value::Null, &[("s", "sum(v)")])), &records(values));
        table.map(|table| (table.rows[0].get("s").cloned().expect("a sum"), table.skipped))
    };
    let big = Value::Int(i64::MAX);
    assert_eq!(
        sum(&[big.clone(), big.clone(), Value::Int(-i64::MAX)]),
        Ok((big.clone(), 0)),
        "beyond 64 bits and back"
    );
    assert_eq!(sum(&[big.clone(), Value::Int(1)]).expect_err("too large").code(), "overflow");
    assert_eq!(sum(&[1e16.into(), 1.0.into(), 1.0.into(), (-1e16).into()]), Ok((Value::Float(2.0), 0)));
    assert_eq!(
        sum(&[Value::Int(1), "x".into(), Value::Null]),
        Ok((Value::Int(1), 1)),
        "a text is skipped, and said so"
    );
    assert_eq!(sum(&[f64::INFINITY.into(), 1.0.into()]), Ok((Value::Float(f64::INFINITY), 0)));
}

#[test]
fn numbers_that_are_the_same_are_one_group() {
    let records = [Value::Int(1), Value::Float(1.0), Value::Float(-0.0), Value::Int(0), Value::from("1")];
    let records = records.map(|value| Record::fake().bin("v", value).build());
    let table =
        fake::run_aggregate::<Groups>(Some(query(Value::from("v"), &[("n", "count()")])), &records).expect("a table");
    let found: Vec<Value> = table.rows.iter().filter_map(|row| row.get("v").cloned()).collect();
    assert_eq!(found, [Value::Int(0), Value::Int(1), Value::from("1")]);
}

#[test]
fn many_values_are_estimated_and_said_to_be() {
    let records: Vec<Record> = (0..5_000_i64).map(|n| Record::fake().key(n).bin("v", n).build()).collect();
    let asked = query(Value::Null, &[("d", "distinct(v)"), ("p", "percentile(v, 50)")]);
    let first = in_shares::<Groups>(Some(asked.clone()), &records, &[0, 1, 2, 3, 4]).expect("a table");
    let again = in_shares::<Groups>(Some(asked), &records, &[2, 2, 0]).expect("a table");
    let distinct = first.rows[0].get("d").expect("a count");
    assert_eq!(distinct.get(&MapKey::from("exact")), Some(&Value::Bool(false)));
    let count = distinct.get(&MapKey::from("distinct")).map(number).expect("a count");
    assert!((count - 5_000.0).abs() < 250.0, "{count}");
    assert_eq!(first.rows[0].get("d"), again.rows[0].get("d"), "the estimate depends on the values alone");
    let median = first.rows[0].get("p").expect("a percentile");
    assert_eq!(median.get(&MapKey::from("exact")), Some(&Value::Bool(false)));
    assert!((median.get(&MapKey::from("value")).map(number).expect("a value") - 2_500.0).abs() < 50.0);
}

#[test]
fn bounds_are_errors_that_say_what_to_do() {
    let records: Vec<Record> = (0..10_001_i64).map(|n| Record::fake().key(n).bin("v", n).build()).collect();
    let code = |asked: AggregateArgs| {
        fake::run_aggregate::<Groups>(Some(asked), &records).expect_err("too much").code().to_owned()
    };
    assert_eq!(code(query(Value::from("v"), &[("n", "count()")])), "too-many-groups");
    let wide: Vec<Record> =
        (0..300_i64).map(|n| Record::fake().key(n).bin("v", format!("{n}{}", "x".repeat(60_000))).build()).collect();
    let error = fake::run_aggregate::<Groups>(Some(query(Value::from("v"), &[("m", "max(v)")])), &wide);
    assert_eq!(error.expect_err("too large").code(), "state-too-large");
    let all = |project: &str| {
        let (project, order) = (Value::from(project), Value::from("key()"));
        let asked = TopArgs { filter: None, project, order, limit: Some(10_000) };
        fake::run_aggregate::<Top>(asked, &wide)
    };
    assert_eq!(all("v").expect_err("too large").code(), "state-too-large");
    assert_eq!(all("key()").expect("what is projected counts").rows.len(), 300);
    let twice = query(Value::from("brand"), &[("brand", "count()")]);
    assert_eq!(code(twice), "invalid-arguments");
    let mut asked = query(Value::Null, &[("n", "sum(a) + 1")]);
    assert_eq!(code(asked.clone()), "invalid-expression");
    asked.aggregates = map(&[("n", "percentile(v, 101)".into())]);
    assert_eq!(code(asked.clone()), "invalid-expression");
    asked.aggregates = Value::Null;
    asked.having = Some("key() == 1".to_owned());
    assert_eq!(code(asked), "invalid-expression");
}

/// Catches: a misspelt column, which was null in `having` and `order`: no rows, or rows in no order.
#[test]
fn columns_that_a_result_does_not_have_are_refused() {
    let refused = |having: Option<&str>, order: Value| {
        let mut asked = query(map(&[("brand", "brand".into())]), &[("n", "count()")]);
        (asked.having, asked.order) = (having.map(str::to_owned), order);
        let error = fake::run_aggregate::<Groups>(Some(asked), &[]).map(|_| ()).expect_err("no such column");
        assert_eq!(error.code(), "invalid-expression");
        error.message().to_owned()
    };
    let said = refused(Some("n > 1 and nn > 10"), Value::Null);
    assert!(said.starts_with("having: ") && said.contains("no column `nn`; there are brand, n"), "{said}");
    assert!(said.contains("at character 11"), "{said}");
    let said = refused(None, Value::List(vec!["n".into(), "if(size > 1, 1, 2) desc".into()]));
    assert!(said.starts_with("order: ") && said.contains("no column `size`"), "{said}");
}

#[test]
fn rows_are_filtered_and_projected() {
    let records = sales(&[(1, Some(4), 1), (2, None, 2), (3, Some(100), 3)]);
    let project = Value::List(vec!["key()".into(), "price * 2".into()]);
    let asked = SelectArgs { filter: Some("price < 50 or price == null".to_owned()), project };
    let rows = fake::run_rows::<Select>(Some(asked), &records).expect("rows");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].get("price * 2"), Some(&Value::Int(8)));
    assert_eq!(rows[1].get("price * 2"), None, "null stays out");
    let all = fake::run_rows::<Select>(None, &records).expect("rows");
    assert_eq!((all.len(), all[1].get("brand")), (3, Some(&Value::from("b2"))));
    let wrong = SelectArgs { filter: Some("5".to_owned()), ..SelectArgs::default() };
    assert!(
        fake::run_rows::<Select>(Some(wrong), &records).expect_err("no condition").message().starts_with("where: ")
    );
}
