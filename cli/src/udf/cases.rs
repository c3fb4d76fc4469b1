//! Cases of `outcrop udf test`: records, a call, and what must come of it, as JSON.

use outcrop_client::{MapKey, UserKey, Value};

use crate::json::{parse_value, to_text};
use crate::keys::parse_user_key;

/// What a case does.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Calls a record function on one key.
    Call {
        /// The key.
        key: UserKey,
    },
    /// Runs an aggregate over the set.
    Aggregate,
    /// Runs a row function over the set.
    Rows,
}

/// What must come of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// It succeeds; the result isn't looked at.
    Success,
    /// It gives this; rows in any order.
    Result(Value),
    /// It fails, with this in the message and, if given, this code.
    Error {
        /// Part of the message.
        message: String,
        /// The function's own code.
        code: Option<String>,
    },
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// What it does.
    pub act: Act,
    /// The function, without the module.
    pub function: String,
    /// The set of its records; without one a set of its own.
    pub set: Option<String>,
    /// Records that are there before it.
    pub records: Vec<(UserKey, Value)>,
    /// Records of other sets, by set and key.
    pub others: Vec<(String, UserKey, Value)>,
    /// The arguments.
    pub arguments: Value,
    /// What must come of it.
    pub expected: Expected,
    /// The record after a call: `Some(Null)` for none, `None` if nobody looks.
    pub after: Option<Value>,
    /// Texts that log lines must have in them, each in some line.
    pub logs: Vec<String>,
}

const DEPTH_MAX: usize = 64;
const KEY_DEFAULT: &str = "key";
const FIELDS: [&str; 16] = [
    "name",
    "call",
    "aggregate",
    "rows",
    "set",
    "key",
    "record",
    "records",
    "others",
    "arguments",
    "result",
    "error",
    "code",
    "after",
    "logs",
    "note",
];

/// Reads a file of cases: `{"cases": […]}`.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let document = parse_value(text.as_bytes(), DEPTH_MAX).map_err(|error| error.to_string())?;
    let Some(Value::List(cases)) = document.get(&"cases".into()) else {
        return Err("a file of cases is {\"cases\": [ … ]}".to_owned());
    };
    cases
        .iter()
        .enumerate()
        .map(|(place, case)| parse_case(case).map_err(|why| format!("case {place}: {why}")))
        .collect()
}

fn parse_case(case: &Value) -> Result<Case, String> {
    let Value::Map(entries) = case else { return Err("a case is an object".to_owned()) };
    for (name, _) in entries {
        let known = matches!(name, MapKey::Text(name) if FIELDS.contains(&name.as_str()));
        if !known {
            let name = match name {
                MapKey::Text(name) => format!("`{name}`"),
                _ => "that isn't a text".to_owned(),
            };
            return Err(format!("there is no field {name}; there are: {}", FIELDS.join(", ")));
        }
    }
    let key = match text(case, "key")? {
        Some(key) => parse_user_key(&key).map_err(|error| error.to_string())?,
        None => UserKey::from(KEY_DEFAULT),
    };
    let acts = [("call", Act::Call { key: key.clone() }), ("aggregate", Act::Aggregate), ("rows", Act::Rows)];
    let mut named = Vec::new();
    for (field, act) in acts {
        named.extend(text(case, field)?.map(|function| (function, act)));
    }
    let [(function, act)] = <[_; 1]>::try_from(named)
        .map_err(|_| "a case has one of \"call\", \"aggregate\" and \"rows\", with the function's name".to_owned())?;
    let mut records = keyed(case, "records")?;
    if let Some(record) = present(case, "record") {
        records.push((key, object(record, "record")?));
    }
    Ok(Case {
        name: text(case, "name")?.unwrap_or_else(|| function.clone()),
        set: text(case, "set")?,
        records,
        others: others(case)?,
        arguments: field(case, "arguments").cloned().unwrap_or(Value::Null),
        expected: expected(case)?,
        after: field(case, "after").cloned(),
        logs: texts(case, "logs")?,
        act,
        function,
    })
}

fn expected(case: &Value) -> Result<Expected, String> {
    match (field(case, "result"), text(case, "error")?) {
        (Some(_), Some(_)) => Err("a case has a \"result\" or an \"error\"".to_owned()),
        (Some(result), None) => Ok(Expected::Result(result.clone())),
        (None, Some(message)) => Ok(Expected::Error { message, code: text(case, "code")? }),
        (None, None) => Ok(Expected::Success),
    }
}

fn field<'a>(case: &'a Value, name: &str) -> Option<&'a Value> {
    case.get(&name.into())
}

/// A field that is there and isn't null.
fn present<'a>(case: &'a Value, name: &str) -> Option<&'a Value> {
    field(case, name).filter(|value| **value != Value::Null)
}

fn text(case: &Value, name: &str) -> Result<Option<String>, String> {
    match field(case, name) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.clone())),
        Some(Value::Int(number)) if name == "key" => Ok(Some(number.to_string())),
        Some(other) => Err(format!("{name:?} is text, not {}", other.type_name())),
    }
}

fn texts(case: &Value, name: &str) -> Result<Vec<String>, String> {
    let Some(value) = present(case, name) else { return Ok(Vec::new()) };
    let Value::List(items) = value else { return Err(format!("{name:?} is a list of texts")) };
    let text = |item: &Value| match item {
        Value::Text(text) => Ok(text.clone()),
        other => Err(format!("{name:?} is a list of texts, not of {}", other.type_name())),
    };
    items.iter().map(text).collect()
}

fn object(value: &Value, name: &str) -> Result<Value, String> {
    match value {
        Value::Map(_) => Ok(value.clone()),
        other => Err(format!("{name:?} is an object of bins, not {}", other.type_name())),
    }
}

/// An object of records by key.
fn keyed(case: &Value, name: &str) -> Result<Vec<(UserKey, Value)>, String> {
    let Some(value) = present(case, name) else { return Ok(Vec::new()) };
    let Value::Map(entries) = value else { return Err(format!("{name:?} is an object of records by key")) };
    let record = |(key, record): &(MapKey, Value)| {
        let key = match key {
            MapKey::Text(text) => parse_user_key(text).map_err(|error| error.to_string())?,
            MapKey::Int(number) => UserKey::Int(*number),
            MapKey::Bytes(bytes) => UserKey::Bytes(bytes.clone()),
        };
        Ok((key, object(record, name)?))
    };
    entries.iter().map(record).collect()
}

/// Records of other sets: an object whose names are `SET/KEY`.
fn others(case: &Value) -> Result<Vec<(String, UserKey, Value)>, String> {
    let Some(value) = present(case, "others") else { return Ok(Vec::new()) };
    let wrong = || "\"others\" is an object of records by SET/KEY".to_owned();
    let Value::Map(entries) = value else { return Err(wrong()) };
    let record = |(name, record): &(MapKey, Value)| {
        let MapKey::Text(name) = name else { return Err(wrong()) };
        let (set, key) = name.split_once('/').ok_or_else(wrong)?;
        let key = parse_user_key(key).map_err(|error| error.to_string())?;
        Ok((set.to_owned(), key, object(record, "others")?))
    };
    entries.iter().map(record).collect()
}

/// Whether two values are the same; an integer is the same as a float of the same number, maps may differ in order.
pub fn same(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => {
            // 2^63 is no 64-bit integer, though the cast would make the greatest one of it.
            *float < i64::MAX as f64 && *int as f64 == *float && *float as i64 == *int
        }
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| actual.get(name).is_some_and(|b| same(a, b)))
        }
        _ => expected == actual,
    }
}

/// Whether two lists have the same items, in any order.
pub fn same_in_any_order(expected: &[Value], actual: &[Value]) -> bool {
    let mut left: Vec<&Value> = actual.iter().collect();
    let found = expected.iter().all(|wanted| {
        let place = left.iter().position(|value| same(wanted, value));
        place.map(|place| left.swap_remove(place)).is_some()
    });
    found && left.is_empty()
}

/// A value in one line, not too long for a report.
pub fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 400;
    let text = to_text(value);
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        parse_value(text.as_bytes(), DEPTH_MAX).unwrap()
    }

    #[test]
    fn a_case_of_each_kind() {
        let text = r#"{"cases": [
            {"call": "discount", "key": 7, "record": {"price": 1.5}, "arguments": [10], "result": 1.35, "after": null},
            {"aggregate": "revenue", "records": {"1": {"a": 1}, "text:1": {"a": 2}}, "others": {"tax/eu": {"p": 19}}},
            {"name": "none", "rows": "cheap", "error": "too dear", "code": "dear", "logs": ["a", "b"], "set": "s"}
        ]}"#;
        let cases = parse(text).unwrap();
        assert_eq!(cases[0].act, Act::Call { key: UserKey::Int(7) });
        assert_eq!(cases[0].records[0].0, UserKey::Int(7));
        assert_eq!(cases[0].after, Some(Value::Null));
        assert_eq!(cases[0].expected, Expected::Result(Value::Float(1.35)));
        assert_eq!(cases[1].name, "revenue");
        assert_eq!(cases[1].records[1].0, UserKey::from("1"));
        assert_eq!((cases[1].others[0].0.as_str(), &cases[1].after), ("tax", &None));
        let error = Expected::Error { message: "too dear".to_owned(), code: Some("dear".to_owned()) };
        assert_eq!((&cases[2].act, &cases[2].expected, cases[2].logs.len()), (&Act::Rows, &error, 2));
    }

    #[test]
    fn mistakes_name_the_case_and_the_field() {
        let wrong = |case: &str| parse(&format!("{{\"cases\": [{case}]}}")).unwrap_err();
        assert!(wrong("{}").contains("case 0: a case has one of"));
        assert!(wrong(r#"{"call": "a", "rows": "b"}"#).contains("one of"));
        assert!(wrong(r#"{"call": "a", "recrod": {}}"#).contains("recrod"));
        assert!(wrong(r#"{"call": "a", "record": 1}"#).contains("object of bins"));
        assert!(wrong(r#"{"call": "a", "result": 1, "error": "b"}"#).contains("or an"));
        assert!(wrong(r#"{"call": "a", "others": {"x": {}}}"#).contains("SET/KEY"));
        assert!(parse("[]").is_err() && parse("{").is_err());
    }

    #[test]
    fn numbers_are_the_same_if_they_are_equal_and_orders_matter_in_lists_only() {
        assert!(same(&value("60"), &value("60.0")) && same(&value("60.0"), &value("60")));
        assert!(!same(&Value::Int(i64::MAX), &Value::Float(i64::MAX as f64)));
        assert!(!same(&value("1"), &value("\"1\"")) && !same(&value("1"), &value("1.5")));
        assert!(same(&value(r#"{"a":1,"b":[1,2]}"#), &value(r#"{"b":[1,2.0],"a":1}"#)));
        assert!(!same(&value("[1,2]"), &value("[2,1]")) && !same(&value(r#"{"a":1}"#), &value(r#"{"a":1,"b":1}"#)));
        let rows = [value("1"), value("1"), value("2")];
        assert!(same_in_any_order(&rows, &[value("2"), value("1"), value("1")]));
        assert!(!same_in_any_order(&rows, &[value("2"), value("2"), value("1")]));
        assert!(!same_in_any_order(&rows, &rows[..2]));
    }
}
